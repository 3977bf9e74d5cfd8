"""The arrays of a model: parameters and optimizer state.

Conventions (axis letters are used in array names wherever shapes matter): b row of a batch, z nonzero of a row,
n feature, f field, k factor, c class. A class axis is always present; logistic and squared loss have C = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Counts", "OptimizerState", "Parameters", "make_aligned"]

Array = NDArray[Any]


CACHE_LINE = 64  # bytes that memory gives at once


def make_aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Uninitialised memory that starts where a cache line does: 16 float32 in a row then take one line, not two."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array


def copy_aligned(array: Array) -> Array:
    """An own, writable, C-ordered array (see `make_aligned`)."""
    copy = make_aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


@dataclass(frozen=True)
class Parameters:
    """Bias, linear weights, factors and field-pair weights, all of one dtype T (numerics 1).

    Only the upper triangle of R, with its diagonal, is ever read or written.
    """

    w0: Array  # (C,)
    w: Array  # (C, n)
    V: Array  # (C, n, k)
    R: Array  # (C, F, F)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.w0.dtype

    @property
    def n_classes(self) -> int:
        return int(self.w.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.w.shape[1])

    @property
    def n_factors(self) -> int:
        return int(self.V.shape[2])

    @property
    def n_fields(self) -> int:
        return int(self.R.shape[1])

    def arrays(self) -> dict[str, Array]:
        """The four arrays by name, in the order of the specification."""
        return {"w0": self.w0, "w": self.w, "V": self.V, "R": self.R}

    def map(self, function: Callable[[Array], Array]) -> Parameters:
        """The same function on each array."""
        return Parameters(*(function(array) for array in self.arrays().values()))

    def copy(self) -> Parameters:
        """Own, writable, C-ordered arrays."""
        return self.map(copy_aligned)


@dataclass(frozen=True)
class Counts:
    """How many batches touched a coordinate: one count per feature (w_i and V_i share it), per slot of R, for w0."""

    bias: Array  # () int64
    feature: Array  # (n,) int64
    slot: Array  # (F, F) int64

    @classmethod
    def zeros(cls, parameters: Parameters) -> Counts:
        """No batch has touched anything."""
        n, F = parameters.n_features, parameters.n_fields
        return cls(*(np.zeros(shape, np.int64) for shape in ((), (n,), (F, F))))

    def copy(self) -> Counts:
        """Own, writable arrays."""
        return Counts(self.bias.copy(), self.feature.copy(), self.slot.copy())


@dataclass(frozen=True)
class OptimizerState:
    """What an update rule remembers: a few sets of arrays shaped like the parameters, and Adam's counts.

    ``state["acc"].V`` and ``state.V["acc"]`` are AdaGrad's sum of squared gradients of the factors, (C, n, k) of T.
    """

    rule: str
    moments: dict[str, Parameters]
    counts: Counts | None = None

    def __getitem__(self, name: str) -> Parameters:
        return self.moments[name]

    def copy(self) -> OptimizerState:
        """Own, writable arrays."""
        moments = {name: arrays.copy() for name, arrays in self.moments.items()}
        return OptimizerState(self.rule, moments, None if self.counts is None else self.counts.copy())

    def as_list(self) -> list[Array]:
        """The arrays in the order of the published specification.

        AdaGrad: [acc_w0, acc_w, acc_V, acc_R]. Adam: m, v, t of w0, then of w, V and R. FTRL: z, n of w0, then of w,
        V and R. SGD: empty. Adam's t are read-only views, one count per coordinate.
        """
        return [array for group in ("w0", "w", "V", "R") for array in self._of(group).values()]

    def _of(self, group: str) -> dict[str, Array]:
        """What is remembered of one group of parameters, each array of its shape."""
        arrays = {name: getattr(moment, group) for name, moment in self.moments.items()}
        if self.counts is not None:
            feature = self.counts.feature
            counts = {"w0": self.counts.bias, "w": feature, "V": feature[:, None], "R": self.counts.slot}[group]
            arrays["t"] = np.broadcast_to(counts, next(iter(arrays.values())).shape)
        return arrays

    w0 = property(lambda self: self._of("w0"))
    w = property(lambda self: self._of("w"))
    V = property(lambda self: self._of("V"))
    R = property(lambda self: self._of("R"))
