"""Entries to matrices: rows become canonical block by block, so that little is held beside the result (numerics 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.columns import Columns
from fwfm_gpu.io.grammar import Grammar
from fwfm_gpu.io.scan import Entries, read_entries
from fwfm_gpu.io.source import Source, name_of
from fwfm_gpu.matrix_reader import ascends, canonical, first_true, starts
from fwfm_gpu.parameters import Array

__all__ = ["iterate", "learn", "read"]

Labelled = tuple[FieldMatrix, Array]


@dataclass(frozen=True)
class Part:
    """Canonical rows: r of them with m values."""

    labels: Array  # (r,) float64
    counts: Array  # (r,) int64
    keys: Array  # (m,) integers
    values: Array  # (m,) float64, a broadcast 1 when all are 1

    def take(self, begin: int, end: int) -> Part:
        """The rows from begin to end."""
        first, last = int(self.counts[:begin].sum()), int(self.counts[:end].sum())
        return Part(self.labels[begin:end], self.counts[begin:end], self.keys[first:last], self.values[first:last])


def learn(source: Source, grammar: Grammar, columns: Columns) -> None:
    """Show every entry of a file to the columns."""
    for entries in read_entries(source, grammar):
        columns.keys(entries)


def read(source: Source, grammar: Grammar, columns: Columns) -> Labelled:
    """All rows of a file."""
    parts = list(read_parts(source, grammar, columns))
    if not columns.closed:
        columns.close()
    if not parts:
        raise no_rows(source)
    return assembled(parts, columns, columns.empty)


def iterate(source: Source, grammar: Grammar, columns: Columns, rows_per_chunk: int) -> Iterator[Labelled]:
    """The rows of a file by so many, in columns that are known."""
    empty, waiting, n_waiting, came = columns.empty, list[Part](), 0, False
    for part in read_parts(source, grammar, columns):
        came, begin, n_rows = True, 0, len(part.labels)
        while n_waiting + n_rows - begin >= rows_per_chunk:
            end = begin + rows_per_chunk - n_waiting
            yield assembled([*waiting, part.take(begin, end)], columns, empty)
            waiting, n_waiting, begin = [], 0, end
        if begin < n_rows:
            waiting.append(part.take(begin, n_rows))
            n_waiting += n_rows - begin
    if waiting:
        yield assembled(waiting, columns, empty)
    if not came:
        raise no_rows(source)


def no_rows(source: Source) -> InputError:
    return InputError(f"{name_of(source)}: expected at least one row, got none. Is it the right file?")


def read_parts(source: Source, grammar: Grammar, columns: Columns) -> Iterator[Part]:
    """The rows of a file, those of a block at a time."""
    for entries in read_entries(source, grammar):
        if len(entries.labels):
            yield canonical_part(entries, columns.keys(entries))


def canonical_part(entries: Entries, keys: Array) -> Part:
    """Keys ascend in every row, duplicates are summed, zeros dropped."""
    labels, counts, values = entries.labels, entries.counts, entries.values
    indptr, rows = starts(counts), np.repeat(np.arange(len(counts)), counts)
    sound = ascends(indptr, keys)
    if not sound:
        order = ascending(rows, keys)
        keys, values = keys[order], values[order]
        sound = ascends(indptr, keys)
    if not sound or np.count_nonzero(values) < len(values):
        indptr, keys, values = canonical(rows, keys, values, len(counts))
        counts = np.diff(indptr)
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.searchsorted(indptr, first_true(~finite), side="right")) - 1
            raise entries.block.error(
                int(entries.rows_at[row]), "finite sums of the values of one feature", "Scale the values first."
            )
    if (values[:1] == 1).all() and (values == 1).all():
        values = np.broadcast_to(np.float64(1), len(values))
    return Part(labels, counts, keys, values)


def ascending(rows: Array, keys: Array) -> Array:
    """The order by row, then key, then place in the file. Rows ascend already."""
    place, key = len(keys).bit_length(), int(keys.max()).bit_length()
    if int(rows[-1]).bit_length() + key + place > 63:
        return np.asarray(np.lexsort((keys, rows)))
    packed = (rows << key | keys) << place | np.arange(len(keys))  # one number each: sorted several times faster
    packed.sort()
    return np.asarray(packed & (2**place - 1))


def assembled(parts: list[Part], columns: Columns, empty: FieldMatrix) -> Labelled:
    """The rows of the parts, which are used up: what is joined is let go."""
    labels = np.concatenate([part.labels for part in parts])
    indptr = starts(np.concatenate([part.counts for part in parts]))
    keys, values = [part.keys for part in parts], [part.values for part in parts]
    parts.clear()
    for i, part in enumerate(keys):
        keys[i] = columns.place(part)
    indices = np.concatenate(keys)
    keys.clear()
    if all(part.strides == (0,) for part in values):
        joined = np.broadcast_to(np.float64(1), len(indices))
    else:
        joined = np.concatenate(values)
    return replace(empty, indptr=indptr, indices=indices, values=joined), labels
