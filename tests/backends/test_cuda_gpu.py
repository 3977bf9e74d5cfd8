"""A real GPU gives the bits of the contract: the engine as it is, on the device, under its own compiler options."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from engine_data import (
    RULES,
    SPOILS,
    VECTORS,
    Spec,
    assert_same_bits,
    drive,
    expected,
    fetch,
    load,
    make_problem,
    read_vector,
    spoil_row,
)

from fwfm_gpu import FieldEncoder, FieldMatrix, train
from fwfm_gpu.backends import get_backend
from fwfm_gpu.cuda_sources import Source, Variant
from fwfm_gpu.demo import read_adult
from fwfm_gpu.errors import DeviceMemoryError
from fwfm_gpu.model import FwFM
from fwfm_gpu.verify import vector_recipe, verify_vector

pytestmark = pytest.mark.gpu

SMALL = next(path for path in VECTORS if path.stem == "odd-rows-of-64-and-65")
SPEC = Spec(rule="adam", pattern="ragged-repeated", weighted=True, batch_size=30)
SPARE = 160 << 20  # bytes, of which the engine keeps 64 MiB back


@pytest.fixture
def cuda():
    """The engine on the GPU."""
    return get_backend("cuda")


# ---- the contract


def test_all_vectors_are_here():
    assert len(VECTORS) == 40


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_gpu_equals_the_vector(cuda, path):
    assert verify_vector(cuda, path) is None


PROBE = """
extern "C" __global__ void probe(const float* x, float* y)
{
    y[0] = x[0] * 0.5f;          // subnormal: flushed it would be 0
    y[1] = x[1] * x[1] + x[2];   // fused it would keep the product's last bits
    y[2] = x[1] / x[3];
    y[3] = sqrtf(x[3]);
}
"""


def test_arithmetic_is_what_the_contract_says(tmp_path):
    import cupy

    from fwfm_gpu.backends.kernels import architecture, compile_source

    built_for = architecture(cupy.cuda.runtime.getDevice())
    output = "cubin" if built_for.startswith("sm_") else "ptx"
    binary = tmp_path / "probe.bin"
    binary.write_bytes(compile_source(Source("probe.cu", PROBE), Variant(), built_for, output=output))
    x = np.array([1e-39, 1 + 2**-12, -(1 + 2**-11), 3], np.float32)
    y = cupy.full(4, -1, np.float32)
    cupy.RawModule(path=str(binary)).get_function("probe")((1,), (1,), (cupy.asarray(x), y))
    want = np.array([x[0] * np.float32(0.5), x[1] * x[1] + x[2], x[1] / x[3], np.sqrt(x[3])], np.float32)
    assert want[0] != 0 and want[1] == 0
    assert_same_bits({"y": y.get()}, {"y": want})


# ---- the same model as NumPy's


@cache
def adult() -> tuple[FieldMatrix, np.ndarray]:
    """The rows that come with the package."""
    table, y = read_adult("train")
    return FieldEncoder().fit_transform(table), y


def arrays_of(model: FwFM) -> dict:
    """Parameters and optimizer state by name."""
    state = model.optimizer_state
    groups = model.parameters.arrays()
    return groups | {f"{group} {name}": array for group in groups for name, array in getattr(state, group).items()}


@pytest.mark.parametrize("optimizer", RULES)
def test_adult_gives_the_same_model(optimizer):
    rows, y = adult()
    got, want = (train(rows, y, epochs=3, optimizer=optimizer, device=device) for device in ("cuda", "numpy"))
    assert_same_bits(arrays_of(got), arrays_of(want))


def test_a_hundred_runs_are_equal(cuda):
    vector = read_vector(SMALL)
    first = drive(cuda, vector)
    for _ in range(99):
        assert_same_bits(drive(cuda, vector), first)


@pytest.mark.parametrize("pieces", [[1] * 5, [2, 3], [5], [0, 3, 0, 100]])
def test_stopped_and_resumed_equals_uninterrupted(cuda, pieces):
    problem = make_problem(SPEC)
    data, model = load(cuda, problem)
    for order in problem["orders"]:
        run = cuda.begin(model, data, order)
        for batches in pieces:
            cuda.advance(run, batches)
            cuda.collect(run)
        assert (cuda.collect(run).batches, cuda.collect(run).first_bad) == (5, None)
        model = cuda.load_model(*cuda.fetch_model(model), vector_recipe(problem["config"]))
    want = expected(SPEC)
    assert_same_bits(fetch(cuda, model), {name: want[name] for name in want if name != "scores_seen"})


@pytest.mark.parametrize("kind", SPOILS)
def test_divergence_is_found_in_the_same_batch(cuda, kind):
    problem, answers = make_problem(SPEC.but(pattern="alike", loss="squared")), []
    spoil_row(problem, 75, kind)  # of batch 2, from 0
    for backend in (cuda, get_backend("numpy")):
        data, model = load(backend, problem)
        run = backend.begin(model, data, np.arange(130))
        backend.advance(run, 5)
        done = backend.collect(run)
        answers.append({"place": np.array([done.batches, done.first_bad]), **fetch(backend, model)})
    assert answers[0]["place"].tolist() == [2, 2]
    assert_same_bits(*answers)


# ---- memory


@contextmanager
def full_memory() -> Iterator[None]:
    """A device whose memory is taken, but for little."""
    import cupy

    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    free, _ = cupy.cuda.runtime.memGetInfo()
    taken = cupy.cuda.runtime.malloc(free - SPARE)
    try:
        yield
    finally:
        cupy.cuda.runtime.free(taken)


def test_out_of_memory_is_one_error_and_leaves_the_process_usable():
    wide = FieldMatrix.from_ids(np.zeros((64, 2), np.int32), [1 << 20, 2])
    y = np.arange(64) % 2
    options = {"n_factors": 32, "epochs": 1}  # 132 MB of parameters, as much of state
    with full_memory(), pytest.raises(DeviceMemoryError) as refused:
        train(wide, y, device="cuda", **options)
    assert refused.value.needed > refused.value.free
    for rows in (wide, wide.take(np.arange(10))):
        got, want = (train(rows, y[: rows.n_rows], device=device, **options) for device in ("cuda", "numpy"))
        assert_same_bits(arrays_of(got), arrays_of(want))


def test_the_largest_batch_that_fits_fits():
    rows = FieldMatrix.from_ids(np.zeros((1 << 16, 39), np.int32), [2] * 39)
    y = np.arange(1 << 16) % 2
    with full_memory():
        with pytest.raises(DeviceMemoryError) as refused:  # row gradients alone: 174 MB
            train(rows, y, device="cuda", n_factors=16, batch_size=1 << 16, epochs=1)
        largest = refused.value.largest_batch
        assert 0 < largest < 1 << 16
        train(rows, y, device="cuda", n_factors=16, batch_size=largest, epochs=1)


# ---- rows that stream


@pytest.mark.parametrize("window", [1 << 10, 1 << 14, 1 << 18])
def test_rows_that_stream_give_the_same_bits(monkeypatch, window):
    monkeypatch.setattr("fwfm_gpu.backends.cuda.ROWS_SHARE", -1.0)
    monkeypatch.setattr("fwfm_gpu.backends.cuda.WINDOW", window)
    generator = np.random.default_rng(4)
    rows = FieldMatrix.from_ids(generator.integers(50, size=(3000, 12)), [50] * 12)
    y, options = generator.integers(2, size=3000), {"batch_size": 200, "epochs": 2, "optimizer": "adam"}
    got, want = (train(rows, y, device=device, **options) for device in ("cuda", "numpy"))
    assert_same_bits(arrays_of(got), arrays_of(want))
    assert_same_bits({"scores": got.decision_function(rows)}, {"scores": want.decision_function(rows)})


# ---- the sanitizer

RUN_VECTOR = """
import sys, cupy
from pathlib import Path
cupy.cuda.set_allocator(None)  # each array is an allocation of its own, so that its end is watched
from fwfm_gpu.backends import get_backend
from fwfm_gpu.verify import verify_vector
assert verify_vector(get_backend("cuda"), Path(sys.argv[1])) is None
"""


def sanitize(tool: str, *command: str) -> tuple[int | None, str]:
    """Exit status (None when it takes too long) and output of a Python program under a tool of compute-sanitizer."""
    line = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "77", sys.executable, *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None, "not done in 60 s"
    return done.returncode, (done.stdout + done.stderr).strip()


@cache
def why_no_sanitizer() -> str | None:
    """What keeps compute-sanitizer from working on this machine; None when nothing does."""
    if shutil.which("compute-sanitizer") is None:
        return "compute-sanitizer is not on PATH"
    status, output = sanitize("memcheck", "-c", "import cupy; cupy.zeros(1).get()")
    return None if status == 0 else f"compute-sanitizer does not work here: {output[-200:]}"


@pytest.mark.gpu(may_skip=True)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(tool):
    if reason := why_no_sanitizer():
        pytest.skip(reason)
    status, output = sanitize(tool, "-c", RUN_VECTOR, str(SMALL))
    if status is None:
        pytest.skip(f"{tool} of one vector: {output}")
    assert status == 0, output
