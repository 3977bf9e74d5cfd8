"""The four update rules, each a small pure function of touched coordinates (numerics 7).

A formula knows nothing of shapes: the same one serves w0, w, V and R, and takes arrays or, compiled, scalars and lanes.
Hyper-parameters are rounded to T once, by ``rule.constants(dtype)``; a formula never widens what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from fwfm_gpu.numerics import bias_corrections, choose
from fwfm_gpu.parameters import Array

__all__ = ["FTRL", "RULES", "SGD", "AdaGrad", "Adam", "Constants", "Given", "Penalty", "Rule", "clip"]

ADAGRAD_EPSILON = 1e-10


class Penalty(NamedTuple):
    """l1 and l2 of one group of parameters, of T."""

    l1: Any
    l2: Any


class Constants(NamedTuple):
    """Hyper-parameters of a rule, each a scalar of T; those a rule does not have are 0."""

    learning_rate: Any
    beta_1: Any
    beta_2: Any
    one_minus_beta_1: Any
    one_minus_beta_2: Any
    epsilon: Any
    ftrl_beta: Any
    adagrad_epsilon: Any
    gradient_clip: Any


class Corrections(NamedTuple):
    """Adam's ``1 - beta_1**t`` and ``1 - beta_2**t`` of each coordinate, of T."""

    first: Array
    second: Array


class Given(NamedTuple):
    """What a formula takes besides coordinates: scalars of T, and corrections that go with the coordinates."""

    rule: Constants
    penalty: Penalty
    corrections: Any  # `Corrections`, None for rules that count nothing


def clip(mean: Any, bound: Any) -> Any:
    """A mean gradient held between -bound and bound; one that is not finite stays so, and is found."""
    nothing = bound - bound  # 0 of T
    return choose(mean - mean == nothing, np.minimum(np.maximum(mean, -bound), bound), mean)


Formula = Callable[[Any, Any, Any, Given], Any]  # (theta, mean, state, given) -> theta, state


