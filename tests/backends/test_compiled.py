"""Machine code: when it is made anew, where it is kept, what it is made of."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from engine_data import Spec, drive, make_problem

import fwfm_gpu
from fwfm_gpu.backends import get_backend
from fwfm_gpu.losses import logistic_slope, squared_slope
from fwfm_gpu.optimizers import FTRL, RULES, SGD, AdaGrad, Adam, Corrections, Given, Penalty, sgd

numba = pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

caching = import_module("numba.core.caching")
compiled = import_module("fwfm_gpu.backends.compiled")
compiled_step = import_module("fwfm_gpu.backends.compiled_step")
as_argument = import_module("fwfm_gpu.backends.compiled_tables").as_argument

PACKAGE = Path(fwfm_gpu.__file__).parent
SPEC = Spec(pattern="alike", k=8, weighted=True)

# Bound when compiled.
FORMULA = sgd
K = 0


def step(theta, mean, given):
    return FORMULA(theta, mean, (), given)[0]


def first_number(array):
    return array[0]


def factors():
    return K


def fresh(function, **constants):
    """Machine code as another process would get it."""
    return compiled.machine.__wrapped__(function, **constants)


def hits(kernel) -> tuple[int, int]:
    """How often code was read from disk, and how often it was made."""
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for code."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


# ---- constants


def test_constants_make_other_code(folder):
    for _ in range(2):  # made, then read
        assert [fresh(factors, K=k)() for k in (8, 0, 16)] == [8, 0, 16]


def test_functions_are_constants_too(folder):
    T = np.float32
    for _ in range(2):
        for formula, rule, want in ((sgd, SGD, 0.875), (opposite, SGD, 1.125)):
            given = Given(rule(0.5).constants("float32"), Penalty(T(0), T(0)), None)
            assert fresh(step, FORMULA=formula)(T(1), T(0.25), given) == want


def opposite(theta, mean, state, given):
    return theta + given.rule.learning_rate * mean, state


opposite.__module__ = "fwfm_gpu.optimizers"  # of the package, so it is compiled


def test_the_same_constants_are_compiled_once():
    assert compiled.machine(factors, K=8) is compiled.machine(factors, K=8)
    assert compiled.machine(factors, K=8) is not compiled.machine(factors, K=4)


@pytest.mark.parametrize("size", [0, 3])
def test_read_only_arrays_take_the_code_of_others(size):
    array = np.arange(size)
    array.setflags(write=False)
    argument = as_argument(array)
    assert numba.typeof(argument) == numba.typeof(np.arange(size))
    assert (size == 0) != np.shares_memory(argument, array)


# ---- the folder


def test_code_is_read_from_disk(folder):
    first, second = fresh(factors, K=8), fresh(factors, K=8)
    assert (first(), hits(first)) == (8, (0, 1))
    assert (second(), hits(second)) == (8, (1, 0))


def test_a_full_disk_is_no_error(folder, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", fill)
    kernel = fresh(first_number)
    assert kernel(np.array([3.0])) == 3
    assert kernel(np.array([4])) == 4
    assert hits(kernel) == (0, 2)


def test_a_folder_that_cannot_be_read_is_no_error(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    fresh(factors, K=8)()
    monkeypatch.setattr(caching.IndexDataCacheFile, "_load_index", refuse)
    assert fresh(factors, K=8)() == 8


@pytest.mark.parametrize("kept", [0, 10, 0.5])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_file_is_no_error(folder, kind, kept):
    fresh(factors, K=8)()
    (path,) = folder.rglob(f"*.{kind}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if kept < 1 else kept])
    assert fresh(factors, K=8)() == 8
    again = fresh(factors, K=8)
    assert (again(), hits(again)) == (8, (1, 0))  # the file is whole again


def test_code_for_other_types_is_not_run(folder):
    """Two processes that compile for different types at once may leave one's code under the other's name."""
    fresh(first_number)(np.array([1.5], np.float32))
    (path,) = folder.rglob("*.nbc")
    of_float32 = path.read_bytes()
    for path in folder.rglob("*.nb?"):
        path.unlink()
    fresh(first_number)(np.array([1.5]))
    (path,) = folder.rglob("*.nbc")
    path.write_bytes(of_float32)
    assert fresh(first_number)(np.array([1.5])) == 1.5


# ---- processes


PROBE = """
import numpy as np
from fwfm_gpu.backends.compiled import machine
from fwfm_gpu.optimizers import SGD, Given, Penalty, sgd

