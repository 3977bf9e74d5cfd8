"""The door of the report: what it refuses, before any work and with nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from reports import DOOR, IDS, ROWS, SCORE, Y, model_of, rows

import fwfm_gpu
from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.errors import InputError, InputTypeError, MissingExtraError
from fwfm_gpu.report import report


@pytest.fixture
def target(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: a report refuses to start")
    return tmp_path / "page.html"


def test_the_module_and_its_function_are_one_door(target):
    assert fwfm_gpu.report in (report, DOOR)
    for door in (report, DOOR):
        assert door(model_of("logistic"), rows(), Y["logistic"], target) == target


@pytest.mark.parametrize(
    "X, y, message",
    [
        (IDS, Y["logistic"], "columns that the model was trained on"),
        (rows(), Y["logistic"][:-1], "same number of rows"),
        (rows(), np.full(ROWS, "maybe"), "a label that the model does not know"),
        (rows().take([]), [], "at least one row"),
    ],
)
def test_rows_and_labels_that_do_not_fit(target, X, y, message):
    with pytest.raises(InputError, match=message):
        report(model_of("logistic"), X, y, target)
    assert not list(target.parent.iterdir())


def test_weights_that_do_not_fit(target):
    with pytest.raises(InputError, match="one weight per row"):
        report(model_of("logistic"), rows(), Y["logistic"], target, sample_weight=[1.0])


@pytest.mark.parametrize(
    "arguments, message",
    [(("model", "page.html", None), "FwFM"), ((None, 3, None), "path-like"), ((None, "page.html", 3), "title must be")],
)
def test_arguments_of_another_kind(target, arguments, message):
    model, path, title = arguments
    with pytest.raises(InputTypeError, match=message):
        report(model or model_of("logistic"), rows(), Y["logistic"], path, title=title)


def test_paths_that_cannot_be_written_are_refused_before_any_work(target, monkeypatch):
    monkeypatch.setattr(DOOR, "find", None)
    with pytest.raises(IsADirectoryError):
        report(model_of("logistic"), rows(), Y["logistic"], target.parent)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        report(model_of("logistic"), rows(), Y["logistic"], target.parent / "nowhere" / "page.html")


def test_a_former_page_survives_a_failed_write(target, monkeypatch):
    target.write_text("former")

    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="full"):
        replace_file(target, lambda file: file.write(b"new"))
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]
    assert target.read_text() == "former"


def test_a_link_is_followed(target):
    real = target.with_name("real.html")
    real.write_text("former")
    target.symlink_to(real)
    replace_file(target, lambda file: file.write(b"new"))
    assert target.is_symlink() and real.read_bytes() == b"new"


def test_the_caller_keeps_every_byte(target):
    X, y, weight = IDS.astype(float), np.where(SCORE > 0, 1, 0), np.ones(ROWS)
    model = fwfm_gpu.train(X, y, progress=False, epochs=1)
    before = [array.copy() for array in (X, y, weight)]
    report(model, X, y, target, sample_weight=weight)
    for array, former in zip((X, y, weight), before, strict=True):
        np.testing.assert_array_equal(array, former)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"fwfm-gpu\[plots\]"):
        report(model_of("logistic"), rows(), Y["logistic"], tmp_path / "page.html")
    assert not list(Path(tmp_path).iterdir())
