"""fwfm-gpu warmup leaves nothing to compile for training and scoring, and says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fwfm_gpu
from fwfm_gpu import warmup
from fwfm_gpu.cli import main
from fwfm_gpu.errors import OptionError
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.warmup import EVERYTHING, USUAL, Choice, Variant, Warmed

needs_numba = pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed: there is no compiled engine")

# What users do with the options' defaults: rows of one feature per field, and others; one thread, and several.
USE = """
import numpy as np
import numba.core.event as event
import fwfm_gpu
from fwfm_gpu import FieldMatrix

rng = np.random.default_rng(0)
X = rng.integers(0, 5, (3000, 40)) * rng.normal(size=(3000, 40))
alike = FieldMatrix.from_ids(rng.integers(0, 9, (3000, 40)), [9] * 40)
unlike = FieldMatrix.from_matrix(X, fields=np.arange(40) % 7)
y = np.arange(3000) % 2
with event.install_recorder("numba:compile") as recorder:
    for rows in (alike, unlike):
        for n_threads in (1, 2):
            model = fwfm_gpu.train(rows, y, device="cpu", n_threads=n_threads, epochs=1, progress=False)
            model.predict_proba(rows)
    model.scorer().score([1, 2])
print([str(what.data["dispatcher"]) for _, what in recorder.buffer if what.is_start])
"""


def run_python(folder: Path, *arguments: str) -> str:
    """What a fresh interpreter prints that has the same package, and keeps code in a folder that no other test uses."""
    home = str(Path(fwfm_gpu.__file__).parents[1])
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": home, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def warm_up(folder: Path) -> dict:
    """What the command says in a process of its own, of the defaults of ``train``."""
    return json.loads(run_python(folder, "-m", "fwfm_gpu.cli", "warmup", "--n-factors", "8", "--json"))


@needs_numba
def test_what_is_warm_is_read_and_not_compiled(tmp_path):
    first, second = warm_up(tmp_path), warm_up(tmp_path)
    kernels = second["kernels"]
    assert [kernel["came"] for kernel in kernels] == ["read"] * len(kernels)
    assert first["folder"] == second["folder"] and tmp_path in Path(first["folder"]).parents
    for told in (first, second):
        assert {kernel["kernel"] for kernel in told["kernels"]} >= {
            *("sum_blocks", "score_blocks", "score_one"),
            *("step_features", "step_others", "put_back_features", "put_back_others"),
        }
        assert {kernel["rows"] for kernel in told["kernels"]} == {"alike", "unlike", "single"}
        variant = {"dtype": "float32", "n_factors": 8, "loss": "logistic", "optimizer": "adagrad"}
        assert all(kernel.items() >= variant.items() for kernel in told["kernels"])
        assert 0 < sum(kernel["seconds"] for kernel in told["kernels"]) <= told["seconds"]
    assert run_python(tmp_path, "-c", USE).strip() == "[]"


@needs_numba
def test_lines_and_a_total(capsys):
    assert main(["warmup", "--n-factors", "8"]) == 0
    code, *lines, total = capsys.readouterr().out.splitlines()
    assert code == f"code: {warmup.code_folder()}"
    assert lines[0] == "float32, 8 factors, logistic, adagrad"
    assert lines[-1].split()[:2] == ["unlike", "score_blocks"]
    compiled = sum(line.split()[2] == "compiled" for line in lines[1:])
    assert total.startswith(f"{len(lines) - 1} kernels ready, {compiled} of them compiled now, in ")


# ---- what is asked for


@pytest.fixture
def asked(monkeypatch):
    """The variants that a command would compile for, without compiling them."""
    asked = []

    def warm(variants):
        for variant in variants:
            asked.append(variant)
            yield Warmed(variant, "alike", "a_kernel", "compiled", 1.25)
            yield Warmed(variant, "unlike", "a_kernel", "read", 0.5)

    monkeypatch.setattr(warmup, "warm", warm)
    monkeypatch.setattr(warmup, "code_folder", lambda: None)
    return asked


def test_by_default_what_train_does_by_default(asked, capsys):
    assert main(["warmup"]) == 0
    assert asked == [Variant("float32", k, "logistic", "adagrad") for k in (8, 16)]
    options = fwfm_gpu.options.Options(loss="logistic")
    assert asked[0].options() == options
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("code: not kept, since numba finds no folder that may be written; NUMBA_CACHE_DIR")
    assert printed[1:4] == [
        "float32, 8 factors, logistic, adagrad",
        "  alike   a_kernel            compiled    1.25 s",
        "  unlike  a_kernel            read        0.50 s",
    ]
    assert printed[-1].startswith("4 kernels ready, 2 of them compiled now, in 0.")


def test_values_go_with_commas_or_one_by_one(asked):
    given = ["--dtype", "float64, float32", "--n-factors", "4", "--n-factors", "0,3", "--loss", "squared"]
    assert main(["warmup", *given, "--optimizer", "sgd"]) == 0
    assert asked == [Variant(dtype, k, "squared", "sgd") for dtype in ("float64", "float32") for k in (4, 0, 3)]


def test_all_is_all_that_is_not_named(asked):
    assert main(["warmup", "--all", "--dtype", "float32"]) == 0
    assert asked == list(Choice(("float32",), EVERYTHING.n_factors, tuple(LOSSES), tuple(RULES)).variants())
    assert len(list(USUAL.variants())) == 2


def test_json_alone_goes_to_standard_output(asked, capsys):
    assert main(["warmup", "--n-factors", "8", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["folder"] is None
    assert told["kernels"][0] == {
        "dtype": "float32",
        "n_factors": 8,
        "loss": "logistic",
        "optimizer": "adagrad",
        "rows": "alike",
        "kernel": "a_kernel",
        "came": "compiled",
        "seconds": 1.25,
    }
    assert "a_kernel" in captured.err


@pytest.mark.parametrize(
    ("option", "value", "wrong"),
    [
        ("--dtype", "float16", "--dtype must be one of 'float32', 'float64'; got 'float16'"),
        ("--n-factors", "8,-1", "--n-factors must be a whole number, 0 or above; got -1"),
        ("--loss", "auto", "--loss must be one of 'logistic', 'squared', 'softmax'; got 'auto'"),
        ("--optimizer", "adagrad,adamw", "--optimizer must be one of "),
    ],
)
def test_a_wrong_value_is_refused_before_work_starts(option, value, wrong, asked, capsys):
    assert main(["warmup", option, value]) == 2
    assert f"fwfm-gpu: {wrong}" in capsys.readouterr().err
    assert not asked


def test_a_variant_is_checked():
    with pytest.raises(OptionError, match="n_factors must be a whole number"):
        Variant("float32", 8.5, "logistic", "adagrad")


def test_all_numbers_of_factors_with_code_of_their_own():
    step = pytest.importorskip("fwfm_gpu.backends.compiled_step", reason="numba is not installed", exc_type=ImportError)
    assert {step.common_factors(k) for k in EVERYTHING.n_factors} == {0, *step.COMMON_FACTORS}


def test_without_numba_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert main(["warmup"]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err == (
        "fwfm-gpu: the compiled engine of --device cpu needs numba, which is not installed. Install fwfm-gpu[cpu]: "
        "pip install 'fwfm-gpu[cpu]'.\n"
    )
