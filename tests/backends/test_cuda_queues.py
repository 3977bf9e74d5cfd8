"""`CupyDevice` on queues that run late and in any order that their events allow: no wait is missing, none is wrong."""

from __future__ import annotations

import faulthandler
import os
import sys
from contextlib import suppress
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from cuda_host.loader import HostLoader, compiler
from cuda_host.queues import FakeCupy, QueuedKernel
from engine_data import Spec, assert_same_bits, expected, fetch, load, make_problem

from fwfm_gpu.backends import cuda, get_backend
from fwfm_gpu.backends.cuda import CudaBackend, CupyDevice, describe_devices
from fwfm_gpu.errors import DeviceError, DeviceMemoryError

pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ is missing: kernels cannot be compiled for the host")

SPEC = Spec(rows=330, batch_size=30, pattern="alike", rule="adam")  # eleven batches: enough to be recorded
SPECS = [SPEC, SPEC.but(pattern="ragged-repeated"), SPEC.but(loss="softmax", n_classes=3, pattern="ragged")]


def use_fake(monkeypatch, seed: int = 0, **options) -> FakeCupy:
    """CuPy as the engine finds it from now on."""
    fake, loader = FakeCupy(seed, **options), HostLoader(seed)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=fake.empty_pinned))
    monkeypatch.setattr("fwfm_gpu.backends.find_spec", lambda name: ModuleType(name))

    def load_queued(name, variant):
        return {kernel: QueuedKernel(fake, raw) for kernel, raw in loader(name, variant).items()}

    monkeypatch.setattr(cuda, "load", load_queued)
    monkeypatch.setattr(cuda, "MOST_THREADS", 64)
    return fake


def train_all(backend: CudaBackend, problem: dict, portion: int = 100) -> dict:
    """Every epoch, looking only at its end."""
    data, model = load(backend, problem)
    for order in problem["orders"]:
        run, batches = backend.begin(model, data, order), -(-len(order) // problem["config"]["batch_size"])
        for _ in range(0, batches, portion):
            backend.advance(run, portion)
        assert backend.collect(run).batches == batches
    return fetch(backend, model)


def without_scores(spec: Spec) -> dict:
    return {name: array for name, array in expected(spec).items() if name != "scores_seen"}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_queues_that_run_late_give_the_same_bits(monkeypatch, spec, seed):
    use_fake(monkeypatch, seed)
    assert_same_bits(train_all(CudaBackend(CupyDevice()), make_problem(spec)), without_scores(spec))


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_stream_give_the_same_bits(monkeypatch, seed):
    use_fake(monkeypatch, seed)
    monkeypatch.setattr(cuda, "ROWS_SHARE", -1.0)
    backend, spec = CudaBackend(CupyDevice()), SPECS[1]
    monkeypatch.setattr(backend, "check_batch", lambda *_: 0)  # windows of one batch
    assert_same_bits(train_all(backend, make_problem(spec), portion=4), without_scores(spec))


def goes_well(check) -> bool:
    """Whether a call ends without an error, in a process of its own: kernels that run too early may crash it."""
    if (child := os.fork()) == 0:
        faulthandler.disable()
        with suppress(BaseException):
            check()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("forgotten", [None, "beside", "join", "await_copies"])
def test_a_missing_wait_is_seen(monkeypatch, forgotten):
    monkeypatch.setattr(cuda, "ROWS_SHARE", -1.0 if forgotten == "await_copies" else 0.6)
    spec = SPECS[1]

    def check(seed: int) -> None:
        use_fake(monkeypatch, seed)
        backend = CudaBackend(device := CupyDevice())
        monkeypatch.setattr(backend, "check_batch", lambda *_: 0)
        if forgotten == "beside":
            monkeypatch.setattr(device, "beside", lambda: device.side)
        elif forgotten:
            monkeypatch.setattr(device, forgotten, lambda: None)
        assert_same_bits(train_all(backend, make_problem(spec)), without_scores(spec))

    expected(spec)
    assert all(goes_well(partial(check, seed)) for seed in range(12)) is (forgotten is None)


def test_steps_are_recorded_once_they_have_run(monkeypatch):
    use_fake(monkeypatch)
    backend = CudaBackend(CupyDevice())
    data, model = load(backend, problem := make_problem(SPEC))
    run = backend.begin(model, data, problem["orders"][0])
    backend.advance(run, 2)
    direct = list(run.steps)
    backend.advance(run, 1)
    assert [type(step).__name__ for step in direct] == ["function"] * 2
    assert all(step.__self__.streams for step in run.steps)  # each is the launch of a graph


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_nothing_is_waited_for_inside_an_epoch(monkeypatch, spec):
    fake = use_fake(monkeypatch)
    backend = CudaBackend(CupyDevice())
    data, model = load(backend, problem := make_problem(spec))
    run = backend.begin(model, data, problem["orders"][0])
    with monkeypatch.context() as patch:
        patch.setattr(fake, "run", lambda done: pytest.fail("the host waited"))
        backend.advance(run, 100)
    assert backend.collect(run).batches == 11


def test_get_backend_makes_it(monkeypatch):
    use_fake(monkeypatch)
    for device in ("cuda", "cuda:0", "auto"):
        assert get_backend(device).device.name == "fake"
    with pytest.raises(DeviceError, match=r"device='cuda:3' cannot be used: device 'cuda:3' is not there: .* 1 CUDA"):
        get_backend("cuda:3")
    assert list(describe_devices()) == [
        "CuPy 0, driver for CUDA 13.0, runtime 12.9",
        "cuda:0  fake, compute capability 9.0, 1099.5 of 1099.5 GB free",
    ]


def test_an_allocation_that_fails_is_a_typed_error(monkeypatch):
    fake = use_fake(monkeypatch)
    backend = CudaBackend(CupyDevice())
    data, model = load(backend, problem := make_problem(SPEC))

    def refuse(*_):
        raise fake.cuda.memory.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(fake, "empty", refuse, raising=False)
        with pytest.raises(DeviceMemoryError, match="fake has no room left: no room"):
            backend.begin(model, data, problem["orders"][0])
    assert not fake.entered
    backend.advance(run := backend.begin(model, data, problem["orders"][0]), 100)
    assert backend.collect(run).batches == 11


def test_a_cap_on_memory_counts(monkeypatch):
    use_fake(monkeypatch, memory=10**9)
    kept_back = cuda.ROUNDING
    assert CupyDevice(memory=10**8).free_bytes() == 10**8 - kept_back
    assert CupyDevice(memory=10**7).free_bytes() == 0
    assert CupyDevice().free_bytes() == 10**9 - kept_back


def test_cupy_has_what_the_stand_in_has():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    import cupyx

    fake = FakeCupy(0)
    for name in vars(fake.cuda.runtime):
        assert hasattr(cupy.cuda.runtime, name), name
    for name in ("Device", "Stream", "Event", "Graph"):
        assert hasattr(cupy.cuda, name), name
    for name in ("begin_capture", "end_capture", "synchronize", "wait_event", "__enter__"):
        assert hasattr(cupy.cuda.Stream, name), name
    for name in ("record", "synchronize"):
        assert hasattr(cupy.cuda.Event, name), name
    for name in ("asnumpy", "empty", "array", "zeros", "searchsorted", "get_default_memory_pool", "from_dlpack"):
        assert hasattr(cupy, name), name
    for name in ("free_bytes", "used_bytes", "free_all_blocks"):
        assert hasattr(cupy.get_default_memory_pool(), name), name
    assert hasattr(cupyx, "empty_pinned") and hasattr(cupy.ndarray, "set")
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert np.dtype(cupy.float32) == np.float32
