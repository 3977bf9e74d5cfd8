"""One mini-batch of the compiled engine: its three stages, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.backends import compiled_coordinates as coordinates
from fwfm_gpu.backends.compiled import machine, widest_lanes
from fwfm_gpu.backends.compiled_batch import sum_batch, sum_cut, sum_others_of_cut, work_blocks
from fwfm_gpu.backends.compiled_coordinates import Sums, Touched, Update
from fwfm_gpu.backends.compiled_slopes import scalar_slopes, softmax_slopes
from fwfm_gpu.backends.compiled_tables import (
    Extent,
    Room,
    Shape,
    choose_way,
    fit_block,
    make_gradients,
    make_rows,
    make_sums,
    make_task,
    make_theta,
    make_update,
    make_worker,
)
from fwfm_gpu.backends.compiled_work import Cut, Gradients, Work
from fwfm_gpu.backends.numpy_resident import Data, Model
from fwfm_gpu.backends.threads import each
from fwfm_gpu.losses import logistic_slope, squared_slope
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array
from fwfm_gpu.recipe import Recipe

__all__ = ["Kernels", "Stepper", "common_factors"]

COMMON_FACTORS = (4, 8, 16, 32)  # numbers of factors with machine code of their own
CUT_BYTES = 1 << 19  # gradients that one thread makes before they are summed: they stay in its cache
SHARED_CUT_BYTES = 1 << 25  # the same for all threads together, where each cut costs waiting for the last of them
FEW_PRODUCTS = 1 << 22  # of factors of a batch: fewer are not worth a second thread
SLOPES: dict[str, dict[str, Any]] = {
    "logistic": {"SLOPES": scalar_slopes, "SLOPE": logistic_slope},
    "squared": {"SLOPES": scalar_slopes, "SLOPE": squared_slope},
    "softmax": {"SLOPES": softmax_slopes},
}


def common_factors(k: int) -> int:
    """k where it has machine code of its own, else 0: code for any k."""
    return k if k in COMMON_FACTORS else 0


@dataclass(frozen=True)
class Kernels:
    """The machine code of a recipe and a number of factors."""

    sum_batch: Callable[..., int]
    work_blocks: Callable[..., None]
    sum_cut: Callable[..., None]
    sum_others: Callable[..., int]
    step_features: Callable[..., bool]
    step_others: Callable[..., bool]
    put_back_features: Callable[..., None]
    put_back_others: Callable[..., None]

    @classmethod
    def of(cls, recipe: Recipe, k: int, way: dict[str, bool]) -> Kernels:
        """Compiled when first called, or read from disk."""
        moments = len(recipe.rule.moments)
        steps = (coordinates.step_of_none, coordinates.step_of_one, coordinates.step_of_two)
        constants = {
            "K": common_factors(k),
            "FORMULA": recipe.rule.formula,
            "MOMENTS": moments,
            "STEP": steps[moments],
            "COUNTS": recipe.rule.counts,
            **SLOPES[recipe.loss],
            **way,
        }
        stages = (sum_batch, work_blocks, sum_cut, sum_others_of_cut)
        applied = (coordinates.step_features, coordinates.step_others)
        undone = (coordinates.put_back_features, coordinates.put_back_others)
        return cls(*(machine(function, **constants) for function in (*stages, *applied, *undone)))


class Stepper:
    """Steps of one model over one set of rows. Has the tables that the stages share."""

    def __init__(self, model: Model, data: Data, threads: int) -> None:
        assert model.recipe is not None
        p, longest = model.parameters, int(data.lengths.max(initial=0))
        self.model, self.data = model, data
        self.rows, self.theta, self.task = make_rows(data), make_theta(p), make_task(data, model)
        self.way = choose_way(self.task, p.n_classes, longest)
        self.shape = Shape(p.n_classes, p.n_factors, p.n_fields, longest, self.way["LISTED"], p.dtype)
        self.threads = threads if self.count_products() > FEW_PRODUCTS else 1
        self.kernels = Kernels.of(model.recipe, p.n_factors, self.way)
        self.workers = [make_worker(self.shape, widest_lanes()) for _ in range(self.threads)]
        self.room, self.rooms = Room({}), [Room({}) for _ in range(self.threads)]
        self.slots = self.find_slots()
        self.known = np.full(p.n_fields**2 if self.way["LISTED"] else 0, -1)
        self.rank = np.full(p.n_features, -1, np.int32)
        self.most = 0  # touches that Adam's tables reach
        self.extent: Extent | None = None

    def count_products(self) -> float:
        """About how many products of factors a batch takes."""
        assert self.model.recipe is not None
        z = len(self.data.indices) / max(len(self.data.lengths), 1)
        return self.model.recipe.batch_size * self.shape.n_classes * z * z * (1 + self.shape.n_factors)

    def find_slots(self) -> Array:
        """The slots of a pattern, pair by pair, where each pair has its own; else room for all that may be touched."""
        if not self.task.learns_R:
            return np.empty(0, np.int64)
        if self.way["LISTED"]:
            return np.empty(self.shape.n_fields * (self.shape.n_fields + 1) // 2, np.int64)
        f = self.task.pattern.astype(np.int64)
        a, b = np.triu_indices(len(f), 1)
        return np.minimum(f[a], f[b]) * self.shape.n_fields + np.maximum(f[a], f[b])

    def renew_update(self) -> Update:
        """What steps work on; Adam's tables grow with the touches."""
        counts = None if self.model.state is None else self.model.state.counts
        touches = 1 if counts is None else int(counts.bias) + 1  # no coordinate was touched by more batches
        if touches > self.most:
            self.most = 2 * touches
            self.update = make_update(self.model, self.most)
        return self.update

    def step(self, numbers: Array) -> float | None:
        """One mini-batch. Returns its summed loss, or None when a number is not finite: then nothing changed."""
        batch = Batch(self, numbers)
        slots = batch.add_up()
        if np.all(np.isfinite(batch.out.s)):
            return batch.apply(slots)
        self.rank.fill(-1)  # what was summed is not applied
        self.known.fill(-1)
        return None

    def measure(self, numbers: Array, s: Array) -> float:
        """The summed loss of a batch, from its scores, (B, C)."""
        recipe, data = self.model.recipe, self.data
        assert recipe is not None and data.y is not None
        weight = None if data.weight is None else data.weight[numbers]
        with np.errstate(all="ignore"):
            return recipe.loss_function.total(s.astype(np.float64), data.y[numbers], recipe.label_smoothing, weight)

    def make_room(self, extent: Extent) -> tuple[Gradients, Sums, Touched]:
        """Tables for a batch; one that is as large as the last has the same."""
        if extent != self.extent:
            assert self.model.recipe is not None
            shape, room, threads = self.shape, self.room, self.threads
            out = make_gradients(room, shape, extent, threads)
            for worker, (own, (block, group, alone)) in enumerate(zip(self.rooms, self.workers, strict=True)):
                self.workers[worker] = (fit_block(own, shape, extent, threads, block), group, alone)
            places = min(extent.batch_items, -(-len(self.rank) // threads))
            sums = make_sums(room, shape, threads * places, self.slots, len(self.model.recipe.rule.moments))
            size = room.take("touched", np.int64, threads)
            touched = Touched(room.take("features", np.int64, threads, places), size, self.rank)
            self.extent, self.tables = extent, (out, sums, touched)
        return self.tables

    def count_items(self, numbers: Array) -> Array:
        """Where the items of each row block of a batch begin, (blocks + 1,) int64."""
        starts = np.arange(0, len(numbers), ROW_BLOCK)
        if self.data.pattern is not None:  # all rows are of one length
            return np.append(starts, len(numbers)) * len(self.data.pattern)
        begins = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(np.add.reduceat(self.data.lengths[numbers], starts), out=begins[1:])  # integers
        return begins


class Batch:
    """One mini-batch on its way through the stages."""

    def __init__(self, stepper: Stepper, numbers: Array) -> None:
        self.stepper, self.numbers = stepper, numbers
        self.begins = stepper.count_items(numbers)
        self.blocks = self.choose_blocks()
        at = np.append(np.arange(0, len(self.begins) - 1, self.blocks), len(self.begins) - 1)
        extent = Extent(
            len(numbers),
            int(self.begins[-1]),
            self.blocks * ROW_BLOCK,
            int(np.diff(self.begins[at]).max()),
            int(np.diff(self.begins).max()),
        )
        self.out, self.sums, self.touched = stepper.make_room(extent)
        self.touched.size[:] = 0

    def choose_blocks(self) -> int:
        """How many row blocks are worked on at once."""
        stepper, blocks = self.stepper, len(self.begins) - 1
        item = stepper.shape.n_classes * (1 + stepper.shape.n_factors) * int(np.dtype(stepper.shape.dtype).itemsize)
        bytes_at_once = CUT_BYTES if stepper.threads == 1 else SHARED_CUT_BYTES
        return min(blocks, max(1, bytes_at_once * blocks // (max(int(self.begins[-1]), 1) * item)))

    def work(self, worker: int, cut: Cut) -> Work:
        """What a thread works with."""
        stepper = self.stepper
        block, group, alone = stepper.workers[worker]
        return Work(stepper.theta, stepper.rows, cut, stepper.task, block, group, alone, self.out)

    def add_up(self) -> int:
        """Rows and block sums. Returns how many slots of R the batch touches."""
        stepper, rows = self.stepper, self.blocks * ROW_BLOCK
        if stepper.threads == 1:
            begin = stepper.room.take("begin", np.int64, self.blocks + 1)
            work = self.work(0, Cut(self.numbers, 0, rows, begin))
            return int(stepper.kernels.sum_batch(work, self.begins, self.touched, self.sums, stepper.known))
        slots = -1
        for first in range(0, len(self.numbers), rows):
            begin = self.begins[first // ROW_BLOCK : first // ROW_BLOCK + self.blocks + 1]
            cut = Cut(self.numbers, first, min(rows, len(self.numbers) - first), begin - begin[0])
            self.row_stage(cut)
            slots = self.block_sums(cut, slots)
        return int(slots)

    def row_stage(self, cut: Cut) -> None:
        """Scores, row gradients and their sums over row blocks (numerics 3 to 6)."""

        threads, counter = self.stepper.threads, np.zeros(1, np.int64)

        def work(worker: int, task: int) -> None:
            self.stepper.kernels.work_blocks(self.work(worker, cut), counter)

        each(threads, min(threads, -(-cut.n_rows // ROW_BLOCK)), work)

    def block_sums(self, cut: Cut, slots: int) -> int:
        """First half of the coordinate stage: sums over row blocks into those of the batch (numerics 6)."""
        stepper, kernels = self.stepper, self.stepper.kernels

        def work(worker: int, task: int) -> None:
            nonlocal slots
            if task == stepper.threads:
                slots = kernels.sum_others(self.out, self.sums, cut.n_rows, stepper.known, slots)
            else:
                kernels.sum_cut(cut, self.out, self.touched, self.sums, task)

        each(stepper.threads, stepper.threads + 1, work)
        return int(slots)

    def apply(self, slots: int) -> float | None:
        """Second half: step every touched coordinate (numerics 7). Returns the summed loss.

        Or None when a new value is not finite: then none is stepped.
        """
        stepper, kernels, touched, sums = self.stepper, self.stepper.kernels, self.touched, self.sums
        update, n_rows = stepper.renew_update(), stepper.shape.dtype.type(len(self.numbers))
        finite, loss = [False] * (stepper.threads + 1), 0.0

        def work(worker: int, task: int) -> None:
            nonlocal loss
            if task < stepper.threads:
                finite[task] = kernels.step_features(update, touched, sums, n_rows, task)
            elif task == stepper.threads:
                finite[task] = kernels.step_others(update, sums, n_rows, stepper.known, slots)
            else:
                loss = stepper.measure(self.numbers, self.out.s)

        each(stepper.threads, len(finite) + 1, work)
        if not all(finite):
            kernels.put_back_others(update, sums, slots)
            for owner in range(stepper.threads):
                kernels.put_back_features(update, touched, sums, owner)
        return loss if all(finite) else None
