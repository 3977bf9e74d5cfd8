"""Coordinates, compiled: ordered batch sums, then one step of each touched coordinate (numerics 6 and 7).

Lanes are factors of one feature. One thread at a time adds to the totals of an owner, and each feature is stepped by
whatever thread takes it. A step is written at once, and what it replaces is kept where its sum was: when some new value
turns out not to be finite, all is put back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fwfm_gpu.backends.compiled_rows import K, Theta
from fwfm_gpu.backends.compiled_work import LISTED, BlockSums
from fwfm_gpu.backends.lanes import (
    LANES,
    all_zero,
    atomic_add,
    first_lanes,
    inlined,
    load_some,
    prefetch,
    splat,
    store_some,
)
from fwfm_gpu.numerics import choose
from fwfm_gpu.optimizers import Constants, Corrections, Given, Penalty, adagrad, clip
from fwfm_gpu.parameters import Array

__all__ = ["Sums", "Totals", "Touched", "Update", "put_back_features", "put_back_others"]
__all__ += ["step_features", "step_of_none", "step_of_one", "step_of_two", "step_others", "sum_features", "sum_others"]


class Touched(NamedTuple):
    """The features that a batch touches, by owner, in the order in which they were met."""

    feature: Array  # (owners, places) int64
    size: Array  # (owners, PAD) int64: how many there are
    taken: Array  # (owners, PAD) int64: how many of them some thread has taken to step
    rank: Array  # (n,) int32: where each feature stands in ``feature``, flat; -1: not touched


class Totals(NamedTuple):
    """A number for each touched coordinate: sums of row gradients, or what a step replaced."""

    w0: Array  # (C,) T
    w: Array  # (C, touched) T
    V: Array  # (C, touched * k) T
    R: Array  # (C, slots) T


class Sums(NamedTuple):
    """Sums over the batch."""

    total: Totals  # after the step, the parameters that it replaced
    first: Totals  # after the step, the optimizer's arrays that it replaced
    second: Totals
    slot: Array  # (slots,) int64: the touched slots
    known: Array  # (F * F,) int64: where a slot stands among them, where they are listed; -1: not touched


class Update(NamedTuple):
    """What a step works on."""

    theta: Theta
    first: Theta  # the optimizer's arrays; those that a rule lacks are never looked at
    second: Theta
    rule: Constants
    linear: Penalty
    factors: Penalty
    corrections: Corrections  # Adam's tables
    counts: Array  # (n,) int64: touches of each feature
    slot_counts: Array  # (F * F,) int64
    bias_count: Array  # (1,) int64


def step_of_none(theta: Any, mean: Any, first: Any, second: Any, given: Given) -> Any:
    """A rule without state."""
    theta, _ = FORMULA(theta, bounded(mean, given), (), given)
    return theta, first, second


def step_of_one(theta: Any, mean: Any, first: Any, second: Any, given: Given) -> Any:
    """A rule that keeps one array."""
    theta, (first,) = FORMULA(theta, bounded(mean, given), (first,), given)
    return theta, first, second


def step_of_two(theta: Any, mean: Any, first: Any, second: Any, given: Given) -> Any:
    """A rule that keeps two arrays."""
    theta, (first, second) = FORMULA(theta, bounded(mean, given), (first, second), given)
    return theta, first, second


@inlined
def bounded(mean: Any, given: Given) -> Any:
    """The mean gradient that a formula is given."""
    return clip(mean, given.rule.gradient_clip) if CLIPS else mean


# Bound when compiled.
STEPPED = 512  # features that a thread takes at a time
FORMULA = adagrad
MOMENTS = 1
STEP = step_of_one
COUNTS = False  # whether touches are counted
CLIPS = False  # whether mean gradients are clipped

AHEAD = 8  # features that are fetched ahead


def sum_features(block: BlockSums, touched: Touched, sums: Sums, owner: int) -> None:
    """Add the sums of the row block that is next to the totals of the features of one owner (numerics 6)."""
    k = K if K else block.V.shape[1] // max(block.w.shape[1], 1)
    end = block.owned[owner + 1]
    for at in range(block.owned[owner], end):
        prefetch(touched.rank, block.feature[min(at + 3 * AHEAD, end - 1)])
        ahead = max(touched.rank[block.feature[min(at + AHEAD, end - 1)]], 0)
        prefetch(sums.total.w, ahead)
        prefetch(sums.total.V, ahead * k)
        feature = block.feature[at]
        rank = touched.rank[feature]
        if rank < 0:
            rank = meet_feature(touched, sums, feature, owner)
        for c in range(len(sums.total.w)):
            w, V = sums.total.w[c], sums.total.V[c]
            w[rank] = w[rank] + block.w[c, at]
            for t in range(0, k, LANES):
                total = load_some(V, rank * k + t, k - t) + load_some(block.V[c], at * k + t, k - t)
                store_some(V, rank * k + t, total, k - t)


@inlined
def meet_feature(touched: Touched, sums: Sums, feature: int, owner: int) -> int:
    """A feature that the batch has not touched before: its totals start at +0. Returns its rank."""
    place = touched.size[owner, 0]
    rank = owner * touched.feature.shape[1] + place
    touched.rank[feature], touched.feature[owner, place], touched.size[owner, 0] = rank, feature, place + 1
    for c in range(len(sums.total.w)):
        k = sums.total.V.shape[1] // sums.total.w.shape[1]
        sums.total.w[c, rank] = 0
        for i in range(rank * k, rank * k + k):
            sums.total.V[c, i] = 0
    return rank


def step_features(update: Update, touched: Touched, sums: Sums, n_rows: Any) -> bool:
    """Step w and V of the touched features that no other thread takes, and forget where they stood.

    Returns whether all new values are finite.
    """
    finite = True
    for owner in range(len(touched.size)):
        size, at = touched.size[owner, 0], owner * touched.taken.shape[1]
        begin = atomic_add(touched.taken, at, STEPPED)
        while begin < size:
            finite = step_range(update, touched, sums, n_rows, (owner, begin, min(begin + STEPPED, size))) and finite
            begin = atomic_add(touched.taken, at, STEPPED)
    return finite


def step_range(update: Update, touched: Touched, sums: Sums, n_rows: Any, places: tuple[int, int, int]) -> bool:
    """Step features of an owner that follow each other: ``places`` are the owner, the first and behind the last."""
    theta, first, second = update.theta, update.first, update.second
    k, n = K if K else theta.n_factors, theta.w.shape[1]
    drift, drifts = n_rows - n_rows, splat(n_rows - n_rows)  # x - x is 0, or NaN where x is not finite
    owner, begin, end = places
    for place in range(begin, end):
        feature, ahead = touched.feature[owner, place], touched.feature[owner, min(place + AHEAD, end - 1)]
        f = owner * touched.feature.shape[1] + place
        fetch_ahead(theta, ahead, k)
        if MOMENTS > 0:
            fetch_ahead(first, ahead, k)
        if MOMENTS > 1:
            fetch_ahead(second, ahead, k)
        corrections = correct(update, count_touch(update.counts, feature))
        linear, factors = (
            Given(update.rule, update.linear, corrections),
            Given(update.rule, update.factors, corrections),
        )
        for c in range(len(theta.w0)):
            drift = drift + step_one(
                (theta.w[c], first.w[c], second.w[c], feature),
                (sums.total.w[c], sums.first.w[c], sums.second.w[c], f),
                n_rows,
                linear,
            )
            for t in range(0, k, LANES):
                old = (theta.V, first.V, second.V, (c * n + feature) * k + t)
                kept = (sums.total.V[c], sums.first.V[c], sums.second.V[c], f * k + t)
                drifts = drifts + step_some(old, kept, k - t, n_rows, factors)
        touched.rank[feature] = -1
    return drift == n_rows - n_rows and all_zero(drifts)


@inlined
def fetch_ahead(arrays: Theta, feature: int, k: int) -> None:
    """Say which coordinates come soon."""
    prefetch(arrays.w, feature)
    prefetch(arrays.V, feature * k)


@inlined
def count_touch(counts: Array, at: int) -> int:
    """One batch more has touched a coordinate. Returns how many have."""
    if COUNTS:
        counts[at] += 1
        return counts[at]
    return 1


@inlined
def correct(update: Update, touches: int) -> Corrections:
    """Adam's corrections for a count (numerics 7)."""
    first, second = update.corrections.first, update.corrections.second
    return Corrections(first[min(touches, len(first) - 1)], second[min(touches, len(second) - 1)])


