"""Where rows come from when they are read while they are trained on: files, or batches that can be read again.

A source gives chunks, from its first row, as often as it is asked. How long they are changes nothing (numerics 8).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse

from fwfm_gpu.counts import expand_counts, take_chosen
from fwfm_gpu.device_arrays import on_device
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io import libffm, libsvm
from fwfm_gpu.io import rows as reading
from fwfm_gpu.io.columns import MAX_FEATURES, Columns
from fwfm_gpu.io.datasets import Dataset
from fwfm_gpu.io.file_kinds import DataFiles, find_files
from fwfm_gpu.io.grammar import LIBFFM, LIBSVM
from fwfm_gpu.io.table_parts import column_of, height, names_of, only
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.matrix_reader import refuse_lazy

if TYPE_CHECKING:
    from fwfm_gpu.model_columns import Columns as ModelColumns
    from fwfm_gpu.stream_survey import Survey

__all__ = ["Batches", "Chunk", "Roles", "Source", "TableFiles", "TextFiles", "is_source", "open_source", "split_table"]

CHUNK_ROWS = 2**16


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are.

    Attributes
    ----------
    label, weight, group : str, optional
    columns : sequence of str, optional
        The features; None: all others.
    counts : (clicks, impressions), optional
        In place of label and weight.
    """

    label: str | None = None
    weight: str | None = None
    group: str | None = None
    columns: Iterable[str] | None = None
    counts: tuple[str, str] | None = None

    def features(self, names: list[str]) -> list[str]:
        """The columns that are features, checked to be there.

        Raises
        ------
        InputError
            A column that is named is not there.
        OptionError
            No label is named, or a column has two roles.
        """
        if self.label is None and self.counts is None:
            shown = ", ".join(map(repr, names[:20]))
            raise OptionError(f"label must name the column of a table that is to be predicted. There are: {shown}.")
        special = self.special
        listed = [name for name in names if name not in special] if self.columns is None else list(self.columns)
        for name in (*special, *listed):
            if name not in names:
                shown = ", ".join(map(repr, names[:20]))
                raise InputError(f"a table must have the column {name!r} that was named. There are: {shown}.")
            if (*special, *listed).count(name) > 1:
                raise OptionError(
                    f"column {name!r} must have one role: it is named {(*special, *listed).count(name)} times."
                )
        return listed

    @property
    def special(self) -> list[str]:
        """The columns that are no features."""
        return [name for name in (self.label, self.weight, self.group, *(self.counts or ())) if name is not None]

    @property
    def given(self) -> bool:
        """Whether any is named."""
        return len(self.special) > 0 or self.columns is not None


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows, as they were read.

    Attributes
    ----------
    start : int
        Number of the first one in the whole source.
    X : table, or what `FieldMatrix.from_matrix` takes; None where only the other columns were asked for
    y, weight, group : (rows,) arrays
        weight and group may be None.
    chosen : (rows,) int64, optional
        Which row of X each is, where that is not one after another: those of counts.
    """

    start: int
    X: Any
    y: Any
    weight: Any = None
    group: Any = None
    chosen: Any = None

    def __len__(self) -> int:
        return len(self.y)

    def encode(self, columns: ModelColumns, dtype: str) -> FieldMatrix:
        """The rows themselves."""
        return take_chosen(columns.read(self.X, dtype), self.chosen)


class Source(Protocol):
    """Rows that can be read again and again.

    Attributes
    ----------
    name : str
        What messages call it.
    survey : Survey or None
        What a first pass would find, where that is known.
    """

    @property
    def name(self) -> str: ...

    @property
    def survey(self) -> Survey | None: ...

    def chunks(self, features: bool = True, after: int = 0) -> Iterator[Chunk]:
        """All rows in order; those before row ``after`` may be left out, and X where no features are asked for."""


@dataclass(frozen=True)
class TableFiles:
    """Parquet or CSV files."""

    files: DataFiles
    roles: Roles
    rows: int = field(default_factory=lambda: CHUNK_ROWS)
    survey: None = None

    @property
    def name(self) -> str:
        return self.files.name

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset(self.files)

    def chunks(self, features: bool = True, after: int = 0) -> Iterator[Chunk]:
        names = self.roles.features(self.dataset.names)
        start = first = 0
        for table in self.dataset.tables(self.roles.special + (names if features else []), self.rows):
            chunk = split_table(table, self.roles, (start, first), names if features else None)
            yield chunk
            start += len(chunk)
            first += height(table)


@dataclass(frozen=True)
class TextFiles:
    """libffm or libsvm files; a first pass over all of them finds their columns."""

    files: DataFiles
    fields: Any = None
    rows: int = field(default_factory=lambda: CHUNK_ROWS)
    survey: None = None

    @property
    def name(self) -> str:
        return self.files.name

    @cached_property
    def columns(self) -> Columns:
        """The columns of all files."""
        if self.files.kind == "libffm":
            return libffm.scan_libffm(*self.files.paths)
        columns = libsvm.chosen(self.fields, "auto", MAX_FEATURES, None)
        for path in self.files.paths:
            reading.learn(path, LIBSVM, columns)
        columns.close()
        return columns

    def chunks(self, features: bool = True, after: int = 0) -> Iterator[Chunk]:
        start, grammar = 0, LIBFFM if self.files.kind == "libffm" else LIBSVM
        for path in self.files.paths:
            for rows, y in reading.iterate(path, grammar, self.columns, self.rows):
                yield Chunk(start, rows, y)
                start += len(y)


@dataclass(frozen=True)
class Batches:
    """Tables with the label among their columns, or (X, y), (X, y, weight) or (X, y, weight, group)."""

    batches: Iterable[Any] | Callable[[], Iterable[Any]]
    roles: Roles
    fields: Any = None
    survey: None = None
    name: str = field(default="batches")

    def chunks(self, features: bool = True, after: int = 0) -> Iterator[Chunk]:
        start = first = 0
        for number, batch in enumerate(self.restarted()):
            chunk = self.read(batch, (start, first), number)
            rows = len(chunk) if chunk.chosen is None else height(chunk.X)
            if rows:
                yield chunk
            start += len(chunk)
            first += rows

    def restarted(self) -> Iterator[Any]:
        """The batches from the first one."""
        again = self.batches() if callable(self.batches) else self.batches
        iterator = iter(again)
        if iterator is self.batches:
            raise InputTypeError(
                f"batches must be readable several times, once to look at the rows and once per epoch: got a "
                f"{type(self.batches).__name__}, which is exhausted after one pass. Pass the function that makes it, "
                "without calling it, a list, or an object whose __iter__ starts anew."
            )
        return iterator

    def read(self, batch: Any, at: tuple[int, int], number: int) -> Chunk:
        """One batch."""
        if is_table(batch):
            return split_table(batch, self.roles, at, self.roles.features(names_of(batch)))
        if self.roles.counts is not None:
            raise InputTypeError(
                f"counts={self.roles.counts!r} names columns of tables: got {type(batch).__name__} for batch {number}. "
                "Pass batches (X, y, weight) without counts, or tables."
            )
        if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= 4:
            raise InputTypeError(
                f"a batch must be a table, or (X, y), (X, y, weight) or (X, y, weight, group): got "
                f"{type(batch).__name__} for batch {number}."
            )
        X, y, *rest = batch
        if on_device(X) or on_device(y):
            raise InputTypeError(f"batches must lie on the host: batch {number} lies on a device. Fetch it first.")
        X = X if is_table(X) else FieldMatrix.from_matrix(X, self.fields)
        y = np.asarray(y)
        if y.ndim != 1 or (X.n_rows if isinstance(X, FieldMatrix) else height(X)) != len(y):
            raise InputError(f"X and y of a batch must have the same number of rows: batch {number} does not.")
        return Chunk(at[0], X, y, *rest)


def split_table(table: Any, roles: Roles, at: tuple[int, int], features: list[str] | None) -> Chunk:
    """A table with its columns by their roles; at: the number of its first row, in the source and among tables."""
    X = None if features is None else only(table, features)
    if roles.counts is not None:
        clicks, impressions = (column_of(table, name, "counts") for name in roles.counts)
        chosen, y, weight = expand_counts((clicks, impressions), height(table), at[1])
        return Chunk(at[0], X, y, weight, chosen=chosen)
    special = [
        None if name is None else column_of(table, name, role)
        for role, name in (("label", roles.label), ("weight", roles.weight), ("group", roles.group))
    ]
    return Chunk(at[0], X, *special)


def is_source(X: Any, y: Any) -> bool:
    """Whether rows are to be read while they are trained on: paths, or without y an iterable of batches."""
    if isinstance(X, str | os.PathLike):
        return True
    if isinstance(X, list | tuple) and len(X) and all(isinstance(entry, str | os.PathLike) for entry in X):
        return True
    if y is not None or isinstance(X, FieldMatrix | Mapping) or is_table(X) or sparse.issparse(X) or on_device(X):
        return False
    if isinstance(X, list | tuple) and not (len(X) and (isinstance(X[0], tuple) or is_table(X[0]))):
        return False  # the rows of a matrix
    return not hasattr(X, "__array__") and (callable(X) or np.iterable(X))


def open_source(source: Any, roles: Roles, fields: Any = None) -> Source:
    """The source of some paths or batches.

    Raises
    ------
    InputError, InputTypeError, OptionError, OSError
        It cannot be one.
    """
    refuse_lazy(source)
    if not is_source(source, None):
        raise InputTypeError(
            f"a source must be a path, a list of paths, or an iterable of batches: got {type(source).__name__}."
        )
    if isinstance(source, str | os.PathLike) or (not callable(source) and _are_paths(source)):
        return _open_files(find_files(source), roles, fields)
    return Batches(source, roles, fields)


def _are_paths(source: Any) -> bool:
    return isinstance(source, list | tuple) and isinstance(source[0], str | os.PathLike)


def _open_files(files: DataFiles, roles: Roles, fields: Any) -> Source:
    if files.kind in ("parquet", "csv"):
        return TableFiles(files, roles)
    if roles.given:
        raise OptionError(
            f"label, weight, group, columns and counts are for tables, and {files.name} is {files.kind}, which "
            "says itself what is what: leave them out."
        )
    if files.kind == "encoded":
        if len(files.paths) > 1:
            raise InputError(f"an encoded file is passed alone: got {len(files.paths)}. Convert all into one.")
        from fwfm_gpu.encoded_file import open_encoded

        return open_encoded(files.paths[0])
    return TextFiles(files, fields)
