"""Which column an entry of a text file stands in.

While a file is scanned, the columns learn what is there; closed, they only look up. An entry gets a key as it is read,
and a place once all keys are known; keys are in the order of the places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
from scipy import sparse

from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.scan import Entries
from fwfm_gpu.matrix_columns import MOST_FIELD_PAIRS
from fwfm_gpu.matrix_reader import first_true, index_dtype
from fwfm_gpu.parameters import Array

__all__ = ["MAX_FEATURES", "Columns", "FeatureColumns", "IdColumns", "Limits", "PairColumns", "count"]

MOST_FIELDS = isqrt(MOST_FIELD_PAIRS)
MAX_FEATURES = 2**24  # by default
MOST_IDS = 2**48  # a field and an id fit into 62 bits
MERGED_AT = 2**16  # pairs


@dataclass(frozen=True)
class Limits:
    """How many features and fields there are, where that was said, and how many there may be."""

    max_features: int
    n_features: int | None = None
    n_fields: int | None = None

    def __post_init__(self) -> None:
        for name, most in (("max_features", MOST_IDS), ("n_features", MOST_IDS), ("n_fields", MOST_FIELDS)):
            number = getattr(self, name)
            if number is not None:
                object.__setattr__(self, name, count(name, number, most))

    @property
    def features(self) -> int:
        return self.max_features if self.n_features is None else self.n_features

    @property
    def fields(self) -> int:
        return MOST_FIELDS if self.n_fields is None else self.n_fields

    @property
    def remedy(self) -> str:
        if self.n_features is None:
            return "Memory grows with the number of features: pass a larger max_features if so many are meant."
        return "Pass a larger n_features, or leave it out."

    def check_fields(self, entries: Entries) -> None:
        """Raise for the first field that is too large."""
        fields = entries.ids[0]
        if fields.max(initial=0) >= self.fields:
            remedy = (
                "Pass a larger n_fields, or leave it out."
                if self.n_fields
                else f"There can be at most {MOST_FIELDS} fields: number them without gaps, or join some."
            )
            raise fault(entries, fields >= self.fields, f"a field below {self.fields}", remedy)


def count(name: str, number: Any, most: int) -> int:
    """An option that counts something."""
    if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or not 1 <= number <= most:
        raise OptionError(f"{name} must be an integer from 1 to {most}, got {number!r}.")
    return int(number)


def fault(entries: Entries, bad: Array, expected: str, remedy: str) -> InputError:
    """The error of the first bad entry."""
    return entries.block.error(int(entries.entries_at[first_true(bad)]), expected, remedy)


class Columns:
    """The column space of one or more text files, from `scan_libffm`.

    A whole file is needed to know them, so read files that belong together, for training and for testing say, by
    columns that have seen them all.

    Attributes
    ----------
    fields : (n,) int32
        Field of each column; 0 for a column that no scanned row holds.
    n_features, n_fields : int
    feature_names : tuple of n str, optional
        ``field:id`` of each column when shared ids were split.
    """

    closed = False

    def keys(self, entries: Entries) -> Array:
        """One number per entry, (m,), learnt or looked up; raises `InputError` for an entry that has no column."""
        raise NotImplementedError

    def place(self, keys: Array) -> Array:
        """The column of each key."""
        raise NotImplementedError

    @cached_property
    def empty(self) -> FieldMatrix:
        """A matrix of these columns without rows, once they are closed."""
        raise NotImplementedError

    def close(self) -> None:
        """Learn no more."""
        self.closed = True

    @property
    def fields(self) -> Array:
        return self.empty.fields

    @property
    def n_features(self) -> int:
        return self.empty.n_features

    @property
    def n_fields(self) -> int:
        return self.empty.n_fields

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return self.empty.feature_names


class IdColumns(Columns):
    """An id is a column, and has one field."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.table = np.full(limits.n_features or 0, -1, np.int16)  # field of each id, -1 for unknown

    def keys(self, entries: Entries) -> Array:
        self.limits.check_fields(entries)
        fields, ids = entries.ids
        largest = int(ids.max(initial=-1))
        limit = len(self.table) if self.closed else self.limits.features
        if largest >= limit:
            remedy = "Scan this file too." if self.closed else self.limits.remedy
            raise fault(entries, ids >= limit, f"a feature below {limit}", remedy)
        if largest >= len(self.table):
            self._grow(largest + 1, limit)
        known = self.table[ids]
        if not np.array_equal(known, fields):
            self._learn(entries, known)
        return ids.astype(index_dtype(limit))

    def place(self, keys: Array) -> Array:
        return keys.astype(index_dtype(len(self.table)), copy=False)

    @cached_property
    def empty(self) -> FieldMatrix:
        return matrix(np.maximum(self.table, 0), self.limits.n_fields)

    def close(self) -> None:
        self.closed = True
        if self.limits.n_features is None:
            self.table = self.table[: int(np.flatnonzero(self.table >= 0).max(initial=-1)) + 1].copy()

    def _grow(self, needed: int, limit: int) -> None:
        table = np.full(min(max(needed, 2 * len(self.table)), limit), -1, np.int16)
        table[: len(self.table)] = self.table
        self.table = table

    def _learn(self, entries: Entries, known: Array) -> None:
        """Take over new ids; raise when one is under two fields, here or before."""
        fields, ids = entries.ids
        bad = (known != fields) & ((known >= 0) | self.closed)
        if not bad.any():
            self.table[ids] = fields
            if np.array_equal(self.table[ids], fields):
                return
            _, firsts, which = np.unique(ids, return_index=True, return_inverse=True)
            known = fields[firsts][which]
            bad = known != fields
        field = known[first_true(bad)]
        if field < 0:
            raise fault(entries, bad, "a feature that was scanned", "Scan this file too.")
        remedy = "A feature has one field: correct the file, or pass shared_ids='split' for a column per field."
        raise fault(entries, bad, f"this feature under field {field} as before", remedy)


