"""The figures of a run: medians, ratios, tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from peers_task import OURS, Work

Spread = tuple[float, float, float]  # median, least, most


@dataclass(frozen=True)
class Entry:
    """One line of a table: what a peer, in one of its variants, showed in every repeat."""

    peer: str
    variant: str
    measure: str  # "steps", "scores" and "whole call" are rows/s, "p50" and "p99" microseconds
    threads: int
    repeats: list[float] = field(default_factory=list)

    @property
    def takes_time(self) -> bool:
        """Whether less is better."""
        return self.measure in ("p50", "p99")

    @property
    def spread(self) -> Spread:
        return statistics.median(self.repeats), min(self.repeats), max(self.repeats)


def find_reference(entry: Entry, entries: Iterable[Entry], threads: int) -> Entry | None:
    """Ours of the same measure on all cores of the work, the compiled engine before NumPy's; None without ours."""
    ours = {other.peer: other for other in entries if (other.measure, other.threads) == (entry.measure, threads)}
    return next((ours[peer] for peer in OURS if peer in ours), None)


def ratio(entry: Entry, reference: Entry | None) -> float | None:
    """How many times as fast the reference is, by medians."""
    if reference is None:
        return None
    its, ours = entry.spread[0], reference.spread[0]
    return its / ours if entry.takes_time else ours / its


def table(work: Work, entries: Sequence[Entry]) -> str:
    """Markdown: title, a line for each entry, what takes least time first."""
    ordered = sorted(entries, key=lambda e: (e.measure, e.spread[0] if e.takes_time else -e.spread[0]))
    unit = "microseconds" if work.verb == "row" else "rows/s"
    head = ("peer", "measure", f"median, {unit}", "least", "most", "ours is so many times as fast")
    body = [line(entry, ratio(entry, find_reference(entry, entries, work.threads)), work) for entry in ordered]
    return f"### {work.title}\n\n" + markdown([head, ("---",) * len(head), *body])


def line(entry: Entry, faster: float | None, work: Work) -> tuple[str, ...]:
    """The cells of an entry."""
    name = entry.peer if not entry.variant else f"{entry.peer}: {entry.variant}"
    name += "" if entry.threads == work.threads else f" ({entry.threads} of {work.threads} cores)"
    cells = (number(value) for value in entry.spread)
    return name, entry.measure, *cells, "" if faster is None else f"{faster:.2f}"


def number(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
