"""Coordinates: ordered batch sums, then one step of each touched coordinate (numerics 6 and 7).

``np.add.at`` adds its items one after another, in the order they are given; everywhere here that is batch order, block
by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fwfm_gpu.backends.numpy_plan import Segments
from fwfm_gpu.backends.numpy_resident import Model
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.optimizers import Adam, Corrections
from fwfm_gpu.parameters import Array, Counts, OptimizerState, Parameters

__all__ = ["BatchSums", "SlotSums", "apply"]

STEP_ENTRIES = 1 << 19  # coordinates stepped in one go


class SlotSums:
    """Sums of the field-pair weights of one batch. One owner per slot of R; rows come in batch order."""

    def __init__(self, parameters: Parameters, learns_R: bool = True) -> None:
        n_classes, slots = parameters.n_classes, parameters.n_fields**2 if learns_R and parameters.n_factors else 0
        self.total_cs = np.zeros((n_classes, slots), parameters.dtype)
        self.touched_s = np.zeros(slots, bool)
        self.block_cs = np.zeros((n_classes, slots), parameters.dtype)  # the row block that is open
        self.open_block = 0

    def add_pattern(self, c: int, slots_p: Array, value_pl: Array) -> None:
        """Add whole row blocks whose rows all have the same, distinct, slots: one per pair."""
        pairs, lanes = value_pl.shape
        block_l = np.arange(lanes) // ROW_BLOCK
        blocks = int(block_l[-1]) + 1
        sums = np.zeros(pairs * blocks, value_pl.dtype)
        owner_pl = np.arange(pairs)[:, None] * blocks + block_l
        np.add.at(sums, owner_pl.reshape(-1), value_pl.reshape(-1))
        for sums_p in sums.reshape(pairs, blocks).T:
            self.total_cs[c, slots_p] += sums_p
        self.touched_s[slots_p] = True

    def add_rows(self, position_i: Array, slot_i: Array, value_ci: Array) -> None:
        """Add one item per row and slot, rows in batch order; ``position_i`` is the position of the item's row."""
        self.touched_s[slot_i] = True
        block_i = position_i // ROW_BLOCK
        edges = np.append(np.flatnonzero(np.diff(block_i, prepend=-1)), len(block_i))
        for lo, hi in pairwise(edges):
            if block_i[lo] != self.open_block:
                self.close_block()
                self.open_block = int(block_i[lo])
            for block_s, value_i in zip(self.block_cs, value_ci, strict=True):
                np.add.at(block_s, slot_i[lo:hi], value_i[lo:hi])

    def close_block(self) -> None:
        """Add the open block's sums to the total; untouched slots add +0, which changes nothing."""
        self.total_cs += self.block_cs
        self.block_cs[:] = 0


class BatchSums:
    """Sums of all row gradients of one batch: the one array of its touched coordinates."""

    def __init__(self, parameters: Parameters, features: Array, learns_R: bool = True) -> None:
        self.features = features  # (touched,) ascending
        self.slots = SlotSums(parameters, learns_R)
        self.bias_c = np.zeros(parameters.n_classes, parameters.dtype)
        shape = (parameters.n_classes, 1 + parameters.n_factors, len(features))
        self.total_cjn = np.zeros(shape, parameters.dtype)  # j = 0: w; j = 1 + t: factor t

    def add_bias(self, g_cb: Array) -> None:
        """Add the bias gradients of whole row blocks."""
        block_b = np.arange(g_cb.shape[1]) // ROW_BLOCK
        for c, g_b in enumerate(g_cb):
            sums = np.zeros(int(block_b[-1]) + 1, g_cb.dtype)
            np.add.at(sums, block_b, g_b)
            np.add.at(self.bias_c, np.full(len(sums), c), sums)

    def add_items(self, segments: Segments, gradient_cji: Array) -> None:
        """Add the feature gradients of whole row blocks: items into segments, segments into features."""
        owner = np.searchsorted(self.features, segments.segment_feature)
        for total_jn, gradient_ji in zip(self.total_cjn, gradient_cji, strict=True):
            for total_n, gradient_i in zip(total_jn, gradient_ji, strict=True):
                sums = np.zeros(len(owner), gradient_i.dtype)
                np.add.at(sums, segments.segment, gradient_i)
                np.add.at(total_n, owner, sums)


