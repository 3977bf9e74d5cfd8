"""Rows of numbers with one field per column: what every engine reads, checked and canonical (numerics 1).

Conventions: n features (columns), F fields, nnz stored values. Numbers of rows and columns in messages start at 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.matrix_reader import check_range, first_true, index_dtype, integers, read_dense, read_sparse, starts
from fwfm_gpu.parameters import Array

__all__ = ["FieldMatrix"]

MOST_FIELD_PAIRS = 2**28  # R holds F * F weights per class
MOST_IN_A_FIELD = 2**48  # so that no column number overflows
HASHED_AT_ONCE = 2**18  # entries


@dataclass(frozen=True, eq=False)
class FieldMatrix:
    """Canonical CSR rows and one field per column, with names where they are known.

    Canonical means: columns ascend inside a row, no column twice, no zeros, every value finite (numerics 1). Make one
    with `from_ids` or `from_matrix`, which check; the constructor itself trusts what it is given. The arrays are
    read-only.

    Attributes
    ----------
    indptr : (rows + 1,) int64
    indices : (nnz,) int32
        int64 only beyond 2**31 - 1 features.
    values : (nnz,) float32 or float64
        A broadcast of a single 1 (stride 0) when every value is 1: ids cost no memory for values.
    fields : (n,) int32
    n_fields : int
    field_names : tuple of F str, optional
    feature_names : tuple of n str, optional
    encoder : FieldEncoder, optional
        What made these rows of a table; `rounded` and `take` keep it.
    """

    indptr: Array
    indices: Array
    values: Array
    fields: Array
    n_fields: int
    field_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    encoder: Any = None

    def __post_init__(self) -> None:
        for name in ("indptr", "indices", "values", "fields"):
            view = getattr(self, name).view()  # the caller's own array stays writable
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    @classmethod
    def from_ids(
        cls,
        ids: Any,
        sizes: Any,
        *,
        field_names: Iterable[str] | None = None,
        feature_names: Iterable[str] | None = None,
    ) -> FieldMatrix:
        """One feature per field and row, given by its number inside the field; its value is 1.

        Parameters
        ----------
        ids : (rows, F) integers
            ``0 <= ids[:, f] < sizes[f]``. The column is ``sizes[0] + ... + sizes[f - 1] + ids[:, f]``.
        sizes : (F,) integers
            How many features each field has; 0 is allowed where no row needs one.
        field_names : F str, optional
        feature_names : sum(sizes) str, optional

        Raises
        ------
        InputTypeError
            If ids or sizes are no integers, or a name is no str.
        InputError
            If shapes do not fit, an id is outside its field, there is no feature at all, or there are too many fields.
        """
        ids, sizes = integers("ids", ids), integers("sizes", sizes)
        if sizes.ndim != 1 or len(sizes) == 0:
            raise InputError(f"sizes must hold one number per field, at least one: got shape {sizes.shape}.")
        if ids.ndim != 2 or ids.shape[1] != len(sizes):
            raise InputError(
                f"ids must have shape (rows, {len(sizes)}), one column per entry of sizes: got shape {ids.shape}."
            )
        n_rows, width = ids.shape
        named = _names("field_names", field_names)
        n_fields = _count_fields(width, named)
        check_range(sizes, MOST_IN_A_FIELD, lambda f: f"sizes[{f}]")
        offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        n_features = int(offsets[-1])
        if n_features == 0:
            raise InputError("sizes must add up to at least one feature: all of them are 0.")
        _check_ids(ids, sizes, named)
        indices = np.add(ids, offsets[:-1], dtype=index_dtype(n_features), casting="unsafe", order="C")
        return cls(
            indptr=np.arange(n_rows + 1, dtype=np.int64) * width,
            indices=indices.reshape(-1),
            values=_ones(indices.size, np.float32),
            fields=np.repeat(np.arange(width, dtype=np.int32), sizes.astype(np.int64)),
            n_fields=n_fields,
            field_names=named,
            feature_names=_names("feature_names", feature_names, n_features),
        )

    @classmethod
    def from_matrix(
        cls,
        X: Any,
        fields: Any = None,
        *,
        field_names: Iterable[str] | None = None,
        feature_names: Iterable[str] | None = None,
    ) -> FieldMatrix:
        """Rows of a SciPy sparse or dense matrix, made canonical; ``X`` itself is never changed.

        Duplicates of a column are summed in stored order in float64, zeros are dropped, columns are sorted. The values
        become float32 where every value of X's dtype fits it exactly (float32, float16, bool, integers of up to 16
        bits) and nothing was summed, else float64. A CSR matrix that is canonical already shares its memory with the
        result: do not change it while the result is in use.

        Parameters
        ----------
        X : (rows, n) SciPy sparse matrix or array of any format, dense numbers, or FieldMatrix
            A FieldMatrix is returned as it is; what else is given must then agree with it.
        fields : (n,) integers, optional
            Field of each column, from 0; a field may have no column. None makes every column its own field.
        field_names : F str, optional
            More names than ``max(fields) + 1`` add fields without columns.
        feature_names : n str, optional

        Raises
        ------
        InputTypeError
            If X holds no real numbers or lies on a device, fields are no integers, or a name is no str.
        InputError
            If X is not 2-D, has no columns, holds NaN or infinity or is malformed, if fields do not fit, or if there
            are too many of them.
        """
        if isinstance(X, FieldMatrix):
            return X._agreeing(fields, field_names, feature_names)
        indptr, indices, values, n_features = read_sparse(X) if sparse.issparse(X) else read_dense(X)
        if n_features == 0:
            raise InputError(f"X must have at least one column: got shape ({len(indptr) - 1}, 0).")
        named = _names("field_names", field_names)
        fields, n_fields = _checked_fields(fields, n_features, named)
        ones = bool(np.all(values[:1] == 1) and np.all(values == 1))
        matrix = cls(
            indptr=indptr,
            indices=np.require(indices, index_dtype(n_features), ["C", "A"]),
            values=_ones(len(values), values.dtype) if ones else np.require(values, None, ["C", "A"]),
            fields=fields,
            n_fields=n_fields,
            field_names=named,
            feature_names=_names("feature_names", feature_names, n_features),
        )
        matrix._check_finite(matrix.values, "X must be finite, also after duplicates are summed")
        return matrix

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_features(self) -> int:
        return len(self.fields)

    @property
    def nnz(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.n_rows, self.n_features

    @property
    def all_ones(self) -> bool:
        """Whether values is one broadcast 1: an engine may leave its multiplication out (numerics 3)."""
        return self.values.strides == (0,) and bool(np.all(self.values[:1] == 1))

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        rows, n = self.shape
        return f"FieldMatrix({rows} x {n}, {self.n_fields} fields, {self.nnz} values, {self.values.dtype})"

    def rounded(self, dtype: Any) -> FieldMatrix:
        """The values rounded to T once; what becomes zero is dropped (numerics 1).

        Parameters
        ----------
        dtype : float32 or float64

        Returns
        -------
        FieldMatrix
            This very object when its values are of T already.

        Raises
        ------
        OptionError
            If dtype is another one.
        InputError
            If a value overflows T.
        """
        T = np.dtype(dtype)
        if T not in (np.float32, np.float64):
            raise OptionError(f"dtype must be 'float32' or 'float64', got {str(T)!r}.")
        if self.values.dtype == T:
            return self
        if self.all_ones:
            return replace(self, values=_ones(self.nnz, T))
        with np.errstate(over="ignore", under="ignore"):
            values = self.values.astype(T)
        self._check_finite(values, f"X must fit {T}")
        kept = values != 0
        if kept.all():
            return replace(self, values=values)
        indptr = starts(kept)[self.indptr]
        return replace(self, indptr=indptr, indices=self.indices[kept], values=values[kept])

    def take(self, rows: Any) -> FieldMatrix:
        """Those rows, in that order; a row may come more than once.

        Parameters
        ----------
        rows : (m,) integers, or a slice
            Row numbers from 0; negative ones are refused.

        Raises
        ------
        InputTypeError
            If rows are no integers (a mask: pass ``np.flatnonzero(mask)``).
        InputError
            If rows are not 1-D or one of them is not there.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.n_rows))
        rows = integers("rows", rows)
        if rows.ndim != 1:
            raise InputError(f"rows must be 1-D, got shape {rows.shape}.")
        check_range(rows, self.n_rows, lambda b: f"rows[{b}]")
        rows = rows.astype(np.int64, copy=False)
        indptr = starts(np.diff(self.indptr)[rows])
        old = np.repeat(self.indptr[rows] - indptr[:-1], np.diff(indptr)) + np.arange(indptr[-1])
        values = _ones(len(old), self.values.dtype) if self.all_ones else self.values[old]
        return replace(self, indptr=indptr, indices=self.indices[old], values=values)

    def to_csr(self) -> sparse.csr_array:
        """The rows as a SciPy array with memory of its own; fields and names stay behind."""
        index = index_dtype(max(self.nnz, self.n_features))  # SciPy would widen both to the wider one
        arrays = (np.array(self.values), np.array(self.indices, index), np.array(self.indptr, index))
        return sparse.csr_array(arrays, shape=self.shape)

    def fingerprint(self) -> str:
        """SHA-256 in hex over shape, structure, values and fields (no names, no encoder), the same on every machine."""
        rows, n = self.shape
        digest = hashlib.sha256(f"FieldMatrix 1 {rows} {n} {self.n_fields} {self.nnz} {self.values.dtype}\n".encode())
        for array in (self.indptr, self.indices, self.values, self.fields):
            for start in range(0, len(array), HASHED_AT_ONCE):  # a broadcast 1 is never written out whole
                part = array[start : start + HASHED_AT_ONCE]
                digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def _agreeing(self, fields: Any, field_names: Any, feature_names: Any) -> FieldMatrix:
        """Itself, if nothing was asked for that it is not."""
        for name, asked in (("field_names", field_names), ("feature_names", feature_names)):
            if asked is not None and _names(name, asked) != getattr(self, name):
                raise InputError(
                    f"X is a FieldMatrix with {name} of its own, and other ones were given: leave them out."
                )
        if fields is not None:
            checked, _ = _checked_fields(fields, self.n_features, None)
            if not np.array_equal(checked, self.fields):
                column = first_true(checked != self.fields)
                raise InputError(
                    f"X is a FieldMatrix with fields of its own, and fields differs from them: column {column} is of "
                    f"field {self.fields[column]}, got {checked[column]}. Leave fields out."
                )
        return self

    def _check_finite(self, values: Array, expected: str) -> None:
        """Raise for the first of values, which lie where this matrix's own do, that is infinite or NaN."""
        finite = np.isfinite(values)
        if not finite.all():
            p = first_true(~finite)
            row, column = int(np.searchsorted(self.indptr, p, side="right")) - 1, int(self.indices[p])
            name = f" (feature {self.feature_names[column]!r})" if self.feature_names else ""
            raise InputError(
                f"{expected}: got {float(self.values[p])!r} at row {row}, column {column}{name}. "
                "Replace or scale such values first."
            )


