"""The rows that everything is measured on: a fixed seed, popular ids anywhere in the table."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from .cases import SHAPES, zipf

SEED = 0
POSITIVE = 0.25  # share of rows with y = 1


@lru_cache(maxsize=2)
def draw(shape: str, rows: int) -> tuple[Any, Any]:
    """Ids inside their fields, (rows, F) int32, and targets, (rows,) float64. Each field has a stream of its own."""
    sizes = SHAPES[shape].sizes
    ids = np.empty((rows, len(sizes)), np.int32)

    def fill(field: int) -> None:
        ids[:, field] = draw_field(sizes[field], rows, np.random.default_rng((SEED, field)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets go of the interpreter's lock
        list(pool.map(fill, range(len(sizes))))
    y = np.random.default_rng((SEED, len(sizes))).random(rows) < POSITIVE
    return ids, y.astype(np.float64)


def draw_field(size: int, rows: int, generator: np.random.Generator) -> Any:
    """Ids below ``size`` by Zipf's law, (rows,)."""
    below = np.cumsum(zipf(size))
    ranks = np.minimum(np.searchsorted(below, generator.random(rows), side="right"), size - 1)
    return generator.permutation(size)[ranks]
