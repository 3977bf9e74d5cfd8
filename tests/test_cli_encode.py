"""fwfm-gpu encode and convert, and training on what they write and on streams."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.cli import main
from fwfm_gpu.io import read_libffm, read_libsvm, table_files, write_libffm

NUMPY = ["--device", "numpy", "--epochs", "2", "-q"]


def make_table(seed: int, rows: int = 150) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "city": [["Oslo", "Bergen", "Bodø"][c] for c in rng.integers(0, 3 if seed == 1 else 2, rows)],
        "age": rng.integers(18, 90, rows).tolist(),
        "weight": rng.integers(1, 4, rows).tolist(),
        "clicked": [["no", "yes"][c] for c in rng.integers(0, 2, rows)],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    pa = pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    import pyarrow.csv
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("tables")
    for name, seed in (("train", 1), ("test", 2)):
        table = pa.table(make_table(seed))
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    return folder


@pytest.fixture
def encoded():
    """Rows of training and test, as Python encodes them."""
    train, test = ({name: make_table(seed)[name] for name in ("city", "age")} for seed in (1, 2))
    rows = FieldEncoder(min_count=2).fit_transform(train)
    return rows, rows.encoder.transform(test)


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def dense(rows):
    return rows.to_csr().toarray()


COLUMNS = ["--label", "clicked", "--columns", "city,age"]


def test_encoded_text_is_what_python_encodes(files, encoded, tmp_path, capsys):
    out = tmp_path / "train.ffm.gz"
    run("encode", files / "train.csv", *COLUMNS, "--min-count", "2", "--out", out)
    rows, y = read_libffm(out)
    np.testing.assert_array_equal(dense(rows), dense(encoded[0]))
    np.testing.assert_array_equal(rows.fields, encoded[0].fields)
    assert y.tolist() == [float(label == "yes") for label in make_table(1)["clicked"]]
    printed = capsys.readouterr().out
    assert str(encoded[0].encoder.report()).splitlines()[0].split()[:3] == printed.splitlines()[0].split()[:3]
    assert "150 of 2 fields" in printed and "labels  no is 0, yes is 1" in printed and str(out) in printed


def test_several_files_are_encoded_alike(files, encoded, tmp_path, capsys):
    given = ["--min-count", "2", "--out", tmp_path / "both", "--json"]
    run("encode", files / "train.csv", files / "test.parquet", *COLUMNS, *given)
    told = json.loads(capsys.readouterr().out)
    assert told["labels"] == ["no", "yes"]
    assert [(one["rows"], one["features"]) for one in told["files"]] == [(150, encoded[0].n_features)] * 2
    assert [[field["name"] for field in one["report"]] for one in told["files"]] == [["city", "age"]] * 2
    for name, want in zip(("train", "test"), encoded, strict=True):
        rows, _ = read_libffm(tmp_path / "both" / f"{name}.ffm", n_features=want.n_features, n_fields=2)
        np.testing.assert_array_equal(dense(rows), dense(want))


def test_as_a_model_encodes(files, encoded, tmp_path, path):
    fwfm_gpu.train(encoded[0], make_table(1)["clicked"], device="numpy", epochs=1, progress=False).save(path)
    run("encode", files / "test.csv", *COLUMNS, "--like", path, "--out", tmp_path / "test.svm")
    rows, _ = read_libsvm(tmp_path / "test.svm", zero_based=False, n_features=encoded[1].n_features)
    np.testing.assert_array_equal(dense(rows), dense(encoded[1]))


def test_what_cannot_be_encoded(files, tmp_path, path, capsys):
    fwfm_gpu.train([[0, 1], [1, 0]], [0, 1], device="numpy", epochs=1, progress=False).save(path)
    (tmp_path / "a.ffm").write_text("1 0:0:1\n")
    (tmp_path / "train.csv").write_text("clicked,x\n1,2\n")
    for arguments, said in (
        ([tmp_path / "a.ffm", "--out", tmp_path / "b.ffm"], "these are rows already"),
        (
            [files / "train.csv", *COLUMNS, "--like", path, "--out", tmp_path / "b"],
            "expected an encoder, and its rows had none",
        ),
        ([files / "train.csv", tmp_path / "train.csv", *COLUMNS, "--out", tmp_path / "c"], "files of one name"),
        ([files / "train.csv", *COLUMNS, "--out", tmp_path / "no" / "b"], "there is no folder"),
    ):
        run("encode", *arguments, code=2)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train.csv", "train.parquet"])
def test_a_converted_file_trains_like_the_table(files, tmp_path, path, name, capsys, monkeypatch):
    monkeypatch.setattr(table_files, "BLOCK_BYTES", 2048)
    rows = tmp_path / "rows"
    columns = [*COLUMNS, "--weight", "weight"]
    run("convert", files / name, *columns, "--out", rows, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["fields"], told["path"]) == (150, 2, str(rows))
    run("train", rows, "--out", path, *NUMPY)
    run("train", files / name, *columns, "--stream", "--out", tmp_path / "stream", *NUMPY)
    run("train", files / name, *columns, "--out", tmp_path / "memory", *NUMPY)
    models = [fwfm_gpu.load(one, device="numpy") for one in (path, tmp_path / "stream", tmp_path / "memory")]
    for model in models[:2]:
        np.testing.assert_array_equal(model.parameters.V, models[2].parameters.V)
        assert model.classes.tolist() == ["no", "yes"]
    capsys.readouterr()
    run("predict", path, files / "test.csv", "--device", "numpy")
    assert len(capsys.readouterr().out.splitlines()) == 151


def test_rows_are_converted_too(tmp_path, path, capsys):
    rng = np.random.default_rng(0)
    write_libffm(tmp_path / "a.ffm", FieldMatrix.from_ids(rng.integers(0, 5, (80, 3)), [5] * 3), rng.integers(0, 2, 80))
    run("convert", tmp_path / "a.ffm", "--out", tmp_path / "rows")
    assert capsys.readouterr().out.startswith("rows  80 of 3 fields, 15 features, 240 values\nout ")
    run("train", tmp_path / "rows", "--out", path, *NUMPY)
    run("train", tmp_path / "a.ffm", "--out", tmp_path / "memory", *NUMPY)
    got, want = (fwfm_gpu.load(one, device="numpy") for one in (path, tmp_path / "memory"))
    np.testing.assert_array_equal(got.parameters.V, want.parameters.V)


def test_columns_are_learned_from_so_many_rows_of_a_stream(files, tmp_path, path):
    given = [files / "train.csv", *COLUMNS, "--fit-rows", "40"]
    run("train", *given, "--stream", "--out", path, *NUMPY)
    run("convert", *given, "--out", tmp_path / "rows")
    run("train", tmp_path / "rows", "--out", tmp_path / "converted", *NUMPY)
    sample = {name: column[::4] for name, column in make_table(1).items() if name in ("city", "age")}  # 38 of 150
    want = fwfm_gpu.FieldEncoder().fit(sample).get_feature_names_out().tolist()
    for model in (path, tmp_path / "converted"):
        assert fwfm_gpu.load(model, device="numpy").columns.encoder.get_feature_names_out().tolist() == want


def test_a_stream_is_evaluated_on_tables(files, path, capsys):
    given = ["--stream", "--valid", files / "test.csv", "--json", "--patience", "1"]
    run("train", files / "train.csv", *COLUMNS, "--out", path, *given, *NUMPY)
    assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["logloss"]


def test_what_a_stream_cannot_do(files, tmp_path, path, capsys):
    (tmp_path / "a.ffm").write_text("1 0:0:1\n0 0:1:1\n")
    for arguments, said in (
        (
            [files / "train.csv", *COLUMNS, "--validation-fraction", "0.1"],
            "--validation-fraction holds out rows in memory",
        ),
        ([files / "train.csv", *COLUMNS, "--continue", "m"], "--continue is for rows in memory"),
        ([tmp_path / "a.ffm", "--valid", tmp_path / "a.ffm"], "a stream is evaluated on CSV, Parquet or Arrow"),
        ([tmp_path / "a.ffm", "--fit-rows", "9"], "--fit-rows is for CSV, Parquet and Arrow, and this is libffm"),
        ([tmp_path / "a.ffm", "--shared-ids", "split"], "are for rows that are read at once"),
        (["-", *COLUMNS], "standard input cannot be read more than once"),
    ):
        run("train", *arguments, "--stream", "--out", path, *NUMPY, code=2)
        assert said in capsys.readouterr().err
