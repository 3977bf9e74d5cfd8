"""A stand-in for CuPy whose queues run late and in any order that their events allow.

Arrays are NumPy's and kernels the host's, but a launch only joins the queue of its stream. Work is done when somebody
waits for a result: then the heads of all queues take turns at random, as far as events let them. A missing wait shows
as a result that changes. While a stream captures, work goes into its graph instead; its events count anew at each
launch of the graph.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["FakeCupy", "QueuedKernel"]


class OutOfMemoryError(MemoryError):
    """CuPy's own class of errors."""


class Event:
    """A place in a stream."""

    def __init__(self, fake: FakeCupy) -> None:
        self.fake = fake
        self.place: tuple[Event, int] = (self, 0)  # of the last record

    def record(self, stream: Stream) -> None:
        reached, self.place = self.fake.reached, (self, self.place[1] + 1)
        place = self.place

        def reach() -> bool:
            reached.add(place)
            return True

        stream.put(reach)

    def synchronize(self) -> None:
        self.fake.run(lambda: self.place in self.fake.reached)


class Stream:
    """A queue of work; each entry says whether it could be done."""

    def __init__(self, fake: FakeCupy) -> None:
        self.fake = fake
        self.queue: list[Callable[[], bool]] = []

    def put(self, work: Callable[[], bool]) -> None:
        graph = self.fake.graph
        if graph is None:
            self.queue.append(work)
        else:
            graph.streams.setdefault(self, []).append(work)

    def wait_event(self, event: Event) -> None:
        reached, place = self.fake.reached, event.place
        self.put(lambda: place in reached)

    def synchronize(self) -> None:
        self.fake.run(lambda: not self.queue)

    def begin_capture(self) -> None:
        assert self.fake.graph is None
        self.fake.graph = Graph(self)

    def end_capture(self) -> Graph:
        graph, self.fake.graph = self.fake.graph, None
        assert graph is not None and graph.stream is self
        return graph

    def __enter__(self) -> None:
        self.fake.entered.append(self)

    def __exit__(self, *_: object) -> None:
        assert self.fake.entered.pop() is self


class Graph:
    """Captured work: when it is launched, it has done nothing yet. It is one entry of the stream it is launched on."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.streams: dict[Stream, list[Callable[[], bool]]] = {}
        self.reached: set[tuple[Event, int]] = set()

    def launch(self) -> None:
        fake = self.stream.fake

        def all_of_it() -> bool:
            self.reached.clear()
            queues = [list(work) for work in self.streams.values()]
            fake.drain(queues, lambda: not any(queues))
            return True

        fake.entered[-1].put(all_of_it)


class QueuedKernel:
    """A host kernel that joins the queue of the current stream."""

    def __init__(self, fake: FakeCupy, kernel: Any) -> None:
        self.fake, self.kernel = fake, kernel

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        def run() -> bool:
            self.kernel(grid, block, args, shared_mem=shared_mem)
            return True

        self.fake.entered[-1].put(run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kernel, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("fake", "kernel"):
            object.__setattr__(self, name, value)
        else:
            setattr(self.kernel, name, value)


class FakeCupy:
    """What of the module ``cupy`` the engine uses, and of ``cupyx``."""

    def __init__(self, seed: int, memory: int = 1 << 40) -> None:
        self.random = random.Random(seed)
        self.entered: list[Stream] = []
        self.graph: Graph | None = None
        self.streams: list[Stream] = []
        self.reached_in_queues: set[tuple[Event, int]] = set()
        self.kept: list[Any] = []
        self.memory = memory
        self.__version__ = "0"
        self.cuda = SimpleNamespace(
            Device=lambda number: nullcontext(),
            Stream=self.make_stream,
            Event=lambda disable_timing: Event(self),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                CUDARuntimeError=ArithmeticError,
                cudaDevAttrMaxSharedMemoryPerBlockOptin="shared",
                cudaDevAttrMultiProcessorCount="processors",
                deviceGetAttribute=lambda name, number: {"shared": 40 * 1024, "processors": 1}[name],
                getDeviceCount=lambda: 1,
                getDeviceProperties=lambda number: {"name": b"fake", "major": 9, "minor": 0},
                memGetInfo=lambda: (self.memory, self.memory),
                driverGetVersion=lambda: 13000,
                runtimeGetVersion=lambda: 12090,
            ),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @property
    def reached(self) -> set[tuple[Event, int]]:
        """Places of events that were reached: of the graph under capture, else of all queues."""
        return self.reached_in_queues if self.graph is None else self.graph.reached

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0, used_bytes=lambda: 0, free_all_blocks=lambda: None)

    def make_stream(self, non_blocking: bool) -> Stream:
        assert non_blocking  # the legacy stream would wait for nobody else's sake
        self.streams.append(Stream(self))
        return self.streams[-1]

    def array(self, source: Any, order: str = "C") -> Any:
        """A copy: of what is on the device, when its turn comes in the current queue; waited for, to be simple."""
        self.entered[-1].synchronize()
        return self.keep(np.array(source, order=order))

    def zeros(self, shape: Any, dtype: Any) -> Any:
        return self.keep(np.zeros(shape, dtype))

    def keep(self, array: Any) -> Any:
        """Memory that is let go of stays what it is until the queue that used it is done: here, for good."""
        self.kept.append(array)
        return array

    def asnumpy(self, array: Any) -> Any:
        self.entered[-1].synchronize()
        return np.array(array)

    def empty(self, shape: Any, dtype: Any) -> Any:
        """New memory holds whatever was there before."""
        found = Late(shape, dtype)
        found.reshape(-1).view(np.uint8)[...] = 0xA5
        return self.keep(found)

    def empty_pinned(self, shape: Any, dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def run(self, done: Callable[[], bool]) -> None:
        """Work until something is done, or nothing can go on."""
        self.drain([stream.queue for stream in self.streams], done)

    def drain(self, queues: list[list[Callable[[], bool]]], done: Callable[[], bool]) -> None:
        """Take the heads of queues at random, as far as they can be done."""
        while not done():
            heads = [queue for queue in queues if queue]
            self.random.shuffle(heads)
            for queue in heads:
                if queue[0]():
                    queue.pop(0)
                    break
            else:
                raise RuntimeError("every queue waits for an event that never comes")


class Late(np.ndarray):
    """Device memory: a copy from pinned memory arrives when its stream gets there."""

    def set(self, source: Any, stream: Stream | None = None) -> None:
        if stream is None:  # of pageable memory: the driver has taken it when this returns
            self[...] = source
            return

        def copy() -> bool:
            self[...] = source
            return True

        stream.put(copy)
