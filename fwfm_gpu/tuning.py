"""A search over options: Optuna proposes, ``train`` answers, and trials that fall behind are ended early.

The rows are read once and shared by all trials, which all hold out the same rows.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np

from fwfm_gpu.callbacks import Callback, Status
from fwfm_gpu.errors import (
    DivergenceError,
    InputTypeError,
    InterruptedTrainingWarning,
    MissingExtraError,
    OptionError,
)
from fwfm_gpu.evaluation import evaluate
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.history import Position
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import choose_loss, encode_targets
from fwfm_gpu.metrics import CustomMetric, resolve_metrics
from fwfm_gpu.model import FwFM
from fwfm_gpu.options import Metrics, Options, check_integer
from fwfm_gpu.search_space import SPACE, checked_space, propose, usual_point
from fwfm_gpu.training import train
from fwfm_gpu.tuned import Trial, Tuned, best_of, shown
from fwfm_gpu.tuning_callbacks import OptunaPruning

__all__ = ["SPACE", "Trial", "Tuned", "tune"]

logger = logging.getLogger("fwfm_gpu")

TRIALS = 20  # without a time budget
EPOCHS = 50  # at most; patience ends most trials far earlier
PATIENCE = 3
VALIDATION_FRACTION = 0.2
SPARED = 3  # epochs before a trial may be ended: small steps begin slowly
UNPRUNED = 4  # trials that run to their end before any is compared with them


def tune(
    X: Any,
    y: Any,
    *,
    fields: Any = None,
    trials: int | None = None,
    seconds: float | None = None,
    metric: Metrics = "auto",
    space: Mapping[str, Any] | None = None,
    sample_weight: Any = None,
    group: Any = None,
    eval_set: Any = None,
    validation_fraction: float | None = None,
    test_set: tuple[Any, ...] | None = None,
    refit: bool = True,
    study: Any = None,
    seed: int = 0,
    **options: Any,
) -> Tuned:
    """Search for options: rule, learning rate, penalties and factors, with Optuna.

    Each trial trains with early stopping and is measured on the same held-out rows; one that falls behind the median
    of the others is ended. The first trial has the defaults, so nothing worse than they are on these rows is returned.
    The same data, options and seed give the same trials, but with a time budget.

    Parameters
    ----------
    X, y, fields, sample_weight, group
        As for ``fwfm_gpu.train``. X is read once.
    trials : int, optional
        How many; 20 without a time budget, else as many as fit.
    seconds : float, optional
        The time budget of the search. The trial that is under way when it is used up ends after its epoch.
    metric : str, callable, or a list of them
        As ``eval_metric`` of ``train``: the first one is what the search is for.
    space : mapping, optional
        What to search over, instead of `SPACE`: a list of choices, ``(low, high)``, whole numbers where both are, or
        ``(low, high, "log")``. ``learning_rate`` may be a mapping from optimizer to such a range.
    eval_set : as for ``train``, optional
        The rows to measure on.
    validation_fraction : float, optional
        The part of X to hold out instead; 0.2 where neither is given.
    test_set : (X, y), (X, y, sample_weight) or (X, y, sample_weight, group), optional
        Rows that the search does not see, for an honest measure of the model at the end.
    refit : bool
        Whether to train once more, with the best options on all rows of X, for as many epochs as the best trial needed.
    study : optuna.Study, optional
        Where the trials are kept, to go on with a search or to look at it with Optuna's tools. Its sampler and pruner
        are used; its direction must be the metric's. What is returned is of the trials of this call.
    seed : int
        Of the search, and of each training.
    **options
        Other options of ``train``, fixed: those of the space are taken out of it. ``epochs`` (50) is the most that a
        trial has, ``patience`` (3) ends it.

    Returns
    -------
    Tuned

    Raises
    ------
    MissingExtraError
        Optuna is not installed: the extra ``tune``.
    OptionError
        An option or a range that cannot be, or no trial that came to a value.
    InputError, InputTypeError
        As ``train``.

    Warns
    -----
    InterruptedTrainingWarning
        Ctrl-C ended the search: what was best so far is returned.

    Examples
    --------
    >>> import fwfm_gpu
    >>> tuned = fwfm_gpu.tune(X, y, seconds=600, test_set=(X_test, y_test))  # doctest: +SKIP
    >>> tuned.model.save("model.fwfm")  # doctest: +SKIP
    """
    optuna = import_optuna()
    began = time.perf_counter()
    if is_table(X):
        raise InputTypeError(
            f"X is a table of named columns ({type(X).__name__}): pass FieldEncoder().fit_transform(X), encoded "
            "once for all trials."
        )
    rows = FieldMatrix.from_matrix(X, fields).rounded(options.get("dtype", "float32"))
    fixed = settled(options, y, metric, seed)
    held: dict[str, Any] = {"eval_set": eval_set, "validation_fraction": validation_fraction}
    if eval_set is None and validation_fraction is None:
        held["validation_fraction"] = VALIDATION_FRACTION
    search = Search(
        space=checked_space(SPACE if space is None else space, options if space is None else None, fixed),
        fixed=fixed,
        given={"sample_weight": sample_weight, "group": group, "progress": False, **held},
        rows=rows,
        y=y,
        deadline=None if seconds is None else began + checked_seconds(seconds),
        trials=checked_trials(trials, seconds),
        higher=goes_up(metric, fixed["loss"], y),
    )
    with quiet(optuna):
        search.run(optuna, study, seed)
    return search.result(refit, test_set, began)


class Search:
    """A search under way."""

    def __init__(self, **parts: Any) -> None:
        self.space: dict[str, Any] = parts["space"]
        self.fixed: dict[str, Any] = parts["fixed"]
        self.given: dict[str, Any] = parts["given"]
        self.rows, self.y = parts["rows"], parts["y"]
        self.deadline: float | None = parts["deadline"]
        self.trials: int | None = parts["trials"]
        self.higher: bool = parts["higher"]
        self.done: list[Trial] = []
        self.best_model: FwFM | None = None
        self.metric = ""
        self.interrupted = False

    def run(self, optuna: Any, study: Any, seed: int) -> None:
        """Trials until they are enough, or time is up, or Ctrl-C."""
        direction = "maximize" if self.higher else "minimize"
        if study is None:
            study = optuna.create_study(
                direction=direction,
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=SPARED),
            )
        elif study.direction.name.lower() != direction:
            raise OptionError(
                f"the study must {direction} this metric, and it was made to {study.direction.name.lower()}."
            )
        self.study, self.pruned = study, optuna.TrialPruned
        if not study.trials and (start := usual_point(self.space, self.fixed)) is not None:
            study.enqueue_trial(start)
        try:
            study.optimize(self.objective, n_trials=self.trials, callbacks=[self.stop_when_due])
        except KeyboardInterrupt:
            if self.best_model is None:
                raise
            self.interrupted = True

    def stop_when_due(self, study: Any, trial: Any) -> None:
        """After each trial."""
        if self.interrupted or self.late():
            study.stop()

    def late(self) -> bool:
        """Whether the time budget is used up."""
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def objective(self, trial: Any) -> float:
        """One training. What it came to is kept, also where Optuna is told that it was pruned."""
        chosen, began = propose(trial, self.space, self.fixed), time.perf_counter()
        watch, pruning = Deadline(self), OptunaPruning(trial)
        state, model = "complete", None
        try:
            model = self.train_once(chosen, [watch, pruning])
        except DivergenceError:
            state = "diverged"
        except self.pruned:
            state = "pruned"
        if model is not None and (self.interrupted or watch.ended):
            state = "stopped"
        value: float | None = None
        epochs = len(watch.history)
        if model is not None and model.history:
            at_best_epoch(model)
            epochs = model.best_epoch
            self.metric, value = next(iter(model.history[epochs - 1].metrics.items()))
        self.keep(Trial(trial.number, chosen, value, epochs, state, time.perf_counter() - began), model)
        if value is None:
            raise self.pruned(state)
        return value

    def train_once(self, chosen: Mapping[str, Any], callbacks: list[Callback]) -> FwFM:
        """A model with these options; Ctrl-C is remembered."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = train(self.rows, self.y, callbacks=callbacks, **self.given, **{**self.fixed, **chosen})
        for one in caught:
            if issubclass(one.category, InterruptedTrainingWarning):
                self.interrupted = True
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return model

    def keep(self, trial: Trial, model: FwFM | None) -> None:
        """The trial, and its model when there is none better."""
        former = [one for one in self.done if one.value is not None]
        self.done.append(trial)
        if trial.value is not None and model is not None and best_of([*former, trial], self.higher) is trial:
            self.best_model = model
        told = "" if trial.value is None else f"  {self.metric} {trial.value:.5f}"
        best = "" if self.best_model is None else f"  (best {best_of(self.done, self.higher).value:.5f})"
        options = "  ".join(f"{name} {shown(value)}" for name, value in trial.options.items())
        logger.info("trial %d  %s after epoch %d%s%s  %s", trial.number, trial.state, trial.epochs, told, best, options)

    def result(self, refit: bool, test_set: tuple[Any, ...] | None, began: float) -> Tuned:
        """The best options, and the model that goes with them."""
        model = self.best_model
        if model is None:
            states = ", ".join(sorted({trial.state for trial in self.done})) or "none ran"
            raise OptionError(f"no trial came to a value ({states}): give more time, or narrow the space.")
        best = best_of(self.done, self.higher)
        options = {**self.fixed, **best.options, "epochs": best.epochs, "patience": None}
        if self.interrupted:
            warnings.warn(
                f"Ctrl-C: the search ended after {len(self.done)} trials. The model is that of the best one so far.",
                InterruptedTrainingWarning,
                stacklevel=3,
            )
        elif refit:
            model = train(self.rows, self.y, sample_weight=self.given["sample_weight"], progress=False, **options)
        test = None if test_set is None else measure(model, test_set, self.fixed["eval_metric"])
        seconds = time.perf_counter() - began
        return Tuned(
            options,
            float(best.value or 0.0),
            self.metric,
            self.higher,
            tuple(self.done),
            model,
            test,
            seconds,
            self.study,
        )


