"""One mini-batch of the compiled engine: its three stages, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Any

import numpy as np

from fwfm_gpu.backends import compiled_coordinates as coordinates
from fwfm_gpu.backends.compiled import machine, widest_lanes
from fwfm_gpu.backends.compiled_batch import Queue, sum_blocks
from fwfm_gpu.backends.compiled_coordinates import Touched
from fwfm_gpu.backends.compiled_slopes import scalar_slopes, softmax_slopes
from fwfm_gpu.backends.compiled_structures import Packed
from fwfm_gpu.backends.compiled_tables import (
    Extent,
    Room,
    Shape,
    choose_way,
    fit_block,
    make_block_sums,
    make_rows,
    make_sums,
    make_task,
    make_theta,
    make_update,
    make_worker,
)
from fwfm_gpu.backends.compiled_work import Work
from fwfm_gpu.backends.numpy_resident import Data, Model
from fwfm_gpu.backends.threads import each
from fwfm_gpu.losses import logistic_slope, squared_slope
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array
from fwfm_gpu.recipe import Recipe

__all__ = ["Kernels", "Stepper", "common_factors"]

COMMON_FACTORS = (4, 8, 16, 32)  # numbers of factors with machine code of their own
SHELF_BYTES = 1 << 25  # of all shelves: so far threads may run ahead of one that is slow
STEPPED = 512  # features that a thread takes at a time
OWNED_BY = 4  # threads whose row blocks one thread can add up
PATIENCE = 5e-5  # seconds that a thread waits for a slower one to make room
PAD = 16  # integers from one that threads share to the next: each has cache lines of its own
FEW_PRODUCTS = 1 << 22  # of factors of a batch: fewer are not worth a second thread
SLOPES: dict[str, dict[str, Any]] = {
    "logistic": {"SINGLE": True, "SLOPES": scalar_slopes, "SLOPE": logistic_slope},
    "squared": {"SINGLE": True, "SLOPES": scalar_slopes, "SLOPE": squared_slope},
    "softmax": {"SINGLE": False, "SLOPES": softmax_slopes},
}


def common_factors(k: int) -> int:
    """k where it has machine code of its own, else 0: code for any k."""
    return k if k in COMMON_FACTORS else 0


@dataclass(frozen=True)
class Kernels:
    """The machine code of a recipe and a number of factors."""

    sum_blocks: Callable[..., bool]
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
            "STEPPED": STEPPED,
            "COUNTS": recipe.rule.counts,
            "CLIPS": recipe.rule.gradient_clip is not None,
            **SLOPES[recipe.loss],
            **way,
        }
        applied = (coordinates.step_features, coordinates.step_others)
        undone = (coordinates.put_back_features, coordinates.put_back_others)
        return cls(*(machine(function, **constants) for function in (sum_blocks, *applied, *undone)))


@dataclass(frozen=True)
class Layout:
    """What the stages of a batch are given: tables that fit it, and that the next batch has too."""

    works: list[Packed]  # `Work` of each thread
    queue: Packed  # `Queue`
    touched: Packed  # `Touched`
    sums: Packed  # `Sums`

    def begin(self, numbers: Array) -> Array:
        """A batch of these rows has not been begun. Returns where its scores will be, (B, C)."""
        work: Work = self.works[0].value
        work.numbers[:] = numbers
        touched: Touched = self.touched.value
        for array in (touched.size, touched.taken, *self.queue.value):
            array.fill(0)
        return work.s


def make_queue(blocks: int, owners: int, threads: int, shelves: int) -> Queue:
    """For so many row blocks and owners, and shelves of each thread."""
    shapes = (1,), (blocks,), (owners, PAD), (owners, PAD), (threads, shelves), (1,)
    return Queue(*(np.zeros(shape, np.int64) for shape in shapes))


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
        self.owners = -(-self.threads // OWNED_BY)  # of features' totals: each is added to by one thread at a time
        self.kernels = Kernels.of(model.recipe, p.n_factors, self.way)
        self.workers = [make_worker(self.shape, widest_lanes()) for _ in range(self.threads)]
        self.room, self.rooms = Room({}), [Room({}) for _ in range(self.threads)]
        self.slots = self.find_slots()
        self.known = np.full(p.n_fields**2 if self.way["LISTED"] else 0, -1)
        self.rank = np.full(p.n_features, -1, np.int32)
        self.most = 0  # touches that Adam's tables reach
        self.extent = Extent(0, 0, 0)

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

    def renew_update(self) -> Packed:
        """What steps work on; Adam's tables grow with the touches."""
        counts = None if self.model.state is None else self.model.state.counts
        touches = 1 if counts is None else int(counts.bias) + 1  # no coordinate was touched by more batches
        if touches > self.most:
            self.most = 2 * touches
            self.update = Packed(make_update(self.model, self.most))
        return self.update

    def step(self, numbers: Array) -> float | None:
        """One mini-batch. Returns its summed loss, or None when a number is not finite: then nothing changed."""
        batch = Batch(self, numbers)
        slots = batch.add_up()
        if np.all(np.isfinite(batch.s)):
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

    def lay_out(self, extent: Extent) -> Layout:
        """Tables for a batch; one with as many rows as the last has the same, if its items find room."""
        known = self.extent
        if extent.rows == known.rows:
            extent = Extent(known.rows, max(extent.items, known.items), max(extent.block_items, known.block_items))
        if extent != known:
            assert self.model.recipe is not None
            shape, room, owners, items = self.shape, self.room, self.owners, extent.block_items
            shelves = self.count_shelves(extent)
            block_sums = make_block_sums(room, shape, self.threads * shelves, items, owners)
            numbers = room.take("numbers", np.int64, extent.rows)
            s = room.take("s", shape.dtype, extent.rows, shape.n_classes)
            works = []
            for own, (block, group, alone) in zip(self.rooms, self.workers, strict=True):
                own_block = fit_block(own, shape, items, owners, block)
                works.append(Work(self.theta, self.rows, self.task, numbers, s, own_block, group, alone, block_sums))
            places = min(extent.items, -(-len(self.rank) // owners))
            moments = len(self.model.recipe.rule.moments)
            sums = make_sums(room, shape, owners * places, (self.slots, self.known), moments)
            size, taken = (room.take(name, np.int64, owners, PAD) for name in ("touched", "taken"))
            touched = Touched(room.take("features", np.int64, owners, places), size, taken, self.rank)
            queue = make_queue(-(-extent.rows // ROW_BLOCK), owners + 1, self.threads, shelves)
            self.extent = extent
            self.layout = Layout([Packed(work) for work in works], Packed(queue), Packed(touched), Packed(sums))
        return self.layout

    def count_shelves(self, extent: Extent) -> int:
        """Row blocks that each thread may have computed before they are added up. One thread adds its own at once."""
        if self.threads == 1:
            return 1
        one = make_block_sums(Room({}), self.shape, 1, extent.block_items, self.owners)
        most = SHELF_BYTES // (sum(array.nbytes for array in one) * self.threads)  # integers
        return min(-(-extent.rows // ROW_BLOCK), max(2, most))

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
        begins = stepper.count_items(numbers)
        extent = Extent(len(numbers), int(begins[-1]), int(np.diff(begins).max()))
        self.layout = stepper.lay_out(extent)
        self.s = self.layout.begin(numbers)

    def add_up(self) -> int:
        """Rows and block sums (numerics 3 to 6). Returns how many slots of R the batch touches."""
        stepper, layout = self.stepper, self.layout
        queue: Queue = layout.queue.value
        broken = False

        def work(worker: int, task: int) -> None:
            nonlocal broken
            arguments = (layout.works[worker], layout.queue, layout.touched, layout.sums, worker)
            try:
                while not (stepper.kernels.sum_blocks(*arguments) or broken):
                    sleep(PATIENCE)
            except BaseException:
                broken = True  # what this thread began nobody will finish
                raise

        each(stepper.threads, min(stepper.threads, len(queue.shelf)), work)
        return int(queue.slots[0])

    def apply(self, slots: int) -> float | None:
        """Second half of the coordinate stage: step every touched coordinate (numerics 7). Returns the summed loss.

        Or None when a new value is not finite: then none is stepped.
        """
        stepper, kernels, touched, sums = self.stepper, self.stepper.kernels, self.layout.touched, self.layout.sums
        update, n_rows = stepper.renew_update(), stepper.shape.dtype.type(len(self.numbers))
        finite, loss = [True] * (stepper.threads + 2), 0.0

        def work(worker: int, task: int) -> None:
            nonlocal loss
            if task == 0:
                loss = stepper.measure(self.numbers, self.s)
            elif task == 1:
                finite[task] = kernels.step_others(update, sums, n_rows, slots)
            else:
                finite[task] = kernels.step_features(update, touched, sums, n_rows)

        each(stepper.threads, len(finite), work)
        if not all(finite):
            kernels.put_back_others(update, sums, slots)
            for owner in range(stepper.owners):
                kernels.put_back_features(update, touched, sums, owner)
        return loss if all(finite) else None
