"""dL/ds of rows side by side, compiled (numerics 4). Lanes are rows."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.backends.compiled_rows import Group, Rows
from fwfm_gpu.backends.lanes import LANES, load, narrowed, splat, store, widened
from fwfm_gpu.losses import logistic_slope
from fwfm_gpu.numerics import EXP_LIMIT, choose, exp64
from fwfm_gpu.parameters import Array

__all__ = ["lay_targets", "scalar_slopes", "softmax_slopes"]

# Bound when compiled.
SLOPE = logistic_slope


def lay_targets(rows: Rows, row_numbers: Array, first: int, count: int, group: Group) -> None:
    """Targets and weights of ``count`` rows, from ``row_numbers[first]`` on; the weight is 0 where there is no row."""
    for lane in range(LANES):
        group.y[lane], group.weight[lane] = 0, 0
        if lane < count:
            row = row_numbers[first + lane]
            group.y[lane], group.weight[lane] = rows.y[row], rows.weight[row] if len(rows.weight) else 1.0


def scalar_slopes(group: Group, eps: float) -> None:
    """g of rows with one score."""
    slope = SLOPE(widened(load(group.s, 0)), load(group.y, 0), eps)
    store(group.g, 0, narrowed(load(group.weight, 0) * slope, group.g))


def softmax_slopes(group: Group, eps: float) -> None:
    """g of rows with a score per class: `losses.softmax_gradient`, whose axes numba does not know."""
    n_classes = group.s.shape[0]
    y, weight = load(group.y, 0), load(group.weight, 0)
    top, total = widened(load(group.s, 0)), splat(0.0)
    for c in range(1, n_classes):
        top = np.maximum(top, widened(load(group.s, c * LANES)))
    for c in range(n_classes):
        e = exp64(np.maximum(widened(load(group.s, c * LANES)) - top, -EXP_LIMIT))
        store(group.e, c * LANES, e)
        total = total + e
    for c in range(n_classes):
        target = choose(y == np.float64(c), splat(1 - eps), splat(eps / (n_classes - 1)))
        slope = load(group.e, c * LANES) / total - target
        store(group.g, c * LANES, narrowed(weight * slope, group.g))