def step_one(at: Any, kept: Any, n_rows: Any, given: Given) -> Any:
    """One coordinate: step it, keep what it was. Returns 0, or NaN when its new value is not finite."""
    theta_at, first_at, second_at, i = at
    totals, firsts, seconds, j = kept
    theta = theta_at[i]
    first = first_at[i] if MOMENTS > 0 else theta
    second = second_at[i] if MOMENTS > 1 else theta
    new, new_first, new_second = STEP(theta, totals[j] / n_rows, first, second, given)
    theta_at[i], totals[j] = new, theta
    if MOMENTS > 0:
        first_at[i], firsts[j] = new_first, first
    if MOMENTS > 1:
        second_at[i], seconds[j] = new_second, second
    return new - new


def step_some(at: Any, kept: Any, count: int, n_rows: Any, given: Given) -> Any:
    """The same of the first ``count`` lanes, coordinates that follow each other."""
    theta_at, first_at, second_at, i = at
    totals, firsts, seconds, j = kept
    theta = load_some(theta_at, i, count)
    first = load_some(first_at, i, count) if MOMENTS > 0 else theta
    second = load_some(second_at, i, count) if MOMENTS > 1 else theta
    new, new_first, new_second = STEP(theta, load_some(totals, j, count) / n_rows, first, second, given)
    store_some(theta_at, i, new, count)
    store_some(totals, j, theta, count)
    if MOMENTS > 0:
        store_some(first_at, i, new_first, count)
        store_some(firsts, j, first, count)
    if MOMENTS > 1:
        store_some(second_at, i, new_second, count)
        store_some(seconds, j, second, count)
    return choose(first_lanes(count), new - new, splat(n_rows - n_rows))