class Deadline(Callback):
    """Ends training when the time budget is used up: the first trial after an epoch, so that there is a value."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.ended = False
        self.history: tuple[Any, ...] = ()

    def on_epoch(self, status: Status) -> bool:
        self.history = status.history
        self.ended = self.ended or self.search.late()
        return self.ended

    def on_batches(self, status: Status) -> bool:
        self.ended = self.search.best_model is not None and self.search.late()
        return self.ended


def settled(options: Mapping[str, Any], y: Any, metric: Metrics, seed: int) -> dict[str, Any]:
    """The options that all trials share, checked."""
    known = {entry.name for entry in fields(Options)}
    strange = [name for name in options if name not in known]
    if strange:
        raise OptionError(f"tune takes the options of train: {strange[0]!r} is none.")
    fixed = {"epochs": EPOCHS, "patience": PATIENCE, **options, "eval_metric": metric, "seed": seed}
    fixed["loss"] = choose_loss(y, fixed.get("loss", "auto"))
    Options(**fixed)
    return fixed


def checked_trials(trials: int | None, seconds: float | None) -> int | None:
    """How many; None is as many as fit."""
    if trials is None:
        return TRIALS if seconds is None else None
    check_integer("trials", trials, 1)
    return int(trials)


def checked_seconds(seconds: Any) -> float:
    """A time above 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise OptionError(f"seconds must be a number above 0; got {seconds!r}.")
    return float(seconds)


