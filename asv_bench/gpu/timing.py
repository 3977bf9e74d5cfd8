"""How fast some work goes: host clock, warm, median of repeats."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from .cases import Effort

WARM = 3


def median_rate(work: Callable[[int], None], rows: int, effort: Effort) -> int:
    """Rows per second.

    Parameters
    ----------
    work : function of a number of times
        Does something so often, and returns when all of it is done.
    rows : int
        What it does once.
    effort : Effort
        How long one repeat lasts at least, and how many there are.
    """
    work(WARM)
    times = 1
    while seconds(work, times) < effort.seconds:
        times *= 2
    return round(times * rows / statistics.median(seconds(work, times) for _ in range(effort.repeats)))


def seconds(work: Callable[[int], None], times: int) -> float:
    """Wall time of some work."""
    began = time.perf_counter()
    work(times)
    return time.perf_counter() - began
