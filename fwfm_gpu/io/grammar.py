"""What a line may hold, in plain Python: this finds the words for a line that the scan could not read.

A line is a label and any number of entries, with spaces or tabs between them. Labels and values are finite decimal
numbers as C reads them, ``-3.25e-4`` or ``+.5``, in ASCII digits; hexadecimal numbers, ``nan``, ``inf`` and ``1_0`` are
none. Field and feature numbers are digits alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from fwfm_gpu.errors import InputError
from fwfm_gpu.io.source import Block

__all__ = ["LIBFFM", "LIBSVM", "Grammar", "blank_line", "first_fault"]

WORD = re.compile(rb"[^ \t]+")
INTEGER = re.compile(rb"[0-9]+")
DECIMAL = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
REMEDY = "Correct the line."


@dataclass(frozen=True)
class Grammar:
    """A text format: how an entry is written, and whether # starts a comment."""

    entry: str
    comments: bool

    @property
    def width(self) -> int:
        """Numbers of an entry."""
        return self.entry.count(":") + 1


LIBFFM = Grammar("field:feature:value", comments=False)
LIBSVM = Grammar("feature:value", comments=True)


def first_fault(block: Block, grammar: Grammar, blank: InputError | None) -> InputError | None:
    """The error of the first line that has one; ``blank`` is that of a blank line above, if no row came since."""
    begin = 0
    for i, line in enumerate(block.text.split(b"\n")[:-1]):
        words = list(WORD.finditer(line))
        if words and blank:
            return blank
        for word in words:
            fault = entry_fault(word[0], grammar) if word is not words[0] else label_fault(word[0])
            if fault:
                return block.error(begin + word.start() + fault[0], *fault[1:])
        if not words and i not in block.skipped:
            blank = blank or blank_line(block, begin)
        begin += len(line) + 1
    return None


def blank_line(block: Block, begin: int) -> InputError:
    """What a blank line is when a row follows it: skipping it would hide a lost row."""
    return block.error(begin, "a row, because more rows follow", "Remove the blank line.")


def label_fault(word: bytes) -> tuple[int, str, str] | None:
    """Where a label goes wrong, what was expected there, and what to do."""
    return None if is_finite(word) else (0, "a finite decimal number as label", REMEDY)


def entry_fault(word: bytes, grammar: Grammar) -> tuple[int, str, str] | None:
    """Where an entry goes wrong, what was expected there, and what to do."""
    if word.startswith(b"qid:") and grammar is LIBSVM:
        return 0, grammar.entry, "Query numbers are not supported: remove them."
    parts = word.split(b":")
    if len(parts) != grammar.width:
        return 0, grammar.entry, REMEDY
    begin = 0
    for name, part in zip(grammar.entry.split(":"), parts, strict=True):
        if name == "value":
            if not is_finite(part):
                return begin, "a finite decimal number as value", REMEDY
        elif not INTEGER.fullmatch(part):
            return begin, f"digits alone as {name}", REMEDY
        begin += len(part) + 1
    return None


def is_finite(text: bytes) -> bool:
    """Whether it is a decimal number that float64 holds."""
    return DECIMAL.fullmatch(text) is not None and math.isfinite(float(text))