class PairColumns(Columns):
    """A field and an id together are a column; columns are sorted by field, then id."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.known = np.zeros(0, np.int64)  # sorted
        self.pending: list[Array] = []

    def keys(self, entries: Entries) -> Array:
        self.limits.check_fields(entries)
        fields, ids = entries.ids
        if ids.max(initial=0) >= MOST_IDS:
            raise fault(entries, ids >= MOST_IDS, f"a feature below {MOST_IDS}", "Number the features anew.")
        keys = fields * MOST_IDS + ids
        pairs = distinct(keys)
        new = pairs[~self._knows(pairs)]
        if self.closed and len(new):
            raise fault(
                entries, np.isin(keys, new), "a feature that was scanned under this field", "Scan this file too."
            )
        if len(new):
            self._learn(entries, keys, new)
        return keys

    def place(self, keys: Array) -> Array:
        return np.searchsorted(self.known, keys).astype(index_dtype(len(self.known)))

    @cached_property
    def empty(self) -> FieldMatrix:
        parts = (self.known[begin : begin + MERGED_AT].tolist() for begin in range(0, len(self.known), MERGED_AT))
        names = tuple(f"{key // MOST_IDS}:{key % MOST_IDS}" for part in parts for key in part)
        return replace(matrix(self.known // MOST_IDS, self.limits.n_fields), feature_names=names)

    def close(self) -> None:
        self.closed = True
        self._merge()

    def _knows(self, pairs: Array) -> Array:
        if not len(self.known):
            return np.zeros(len(pairs), bool)
        at = np.minimum(np.searchsorted(self.known, pairs), len(self.known) - 1)
        return np.asarray(self.known[at] == pairs)

    def _learn(self, entries: Entries, keys: Array, new: Array) -> None:
        """Keep new pairs, merged when they are many; raise when they are too many."""
        limit = self.limits.features
        waiting = len(new) + sum(map(len, self.pending))
        if len(self.known) + waiting > limit or waiting > max(MERGED_AT, len(self.known) // 2):
            self._merge()
            new = new[~self._knows(new)]
        room = limit - len(self.known)
        if len(new) > room:
            pairs, firsts = np.unique(keys, return_index=True)
            order = np.sort(firsts[np.isin(pairs, new)])
            bad = np.arange(len(keys)) == order[room]
            raise fault(entries, bad, f"at most {limit} different pairs of field and feature", self.limits.remedy)
        self.pending.append(new)

    def _merge(self) -> None:
        self.known, self.pending = distinct(np.concatenate([self.known, *self.pending])), []


def distinct(keys: Array) -> Array:
    """Each once, sorted. NumPy's own unique goes through a hash table, which takes several times as long."""
    keys = np.sort(keys)
    return keys[np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]]


class FeatureColumns(Columns):
    """A feature is a column; the first one is 0 or 1."""

    def __init__(self, limits: Limits, zero_based: bool | None, given: Any) -> None:
        """zero_based None: 1 is the first unless a 0 turns up. given: the field of each column; None: its own."""
        self.limits, self.given = limits, given
        self.first = None if zero_based is None else 1 - int(zero_based)
        self.size = 0  # features, with a 0 that may not be one
        self.closed = self.first is not None and limits.n_features is not None
        self.beyond: InputError | None = None  # raised if features start at 0

    def keys(self, entries: Entries) -> Array:
        (ids,) = entries.ids
        has_zero = not ids.all()
        if has_zero and self.first == 1:
            raise fault(entries, ids == 0, "a feature of at least 1", "Pass zero_based=True if features start at 0.")
        if has_zero and self.first is None:
            self.first = 0
        limit = self.limits.features
        end = limit + (1 if self.first is None else self.first)
        largest = int(ids.max(initial=-1))
        if largest >= end:
            raise fault(entries, ids >= end, f"a feature below {end}", self.limits.remedy)
        if self.first is None and largest == limit and self.beyond is None:
            self.beyond = fault(entries, ids == limit, f"a feature below {limit}", self.limits.remedy)
        if self.first == 0 and self.beyond:
            raise self.beyond
        if not self.closed:
            self.size = max(self.size, largest + 1)
        return ids.astype(index_dtype(end))

    def place(self, keys: Array) -> Array:
        return (keys - (self.first or 0)).astype(index_dtype(self._count()), copy=False)

    @cached_property
    def empty(self) -> FieldMatrix:
        count = self._count()
        check_count(count)
        return FieldMatrix.from_matrix(sparse.csr_array((0, count)), self.given)

    def close(self) -> None:
        self.closed = True
        if self.first is None:
            self.first = 1

    def _count(self) -> int:
        if self.limits.n_features is not None:
            return self.limits.n_features
        return max(self.size - (self.first or 0), 0)


def matrix(fields: Array, n_fields: int | None) -> FieldMatrix:
    """No rows of columns of these fields."""
    check_count(len(fields))
    return FieldMatrix(
        indptr=np.zeros(1, np.int64),
        indices=np.zeros(0, index_dtype(len(fields))),
        values=np.zeros(0),
        fields=fields.astype(np.int32),
        n_fields=int(fields.max()) + 1 if n_fields is None else n_fields,
    )


def check_count(n_features: int) -> None:
    """A matrix has columns."""
    if n_features == 0:
        raise InputError("the rows must hold at least one feature, got none: pass n_features for rows without any.")
