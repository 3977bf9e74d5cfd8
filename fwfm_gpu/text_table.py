"""Tables of plain text, and numbers as they stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["lined_up", "shortened", "signed"]


def lined_up(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Rows of equally many cells as lines of columns; those numbered in ``right`` are set to the right."""
    rows, right = list(rows), set(right)
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def shortened(name: object, most: int = 48) -> str:
    """A name of any content as one short line: what cannot be printed becomes a replacement character."""
    text = str(name)
    tail = most // 3
    text = text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"  # names often differ at their end
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def signed(values: Iterable[float], digits: int = 4) -> list[str]:
    """Numbers of one column with their signs and equally many decimals: the largest shows so many digits."""
    values = list(values)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest and not 1e-4 <= largest < 1e7:
        return [f"{value:+.{digits - 1}e}" if math.isfinite(value) else "-" for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
    return [f"{value + 0.0:+.{decimals}f}" if math.isfinite(value) else "-" for value in values]
