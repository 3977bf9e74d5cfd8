"""Plan, compiled: the items of a batch by feature, stable. Integers only.

A radix sort, from the lowest digit on: each pass counts how often a digit occurs and deals items and features out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fwfm_gpu.backends.compiled_gradients import Cut
from fwfm_gpu.backends.compiled_rows import Rows
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["DIGIT", "Plan", "Touched", "lay_items", "plan_rows"]

DIGIT = 11  # bits of a digit at most: what is written to stays in the fastest caches


class Plan(NamedTuple):
    """Who sums what, of some row blocks. An item is a nonzero, counted in batch order from the first of them.

    A key is ``feature << code_bits | code``; the code of an item is ``block << offset_bits | offset``: its row block,
    and how far it stands from the first item of that.
    """

    starts: Array  # (rows + 1,) int64: where the items of each row start
    key: Array  # (items,) int64, ascending: items by feature, then by number
    begin: Array  # (items + 1,) int64: where the items of each distinct feature begin in ``key``
    rank: Array  # (items,) int64: which of the batch's touched features each of them is
    other: Array  # (items,) int64: room for the sort
    counts: Array  # (1 << DIGIT,) int64
    bits: Array  # (2,) int64: offset_bits, code_bits


class Touched(NamedTuple):
    """The features that a batch touches, in the order in which they were met."""

    feature: Array  # (touched,) int64
    rank: Array  # (n,) int32: where each feature stands there, -1: not touched
    size: Array  # (1,) int64: how many there are


def plan_rows(rows: Rows, cut: Cut, plan: Plan, touched: Touched) -> int:
    """Order the items of some row blocks, laid out, by feature. Returns how many features are distinct."""
    items, code_bits = plan.starts[cut.n_rows], plan.bits[1]
    key, other = plan.key, plan.other
    lay_keys(rows, cut, plan)
    width, passes = choose_digits(len(touched.rank))
    for turn in range(passes):
        deal(code_bits + turn * width, (1 << width) - 1, items, (key, other, plan.counts))
        key, other = other, key
    for i in range(items if passes % 2 == 1 else 0):
        plan.key[i] = key[i]
    return rank_features(plan, items, touched)


def lay_items(rows: Rows, cut: Cut, plan: Plan) -> None:
    """Where the items of each row start, and how many bits their codes take."""
    starts, most = plan.starts, 0
    starts[0] = 0
    for i in range(cut.n_rows):
        number = cut.numbers[cut.first + i]
        starts[i + 1] = starts[i] + rows.indptr[number + 1] - rows.indptr[number]
        most = max(most, starts[i + 1] - starts[i // ROW_BLOCK * ROW_BLOCK])
    plan.bits[0] = count_bits(most)
    plan.bits[1] = plan.bits[0] + count_bits(cut.n_rows // ROW_BLOCK)


def lay_keys(rows: Rows, cut: Cut, plan: Plan) -> None:
    """The keys of all items, in batch order."""
    offset_bits, code_bits = plan.bits[0], plan.bits[1]
    for i in range(cut.n_rows):
        block, at, first = i // ROW_BLOCK, rows.indptr[cut.numbers[cut.first + i]], plan.starts[i]
        code = (block << offset_bits) + first - plan.starts[block * ROW_BLOCK]
        for p in range(plan.starts[i + 1] - first):
            plan.key[first + p] = np.int64(rows.indices[at + p]) << code_bits | (code + p)


def count_bits(number: int) -> int:
    """How many bits a number takes."""
    bits = 0
    while number >> bits > 0:
        bits += 1
    return bits


def choose_digits(n: int) -> tuple[int, int]:
    """The width in bits of the digits of numbers below n, about equally wide, and how many there are."""
    bits = count_bits(n - 1) if n > 0 else 0
    passes = (bits + DIGIT - 1) // DIGIT
    return (bits + passes - 1) // max(passes, 1), passes


def deal(shift: int, mask: int, items: int, arrays: tuple[Array, Array, Array]) -> None:
    """One pass, stable: from the first array into the second by the digit that begins at a bit."""
    given, dealt, counts = arrays
    for digit in range(mask + 1):
        counts[digit] = 0
    for i in range(items):
        counts[given[i] >> shift & mask] += 1
    total = 0
    for digit in range(mask + 1):
        total, counts[digit] = total + counts[digit], total
    for i in range(items):
        digit = given[i] >> shift & mask
        to = counts[digit]
        counts[digit] = to + 1
        dealt[to] = given[i]


def rank_features(plan: Plan, items: int, touched: Touched) -> int:
    """The distinct features: where their items begin, and their ranks in the batch, given to those not met before."""
    distinct, before = 0, np.int64(-1)
    for i in range(items):
        feature = plan.key[i] >> plan.bits[1]
        if feature != before:
            if touched.rank[feature] < 0:
                rank = touched.size[0]
                touched.rank[feature], touched.feature[rank], touched.size[0] = rank, feature, rank + 1
            plan.rank[distinct], plan.begin[distinct] = touched.rank[feature], i
            distinct, before = distinct + 1, feature
    plan.begin[distinct] = items
    return distinct
