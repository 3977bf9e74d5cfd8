"""One mini-batch of the compiled engine: its three stages, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fwfm_gpu.backends import compiled_coordinates as coordinates
from fwfm_gpu.backends.compiled import machine, widest_lanes
from fwfm_gpu.backends.compiled_batch import lay_cut, plan_cut, sum_batch, sum_cut, sum_others_of_cut, work_blocks
from fwfm_gpu.backends.compiled_coordinates import Update
from fwfm_gpu.backends.compiled_gradients import Cut, Work, scalar_slopes, softmax_slopes
from fwfm_gpu.backends.compiled_plan import Touched
from fwfm_gpu.backends.compiled_tables import (
    Extent,
    Room,
    Shape,
    choose_way,
    make_gradients,
    make_plan,
    make_rows,
    make_sums,
    make_task,
    make_theta,
    make_update,
    make_worker,
)
from fwfm_gpu.backends.numpy_resident import Data, Model
from fwfm_gpu.backends.threads import each
from fwfm_gpu.losses import logistic_slope, squared_slope
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array
from fwfm_gpu.recipe import Recipe

__all__ = ["Kernels", "Stepper", "common_factors"]

COMMON_FACTORS = (4, 8, 16, 32)  # numbers of factors with machine code of their own
CUT_BYTES = 1 << 19  # gradients that one thread makes before they are summed: they stay in its cache
FEW_PRODUCTS = 1 << 22  # of factors of a batch: fewer are not worth a second thread
PART = 1024  # features that are summed or stepped in one go
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
    lay_cut: Callable[..., None]
    plan_cut: Callable[..., int]
    work_blocks: Callable[..., None]
    sum_cut: Callable[..., None]
    sum_others: Callable[..., int]
    step_features: Callable[..., bool]
    step_others: Callable[..., bool]
    put_back_features: Callable[..., None]
    put_back_others: Callable[..., None]
    close_batch: Callable[..., None]

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
        stages = (sum_batch, lay_cut, plan_cut, work_blocks, sum_cut, sum_others_of_cut)
        applied = (coordinates.step_features, coordinates.step_others)
        undone = (coordinates.put_back_features, coordinates.put_back_others, coordinates.close_batch)
        return cls(*(machine(function, **constants) for function in (*stages, *applied, *undone)))


class Stepper:
    """Steps of one model over one set of rows. Has the tables that the stages share."""

    def __init__(self, model: Model, data: Data, threads: int) -> None:
        assert model.recipe is not None
        p, longest = model.parameters, int(data.lengths.max(initial=0))
        self.model, self.data = model, data
        self.rows, self.theta, self.task = make_rows(data), make_theta(p), make_task(data, model)
        self.way = choose_way(self.task, p.n_classes, longest)
        self.kernels = Kernels.of(model.recipe, p.n_factors, self.way)
        self.shape = Shape(p.n_classes, p.n_factors, p.n_fields, longest, self.way["LISTED"], p.dtype)
        self.threads = threads if self.count_products() > FEW_PRODUCTS else 1
        self.workers = [make_worker(self.shape, widest_lanes()) for _ in range(self.threads)]
        self.room, self.slots = Room({}), self.find_slots()
        self.known = np.full(p.n_fields**2 if self.way["LISTED"] else 0, -1)
        self.rank = np.full(p.n_features, -1, np.int32)
        self.most = 0  # touches that Adam's tables reach

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

    def step(self, numbers: Array, s: Array) -> bool:
        """One mini-batch; scores into ``s``, (B, C). Returns whether all is finite, else nothing changed."""
        batch = Batch(self, numbers, s)
        slots = batch.sum()
        done = bool(np.all(np.isfinite(s))) and batch.apply(slots)
        self.kernels.close_batch(self.renew_update(), batch.touched, batch.sums, self.known, slots, done)
        return done

    def choose_rows(self, numbers: Array) -> tuple[int, Array]:
        """How many rows are worked on at once, whole row blocks, and how many items that makes, part by part."""
        lengths = self.data.lengths[numbers]
        ends = np.cumsum(lengths)
        item = self.shape.n_classes * (1 + self.shape.n_factors) * np.dtype(self.shape.dtype).itemsize
        fit = CUT_BYTES * (self.threads if self.threads == 1 else 4 * self.threads) * len(numbers)
        blocks = max(1, fit // (max(int(ends[-1]), 1) * item * ROW_BLOCK))
        rows = min(blocks * ROW_BLOCK, len(numbers))
        at = np.append(np.arange(rows, len(numbers), rows), len(numbers)) - 1
        return rows, np.diff(ends[at], prepend=0)


class Batch:
    """One mini-batch on its way through the stages."""

    def __init__(self, stepper: Stepper, numbers: Array, s: Array) -> None:
        self.stepper, self.numbers = stepper, numbers
        assert stepper.model.recipe is not None
        shape, room = stepper.shape, stepper.room
        self.at_once, items = stepper.choose_rows(numbers)
        extent = Extent(self.at_once, int(items.max()))
        most = min(int(items.sum()), len(stepper.rank))  # integers
        self.plan, self.out = make_plan(room, extent), make_gradients(room, shape, extent, s)
        self.sums = make_sums(room, shape, most, stepper.slots, len(stepper.model.recipe.rule.moments))
        count = room.take("touched", np.int64, 1)
        count[0] = 0
        self.touched = Touched(room.take("features", np.int64, most), stepper.rank, count)

    def work(self, worker: int, cut: Cut) -> Work:
        """What a thread works with."""
        stepper = self.stepper
        return Work(stepper.theta, stepper.rows, cut, stepper.task, *stepper.workers[worker], self.out)

    def sum(self) -> int:
        """Rows, plan and block sums. Returns how many slots of R the batch touches."""
        stepper = self.stepper
        if stepper.threads == 1:
            work = self.work(0, Cut(self.numbers, 0, 0, self.plan.starts))
            return stepper.kernels.sum_batch(work, self.plan, self.touched, self.sums, stepper.known, self.at_once)
        slots = -1
        for first in range(0, len(self.numbers), self.at_once):
            count = min(self.at_once, len(self.numbers) - first)
            cut = Cut(self.numbers, first, count, self.plan.starts)
            met = int(self.touched.size[0])
            distinct = self.row_stage(cut)
            slots = self.block_sums(cut, met, distinct, slots)
        return slots

    def row_stage(self, cut: Cut) -> int:
        """Scores and row gradients of some row blocks (numerics 3 to 5), and their plan."""
        stepper, kernels = self.stepper, self.stepper.kernels
        kernels.lay_cut(stepper.rows, cut, self.plan)
        distinct = 0

        def work(worker: int, task: int) -> None:
            nonlocal distinct
            if task == 0:
                distinct = kernels.plan_cut(stepper.rows, cut, self.plan, self.touched)
            else:
                kernels.work_blocks(self.work(worker, cut), task - 1, task)

        each(stepper.threads, 1 - (-cut.n_rows // ROW_BLOCK), work)
        return distinct

    def block_sums(self, cut: Cut, met: int, distinct: int, slots: int) -> int:
        """First half of the coordinate stage: row gradients into the sums of the batch (numerics 6)."""
        stepper, kernels = self.stepper, self.stepper.kernels
        parts = cut_parts(self.plan.begin[: distinct + 1], stepper.threads)

        def work(worker: int, task: int) -> None:
            nonlocal slots
            if task == 0:
                slots = kernels.sum_others(self.out, self.sums, cut.n_rows, stepper.known, slots)
            else:
                kernels.sum_cut(self.plan, self.out, self.sums, met, parts[task - 1])

        each(stepper.threads, 1 + len(parts), work)
        return slots

    def apply(self, slots: int) -> bool:
        """Second half: step every touched coordinate, or none when a new value is not finite (numerics 7)."""
        stepper, kernels, touched, sums = self.stepper, self.stepper.kernels, self.touched, self.sums
        update, n_rows = stepper.renew_update(), stepper.shape.dtype.type(len(self.numbers))
        parts = cut_parts(np.arange(int(touched.size[0]) + 1), stepper.threads)
        finite = [False] * (1 + len(parts))

        def work(worker: int, task: int) -> None:
            if task == 0:
                finite[0] = kernels.step_others(update, sums, n_rows, slots)
            else:
                finite[task] = kernels.step_features(update, touched, sums, n_rows, parts[task - 1])

        each(stepper.threads, len(finite), work)
        if not all(finite):
            kernels.put_back_others(update, sums, slots)
            kernels.put_back_features(update, touched, sums, (0, int(touched.size[0])))
        return all(finite)


def cut_parts(begin: Array, threads: int) -> list[tuple[int, int]]:
    """Cut features, which begin at (features + 1,) places, into parts of about as many items."""
    features = len(begin) - 1
    parts = 1 if threads == 1 else max(features // PART, min(4 * threads, features), 1)
    edges = np.searchsorted(begin, np.linspace(0, begin[-1], parts + 1))
    edges[0], edges[-1] = 0, features
    return [(int(lo), int(hi)) for lo, hi in pairwise(edges)]
