"""Matrices as they come, SciPy's or dense, as checked CSR arrays in canonical order (numerics 1)."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from fwfm_gpu.device_arrays import on_device
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.parameters import Array

__all__ = ["check_ids", "check_indptr", "check_range", "first_true", "index_dtype", "integers", "read_dense"]
__all__ += ["places", "read_sparse", "refuse_unread", "refuse_value", "row_numbers", "starts", "value_dtype"]


def refuse_unread(X: Any) -> None:
    """What names rows, or would give them, and is none: a path, a list of paths, a lazy frame, a data set.

    Raises
    ------
    InputTypeError
        X is such.
    """
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    if isinstance(first, str | os.PathLike):
        raise InputTypeError(
            f"X must hold rows, and {reprlib.repr(first)} is a path or a word: paths are for train, continue_training "
            "and convert. Load the rows first, with fwfm_gpu.io.read_libffm or as a table with pandas or polars."
        )
    refuse_lazy(X)


def refuse_lazy(X: Any) -> None:
    """Frames and data sets whose rows are not in memory, of polars, Dask or pyarrow.

    Raises
    ------
    InputTypeError
        X is such.
    """
    kind = type(X)
    if hasattr(kind, "collect") and hasattr(kind, "columns"):
        raise InputTypeError(f"X is a lazy frame ({kind.__name__}), which holds no rows yet: pass X.collect().")
    if hasattr(kind, "compute") and hasattr(kind, "columns"):
        raise InputTypeError(f"X is a lazy frame ({kind.__name__}), which holds no rows yet: pass X.compute().")
    if hasattr(kind, "to_table") and hasattr(kind, "scanner"):
        raise InputTypeError(
            f"X is a data set ({kind.__name__}), which holds no rows yet: pass X.to_table(), or to train on its files "
            "as they are read, X.files."
        )


def read_dense(X: Any) -> tuple[Array, Array, Array, int]:
    """indptr, indices, values and number of columns of dense numbers."""
    array = real(host_array("X", X))
    if array.ndim != 2:
        raise InputError(f"X must be 2-D (rows, columns): got shape {array.shape}.")
    n_features = array.shape[1]
    kept = array != 0
    columns = np.broadcast_to(np.arange(n_features, dtype=index_dtype(n_features)), array.shape)
    return starts(np.count_nonzero(kept, axis=1)), columns[kept], array[kept], n_features


def read_sparse(X: Any) -> tuple[Array, Array, Array, int]:
    """indptr, indices, values and number of columns of a SciPy matrix, or a Csr on the host.

    Reads the bare arrays: SciPy's flags of canonical form may be stale, and its own conversions sum duplicates in
    another order or sort the caller's matrix in place.
    """
    if X.ndim != 2:
        raise InputError(f"X must be 2-D (rows, columns): got shape {X.shape}.")
    n_rows, n_features = X.shape
    if X.format == "csr":
        indptr, columns, values = compressed(X, n_features, "row")
        if ascends(indptr, columns) and values.all():
            return indptr, columns, values, n_features
        rows = np.repeat(np.arange(n_rows), np.diff(indptr))
    elif X.format == "csc":
        indptr, rows, values = compressed(X, n_rows, "column")
        columns = np.repeat(np.arange(n_features), np.diff(indptr))
    else:
        rows, columns, values = triplets(X if X.format == "coo" else X.tocoo())
    return *canonical(rows, columns, values, n_rows), n_features


def compressed(X: Any, limit: int, axis: str) -> tuple[Array, Array, Array]:
    """Checked indptr, indices and values of a CSR or CSC matrix; axis is what indptr runs along."""
    indptr, indices = integers("indptr", X.indptr), integers("indices", X.indices)
    values = real(np.asarray(X.data))
    indptr = check_indptr(indptr, X.shape[0 if axis == "row" else 1], (indices.shape, values.shape), axis)
    check_range(indices, limit, lambda p: f"indices[{p}] ({axis} {np.searchsorted(indptr, p, side='right') - 1})")
    return indptr, indices, values


def check_indptr(
    indptr: Array, count: int, shapes: tuple[tuple[int, ...], tuple[int, ...]], axis: str = "row"
) -> Array:
    """The starts of so many rows (or columns) of indices and values of these shapes, int64."""
    if indptr.shape != (count + 1,):
        raise InputError(
            f"indptr must hold {count + 1} entries, one per {axis} and one more: got shape {indptr.shape}."
        )
    if indptr[0] != 0:
        raise InputError(f"indptr must start at 0: got indptr[0] = {indptr[0]}.")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        p = first_true(falls)
        raise InputError(f"indptr must not decrease: got {indptr[p]}, then {indptr[p + 1]} at the end of {axis} {p}.")
    if any(shape != (indptr[-1],) for shape in shapes):
        raise InputError(
            f"indptr must end at the number of stored values: got {indptr[-1]} at its end, indices of shape "
            f"{shapes[0]}, data of shape {shapes[1]}."
        )
    return indptr.astype(np.int64)


def triplets(X: Any) -> tuple[Array, Array, Array]:
    """Checked row numbers, column numbers and values of a COO matrix, in stored order."""
    rows, columns = integers("row", X.row), integers("col", X.col)
    values = real(np.asarray(X.data))
    if not rows.shape == columns.shape == values.shape == (values.size,):
        raise InputError(
            f"row, col and data must be of one length: got shapes {rows.shape}, {columns.shape} and {values.shape}."
        )
    check_range(rows, X.shape[0], lambda p: f"row[{p}]")
    check_range(columns, X.shape[1], lambda p: f"col[{p}]")
    return rows, columns, values


def canonical(rows: Array, columns: Array, values: Array, n_rows: int) -> tuple[Array, Array, Array]:
    """indptr, indices and values of triplets: sorted, duplicates summed, zeros dropped (numerics 1)."""
    order = np.lexsort((columns, rows))  # stable: duplicates stay in stored order
    rows, columns, values = rows[order], columns[order], values[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    if not new.all():
        values = np.bincount(np.cumsum(new) - 1, weights=values)  # left to right, in float64 (numerics 10)
        rows, columns = rows[new], columns[new]
    kept = values != 0
    return starts(np.bincount(rows[kept].astype(np.int64), minlength=n_rows)), columns[kept], values[kept]


def ascends(indptr: Array, indices: Array) -> bool:
    """Whether columns strictly ascend inside every row."""
    rises = indices[1:] > indices[:-1]
    inner = indptr[(indptr > 0) & (indptr < len(indices))]
    rises[inner - 1] = True  # the first of a row follows nothing
    return bool(rises.all())


def check_range(numbers: Array, limit: int, place: Callable[[int], str]) -> None:
    """Raise for the first number that is negative or not below the limit."""
    if numbers.size and (numbers.min() < 0 or numbers.max() >= limit):
        p = first_true((numbers < 0) | (numbers >= limit))
        raise InputError(f"{place(p)} must be at least 0 and below {limit}: got {numbers[p]}.")


def check_ids(ids: Array, sizes: Array, field_names: tuple[str, ...] | None, first_row: int = 0) -> None:
    """Raise for the first id, row by row, that is outside its field."""
    if len(ids) and ((ids.min(axis=0) < 0).any() or (ids.max(axis=0) >= sizes).any()):
        row, field = (int(i) for i in np.argwhere((ids < 0) | (ids >= sizes))[0])
        name = f" ({field_names[field]!r})" if field_names else ""
        raise InputError(
            f"ids must be at least 0 and below the size of their field: got {ids[row, field]} at row "
            f"{first_row + row}, field {field}{name} of size {sizes[field]}."
        )


def refuse_value(
    expected: str, value: float, place: tuple[int, int], feature_names: tuple[str, ...] | None
) -> NoReturn:
    """Raise for a value that is infinite or NaN, or becomes so; place is its row and column."""
    row, column = place
    name = f" (feature {feature_names[column]!r})" if feature_names else ""
    raise InputError(
        f"{expected}: got {value!r} at row {row}, column {column}{name}. Replace or scale such values first."
    )


def row_numbers(rows: Any, n_rows: int) -> Array:
    """Numbers of rows that are there, (m,) int64."""
    if isinstance(rows, slice):
        rows = np.arange(*rows.indices(n_rows))
    rows = integers("rows", rows)
    if rows.ndim != 1:
        raise InputError(f"rows must be 1-D, got shape {rows.shape}.")
    check_range(rows, n_rows, lambda b: f"rows[{b}]")
    numbers: Array = rows.astype(np.int64, copy=False)
    return numbers


def value_dtype(dtype: Any) -> np.dtype[Any]:
    """T as a dtype."""
    T: np.dtype[Any] = np.dtype(dtype)
    if T not in (np.float32, np.float64):
        raise OptionError(f"dtype must be 'float32' or 'float64', got {str(T)!r}.")
    return T


def integers(what: str, numbers: Any) -> Array:
    """An array of integers; one of nothing may be of any type."""
    array = host_array(what, numbers)
    if array.size and array.dtype.kind not in "iu":
        raise InputTypeError(f"{what} must be integers, got {array.dtype}.")
    return array


def real(array: Array) -> Array:
    """The numbers as float32 where that is exact for their dtype, else as float64."""
    if array.dtype.kind == "O" and not any(isinstance(value, (str, bytes)) for value in array.flat):
        with suppress(TypeError, ValueError, OverflowError):  # what does not convert is refused by its dtype
            array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise InputTypeError(f"X must hold real numbers, got {array.dtype}. Encode anything else as columns first.")
    with np.errstate(over="ignore"):  # a long double may become infinite, which is refused with its place
        return array.astype(np.float32 if np.can_cast(array.dtype, np.float32) else np.float64, copy=False)


def host_array(what: str, numbers: Any) -> Array:
    """What np.asarray makes of it, unless that would lose something."""
    kind = type(numbers).__name__
    if on_device(numbers):
        raise InputTypeError(f"{what} lies on a device ({kind}), and is needed on the host: copy it there.")
    if isinstance(numbers, np.ma.MaskedArray):
        raise InputTypeError(f"{what} is a masked array, and masks are not understood. Fill it first.")
    try:
        return np.asarray(numbers)
    except ValueError as error:
        raise InputError(f"{what} must be an array with rows of one length, got {kind}: {error}") from error
    except TypeError as error:
        raise InputTypeError(f"{what} must be an array, got {kind}: {error}") from error


def index_dtype(largest: int) -> type[np.signedinteger[Any]]:
    """int32 where it is wide enough."""
    return np.int32 if largest <= 2**31 - 1 else np.int64


def starts(lengths: Array) -> Array:
    """Where each of consecutive pieces starts, and the end: [2, 0, 3] -> [0, 2, 2, 5], int64."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def places(begins: Array, lengths: Array) -> Array:
    """The positions that pieces take, piece by piece: [5, 0] of lengths [2, 3] -> [5, 6, 0, 1, 2], int64."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def first_true(bad: Array) -> int:
    """Where the first True stands."""
    return int(np.argmax(bad))
