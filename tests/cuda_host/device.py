"""A device of ``fwfm_gpu.backends.cuda_device`` without a GPU: NumPy arrays, and the kernels compiled for the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from fwfm_gpu.backends.cuda import CudaBackend
from fwfm_gpu.backends.cuda_memory import Budget
from fwfm_gpu.cuda_sources import Variant

from .loader import HostLoader

__all__ = ["HostDevice", "host_backend"]


class HostDevice:
    """Runs each launch at once, its threads and blocks in an order drawn from a seed; 0 is launch order."""

    xp = np
    name = "host"

    def __init__(self, loader: HostLoader, most_threads: int = 32, most_blocks: int = 3, memory: int = 1 << 62) -> None:
        self.loader = loader
        self.shared_bytes = 48 * 1024
        self.most_threads = most_threads
        self.most_blocks = most_blocks
        self.memory = memory

    def load(self, name: str, variant: Variant) -> Mapping[str, Callable[..., object]]:
        return self.loader(name, variant)

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    beside = current

    def join(self) -> None: ...

    def copy_beside(self, arrays: Sequence[Any]) -> list[Any]:
        return [self.to_device(array) for array in arrays]

    def await_copies(self) -> None: ...

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        return step

    def to_host(self, array: Any) -> Any:
        return np.array(array)

    to_device = to_host

    def adopt(self, array: Any) -> Any:
        return array if isinstance(array, np.ndarray) else array.inside

    def wait(self) -> None: ...

    def free_bytes(self) -> int:
        return self.memory


def host_backend(seed: int = 0, budget: Budget | None = None, **options: Any) -> CudaBackend:
    """The CUDA engine on the host."""
    return CudaBackend(HostDevice(HostLoader(seed), **options), budget)