FORMULA = sgd

def step(theta, mean, given):
    return FORMULA(theta, mean, (), given)[0]

if __name__ == "__main__":
    T, kernel = np.float32, machine(step, FORMULA=sgd)
    print(kernel(T(1), T(0.25), Given(SGD(0.5).constants("float32"), Penalty(T(0), T(0)), None)))
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, and in it a module that compiles a formula."""
    shutil.copytree(PACKAGE, tmp_path / "copy" / "fwfm_gpu", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy" / "fwfm_gpu" / "backends" / "probe.py").write_text(PROBE)
    return tmp_path / "copy"


def run(folder: Path, *command: str, **variables: str) -> list[str]:
    """What another Python prints that takes the package from a folder; it has nothing to complain of."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def run_probe(copy: Path, **variables: str) -> list[str]:
    return run(copy, "-m", "fwfm_gpu.backends.probe", **variables)


def test_an_edit_in_another_file_is_seen(copy, tmp_path):
    variables = {"NUMBA_CACHE_DIR": str(tmp_path / "code")}
    assert run_probe(copy, **variables) == ["0.875", "0 1"]
    assert run_probe(copy, **variables) == ["0.875", "1 0"]
    formulas = copy / "fwfm_gpu" / "optimizers.py"
    before, after = "return theta - given.rule.learning_rate * g", "return theta + given.rule.learning_rate * g"
    text = formulas.read_text()
    assert text.count(before) == 1
    formulas.write_text(text.replace(before, after))
    assert run_probe(copy, **variables) == ["1.125", "0 1"]
    formulas.write_text(text)
    assert run_probe(copy, **variables) == ["0.875", "1 0"]


EDIT = """
import sys
from pathlib import Path
from fwfm_gpu.backends import compiled

print(compiled.hash_sources())
for path in map(Path, sys.argv[1:]):
    path.write_text(path.read_text() + "\\n")
    compiled.hash_sources.cache_clear()
    print(compiled.hash_sources())
"""


def test_an_edit_in_any_compiled_file_is_seen(copy, monkeypatch):
    instructions = ("compiled", "compiled_types", "compiled_structures", "compiled_operations")
    modules = compiled_modules(monkeypatch) | {f"fwfm_gpu.backends.{name}" for name in instructions}
    assert {"fwfm_gpu.losses", "fwfm_gpu.numerics", "fwfm_gpu.backends.lanes"} < modules
    paths = [str(copy / (name.replace(".", "/") + ".py")) for name in sorted(modules)]
    hashes = run(copy, "-c", EDIT, *paths)
    assert len(set(hashes)) == len(hashes) == 1 + len(paths)


def compiled_modules(monkeypatch) -> set[str]:
    """The modules of all functions that kernels are made of, and of lanes."""
    found = {"fwfm_gpu.backends.lanes"}
    bind = compiled.bind

    def record(function, constants):
        found.add(function.__module__)
        return bind(function, constants)

    monkeypatch.setattr(compiled, "bind", record)
    compiled.callee.cache_clear()
    for part in ("alone", "batch", "coordinates", "gradients", "items", "rows", "scores", "slots", "work"):
        module = import_module(f"fwfm_gpu.backends.compiled_{part}")
        for function in (vars(module)[name] for name in module.__all__):
            if type(function) is FunctionType:
                fresh(function, K=5)  # a number of factors that nothing else has: all is bound anew
    for formula in (*(rule.formula for rule in RULES.values()), logistic_slope, squared_slope):
        fresh(formula, K=5)
    return found


def test_without_any_folder(copy):
    """The package's and the user's are files, and so is the one that is named."""
    (copy / "fwfm_gpu" / "backends" / "__pycache__").touch()
    (nowhere := copy / "file").touch()
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(nowhere))
    for _ in range(2):
        assert run_probe(copy, **homes) == ["0.875", "0 1"]