def goes_up(metric: Metrics, loss: str, y: Any) -> bool:
    """Whether higher is better; a function is asked once, on scores of 0."""
    first = resolve_metrics(metric, loss)[0]
    if not isinstance(first, CustomMetric):
        return first.higher_is_better
    targets, labels = encode_targets(y, loss)
    width = len(labels.classes) if labels is not None and loss == "softmax" else 1
    return first.score(loss, targets, np.zeros((len(targets), width)), np.ones(len(targets))).higher_is_better


def at_best_epoch(model: FwFM) -> None:
    """Put a model that was stopped elsewhere back to its best epoch."""
    if (best := model.trained.best) is not None:
        model.trained = replace(
            model.trained,
            parameters=best.parameters,
            optimizer_state=best.optimizer_state,
            generator_state=best.generator_state,
            position=Position(best.epoch),
            best=None,
        )


def measure(model: FwFM, test_set: tuple[Any, ...], metric: Metrics) -> dict[str, float]:
    """The model on rows that the search did not see."""
    if not isinstance(test_set, tuple | list) or not 2 <= len(test_set) <= 4:
        raise InputTypeError(
            f"test_set must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, group); got "
            f"{type(test_set).__name__}."
        )
    named = dict(zip(("sample_weight", "group"), test_set[2:], strict=False))
    return evaluate(model, test_set[0], test_set[1], metrics=metric, **named)


def import_optuna() -> Any:
    """Optuna, or the error that says how to get it."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("tune needs Optuna: pip install 'fwfm-gpu[tune]'.") from error
    return optuna


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Optuna without its own log lines: this package logs one per trial."""
    former = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(former)
