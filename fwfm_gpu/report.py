"""A report: one HTML page on a model, to look at and to send."""

from __future__ import annotations

import errno
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.errors import InputTypeError
from fwfm_gpu.model import FwFM, check_model
from fwfm_gpu.report_charts import drawing, require_matplotlib
from fwfm_gpu.report_findings import Findings, find
from fwfm_gpu.report_html import Markup, join, readable, tag
from fwfm_gpu.report_sections import SECTIONS, kind_of_model, write_head

__all__ = ["report"]

# Nothing is fetched: the browser itself is told so.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
LINKS = {
    "learning": "Learning",
    "predictions": "Predictions",
    "pairs": "Field pairs",
    "interactions": "Interactions",
    "fields": "Fields",
    "settings": "Settings",
    "provenance": "Provenance",
}


def report(
    model: FwFM,
    X: Any,
    y: Any,
    path: str | os.PathLike[str],
    *,
    sample_weight: Any = None,
    title: str | None = None,
) -> Path:
    """Write what a model is and how it does on some rows as one HTML page.

    Metrics beside a constant prediction, learning curves, calibration and scores, the learned field-pair weights beside
    the mutual information of each pair with the label, the strongest feature pairs, tables of pairs, fields and
    settings, fingerprints. The page
    needs nothing but itself and follows the reader's light or dark screen. The same model, rows and versions give the
    same bytes.

    Parameters
    ----------
    model : FwFM
    X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n), or a table
        What ``model.decision_function`` takes; best rows that the model was not trained on.
    y : (rows,) array-like
        As for ``fwfm_gpu.train``.
    path : str or path-like
        The page; a former file stays whole until the new one is.
    sample_weight : (rows,) array-like, optional
        What each row counts in metrics and pictures.
    title : str, optional
        The page's heading.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed: the extra ``plots``.
    InputError, InputTypeError
        Rows, labels or weights that do not fit the model, or each other.
    OSError
        The page cannot be written there; checked first.
    """
    require_matplotlib()
    check_model(model)
    if title is not None and not isinstance(title, str):
        raise InputTypeError(f"title must be a str: got {type(title).__name__}.")
    target = checked(path)
    findings = find(model, X, y, sample_weight)
    with drawing():
        page = write_page(findings, title)
    replace_file(target, lambda file: file.write(page.encode()))
    return target


def checked(path: object) -> Path:
    """The path of a file that may be written, before any work starts."""
    if not isinstance(path, str | os.PathLike):
        raise InputTypeError(f"path must be a str or path-like: got {type(path).__name__}.")
    target = Path(os.fsdecode(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    return target


def write_page(findings: Findings, title: str | None) -> Markup:
    """The whole page."""
    sections = [write_section(findings) for write_section in SECTIONS]
    links = (tag("a", text, href=f"#{name}") for name, text in LINKS.items())
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", readable(title or f"{kind_of_model(findings.model)} \N{EN DASH} model report", 200)),
        tag("style", Markup(Path(__file__).with_name("report.css").read_text("utf-8"))),
    )
    nav = tag("nav", *links, aria_label="Sections")
    body = tag("body", write_head(findings, title), nav, tag("main", *sections))
    return join([Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), Markup("\n")])


class Door(ModuleType):
    """This module can be called, so that ``fwfm_gpu.report(...)`` works whichever of the two was imported last."""

    __call__ = staticmethod(report)
    __signature__ = inspect.signature(report)


sys.modules[__name__].__class__ = Door
