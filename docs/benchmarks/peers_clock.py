"""How long work takes, by the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CALLS = 20000  # one at a time, at most


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rate(work: Callable[[], object], rows: int, least: float) -> float:
    """Rows per second of as many passes as last ``least`` seconds; one pass is ``rows`` rows."""
    passes, began = 0, time.perf_counter()
    while True:
        work()
        passes += 1
        if (passed := time.perf_counter() - began) >= least:
            return passes * rows / passed


def latency(call: Callable[[Any], object], inputs: Sequence[Any], least: float) -> dict[str, float]:
    """Median and 99th percentile, in microseconds, of calls on one input after the other, every input once at least."""
    taken: list[int] = []
    began = time.perf_counter()
    while len(taken) < CALLS and (len(taken) < len(inputs) or time.perf_counter() - began < least):
        given = inputs[len(taken) % len(inputs)]
        start = time.perf_counter_ns()
        call(given)
        taken.append(time.perf_counter_ns() - start)
    p50, p99 = np.percentile(taken, (50, 99)) / 1000
    return {"p50": float(p50), "p99": float(p99)}
