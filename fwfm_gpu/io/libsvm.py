"""libsvm files (svmlight): ``label feature:value ...``.

Numbers, separators, line ends, blank lines and gzip are those of `fwfm_gpu.io.libffm`. A comment runs from ``#`` to
the end of its line, and a line of a comment alone is skipped. ``qid:`` is refused. Features need not be sorted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from fwfm_gpu.errors import OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io import rows as reading
from fwfm_gpu.io.columns import MAX_FEATURES, FeatureColumns, Limits, count
from fwfm_gpu.io.grammar import LIBSVM
from fwfm_gpu.io.source import Source, rewound
from fwfm_gpu.io.writing import write_rows
from fwfm_gpu.matrix_reader import integers
from fwfm_gpu.parameters import Array

__all__ = ["iterate_libsvm", "read_libsvm", "write_libsvm"]


def read_libsvm(
    path: Source,
    *,
    fields: Any = None,
    zero_based: bool | Literal["auto"] = "auto",
    max_features: int = MAX_FEATURES,
    n_features: int | None = None,
) -> tuple[FieldMatrix, Array]:
    """Read a libsvm file.

    Parameters
    ----------
    path : str, path-like, or file opened in binary mode
    fields : (n,) integers, optional
        Field of each column, as in `FieldMatrix.from_matrix`. None makes every column its own field.
    zero_based : bool or 'auto'
        Whether the first feature is 0 or 1. 'auto': 0 if a 0 occurs in the file, else 1. Say which it is when several
        files must agree.
    max_features : int
        The number of features may not exceed it, by default 2**24: memory grows with the largest one, so one wrong
        line could ask for all there is.
    n_features : int, optional
        The number of columns, instead of what the largest feature asks for; replaces ``max_features``. By default the
        length of fields.

    Returns
    -------
    rows : FieldMatrix
        Values are float64. Duplicates in a row are summed, zeros dropped.
    y : (rows,) float64
        The labels as written.

    Raises
    ------
    InputError
        A line that is not understood, a number beyond its limit, damaged gzip data, no rows, no features, or more
        fields than `FieldMatrix` holds. A message about a line names file, line, column and text.
    InputTypeError
        If path is neither a path nor a binary file, or fields are no integers.
    OptionError
        If an option is not one of those allowed.
    OSError
        The system refused.
    """
    return reading.read(path, LIBSVM, chosen(fields, zero_based, max_features, n_features))


def iterate_libsvm(
    path: Source,
    *,
    rows_per_chunk: int = 2**16,
    fields: Any = None,
    zero_based: bool | Literal["auto"] = "auto",
    max_features: int = MAX_FEATURES,
    n_features: int | None = None,
) -> Iterator[tuple[FieldMatrix, Array]]:
    """Read a libsvm file by so many rows at a time, the last time by those that are left.

    All chunks have the same columns. Unless zero_based is a bool and n_features or fields are given, a first pass over
    the file finds them; a file that is no path must be seekable for that.

    Parameters
    ----------
    path, fields, zero_based, max_features, n_features
        As for `read_libsvm`.
    rows_per_chunk : int

    Returns
    -------
    iterator of (FieldMatrix, (rows,) float64)
        Rows and labels.

    Raises
    ------
    InputError, InputTypeError, OptionError, OSError
        As `read_libsvm`. Errors of the first pass come from the call itself.
    """
    rows_per_chunk = count("rows_per_chunk", rows_per_chunk, 2**48)
    columns = chosen(fields, zero_based, max_features, n_features)
    if not columns.closed:
        with rewound(path):
            reading.learn(path, LIBSVM, columns)
        columns.close()
    return reading.iterate(path, LIBSVM, columns, rows_per_chunk)


def write_libsvm(path: str | os.PathLike[str], rows: Any, y: Any, *, zero_based: bool = False) -> None:
    """Write a libsvm file: values and labels with the fewest digits that read back exactly; fields are not kept.

    The same rows give the same bytes. The file is complete or was not touched.

    Parameters
    ----------
    path : str or path-like
        Packed by gzip when it ends in ``.gz``.
    rows : FieldMatrix, or a matrix that `FieldMatrix.from_matrix` takes
    y : (rows,) finite numbers
    zero_based : bool
        Whether the first column is feature 0. From 1 on, as libsvm wants it, 'auto' always reads it back.

    Raises
    ------
    InputError, InputTypeError
        If rows or y cannot be written.
    OSError
        The system refused.
    """
    one_field = not isinstance(rows, FieldMatrix) and np.ndim(rows) == 2  # so that many columns are no obstacle
    matrix = FieldMatrix.from_matrix(rows, np.zeros(np.shape(rows)[1], np.int32) if one_field else None)
    first = 0 if zero_based else 1
    write_rows(path, matrix, y, lambda indices: map(str, (indices + first).tolist()))


def chosen(fields: Any, zero_based: Any, max_features: int, n_features: int | None) -> FeatureColumns:
    """New columns for these options."""
    if zero_based not in (True, False, "auto"):
        raise OptionError(f"zero_based must be True, False or 'auto', got {zero_based!r}.")
    if fields is not None and n_features is None:
        n_features = integers("fields", fields).size or None
    return FeatureColumns(Limits(max_features, n_features), None if zero_based == "auto" else bool(zero_based), fields)
