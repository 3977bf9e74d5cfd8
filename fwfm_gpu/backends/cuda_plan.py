"""Plan on the device: who sums what, in which order. Integers only, of data alone: it runs ahead of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Sizes
from fwfm_gpu.backends.kernel_arguments import Launch, Packed

__all__ = ["HOT", "Plan", "Planner", "Scratch", "allocate_plan", "allocate_scratch"]

HOT = 512  # items of a feature in a batch, beyond which row blocks are summed side by side
SORT_THREADS = 128
SCAN_THREADS = 1024
ROWS_TOGETHER = 8  # rows of a thread block that lists items


@dataclass(frozen=True)
class Plan:
    """The arrays of ``Plan`` of arguments.cuh, and the struct itself."""

    starts: Any
    pair_starts: Any
    feature: Any
    item: Any
    packed: Packed


def allocate_plan(device: Device, kernels: Kernels, sizes: Sizes, index: str) -> Plan:
    """Room for the plan of one batch."""
    xp, items = device.xp, max(1, sizes.items)
    starts = xp.zeros(sizes.rows + 1, xp.int64)
    pair_starts = xp.zeros(sizes.rows + 1, xp.int64) if sizes.pairs else None
    feature, item = xp.empty(items, index), xp.empty(items, xp.int32)
    packed = kernels.plan.struct(
        "Plan",
        starts=starts,
        pair_starts=pair_starts,
        item_row=xp.empty(items, xp.int32),
        feature=feature,
        item=item,
        segment_start=xp.empty(items + 1, xp.int32),
        segment_feature=xp.empty(items, index),
        hot=xp.empty(items // HOT + 1, xp.int32),
        sizes=xp.zeros(2, xp.int32),
    )
    return Plan(starts, pair_starts, feature, item, packed)


@dataclass(frozen=True)
class Scratch:
    """What the sort works in. It serves one plan after another."""

    feature: Any  # (items,)
    item: Any  # (items,) int32
    histogram: Any  # (digits * tiles,) int64


def allocate_scratch(device: Device, kernels: Kernels, sizes: Sizes, index: str) -> Scratch:
    """Scratch for the plans of batches of these sizes."""
    xp, items, constants = device.xp, max(1, sizes.items), kernels.plan.source.constants
    tile = min(SORT_THREADS, device.most_threads) * constants["SORT_RUN"]
    histogram = xp.empty((1 << constants["DIGIT_BITS"]) * -(-items // tile), xp.int64)
    return Scratch(xp.empty(items, index), xp.empty(items, xp.int32), histogram)


@dataclass(frozen=True)
class Planner:
    """Makes the launches that plan a batch."""

    device: Device
    kernels: Kernels
    sizes: Sizes
    alike: int  # nonzeros of every row, or -1
    n_features: int
    rows: Packed
    batch: Packed
    scratch: Scratch

    def launches(self, plan: Plan, ahead: int) -> list[Callable[[], None]]:
        """All that plans the batch that lies ``ahead`` batches before the cursor's."""
        return [*self.list_items(plan, ahead), *self.sort(plan), *self.cut(plan)]

    def list_items(self, plan: Plan, ahead: int) -> Iterator[Launch]:
        """Starts of rows, and the items, unsorted."""
        bind, threads = self.kernels.plan.bind, min(256, self.device.most_threads)
        grid = -(-(self.sizes.rows + 1) // threads)
        arguments = (self.rows, self.batch, plan.packed, ahead, self.alike)
        yield bind("row_lengths", (grid,), (threads,), arguments)
        if self.alike < 0:
            yield self.scan(plan.starts, len(plan.starts))
            if plan.pair_starts is not None:
                yield self.scan(plan.pair_starts, len(plan.pair_starts))
        block = (max(1, threads // ROWS_TOGETHER), min(ROWS_TOGETHER, threads))
        grid = -(-self.sizes.rows // block[1])
        yield bind("list_items", (grid,), block, (self.rows, self.batch, plan.packed, ahead, self.unsorted(plan)[0]))

    @property
    def passes(self) -> int:
        """Passes of the sort: enough digits for the largest feature."""
        bits = self.kernels.plan.source.constants["DIGIT_BITS"]
        return max(1, -(-(self.n_features - 1).bit_length() // bits))

    def unsorted(self, plan: Plan) -> tuple[Any, Any]:
        """Where the sort begins, so that its last pass writes into the plan."""
        return (self.scratch.feature, self.scratch.item) if self.passes % 2 else (plan.feature, plan.item)

    def sort(self, plan: Plan) -> Iterator[Launch]:
        """The items by feature, stable."""
        bind, constants = self.kernels.plan.bind, self.kernels.plan.source.constants
        bits, threads = constants["DIGIT_BITS"], min(SORT_THREADS, self.device.most_threads)
        tiles, shared = self.tiles, 4 * (1 << bits) * (threads + 1)
        places = [(plan.feature, plan.item), (self.scratch.feature, self.scratch.item)]
        for done in range(self.passes):
            into = places[(self.passes - 1 - done) % 2]
            feature, item = places[(self.passes - done) % 2]
            counted = (self.batch, plan.packed, feature, done * bits, self.scratch.histogram)
            yield bind("count_digits", (tiles,), (threads,), counted, shared)
            yield self.scan(self.scratch.histogram, len(self.scratch.histogram))
            moved = (
                self.batch,
                plan.packed,
                feature,
                item if done else None,
                done * bits,
                self.scratch.histogram,
                *into,
            )
            yield bind("scatter_digits", (tiles,), (threads,), moved, shared)

    @property
    def tiles(self) -> int:
        """Thread blocks of the sort."""
        return len(self.scratch.histogram) >> self.kernels.plan.source.constants["DIGIT_BITS"]

    def cut(self, plan: Plan) -> Iterator[Launch]:
        """Segments of the sorted items, one per feature, and the hot ones among them."""
        bind, threads = self.kernels.plan.bind, min(SORT_THREADS, self.device.most_threads)
        arguments, shared = (self.batch, plan.packed, self.scratch.histogram), 8 * threads
        yield bind("count_heads", (self.tiles,), (threads,), arguments, shared)
        yield self.scan(self.scratch.histogram, self.tiles)
        yield bind("write_segments", (self.tiles,), (threads,), arguments, shared)
        yield bind("list_hot", (self.device.most_blocks,), (min(256, self.device.most_threads),), (plan.packed, HOT))

    def scan(self, values: Any, length: int) -> Launch:
        """Exclusive sums, in place."""
        threads = min(SCAN_THREADS, self.device.most_threads)
        return self.kernels.plan.bind("scan", (1,), (threads,), (values, np.int64(length)), 8 * threads)
