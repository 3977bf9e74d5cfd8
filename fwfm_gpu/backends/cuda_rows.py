"""Row stage on the device: scores, loss gradients, row gradients (numerics 3 to 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Shape, longest_row, row_bytes
from fwfm_gpu.backends.kernel_arguments import Launch, Packed

__all__ = ["RowStage"]

MOST_GRID = 2**31 - 1


@dataclass(frozen=True)
class RowStage:
    """Makes the launches over rows of a batch."""

    device: Device
    kernels: Kernels
    shape: Shape
    longest: int  # nonzeros of a row
    rows: Packed
    model: Packed
    batch: Packed

    @property
    def staged(self) -> int:
        """The longest row whose tables fit into shared memory; longer ones take the long kernels."""
        return longest_row(self.shape, self.longest, self.device.shared_bytes)

    def scores(self, work: Packed, lo: int, hi: int) -> Iterator[Launch]:
        """Scores of rows [lo, hi) of the batch, every class."""
        for first in range(lo, hi, MOST_GRID):
            arguments = (self.rows, self.model, self.batch, work, first, self.staged)
            yield from self.launch("score_rows", min(hi - first, MOST_GRID), arguments)

    def gradients(self, plan: Packed, recipe: Packed, work: Packed, lo: int, hi: int) -> Iterator[Launch]:
        """Row gradients of rows [lo, hi) of the batch, every class."""
        arguments = (self.rows, self.model, recipe, self.batch, plan, work, lo, self.staged)
        yield from self.launch("row_gradients", hi - lo, arguments)

    def class_gradients(self, recipe: Packed, work: Packed, rows: int) -> Launch:
        """g of every class, from the scores of all."""
        threads = min(128, self.device.most_threads)
        grid, arguments = -(-rows // threads), (self.rows, self.model, recipe, self.batch, work)
        return self.kernels.rows.bind("class_gradients", (grid,), (threads,), arguments)

    def launch(self, name: str, count: int, arguments: tuple[object, ...]) -> Iterator[Launch]:
        """A kernel over rows that fit, and its twin over rows that do not, where there are any."""
        staged, most, bind = self.staged, self.device.most_threads, self.kernels.rows.bind
        grid = (count, self.shape.n_classes)
        pairs = staged * (staged - 1) // 2
        threads = min(32 if pairs <= 128 else 64 if pairs <= 1024 else 128, most)
        yield bind(name, grid, (threads,), arguments, row_bytes(staged, self.shape))
        if self.longest > staged:
            tile = self.kernels.rows.source.constants["TILE"] + 4
            yield bind(f"long_{name}", grid, (min(256, most),), arguments, tile * np.dtype(self.shape.real).itemsize)
