"""Rows that do not fit on the device pass through it: the same bits, and typed errors where nothing fits."""

from __future__ import annotations

import pickle
import weakref
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_host.device import HostDevice, host_backend
from cuda_host.loader import HostLoader, compiler
from engine_data import PATTERNS, Spec, assert_same_bits, bits, drive, expected, fetch, load, make_problem, start_of

from fwfm_gpu.backends import cuda, cuda_stream
from fwfm_gpu.backends.cuda import CudaBackend
from fwfm_gpu.backends.cuda_resident import Data
from fwfm_gpu.backends.cuda_stream import Streamed, Windows
from fwfm_gpu.errors import DeviceMemoryError

pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ is missing: kernels cannot be compiled for the host")

SPEC = Spec(rows=400, batch_size=30, pattern="ragged-repeated", rule="adam", weighted=True)
PLENTY = 1 << 62


@pytest.fixture
def backend(monkeypatch):
    """The engine on the host; rows always stream."""
    monkeypatch.setattr(cuda, "ROWS_SHARE", -1.0)
    return host_backend(seed=3)


@pytest.fixture
def fetched(monkeypatch) -> list[int]:
    """The rows of each window, as they are sent."""
    rows, send_window = [], Windows.send

    def count(self, gathered):
        rows.append(gathered.hi - gathered.lo)
        return send_window(self, gathered)

    monkeypatch.setattr(cuda_stream.Windows, "send", count)
    return rows


def tighten(backend, problem: dict) -> None:
    """Leave just the memory that one batch and its rows need."""
    data, model = load(backend, problem)
    backend.device.memory = 0
    for order in problem["orders"]:
        while True:
            try:
                backend.begin(model, data, order)
                break
            except DeviceMemoryError as error:
                backend.device.memory += error.needed - error.free