@pytest.mark.parametrize("kind", ["user's", "package's"])
def test_the_next_folder_is_taken(copy, tmp_path, kind):
    if kind == "user's":
        (copy / "fwfm_gpu" / "backends" / "__pycache__").touch()
    (nowhere := copy / "file").touch()
    (home := tmp_path / "home").mkdir()
    for want in ("0 1", "1 0"):
        assert run_probe(copy, NUMBA_CACHE_DIR=str(nowhere), XDG_CACHE_HOME=str(home)) == ["0.875", want]
    assert bool([*home.rglob("*.nbc")]) == (kind == "user's")


TRAIN = """
import numba.core.event as event
import numpy as np
import fwfm_gpu

rng = np.random.default_rng(0)
X = fwfm_gpu.FieldMatrix.from_ids(rng.integers(5, size=(300, 6)), [5] * 6)
with event.install_recorder("numba:compile") as recorder:
    fwfm_gpu.train(X, rng.integers(2, size=300), n_factors=8, epochs=1, device="cpu", progress=False)
print(len(recorder.buffer))
"""


def test_a_second_process_compiles_nothing():
    folder = str(PACKAGE.parent)
    run(folder, "-c", TRAIN)
    assert run(folder, "-c", TRAIN) == ["0"]


# ---- what code is made of

FUSED = ("vfmadd", "vfmsub", "vfnmadd", "vfnmsub", "fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub")


def assembly(kernel) -> str:
    return "".join(kernel.inspect_asm().values())


@numba.njit(fastmath=True)
def fused(a, b, c):
    return a * b + c


def test_nothing_is_fused(monkeypatch):
    fused(1.0, 2.0, 3.0)
    if not any(name in assembly(fused) for name in FUSED):
        pytest.skip("this processor, or numba on it, fuses nothing even where that is allowed")
    kernels, machine = {}, compiled.machine

    def record(function, **constants):
        kernel = machine(function, **constants)
        kernels[function.__name__] = function, constants, kernel
        return kernel

    monkeypatch.setattr(compiled_step, "machine", record)
    monkeypatch.setattr(compiled_step, "FEW_PRODUCTS", 0)  # small batches are not left to one thread
    drive(get_backend("cpu", n_threads=2), make_problem(SPEC))
    monkeypatch.setattr(compiled, "CodeCache", refuse_to_keep)  # code from disk cannot be looked at
    for name in ("sum_blocks", "step_features"):
        function, constants, kernel = kernels[name]
        again = fresh(function, **constants)
        again.compile(kernel.signatures[0])
        text = assembly(again)
        assert len(text) > 10_000
        assert not [instruction for instruction in FUSED if instruction in text], name


def refuse_to_keep(function):
    raise RuntimeError


@pytest.mark.parametrize("T", [np.float32, np.float64])
@pytest.mark.parametrize("rule", [SGD(0.1), AdaGrad(0.1), Adam(0.1), FTRL(0.1)], ids=lambda rule: rule.name)
def test_formulas_stay_in_their_type(rule, T):
    given = Given(rule.constants(T), Penalty(T(0.1), T(0.2)), Corrections(T(0.1), T(0.2)))
    state = tuple(T(0.5) for _ in rule.moments)
    kernel = fresh(rule.formula)
    theta, moments = kernel(T(1), T(0.3), state, given)
    (overload,) = kernel.nopython_signatures
    number = numba.from_dtype(np.dtype(T))
    assert overload.return_type[0] == number
    assert list(overload.return_type[1]) == [number for _ in rule.moments]
    with np.errstate(all="raise"):
        want, want_moments = rule.formula(T(1), T(0.3), state, given)
    assert (T(theta), *map(T, moments)) == (want, *want_moments)


@pytest.mark.parametrize("slope", [logistic_slope, squared_slope])
def test_slopes_are_in_float64(slope):
    kernel = fresh(slope)
    for s in (-800.0, -3.0, -0.0, 0.25, 700.5):
        assert kernel(s, 1.0, 0.1) == slope(np.float64(s), 1.0, 0.1)
    assert {overload.return_type for overload in kernel.nopython_signatures} == {numba.float64}