def put_back_features(update: Update, touched: Touched, sums: Sums, owner: int) -> None:
    """Undo `step_features`."""
    k, n = K if K else update.theta.n_factors, update.theta.w.shape[1]
    for place in range(touched.size[owner, 0]):
        feature, f = touched.feature[owner, place], owner * touched.feature.shape[1] + place
        for c in range(len(update.theta.w0)):
            for group, (arrays, kept) in enumerate(kept_pairs(update, sums)):
                if group <= MOMENTS:
                    arrays.w[c, feature] = kept.w[c, f]
                    for t in range(k):
                        arrays.V[(c * n + feature) * k + t] = kept.V[c, f * k + t]
        if COUNTS:
            update.counts[feature] -= 1


@inlined
def kept_pairs(update: Update, sums: Sums) -> Any:
    """Each of the arrays that a step writes, and what it replaced."""
    return (update.theta, sums.total), (update.first, sums.first), (update.second, sums.second)


def sum_others(block: BlockSums, sums: Sums, count: int, slots: int) -> int:
    """Add the gradients of w0 and R of the row block that is next, ``count`` rows (numerics 6).

    ``slots`` of R were touched before, -1: the batch begins. Returns how many are touched now.
    """
    fresh = slots < 0
    for c in range(len(sums.total.w0)):
        partial = block.g.dtype.type(0)
        for i in range(count):
            partial = partial + block.g[c, i]
        sums.total.w0[c] = (block.g.dtype.type(0) if fresh else sums.total.w0[c]) + partial
    if LISTED:
        return sum_listed_slots(block, sums, max(slots, 0))
    sum_patterned_slots(block, sums, fresh)
    return len(sums.slot)


def sum_patterned_slots(block: BlockSums, sums: Sums, fresh: bool) -> None:
    """Add the sums of R over a row block, one slot per pair."""
    for c in range(len(sums.total.R)):
        total, by_pair = sums.total.R[c], block.by_pair[c]
        for slot in range(len(sums.slot) if fresh else 0):
            total[slot] = 0
        for slot in range(len(sums.slot)):
            total[slot] = total[slot] + by_pair[slot]


def sum_listed_slots(block: BlockSums, sums: Sums, slots: int) -> int:
    """Add the listed sums of R over a row block."""
    known = sums.known
    for entry in range(block.listed[0]):
        slot = block.slot[entry]
        if known[slot] < 0:
            known[slot], sums.slot[slots] = slots, slot
            for c in range(len(sums.total.R)):
                sums.total.R[c, slots] = 0
            slots += 1
        for c in range(len(sums.total.R)):
            sums.total.R[c, known[slot]] = sums.total.R[c, known[slot]] + block.by_slot[c, entry]
    return slots


def step_others(update: Update, sums: Sums, n_rows: Any, slots: int) -> bool:
    """Step w0 and the touched slots of R, and forget where these stood. Returns whether all new values are finite."""
    theta, first, second = update.theta, update.first, update.second
    none, drift = n_rows - n_rows, n_rows - n_rows
    bias = Given(update.rule, Penalty(none, none), correct(update, count_touch(update.bias_count, 0)))
    for c in range(len(theta.w0)):
        old = (theta.w0, first.w0, second.w0, c)
        drift = drift + step_one(old, (sums.total.w0, sums.first.w0, sums.second.w0, c), n_rows, bias)
    for j in range(slots):
        slot = sums.slot[j]
        corrections = correct(update, count_touch(update.slot_counts, slot))
        for c in range(len(theta.w0)):
            old = (theta.R, first.R, second.R, c * theta.n_fields * theta.n_fields + slot)
            kept = (sums.total.R[c], sums.first.R[c], sums.second.R[c], j)
            drift = drift + step_one(old, kept, n_rows, Given(update.rule, update.factors, corrections))
        if LISTED:
            sums.known[slot] = -1
    return drift == none


def put_back_others(update: Update, sums: Sums, slots: int) -> None:
    """Undo `step_others`."""
    F = update.theta.n_fields
    for c in range(len(update.theta.w0)):
        for group, (arrays, kept) in enumerate(kept_pairs(update, sums)):
            if group <= MOMENTS:
                arrays.w0[c] = kept.w0[c]
                for j in range(slots):
                    arrays.R[c * F * F + sums.slot[j]] = kept.R[c, j]
    if COUNTS:
        update.bias_count[0] -= 1
        for j in range(slots):
            update.slot_counts[sums.slot[j]] -= 1
