"""Every benchmark runs once, on a few rows, without asv: what is installed must neither raise nor skip.

On the compiled engine one choice of parameters is enough for each: every k and every form of rows is compiled anew, in
seconds, and the compiled kernels have tests of their own.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import pickle
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import DeviceError, MissingExtraError

BENCH = Path(__file__).parents[1] / "asv_bench"
KINDS = re.compile("time_|track_|peakmem_")
FEW = {"cases": {"ROWS": 200}, "memory": {"BATCH_SIZES": [200]}, "metrics": {"ROWS": 500}}
FEW |= {"resident": {"REPEATS": 1}, "importing": {"REPEATS": 1}, "tables": {"ROWS": 500, "TEXT_ROWS": 200}}
FEW |= {"training_memory": {"ROWS": 200}}
FEW |= {"online": {"ROWS": 200}}


def import_benchmarks() -> dict[str, ModuleType]:
    """The modules of the package ``benchmarks``, as asv imports them, by name."""
    folder = BENCH / "benchmarks"
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location("benchmarks", init, submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    sys.modules["benchmarks"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    names = [module.name for module in pkgutil.iter_modules([str(folder)])]
    return {name: importlib.import_module(f"benchmarks.{name}") for name in names}


MODULES = import_benchmarks()
engines = MODULES["engines"]


@dataclass(frozen=True)
class Benchmark:
    """A function of a module, or a method of a class, with one choice of parameters."""

    home: Any  # module or class
    name: str
    params: tuple[Any, ...]

    @property
    def choice(self) -> dict[str, Any]:
        """Its parameters by name."""
        return dict(zip(getattr(self.home, "param_names", ()), self.params, strict=True))

    @property
    def backend(self) -> str | None:
        """The engine that it is parametrised by."""
        return self.choice.get("backend")

    def __str__(self) -> str:
        return "-".join([self.home.__name__.removeprefix("benchmarks."), self.name, *map(str, self.params)])


def find_benchmarks() -> Iterator[Benchmark]:
    """All that asv would find."""
    for module in MODULES.values():
        own = [entry for entry in vars(module).values() if getattr(entry, "__module__", None) == module.__name__]
        for home in [module, *(entry for entry in own if isinstance(entry, type))]:
            for name in filter(KINDS.match, dir(home)):
                for params in itertools.product(*getattr(home, "params", ())):
                    yield Benchmark(home, name, params)


BENCHMARKS = list(find_benchmarks())


def choose_benchmarks() -> Iterator[Benchmark]:
    """All of them; on the compiled engine the first choice of parameters of each."""
    seen = set()
    for benchmark in BENCHMARKS:
        function = (benchmark.home, benchmark.name, benchmark.backend)
        if function not in seen or not str(benchmark.backend).startswith("cpu"):
            yield benchmark
        seen.add(function)


@cache
def drawn_by(setup_cache: Any) -> bytes:
    """What asv would keep on disk: it pickles."""
    return pickle.dumps(setup_cache(None))


def run(benchmark: Benchmark) -> Any:
    """One benchmark, as asv runs it."""
    home = benchmark.home() if isinstance(benchmark.home, type) else benchmark.home
    arguments = list(benchmark.params)
    if hasattr(benchmark.home, "setup_cache"):
        arguments.insert(0, pickle.loads(drawn_by(benchmark.home.setup_cache)))
    if hasattr(home, "setup"):
        home.setup(*arguments)
    try:
        return getattr(home, benchmark.name)(*arguments)
    finally:
        if hasattr(home, "teardown"):
            home.teardown(*arguments)


def check(benchmark: Benchmark) -> None:
    """What is installed gives a result; what is not skips."""
    if benchmark.backend is None or engines.is_installed(benchmark.backend):
        result = run(benchmark)
        assert benchmark.name.startswith("track_") == (result is not None)
        assert result is None or (math.isfinite(result) and result > 0)
    else:
        with pytest.raises(NotImplementedError):
            run(benchmark)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Sizes that take milliseconds."""
    for module, constants in FEW.items():
        for name, value in constants.items():
            monkeypatch.setattr(MODULES[module], name, value)


@pytest.mark.parametrize("benchmark", list(choose_benchmarks()), ids=str)
def test_the_benchmark_runs(benchmark):
    check(benchmark)


def test_training_scoring_and_memory_are_measured_on_every_engine():
    measured = {(b.home.__module__.removeprefix("benchmarks."), b.backend) for b in BENCHMARKS if b.backend}
    assert measured >= set(itertools.product(["training", "scoring", "memory"], ["numpy", "cpu", "cuda"]))
    assert measured >= set(itertools.product(["training", "scoring"], ["cpu, one thread"]))