@dataclass(frozen=True)
class Rule:
    """An update rule and its hyper-parameters, as the user gave them (float64); a ``gradient_clip`` of None is none."""

    name: ClassVar[str]
    formula: ClassVar[Formula]
    moments: ClassVar[tuple[str, ...]] = ()  # names of the arrays of state
    counts: ClassVar[bool] = False  # whether touches are counted

    learning_rate: float
    gradient_clip: float | None = field(default=None, kw_only=True)

    def at_rate(self, learning_rate: float) -> Self:
        """The same rule with another learning rate."""
        return replace(self, learning_rate=learning_rate)

    def constants(self, dtype: Any) -> Constants:
        """The hyper-parameters rounded to T; ``1 - beta`` in float64 first (numerics 2)."""
        number = np.dtype(dtype).type
        beta_1, beta_2 = getattr(self, "beta_1", 0.0), getattr(self, "beta_2", 0.0)
        return Constants(
            learning_rate=number(self.learning_rate),
            beta_1=number(beta_1),
            beta_2=number(beta_2),
            one_minus_beta_1=number(1 - beta_1),
            one_minus_beta_2=number(1 - beta_2),
            epsilon=number(getattr(self, "epsilon", 0.0)),
            ftrl_beta=number(getattr(self, "ftrl_beta", 0.0)),
            adagrad_epsilon=number(ADAGRAD_EPSILON),
            gradient_clip=number(self.gradient_clip or 0.0),
        )

    def start(self, theta: Array, penalty: Penalty) -> tuple[Array, ...]:
        """The state of parameters that no batch has touched: zeros, unless the rule says otherwise."""
        return tuple(np.zeros_like(theta) for _ in self.moments)

    def step(
        self, theta: Array, mean: Array, state: tuple[Array, ...], penalty: Penalty, corrections: Corrections | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """One step of touched coordinates.

        Parameters
        ----------
        theta, mean : (...) T
            Values at the start of the batch and mean gradients.
        state : one (...) T per name in ``moments``
        penalty : l1 and l2, of T
        corrections : Adam's, for the counts after this step; None for rules that count nothing

        Returns
        -------
        theta, state
            The new arrays, (...) T.
        """
        given = Given(self.constants(theta.dtype), penalty, corrections)
        if self.gradient_clip is not None:
            mean = clip(mean, given.rule.gradient_clip)
        stepped: tuple[Array, tuple[Array, ...]] = type(self).formula(theta, mean, state, given)
        return stepped


def sgd(theta: Any, mean: Any, state: Any, given: Given) -> Any:
    """theta - lr * g."""
    g = mean + given.penalty.l2 * theta
    return theta - given.rule.learning_rate * g, ()


def adagrad(theta: Any, mean: Any, state: Any, given: Given) -> Any:
    """acc + g * g; theta - (lr * g) / sqrt(acc + 1e-10)."""
    h = given.rule
    (acc,) = state
    g = mean + given.penalty.l2 * theta
    acc = acc + g * g
    return theta - (h.learning_rate * g) / np.sqrt(acc + h.adagrad_epsilon), (acc,)


def adam(theta: Any, mean: Any, state: Any, given: Given) -> Any:
    """The corrected means of g and of its square."""
    h = given.rule
    m, v = state
    g = mean + given.penalty.l2 * theta
    m = h.beta_1 * m + h.one_minus_beta_1 * g
    v = h.beta_2 * v + (h.one_minus_beta_2 * g) * g
    step = h.learning_rate * (m / given.corrections.first)
    return theta - step / (np.sqrt(v / given.corrections.second) + h.epsilon), (m, v)


def ftrl(theta: Any, mean: Any, state: Any, given: Given) -> Any:
    """theta from z in closed form; ``z - sign(z) * l1`` is z + l1 below 0."""
    h, l1 = given.rule, given.penalty.l1
    nothing = l1 - l1  # 0 of T
    z, n = state
    g = mean
    grown = n + g * g
    z = z + (g - ((np.sqrt(grown) - np.sqrt(n)) / h.learning_rate) * theta)
    solved = -choose(z < nothing, z + l1, z - l1) / (
        (h.ftrl_beta + np.sqrt(grown)) / h.learning_rate + given.penalty.l2
    )
    return choose(np.abs(z) <= l1, nothing, solved), (z, grown)


@dataclass(frozen=True)
class SGD(Rule):
    """theta - lr * g."""

    name: ClassVar[str] = "sgd"
    formula: ClassVar[Formula] = staticmethod(sgd)


@dataclass(frozen=True)
class AdaGrad(Rule):
    """Steps shrink with the sum of squared gradients of the coordinate (Duchi et al., JMLR 2011)."""

    name: ClassVar[str] = "adagrad"
    formula: ClassVar[Formula] = staticmethod(adagrad)
    moments: ClassVar[tuple[str, ...]] = ("acc",)


@dataclass(frozen=True)
class Adam(Rule):
    """Adam on touched coordinates, each with its own count (Kingma and Ba, ICLR 2015; lazy form)."""

    name: ClassVar[str] = "adam"
    formula: ClassVar[Formula] = staticmethod(adam)
    moments: ClassVar[tuple[str, ...]] = ("m", "v")
    counts: ClassVar[bool] = True

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def correction_tables(self, most: int, dtype: Any) -> tuple[Array, Array]:
        """``1 - beta**t`` for t up to ``most`` or more, rounded to T: look up with t clamped to the last entry."""
        length = 1 << most.bit_length()  # a few sizes only, so that the tables are made a few times
        first, second = (bias_corrections(beta, length).astype(dtype) for beta in (self.beta_1, self.beta_2))
        return first, second


@dataclass(frozen=True)
class FTRL(Rule):
    """FTRL-proximal (McMahan et al., KDD 2013), warm-started so that interactions can be learned (numerics 7)."""

    name: ClassVar[str] = "ftrl"
    formula: ClassVar[Formula] = staticmethod(ftrl)
    moments: ClassVar[tuple[str, ...]] = ("z", "n")

    ftrl_beta: float = 1.0
    ftrl_start: str = "warm"

    def start(self, theta: Array, penalty: Penalty) -> tuple[Array, ...]:
        """n = 0; z = 0, or for a warm start the z that the closed form maps back to theta."""
        z, n = np.zeros_like(theta), np.zeros_like(theta)
        if self.ftrl_start == "warm":
            h = self.constants(theta.dtype)
            sign = np.where(theta < 0, theta.dtype.type(-1), theta.dtype.type(1))
            warm = -(theta * (h.ftrl_beta / h.learning_rate + penalty.l2) + sign * penalty.l1)
            np.copyto(z, warm, where=theta != 0)
        return z, n


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (SGD, AdaGrad, Adam, FTRL)}
