"""Items of a row block, compiled: its plan, and the sums of their gradients over the block (numerics 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwfm_gpu.backends.compiled_rows import K
from fwfm_gpu.backends.compiled_work import Work, row_at
from fwfm_gpu.backends.lanes import LANES, load_some, splat, store_some
from fwfm_gpu.numerics import ROW_BLOCK

__all__ = ["find_distinct", "sum_items"]

MULTIPLIER, HASH_BITS = 0x9E3779B97F4A7C1, 32  # of a multiplicative hash


def find_distinct(work: Work, number: int, count: int) -> None:
    """The plan of a block: its distinct features by owner, and which of them each item has. Integers only."""
    block, rows = work.block, work.rows
    distinct, item, mask = 0, 0, len(block.hashed) - 1
    for i in range(count):
        row = row_at(work, number * ROW_BLOCK + i)
        for p in range(rows.indptr[row], rows.indptr[row + 1]):
            feature: Any = np.int64(rows.indices[p])
            at = (feature * MULTIPLIER >> HASH_BITS) & mask
            while block.hashed[at] >= 0 and block.met[block.hashed[at]] != feature:
                at = at + 1 & mask
            if block.hashed[at] < 0:
                block.hashed[at], block.met[distinct] = distinct, feature
                distinct += 1
            block.local[item] = block.hashed[at]
            item += 1
    for at in range(len(block.hashed)):
        block.hashed[at] = -1
    share_out(work, number, distinct)
    for i in range(item):
        block.local[i] = block.moved[block.local[i]]


def share_out(work: Work, number: int, distinct: int) -> None:
    """The features of a block, owner after owner."""
    block, owned = work.block, work.out.owned
    owners, begin = owned.shape[1] - 1, work.cut.begin[number]
    for owner in range(owners + 1):
        owned[number, owner] = 0
    for i in range(distinct):
        owned[number, block.met[i] % owners + 1] += 1
    for owner in range(owners):
        owned[number, owner + 1] += owned[number, owner]
    for i in range(distinct):
        owner = block.met[i] % owners
        block.moved[i] = owned[number, owner]
        work.out.feature[begin + block.moved[i]] = block.met[i]
        owned[number, owner] += 1
    for owner in range(owners, 0, -1):
        owned[number, owner] = owned[number, owner - 1]
    owned[number, 0] = 0


def sum_items(work: Work, number: int, c: int) -> None:
    """Sum the gradients of one class over a row block, item after item, from +0 (numerics 6)."""
    block, out = work.block, work.out
    k = K if K else work.theta.n_factors
    begin, items = work.cut.begin[number], work.cut.begin[number + 1] - work.cut.begin[number]
    w, V, gw, gV = out.w[c], out.V[c], block.gw[c], block.gV[c]
    nothing = splat(gV.dtype.type(0))
    for at in range(begin, begin + out.owned[number, out.owned.shape[1] - 1]):
        w[at] = 0
        for t in range(0, k, LANES):
            store_some(V, at * k + t, nothing, k - t)
    for item in range(items):
        at = begin + block.local[item]
        w[at] = w[at] + gw[item]
        for t in range(0, k, LANES):
            total = load_some(V, at * k + t, k - t) + load_some(gV, item * k + t, k - t)
            store_some(V, at * k + t, total, k - t)
