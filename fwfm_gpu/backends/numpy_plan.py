"""Plan: integers only. Which rows a step takes together, and which nonzeros each coordinate sums, in which order.

A batch is worked through in groups of whole row blocks, so that memory does not grow with the batch. Items are the
group's nonzeros in batch order; a segment is the items of one feature in one row block::

    features of items   [7 2 | 2 7 | 7]   two rows in block 0, one in block 1 (shown with tiny blocks)
    segment             [1 0 | 0 1 | 2]   sorted by feature, then block
    segment_feature     [2 7 7]
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fwfm_gpu.backends.numpy_resident import Data
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["Group", "Segments", "cut_batch", "cut_segments", "make_group", "plan_segments", "touched_features"]

GROUP_BYTES = 1 << 24  # bound on the row gradients of a group that holds more than one row block


def cut_batch(data: Data, rows: Array, bytes_per_item: int) -> list[Array]:
    """Cut the rows of a batch where row blocks end, so that items times ``bytes_per_item`` stay bounded."""
    ends = np.append(np.arange(ROW_BLOCK, len(rows), ROW_BLOCK), len(rows))
    items = np.cumsum(data.lengths[rows])[ends - 1]
    cuts = [0]
    while cuts[-1] < len(ends):
        before = items[cuts[-1] - 1] if cuts[-1] else 0
        fit = int(np.searchsorted(items, before + GROUP_BYTES // bytes_per_item, side="right"))
        cuts.append(max(cuts[-1] + 1, fit))
    edges = [int(ends[cut - 1]) if cut else 0 for cut in cuts]
    return [rows[lo:hi] for lo, hi in pairwise(edges)]


@dataclass(frozen=True)
class Group:
    """Consecutive whole row blocks of a batch, and their nonzeros."""

    rows: Array  # (B,) row numbers in batch order
    starts: Array  # (B + 1,) where each row's items start
    feature: Array  # (items,) feature of each item


def make_group(data: Data, rows: Array) -> Group:
    """Gather the items of some rows, in order."""
    lengths = data.lengths[rows]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    source = np.repeat(data.indptr[rows] - starts[:-1], lengths) + np.arange(starts[-1])
    return Group(rows, starts, data.indices[source])


def touched_features(data: Data, cut_rows: list[Array]) -> Array:
    """The features that any row of the batch holds, ascending."""
    found = [distinct(make_group(data, rows).feature) for rows in cut_rows]
    return found[0] if len(found) == 1 else distinct(np.concatenate(found))


def distinct(numbers: Array) -> Array:
    """Each number once, ascending (a sort beats the hash table of ``np.unique`` here)."""
    ascending = np.sort(numbers)
    head = np.ones(len(ascending), bool)
    head[1:] = ascending[1:] != ascending[:-1]
    return ascending[head]


@dataclass(frozen=True)
class Segments:
    """Who sums what: item to segment, segment to feature."""

    segment: Array  # (items,) segment of each item
    segment_feature: Array  # (segments,) feature of each segment; blocks ascend inside a feature


def plan_segments(group: Group) -> Segments:
    """The items of one feature in one row block."""
    block = np.repeat(np.arange(len(group.rows)) // ROW_BLOCK, np.diff(group.starts))
    segment, feature, _ = cut_segments(group.feature, block)
    return Segments(segment, feature)


def cut_segments(owner: Array, part: Array) -> tuple[Array, Array, Array]:
    """Order items by owner, stable; cut where the owner or its part changes.

    Owner and place share one integer key, so a plain sort is a stable one.

    Parameters
    ----------
    owner, part : (items,) integers
        Parts ascend.

    Returns
    -------
    segment : (items,) segment of each item
    owner, part : (segments,)
    """
    bits = len(owner).bit_length()
    key = (owner.astype(np.int64) << bits) | np.arange(len(owner))
    key.sort()
    place, owner = key & ((1 << bits) - 1), key >> bits
    part = part[place]
    head = np.ones(len(key), bool)
    head[1:] = (owner[1:] != owner[:-1]) | (part[1:] != part[:-1])
    segment = np.empty(len(key), np.intp)
    segment[place] = np.cumsum(head) - 1
    return segment, owner[head], part[head]
