"""The three losses: gradient in float64 from the score (numerics 4), value for reports.

Conventions: s_bc : (rows, C) float64 scores; y_b : (rows,) float64 targets, a class number for softmax; eps : label
smoothing. A gradient is dL/ds, (rows, C) float64, without the row's weight. A slope is the same formula, of arrays or,
compiled, of one score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.numerics import sigmoid64, softmax64
from fwfm_gpu.parameters import Array

__all__ = ["LOSSES", "Loss"]


def squared_slope(s: Any, y: Any, eps: float) -> Any:
    """s - y."""
    return s - y


def squared_gradient(s_bc: Array, y_b: Array, eps: float) -> Array:
    """s - y, row by row."""
    slope_bc: Array = squared_slope(s_bc, y_b[:, None], eps)
    return slope_bc


def squared_value(s_bc: Array, y_b: Array, eps: float) -> Array:
    """(s - y)^2 / 2, (rows,)."""
    value_b: Array = (s_bc[:, 0] - y_b) ** 2 / 2
    return value_b


def smoothed(y: Any, eps: float) -> Any:
    """The target of the logistic loss: y * (1 - eps) + 0.5 * eps."""
    return y * (1 - eps) + 0.5 * eps


def logistic_slope(s: Any, y: Any, eps: float) -> Any:
    """sigmoid(s) - target."""
    return sigmoid64(s) - smoothed(y, eps)


def logistic_gradient(s_bc: Array, y_b: Array, eps: float) -> Array:
    """sigmoid(s) - target, row by row."""
    slope_bc: Array = logistic_slope(s_bc, y_b[:, None], eps)
    return slope_bc


def logistic_value(s_bc: Array, y_b: Array, eps: float) -> Array:
    """log(1 + exp(s)) - target * s, (rows,)."""
    s = s_bc[:, 0]
    value_b: Array = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))) - smoothed(y_b, eps) * s  # logaddexp is slow
    return value_b


def softmax_targets(y_b: Array, n_classes: int, eps: float) -> Array:
    """1 - eps for the row's class, eps / (C - 1) for each other, (rows, C)."""
    y_bc = np.full((len(y_b), n_classes), eps / (n_classes - 1))
    y_bc[np.arange(len(y_b)), y_b.astype(np.intp)] = 1 - eps
    return y_bc


def softmax_gradient(s_bc: Array, y_b: Array, eps: float) -> Array:
    """e_c / total - target_c."""
    return softmax64(s_bc) - softmax_targets(y_b, s_bc.shape[1], eps)


def softmax_value(s_bc: Array, y_b: Array, eps: float) -> Array:
    """log(sum_c exp(s_c)) - sum_c target_c * s_c, (rows,)."""
    targets = softmax_targets(y_b, s_bc.shape[1], eps)
    value_b: Array = np.logaddexp.reduce(s_bc, axis=1) - np.sum(targets * s_bc, axis=1)
    return value_b


@dataclass(frozen=True)
class Loss:
    """A loss: ``gradient(s_bc, y_b, eps) -> (rows, C)``, ``value(s_bc, y_b, eps) -> (rows,)``, both float64."""

    name: str
    gradient: Callable[[Array, Array, float], Array]
    value: Callable[[Array, Array, float], Array]

    def total(self, s_bc: Array, y_b: Array, eps: float, weight_b: Array | None) -> float:
        """Sum of weighted values over rows. Reported; steers nothing (numerics 4)."""
        value_b = self.value(s_bc, y_b, eps)
        return float(np.sum(value_b if weight_b is None else weight_b * value_b))

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels."""
        return self.name != "squared"


LOSSES = {
    "logistic": Loss("logistic", logistic_gradient, logistic_value),
    "squared": Loss("squared", squared_gradient, squared_value),
    "softmax": Loss("softmax", softmax_gradient, softmax_value),
}
