"""fwfm-gpu predict and evaluate: the numbers of Python, in parts, in every form."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder
from fwfm_gpu.cli import main
from fwfm_gpu.io import row_files, table_files

ROWS = 200
SHADES = {"logistic": ["no", "yes"], "softmax": ["blue", "green", "red"], "squared": None}


def make_table(seed: int) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "city": [["Oslo", "Bergen", None][c] for c in rng.integers(0, 3, ROWS)],
        "age": rng.integers(18, 90, ROWS).tolist(),
        "id": [f"{i:04d}" for i in range(ROWS)],
    }


def make_y(loss: str, seed: int) -> list:
    rng = np.random.default_rng(seed + 100)
    if loss == "squared":
        return rng.normal(size=ROWS).tolist()
    return [SHADES[loss][c] for c in rng.integers(0, len(SHADES[loss]), ROWS)]


@pytest.fixture(scope="module", params=list(SHADES))
def case(request, tmp_path_factory):
    """A model of each loss, its file, and a CSV file of other rows, whose cities look unlike."""
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    pa = pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    import pyarrow.csv
    import pyarrow.parquet

    folder, table = tmp_path_factory.mktemp("models"), make_table(1)
    rows = FieldEncoder().fit_transform({name: table[name] for name in ("city", "age")})
    model = fwfm_gpu.train(rows, make_y(request.param, 1), device="numpy", epochs=2, progress=False)
    model.save(folder / "model.fwfm")
    test = make_table(2) | {"truth": make_y(request.param, 2), "weight": list(range(1, ROWS + 1))}
    pyarrow.csv.write_csv(pa.table(test), folder / "test.csv")
    pyarrow.parquet.write_table(pa.table(test), folder / "test.parquet")
    return model, test, folder


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def read(text: str) -> tuple[list[str], list[list[str]]]:
    head, *lines = csv.reader(io.StringIO(text))
    return head, lines


@pytest.mark.parametrize("name", ["test.csv", "test.parquet"])
def test_predictions_are_those_of_python(case, name, capsys, monkeypatch):
    model, test, folder = case
    monkeypatch.setattr(table_files, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(table_files, "ROWS_AT_ONCE", 37)
    run("predict", folder / "model.fwfm", folder / name, "--device", "numpy")
    out, err = capsys.readouterr()
    head, lines = read(out)
    assert (head, err) == (["prediction"], "")
    assert [line[0] for line in lines] == [str(value) for value in model.predict(test).tolist()]


def test_scores_probabilities_and_kept_columns(case, capsys):
    model, test, folder = case
    wanted = {"id": test["id"], "age": test["age"]}
    asked = ["--scores"]
    if model.loss != "squared":
        asked.append("--proba")
        p = model.predict_proba(test)
        wanted |= {f"probability_{label}": p[:, c].tolist() for c, label in enumerate(model.classes)}
    s = model.decision_function(test)
    several = model.loss == "softmax"
    wanted |= (
        {f"score_{label}": s[:, c].tolist() for c, label in enumerate(model.classes)}
        if several
        else {"score": s.tolist()}
    )
    run("predict", folder / "model.fwfm", folder / "test.csv", "--keep", "id,age", "--device", "numpy", *asked)
    head, lines = read(capsys.readouterr().out)
    assert head == list(wanted)
    for name, column in zip(head, zip(*lines, strict=True), strict=True):
        assert list(column) == [str(value) for value in wanted[name]]
    run(
        "predict", folder / "model.fwfm", folder / "test.csv", "--keep", "id,age", "--device", "numpy", "--json", *asked
    )
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [dict(zip(wanted, row, strict=True)) for row in zip(*wanted.values(), strict=True)]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_predictions_in_a_file(case, form, tmp_path, capsys):
    model, test, folder = case
    out = tmp_path / f"predictions.{form}"
    run("predict", folder / "model.fwfm", folder / "test.csv", "--out", out, "--device", "numpy", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["out"]) == (ROWS, str(out))
    want = model.predict(test).tolist()
    if form == "csv":
        assert [line[0] for line in read(out.read_text())[1]] == [str(value) for value in want]
    elif form == "jsonl":
        assert [json.loads(line) for line in out.read_text().splitlines()] == [{"prediction": value} for value in want]
    else:
        assert table_files.open_table_file(out, "parquet").read().to_pydict() == {"prediction": want}
    run("predict", folder / "model.fwfm", folder / "test.csv", "--out", out, "--device", "numpy")
    assert capsys.readouterr().out.startswith(f"rows  {ROWS} in ")


@pytest.mark.parametrize("option", [[], ["--proba"], ["--scores"], ["--keep", "id,city", "--proba", "--scores"]])
def test_no_rows_are_a_head_alone(case, option, tmp_path, capsys):
    _, _, folder = case
    whole, empty = folder / "test.csv", tmp_path / "empty.csv"
    empty.write_text(whole.read_text().splitlines()[0] + "\n")
    refused = case[0].loss == "squared" and "--proba" in option
    run("predict", folder / "model.fwfm", whole, "--device", "numpy", *option, code=2 if refused else 0)
    head = capsys.readouterr().out.splitlines()[:1]
    for name in ("out.csv", "out.parquet", "out.jsonl"):
        out = tmp_path / name
        run("predict", folder / "model.fwfm", empty, "--device", "numpy", "--out", out, *option, code=2 * refused)
    if not refused:
        assert (tmp_path / "out.csv").read_text().splitlines() == head
        names = table_files.open_table_file(tmp_path / "out.parquet", "parquet").names
        assert ",".join(names) == head[0]
        assert (tmp_path / "out.jsonl").read_text() == ""


def test_a_name_that_tells_no_form_is_refused(case, tmp_path, capsys):
    _, _, folder = case
    run("predict", folder / "model.fwfm", folder / "test.csv", "--out", tmp_path / "p.txt", code=2)
    assert "ends in .csv, .parquet or .jsonl, got .txt" in capsys.readouterr().err
    assert not (tmp_path / "p.txt").exists()


def test_a_date_is_kept_as_it_is_written(tmp_path, path, capsys):
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    times = [f"2024-01-0{1 + i % 7} 1{i % 10}:30:00" for i in range(40)]
    lines = ["when,clicked", *(f"{time},{i % 2}" for i, time in enumerate(times))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    numpy = ["--device", "numpy", "--epochs", "1", "-q"]
    run("train", tmp_path / "a.csv", "--label", "clicked", "--dates", "when=hour", "--out", path, *numpy)
    capsys.readouterr()
    run("predict", path, tmp_path / "a.csv", "--device", "numpy", "--scores")
    scores = [line[0] for line in read(capsys.readouterr().out)[1]]
    run("predict", path, tmp_path / "a.csv", "--device", "numpy", "--scores", "--keep", "when")
    assert read(capsys.readouterr().out) == (
        ["when", "score"],
        [list(pair) for pair in zip(times, scores, strict=True)],
    )


def test_standard_input_is_csv(case, monkeypatch, capsys):
    model, test, folder = case
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "test.csv").read_bytes())))
    run("predict", folder / "model.fwfm", "-", "--device", "numpy")
    assert [line[0] for line in read(capsys.readouterr().out)[1]] == [
        str(value) for value in model.predict(test).tolist()
    ]


def test_metrics_are_those_of_training(case, capsys):
    model, test, folder = case
    run("evaluate", folder / "model.fwfm", folder / "test.csv", "--label", "truth", "--device", "numpy", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == ROWS
    assert told["metrics"] == fwfm_gpu.evaluate(model, test, test["truth"])
    wanted = list(told["metrics"])
    table = make_table(1)
    seen = fwfm_gpu.train(
        FieldEncoder().fit_transform({name: table[name] for name in ("city", "age")}),
        make_y(model.loss, 1),
        eval_set=(model.columns.encoder.transform(test), test["truth"]),
        eval_metric=wanted,
        device="numpy",
        epochs=2,
        progress=False,
    )
    assert told["metrics"] == seen.history[-1].metrics


def test_weights_count(case, capsys):
    model, _, folder = case
    metric = "rmse" if model.loss == "squared" else "logloss"
    told = []
    for weight in ([], ["--weight", "weight"]):
        given = ["--label", "truth", "--metric", metric, "--json", "--device", "numpy", *weight]
        run("evaluate", folder / "model.fwfm", folder / "test.csv", *given)
        told.append(json.loads(capsys.readouterr().out)["metrics"])
    assert list(told[0]) == list(told[1]) == [metric]
    assert told[0] != told[1]


def test_groups_are_ranked_by_themselves(case, capsys):
    model, test, folder = case
    if model.loss != "logistic":
        pytest.skip("lists are ranked by the score of one class")
    given = ["--label", "truth", "--group", "city_code", "--metric", "gauc,ndcg@5", "--json", "--device", "numpy"]
    rows = list(csv.reader((folder / "test.csv").read_text().splitlines()))
    codes = [str(i % 7) for i in range(ROWS)]
    with open(folder / "groups.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [[*rows[0], "city_code"], *([*row, code] for row, code in zip(rows[1:], codes, strict=True))]
        )
    run("evaluate", folder / "model.fwfm", folder / "groups.csv", *given)
    want = fwfm_gpu.evaluate(model, test, test["truth"], group=codes, metrics=["gauc", "ndcg@5"])
    assert json.loads(capsys.readouterr().out)["metrics"] == want


def test_what_is_required_decides(case, capsys):
    model, _, folder = case
    metric = "rmse" if model.loss == "squared" else "logloss"
    given = ["evaluate", folder / "model.fwfm", folder / "test.csv", "--label", "truth", "--metric", metric]
    run(*given, "--device", "numpy", "--require", f"{metric}<100")
    run(*given, "--device", "numpy", "--require", f"{metric}<100", "--require", f"{metric}<=0.0001", code=1)
    out, err = capsys.readouterr()
    assert metric in out
    assert err == f"fwfm-gpu: not so: {metric}<=0.0001\n"
    with pytest.raises(SystemExit, match="2"):
        run(*given, "--require", "good")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "nowhere", "test.csv"], "nowhere: No such file or directory"),
        (["predict", "test.csv", "test.csv"], "test.csv"),
        (["predict", "model.fwfm", "a.ffm"], "trained on a table with the columns city, age, and this is libffm"),
        (["predict", "model.fwfm", "bare.csv"], "bare.csv: there is no column 'city'. There are: age"),
        (["predict", "model.fwfm", "test.csv", "--keep", "name"], "there is no column 'name'"),
        (["predict", "model.fwfm", "test.csv", "--out", "no/where"], "there is no folder"),
        (["predict", "model.fwfm", "word.csv"], "column 'age': expected values of type double: invalid value 'old'"),
        (["evaluate", "model.fwfm", "test.csv"], "which column holds the truth? Say --label COLUMN"),
        (["evaluate", "model.fwfm", "test.csv", "--label", "truth", "--metric", "beauty"], "'beauty' is unknown"),
    ],
)
def test_what_cannot_be_done_is_refused(case, monkeypatch, capsys, arguments, said):
    _, _, folder = case
    monkeypatch.chdir(folder)
    (folder / "a.ffm").write_text("1 0:0:1\n")
    (folder / "bare.csv").write_text("age\n7\n")
    (folder / "word.csv").write_text("city,age\nOslo,old\n")
    run(*arguments, code=2)
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("form", ["libffm", "libsvm"])
def test_rows_are_read_in_the_columns_of_the_model(tmp_path, path, form, capsys, monkeypatch):
    monkeypatch.setattr(row_files, "ROWS_AT_ONCE", 2)
    pairs = ["0:0", "0:1", "1:2", "1:3"] if form == "libffm" else ["1", "2", "3", "4"]
    lines = [f"{i % 2} {pairs[i % 2]}:1 {pairs[2 + i % 2]}:2\n" for i in range(8)]
    (tmp_path / "train").write_text("".join(lines))
    strange = "2:9" if form == "libffm" else "9"
    (tmp_path / "test").write_text(f"1 {pairs[1]}:1 {strange}:1\n" + "".join(lines[:5]))
    run("train", tmp_path / "train", "--format", form, "--out", path, "--device", "numpy", "-q")
    capsys.readouterr()
    run("predict", path, tmp_path / "test", "--format", form, "--scores", "--device", "numpy")
    out, err = capsys.readouterr()
    model = fwfm_gpu.load(path, device="numpy")
    dense = np.array([[0, 1, 0, 0], *([[1, 0, 2, 0], [0, 1, 0, 2]] * 3)[:5]], float)
    assert read(out)[1] == [[str(score)] for score in model.decision_function(dense).tolist()]
    assert err == "fwfm-gpu: 1 entries are of features that the model does not know: left out\n"
    run("evaluate", path, tmp_path / "test", "--format", form, "--metric", "accuracy", "--json", "--device", "numpy")
    want = np.mean(model.predict(dense) == [1, 0, 1, 0, 1, 0])
    assert json.loads(capsys.readouterr().out)["metrics"] == {"accuracy": pytest.approx(want, abs=1e-15)}


def test_a_table_is_not_for_a_model_of_rows(tmp_path, path, capsys):
    pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    fwfm_gpu.train([[0, 1], [1, 0]], [0, 1], device="numpy", epochs=1, progress=False).save(path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    run("predict", path, tmp_path / "a.csv", code=2)
    assert "trained on rows without an encoder" in capsys.readouterr().err
