"""The compiled engine gives the same bits for any number of threads, in any process, beside others."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from engine_data import SPOILS, Spec, assert_same_bits, config_of, drive, fetch, load, make_problem, rows_of, spoil_row

from fwfm_gpu.backends import get_backend, threads
from fwfm_gpu.verify import train_epoch

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from fwfm_gpu.backends import compiled_backend, compiled_step, compiled_tables

THREADS = (1, 2, 3, 7)
PATIENCE = 300  # seconds: a child may have to compile

ALIKE = Spec(pattern="alike", k=8, rows=400, batch_size=300, weighted=True)  # five row blocks, then two
RAGGED = ALIKE.but(pattern="ragged")
SPECS = [
    ALIKE,
    RAGGED,
    ALIKE.but(pattern="alike-repeated"),
    ALIKE.but(pattern="ragged-repeated"),
    RAGGED.but(k=3, loss="softmax", n_classes=3),
    RAGGED.but(k=0),
    ALIKE.but(rows=70, batch_size=7),  # plans are made ahead many times
    RAGGED.but(rows=700, batch_size=70),  # batches of as many rows and of more and more items
    ALIKE.but(rows=1, batch_size=1),
]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def make_long_problem() -> dict:
    """Rows of up to 300 nonzeros among short ones; more features than any other problem has."""
    spec = Spec(k=8, rows=150, batch_size=100)
    generator = np.random.default_rng(4)
    n, n_fields, T = 700, 9, np.float32
    lengths = np.where(generator.random(spec.rows) < 0.1, generator.integers(120, 300, spec.rows), 6)
    return {
        "config": config_of(spec) | {"n_features": n, "n_fields": n_fields},
        "indptr": np.append(0, np.cumsum(lengths)),
        "indices": np.concatenate([np.sort(generator.permutation(n)[:z]) for z in lengths]).astype(np.int32),
        "data": generator.normal(0, 0.1, lengths.sum()).astype(T),
        "fields": generator.integers(n_fields, size=n).astype(np.int32),
        "y": generator.integers(2, size=spec.rows).astype(float),
        "orders": np.array([generator.permutation(spec.rows)]),
        "start_w0": np.zeros(1, T),
        "start_w": generator.normal(0, 0.3, (1, n)).astype(T),
        "start_V": generator.normal(0, 0.3, (1, n, spec.k)).astype(T),
        "start_R": generator.normal(1, 0.3, (1, n_fields, n_fields)).astype(T),
    }


@cache
def problem_of(spec: Spec | str) -> dict:
    return make_long_problem() if spec == "long rows" else make_problem(spec)


@cache
def numpy_answer(spec: Spec | str) -> dict:
    """What the NumPy engine makes of a problem, its scores at the end among it."""
    return train_and_score(get_backend("numpy"), problem_of(spec))


def train_and_score(backend, problem: dict) -> dict:
    """All that an engine computes."""
    data, model = load(backend, problem)
    size = problem["config"]["batch_size"]
    seen = [train_epoch(backend, model, data, order, size) for order in problem["orders"]]
    rows = backend.load_data(rows_of(problem))
    return {"scores_seen": np.array(seen), "scores": backend.score(model, rows), **fetch(backend, model)}


@pytest.fixture(autouse=True)
def many_threads(monkeypatch):
    """Small batches are not left to one thread."""
    monkeypatch.setattr(compiled_step, "FEW_PRODUCTS", 0)


@pytest.fixture(params=["large parts", "small parts"])
def parts(request, monkeypatch):
    """Batches and scores in one part each, or in as many as there can be."""
    if request.param == "small parts":
        monkeypatch.setattr(compiled_step, "SHELF_BYTES", 1)  # two for each thread
        monkeypatch.setattr(compiled_step, "OWNED_BY", 1)
        monkeypatch.setattr(compiled_step, "STEPPED", 1)
        monkeypatch.setattr(compiled_backend, "SCORED_AT_ONCE", 1)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("spec", [*SPECS, "long rows"], ids=str)
def test_any_number_of_threads(spec, n_threads, parts):
    assert_same_bits(train_and_score(get_backend("cpu", n_threads=n_threads), problem_of(spec)), numpy_answer(spec))


def test_small_parts_are_many(parts, request):
    """What the fixtures change is what the engine looks at."""
    small = "small" in request.node.callspec.params["parts"]
    backend, problem = get_backend("cpu", n_threads=3), problem_of(ALIKE)
    data, model = load(backend, problem)
    stepper = backend.begin(model, data, problem["orders"][0]).stepper
    stepper.step(problem["orders"][0][:300])  # five row blocks
    assert len(stepper.layout.works[0].value.sums.g) == 3 * (2 if small else 5)
    assert len(stepper.layout.touched.value.size) == (3 if small else 1)


@pytest.mark.parametrize("spec", [ALIKE, RAGGED], ids=str)
@pytest.mark.parametrize("kind", SPOILS)
@pytest.mark.parametrize("n_threads", THREADS)
def test_a_bad_batch_changes_nothing(n_threads, kind, spec, parts):
    problem = make_problem(spec.but(loss="squared" if kind == "parameter" else "logistic"))
    spoil_row(problem, int(problem["orders"][0][330]), kind)  # in the second batch
    got, want = (stop(backend, problem) for backend in (get_backend("cpu", n_threads=n_threads), get_backend("numpy")))
    assert got[0] == want[0] == (1, 1)
    assert_same_bits(got[1], want[1])


def stop(backend, problem: dict) -> tuple:
    """How far an engine comes, and with what."""
    data, model = load(backend, problem)
    run = backend.begin(model, data, problem["orders"][0])
    backend.advance(run, 2)
    collected = backend.collect(run)
    return (collected.batches, collected.first_bad), fetch(backend, model)


# ---- beside others

FEW = [ALIKE, RAGGED, RAGGED.but(k=3), RAGGED.but(k=0)] * 2
MANY = [
    spec.but(rows=20_000, batch_size=20_000)
    for spec in (ALIKE, ALIKE.but(pattern="ragged-repeated"), ALIKE.but(seed=1))
]  # as large as many threads take


def test_many_rows_are_for_many_threads(monkeypatch):
    monkeypatch.undo()
    for spec in MANY:
        backend, problem = get_backend("cpu", n_threads=3), problem_of(spec)
        data, model = load(backend, problem)
        assert backend.begin(model, data, problem["orders"][0]).stepper.threads == 3


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_that_find_no_room_come_back(n_threads, monkeypatch):
    """Hundreds of row blocks, and two shelves for each thread: some run ahead of others until theirs are full."""
    monkeypatch.setattr(compiled_step, "SHELF_BYTES", 1)
    monkeypatch.setattr(compiled_step, "OWNED_BY", 2)
    waits = []
    monkeypatch.setattr(compiled_step, "sleep", waits.append)
    for _ in range(20):
        for spec in MANY[:2]:
            check(spec, drive(get_backend("cpu", n_threads=n_threads), problem_of(spec)))
        if waits:
            return
    raise AssertionError("no thread ever found its shelves full")


def test_an_error_in_one_thread_ends_all(monkeypatch):
    """One begins a row block and fails; the others must not wait for it."""
    monkeypatch.setattr(compiled_step, "SHELF_BYTES", 1)
    backend, problem = get_backend("cpu", n_threads=3), problem_of(MANY[0])
    data, model = load(backend, problem)
    run = backend.begin(model, data, problem["orders"][0])
    kernel = run.stepper.kernels.sum_blocks

    def fail(work, queue, *others):
        queue.value.taken[0] += 1
        raise MemoryError

    calls = iter([fail])

    def sum_blocks(*arguments):
        return next(calls, kernel)(*arguments)

    run.stepper.kernels = replace(run.stepper.kernels, sum_blocks=sum_blocks)
    with pytest.raises(MemoryError):
        backend.advance(run, 1)


def check_all(pool: Executor, *specs: Spec) -> None:
    """Several trainings at once, each on three threads."""
    problems = [problem_of(spec) for spec in specs]
    for spec, done in [
        (spec, pool.submit(drive, get_backend("cpu", n_threads=3), problem))
        for spec, problem in zip(specs, problems, strict=True)
    ]:
        check(spec, done.result(PATIENCE))


def check(spec: Spec, got: dict) -> None:
    want = numpy_answer(spec)
    assert_same_bits(got, {name: want[name] for name in want if name != "scores"})


@pytest.fixture
def warm():
    """Threads have run, and the code is there for children to read."""
    for spec in MANY:
        check(spec, drive(get_backend("cpu", n_threads=3), problem_of(spec)))


def test_several_python_threads(parts):
    with ThreadPoolExecutor(4) as pool:
        check_all(pool, *FEW)


def test_several_python_threads_and_a_small_pool(monkeypatch):
    monkeypatch.setattr(threads, "MOST", 1)
    monkeypatch.setattr(threads, "pool", threads.Pool())
    with ThreadPoolExecutor(4) as pool:
        check_all(pool, *FEW)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes(method, warm):
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        check_all(pool, *MANY)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fork_while_others_train(warm):
    with ThreadPoolExecutor(2) as beside, ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        busy = [beside.submit(drive, get_backend("cpu", n_threads=3), problem_of(ALIKE)) for _ in range(20)]
        check_all(pool, *FEW)
        for done in busy:
            check(ALIKE, done.result(PATIENCE))


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib(backend, warm):
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    work = [joblib.delayed(drive)(get_backend("cpu", n_threads=2), problem_of(spec)) for spec in MANY]
    for spec, got in zip(MANY, joblib.Parallel(n_jobs=2, backend=backend)(work), strict=True):
        check(spec, got)


# ---- memory


@pytest.mark.parametrize("spec", [*SPECS, ALIKE.but(rule="adam"), RAGGED.but(rule="sgd")], ids=str)
def test_what_was_in_memory_before_does_not_matter(spec, monkeypatch, parts):
    take = compiled_tables.Room.take

    def poison(room, name, dtype, *sizes):
        taken = take(room, name, dtype, *sizes)
        taken[...] = np.nan if taken.dtype.kind == "f" else 1 << 20
        return taken

    monkeypatch.setattr(compiled_tables.Room, "take", poison)
    for n_threads in (1, 3):
        assert_same_bits(train_and_score(get_backend("cpu", n_threads=n_threads), problem_of(spec)), numpy_answer(spec))
