"""Learning-rate schedules: a factor of the rate for each epoch, the same float64 on every machine (numerics 7).

Factors are made of integers and of decimals with 70 digits, and rounded once: no library's cosine or power has a say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cache

__all__ = ["SCHEDULES", "Plan", "ScheduleFunction"]

ScheduleFunction = Callable[[int, int], float]

SCHEDULES = ("constant", "linear", "cosine", "exponential", "step")
DIGITS = Context(prec=70, traps=[])  # the caller's traps are not ours


@dataclass(frozen=True)
class Plan:
    """The factor of each epoch.

    Parameters
    ----------
    schedule : str or callable
        One of `SCHEDULES`, or ``f(epoch, epochs) -> factor``, both counted from the end of the warm-up.
    epochs : int
        As planned; more may follow.
    warmup : int
        Epochs in which the rate rises.
    floor, decay : float
    every : int
    """

    schedule: str | ScheduleFunction = "constant"
    epochs: int = 1
    warmup: int = 0
    floor: float = 0.0
    decay: float = 0.9
    every: int = 1

    def factor(self, epoch: int) -> float:
        """The factor of an epoch, from 0."""
        if epoch < self.warmup:
            return (epoch + 1) / (self.warmup + 1)
        p, P = epoch - self.warmup, max(1, self.epochs - self.warmup)
        if callable(self.schedule):
            return self.schedule(p, P)
        if self.schedule in ("linear", "cosine"):
            return fall(self.schedule, min(p, P - 1), P, self.floor)
        if self.schedule == "constant":
            return 1.0
        return max(self.floor, power(self.decay, p if self.schedule == "exponential" else p // self.every))


def fall(shape: str, p: int, P: int, floor: float) -> float:
    """From 1 at p = 0 towards the floor at p = P, 0 <= p < P."""
    with localcontext(DIGITS):
        low, part = Decimal(floor), (1 + cosine(p, P)) / 2 if shape == "cosine" else Decimal(P - p) / P
        return float(low + (1 - low) * part)


def power(decay: float, exponent: int) -> float:
    """The float64 nearest to the exact power of the float64 ``decay``; 0 far below the smallest."""
    with localcontext(DIGITS):
        return float(Decimal(decay) ** exponent)


@cache
def pi() -> Decimal:
    """pi = 16 atan(1/5) - 4 atan(1/239), to more digits than are kept."""
    with localcontext(DIGITS):
        return (16 * inverse_tangent(5) - 4 * inverse_tangent(239)).normalize()


def inverse_tangent(n: int) -> Decimal:
    """The inverse tangent of 1 / n, by its series."""
    total, term, j = Decimal(0), Decimal(1) / n, 1
    while total + term / j != total:
        total, term, j = total + term / j, -term / (n * n), j + 2
    return total


def cosine(p: int, P: int) -> Decimal:
    """cos(pi p / P) for 0 <= p <= P, within 1e-65; exactly 0 in the middle."""
    if 2 * p > P:
        return -cosine(P - p, P)
    if 2 * p == P:
        return Decimal(0)
    x = pi() * p / P
    total, term, j = Decimal(0), Decimal(1), 0
    while total + term != total:
        total, j = total + term, j + 2
        term = -term * x * x / (j * (j - 1))
    return total
