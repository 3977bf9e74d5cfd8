"""Rows in the making: what the fields of an encoder give, put together as canonical CSR (numerics 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from fwfm_gpu.field_kind import NOTHING, Encoded, EncodedLists
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import places, starts
from fwfm_gpu.parameters import Array

__all__ = ["RowDraft"]

Part = tuple[Array, Array, Array | None]  # lengths (rows,), features and values, row by row


@dataclass(eq=False)
class RowDraft:
    """Fields one after another: slots, which hold at most one feature per row, and lists between them."""

    indices: Array  # (rows, slots) int32 or int64, NOTHING where there is no feature; slots ascend
    values: Array | None  # (rows, slots) float64; None when all are 1
    slot: int = 0
    offset: int = 0
    lists: list[tuple[int, EncodedLists]] = field(default_factory=list)  # and how many slots stand before

    @classmethod
    def blank(cls, n_rows: int, n_slots: int, dtype: np.dtype[np.signedinteger], weighted: bool) -> RowDraft:
        """Nothing yet; weighted says whether a value may be other than 1."""
        shape = (n_rows, n_slots)
        return cls(np.empty(shape, dtype), np.ones(shape) if weighted else None)

    def add(self, encoded: Encoded | EncodedLists, n_features: int) -> None:
        """One field."""
        if isinstance(encoded, EncodedLists):
            features = (encoded.features + self.offset).astype(self.indices.dtype)
            self.lists.append((self.slot, replace(encoded, features=features)))
        else:
            for numbers, weights in zip(encoded.features, encoded.values, strict=True):
                own = self.indices[:, self.slot]
                np.add(numbers, own.dtype.type(self.offset), out=own)
                own[numbers == NOTHING] = NOTHING
                if weights is not None and self.values is not None:
                    self.values[:, self.slot] = weights
                self.slot += 1
        self.offset += n_features

    def finish(self, empty: FieldMatrix) -> FieldMatrix:
        """Canonical rows: nothing where there is nothing, and no zeros."""
        kept = self.indices != NOTHING
        if self.values is not None:
            kept &= self.values != 0
        if self.lists:
            indptr, indices, values = self._merge(kept)
        else:
            indptr, indices, values = self._flatten(kept)
        shown = np.broadcast_to(np.float32(1), indices.shape) if values is None else values
        return replace(empty, indptr=indptr, indices=indices, values=shown)

    def _flatten(self, kept: Array) -> tuple[Array, Array, Array | None]:
        """indptr, indices and values of slots alone."""
        if kept.all():
            rows, slots = kept.shape
            indptr, indices = np.arange(rows + 1, dtype=np.int64) * slots, self.indices.reshape(-1)
        else:
            indptr, indices = starts(np.count_nonzero(kept, axis=1)), self.indices[kept]
        return indptr, indices, None if self.values is None else self.values[kept]

    def _merge(self, kept: Array) -> tuple[Array, Array, Array | None]:
        """indptr, indices and values of slots and lists."""
        parts = list(self._parts(kept))
        lengths = np.zeros(len(kept), np.int64)
        for counts, _, _ in parts:
            lengths += counts
        indptr = starts(lengths)
        indices = np.empty(indptr[-1], self.indices.dtype)
        values = None if self.values is None else np.ones(indptr[-1])
        free = indptr[:-1].copy()  # where the next feature of each row goes
        for counts, features, weights in parts:
            taken = places(free, counts)
            indices[taken] = features
            if values is not None and weights is not None:
                values[taken] = weights
            free += counts
        return indptr, indices, values

    def _parts(self, kept: Array) -> Iterator[Part]:
        """Slots and lists in the order of their features."""
        first = 0
        for slot, part in [*self.lists, (kept.shape[1], None)]:
            own = kept[:, first:slot]
            if slot > first:
                values = None if self.values is None else self.values[:, first:slot][own]
                yield np.count_nonzero(own, axis=1), self.indices[:, first:slot][own], values
            if part is not None:
                yield np.diff(part.starts), part.features, part.values
            first = slot
