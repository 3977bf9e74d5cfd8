"""The CUDA engine: launches only. What is computed stands in ``cuda/``; in which order, in the stages ``cuda_*.py``.

It takes its device as an argument. `CupyDevice` is a GPU; anything with the same few verbs will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from fwfm_gpu.backends import Collected
from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import (
    MOST_ITEMS,
    Bounds,
    Budget,
    batch_items,
    largest_batch,
    make_sizes,
    model_bytes,
    work_bytes,
)
from fwfm_gpu.backends.cuda_resident import Data, Model, load_model, load_rows, map_state, pack_model, pack_rows
from fwfm_gpu.backends.cuda_rows import RowStage
from fwfm_gpu.backends.cuda_step import Cursor, Room, Run, allocate_room, make_stages
from fwfm_gpu.backends.cuda_stream import Streamed, StreamedRun, Window, Windows, rows_bytes
from fwfm_gpu.backends.kernels import load
from fwfm_gpu.backends.numpy_resident import Model as HostModel
from fwfm_gpu.backends.numpy_resident import grow
from fwfm_gpu.cuda_sources import Variant
from fwfm_gpu.device_matrix import DeviceMatrix
from fwfm_gpu.errors import DeviceError, DeviceMemoryError, MissingExtraError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array, OptimizerState, Parameters
from fwfm_gpu.recipe import Recipe

__all__ = ["CudaBackend", "CupyDevice", "count_devices", "describe_devices"]

MOST_THREADS = 1024  # of a thread block, on every GPU
ROUNDING = 1 << 26  # bytes kept back: an allocation is rounded up, to pages of 2 MiB when it is large
STAGED = 1 << 26  # bytes: a larger array is not copied through pinned memory, which CuPy would keep
WINDOW = 1 << 28  # bytes: rows that stream pass in windows of at most so many, so that the host's copies stay small
ROWS_SHARE = 0.6  # of the free memory: rows that take more are streamed, so that models and work have room


class CudaBackend:
    """The seam of ``fwfm_gpu.backends`` on a device."""

    name = "cuda"

    def __init__(self, device: Device, budget: Budget | None = None) -> None:
        self.device = device
        self.budget = Budget() if budget is None else budget

    def load_data(self, rows: FieldMatrix, y: Array | None = None, weight: Array | None = None) -> Data | Streamed:
        with self.device.current():
            if not isinstance(rows, DeviceMatrix) and rows_bytes(rows) > ROWS_SHARE * self.device.free_bytes():
                return Streamed.of(self.device, rows, y, weight)
            return load_rows(self.device, rows, y, weight)

    def load_model(
        self, parameters: Parameters, state: OptimizerState | None = None, recipe: Recipe | None = None
    ) -> Model:
        with self.device.current():
            moments = 0 if recipe is None else len(recipe.rule.moments)
            p = parameters
            self.check_room(
                model_bytes(p, moments, recipe is not None and recipe.rule.counts),
                f"a model of {p.n_features} features and {p.n_factors} factors",
            )
            return load_model(self.device, parameters, state, recipe)

    def begin(
        self,
        model: Model,
        data: Data | Streamed,
        order: Array,
        loss: float = 0.0,
        learning_rate: float | None = None,
    ) -> Run | StreamedRun:
        order = np.asarray(order, np.int64)
        with self.device.current():
            cursor = Cursor.at_start(self.device, loss)
            if isinstance(data, Streamed):
                return self.begin_streamed(model, data, order, cursor, learning_rate)
            size = model.batch_rows(order)
            run = Run(model, data, self.device.to_device(order), order, size, cursor, learning_rate=learning_rate)
            return self.prepare(run)

    def prepare(self, run: Run) -> Run:
        """Room for a run's work, and its first plan."""
        if len(run.host_order) == 0:
            return run
        data, size = run.data, run.size
        bounds = Bounds(size, batch_items(data.lengths, run.host_order, size), data.longest, data.distinct_pattern)
        self.check_batch(run.model, data.index, bounds, self.device.free_bytes())
        return self.enter(run, self.allocate_room(run.model, data, bounds))

    def allocate_room(self, model: Model, data: Data, bounds: Bounds) -> Room:
        """Room for batches of these bounds."""
        shape = model.shape(data.index)
        sizes = make_sizes(shape, self.budget, bounds)
        return allocate_room(self.device, self.kernels(model, data), shape, sizes)

    def enter(self, run: Run, room: Room) -> Run:
        """A run that works in a room; its first batch is planned."""
        run.prepare(make_stages(self.device, self.kernels(run.model, run.data), room, run))
        return run

    def begin_streamed(
        self, model: Model, data: Streamed, order: Array, cursor: Cursor, learning_rate: float | None
    ) -> StreamedRun:
        """A run over windows of whole batches, two at a time in what the work of a batch leaves."""
        size = model.batch_rows(order)
        index, longest = str(data.rows.indices.dtype), int(data.lengths.max(initial=0))
        alike = data.pattern is not None and not data.shares_fields
        bounds = Bounds(size, batch_items(data.lengths, order, size), longest, alike)
        batch = -(-rows_bytes(data.rows) * size // data.n_rows) + 4 * bounds.items * data.shares_fields
        left = 2 * batch + self.check_batch(model, index, bounds, self.device.free_bytes() - 2 * batch)
        rows = size * max(1, min(left // 2, WINDOW) // batch)
        rooms: list[Room] = []

        def make_run(window: Window) -> Run:
            visited = np.arange(window.hi - window.lo)
            before = window.lo // size
            run = Run(model, window.data, None, visited, size, cursor, before, learning_rate=learning_rate)
            if not rooms:
                rooms.append(self.allocate_room(model, window.data, bounds))
            return self.enter(run, rooms[0])

        return StreamedRun(cursor, iter(Windows(self.device, data, order, rows)), make_run)

    def advance(self, run: Run | StreamedRun, batches: int) -> None:
        with self.device.current():
            for _ in range(batches):
                if not run.advance():
                    return

    def collect(self, run: Run | StreamedRun) -> Collected:
        with self.device.current():
            done, bad, _ = self.device.to_host(run.cursor.place).tolist()
            return Collected(float(self.device.to_host(run.cursor.loss)[0]), done, None if bad < 0 else bad)

    def score(self, model: Model, data: Data | Streamed) -> Array:
        with self.device.current():
            if isinstance(data, Data):
                return self.device.to_host(self.score_there(model, data))
            share = min(self.device.free_bytes() // 4, WINDOW) / max(1, rows_bytes(data.rows))
            rows = max(1, int(data.n_rows * share))
            windows = Windows(self.device, data, np.arange(data.n_rows), rows)
            parts = [self.device.to_host(self.score_there(model, window.data)) for window in windows]
            return np.concatenate(parts)

    def score_there(self, model: Model, data: Data) -> Any:
        """Raw scores, (rows, C) of T, on the device."""
        kernels, rows = self.kernels(model, data), data.n_rows
        s_bc = self.device.xp.empty((rows, model.parameters.n_classes), data.real)
        if rows == 0:
            return s_bc
        cursor = Cursor.at_start(self.device)
        batch = kernels.rows.struct(
            "Batch", order=None, visits=rows, before=0, size=rows, cursor=cursor.place, loss=cursor.loss
        )
        members: dict[str, Any] = dict.fromkeys(name for name, _, _ in kernels.rows.source.structs["Work"])
        work = kernels.rows.struct("Work", **{**members, "s_bc": s_bc, "items": 0, "pairs": 0, "blocks": 0})
        packed = pack_rows(kernels.rows, data), pack_model(kernels, model), batch
        stage = RowStage(self.device, kernels, model.shape(data.index), data.longest, *packed)
        for launch in stage.scores(work, 0, rows):
            launch()
        return s_bc

    def copy_model(self, model: Model) -> Model:
        with self.device.current():
            copy = self.device.xp.array
            state = None if model.state is None else map_state(model.state, copy)
            return Model(model.parameters.map(copy), state, model.recipe, model.touches)

    def grow_model(self, model: Model, fields: Array, V: Array) -> Model:
        grown = grow(HostModel(*self.fetch_model(model), model.recipe), fields, V)
        return self.load_model(grown.parameters, grown.state, grown.recipe)

    def fetch_model(self, model: Model) -> tuple[Parameters, OptimizerState | None]:
        with self.device.current():
            fetch = self.device.to_host
            return model.parameters.map(fetch), None if model.state is None else map_state(model.state, fetch)

    def kernels(self, model: Model, data: Data) -> Kernels:
        """The kernels for this T, index and number of factors."""
        return Kernels(self.device, data.real, data.index, model.parameters.n_factors)

    def check_room(self, needed: int, what: str) -> None:
        """Raise when so many bytes are not free."""
        if needed > (free := self.device.free_bytes()):
            raise DeviceMemoryError(
                f"{what} needs {needed:,} bytes on {self.device.name}, where {free:,} are free. Free some, or use a "
                "device with more.",
                needed=needed,
                free=free,
            )

    def check_batch(self, model: Model, index: str, bounds: Bounds, free: int) -> int:
        """The bytes that a batch of these bounds leaves of those that are free.

        Raises
        ------
        DeviceMemoryError
            There are too few, or the batch has more rows or nonzeros than its kernels count.
        """
        shape = model.shape(index)
        needed = work_bytes(shape, make_sizes(shape, self.budget, bounds))
        if needed <= free and max(bounds.rows, bounds.items) <= MOST_ITEMS:
            return free - needed
        most = largest_batch(shape, self.budget, bounds, free)
        advice = f"Lower batch_size to {most} or less" if most else "Free some, use fewer factors"
        raise DeviceMemoryError(
            f"a batch of {bounds.rows} rows and up to {bounds.items} nonzeros needs {needed:,} bytes on "
            f"{self.device.name}, where {max(0, free):,} are left for it. {advice}, or use a device with more memory.",
            needed=needed,
            free=max(0, free),
            largest_batch=most or None,
        )


class CupyDevice:
    """A GPU through CuPy: three queues, and memory from CuPy's pool.

    Parameters
    ----------
    number : int
        The GPU's.
    memory : int, optional
        Bytes that may be used, of all that the GPU has.

    Raises
    ------
    MissingExtraError
        CuPy is not installed.
    DeviceError
        No such GPU answers.
    """

    def __init__(self, number: int = 0, memory: int | None = None) -> None:
        if number >= (count := count_devices()):
            raise DeviceError(f"device 'cuda:{number}' is not there: this machine has {count} CUDA device(s), from 0.")
        import cupy

        runtime = cupy.cuda.runtime
        self.xp = cupy
        self.number = number
        self.memory = memory
        with answering(number), cupy.cuda.Device(number):
            self.main, self.side, self.copies = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
            self.forked, self.joined, self.queued, self.copied = (
                cupy.cuda.Event(disable_timing=True) for _ in range(4)
            )
            shared = runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, number)
            processors = runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, number)
            self.name = runtime.getDeviceProperties(number)["name"].decode()
        self.shared_bytes = int(shared)
        self.most_threads = MOST_THREADS
        self.most_blocks = 16 * int(processors)
        self.sent: list[tuple[Any, list[Any]]] = []  # copies that may still be under way, and their host memory

    def load(self, name: str, variant: Variant) -> Mapping[str, Callable[..., object]]:
        return load(name, variant)

    @contextmanager
    def current(self) -> Iterator[None]:
        cupy = self.xp
        with cupy.cuda.Device(self.number):
            try:
                with self.main:
                    yield
            except cupy.cuda.memory.OutOfMemoryError as error:
                self.main.synchronize()
                cupy.get_default_memory_pool().free_all_blocks()
                raise DeviceMemoryError(
                    f"{self.name} has no room left: {error}. Lower batch_size, or use a device with more memory.",
                    needed=int(getattr(error, "_size", 0)),
                    free=self.free_bytes(),
                ) from None
            except BaseException:
                self.main.synchronize()  # what is queued still uses arrays that the error lets go of
                raise

    @contextmanager
    def beside(self) -> Iterator[None]:
        self.forked.record(self.main)
        self.side.wait_event(self.forked)
        with self.side:
            yield

    def join(self) -> None:
        self.joined.record(self.side)
        self.main.wait_event(self.joined)

    def copy_beside(self, arrays: Sequence[Array]) -> list[Any]:
        import cupyx

        there = [self.xp.empty(array.shape, array.dtype) for array in arrays]
        self.queued.record(self.main)  # what held this memory before must be done with it
        self.copies.wait_event(self.queued)
        pinned = []
        for array, target in zip(arrays, there, strict=True):
            pinned.append(cupyx.empty_pinned(array.shape, array.dtype))
            pinned[-1][...] = array
            target.set(pinned[-1], stream=self.copies)
        done = self.xp.cuda.Event(disable_timing=True)
        done.record(self.copies)
        self.sent.append((done, pinned))
        while len(self.sent) > 2:  # pinned memory may serve again once its copy is done
            self.sent.pop(0)[0].synchronize()
        return there

    def await_copies(self) -> None:
        self.copied.record(self.copies)
        self.main.wait_event(self.copied)

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        self.main.begin_capture()
        try:
            step()
        except BaseException:
            with suppress(
                RuntimeError
            ):  # what was captured so far may not be whole; the first error is the one to tell
                self.main.end_capture()
            raise
        launch: Callable[[], object] = self.main.end_capture().launch
        return launch

    def to_host(self, array: Any) -> Array:
        host: Array = self.xp.asnumpy(array)
        return host

    def to_device(self, array: Array) -> Any:
        if array.nbytes < STAGED:
            return self.xp.array(array, order="C")
        there = self.xp.empty(array.shape, array.dtype)
        there.set(np.ascontiguousarray(array))
        return there

    def adopt(self, array: Any) -> Any:
        cupy = self.xp
        cupy.cuda.runtime.deviceSynchronize()  # queues of other libraries may still be writing it
        adopted = cupy.asarray(array) if hasattr(array, "__cuda_array_interface__") else cupy.from_dlpack(array)
        if (there := adopted.device.id) != self.number:
            raise ValueError(f"it lies on cuda:{there}, and the engine runs on cuda:{self.number}")
        return adopted

    def wait(self) -> None:
        self.main.synchronize()

    def free_bytes(self) -> int:
        cupy = self.xp
        with cupy.cuda.Device(self.number):
            pool = cupy.get_default_memory_pool()
            free = int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
            allowed = free if self.memory is None else min(free, self.memory - int(pool.used_bytes()))
            return max(0, allowed - ROUNDING)


def count_devices() -> int:
    """CUDA devices that answer.

    Raises
    ------
    MissingExtraError
        CuPy is not installed.
    DeviceError
        There is no driver, or no device.
    """
    try:
        import cupy
    except ImportError as error:
        raise MissingExtraError(
            f"a CUDA device needs CuPy, which did not import: {error}. Install fwfm-gpu[cuda12] or fwfm-gpu[cuda13], "
            "whichever fits the driver."
        ) from error
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # CuPy's own errors, and whatever a missing driver library raises
        raise DeviceError(f"no CUDA device answers: {error}. Is an NVIDIA driver installed?") from error
    if count == 0:
        raise DeviceError("no CUDA device answers: the driver finds none. See nvidia-smi.")
    return count


def describe_devices() -> Iterator[str]:
    """One line on CuPy, driver and runtime, and one per GPU. Raises as `count_devices`."""
    count = count_devices()
    import cupy

    runtime = cupy.cuda.runtime
    versions = (f"{v // 1000}.{v % 1000 // 10}" for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    yield "CuPy {}, driver for CUDA {}, runtime {}".format(cupy.__version__, *versions)
    for number in range(count):
        with answering(number), cupy.cuda.Device(number):
            properties, (free, total) = runtime.getDeviceProperties(number), runtime.memGetInfo()
        name, capability = properties["name"].decode(), f"{properties['major']}.{properties['minor']}"
        yield f"cuda:{number}  {name}, compute capability {capability}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"


@contextmanager
def answering(number: int) -> Iterator[None]:
    """CUDA's own errors as a DeviceError: a card that is broken, locked or full of others' work."""
    import cupy

    try:
        yield
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"device 'cuda:{number}' does not answer: {error}. See nvidia-smi.") from error
