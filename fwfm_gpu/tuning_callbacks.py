"""What connects training with a search over options."""

from __future__ import annotations

from typing import Any

from fwfm_gpu.callbacks import Callback, Status, watched
from fwfm_gpu.errors import InputTypeError, MissingExtraError

__all__ = ["OptunaPruning"]


class OptunaPruning(Callback):
    """Report each epoch to a trial of Optuna, and end the trial when its pruner says so.

    Parameters
    ----------
    trial : optuna.trial.Trial
    metric : str, optional
        The series to report, as in ``history``: ``"auc"``, ``"valid/auc"``, or ``"loss"`` for the training loss.
        Without it the metric that steers. The study's direction must be that of the series.

    Raises
    ------
    optuna.TrialPruned
        After an epoch, when the trial should be pruned; the study takes it for an answer.
    OptionError
        After the first epoch, when there is no such series.
    InputTypeError
        The trial is none.
    MissingExtraError
        Optuna is not installed: the extra ``tune``.
    """

    def __init__(self, trial: Any, metric: str | None = None) -> None:
        try:
            from optuna import TrialPruned
        except ImportError as error:
            raise MissingExtraError("OptunaPruning needs Optuna: pip install 'fwfm-gpu[tune]'.") from error
        if not (callable(getattr(trial, "report", None)) and callable(getattr(trial, "should_prune", None))):
            raise InputTypeError(f"trial must be a trial of Optuna: got {type(trial).__name__}.")
        self.trial, self.metric, self.pruned = trial, metric, TrialPruned

    def on_epoch(self, status: Status) -> None:
        name, value, _ = watched(status, self.metric)
        self.trial.report(value, status.epoch)
        if self.trial.should_prune():
            raise self.pruned(f"pruned after epoch {status.epoch}, with {name} {value:.6g}")
