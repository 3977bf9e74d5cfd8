"""The reference holds every public name, and every public name says what it takes, gives and raises."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import fwfm_gpu
import fwfm_gpu.io

validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is missing: docstrings cannot be checked")

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "index.md"
# Sections out of order, no docstring, no summary, parameters that are not told or not there, no word on what comes.
CODES = {"GL07", "GL08", "SS01", "PR01", "PR02", "RT01"}
NAMES = [f"fwfm_gpu.{name}" for name in fwfm_gpu.HOMES]
NAMES += [f"fwfm_gpu.io.{name}" for name in fwfm_gpu.io.__all__]


def listed():
    """The names in the reference's tables, each under what is current."""
    return set(re.findall(r"^   ([\w.]+)$", PAGE.read_text("utf-8"), re.MULTILINE))


def members(name):
    """A public name, and the public functions of a class; those of a callback are told of in its own text."""
    yield {"fwfm_gpu.report": "fwfm_gpu.report.report"}.get(name, name)  # a module has that name, too
    value = fwfm_gpu
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    if inspect.isclass(value) and value is not fwfm_gpu.io.Columns:  # which is only handed on
        for own, method in vars(value).items():
            if not own.startswith(("_", "on_")) and inspect.isfunction(getattr(method, "__func__", method)):
                yield f"{name}.{own}"


def excused(member, code, text):
    """Attributes need no second line as parameters; a method that is a function takes the model first; some yield."""
    written = validate.Validator(validate.get_doc_object(validate.Validator._load_obj(member))).raw_doc
    if code == "PR01":
        return "Attributes\n" in written or "{'model'}" in text
    return code == "RT01" and "Yields\n" in written


def test_every_public_name_is_listed():
    missing = {name.removeprefix("fwfm_gpu.") for name in NAMES} - listed() - {"FwfmError", "FwfmWarning"}
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name):
    faults = [
        f"{member}: {code} {text}"
        for member in members(name)
        for code, text in validate.validate(member)["errors"]
        if code in CODES and not excused(member, code, text)
    ]
    assert not faults, "\n" + "\n".join(faults)
