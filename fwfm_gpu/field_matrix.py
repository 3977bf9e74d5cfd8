"""Rows of numbers with one field per column: what every engine reads, checked and canonical (numerics 1).

Conventions: n features (columns), F fields, nnz stored values. Numbers of rows and columns in messages start at 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from fwfm_gpu.device_arrays import Csr, Ids, Source, find_source, on_device, shape_of
from fwfm_gpu.errors import InputError
from fwfm_gpu.matrix_columns import check_fields, count_fields, read_columns, read_names
from fwfm_gpu.matrix_reader import (
    check_ids,
    check_range,
    first_true,
    index_dtype,
    integers,
    places,
    read_dense,
    read_sparse,
    refuse_unread,
    refuse_value,
    row_numbers,
    starts,
    value_dtype,
)
from fwfm_gpu.parameters import Array

__all__ = ["FieldMatrix", "hash_rows", "ones"]

MOST_IN_A_FIELD = 2**48  # so that no column number overflows
HASHED_AT_ONCE = 2**18  # entries


@dataclass(frozen=True, eq=False)
class FieldMatrix:
    """Canonical CSR rows and one field per column, with names where they are known.

    Canonical means: columns ascend inside a row, no column twice, no zeros, every value finite (numerics 1). Make one
    with `from_ids`, `from_csr` or `from_matrix`, which check; the constructor itself trusts what it is given. The
    arrays are read-only. Of data on a GPU these three make a `DeviceMatrix`: to train on or to predict with
    ``device="cuda"``, checked when it gets there.

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
    unit_rows : bool
        Whether each row was divided by its length: see ``normalize`` of ``train``. No second time.
    """

    indptr: Array
    indices: Array
    values: Array
    fields: Array
    n_fields: int
    field_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    encoder: Any = None
    unit_rows: bool = False

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
        ids : (rows, F) integers, on the host or on a device
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
        lies_on_device, sizes = on_device(ids), integers("sizes", sizes)
        ids = ids if lies_on_device else integers("ids", ids)
        if sizes.ndim != 1 or len(sizes) == 0:
            raise InputError(f"sizes must hold one number per field, at least one: got shape {sizes.shape}.")
        shape = shape_of(ids)
        if len(shape) != 2 or shape[1] != len(sizes):
            raise InputError(
                f"ids must have shape (rows, {len(sizes)}), one column per entry of sizes: got shape {shape}."
            )
        n_rows, width = shape
        named = read_names("field_names", field_names)
        n_fields = count_fields(width, named)
        check_range(sizes, MOST_IN_A_FIELD, lambda f: f"sizes[{f}]")
        offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        n_features = int(offsets[-1])
        if n_features == 0:
            raise InputError("sizes must add up to at least one feature: all of them are 0.")
        if not lies_on_device:
            check_ids(ids, sizes, named)
        columns: dict[str, Any] = {
            "fields": np.repeat(np.arange(width, dtype=np.int32), sizes.astype(np.int64)),
            "n_fields": n_fields,
            "field_names": named,
            "feature_names": read_names("feature_names", feature_names, n_features),
        }
        if lies_on_device:
            return _unopened(Ids(ids, sizes, (n_rows, n_features)), columns)
        indices = np.add(ids, offsets[:-1], dtype=index_dtype(n_features), casting="unsafe", order="C")
        indptr = np.arange(n_rows + 1, dtype=np.int64) * width
        return cls(indptr, indices.reshape(-1), ones(indices.size, np.float32), **columns)

    @classmethod
    def from_csr(
        cls,
        indptr: Any,
        indices: Any,
        values: Any,
        shape: tuple[int, int],
        fields: Any = None,
        *,
        field_names: Iterable[str] | None = None,
        feature_names: Iterable[str] | None = None,
    ) -> FieldMatrix:
        """Rows of the three arrays of CSR, of whichever library: all on the host, or all on a device.

        Parameters
        ----------
        indptr : (rows + 1,) integers
        indices : (nnz,) integers
        values : (nnz,) numbers, or None
            None: every value is 1.
        shape : (int, int)
            Rows and columns.
        fields, field_names, feature_names
            As in `from_matrix`, as are the errors.
        """
        if values is None and not on_device(indices):
            values = np.ones(np.shape(indices), np.float32)
        rows = Csr(indptr, indices, values, tuple(shape))
        return cls.from_matrix(rows, fields, field_names=field_names, feature_names=feature_names)

    @classmethod
    def from_matrix(
        cls,
        X: Any,
        fields: Any = None,
        *,
        field_names: Iterable[str] | None = None,
        feature_names: Iterable[str] | None = None,
    ) -> FieldMatrix:
        """Rows of a sparse or dense matrix, made canonical; ``X`` itself is never changed.

        Duplicates of a column are summed in stored order in float64, zeros are dropped, columns are sorted. The values
        become float32 where every value of X's dtype fits it exactly (float32, float16, bool, integers of up to 16
        bits) and nothing was summed, else float64. A CSR matrix that is canonical already shares its memory with the
        result: do not change it while the result is in use.

        Parameters
        ----------
        X : (rows, n) SciPy sparse matrix or array of any format, dense numbers, or FieldMatrix
            A FieldMatrix is returned as it is; what else is given must then agree with it. On a device: CSR of cupyx or
            PyTorch, or any dense array with DLPack or ``__cuda_array_interface__``; what makes a copy there is to be
            dense, not sorted, to hold duplicates or zeros, or values of another type than T.
        fields : (n,) integers, optional
            Field of each column, from 0; a field may have no column. None makes every column its own field.
        field_names : F str, optional
            More names than ``max(fields) + 1`` add fields without columns.
        feature_names : n str, optional

        Raises
        ------
        InputTypeError
            If X holds no real numbers, lies on a device in another sparse format, fields are no integers, or a name is
            no str.
        InputError
            If X is not 2-D, has no columns, holds NaN or infinity or is malformed, if fields do not fit, or if there
            are too many of them.
        """
        if isinstance(X, FieldMatrix):
            return X._agreeing(fields, field_names, feature_names)
        refuse_unread(X)
        source = find_source(X)
        if source is not None:
            return _unopened(source, read_columns(source.shape, fields, field_names, feature_names))
        is_sparse = sparse.issparse(X) or isinstance(X, Csr)
        indptr, indices, values, n_features = read_sparse(X) if is_sparse else read_dense(X)
        columns = read_columns((len(indptr) - 1, n_features), fields, field_names, feature_names)
        all_ones = bool(np.all(values[:1] == 1) and np.all(values == 1))
        matrix = cls(
            indptr,
            np.require(indices, index_dtype(n_features), ["C", "A"]),
            ones(len(values), values.dtype) if all_ones else np.require(values, None, ["C", "A"]),
            **columns,
        )
        if not all_ones:
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
        T = value_dtype(dtype)
        if self.values.dtype == T:
            return self
        if self.all_ones:
            return replace(self, values=ones(self.nnz, T))
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

        Returns
        -------
        FieldMatrix
            Of the same columns, fields and names.

        Raises
        ------
        InputTypeError
            If rows are no integers (a mask: pass ``np.flatnonzero(mask)``).
        InputError
            If rows are not 1-D or one of them is not there.
        """
        rows = row_numbers(rows, self.n_rows)
        lengths = np.diff(self.indptr)[rows]
        indptr, old = starts(lengths), places(self.indptr[rows], lengths)
        values = ones(len(old), self.values.dtype) if self.all_ones else self.values[old]
        return replace(self, indptr=indptr, indices=self.indices[old], values=values)

    def to_csr(self) -> sparse.csr_array:
        """The rows as a SciPy array with memory of its own; fields and names stay behind.

        Returns
        -------
        scipy.sparse.csr_array, (rows, n)
        """
        index = index_dtype(max(self.nnz, self.n_features))  # SciPy would widen both to the wider one
        arrays = (np.array(self.values), np.array(self.indices, index), np.array(self.indptr, index))
        return sparse.csr_array(arrays, shape=self.shape)

    def fingerprint(self) -> str:
        """SHA-256 over shape, structure, values and fields (no names, no encoder), the same on every machine.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return hash_rows(self.n_fields, (self.indptr, self.indices, self.values, self.fields))

    def _agreeing(self, fields: Any, field_names: Any, feature_names: Any) -> FieldMatrix:
        """Itself, if nothing was asked for that it is not."""
        for name, asked in (("field_names", field_names), ("feature_names", feature_names)):
            if asked is not None and read_names(name, asked) != getattr(self, name):
                raise InputError(
                    f"X is a FieldMatrix with {name} of its own, and other ones were given: leave them out."
                )
        if fields is not None:
            checked, _ = check_fields(fields, self.n_features, None)
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
            place = int(np.searchsorted(self.indptr, p, side="right")) - 1, int(self.indices[p])
            refuse_value(expected, float(self.values[p]), place, self.feature_names)


def hash_rows(n_fields: int, arrays: tuple[Any, Any, Any, Any], fetch: Callable[[Any], Array] = np.asarray) -> str:
    """`FieldMatrix.fingerprint` of indptr, indices, values and fields, fetched piece by piece."""
    indptr, indices, values, fields = arrays
    header = f"FieldMatrix 1 {len(indptr) - 1} {len(fields)} {n_fields} {len(indices)} {values.dtype}\n"
    digest = hashlib.sha256(header.encode())
    for array, dtype in zip(arrays, (np.int64, index_dtype(len(fields)), values.dtype, np.int32), strict=True):
        for start in range(0, len(array), HASHED_AT_ONCE):
            if start == 0 or array.strides != (0,):  # a broadcast 1 is written out once, and never whole
                part = fetch(array[start : start + HASHED_AT_ONCE])
                part = np.ascontiguousarray(part, np.dtype(dtype).newbyteorder("<"))
            digest.update(part[: len(array) - start].data)
    return digest.hexdigest()


def _unopened(source: Source, columns: dict[str, Any]) -> FieldMatrix:
    """Rows that lie on a device."""
    from fwfm_gpu.device_matrix import DeviceMatrix

    return DeviceMatrix(source=source, **columns)


def ones(length: int, dtype: Any) -> Array:
    """A read-only 1 that stands for all."""
    return np.broadcast_to(np.ones((), dtype), (length,))
