"""Hooks into training."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fwfm_gpu.errors import InputTypeError, OptionError
from fwfm_gpu.history import EpochRecord
from fwfm_gpu.options import check_integer

__all__ = ["Callback", "Callbacks", "EarlyStopping", "Status", "watched"]

logger = logging.getLogger("fwfm_gpu")


@dataclass(frozen=True)
class Status:
    """Where training stands.

    Attributes
    ----------
    epoch, epochs : int
        The epoch that is running, from 1, and the last one planned.
    batch, batches : int
        Mini-batches done of this epoch, and its total.
    history : tuple of EpochRecord
        Finished epochs.
    higher_is_better : mapping of str to bool
        For each series of metrics that was evaluated so far: whether a gain goes up.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    history: tuple[EpochRecord, ...]
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)


def watched(status: Status, series: str | None) -> tuple[str, float, bool]:
    """One series after an epoch: its name, its value and whether higher is better.

    Parameters
    ----------
    status : Status
        As ``on_epoch`` is told.
    series : str or None
        The name of a metric as in ``history``, ``"loss"`` for the training loss, or None for the metric that steers.

    Raises
    ------
    OptionError
        There is no such series; the message lists those there are.
    """
    record = status.history[-1]
    name = next(iter(record.metrics), None) if series is None else series
    if name == "loss" and name not in record.metrics:
        return name, record.loss, False
    if name is None or name not in record.metrics:
        there = ", ".join(map(repr, ["loss", *record.metrics]))
        wanted = "an evaluation metric" if name is None else repr(name)
        raise OptionError(
            f"a callback watches {wanted}, and the series of this training are {there}. Name one of these, or pass "
            "eval_set or validation_fraction with an eval_metric."
        )
    return name, record.metrics[name], status.higher_is_better[name]


class Callback:
    """Override what is needed. A method that returns True stops training; the model is returned as it then is."""

    def on_begin(self, status: Status) -> bool | None:
        """Before the first batch."""

    def on_batches(self, status: Status) -> bool | None:
        """After some more batches: often enough to show progress, not after each one."""

    def on_epoch(self, status: Status) -> bool | None:
        """After an epoch and its evaluation; the record is the last of ``status.history``."""

    def on_end(self, status: Status) -> bool | None:
        """After the last batch, also when training was stopped or failed."""


class EarlyStopping(Callback):
    """Stop when a series has not gained for some epochs, and say so through the logger ``fwfm_gpu`` at level INFO.

    It only stops: the model is as of the last epoch. To get the best epoch back is the business of ``patience`` of
    ``train``, which watches the first metric on the first eval set and keeps a copy of the model for it. Any number of
    these may be passed, each for a series of its own; counting begins anew with each call of ``train`` and
    ``continue_training``.

    Parameters
    ----------
    metric : str, optional
        The series, as in ``history``: ``"auc"``, ``"valid/auc"``, or ``"loss"`` for the training loss. Without it the
        metric that steers.
    patience : int
        Epochs without a gain.
    min_delta : float
        A gain is more than this.

    Attributes
    ----------
    best_epoch : int or None
        The epoch of the last gain.
    best_value : float or None
    stopped_epoch : int or None
        After which epoch it stopped training.

    Raises
    ------
    OptionError
        A patience or min_delta out of range; after the first epoch, a series that is not there.
    """

    best_epoch: int | None
    best_value: float | None
    stopped_epoch: int | None

    def __init__(self, metric: str | None = None, patience: int = 3, min_delta: float = 0.0) -> None:
        check_integer("patience", patience, 1)
        if isinstance(min_delta, bool) or not isinstance(min_delta, int | float) or not 0 <= min_delta < math.inf:
            raise OptionError(f"min_delta must be a finite number 0 or above; got {min_delta!r}.")
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self._begin_anew()

    def on_begin(self, status: Status) -> None:
        self._begin_anew()

    def on_epoch(self, status: Status) -> bool:
        name, value, higher_is_better = watched(status, self.metric)
        if self.best_epoch is None or self.best_value is None or self._gains(value, self.best_value, higher_is_better):
            self.best_epoch, self.best_value = status.epoch, value
        elif status.epoch - self.best_epoch >= self.patience:
            self.stopped_epoch = status.epoch
            logger.info(
                "early stopping after epoch %d: %s is %.6g, and was %.6g in epoch %d",
                status.epoch,
                name,
                value,
                self.best_value,
                self.best_epoch,
            )
        return self.stopped_epoch is not None

    def _gains(self, value: float, best: float, higher_is_better: bool) -> bool:
        return (value - best if higher_is_better else best - value) > self.min_delta

    def _begin_anew(self) -> None:
        self.best_epoch = self.best_value = self.stopped_epoch = None


class EpochFunction(Callback):
    """A plain function, called after each epoch."""

    def __init__(self, function: Callable[[Status], bool | None]) -> None:
        self.function = function

    def on_epoch(self, status: Status) -> bool | None:
        return self.function(status)


class Callbacks:
    """Several callbacks, each asked every time; any of them may stop training."""

    def __init__(
        self, given: Iterable[Callback | Callable[[Status], bool | None]], first: Iterable[Callback] = ()
    ) -> None:
        if not isinstance(given, Iterable):
            raise InputTypeError(f"callbacks must be a list of callbacks; got {reprlib.repr(given)}. Pass [it].")
        self.members = list(first)
        for member in given:
            if isinstance(member, Callback):
                self.members.append(member)
            elif callable(member) and not isinstance(member, type):
                self.members.append(EpochFunction(member))
            else:
                raise InputTypeError(
                    "callbacks must hold functions of a Status or fwfm_gpu.Callback objects, not classes; "
                    f"got {reprlib.repr(member)}."
                )

    def tell(self, event: str, status: Status) -> bool:
        """Call ``on_<event>`` of every member. Returns whether one wants to stop."""
        answers = [getattr(member, f"on_{event}")(status) for member in self.members]
        return any(answer is not None and bool(answer) for answer in answers)
