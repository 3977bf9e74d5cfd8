"""What every engine shares to the bit: the row-block length, exp, sigmoid, softmax and Adam's bias corrections.

The CUDA twin is ``cuda/numerics.cuh``: same names, same order of operations.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np

from fwfm_gpu.parameters import Array

__all__ = [
    "ROW_BLOCK",
    "SMALLEST_SUM",
    "bias_corrections",
    "choose",
    "exp64",
    "flushes_subnormals",
    "pair_starts",
    "power_of_two",
    "sigmoid64",
    "softmax64",
]

ROW_BLOCK = 64  # rows per block of the batch sum (numerics 6)
SMALLEST_SUM = 1e-270  # of a row's squares: below it, or at infinity, the row is divided by its largest value first

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
TAYLOR = tuple(1 / math.factorial(j) for j in range(14))  # 1/j!, rounded once
EXP_LIMIT = 700.0


def choose(condition: Any, one: Any, other: Any) -> Any:
    """The one where the condition holds, else the other. (Compiled, it is one instruction; ``np.where`` is not.)"""
    return np.where(condition, one, other)


def power_of_two(n: Any) -> Any:
    """2**n in float64, n float64 and integral, -1022 <= n <= 1023. (Compiled, the bits of its exponent.)"""
    return np.ldexp(1.0, np.int32(n))


def exp64(x: Array) -> Array:
    """exp(x) for -700 <= x <= 700, within 1.2 ulp, the same bits everywhere (numerics 4).

    Parameters
    ----------
    x : (...) float64

    Returns
    -------
    (...) float64
    """
    n = np.rint(x * LOG2_E)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = TAYLOR[13] * r + TAYLOR[12]
    for j in range(11, -1, -1):
        p = p * r + TAYLOR[j]
    scaled: Array = p * power_of_two(n)  # exact
    return scaled


def sigmoid64(s: Array) -> Array:
    """1 / (1 + exp(-s)) in float64 (numerics 4). s : (...) float64."""
    e = exp64(-np.minimum(np.abs(s), EXP_LIMIT))
    p: Array = choose(s >= 0, 1 / (1 + e), e / (1 + e))
    return p


def softmax64(s_bc: Array) -> Array:
    """Softmax over the last axis in float64, the total summed over classes ascending (numerics 4).

    Parameters
    ----------
    s_bc : (rows, C) float64

    Returns
    -------
    (rows, C) float64
    """
    top = np.max(s_bc, axis=-1, keepdims=True)
    e_bc = exp64(np.maximum(s_bc - top, -EXP_LIMIT))
    total = np.zeros(s_bc.shape[:-1])
    for c in range(s_bc.shape[-1]):
        total = total + e_bc[..., c]
    return e_bc / total[..., None]


def pair_starts(z: int) -> list[int]:
    """Where the pairs (a, a + 1), (a, a + 2), ... of position a start in pair order (numerics 3).

    The last entry is the number of pairs: ``z = 4 -> [0, 3, 5, 6, 6]``.
    """
    return [a * z - a * (a + 1) // 2 for a in range(z)] + [max(0, z * (z - 1) // 2)]


@lru_cache(maxsize=16)
def bias_corrections(beta: float, length: int) -> Array:
    """Adam's table of ``1 - beta**t`` (numerics 2).

    ``beta**t`` is the float64 nearest to the exact power of the float64 ``beta``. The table ends at the first t whose
    entry is 1, or at ``length``; an index beyond its end means its last entry, so ask for as many as may be counted.

    Parameters
    ----------
    beta : float
        0 <= beta < 1.
    length : int
        The largest t that may be looked up.

    Returns
    -------
    (T,) float64
        Entry t; entry 0 is never used.
    """
    table = [0.0]
    # 37,413 products lose 5 digits: far more than the 17 of a float64 remain. The caller's traps are not ours.
    with localcontext(Context(prec=70, traps=[])):
        exact, power = Decimal(beta), Decimal(1)
        while len(table) <= length and table[-1] != 1.0:
            power *= exact
            table.append(1.0 - float(power))
    corrections = np.array(table)
    corrections.setflags(write=False)
    return corrections


def flushes_subnormals() -> bool:
    """Whether this process flushes float32 subnormals (a library built with -ffast-math can switch it on)."""
    return bool(np.float32(1e-39) * np.float32(0.5) == 0)
