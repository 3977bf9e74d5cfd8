"""How to train: loss, update rule, batch size, penalties. Frozen, so that an engine may specialise on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.losses import LOSSES, Loss
from fwfm_gpu.optimizers import Penalty, Rule
from fwfm_gpu.parameters import Array, Counts, OptimizerState, Parameters

__all__ = ["Penalties", "Recipe"]


@dataclass(frozen=True)
class Penalties:
    """l1 and l2 per group of parameters; the bias has none (numerics 7)."""

    l1_linear: float = 0.0
    l2_linear: float = 0.0
    l1_factors: float = 0.0
    l2_factors: float = 0.0

    def of(self, group: str, dtype: Any) -> Penalty:
        """The penalty of ``"w0"``, ``"w"``, ``"V"`` or ``"R"``, rounded to T."""
        number = np.dtype(dtype).type
        l1, l2 = {
            "w0": (0.0, 0.0),
            "w": (self.l1_linear, self.l2_linear),
            "V": (self.l1_factors, self.l2_factors),
            "R": (self.l1_factors, self.l2_factors),
        }[group]
        return Penalty(number(l1), number(l2))


@dataclass(frozen=True)
class Recipe:
    """Everything a mini-batch step depends on besides data, parameters and state.

    Parameters
    ----------
    loss : str
        ``"logistic"``, ``"squared"`` or ``"softmax"``.
    rule : Rule
    batch_size : int
    penalties : Penalties
    label_smoothing : float
    learns_R : bool
        False holds R at its start: no gradient, no state, no count (numerics 3).
    """

    loss: str
    rule: Rule
    batch_size: int
    penalties: Penalties
    label_smoothing: float = 0.0
    learns_R: bool = True

    def at_rate(self, learning_rate: float | None) -> Recipe:
        """The same recipe with the learning rate of an epoch; None: with its own."""
        return self if learning_rate is None else replace(self, rule=self.rule.at_rate(learning_rate))

    @property
    def loss_function(self) -> Loss:
        return LOSSES[self.loss]

    def start_state(self, parameters: Parameters) -> OptimizerState:
        """State before the first batch (numerics 7). A held R keeps arrays of zeros that nothing reads."""
        moments: dict[str, dict[str, Array]] = {name: {} for name in self.rule.moments}
        for group, theta in parameters.arrays().items():
            started = self.rule.start(theta, self.penalties.of(group, theta.dtype))
            for name, array in zip(self.rule.moments, started, strict=True):
                moments[name][group] = array if group != "R" or self.learns_R else np.zeros_like(array)
        return OptimizerState(
            self.rule.name,
            {name: Parameters(**arrays) for name, arrays in moments.items()},
            Counts.zeros(parameters) if self.rule.counts else None,
        )
