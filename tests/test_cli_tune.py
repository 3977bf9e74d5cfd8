"""fwfm-gpu tune: the search of Python, and a command that trains with what it found."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.cli import main
from fwfm_gpu.cli_tune import as_flags, read_space
from fwfm_gpu.io import read_libffm, write_libffm

pytest.importorskip("optuna", reason="the search is Optuna's: fwfm-gpu[tune]")

FAST = ["--device", "numpy", "--epochs", "3", "--trials", "3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("tune"), np.random.default_rng(0)
    for name in ("train", "test"):
        ids = rng.integers(0, 5, (200, 3))
        y = (rng.random(200) < ids[:, 0] / 5).astype(int)
        write_libffm(folder / f"{name}.ffm", FieldMatrix.from_ids(ids, [5] * 3), y)
    return folder


def run(*arguments, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def test_it_finds_what_python_finds(files, path, capsys):
    given = ["--metric", "auc,logloss", "--test", files / "test.ffm", "--l2-linear", "1e-4", "--out", path]
    run("tune", files / "train.ffm", *FAST, *given, "--json")
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert [line.split()[:2] for line in err.splitlines()] == [["trial", "0"], ["trial", "1"], ["trial", "2"]]
    X, y = read_libffm(files / "train.ffm")
    want = fwfm_gpu.tune(
        X,
        y.astype(int),
        trials=3,
        metric=["auc", "logloss"],
        test_set=read_libffm(files / "test.ffm"),
        device="numpy",
        epochs=3,
        l2_linear=1e-4,
    )
    assert (told["metric"], told["value"], told["test"]) == ("auc", want.value, want.test)
    assert told["options"] == want.options
    assert [trial["value"] for trial in told["trials"]] == [trial.value for trial in want.trials]
    model = fwfm_gpu.load(path, device="numpy")
    np.testing.assert_array_equal(model.parameters.V, want.model.parameters.V)


def test_its_words_and_the_flags_that_train_the_model_anew(files, tmp_path, path, capsys):
    run("tune", files / "train.ffm", "-q", *FAST, "--out", path)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0].split()[:4] == ["trial", "logloss", "epochs", "state"]
    assert "on the rows held out, which flatters it" in out
    (flags,) = (line.partition(" ")[2] for line in out.splitlines() if line.startswith("options "))
    run("train", files / "train.ffm", "-q", "--out", tmp_path / "again", *shlex.split(flags))
    models = [fwfm_gpu.load(name, device="numpy") for name in (path, tmp_path / "again")]
    np.testing.assert_array_equal(models[0].parameters.V, models[1].parameters.V)


def test_a_table_is_encoded_once(files, capsys):
    pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
    pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
    rows = "".join(f"{'ab'[i % 2]},{i % 5},{'yes' if i % 3 else 'no'}\n" for i in range(90))
    (files / "t.csv").write_text("x,z,clicked\n" + rows)
    run("tune", files / "t.csv", "--label", "clicked", "--valid", files / "t.csv", *FAST, "--json", "-q")
    assert json.loads(capsys.readouterr().out)["rows"] == 90


def test_a_space_of_ones_own(files, capsys):
    space = '{"n_factors": [2, 3], "l2_factors": ["log", 1e-6, 1e-2], "init_scale": ["range", 0.01, 0.02]}'
    assert read_space(space) == {"n_factors": [2, 3], "l2_factors": (1e-6, 1e-2, "log"), "init_scale": (0.01, 0.02)}
    assert read_space('{"learning_rate": {"adam": ["log", 1, 2]}}') == {"learning_rate": {"adam": (1, 2, "log")}}
    run("tune", files / "train.ffm", *FAST, "--space", space, "--json", "-q")
    assert set(json.loads(capsys.readouterr().out)["trials"][0]["options"]) == {"n_factors", "l2_factors", "init_scale"}


@pytest.mark.parametrize("space", ["{", "[1]"])
def test_a_space_that_is_none_is_refused(files, space, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["tune", str(files / "train.ffm"), "--space", space])
    assert "--space: expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--trials", "0"], "--trials must be a whole number, 1 or above"),
        (["--space", '{"n_factors": 3}'], "space of n_factors must be a list of choices"),
        (["--out", "no/where"], "there is no folder"),
        (["--test", "nowhere.ffm"], "nowhere.ffm: No such file"),
    ],
)
def test_what_cannot_be_done_is_refused(files, given, said, capsys):
    run("tune", files / "train.ffm", *given, code=2)
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_options_as_flags():
    options = {"n_factors": 4, "shuffle": False, "eval_metric": ["auc", "ece"], "class_weight": {"no": 1, "a b": 2}}
    assert as_flags(options) == "--n-factors 4 --no-shuffle --eval-metric auc,ece --class-weight 'no=1,a b=2'"
