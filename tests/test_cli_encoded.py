"""Converted files where models and other rows are: the same rows give the same figures, other columns are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix, encoded_file, encoded_file_writing
from fwfm_gpu.cli import main
from fwfm_gpu.cli_encoded import read_encoded
from fwfm_gpu.io import write_libffm

NUMPY = ["--device", "numpy"]
COLUMNS = ["--label", "clicked", "--weight", "weight", "--group", "group"]
ROWS = 150


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def write_table(path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = ["city,price,when,weight,group,clicked"]
    for _ in range(ROWS):
        city, day, hour = rng.choice(["Oslo", "Bergen", "Troms"]), rng.integers(1, 29), rng.integers(24)
        lines.append(
            f"{city},{rng.random():.3f},2024-01-{day:02d} {hour:02d}:00:07,{rng.integers(1, 4)},{rng.integers(9)},"
            + rng.choice(["no", "yes"])
        )
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train and later as CSV and as converted rows in several blocks, and a model."""
    pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    path = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded_file, "BLOCK_ROWS", 64)
        patch.setattr(encoded_file_writing, "BLOCK_ROWS", 64)
        for name, seed in (("train", 1), ("later", 2)):
            write_table(path / f"{name}.csv", seed)
        run("convert", path / "train.csv", *COLUMNS, "--out", path / "train.rows")
        run("convert", path / "later.csv", *COLUMNS, "--like", path / "train.rows", "--out", path / "later.rows")
        run("train", path / "train.rows", "--out", path / "m", "--epochs", "2", "-q", *NUMPY)
        yield path


def told(capsys, *arguments):
    capsys.readouterr()
    run(*arguments, *NUMPY, "--json")
    return json.loads(capsys.readouterr().out)


def test_predictions_are_those_of_the_table(folder, capsys):
    printed = []
    for name in ("later.rows", "later.csv"):
        capsys.readouterr()
        run("predict", folder / "m", folder / name, "--proba", "--scores", *NUMPY)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 1 + ROWS


def test_metrics_are_those_of_the_table_with_its_weights_and_groups(folder, capsys):
    asked = ["--metric", "auc,logloss,gauc"]
    got = told(capsys, "evaluate", folder / "m", folder / "later.rows", *asked)
    want = told(capsys, "evaluate", folder / "m", folder / "later.csv", *COLUMNS, *asked)
    assert got["metrics"] == want["metrics"]
    assert got["rows"] == ROWS


@pytest.mark.parametrize("data", ["train.rows", "train.csv"])
@pytest.mark.parametrize("valid", ["later.rows", "later.csv"])
def test_training_is_evaluated_on_converted_rows_and_tables(folder, tmp_path, data, valid, capsys):
    columns = COLUMNS if "csv" in data + valid else []
    asked = ["--eval-metric", "auc,gauc", "--epochs", "2", "--out", tmp_path / "m"]
    got = told(capsys, "train", folder / data, "--valid", folder / valid, *columns, *asked)
    want = told(capsys, "evaluate", folder / "m", folder / "later.csv", *COLUMNS, "--metric", "auc,gauc")
    assert got["history"][-1]["metrics"] == want["metrics"]


def test_tune_reads_converted_rows(folder, tmp_path, capsys):
    pytest.importorskip("optuna", reason="the search is Optuna's: fwfm-gpu[tune]")
    asked = ["--trials", "2", "--epochs", "2", "--metric", "auc"]
    tests = ["--valid", folder / "later.csv", "--test", folder / "later.rows", *COLUMNS]
    got = told(capsys, "tune", folder / "train.rows", *asked, *tests)
    want = told(capsys, "tune", folder / "train.csv", *asked, *tests)
    for trial in got["trials"] + want["trials"]:
        trial.pop("seconds")
    assert got["trials"] == want["trials"]
    assert (got["value"], got["test"]) == (want["value"], want["test"])
    held = ["--trials", "1", "--epochs", "2", "--metric", "gauc"]  # a fifth, with its groups
    got = told(capsys, "tune", folder / "train.rows", *held)
    assert got["rows"] == ROWS
    assert got["value"] == told(capsys, "tune", folder / "train.csv", *held, *COLUMNS)["value"]
    assert got["value"] != told(capsys, "tune", folder / "train.rows", *held[:-1], "auc")["value"]


