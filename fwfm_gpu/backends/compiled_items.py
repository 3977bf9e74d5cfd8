"""Items of a row block, compiled: its plan, and the sums of their gradients over the block (numerics 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwfm_gpu.backends.compiled_rows import K
from fwfm_gpu.backends.compiled_work import Work, row_at
from fwfm_gpu.backends.lanes import LANES, load_some, splat, store_some

__all__ = ["find_distinct", "sum_items"]

MULTIPLIER, HASH_BITS = 0x9E3779B97F4A7C1, 32  # of a multiplicative hash
NOT_MET = (1 << 31) - 1


def find_distinct(work: Work, first: int, count: int) -> None:
    """The plan of a block: its distinct features by owner, and which of them each item has. Integers only.

    Whether a feature was met before is as good as random, so nothing branches on it: each is put behind those that
    were met, and found there when the table of hashes knows no earlier place.
    """
    block, rows = work.block, work.rows
    met, hashed = block.met, block.hashed
    item, mask = np.int64(0), len(hashed) - 1
    distinct: Any = np.int64(0)
    for at in range(len(hashed)):
        hashed[at] = NOT_MET
    for i in range(count):
        row = row_at(work, first + i)
        for p in range(rows.indptr[row], rows.indptr[row + 1]):
            feature: Any = np.int64(rows.indices[p])
            met[distinct] = feature
            at = (feature * MULTIPLIER >> HASH_BITS) & mask
            while met[min(hashed[at], distinct)] != feature:
                at = at + 1 & mask
            local = min(hashed[at], distinct)
            hashed[at], block.local[item] = local, local
            distinct += np.int64(local == distinct)
            item += 1
    share_out(work, distinct, item)


def share_out(work: Work, distinct: Any, items: Any) -> None:
    """The features of a block, owner after owner."""
    block, owned, ends = work.block, work.sums.owned, work.block.ends
    owners = len(ends)
    owned[0], owned[owners] = 0, distinct
    if owners == 1:
        for i in range(distinct):
            work.sums.feature[i] = block.met[i]
        return
    for owner in range(owners):
        ends[owner] = 0
    for i in range(distinct):
        block.moved[i] = block.met[i] % owners
        ends[block.moved[i]] += 1
    end = 0
    for owner in range(owners):
        owned[owner] = end
        end += ends[owner]
        ends[owner] = owned[owner]
    for i in range(distinct):
        owner = block.moved[i]
        block.moved[i] = ends[owner]
        work.sums.feature[block.moved[i]] = block.met[i]
        ends[owner] += 1
    for i in range(items):
        block.local[i] = block.moved[block.local[i]]


def sum_items(work: Work, c: int, items: int) -> None:
    """Sum the gradients of one class over a row block, item after item, from +0 (numerics 6)."""
    block, owned = work.block, work.sums.owned
    k = K if K else work.theta.n_factors
    w, V, gw, gV = work.sums.w[c], work.sums.V[c], block.gw[c], block.gV[c]
    nothing = splat(gV.dtype.type(0))
    for at in range(owned[len(owned) - 1]):
        w[at] = 0
        for t in range(0, k, LANES):
            store_some(V, at * k + t, nothing, k - t)
    for item in range(items):
        at = block.local[item]
        w[at] = w[at] + gw[item]
        for t in range(0, k, LANES):
            total = load_some(V, at * k + t, k - t) + load_some(gV, item * k + t, k - t)
            store_some(V, at * k + t, total, k - t)
