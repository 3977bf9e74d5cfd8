"""What a search over options found: its trials, and the best of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fwfm_gpu.model import FwFM

__all__ = ["Trial", "Tuned", "best_of", "shown"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes
    ----------
    number : int
        From 0; the first one has the defaults, where the space holds them.
    options : dict
        What was searched over, as ``train`` takes it.
    value : float or None
        The metric at the best epoch; None where there was none.
    epochs : int
        The epoch that the value is from, or how many there were.
    state : str
        ``"complete"``, ``"pruned"`` (it fell behind), ``"diverged"``, or ``"stopped"`` (by the time budget or Ctrl-C).
    seconds : float
    """

    number: int
    options: dict[str, Any]
    value: float | None
    epochs: int
    state: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a search found.

    Attributes
    ----------
    options : dict
        The best options, complete: ``train(X, y, **options)`` trains the model anew. ``epochs`` is the best epoch.
    value : float
        The metric of the best trial on the rows held out. It was chosen for being the best, so it flatters: measure
        the model on rows that the search never saw (``test_set``).
    metric : str
    higher_is_better : bool
    trials : tuple of Trial
        In the order in which they ran; ``str()`` of this object is a table of them.
    model : FwFM
        Trained with the best options on all rows of X; that of the best trial without ``refit`` or after Ctrl-C.
    test : dict of str to float, or None
        Metrics of the model on ``test_set``.
    seconds : float
    study : optuna.Study
    """

    options: dict[str, Any]
    value: float
    metric: str
    higher_is_better: bool
    trials: tuple[Trial, ...]
    model: FwFM
    test: dict[str, float] | None
    seconds: float
    study: Any

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.options))
        best = self.best.number
        lines = [["trial", self.metric, "epochs", "state", *names]]
        for trial in self.trials:
            value = "" if trial.value is None else f"{trial.value:.5f}"
            cells = [shown(trial.options.get(name, "")) for name in names]
            lines.append(
                [f"{trial.number}{'*' * (trial.number == best)}", value, str(trial.epochs), trial.state, *cells]
            )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    @property
    def best(self) -> Trial:
        """The best trial."""
        return best_of(self.trials, self.higher_is_better)


def best_of(trials: Iterable[Trial], higher: bool) -> Trial:
    """The best trial; of equal ones the first."""
    valued = [(trial.value, trial) for trial in trials if trial.value is not None]
    return (max if higher else min)(valued, key=lambda pair: pair[0])[1]


def shown(value: Any) -> str:
    """A value of the space, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