def _checked_fields(fields: Any, n_features: int, field_names: tuple[str, ...] | None) -> tuple[Array, int]:
    """A field per column, (n,) int32, and the number of fields."""
    if fields is None:
        n_fields = _count_fields(n_features, field_names)
        return np.arange(n_features, dtype=np.int32), n_fields
    fields = integers("fields", fields)
    if fields.shape != (n_features,):
        raise InputError(f"fields must name one field per column: expected shape ({n_features},), got {fields.shape}.")
    if fields.min() < 0:
        column = first_true(fields < 0)
        raise InputError(f"fields must be at least 0: got fields[{column}] = {fields[column]}.")
    n_fields = _count_fields(int(fields.max()) + 1, field_names)
    return np.array(fields, dtype=np.int32), n_fields


def _count_fields(used: int, field_names: tuple[str, ...] | None) -> int:
    """The number of fields: one per name if there are names; R must be able to hold a weight for each pair."""
    n_fields = used if field_names is None else len(field_names)
    if n_fields < used:
        raise InputError(f"field_names must hold at least {used} names, one per field: got {n_fields}.")
    if n_fields**2 > MOST_FIELD_PAIRS:
        raise InputError(
            f"{n_fields} fields are too many: R would take {n_fields}^2 = {n_fields**2} weights, at most "
            f"{MOST_FIELD_PAIRS} are allowed. Pass fields=... so that many columns share a field."
        )
    return n_fields


