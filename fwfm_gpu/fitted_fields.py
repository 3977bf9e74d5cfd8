"""What an encoder learned: its fields, and the numbers and names of all their features.

Fields count their features from 0, one field after another. Those that came later, by ``partial_fit``, stand behind the
others: then ``order`` says which number each feature has outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.field_choice import Field
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import ascends, starts
from fwfm_gpu.parameters import Array
from fwfm_gpu.row_draft import RowDraft

__all__ = ["Fitted", "distinct_names"]

MOST_NAMED = 2**18  # features; rows of more carry no names where some are buckets, whose names say little


@dataclass(frozen=True, eq=False)
class Fitted:
    """What fit learned; never changed."""

    fields: tuple[Field, ...]
    n_rows: int
    empty: FieldMatrix  # no rows, all fields and names
    order: Array | None = None  # (n,) int64: the number of each feature as the fields count them; None: the same

    @classmethod
    def of(cls, fields: Iterable[Field], n_rows: int, order: Array | None = None) -> Fitted:
        """Fields and their order, put together."""
        fields = tuple(fields)
        names, sizes = [field.name for field in fields], [field.n_features for field in fields]
        for name, count in Counter(names).items():
            if count > 1:
                raise InputError(f"fields must differ in name: {count} are called {name!r}. Rename a column.")
        hashed = any("hashed" in field.kind for field in fields)
        empty = FieldMatrix.from_ids(
            np.zeros((0, len(fields)), np.int64),
            sizes,
            field_names=names,
            feature_names=None if hashed and sum(sizes) > MOST_NAMED else distinct_names(fields),
        )
        return cls(fields, n_rows, empty if order is None else reordered(empty, order), order)

    @property
    def firsts(self) -> Array:
        """The number that each field's first feature has as the fields count them, and the sum of all."""
        return starts(np.array([field.n_features for field in self.fields]))

    def blank(self, n_rows: int) -> RowDraft:
        """So many rows, without a feature yet."""
        n_slots = sum(field.n_slots for field in self.fields)
        return RowDraft.blank(n_rows, n_slots, self.empty.indices.dtype, any(field.weighted for field in self.fields))

    def finish(self, draft: RowDraft) -> FieldMatrix:
        """The rows, columns ascending."""
        rows = draft.finish(self.empty)
        if self.order is None:
            return rows
        indices, values = self.order[rows.indices].astype(rows.indices.dtype), rows.values
        if not ascends(rows.indptr, indices):
            owner = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
            sequence = np.lexsort((indices, owner))
            indices, values = indices[sequence], values if values.strides == (0,) else values[sequence]
        return replace(rows, indices=indices, values=values)

    def names(self) -> list[str]:
        """The names of all features, in their order outside."""
        listed = distinct_names(self.fields)
        return listed if self.order is None else [listed[i] for i in np.argsort(self.order).tolist()]

    def inner_numbers(self, features: Array) -> Array:
        """What numbers the fields count features by, given those outside."""
        return features if self.order is None else np.argsort(self.order)[features]


def reordered(empty: FieldMatrix, order: Array) -> FieldMatrix:
    """No rows, columns in another order.

    Raises
    ------
    ValueError
        It is no order of them.
    """
    if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(empty.n_features)):
        raise ValueError("an order that does not number all features")
    inner, names = np.argsort(order), empty.feature_names
    listed = None if names is None else tuple(names[i] for i in inner.tolist())
    return replace(empty, fields=empty.fields[inner], feature_names=listed)


def distinct_names(fields: Sequence[Field]) -> list[str]:
    """The names of all features. Those that two fields share quote their column, which ends in one place alone."""
    owners = [field.name for field in fields for _ in range(field.n_features)]
    plain = [name for field in fields for name in field.feature_names()]
    names = plain.copy()
    while len(set(names)) < len(names):  # a quoted name may be another's plain one
        count = Counter(names)
        names = [
            repr(owner) + own[len(owner) :] if count[name] > 1 else name
            for owner, own, name in zip(owners, plain, names, strict=True)
        ]
    return names