def test_factors_batches_and_rules_are_covered():
    chosen = {(name, value) for b in BENCHMARKS for name, value in b.choice.items()}
    wanted = {"k": [8, 10, 16, 32], "batch_size": [1024, 8192], "rule": ["sgd", "adagrad", "adam", "ftrl"]}
    wanted["case"] = ["criteo", "frappe", "ragged"]
    assert chosen >= {(name, value) for name, values in wanted.items() for value in values}


def test_what_is_tracked_has_a_unit():
    tracked = [b for b in BENCHMARKS if b.name.startswith("track_")]
    units = [getattr(getattr(b.home, b.name), "unit", None) or getattr(b.home, "unit", None) for b in tracked]
    assert set(units) >= {"rows/s", "bytes", "s", "cells/s", "MB/s"}
    assert None not in units


def test_the_peak_of_memory_is_seen_and_forgotten():
    memory = MODULES["training_memory"]
    try:
        memory.forget_peak()
    except NotImplementedError as error:
        pytest.skip(str(error))
    before = memory.read_memory("VmHWM")
    np.ones(memory.FELT, np.uint8)
    assert memory.read_memory("VmHWM") >= before + memory.FELT * 4 // 5
    memory.forget_peak()
    assert memory.read_memory("VmHWM") < before + memory.FELT * 4 // 5


def test_a_system_that_does_not_forget_the_peak_is_not_measured(monkeypatch, tmp_path):
    memory = MODULES["training_memory"]
    monkeypatch.setattr(memory, "PEAK", tmp_path / "clear_refs")
    with pytest.raises(NotImplementedError, match="is not here"):
        memory.forget_peak()
    memory.PEAK.touch()
    monkeypatch.setattr(memory, "read_memory", {"VmHWM": 10 * memory.FELT, "VmRSS": memory.FELT}.__getitem__)
    with pytest.raises(NotImplementedError, match="does not forget"):
        memory.forget_peak()


class Engine:
    """A NumPy engine under another name, which raises when rows are loaded."""

    name = "compiled"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __getattr__(self, verb: str) -> Any:
        if self.error is not None:
            raise self.error
        return getattr(get_backend("numpy"), verb)


TRAINING = Benchmark(MODULES["training"].Training, "track_rows_per_second", ("cpu", "frappe"))


def answer(monkeypatch, engine: Any) -> None:
    """Let the benchmarks get this engine, or this error."""

    def get(device: str, n_threads: int | None = None) -> Any:
        if isinstance(engine, Exception):
            raise engine
        return engine

    monkeypatch.setattr(engines, "get_backend", get)


def test_an_installed_engine_is_timed(monkeypatch):
    answer(monkeypatch, Engine())
    check(TRAINING)
    assert run(TRAINING) > 0


FAILURES = [NotImplementedError("a verb is missing"), RuntimeError("broken"), DeviceError("lost")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_an_installed_engine_that_skips_or_raises_fails(monkeypatch, error):
    answer(monkeypatch, Engine(error))
    with pytest.raises(type(error), match=str(error)):
        check(TRAINING)


@pytest.mark.parametrize("error", [DeviceError("no GPU"), MissingExtraError("no CuPy")])
def test_an_engine_that_is_not_there_is_not_installed(monkeypatch, error):
    answer(monkeypatch, error)
    assert not engines.is_installed("cuda")
    assert not engines.is_installed("cpu, one thread")
    with pytest.raises(NotImplementedError):
        run(TRAINING)


def test_numpy_under_another_name_is_not_installed(monkeypatch):
    answer(monkeypatch, get_backend("numpy"))
    assert engines.is_installed("numpy")
    assert not engines.is_installed("cpu")


def test_one_thread_is_one_thread(monkeypatch):
    asked = []
    monkeypatch.setattr(engines, "get_backend", lambda device, n_threads=None: asked.append((device, n_threads)))
    for name in engines.WITH_THREADS:
        engines.get_engine(name)
    assert asked == [("numpy", None), ("cpu", 1), ("cpu", None), ("cuda", None)]


def test_an_engine_that_breaks_when_it_is_made_fails(monkeypatch):
    answer(monkeypatch, RuntimeError("broken"))
    for name in ("numpy", "cpu", "cuda"):
        with pytest.raises(RuntimeError, match="broken"):
            engines.require(name)


def test_the_configuration_points_at_the_checkout():
    configuration = json.loads((BENCH / "asv.conf.json").read_text(encoding="utf-8"))
    assert (BENCH / configuration["repo"]).resolve() == BENCH.parent
    assert (BENCH / configuration["benchmark_dir"] / "__init__.py").is_file()
