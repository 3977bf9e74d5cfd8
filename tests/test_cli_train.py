"""fwfm-gpu train: what it writes is what train makes, from every kind of file."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.cli import main
from fwfm_gpu.io import read_libffm, read_libsvm, write_libffm, write_libsvm

NUMPY = ["--device", "numpy", "--epochs", "2"]
CITIES = ["Oslo", "Bergen", "Tromsø", None]


def make_table(seed: int, rows: int = 300) -> dict[str, list]:
    """Columns of every kind, a label that they tell something of, a weight."""
    rng = np.random.default_rng(seed)
    city, age = rng.integers(0, 4, rows), rng.integers(18, 90, rows)
    y = rng.random(rows) < 1 / (1 + np.exp(-(city - 1.5) - (age > 50)))
    return {
        "city": [CITIES[c] for c in city],
        "age": age.tolist(),
        "income": np.round(rng.lognormal(10, 1, rows), 2).tolist(),
        "member": (rng.random(rows) < 0.5).tolist(),
        "weight": rng.integers(1, 4, rows).tolist(),
        "clicked": ["yes" if one else "no" for one in y],
    }


@pytest.fixture(scope="module")
def pa():
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    return pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")


@pytest.fixture(scope="module")
def files(pa, tmp_path_factory):
    """train and test as CSV and Parquet."""
    import pyarrow.csv
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("tables")
    for name, seed in (("train", 1), ("test", 2)):
        table = pa.table(make_table(seed))
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress((folder / f"{name}.csv").read_bytes()))
    return folder


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    return FieldMatrix.from_ids(rng.integers(0, 9, (200, 4)), [9] * 4), rng.integers(0, 2, 200)


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def assert_same(path, want):
    got = fwfm_gpu.load(path, device="numpy")
    for name, array in want.parameters.arrays().items():
        np.testing.assert_array_equal(getattr(got.parameters, name), array)
    assert got.options == want.options
    return got


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz", "train.parquet"])
def test_a_table_trains_as_in_python(files, path, name, capsys):
    run("train", files / name, "--label", "clicked", "--weight", "weight", "--out", path, *NUMPY)
    table = make_table(1)
    y, weight = table.pop("clicked"), table.pop("weight")
    X = FieldEncoder().fit_transform(table)
    want = fwfm_gpu.train(X, y, sample_weight=weight, device="numpy", epochs=2, progress=False)
    assert_same(path, want)
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["data", "trained", "loss", "model"]
    assert "300 rows, 4 fields" in out and "labels 'no', 'yes'" in out and str(path) in out
    assert "epoch 2/2  loss" in err and "engine: NumPy" in err


def test_a_model_in_the_place_of_rows_is_told(rows, tmp_path, path, capsys):
    write_libffm(tmp_path / "a.ffm", *rows)
    run("train", tmp_path / "a.ffm", "--out", path, *NUMPY)
    run("train", path, "--label", "y", "--out", tmp_path / "other.fwfm", *NUMPY, code=2)
    assert f"that is a model; did you mean --continue {path}" in capsys.readouterr().err


def test_a_label_and_a_place_are_all_that_is_needed(files, path):
    run("train", files / "train.csv", "--label", "clicked", "--out", path, "--device", "numpy")  # spares compiling
    assert fwfm_gpu.load(path, device="numpy").columns.field_names == ("city", "age", "income", "member", "weight")


@pytest.mark.parametrize(
    ("given", "columns"),
    [(["--columns", "age,city"], ("city", "age")), (["--drop", "income,weight"], ("city", "age", "member"))],
)
def test_columns_and_options_of_the_encoder(files, path, given, columns):
    encoding = ["--categorical", "age", "--min-count", "2", "--unknown", "ignore"]
    run("train", files / "train.csv", "--label", "clicked", "--out", path, *given, *encoding, *NUMPY)
    encoder = fwfm_gpu.load(path, device="numpy").columns.encoder
    assert encoder.field_names == columns
    assert (encoder.categorical, encoder.min_count, encoder.unknown) == (("age",), 2, "ignore")
    assert encoder.fields[columns.index("age")].kind == "categorical"


@pytest.mark.parametrize("name", ["a.ffm", "a.libffm.gz", "a.txt", "a.txt.gz", "a"])
def test_libffm_needs_numpy_alone(tmp_path, rows, path, name):
    write_libffm(tmp_path / name, *rows)
    run("train", tmp_path / name, "--out", path, *NUMPY)
    X, y = read_libffm(tmp_path / name)
    got = assert_same(path, fwfm_gpu.train(X, y, device="numpy", epochs=2, progress=False))
    assert got.classes.tolist() == [0, 1] and got.classes.dtype.kind == "i"


@pytest.mark.parametrize("name", ["a.svm", "a.txt"])
def test_libsvm_and_its_fields(tmp_path, rows, path, name):
    write_libsvm(tmp_path / name, *rows)
    (tmp_path / "fields.txt").write_text("\n".join(map(str, rows[0].fields.tolist())))
    run("train", tmp_path / name, "--fields", tmp_path / "fields.txt", "--out", path, *NUMPY)
    X, y = read_libsvm(tmp_path / name, fields=rows[0].fields)
    got = assert_same(path, fwfm_gpu.train(X, y, device="numpy", epochs=2, progress=False))
    assert got.columns.feature_names[:2] == ("1", "2")


def test_shared_ids_are_split_on_request(tmp_path, path, capsys):
    (tmp_path / "a.ffm").write_text("1 0:1:1 1:1:1\n0 0:2:1 1:1:1\n")
    run("train", tmp_path / "a.ffm", "--out", path, *NUMPY, code=2)
    assert "--shared-ids split" in capsys.readouterr().err
    run("train", tmp_path / "a.ffm", "--shared-ids", "split", "--out", path, *NUMPY)
    assert fwfm_gpu.load(path, device="numpy").columns.feature_names == ("0:1", "0:2", "1:1")


def test_a_file_to_evaluate_on_steers(files, path, capsys):
    valid = ["--valid", files / "test.csv", "--patience", "1", "--eval-metric", "auc,logloss"]
    run("train", files / "train.csv", "--label", "clicked", "--out", path, "--device", "numpy", "--json", "-q", *valid)
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    table, test = make_table(1), make_table(2)
    y, test_y = table.pop("clicked"), test.pop("clicked")
    X = FieldEncoder().fit_transform(table)
    want = fwfm_gpu.train(
        X,
        y,
        eval_set=(X.encoder.transform(test), test_y),
        patience=1,
        eval_metric=["auc", "logloss"],
        device="numpy",
        progress=False,
    )
    assert_same(path, want)
    assert told["metrics"] == want.history[want.best_epoch - 1].metrics
    assert (told["rows"], told["fields"], told["labels"], told["model"]) == (300, 5, ["no", "yes"], str(path))
    assert [record["loss"] for record in told["history"]] == [record.loss for record in want.history]
    assert told["interrupted"] is False


def test_several_files_and_groups(files, path, capsys):
    given = [
        "--group",
        "member",
        "--eval-metric",
        "gauc,auc",
        "--valid",
        files / "test.csv",
        "--valid",
        files / "train.csv",
    ]
    run("train", files / "train.csv", "--label", "clicked", "--out", path, "--json", *NUMPY, *given)
    told = json.loads(capsys.readouterr().out)
    assert list(told["metrics"]) == ["test.csv/gauc", "test.csv/auc", "train.csv/gauc", "train.csv/auc"]
    assert "member" not in fwfm_gpu.load(path, device="numpy").columns.field_names
    held = ["--group", "member", "--eval-metric", "gauc", "--validation-fraction", "0.3"]
    run("train", files / "train.csv", "--label", "clicked", "--out", path, "--json", *NUMPY, *held)
    assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["gauc"]


def test_a_file_of_rows_to_evaluate_on(tmp_path, rows, path, capsys):
    write_libffm(tmp_path / "a.ffm", *rows)
    (tmp_path / "b.ffm").write_text("1 0:0:1 3:99:1\n0 0:1:1\n")
    run("train", tmp_path / "a.ffm", "--valid", tmp_path / "b.ffm", "--out", path, *NUMPY)
    assert "held out  logloss " in capsys.readouterr().out


def test_held_out_rows(files, path, capsys):
    held = ["--validation-fraction", "0.2", "--patience", "1"]
    run("train", files / "train.csv", "--label", "clicked", "--out", path, *held, "--device", "numpy")
    assert fwfm_gpu.load(path, device="numpy").options.validation_fraction == 0.2
    assert "held out  logloss" in capsys.readouterr().out


def test_training_goes_on(tmp_path, rows, path):
    write_libffm(tmp_path / "a.ffm", *rows)
    run("train", tmp_path / "a.ffm", "--out", path, "--device", "numpy", "--epochs", "3")
    run("train", tmp_path / "a.ffm", "--out", tmp_path / "half", "--device", "numpy", "--epochs", "1")
    run("train", tmp_path / "a.ffm", "--continue", tmp_path / "half", "--out", tmp_path / "whole", *NUMPY)
    want, got = (fwfm_gpu.load(name, device="numpy") for name in (path, tmp_path / "whole"))
    np.testing.assert_array_equal(got.parameters.V, want.parameters.V)
    assert len(got.history) == 3


def test_checkpoints(tmp_path, rows, path):
    write_libffm(tmp_path / "a.ffm", *rows)
    kept = ["--checkpoint", tmp_path / "kept", "--checkpoint-every", "1", "--batch-size", "64"]
    run("train", tmp_path / "a.ffm", "--out", tmp_path / "half", *NUMPY, *kept)
    going = ["--epochs", "4", "--batch-size", "64", "--device", "numpy"]
    run("train", tmp_path / "a.ffm", "--resume", tmp_path / "kept", "--out", tmp_path / "whole", *going)
    run("train", tmp_path / "a.ffm", "--out", path, *going)
    got, want = (fwfm_gpu.load(name, device="numpy") for name in (tmp_path / "whole", path))
    for name, array in want.parameters.arrays().items():
        np.testing.assert_array_equal(getattr(got.parameters, name), array)
    assert len(got.history) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv", "--label", "clicked"], "nowhere.csv: No such file or directory"),
        (["train.csv"], "which column is to be predicted? Say --label COLUMN. There are: city, age"),
        (["train.csv", "--label", "click"], "there is no column 'click'. There are: city, age"),
        (["train.csv", "--label", "clicked", "--drop", "sex"], "there is no column 'sex'"),
        (["train.csv", "--label", "clicked", "--columns", "clicked"], "no column is left to learn from"),
        (["train.csv", "--label", "city"], "column 'city' is the label, and is missing at row"),
        (["train.csv", "--label", "clicked", "--delimiter", "::"], "--delimiter must be one ASCII character"),
        (["train.csv", "--label", "clicked", "--n-factors", "-1"], "--n-factors must be a whole number, 0 or above"),
        (["train.csv", "--label", "clicked", "--device", "tpu"], '--device must be "auto", "cpu"'),
        (["train.csv", "--label", "clicked", "--out", "no/where"], "there is no folder"),
        (["train.csv", "--label", "clicked", "--out", "."], "that is a folder; name a file in it"),
        (["train.csv", "--label", "clicked", "--learning-rate", "1e30"], "training diverged"),
        (
            ["train.csv", "--label", "clicked", "--stream", "--validation-fraction", "0.2"],
            "train.csv: --validation-fraction holds out rows in memory",
        ),
        (["train.csv", "--label", "clicked", "--fit-rows", "9"], "--fit-rows is for streams"),
        (["train.csv", "--label", "clicked", "--fit-rows", "0", "--stream"], "--fit-rows must be a whole number"),
        (["a.ffm", "--label", "clicked"], "a.ffm: --label names a column, and libffm has none"),
        (["bad.csv", "--label", "b"], "bad.csv, row 3: Expected 2 columns, got 1"),
        (["a.ffm", "--continue", "train.csv"], "train.csv"),
    ],
)
def test_what_cannot_be_done_is_refused(files, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(files)
    (files / "bad.csv").write_text("a,b\n1,2\n3\n")
    (files / "a.ffm").write_text("1 0:0:1\n0 0:1:1\n")
    run("train", "--out", tmp_path / "model", *NUMPY, *arguments, code=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "model").exists()


def test_without_pyarrow_a_table_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    run("train", tmp_path / "a.csv", "--label", "b", "--out", tmp_path / "model", code=2)
    assert "pip install 'fwfm-gpu[data]'" in capsys.readouterr().err


def test_hashed_columns_separators_and_dates_are_flags_and_are_read_alike_later(pa, tmp_path, capsys):
    rng = np.random.default_rng(4)
    lines = ["user,genres,time,clicked"]
    lines += [
        f"{u:04d},{'|'.join('abcd'[:g])},2024-01-{1 + u // 24:02d}T{u % 24:02d}:30:00,{u % 2}"
        for u, g in zip(rng.integers(0, 90, 200), rng.integers(0, 5, 200), strict=True)
    ]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    (tmp_path / "few.csv").write_text("\n".join(lines[:4]))
    flags = ["--hashed", "user=64", "--multi", "genres=|", "--dates", "time=hour,time=weekday", "--min-count", "1"]
    run("train", tmp_path / "all.csv", "--label", "clicked", "--out", tmp_path / "m.fwfm", *flags, *NUMPY)
    model = fwfm_gpu.load(tmp_path / "m.fwfm")
    assert [field.kind for field in model.columns.encoder.report()] == [
        *("hashed", "multi-valued, categorical", "date, categorical", "date, categorical")
    ]
    scores = {}
    for name in ("all", "few"):
        run("predict", tmp_path / "m.fwfm", tmp_path / f"{name}.csv", "--out", tmp_path / f"{name}.out.csv")
        scores[name] = (tmp_path / f"{name}.out.csv").read_text().splitlines()
    assert scores["all"][:4] == scores["few"]
    users = [line.split(",")[0] for line in lines[1:]]
    used = FieldEncoder(hashed={"user": 64}).fit({"user": users}).report()[0].collisions  # of text: 0007 is not 7
    assert model.columns.encoder.report()[0].collisions == used
