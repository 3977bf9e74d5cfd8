"""What the CUDA engine needs of a device: an array module, a loader of kernels, and an order of work.

Behind it stand CuPy and a GPU (``cuda.py``), or NumPy and kernels compiled for the host (in the tests): the engine's
code is the same to the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fwfm_gpu.backends.kernel_arguments import Program
from fwfm_gpu.cuda_sources import COMPILED_K, Variant, read_source
from fwfm_gpu.parameters import Array

__all__ = ["Device", "Kernels"]


class Device(Protocol):
    """A device and the queue of its work."""

    xp: Any  # array module: cupy, or numpy
    name: str
    shared_bytes: int  # dynamic shared memory that a thread block may use
    most_threads: int  # of a thread block, for kernels that take any number
    most_blocks: int  # of a grid, for kernels that take any number

    def load(self, name: str, variant: Variant) -> Mapping[str, Callable[..., object]]:
        """The kernels of a source."""

    def current(self) -> AbstractContextManager[object]:
        """Inside it, array operations and launches go to this device's queue."""

    def beside(self) -> AbstractContextManager[object]:
        """Inside it, launches go to a second queue, which first waits for all that the main one holds."""

    def join(self) -> None:
        """What is queued from now on waits for the second queue."""

    def copy_beside(self, arrays: Sequence[Array]) -> list[Any]:
        """Copies on the device, on their way while the queue goes on; they wait for what is queued so far."""

    def await_copies(self) -> None:
        """What is queued from now on waits for the copies."""

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """A step of launches whose arguments never change, as one thing to launch."""

    def to_host(self, array: Any) -> Array:
        """A copy on the host; waits for the queue."""

    def to_device(self, array: Array) -> Any:
        """A C-ordered copy on the device."""

    def adopt(self, array: Any) -> Any:
        """Another library's array on this device as one of ``xp``, without a copy, once it is written."""

    def wait(self) -> None:
        """Until all that is queued is done."""

    def free_bytes(self) -> int:
        """Device memory that can still be had."""


class Kernels:
    """The three sources, compiled for a T, an index and a number of factors."""

    def __init__(self, device: Device, real: str, index: str, k: int) -> None:
        special = Variant(real, index, k if k in COMPILED_K else -1)
        general = Variant(real, index)
        self.plan, self.rows, self.coordinates = (
            Program(read_source(name), variant, device.load(name, variant))
            for name, variant in (("plan.cu", general), ("rows.cu", special), ("coordinates.cu", general))
        )
