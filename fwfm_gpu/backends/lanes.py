"""Lanes: a few numbers side by side that one instruction works on.

The kernels of the compiled engine are plain Python over scalars, arrays and lanes. Here is what the operations on lanes
mean, in NumPy: lanes are an array of length LANES, and run as they are the kernels give the same bits, slowly.
`fwfm_gpu.backends.compiled` gives each operation its machine code. Arithmetic on lanes is that of their numbers, one
operation at a time (numerics 2); nothing here adds lanes up but `sum_lanes`, which does so in order.

Positions ``at`` count numbers, not bytes, from the start of a C-contiguous array of any shape.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from fwfm_gpu.parameters import Array

__all__ = ["LANES", "all_zero", "atomic_add", "atomic_read", "atomic_swap", "first_lanes", "gather", "inlined", "load"]
__all__ += ["load_some", "narrowed", "prefetch", "read_columns", "splat", "store", "store_some", "sum_lanes", "tables"]
__all__ += ["widened", "write_columns"]

F = TypeVar("F", bound=Callable[..., Any])

alone = Lock()  # what a thread that runs these operations in Python holds, to be atomic

LANES = 16  # bound to what the processor's registers hold when a kernel is compiled; changes no bit


def inlined(function: F) -> F:
    """Mark a function that stands apart to be read: machine code has it where it is called."""
    function.inlined = True  # type: ignore[attr-defined]
    return function


def tables(arrays: Any) -> Any:
    """The same arrays, of which a kernel knows the place and the sizes and nothing else."""
    return arrays


def atomic_read(array: Array, at: int) -> int:
    """An integer that other threads may write. All threads see these three operations happen in one order."""
    return int(array.reshape(-1)[at])


def atomic_swap(array: Array, at: int, value: int) -> int:
    """Write an integer that other threads may write. Returns what it replaced."""
    flat = array.reshape(-1)
    with alone:
        replaced, flat[at] = int(flat[at]), value
    return replaced


def atomic_add(array: Array, at: int, value: int) -> int:
    """Add to an integer that other threads may write. Returns what it was: threads that count up get different ones."""
    flat = array.reshape(-1)
    with alone:
        flat[at] += value
        return int(flat[at]) - value


def splat(number: Any) -> Any:
    """The same number in every lane."""
    return np.full(LANES, number)


def load(array: Array, at: int) -> Any:
    """LANES numbers that follow each other."""
    return array.reshape(-1)[at : at + LANES].copy()


def load_some(array: Array, at: int, count: int) -> Any:
    """The first ``count`` lanes from an array, the others 0."""
    lanes = np.zeros(LANES, array.dtype)
    count = min(count, LANES)
    lanes[:count] = array.reshape(-1)[at : at + count]
    return lanes


def first_lanes(count: int) -> Any:
    """Which lanes are among the first ``count``."""
    return np.arange(LANES) < count


def store(array: Array, at: int, lanes: Any) -> None:
    """Write all lanes."""
    array.reshape(-1)[at : at + LANES] = lanes


def store_some(array: Array, at: int, lanes: Any, count: int) -> None:
    """Write the first ``count`` lanes."""
    count = min(count, LANES)
    array.reshape(-1)[at : at + count] = lanes[:count]


def gather(array: Array, at: Any) -> Any:
    """One number per lane, from the positions in ``at``, lanes of int64."""
    return array.reshape(-1)[at]


def widened(lanes: Any) -> Any:
    """The same numbers in float64."""
    return lanes.astype(np.float64)


def narrowed(lanes: Any, array: Array) -> Any:
    """Lanes of float64, rounded to the dtype of an array."""
    return lanes.astype(array.dtype)


def read_columns(into: Array, at: int, table: Array, places: Array, skip: int, width: int) -> None:
    """Transpose: ``width`` numbers from each of LANES places of a table become ``width`` lanes.

    Lane l of number t comes from ``table[places[l] + skip + t]`` and goes to ``into[at + t * LANES + l]``. The width is
    a literal power of 2, from 2 to LANES.
    """
    places = places[:LANES, None] + skip + np.arange(width)
    into.reshape(-1)[at : at + width * LANES] = table.reshape(-1)[places].T.reshape(-1)


def write_columns(table: Array, places: Array, skip: int, lanes: Array, at: int, width: int) -> None:
    """The way back: lane l of number t goes to ``table[places[l] + skip + t]``; a place below 0 is left out."""
    kept = places[:LANES] >= 0
    numbers = lanes.reshape(-1)[at : at + width * LANES].reshape(width, LANES).T
    table.reshape(-1)[places[:LANES][kept, None] + skip + np.arange(width)] = numbers[kept]


def sum_lanes(total: Any, array: Array, at: int) -> Any:
    """Add LANES lanes, each holding one coordinate's LANES terms, to LANES totals: term by term, first lane first."""
    terms = array.reshape(-1)[at : at + LANES * LANES].reshape(LANES, LANES)
    for lane in range(LANES):
        total = total + terms[:, lane]
    return total


def all_zero(lanes: Any) -> bool:
    """Whether every lane is 0; NaN is not."""
    return bool(np.all(lanes == 0))


def prefetch(array: Array, at: Any) -> None:
    """Say that this place will be read soon. Changes nothing."""
