"""libffm files: ``label field:feature:value ...``, fields and features numbered from 0.

Labels and values are finite decimal numbers in ASCII digits, with a sign, point or exponent where needed (``+1``,
``.5``, ``-3.25e-4``), and are read exactly as ``float`` reads them; field and feature numbers are digits alone. Spaces
and tabs separate, LF or CR LF ends a line, and the last line needs no end. A row may have no features. Blank lines are
an error unless only blank lines follow: skipping them would hide a lost row. Files may be packed by gzip, which is seen
by their first bytes.

Beside the result, reading holds at most 24 bytes per value and a working space of some 50 times the longest line, at
least 15 MB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

from fwfm_gpu.errors import InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io import rows as reading
from fwfm_gpu.io.columns import MAX_FEATURES, Columns, IdColumns, Limits, PairColumns, count
from fwfm_gpu.io.grammar import LIBFFM
from fwfm_gpu.io.source import Source, rewound
from fwfm_gpu.io.writing import write_rows
from fwfm_gpu.parameters import Array

__all__ = ["iterate_libffm", "read_libffm", "scan_libffm", "write_libffm"]

SHARED_IDS = ("error", "split")


def read_libffm(
    path: Source,
    *,
    columns: Columns | None = None,
    max_features: int = MAX_FEATURES,
    shared_ids: Literal["error", "split"] = "error",
    n_features: int | None = None,
    n_fields: int | None = None,
) -> tuple[FieldMatrix, Array]:
    """Read a libffm file.

    Parameters
    ----------
    path : str, path-like, or file opened in binary mode
    columns : Columns, optional
        From `scan_libffm`: the columns of several files that belong together. The other options then belong there.
    max_features : int
        The number of features may not exceed it, by default 2**24: memory grows with the largest one, so one wrong
        line could ask for all there is.
    shared_ids : {'error', 'split'}
        What to do with a feature that comes under two fields. With 'split', each pair of field and feature that occurs
        is a column of its own: columns are sorted by field, then feature, and named ``field:feature`` in
        ``feature_names``.
    n_features : int, optional
        The number of columns, instead of the largest feature number and one; replaces ``max_features``. Not with
        'split'.
    n_fields : int, optional
        The number of fields, instead of the largest one and one.

    Returns
    -------
    rows : FieldMatrix
        Values are float64. A column is a feature number; one that no row holds is of field 0. Duplicates in a row are
        summed, zeros dropped.
    y : (rows,) float64
        The labels as written.

    Raises
    ------
    InputError
        A line that is not understood, a number beyond its limit, one feature under two fields, damaged gzip data, no
        rows or no features. The message names file, line, column and text.
    InputTypeError
        If path is neither a path nor a binary file, or columns are something else.
    OptionError
        If an option is not one of those allowed.
    OSError
        The system refused.
    """
    return reading.read(path, LIBFFM, chosen(columns, max_features, shared_ids, n_features, n_fields))


def iterate_libffm(
    path: Source,
    *,
    rows_per_chunk: int = 2**16,
    columns: Columns | None = None,
    max_features: int = MAX_FEATURES,
    shared_ids: Literal["error", "split"] = "error",
    n_features: int | None = None,
    n_fields: int | None = None,
) -> Iterator[tuple[FieldMatrix, Array]]:
    """Read a libffm file by so many rows at a time, the last time by those that are left.

    All chunks have the same columns: those given, else those that a first pass over the file finds, with the field of
    every feature. A file that is no path must be seekable for that. Memory grows with the columns alone, not with the
    length of the file.

    Parameters
    ----------
    path, columns, max_features, shared_ids, n_features, n_fields
        As for `read_libffm`.
    rows_per_chunk : int

    Returns
    -------
    iterator of (FieldMatrix, (rows,) float64)
        Rows and labels.

    Raises
    ------
    InputError, InputTypeError, OptionError, OSError
        As `read_libffm`. Errors of the first pass come from the call itself.
    """
    rows_per_chunk = count("rows_per_chunk", rows_per_chunk, 2**48)
    if columns is None:
        with rewound(path):
            columns = scan_libffm(
                path, max_features=max_features, shared_ids=shared_ids, n_features=n_features, n_fields=n_fields
            )
    else:
        chosen(columns, max_features, shared_ids, n_features, n_fields)
    return reading.iterate(path, LIBFFM, columns, rows_per_chunk)


def scan_libffm(
    *paths: Source,
    max_features: int = MAX_FEATURES,
    shared_ids: Literal["error", "split"] = "error",
    n_features: int | None = None,
    n_fields: int | None = None,
) -> Columns:
    """The columns of one or more libffm files, for reading each of them into the same columns.

    >>> columns = scan_libffm("train.ffm", "test.ffm")  # doctest: +SKIP
    >>> rows, y = read_libffm("train.ffm", columns=columns)  # doctest: +SKIP

    An entry that was not scanned is an error when it is read.

    Parameters
    ----------
    *paths : str, path-like, or file opened in binary mode
    max_features, shared_ids, n_features, n_fields
        As for `read_libffm`.

    Returns
    -------
    Columns
    """
    columns = chosen(None, max_features, shared_ids, n_features, n_fields)
    for path in paths:
        reading.learn(path, LIBFFM, columns)
    columns.close()
    return columns


def write_libffm(path: str | os.PathLike[str], rows: Any, y: Any) -> None:
    """Write a libffm file: columns as feature numbers, values and labels with the fewest digits that read back exactly.

    The same rows give the same bytes. The file is complete or was not touched.

    Parameters
    ----------
    path : str or path-like
        Packed by gzip when it ends in ``.gz``.
    rows : FieldMatrix, or what `FieldMatrix.from_matrix` takes
    y : (rows,) finite numbers

    Raises
    ------
    InputError, InputTypeError
        If rows or y cannot be written.
    OSError
        The system refused.
    """
    matrix = FieldMatrix.from_matrix(rows)

    def prefixes(indices: Array) -> Iterator[str]:
        pairs = zip(matrix.fields[indices].tolist(), indices.tolist(), strict=True)
        return (f"{field}:{column}" for field, column in pairs)

    write_rows(path, matrix, y, prefixes)


def chosen(
    columns: Columns | None, max_features: int, shared_ids: str, n_features: int | None, n_fields: int | None
) -> Columns:
    """The columns given, or new ones that learn."""
    if shared_ids not in SHARED_IDS:
        raise OptionError(f"shared_ids must be one of {', '.join(map(repr, SHARED_IDS))}, got {shared_ids!r}.")
    limits = Limits(max_features, n_features, n_fields)
    if columns is not None:
        if not isinstance(columns, Columns):
            raise InputTypeError(f"columns must come from scan_libffm, got {type(columns).__name__}.")
        if (max_features, shared_ids, n_features, n_fields) != (MAX_FEATURES, "error", None, None):
            raise OptionError("columns were given, and options that say how to find some: leave these out.")
        return columns
    if shared_ids == "error":
        return IdColumns(limits)
    if n_features is not None:
        raise OptionError("n_features must be None with shared_ids='split', where the pairs that occur are counted.")
    return PairColumns(limits)
