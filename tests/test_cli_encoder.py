"""Dates and times on the command line: a file that holds some needs no option."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder
from fwfm_gpu.cli import main

pa = pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")

NUMPY = ["--device", "numpy", "--epochs", "2"]
ROWS = 120
PARTS = {"when": ("hour", "weekday"), "day": ("weekday",)}
REMARK = (
    "fwfm-gpu: 'when', 'day' hold dates or times: taken as with --dates when=hour,when=weekday,day=weekday. "
    "Name other parts there, or leave them out with --drop when,day\n"
)


def make_table(seed: int) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    start = datetime(2024, 1, 1)
    return {
        "user": [f"u{i}" for i in rng.integers(0, 9, ROWS)],
        "when": [start + timedelta(hours=int(h), seconds=7) for h in rng.integers(0, 700, ROWS)],
        "day": [date(2024, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 90, ROWS)],
        "clicked": rng.integers(0, 2, ROWS).tolist(),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path_factory.mktemp("times")
    for name, seed in (("train", 1), ("later", 2)):
        table = pa.table(make_table(seed))
        pyarrow.csv.write_csv(table, path / f"{name}.csv")
        midnights = table.set_column(2, "day", table.column("day").cast(pa.timestamp("ns")))  # as pandas writes dates
        pyarrow.parquet.write_table(midnights, path / f"{name}.parquet")
    return path


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


@pytest.fixture(scope="module")
def want():
    table = make_table(1)
    y = table.pop("clicked")
    X = FieldEncoder(dates=PARTS).fit_transform(table)
    return fwfm_gpu.train(X, y, device="numpy", epochs=2, progress=False)


def assert_same(path, want) -> None:
    got = fwfm_gpu.load(path, device="numpy")
    assert got.columns.encoder.dates == PARTS
    for name, array in want.parameters.arrays().items():
        np.testing.assert_array_equal(getattr(got.parameters, name), array)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("way", ["memory", "stream", "converted"])
def test_times_need_no_option(folder, tmp_path, form, way, want, capsys):
    data, out = folder / f"train.{form}", tmp_path / "m"
    if way == "converted":
        run("convert", data, "--label", "clicked", "--out", tmp_path / "rows")
        assert capsys.readouterr().err == REMARK
        run("train", tmp_path / "rows", "--out", out, "-q", *NUMPY)
    else:
        run("train", data, "--label", "clicked", "--out", out, "-q", *NUMPY, *(["--stream"] * (way == "stream")))
        assert capsys.readouterr().err == REMARK
    assert_same(out, want)
    capsys.readouterr()
    run("predict", out, folder / f"later.{form}", "--scores", "--device", "numpy")
    scores, err = capsys.readouterr()
    later = make_table(2)
    assert scores.split()[1:] == [str(score) for score in want.decision_function(later).tolist()]
    assert err == ""


def test_times_in_encode_and_tune(folder, tmp_path, capsys):
    run("encode", folder / "train.csv", folder / "later.csv", "--label", "clicked", "--out", f"{tmp_path}/", "--json")
    out, err = capsys.readouterr()
    assert err == REMARK
    assert [field["name"] for field in json.loads(out)["files"][1]["report"]] == [
        *("user", "when.hour", "when.weekday", "day.weekday")
    ]
    pytest.importorskip("optuna", reason="the search is Optuna's: fwfm-gpu[tune]")
    run("tune", folder / "train.csv", "--label", "clicked", "--trials", "1", "-q", "--out", tmp_path / "m", *NUMPY)
    assert capsys.readouterr().err == REMARK
    assert fwfm_gpu.load(tmp_path / "m", device="numpy").columns.encoder.dates == PARTS


def test_times_that_are_named_or_dropped_are_left_alone(folder, tmp_path, capsys):
    given = ["--label", "clicked", "--out", tmp_path / "m", "-q", *NUMPY]
    run("train", folder / "train.csv", *given, "--drop", "day,when")
    assert capsys.readouterr().err == ""
    run("train", folder / "train.csv", *given, "--dates", "when=month", "--drop", "day")
    assert capsys.readouterr().err == ""
    assert fwfm_gpu.load(tmp_path / "m", device="numpy").columns.encoder.dates == {"when": ("month",)}
    run("train", folder / "train.csv", *given, "--dates", "when=month")
    assert capsys.readouterr().err == (
        "fwfm-gpu: 'day' holds dates or times: taken as with --dates day=weekday. Name other parts there, or leave it "
        "out with --drop day\n"
    )
    assert fwfm_gpu.load(tmp_path / "m", device="numpy").columns.encoder.dates == {
        "when": ("month",),
        "day": ("weekday",),
    }
