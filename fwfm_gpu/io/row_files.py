"""libffm and libsvm files for whoever has a model: columns as it was trained on, what it does not know left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io import libffm, libsvm
from fwfm_gpu.io import rows as reading
from fwfm_gpu.io.columns import MAX_FEATURES, MOST_IDS, Columns, FeatureColumns
from fwfm_gpu.io.grammar import LIBFFM, LIBSVM
from fwfm_gpu.io.scan import Entries
from fwfm_gpu.io.source import Source
from fwfm_gpu.matrix_reader import index_dtype, starts
from fwfm_gpu.parameters import Array

__all__ = ["RowFormat", "iterate_known_rows", "read_known_rows", "read_row_file"]

ROWS_AT_ONCE = 2**16
GRAMMARS = {"libffm": LIBFFM, "libsvm": LIBSVM}


@dataclass(frozen=True)
class RowFormat:
    """How a file of rows is to be read.

    Attributes
    ----------
    form : {"libffm", "libsvm"}
    shared_ids : {"error", "split"}
        Of libffm: see `read_libffm`.
    zero_based : bool or "auto"
        Of libsvm: see `read_libsvm`.
    fields : (n,) integers, optional
        Of libsvm: the field of each feature; None makes each its own.
    """

    form: str
    shared_ids: str = "error"
    zero_based: bool | str = "auto"
    fields: Any = None


def read_row_file(source: Source, form: RowFormat) -> tuple[FieldMatrix, Array]:
    """A whole file, as `read_libffm` and `read_libsvm` read it; features of libsvm are named by their numbers.

    The names are what tells later whether the first feature was 0 or 1.

    Raises
    ------
    InputError, InputTypeError, OptionError, OSError
        As theirs.
    """
    if form.form == "libffm":
        columns = libffm.chosen(None, MAX_FEATURES, form.shared_ids, None, None)
        return reading.read(source, LIBFFM, columns)
    features: FeatureColumns = libsvm.chosen(form.fields, form.zero_based, MAX_FEATURES, None)
    rows, y = reading.read(source, LIBSVM, features)
    first = features.first or 0
    return replace(rows, feature_names=tuple(map(str, range(first, first + rows.n_features)))), y


def iterate_known_rows(source: Source, form: str, like: Any) -> Iterator[tuple[FieldMatrix, Array, int]]:
    """The rows of a file by the columns of a model, some at a time.

    Parameters
    ----------
    source : str, path-like, or file opened in binary mode
    form : {"libffm", "libsvm"}
    like : what has ``fields`` (n,) int32, ``n_fields``, ``field_names`` and ``feature_names``
        The columns of a model that was trained on what `read_row_file` gave.

    Yields
    ------
    rows : FieldMatrix
    y : (rows,) float64
        The labels as written.
    unknown : int
        Entries of these rows that were left out: the model has no such feature.

    Raises
    ------
    InputError, InputTypeError, OSError
        As `read_libffm`'s.
    """
    known = KnownColumns(like, form)
    for rows, y in reading.iterate(source, GRAMMARS[form], known, ROWS_AT_ONCE):
        yield known.without_unknown(rows), y, known.passed()


def read_known_rows(source: Source, form: str, like: Any) -> tuple[FieldMatrix, Array, int]:
    """The same of a whole file."""
    known = KnownColumns(like, form)
    rows, y = reading.read(source, GRAMMARS[form], known)
    return known.without_unknown(rows), y, known.passed()


class KnownColumns(Columns):
    """The columns of a model, and one beyond them for all that it does not know."""

    closed = True

    def __init__(self, like: Any, form: str) -> None:
        self.like, self.n = like, len(like.fields)
        self.unknown = 0
        self.first, self.pairs = 0, None
        names = like.feature_names
        if form == "libsvm":
            self.first = int(names[0]) if names and names[0] in ("0", "1") else 0
        elif names and all(":" in name for name in names[:1]):
            self.pairs = _pairs(names)

    def keys(self, entries: Entries) -> Array:
        if self.pairs is not None:
            fields, ids = entries.ids
            held = (ids < MOST_IDS) & (fields < self.like.n_fields)
            wanted = np.where(held, np.where(held, fields, 0) * MOST_IDS + ids, -1)
            keys = np.minimum(np.searchsorted(self.pairs, wanted), self.n - 1)
            known = self.pairs[keys] == wanted
        else:
            keys = entries.ids[-1] - self.first
            known = (keys >= 0) & (keys < self.n)
            if len(entries.ids) > 1:
                known &= self.like.fields[np.where(known, keys, 0)] == entries.ids[0]
        self.unknown += int(np.count_nonzero(~known))
        return np.where(known, keys, self.n).astype(index_dtype(self.n + 1))

    def place(self, keys: Array) -> Array:
        return keys

    @cached_property
    def empty(self) -> FieldMatrix:
        like, none = self.like, np.zeros(0)
        rows = FieldMatrix(
            np.zeros(1, np.int64), none.astype(index_dtype(self.n + 1)), none, like.fields, like.n_fields
        )
        return replace(rows, field_names=like.field_names, feature_names=like.feature_names)

    def passed(self) -> int:
        """How many entries were unknown since this was last asked."""
        count, self.unknown = self.unknown, 0
        return count

    def without_unknown(self, rows: FieldMatrix) -> FieldMatrix:
        """The rows without the column beyond."""
        known = rows.indices < self.n
        if known.all():
            return rows
        before = starts(known)  # how many are kept before each entry
        if rows.values.strides == (0,):
            values = np.broadcast_to(np.float64(1), int(before[-1]))
        else:
            values = rows.values[known]
        return replace(rows, indptr=before[rows.indptr], indices=rows.indices[known], values=values)


def _pairs(names: tuple[str, ...]) -> Array:
    """Field and feature of each column as one number, ascending, from the names that 'split' gives."""
    try:
        numbers = np.array([name.split(":") for name in names], np.int64)
        pairs = numbers[:, 0] * MOST_IDS + numbers[:, 1]
    except (ValueError, IndexError) as error:
        raise InputError(
            "rows of libffm need a model that was trained on libffm rows: the features of this one have other names, "
            f"such as {names[0]!r}."
        ) from error
    return np.asarray(pairs)