def _names(what: str, names: Any, expected: int | None = None) -> tuple[str, ...] | None:
    """The names as a tuple of str, of the expected length where there is one."""
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputTypeError(f"{what} must be a sequence of str, got {type(names).__name__}.")
    listed = tuple(names)
    for i, name in enumerate(listed):
        if not isinstance(name, str):
            raise InputTypeError(f"{what} must be str: got {type(name).__name__} {name!r} at {what}[{i}].")
    if expected is not None and len(listed) != expected:
        raise InputError(f"{what} must hold {expected} names, got {len(listed)}.")
    return tuple(map(str, listed))  # NumPy's str become Python's


def _check_ids(ids: Array, sizes: Array, field_names: tuple[str, ...] | None) -> None:
    """Raise for the first id, row by row, that is outside its field."""
    if len(ids) and ((ids.min(axis=0) < 0).any() or (ids.max(axis=0) >= sizes).any()):
        row, field = (int(i) for i in np.argwhere((ids < 0) | (ids >= sizes))[0])
        name = f" ({field_names[field]!r})" if field_names else ""
        raise InputError(
            f"ids must be at least 0 and below the size of their field: got {ids[row, field]} at row {row}, field "
            f"{field}{name} of size {sizes[field]}."
        )


def _ones(length: int, dtype: Any) -> Array:
    """A read-only 1 that stands for all."""
    return np.broadcast_to(np.ones((), dtype), (length,))