def train_all(backend, problem: dict, portion: int = 10**6) -> dict:
    """Every epoch, queued in portions of so many batches, without a look in between."""
    data, model = load(backend, problem)
    tight, backend.device.memory = backend.device.memory, PLENTY
    data, model = load(backend, problem)
    backend.device.memory = tight
    for order in problem["orders"]:
        run = backend.begin(model, data, order)
        while backend.collect(run).batches < -(-len(order) // problem["config"]["batch_size"]):
            backend.advance(run, portion)
    return fetch(backend, model)


def test_rows_stream_only_where_they_do_not_fit(monkeypatch):
    backend, problem = host_backend(), make_problem(SPEC)
    assert isinstance(load(backend, problem)[0], Data)
    backend.device.memory = 10_000
    with suppress(DeviceMemoryError):
        assert isinstance(load(backend, problem)[0], Streamed)


@pytest.mark.parametrize(
    "spec",
    [
        *(SPEC.but(pattern=pattern) for pattern in PATTERNS),
        SPEC.but(loss="softmax", n_classes=3, values="ones"),
        SPEC.but(batch_size=399),
        SPEC.but(k=0, weighted=False),
    ],
    ids=str,
)
def test_streamed_rows_give_the_same_bits(backend, fetched, spec):
    assert_same_bits(drive(backend, make_problem(spec)), expected(spec))
    assert fetched


@pytest.mark.parametrize("portion", [1, 3, 10**6])
def test_windows_of_one_batch_give_the_same_bits(backend, fetched, portion):
    problem = make_problem(SPEC)
    want = {name: array for name, array in expected(SPEC).items() if name != "scores_seen"}
    tighten(backend, problem)
    del fetched[:]
    assert_same_bits(train_all(backend, problem, portion), want)
    assert fetched == [30] * 13 + [10] + [30] * 13 + [10]


class Counted(HostDevice):
    """A device whose free memory shrinks with every array that lives on it."""

    def __init__(self) -> None:
        super().__init__(HostLoader(3))
        self.live, self.most = 0, 0
        self.xp = SimpleNamespace(**{**vars(np), "empty": self.empty, "zeros": self.zeros})

    def empty(self, shape, dtype):
        return self.count(np.empty(shape, dtype))

    def zeros(self, shape, dtype):
        return self.count(np.zeros(shape, dtype))

    def to_device(self, array):
        return self.count(np.array(array))

    def count(self, array):
        self.live += array.nbytes
        self.most = max(self.most, self.live)
        weakref.finalize(array, self.forget, array.nbytes)
        return array

    def forget(self, nbytes: int) -> None:
        self.live -= nbytes

    def free_bytes(self) -> int:
        return self.memory - self.live


@pytest.mark.parametrize("room", [30_000, 40_000, 75_000, 200_000])
def test_streaming_keeps_to_its_memory(monkeypatch, fetched, room):
    monkeypatch.setattr(cuda, "ROWS_SHARE", -1.0)
    spec = SPEC.but(rows=1500)
    backend, problem = CudaBackend(device := Counted()), make_problem(spec)
    data, model = load(backend, problem)
    device.memory = device.live + room
    order = problem["orders"][0]
    run = backend.begin(model, data, order)
    for _ in range(50):
        backend.advance(run, 1)
    assert backend.collect(run).batches == 50
    assert device.most <= device.memory
    assert sum(fetched) == 1500
    assert fetched[0] % 30 == 0


def test_windows_of_a_few_batches_give_the_same_bits(backend, fetched):
    problem = make_problem(SPEC)
    want = {name: array for name, array in expected(SPEC).items() if name != "scores_seen"}
    tighten(backend, problem)
    backend.device.memory *= 2
    del fetched[:]
    assert_same_bits(train_all(backend, problem), want)
    assert 30 < fetched[0] < 400
    assert fetched[0] % 30 == 0


def test_scores_of_streamed_rows_are_those_of_resident_ones(backend, fetched):
    problem = make_problem(SPEC)
    (data, _), model = load(backend, problem), backend.load_model(start_of(problem))
    backend.device.memory = 4000
    streamed = backend.score(model, data)
    assert len(fetched) > 2
    resident = host_backend()
    want = resident.score(resident.load_model(start_of(problem)), load(resident, problem)[0])
    np.testing.assert_array_equal(bits(streamed), bits(want))


def test_a_bad_batch_stops_every_window(backend):
    problem = make_problem(SPEC.but(rule="sgd", values="huge"))
    problem["config"]["learning_rate"] = 1e30
    tighten(backend, problem)
    memory, backend.device.memory = backend.device.memory, PLENTY
    data, model = load(backend, problem)
    backend.device.memory = memory
    run = backend.begin(model, data, problem["orders"][0])
    backend.advance(run, 100)
    collected = backend.collect(run)
    assert collected.first_bad == collected.batches < 13
    at_the_end = fetch(backend, model)
    backend.advance(run, 100)
    assert_same_bits(fetch(backend, model), at_the_end)


def test_too_little_memory_is_one_typed_error():
    backend, problem = host_backend(), make_problem(SPEC.but(batch_size=400))
    data, model = load(backend, problem)
    backend.device.memory = 150_000
    with pytest.raises(
        DeviceMemoryError, match=r"a batch of 400 rows .* needs .* Lower batch_size to \d+ or less"
    ) as caught:
        backend.begin(model, data, problem["orders"][0])
    error = caught.value
    assert error.needed > error.free == 150_000
    assert 0 < error.largest_batch < 400
    assert isinstance(error, MemoryError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.needed, again.free, again.largest_batch) == (error.needed, error.free, error.largest_batch)


def test_the_largest_batch_fits_and_one_row_more_does_not():
    backend, problem = host_backend(), make_problem(Spec(pattern="alike", rows=400, batch_size=400))
    backend.device.memory = PLENTY
    data, _ = load(backend, problem)
    backend.device.memory = 100_000

    def begin(batch_size: int):
        problem["config"]["batch_size"] = batch_size
        backend.device.memory = PLENTY
        _, model = load(backend, problem)
        backend.device.memory = 100_000
        return backend.begin(model, data, problem["orders"][0])

    with pytest.raises(DeviceMemoryError) as caught:
        begin(400)
    begin(caught.value.largest_batch)
    with pytest.raises(DeviceMemoryError):
        begin(caught.value.largest_batch + 1)


def test_a_model_that_does_not_fit_is_refused():
    backend, problem = host_backend(), make_problem(SPEC)
    backend.device.memory = 100
    with pytest.raises(DeviceMemoryError, match=r"a model of 25 features and 3 factors needs .* bytes on host"):
        backend.load_model(start_of(problem))


def test_rows_that_stream_are_trained_at_the_rate_of_the_epoch(backend):
    spec = SPEC.but(rates=(0.2, 0.03))
    assert_same_bits(drive(backend, make_problem(spec)), expected(spec))
