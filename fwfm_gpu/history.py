"""What happened during training: one record per epoch, and where in an epoch training stands."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["EpochRecord", "Position"]


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    loss : float
        Weighted mean of the training loss, each row scored before its own batch's update.
    metrics : dict of str to float
        Evaluation metrics after the epoch, of several eval sets as ``"valid/auc"``; empty without one. The first one
        steers.
    seconds : float
        Wall time of the pass over the rows, evaluation not included.
    rows_per_second : float
    learning_rate : float or None
        Of all batches of the epoch; None in files of before it was kept.
    """

    epoch: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rows_per_second: float = 0.0
    learning_rate: float | None = None


@dataclass(frozen=True)
class Position:
    """Where training stands: finished epochs, and the batches done of the one that was interrupted.

    The generator's state that goes with it is from before that epoch's permutation was drawn, so that the same order
    can be drawn again and its rest be visited.
    """

    epochs: int = 0
    batches: int = 0
    loss: float = 0.0  # summed over the batches done
