"""Lines to arrays: the marks of the text are matched with the grammar all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.io.grammar import Grammar, blank_line, first_fault
from fwfm_gpu.io.numbers import BAD, COLON, NEWLINE, Text
from fwfm_gpu.io.source import Block, Source, read_blocks
from fwfm_gpu.matrix_reader import starts
from fwfm_gpu.parameters import Array

__all__ = ["Entries", "read_entries"]


@dataclass(frozen=True)
class Entries:
    """The rows of a block as they stand there: r rows with m entries."""

    block: Block
    labels: Array  # (r,) float64
    counts: Array  # (r,) int64, entries of each row
    ids: tuple[Array, ...]  # (m,) int64 for each number before the value; HUGE for what is larger
    values: Array  # (m,) float64
    rows_at: Array  # (r,) the byte of the text where each row starts
    entries_at: Array  # (m,) and each entry
    blank_at: int | None  # and the first blank line; no row follows it


def read_entries(source: Source, grammar: Grammar) -> Iterator[Entries]:
    """The rows of a file, a block at a time.

    Raises
    ------
    InputError
        The first line that breaks the grammar, or a blank line that rows follow; else as `read_blocks` does.
    InputTypeError, OSError
        As `read_blocks` does.
    """
    blank: InputError | None = None
    for block in read_blocks(source, grammar.comments):
        entries = scan(block, grammar)
        if entries is None or (blank and len(entries.labels)):
            fault = first_fault(block, grammar, blank)
            assert fault is not None, "the scan refuses what the grammar allows"
            raise fault
        if entries.blank_at is not None and blank is None:
            blank = blank_line(block, entries.blank_at)
        yield entries


def scan(block: Block, grammar: Grammar) -> Entries | None:
    """The rows of a block, None when a line breaks the grammar or a row follows a blank line."""
    text = Text(block.text)
    if text.kinds.max() == BAD:
        return None
    ends = np.flatnonzero(text.kinds <= COLON)  # the marks that end a number, or follow another such mark
    kinds = text.kinds[ends]
    colons, newlines = kinds == COLON, np.flatnonzero(kinds == NEWLINE)
    filled = np.diff(text.marks[ends]) > 1
    if not filled.all() and ((colons[1:] | colons[:-1]) & ~filled).any():
        return None  # nothing beside a colon
    lines = starts(filled)[newlines]  # numbers before each line end
    counts = np.diff(lines)
    full = counts > 0
    blanks = np.setdiff1d(np.flatnonzero(~full), block.skipped)
    firsts, counts = lines[:-1][full], counts[full] - 1
    if (len(blanks) and full[blanks[0] :].any()) or (counts % grammar.width).any():
        return None
    numbers = np.flatnonzero(filled)
    labels = numbers[firsts]
    parts = np.delete(numbers, firsts).reshape(-1, grammar.width).T
    before, after, colons = ends[parts], ends[parts + 1], colons[1:]
    apart = after[:-1] - before[:-1] == 1  # no sign, point or exponent inside
    if colons[labels].any() or colons[parts[-1]].any() or not (colons[parts[:-1]].all() and apart.all()):
        return None
    rows_at = text.marks[ends[labels]] + 1
    entries = Entries(
        block=block,
        labels=text.decimals(ends[labels], ends[labels + 1]),
        counts=counts // grammar.width,
        ids=tuple(text.integers(*around) for around in zip(before[:-1], after[:-1], strict=True)),
        values=text.decimals(before[-1], after[-1]),
        rows_at=rows_at,
        entries_at=text.marks[before[0]] + 1,
        blank_at=int(text.marks[ends[newlines[blanks[0]]]]) + 1 if len(blanks) else None,
    )
    finite = np.isfinite(entries.labels).all() and np.isfinite(entries.values).all()
    return entries if finite else None
