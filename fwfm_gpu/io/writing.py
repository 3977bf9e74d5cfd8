"""Matrices to text files."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import first_true
from fwfm_gpu.parameters import Array

__all__ = ["write_rows"]

ROWS_AT_ONCE = 1024

Entry = Callable[[Array], Iterable[str]]


def write_rows(path: str | os.PathLike[str], rows: FieldMatrix, y: Any, prefixes: Entry) -> None:
    """Write labels and entries; ``prefixes`` gives what stands before the values, from the column numbers."""
    write_lines(path, lines(rows, checked_labels(y, rows.n_rows), prefixes))


def checked_labels(y: Any, n_rows: int) -> Array:
    """One finite number per row, (rows,) float64."""
    labels = np.asarray(y)
    if labels.dtype.kind not in "biuf":
        raise InputTypeError(f"y must hold real numbers, got {labels.dtype}. Number the labels first.")
    if labels.shape != (n_rows,):
        raise InputError(f"y must hold one label per row: expected shape ({n_rows},), got {labels.shape}.")
    labels = labels.astype(np.float64)
    bad = ~np.isfinite(labels)
    if bad.any():
        row = first_true(bad)
        raise InputError(f"y must be finite: got {float(labels[row])!r} at row {row}. Leave such rows out.")
    return labels


def lines(rows: FieldMatrix, labels: Array, prefixes: Entry) -> Iterator[str]:
    """The text of some rows at a time."""
    for begin in range(0, rows.n_rows, ROWS_AT_ONCE):
        indptr = rows.indptr[begin : begin + ROWS_AT_ONCE + 1]
        inside = slice(int(indptr[0]), int(indptr[-1]))
        entries = [
            f" {prefix}:{shortest(value)}"
            for prefix, value in zip(prefixes(rows.indices[inside]), rows.values[inside].tolist(), strict=True)
        ]
        ends = pairwise((indptr - indptr[0]).tolist())
        numbers = labels[begin : begin + ROWS_AT_ONCE].tolist()
        for label, (first, last) in zip(numbers, ends, strict=True):
            yield f"{shortest(label)}{''.join(entries[first:last])}\n"


def shortest(value: float) -> str:
    """The fewest digits that read back as the same number; no point in whole numbers."""
    return repr(value).removesuffix(".0")


def write_lines(path: str | os.PathLike[str], text: Iterable[str]) -> None:
    """Write lines, through gzip when the name ends in .gz; the same lines give the same bytes.

    An error leaves the former file.
    """
    target = os.path.realpath(os.fsdecode(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{os.fsdecode(path)}: expected the name of a file to write, and something else is there.")

    def write(file: BinaryIO) -> None:
        if target.endswith(".gz"):
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.writelines(line.encode("ascii") for line in text)
        else:
            file.writelines(line.encode("ascii") for line in text)

    replace_file(path, write)
