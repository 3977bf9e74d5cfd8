"""Row gradients of one group of row blocks: the row stage, put together.

Rows go through in tiles: consecutive rows whose tables of pairs fit a bound, or one row. Inside a tile, rows of similar
length share a chunk. Feature gradients are kept for the whole group; slot gradients are handed on after each tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fwfm_gpu.backends.numpy_coordinates import SlotSums
from fwfm_gpu.backends.numpy_plan import Group, cut_segments
from fwfm_gpu.backends.numpy_resident import Data, Model
from fwfm_gpu.backends.numpy_rows import (
    TABLE_ENTRIES,
    Chunk,
    ClassTheta,
    Scored,
    choose_lanes,
    group_by_length,
    item_gradients,
    make_chunk,
    pair_gradients,
    score_chunk,
)
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["RowGradients", "row_gradients"]


@dataclass
class RowGradients:
    """What the row stage hands to the coordinate stage for one group."""

    s_bc: Array  # (B, C) T scores
    g_cb: Array  # (C, B) T
    items_cji: Array  # (C, 1 + k, items) T: gw, then gV of each factor
    loss: float = 0.0


@dataclass(frozen=True)
class RowStage:
    """One group on its way through the row stage."""

    model: Model
    data: Data
    group: Group
    first: int  # position in the batch of the group's first row
    out: RowGradients

    @property
    def k(self) -> int:
        return self.model.parameters.n_factors

    @property
    def n_classes(self) -> int:
        return self.model.parameters.n_classes

    @property
    def sums_slots(self) -> bool:
        return self.k > 0 and self.model.recipe is not None and self.model.recipe.learns_R


def row_gradients(model: Model, data: Data, group: Group, first: int, slots: SlotSums) -> RowGradients:
    """Scores and row gradients of a group, from the parameters frozen at the start of the batch (numerics 3 to 5).

    ``first`` is the batch position of the group's first row; slot gradients go into ``slots``.
    """
    parameters, rows = model.parameters, len(group.rows)
    n_classes, T = parameters.n_classes, parameters.dtype
    out = RowGradients(
        np.empty((rows, n_classes), T),
        np.empty((n_classes, rows), T),
        np.empty((n_classes, 1 + parameters.n_factors, len(group.feature)), T),
    )
    stage = RowStage(model, data, group, first, out)
    if (lanes := pattern_lanes(stage)) is not None:
        pattern_tiles(stage, lanes, slots)
    else:
        general_tiles(stage, slots)
    return out


def pattern_lanes(stage: RowStage) -> int | None:
    """Lanes of a tile of whole row blocks when every row has one and the same set of distinct slots, else None."""
    pattern = stage.data.pattern
    if pattern is None or stage.data.shares_fields:
        return None
    lanes = choose_lanes(len(pattern), stage.k, stage.n_classes)
    if lanes * 4 < ROW_BLOCK:
        return None  # a row block side by side would take over four times the bound
    return max(ROW_BLOCK, lanes // ROW_BLOCK * ROW_BLOCK)


def pattern_tiles(stage: RowStage, lanes: int, slots: SlotSums) -> None:
    """All rows alike: r is one number per pair, and each pair is one slot."""
    for lo in range(0, len(stage.group.rows), lanes):
        chunk, cd_cpl = chunk_gradients(stage, np.arange(lo, min(lo + lanes, len(stage.group.rows))))
        if stage.sums_slots and len(chunk.slots_pl):
            for c, cd_pl in enumerate(cd_cpl):
                slots.add_pattern(c, chunk.slots_pl[:, 0], cd_pl)


def general_tiles(stage: RowStage, slots: SlotSums) -> None:
    """Rows of any lengths and fields: pairs are listed in (row, pair) order."""
    for lo, hi in cut_tiles(stage):
        lengths = np.diff(stage.group.starts[lo : hi + 1])
        pairs = lengths * (lengths - 1) // 2 if stage.sums_slots else np.zeros_like(lengths)
        starts = np.cumsum(pairs) - pairs
        total = int(starts[-1] + pairs[-1])
        slot_i = np.empty(total, np.intp)
        value_ci = np.empty((stage.n_classes, total), stage.out.g_cb.dtype)
        for chosen in group_by_length(lengths, stage.k, stage.n_classes):
            chunk, cd_cpl = chunk_gradients(stage, lo + chosen)
            if stage.sums_slots and len(chunk.slots_pl):
                present_lp = present_pairs(chunk)
                here = np.repeat(starts[chosen] - (np.cumsum(pairs[chosen]) - pairs[chosen]), pairs[chosen])
                here += np.arange(len(here))
                slot_i[here] = np.broadcast_to(chunk.slots_pl, present_lp.T.shape).T[present_lp]
                for value_i, cd_pl in zip(value_ci, cd_cpl, strict=True):
                    value_i[here] = cd_pl.T[present_lp]
        if total:
            position_i = np.repeat(stage.first + np.arange(lo, hi), pairs)
            if stage.data.shares_fields:
                position_i, slot_i, value_ci = sum_row_slots(position_i, slot_i, value_ci)
            slots.add_rows(position_i, slot_i, value_ci)


def sum_row_slots(position_i: Array, slot_i: Array, value_ci: Array) -> tuple[Array, Array, Array]:
    """Sum the pairs of a row that share a slot, in pair order (numerics 5): one item per row and slot, rows in order.

    Items come in (row, pair) order.
    """
    owner_i, slot_u, position_u = cut_segments(slot_i, position_i)
    value_cu = np.zeros((len(value_ci), len(slot_u)), value_ci.dtype)
    for value_u, value_i in zip(value_cu, value_ci, strict=True):
        np.add.at(value_u, owner_i, value_i)
    by_row = np.argsort(position_u, kind="stable")
    return position_u[by_row], slot_u[by_row], value_cu[:, by_row]


def cut_tiles(stage: RowStage) -> Iterator[tuple[int, int]]:
    """Consecutive rows whose pairs fit the bound, or a single row."""
    lengths = np.diff(stage.group.starts)
    pairs = np.cumsum(lengths * (lengths - 1) // 2) if stage.k else np.zeros_like(lengths)
    lo = 0
    while lo < len(lengths):
        before = pairs[lo - 1] if lo else 0
        fit = int(np.searchsorted(pairs, before + TABLE_ENTRIES // stage.n_classes, side="right"))
        yield lo, max(lo + 1, fit)
        lo = max(lo + 1, fit)


def present_pairs(chunk: Chunk) -> Array:
    """Which pairs a lane really has, (L, pairs) bool."""
    z, lanes = chunk.x_zl.shape
    if chunk.padded_zl is None:
        return np.ones((lanes, len(chunk.slots_pl)), bool)
    later = np.concatenate([np.arange(a + 1, z) for a in range(z)])  # b of each pair: present when b is
    present_lp: Array = ~chunk.padded_zl[later].T
    return present_lp


def chunk_gradients(stage: RowStage, positions: Array) -> tuple[Chunk, list[Array]]:
    """Rows of a chunk, all classes. Writes scores, g and feature gradients; returns c * d, (pairs, L), per class."""
    model, data, out = stage.model, stage.data, stage.out
    rows = stage.group.rows[positions]
    chunk = make_chunk(data, rows, model.parameters)
    scored = [score_chunk(ClassTheta.of(model.parameters, c), chunk) for c in range(stage.n_classes)]
    g_cl = loss_gradients(stage, scored, positions)
    here_zl = stage.group.starts[positions] + np.arange(len(chunk.x_zl))[:, None]
    present_zl = ... if chunk.padded_zl is None else ~chunk.padded_zl
    cd_cpl = []
    for c, g_l in enumerate(g_cl):
        gradient_jzl, cd_pl = class_gradients(stage, chunk, scored[c], g_l)
        out.items_cji[c][:, here_zl[present_zl]] = gradient_jzl[:, present_zl]
        cd_cpl.append(cd_pl)
    return chunk, cd_cpl


def loss_gradients(stage: RowStage, scored: list[Scored], positions: Array) -> Array:
    """g of each class and lane, (C, L): float64 from the scores, times the weight, rounded once (numerics 4)."""
    recipe, data, out = stage.model.recipe, stage.data, stage.out
    assert recipe is not None and data.y is not None
    rows = stage.group.rows[positions]
    s_lc = np.stack([part.s_l for part in scored], axis=1)
    s64_lc, y_l = s_lc.astype(np.float64), data.y[rows]
    weight_l = None if data.weight is None else data.weight[rows]
    g_lc = recipe.loss_function.gradient(s64_lc, y_l, recipe.label_smoothing)
    if weight_l is not None:
        g_lc = weight_l[:, None] * g_lc
    g_cl = np.ascontiguousarray(g_lc.T.astype(s_lc.dtype))
    out.s_bc[positions], out.g_cb[:, positions] = s_lc, g_cl
    out.loss += recipe.loss_function.total(s64_lc, y_l, recipe.label_smoothing, weight_l)
    return g_cl


def class_gradients(stage: RowStage, chunk: Chunk, scored: Scored, g_l: Array) -> tuple[Array, Array]:
    """Feature gradients (1 + k, z, L) and c * d (pairs, L) of one class."""
    if stage.k == 0:
        gw_zl: Array = g_l * chunk.x_zl
        return gw_zl[None], scored.d_pl
    cd_pl, q_zzl = pair_gradients(chunk, scored, g_l)
    return item_gradients(chunk, scored.V_kzl, q_zzl, g_l), cd_pl
