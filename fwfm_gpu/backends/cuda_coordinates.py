"""Coordinate stage on the device: ordered batch sums, then one step each (numerics 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Shape, Sizes
from fwfm_gpu.backends.cuda_plan import HOT
from fwfm_gpu.backends.kernel_arguments import Launch, Packed
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["CoordinateStage", "Group", "cut_batch"]


@dataclass(frozen=True)
class Group:
    """Rows [lo, hi) of a batch whose slots are summed together, in chunks. It begins at a row block."""

    lo: int
    hi: int
    chunks: tuple[tuple[int, int], ...]


def cut_batch(lengths: Array, sizes: Sizes) -> list[Group]:
    """Cut a batch so that the pairs of a chunk, and the row blocks of a group, stay within their tables.

    Parameters
    ----------
    lengths : (rows,) int64
        Nonzeros of each row of the batch.
    """
    rows = len(lengths)
    if not sizes.pairs:
        return [Group(0, rows, ((0, rows),))]
    ends = np.cumsum(lengths * (lengths - 1) // 2)
    groups, step = [], sizes.blocks * ROW_BLOCK
    for lo in range(0, rows, step):
        hi, cuts = min(lo + step, rows), [lo]
        while cuts[-1] < hi:
            before = int(ends[cuts[-1] - 1]) if cuts[-1] else 0
            if sizes.pattern:  # one chunk: the list of pairs was made for it
                cuts.append(hi)
                break
            cuts.append(min(hi, max(cuts[-1] + 1, int(np.searchsorted(ends, before + sizes.pairs, side="right")))))
        groups.append(Group(lo, hi, tuple(pairwise(cuts))))
    return groups


@dataclass(frozen=True)
class CoordinateStage:
    """Makes the launches over touched coordinates."""

    device: Device
    kernels: Kernels
    shape: Shape
    sizes: Sizes
    rows: Packed
    model: Packed
    recipe: Packed
    batch: Packed
    work: Packed
    slots: Packed
    counts: bool  # whether the rule counts touches

    def chunk_sums(self, plan: Packed, group: Group, lo: int, hi: int) -> Iterator[Launch]:
        """Block sums of the slots of one chunk of rows."""
        blocks = -(-hi // ROW_BLOCK) - lo // ROW_BLOCK
        bind, most = self.kernels.coordinates.bind, self.device.most_threads
        if self.sizes.pattern:
            threads, arguments = min(128, most), (self.batch, self.work, self.slots, lo, hi)
            grid = (-(-self.sizes.columns // threads), blocks, self.shape.n_classes)
            yield bind("pattern_slot_sums", grid, (threads,), arguments)
            return
        staged = 4 * self.kernels.coordinates.source.constants["STAGED_FIELDS"]
        chunk = (self.rows, self.model, self.batch, plan, self.work, self.slots, group.lo, lo, hi)
        yield bind("walked_slot_sums", (blocks, self.shape.n_classes), (min(256, most),), chunk, staged)

    def group_sums(self, group: Group) -> Launch:
        """Block sums of a group into the batch sums."""
        threads = min(128, self.device.most_threads)
        grid = (-(-self.sizes.columns // threads), self.shape.n_classes)
        arguments = (self.batch, self.work, self.slots, group.lo, group.hi)
        return self.kernels.coordinates.bind("slot_totals", grid, (threads,), arguments)

    def block_sums(self, plan: Packed) -> Iterator[Launch]:
        """First half: the batch sums of features, and the block sums of the bias."""
        bind, C = self.kernels.coordinates.bind, self.shape.n_classes
        grid = (self.device.most_blocks, C)
        yield bind("feature_sums", grid, self.block(256), (self.model, self.batch, plan, self.work, HOT))
        if self.sizes.items > HOT:
            block = self.block(1024)
            begins = 4 * (self.kernels.coordinates.source.constants["HOT_BLOCKS"] + 1)
            shared = (block[0] + 1) * block[1] * self.shape.itemsize + begins
            yield bind("hot_feature_sums", grid, block, (self.model, self.batch, plan, self.work), shared)
        blocks = -(-self.sizes.rows // ROW_BLOCK)
        shared = ROW_BLOCK * (8 + self.shape.itemsize)
        yield bind("bias_block_sums", (blocks,), (ROW_BLOCK,), (self.model, self.batch, self.work), shared)

    def apply(self, plan: Packed) -> Iterator[Launch]:
        """Second half: one step of every touched slot and feature, all looked at before any is written."""
        bind, most = self.kernels.coordinates.bind, self.device.most_threads
        threads = min(256, most)
        bias = (self.model, self.recipe, self.batch, self.work)
        yield bind("bias_totals", (1,), (threads,), bias, 8 * threads)
        for writes in (0, 1):
            if self.sizes.columns:
                slots = (self.model, self.recipe, self.batch, self.work, self.slots, writes)
                grid = -(-self.sizes.columns // min(128, most))
                yield bind("slot_update", (grid,), (min(128, most),), slots)
            features = (self.model, self.recipe, self.batch, plan, self.work, writes)
            yield bind("feature_update", (self.device.most_blocks, self.shape.n_classes), self.block(256), features)
        if self.counts:
            yield bind("count_touches", (self.device.most_blocks,), (threads,), (self.model, self.batch, plan))

    def finish(self) -> Launch:
        """The step of w0, the loss and the cursor: the last launch of a batch."""
        arguments = (self.model, self.recipe, self.batch, self.work)
        return self.kernels.coordinates.bind("finish_batch", (1,), (1,), arguments)

    @property
    def lanes(self) -> int:
        """Lanes of one feature: a power of two, up to 32, as near to k as it gets."""
        return min(32, 1 << max(0, self.shape.n_factors - 1).bit_length())

    def block(self, threads: int) -> tuple[int, int]:
        """Lanes of a feature, and features side by side."""
        most = min(threads, self.device.most_threads)
        lanes = min(self.lanes, most)
        return lanes, most // lanes
