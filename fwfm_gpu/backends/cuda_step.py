"""One run on the device: the step of a mini-batch as launches that are made once and queued again and again.

A step plans the next batch beside its own work, so there are two plans and two steps that take turns. Kernels find
their batch by a cursor on the device, which the last launch of a step moves on: a step's arguments never change, and
the whole of it can be recorded as one thing to launch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fwfm_gpu.backends.cuda_coordinates import CoordinateStage, Group, cut_batch
from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Shape, Sizes
from fwfm_gpu.backends.cuda_plan import Plan, Planner, Scratch, allocate_plan, allocate_scratch
from fwfm_gpu.backends.cuda_resident import Data, Model, pack_model, pack_recipe, pack_rows
from fwfm_gpu.backends.cuda_rows import RowStage
from fwfm_gpu.backends.kernel_arguments import Packed
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["Cursor", "Room", "Run", "Stages", "allocate_room", "make_stages"]

RECORD_AFTER = 2  # batches: each step has run once, so that whatever is made at a first launch is there
RECORD_FROM = 8  # batches of a run: fewer are not worth a recording


@dataclass(frozen=True)
class Cursor:
    """Where a run stands, on the device."""

    place: Any  # (3,) int64: ``cursor`` of arguments.cuh
    loss: Any  # (1,) float64

    @classmethod
    def at_start(cls, device: Device, loss: float = 0.0) -> Cursor:
        return cls(device.to_device(np.array([0, -1, 0])), device.to_device(np.array([loss])))


@dataclass(frozen=True)
class Room:
    """Device memory that the batches of a run work in, one after another."""

    sizes: Sizes
    plans: tuple[Plan, Plan]
    scratch: Scratch
    work: Packed


def allocate_room(device: Device, kernels: Kernels, shape: Shape, sizes: Sizes) -> Room:
    """Room for batches of these sizes."""
    first, second = (allocate_plan(device, kernels, sizes, shape.index) for _ in range(2))
    scratch = allocate_scratch(device, kernels, sizes, shape.index)
    return Room(sizes, (first, second), scratch, allocate_work(device, kernels, shape, sizes))


@dataclass(frozen=True)
class Stages:
    """The three stages, ready to make launches."""

    device: Device
    room: Room
    planner: Planner
    rows: RowStage
    coordinates: CoordinateStage
    recipe: Packed
    n_classes: int

    sizes = property(lambda self: self.room.sizes)
    plans = property(lambda self: self.room.plans)
    work = property(lambda self: self.room.work)

    def step(self, turn: int, groups: list[Group]) -> Callable[[], None]:
        """One mini-batch from plan ``turn``, and beside it the plan of the next."""
        plan, other = self.plans[turn].packed, self.plans[1 - turn]
        ahead = self.planner.launches(other, 1)
        launches: list[Callable[[], None]] = [
            *self.row_stage(plan, groups),
            *self.coordinates.block_sums(plan),
            *self.coordinates.apply(plan),
        ]
        finish = self.coordinates.finish()

        def queue() -> None:
            with self.device.beside():
                for plans in ahead:
                    plans()
            for launch in launches:
                launch()
            self.device.join()
            finish()

        return queue

    def row_stage(self, plan: Packed, groups: list[Group]) -> list[Callable[[], None]]:
        """Row gradients, chunk by chunk, and the sums of what they leave in the list of pairs."""
        work, sizes = self.work, self.sizes
        launches: list[Callable[[], None]] = []
        for group in groups:
            for lo, hi in group.chunks:
                if self.n_classes > 1:
                    launches += self.rows.scores(work, lo, hi)
        if self.n_classes > 1:
            launches.append(self.rows.class_gradients(self.recipe, work, sizes.rows))
        for group in groups:
            for lo, hi in group.chunks:
                launches += self.rows.gradients(plan, self.recipe, work, lo, hi)
                if sizes.pairs:
                    launches += self.coordinates.chunk_sums(plan, group, lo, hi)
            if sizes.pairs:
                launches.append(self.coordinates.group_sums(group))
        return launches


def make_stages(device: Device, kernels: Kernels, room: Room, run: Run) -> Stages:
    """The stages over a run, in a room."""
    model, data, sizes, work = run.model, run.data, room.sizes, room.work
    shape = model.shape(data.index)
    rows, packed_model = pack_rows(kernels.rows, data), pack_model(kernels, model)
    batch = run.pack_batch(kernels)
    recipe = pack_recipe(device, kernels, model, run.batches, run.learning_rate)
    slots = pack_slots(device, kernels, shape, sizes, data)
    counts = model.state is not None and model.state.counts is not None
    return Stages(
        device,
        room,
        Planner(device, kernels, sizes, data.alike, len(data.fields), rows, batch, room.scratch),
        RowStage(device, kernels, shape, data.longest, rows, packed_model, batch),
        CoordinateStage(device, kernels, shape, sizes, rows, packed_model, recipe, batch, work, slots, counts),
        recipe,
        shape.n_classes,
    )


def allocate_work(device: Device, kernels: Kernels, shape: Shape, sizes: Sizes) -> Packed:
    """``Work`` of arguments.cuh."""
    xp, T, C, k = device.xp, shape.real, shape.n_classes, shape.n_factors
    rows, items, row_blocks = sizes.rows, max(1, sizes.items), -(-sizes.rows // ROW_BLOCK)
    slots = sizes.pairs > 0
    return kernels.rows.struct(
        "Work",
        s_bc=xp.empty((rows, C), T),
        g_bc=xp.empty((rows, C), T),
        loss_b=xp.empty(rows, xp.float64),
        gw_ci=xp.empty((C, items), T),
        gV_cik=xp.empty((C, items, k), T) if k else None,
        pair_cp=xp.empty((C, sizes.pairs), T) if slots else None,
        block_slots=xp.empty((C, sizes.blocks, sizes.columns), T) if slots else None,
        slot_sums=xp.zeros((C, sizes.columns), T) if slots else None,
        slot_touched=xp.zeros(sizes.columns, xp.int32) if slots else None,
        sum_w_cu=xp.empty((C, items), T),
        sum_V_cuk=xp.empty((C, items, k), T) if k else None,
        block_bias=xp.empty((row_blocks, C), T),
        block_loss=xp.empty(row_blocks, xp.float64),
        sum_bias_c=xp.empty(C, T),
        sum_loss=xp.empty(1, xp.float64),
        items=items,
        pairs=sizes.pairs,
        blocks=sizes.blocks,
    )


def pack_slots(device: Device, kernels: Kernels, shape: Shape, sizes: Sizes, data: Data) -> Packed:
    """``Slots`` of arguments.cuh: in a pattern, the slot of each pair of positions."""
    slot = None
    if sizes.pattern:
        assert data.pattern is not None
        fields = data.pattern.astype(np.int64)
        a, b = np.triu_indices(len(fields), 1)
        low, high = np.minimum(fields[a], fields[b]), np.maximum(fields[a], fields[b])
        slot = device.to_device((low * shape.n_fields + high).astype(np.int32))
    return kernels.coordinates.struct("Slots", slot=slot, columns=sizes.columns)


@dataclass
class Run:
    """One pass over the rows."""

    model: Model
    data: Data
    order: Any  # (visits,) int64 on the device; None: every row, in order
    host_order: Array
    size: int  # rows of a batch
    cursor: Cursor
    before: int = 0  # batches that came before, under the same cursor
    learning_rate: float | None = None  # of all its batches; None: the recipe's
    stages: Stages | None = None
    steps: list[Callable[[], object]] = field(default_factory=list)  # one per turn, where one cut serves every batch
    queued: int = 0  # batches

    @property
    def batches(self) -> int:
        """Of the whole pass."""
        return -(-len(self.host_order) // self.size)

    def pack_batch(self, kernels: Kernels) -> Packed:
        """``Batch`` of arguments.cuh."""
        return kernels.rows.struct(
            "Batch",
            order=self.order,
            visits=len(self.host_order),
            before=self.before,
            size=self.size,
            cursor=self.cursor.place,
            loss=self.cursor.loss,
        )

    def prepare(self, stages: Stages) -> None:
        """Plan the first batch."""
        self.stages = stages
        for launch in stages.planner.launches(stages.plans[0], 0):
            launch()
        sizes, longest = stages.sizes, self.data.longest
        if self.data.alike >= 0 or sizes.rows * (longest * (longest - 1) // 2) <= sizes.pairs or not sizes.pairs:
            groups = cut_batch(np.full(sizes.rows, longest), sizes)
            self.steps = [stages.step(turn, groups) for turn in (0, 1)]

    def advance(self) -> bool:
        """Queue the next batch. False when there is none."""
        if self.queued == self.batches:
            return False
        assert self.stages is not None
        turn, lo = self.queued % 2, self.queued * self.size
        if self.steps:
            if self.queued == RECORD_AFTER and self.batches > RECORD_FROM:
                self.steps = [self.stages.device.record(step) for step in self.steps]
            self.steps[turn]()
        else:
            lengths = self.data.lengths[self.host_order[lo : lo + self.size]]
            self.stages.step(turn, cut_batch(lengths, self.stages.sizes))()
        self.queued += 1
        self.model.touches += 1
        return True