@dataclass(frozen=True)
class Step:
    """New values of some coordinates of one group and class, not yet written."""

    group: str
    c: int
    index: Array | slice
    theta: Array
    moments: tuple[Array, ...]

    def write(self, parameters: Parameters, state: OptimizerState) -> None:
        """Replace the coordinates and their state."""
        flat(parameters, self.group, self.c)[self.index] = self.theta
        for arrays, new in zip(state.moments.values(), self.moments, strict=True):
            flat(arrays, self.group, self.c)[self.index] = new


def flat(arrays: Parameters, group: str, c: int) -> Array:
    """A writable view of one group and class, indexed by coordinate: w0 (1,), w (n,), V (n, k), R (F * F,)."""
    array: Array = getattr(arrays, group)
    class_array: Array = array[c : c + 1] if group == "w0" else array[c]
    return class_array.reshape(-1) if group == "R" else class_array


def steps(model: Model, sums: BatchSums, rows: int) -> Iterator[Step]:
    """The steps of all touched coordinates, from their mean gradients."""
    parameters = model.parameters
    n_rows = parameters.dtype.type(rows)
    features, slots = sums.features, np.flatnonzero(sums.slots.touched_s)
    at_once = max(1, STEP_ENTRIES // max(1, parameters.n_factors))
    for c in range(parameters.n_classes):
        yield make_step(model, "w0", c, slice(None), sums.bias_c[c : c + 1] / n_rows)
        for lo in range(0, len(features), at_once):
            part = slice(lo, lo + at_once)
            mean_jn = sums.total_cjn[c, :, part] / n_rows
            yield make_step(model, "w", c, features[part], mean_jn[0])
            if parameters.n_factors:
                yield make_step(model, "V", c, features[part], mean_jn[1:].T)
        for lo in range(0, len(slots), STEP_ENTRIES):
            part_s = slots[lo : lo + STEP_ENTRIES]
            yield make_step(model, "R", c, part_s, sums.slots.total_cs[c, part_s] / n_rows)


def make_step(model: Model, group: str, c: int, index: Array | slice, mean: Array) -> Step:
    """One step of some coordinates of one group and class, all touched."""
    recipe, state = model.recipe, model.state
    assert recipe is not None and state is not None
    theta = flat(model.parameters, group, c)[index]
    moments = tuple(flat(arrays, group, c)[index] for arrays in state.moments.values())
    penalty = recipe.penalties.of(group, theta.dtype)
    corrections = None
    if state.counts is not None and isinstance(recipe.rule, Adam):
        corrections = count_corrections(recipe.rule, counts_of(state.counts, group)[index], theta)
    return Step(group, c, index, *recipe.rule.step(theta, mean, moments, penalty, corrections))


def counts_of(counts: Counts, group: str) -> Array:
    """A writable flat view of the counts that a group of parameters goes by."""
    return {"w0": counts.bias, "R": counts.slot}.get(group, counts.feature).reshape(-1)


def count_corrections(rule: Adam, counts: Array, theta: Array) -> Corrections:
    """Adam's corrections for the count after this step, shaped to go with theta."""
    t = counts + 1
    looked_up = []
    for table in rule.correction_tables(int(t.max(initial=1)), theta.dtype):
        correction = table[np.minimum(t, len(table) - 1)]
        looked_up.append(correction.reshape(-1, *[1] * (theta.ndim - 1)))
    return Corrections(*looked_up)


def apply(model: Model, sums: BatchSums, rows: int) -> bool:
    """Second half: step every touched coordinate, or none when a new value is not finite. Returns whether it was done.

    All steps are looked at before any is written; where they are too many to keep, they are made a second time.
    """
    assert model.state is not None
    kept: list[Step] = []
    entries = 0
    for step in steps(model, sums, rows):
        if not np.all(np.isfinite(step.theta)):
            return False
        entries += step.theta.size
        kept = [*kept, step] if entries <= STEP_ENTRIES else []
    for step in kept or steps(model, sums, rows):
        step.write(model.parameters, model.state)
    if model.state.counts is not None:
        counts_of(model.state.counts, "w0")[:] += 1
        counts_of(model.state.counts, "w")[sums.features] += 1
        counts_of(model.state.counts, "R")[np.flatnonzero(sums.slots.touched_s)] += 1
    return True
