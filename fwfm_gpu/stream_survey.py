"""The first pass over a source: what has to be known before the first step."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, MissingStateError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.table_parts import every, height, join_tables, release
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import read_column, read_sample_weight
from fwfm_gpu.model import Columns
from fwfm_gpu.parameters import Array
from fwfm_gpu.stream_sources import Chunk, Source

__all__ = ["Survey", "family", "located", "take_survey"]

MOST_LABELS = 2**16  # distinct ones that are counted; more are numbers


@dataclass(frozen=True, eq=False)
class Survey:
    """What a first pass found.

    Attributes
    ----------
    rows : int
    labels : (m,) array
        The distinct labels, ascending; some of them only where there are too many.
    counts : (m,) int64
        Rows of each label.
    weights : (m,) float64
        Their sample weights, added up.
    complete : bool
        Whether labels are all there are.
    weighted : bool
        Whether rows have weights.
    total_weight : float
        Of all sample weights.
    fingerprint : str
        SHA-256 of labels and weights, hexadecimal.
    columns : Columns
    """

    rows: int
    labels: Array
    counts: Array
    weights: Array
    complete: bool
    weighted: bool
    total_weight: float
    fingerprint: str
    columns: Columns


class LabelCount:
    """Distinct labels, how often each comes and what its rows weigh, chunk by chunk."""

    def __init__(self) -> None:
        self.labels: Array | None = None
        self.counts, self.weights = np.zeros(0, np.int64), np.zeros(0)
        self.complete = True
        self.digest = hashlib.sha256()

    def add(self, y: Array, weight: Array | None) -> None:
        """One more chunk."""
        if self.labels is not None and family(self.labels) != family(y):
            raise InputError(f"labels must be of one kind: they were {family(self.labels)}, and are {family(y)} here.")
        self.digest.update(plain_bytes(y))
        if not self.complete:
            return
        own, inverse = np.unique(y, return_inverse=True)
        merged = own if self.labels is None else np.union1d(self.labels, own)
        counts, weights = np.zeros(len(merged), np.int64), np.zeros(len(merged))
        if self.labels is not None:
            there = np.searchsorted(merged, self.labels)
            counts[there], weights[there] = self.counts, self.weights
        here = np.searchsorted(merged, own)
        counts[here] += np.bincount(inverse, minlength=len(own))
        weights[here] += np.bincount(inverse, weights=weight, minlength=len(own))
        self.labels, self.counts, self.weights = merged, counts, weights
        self.complete = len(merged) <= MOST_LABELS


class Sample:
    """Every s-th row of the tables that come, s the smallest power of two that leaves at most so many."""

    def __init__(self, most: int) -> None:
        self.most, self.step, self.rows, self.kept = most, 1, 0, 0
        self.tables: list[tuple[int, Any]] = []  # number of the first row, and the rows of it that are kept

    def add(self, table: Any) -> None:
        """The rows that follow."""
        rows, first = height(table), -self.rows % self.step
        if first < rows:
            self.tables.append((self.rows + first, every(table, self.step, first)))
            self.kept += -(-(rows - first) // self.step)
        self.rows += rows
        while self.kept > self.most:
            self.thin()

    def thin(self) -> None:
        """Keep every other one of the rows that are kept."""
        self.step *= 2
        thinned = []
        for start, table in self.tables:
            skip = -start % self.step // (self.step // 2)
            if skip < height(table):
                thinned.append((start + skip * (self.step // 2), every(table, 2, skip)))
        self.tables = thinned
        self.kept = sum(height(table) for _, table in thinned)

    def table(self) -> Any:
        """All rows that are kept."""
        return join_tables([table for _, table in self.tables])


def take_survey(source: Source, encoder: FieldEncoder | None, fit_rows: int) -> Survey:
    """Read a source once.

    Parameters
    ----------
    source : Source
    encoder : FieldEncoder, optional
        Fitted: tables go through it. Else one with its options is fitted on a sample.
    fit_rows : int
        Rows of the sample at most.

    Raises
    ------
    InputError, InputTypeError
        The first rows that cannot be used, or there are none.
    """
    if source.survey is not None:
        return source.survey
    first = next(source.chunks(), None)
    if first is None:
        raise InputError(f"{source.name}: expected at least one row, got none.")
    fitted = None if encoder is None or not is_fitted(encoder) else encoder
    fits = is_table(first.X) and fitted is None
    sample, labels, total, weighted, rows = Sample(fit_rows), LabelCount(), list[float](), False, 0
    weight_digest = hashlib.sha256()
    for chunk in source.chunks(features=fits):
        if fits:
            sample.add(chunk.X)
        if not len(chunk):  # nothing was shown
            continue
        with located(source, chunk):
            y = read_column(chunk.y, "y", "label")
            weight = None if chunk.weight is None else read_sample_weight(chunk.weight, len(y))
            if (weight is not None) != weighted and rows:
                raise InputError("all batches must have weights, or none: this one differs from the first.")
            weighted = weight is not None
            labels.add(y, weight)
            if weight is not None:
                total.append(math.fsum(weight))
                weight_digest.update(plain_bytes(weight))
        rows += len(y)
    if not rows:
        raise InputError(f"{source.name}: counts must hold an impression: those of all rows are 0.")
    assert labels.labels is not None
    if fits:
        fitted = (FieldEncoder() if encoder is None else copy.copy(encoder)).fit(sample.table())
    del sample
    release()
    with located(source, first):
        columns = columns_of(first.X, fitted)
    digest = hashlib.sha256(f"stream {rows}\n".encode() + labels.digest.digest() + weight_digest.digest())
    total_weight = math.fsum(total) if weighted else float(rows)
    return Survey(
        rows,
        labels.labels,
        labels.counts,
        labels.weights,
        labels.complete,
        weighted,
        total_weight,
        digest.hexdigest(),
        columns,
    )


def is_fitted(encoder: FieldEncoder) -> bool:
    """Whether it can transform."""
    try:
        return len(encoder.field_names) > 0
    except MissingStateError:
        return False


def columns_of(X: Any, encoder: FieldEncoder | None) -> Columns:
    """The columns of the first rows, and of all that follow."""
    if encoder is not None and is_table(X):
        return Columns.of(encoder.transform(X))
    return Columns.of(FieldMatrix.from_matrix(X))


def family(labels: Array) -> str:
    """Labels of one family can be compared."""
    return {"U": "strings", "b": "booleans"}.get(labels.dtype.kind, "numbers")


def plain_bytes(column: Array) -> bytes:
    """The same bytes for the same entries, however the column is cut and stored."""
    if column.dtype.kind == "U":
        return "\0".join([*column.tolist(), ""]).encode("utf-8", "surrogatepass")
    wide = {"b": "|b1", "i": "<i8", "u": "<u8"}.get(column.dtype.kind, "<f8")
    return np.ascontiguousarray(column, wide).tobytes()


@contextmanager
def located(source: Source, chunk: Chunk) -> Iterator[None]:
    """Errors about rows of a chunk say where in the source it begins."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        begin, end = chunk.start, chunk.start + len(chunk)
        raise type(error)(f"{source.name}, rows {begin} to {end - 1}, numbered from {begin}: {error}") from error