def test_a_whole_file_is_all_of_its_blocks(folder):
    whole = read_encoded(str(folder / "train.rows"))
    source = encoded_file.open_encoded(folder / "train.rows")
    assert len(list(source.chunks())) == 3
    for name in ("y", "weight", "group"):
        parts = [getattr(chunk, name) for chunk in source.chunks()]
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate(parts))
    assert whole.rows.n_rows == len(whole) == ROWS


def test_rows_without_an_encoder(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, n in (("a", 5), ("b", 4)):
        X = FieldMatrix.from_ids(rng.integers(0, n, (80, 3)), [n] * 3)
        write_libffm(tmp_path / f"{name}.ffm", X, rng.integers(0, 2, 80))
        run("convert", tmp_path / f"{name}.ffm", "--out", tmp_path / f"{name}.rows")
    run("train", tmp_path / "a.rows", "--valid", tmp_path / "a.ffm", "--out", tmp_path / "m", *NUMPY)
    scores = []
    for name in ("a.ffm", "a.rows"):
        capsys.readouterr()
        run("predict", tmp_path / "m", tmp_path / name, "--scores", *NUMPY)
        scores.append(capsys.readouterr().out)
    assert scores[0] == scores[1]
    run("predict", tmp_path / "m", tmp_path / "b.rows", *NUMPY, code=2)
    assert "other columns than the model or the data has: 12 features, and not 15." in capsys.readouterr().err
    run("convert", tmp_path / "a.ffm", "--like", tmp_path / "m", "--out", tmp_path / "c.rows", code=2)
    assert "--like is for CSV, Parquet and Arrow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["predict", "m", "own.rows"],
            "the values of column 'price' were learned from other rows or with other options",
        ),
        (["evaluate", "m", "few.rows"], "fields city, and not city, price, when.hour, when.weekday. Pass the file"),
        (["evaluate", "m", "options.rows"], "their encoder has other options"),
        (["predict", "m", "a.rows"], "rows that had no encoder, and not a table with city, price, when"),
        (["train", "train.rows", "--valid", "own.rows"], "own.rows: these rows were converted with other columns"),
        (["tune", "train.rows", "--valid", "own.rows"], "own.rows: these rows were converted with other columns"),
        (["train", "train.csv", *COLUMNS, "--stream", "--valid", "later.rows"], "a stream is evaluated on CSV"),
        (["train", "a.rows", "--valid", "later.csv", *COLUMNS], "a.rows holds rows without an encoder, so a table"),
        (["predict", "m", "later.rows", "--keep", "city"], "--keep copies columns, and a converted file has none"),
        (
            ["evaluate", "m", "later.rows", "--label", "clicked"],
            "--label names a column, and a converted file has none",
        ),
        (["tune", "train.rows", "--drop", "city"], "--drop names a column, and a converted file has none"),
        (["convert", "later.csv", "--like", "m"], "which column is to be predicted? Say --label COLUMN"),
        (["convert", "later.csv", *COLUMNS, "--like", "m", "--out", "m"], "that is the file that is read"),
        (["convert", "a.csv", "--label", "b", "--like", "m"], "there is no column 'city'. There are: a, b"),
        (["convert", "later.csv", "--label", "clicked", "--like", "a.rows"], "its rows had none"),
        (["predict", "m", "m"], "found a model"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folder)
    if not (folder / "a.rows").exists():
        run("convert", "later.csv", *COLUMNS, "--out", "own.rows")
        run("convert", "train.csv", *COLUMNS, "--columns", "city", "--out", "few.rows")
        run("convert", "train.csv", *COLUMNS, "--unknown", "ignore", "--out", "options.rows")
        (folder / "a.ffm").write_text("1 0:0:1\n0 0:1:1\n")
        (folder / "a.csv").write_text("a,b\n1,2\n")
        run("convert", "a.ffm", "--out", "a.rows")
    if arguments[0] == "tune":
        pytest.importorskip("optuna", reason="the search is Optuna's: fwfm-gpu[tune]")
    out = [] if arguments[0] in ("evaluate", "tune") or "--out" in arguments else ["--out", tmp_path / "out"]
    run(*arguments, *out, *(NUMPY if arguments[0] != "convert" else []), code=2)
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
