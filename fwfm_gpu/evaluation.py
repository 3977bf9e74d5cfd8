"""Rows to evaluate on: one set or several, what their series are called, and how a model does on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.backends import Backend, fetch_array, get_backend
from fwfm_gpu.downsampling import log_of_rate
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.labels import encode_targets, read_column, row_weights
from fwfm_gpu.metrics import CustomMetric, Metric, Score, defined_metrics, resolve_metrics
from fwfm_gpu.metrics import evaluate as evaluate_scores
from fwfm_gpu.model import FwFM, check_model
from fwfm_gpu.options import Metrics
from fwfm_gpu.parameters import Array
from fwfm_gpu.problem import Problem, Settled, check_rows

__all__ = [
    "EvalSet",
    "EvalSets",
    "Evaluation",
    "evaluate",
    "fetch_sets",
    "make_evaluations",
    "named_sets",
    "read_group",
]

EvalSet = tuple[Any, Any] | tuple[Any, Any, Any] | tuple[Any, Any, Any, Any]
EvalSets = EvalSet | Sequence[EvalSet] | Mapping[str, EvalSet]


@dataclass(frozen=True)
class Evaluation:
    """Rows that are scored after each epoch."""

    rows: FieldMatrix
    y: Array  # (rows,) float64
    weight: Array | None  # (rows,) float64: sample weights; class weights shape training alone
    metrics: tuple[Metric | CustomMetric, ...]
    name: str = ""  # of the set; "" is the only one
    shift: float = 0.0  # of scores: what the bias of a sample of the negatives lacks (numerics 3)

    def measure(self, loss: str, scores_bc: Array) -> list[Score]:
        """Each metric, under the name of its series: ``auc``, or ``valid/auc`` where the set has a name."""
        if self.shift:
            scores_bc = scores_bc.astype(np.float64) + self.shift
        found = evaluate_scores(self.metrics, loss, scores_bc, self.y, self.weight)
        return [replace(score, name=f"{self.name}/{score.name}") for score in found] if self.name else found


def evaluate(
    model: FwFM,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    group: Any = None,
    metrics: Metrics = "auto",
) -> dict[str, float]:
    """How well a model does on some rows, by one metric or several.

    Parameters
    ----------
    model : FwFM
    X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n), or a table
        What ``model.decision_function`` takes.
    y : (rows,) array-like
        As for ``fwfm_gpu.train``.
    sample_weight : (rows,) array-like, optional
    group : (rows,) array-like of integers or strings, optional
        The user, query or page view of each row: ``"gauc"``, ``"precision@k"``, ``"recall@k"`` and ``"ndcg@k"`` rank
        the rows of each by themselves. Without it all rows are one group.
    metrics : str, callable, or a list of them
        As ``eval_metric`` of ``fwfm_gpu.train``. ``"auto"``: all metrics that fit the loss and need no k, gauc where
        there are groups, without those that the rows do not define, such as auc on rows of one label.

    Returns
    -------
    dict of str to float
        In the order of ``metrics``.

    Raises
    ------
    InputError, InputTypeError
        Data that does not fit the model, or that a named metric is not defined on.
    OptionError
        A metric that is unknown or does not fit the loss.

    Examples
    --------
    >>> import fwfm_gpu
    >>> X, y = [[1, 0], [0, 1], [1, 1], [0, 0]], ["yes", "no", "yes", "no"]
    >>> model = fwfm_gpu.train(X, y, progress=False)
    >>> fwfm_gpu.evaluate(model, X, y, metrics=["auc", "accuracy"])
    {'auc': 1.0, 'accuracy': 1.0}
    """
    check_model(model)
    options = model.options
    backend = get_backend(model.device, options.device_memory, options.n_threads)
    given = {"y": y, "sample_weight": sample_weight, "group": group}
    part = tuple(fetch_array(backend, what, array) for what, array in given.items())
    settled = Settled(options, model.loss, model.labels, model.columns)
    evaluation, group_b = read_set(settled, (X, *part), "", "X and y")
    chosen: tuple[Metric | CustomMetric, ...]
    if isinstance(metrics, str) and metrics == "auto":
        chosen = defined_metrics(model.loss, evaluation.y, evaluation.weight, group_b)
    else:
        chosen = resolve_metrics(metrics, model.loss, group_b)
    scores_bc = backend.score(backend.load_model(model.parameters), backend.load_data(evaluation.rows))
    found = replace(evaluation, metrics=chosen).measure(model.loss, scores_bc)
    return {score.name: score.value for score in found}


def named_sets(eval_set: object) -> dict[str, Sequence[Any]]:
    """The sets that ``eval_set`` holds, each under its name; one set alone, or in a list of one, has the name "".

    Raises
    ------
    InputTypeError
        A set that is no (X, y[, sample_weight[, group]]), or a name that is no str.
    InputError
        No set, or a name that is empty or holds a slash.
    """
    if isinstance(eval_set, Mapping):
        sets = dict(eval_set)
    elif isinstance(eval_set, list) and all(isinstance(entry, tuple) for entry in eval_set):
        sets = {f"eval_{i}" if len(eval_set) > 1 else "": entry for i, entry in enumerate(eval_set)}
    else:
        sets = {"": eval_set}
    if not sets:
        raise InputError(f"eval_set must hold at least one set: got {eval_set!r}. Pass (X, y), or None.")
    for name, entry in sets.items():
        if not isinstance(name, str):
            raise InputTypeError(f"a dict of eval sets must have names of type str: got {name!r}.")
        if isinstance(eval_set, Mapping) and (not name or "/" in name):
            raise InputError(f"the name of an eval set must be a word without a slash: got {name!r}.")
        if not isinstance(entry, tuple | list) or not 2 <= len(entry) <= 4:
            raise InputTypeError(
                f"{called(name)} must be (X, y), (X, y, sample_weight) or (X, y, sample_weight, group), and several "
                f"sets a list of such tuples, or a dict of name to tuple; got {type(entry).__name__}."
            )
    return sets


def called(name: str) -> str:
    """A set, for a message."""
    return f"eval_set {name!r}" if name else "eval_set"


def fetch_sets(backend: Backend, eval_set: object) -> dict[str, Sequence[Any]] | None:
    """`named_sets`, with all but X on the host."""
    if eval_set is None:
        return None
    return {
        name: (entry[0], *(fetch_array(backend, f"y of {called(name)}", part) for part in entry[1:]))
        for name, entry in named_sets(eval_set).items()
    }


def make_evaluations(
    settled: Settled,
    sets: dict[str, Sequence[Any]] | None,
    problem: Problem,
    held: Array,
    given: tuple[Any, Any] = (None, None),
) -> tuple[Evaluation, ...]:
    """The rows to evaluate on: the eval sets, or the rows held out, or none.

    Parameters
    ----------
    sets : what `named_sets` gave, or None
    held : (m,) int64
        Rows of the problem that are held out.
    given : pair
        sample_weight and group of the problem's rows, as the caller gave them.

    Raises
    ------
    OptionError
        Both are there, or neither and patience or a group is.
    """
    options, group = settled.options, given[1]
    if sets is not None and len(held):
        raise OptionError("pass eval_set or validation_fraction, not both.")
    if group is not None and not isinstance(group, str) and not len(held):  # a str: a column, kept from the features
        raise OptionError(
            "group= is for the rows that are held out: pass validation_fraction too, or "
            "eval_set=(X, y, sample_weight, group)."
        )
    if sets is None and not len(held):
        if options.patience is not None:
            raise OptionError(
                f"patience={options.patience} needs something to evaluate on: pass eval_set=(X, y) or "
                "validation_fraction."
            )
        if options.eval_metric is not None:
            resolve_metrics(options.eval_metric, settled.loss)  # a wrong name is an error all the same
        return ()
    if options.eval_metric is None:
        raise OptionError(
            "eval_metric was a function, which a model file cannot keep. Pass it again: "
            "continue_training(..., eval_metric=...)."
        )
    if sets is None:
        return (checked(held_out(settled, problem, held, given), settled),)
    made = []
    for name, entry in sets.items():
        evaluation, group_b = read_set(settled, entry, name, f"X and y of {called(name)}")
        metrics = resolve_metrics(options.eval_metric, settled.loss, group_b)
        shift = log_of_rate(options.negative_sampling_rate)  # a set is whole; rows held out are a sample
        made.append(checked(replace(evaluation, metrics=metrics, shift=shift), settled))
    return tuple(made)


def held_out(settled: Settled, problem: Problem, held: Array, given: tuple[Any, Any]) -> Evaluation:
    """The rows that ``validation_fraction`` holds out."""
    sample_weight, group = given
    weight = row_weights(problem.y, settled.labels, sample_weight, None)
    weight = None if weight is None else weight[held]
    if weight is not None and not np.any(weight):
        raise InputError(f"the {len(held)} rows held out for validation all weigh 0. Give some of them a weight.")
    group_b = read_group(group, len(problem.y))
    metrics = resolve_metrics(settled.options.eval_metric, settled.loss, None if group_b is None else group_b[held])
    return Evaluation(problem.rows.take(held), problem.y[held], weight, metrics)


def read_set(settled: Settled, entry: Sequence[Any], name: str, what: str) -> tuple[Evaluation, Array | None]:
    """(X, y[, sample_weight[, group]]) read as the training rows were, no metric yet; and the rows' groups."""
    X, y, sample_weight, group = (*entry, None, None)[:4]
    rows = settled.columns.read(X, settled.options.dtype)
    targets, _ = encode_targets(y, settled.loss, settled.labels)
    check_rows(what, rows, targets)
    weight = row_weights(targets, settled.labels, sample_weight, None)
    return Evaluation(rows, targets, weight, (), name), read_group(group, len(targets))


def read_group(group: object, rows: int) -> Array | None:
    """The number of each row's group, (rows,) int64, in the order of the ids; None without groups.

    Raises
    ------
    InputError, InputTypeError
        Not one id per row, one that is missing, or ids of two kinds.
    """
    if group is None:
        return None
    ids = read_column(group, "group", "id")
    if len(ids) != rows:
        raise InputError(f"group must hold one id per row: expected {rows}, got {len(ids)}.")
    return np.unique(ids, return_inverse=True)[1].astype(np.int64, copy=False)


def checked(evaluation: Evaluation, settled: Settled) -> Evaluation:
    """Try the package's own metrics on scores of 0: what cannot be evaluated is refused before training."""
    own = tuple(metric for metric in evaluation.metrics if isinstance(metric, Metric))
    zeros = np.zeros((len(evaluation.y), settled.n_classes))
    evaluate_scores(own, settled.loss, zeros, evaluation.y, evaluation.weight)
    return evaluation
