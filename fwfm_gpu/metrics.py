"""Metrics that may steer training: one host function each, in float64, from fetched scores (numerics 4).

Every engine shares these functions, so equal scores give equal numbers and equal decisions. Sums are exactly rounded
(``math.fsum``) or strictly left to right (``bincount``, ``add.accumulate``; numerics 10); nothing is clipped.

Conventions: s_bc : (rows, C) float64 finite scores, C = 1 unless the loss is softmax; y_b : (rows,) float64 targets,
0 or 1 for the logistic loss, a class number for softmax, the value for squared; weight_b : (rows,) float64, not all 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from reprlib import repr as short_repr

import numpy as np

from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.numerics import sigmoid64, softmax64
from fwfm_gpu.parameters import Array
from fwfm_gpu.ranking_metrics import AT_K, gauc

__all__ = ["METRICS", "CustomMetric", "Metric", "Score", "defined_metrics", "evaluate", "resolve_metrics"]

CALIBRATION_BINS = 15
CACHED_ROWS = 4096


def mean(value_b: Array, weight_b: Array) -> float:
    """Weighted mean; both sums are exactly rounded, so the order of the rows is without effect."""
    return math.fsum(value_b * weight_b) / math.fsum(weight_b)


def logloss(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Mean of -log(probability of the row's class), from the scores: finite where a probability would round to 0."""
    # logaddexp is the machine's own: the last bit may differ between two maths libraries, never between two engines.
    if s_bc.shape[1] == 1:
        s = s_bc[:, 0]
        return mean(np.logaddexp(0.0, np.where(y_b == 1, -s, s)), weight_b)
    own_b1 = np.take_along_axis(s_bc, y_b.astype(np.intp)[:, None], axis=1)
    return mean(np.logaddexp.reduce(s_bc - own_b1, axis=1), weight_b)


def ne(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Normalised entropy: logloss beside that of always predicting the classes' shares (He et al., 2014); 1 is no gain.

    Raises
    ------
    InputError
        Only one class has rows of weight above 0: there is nothing to predict.
    """
    total = math.fsum(weight_b)
    shares = [math.fsum(weight_b * (y_b == c)) / total for c in range(max(2, s_bc.shape[1]))]
    entropy = -math.fsum(share * math.log(share) for share in shares if share > 0)
    if entropy == 0:
        raise InputError(
            f"ne needs rows of two classes with weight above 0: got {len(y_b)} rows of one class. Evaluate on rows "
            "that hold both, or choose eval_metric='logloss'."
        )
    return logloss(y_b, s_bc, weight_b) / entropy


def auc(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Area under the ROC curve: the share of (class 1, class 0) pairs in the right order, a tie counting one half.

    From the scores, because two large scores may have one probability. With integer weights, or none, every step but
    the division is exact while the weights sum to less than 100 million.

    Raises
    ------
    InputError
        Only one class has rows of weight above 0.
    """
    _, group_b = np.unique(s_bc[:, 0], return_inverse=True)  # equal scores share a group; groups ascend
    positive = np.bincount(group_b, weight_b * (y_b == 1))
    negative = np.bincount(group_b, weight_b * (y_b == 0))
    pairs = math.fsum(positive) * math.fsum(negative)
    if pairs == 0:
        count = int(np.count_nonzero(y_b == 1))
        raise InputError(
            f"auc needs rows of both classes with weight above 0: got {len(y_b) - count} rows of class 0 and {count} "
            "of class 1. Evaluate on rows that hold both, or choose eval_metric='logloss'."
        )
    beaten = np.add.accumulate(negative) - negative / 2  # weight of class 0 below a group, and half of that inside
    return math.fsum(positive * beaten) / pairs


def rmse(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Square root of the mean squared error."""
    return math.sqrt(mean((s_bc[:, 0] - y_b) ** 2, weight_b))


def mae(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Mean absolute error."""
    return mean(np.abs(s_bc[:, 0] - y_b), weight_b)


def r2(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Share of the targets' variance that is explained: 1 - squared error / squared distance from the mean target.

    Raises
    ------
    InputError
        All targets that weigh something are equal.
    """
    spread = mean((y_b - mean(y_b, weight_b)) ** 2, weight_b)
    if spread == 0:
        raise InputError(
            f"r2 needs targets that differ: got {len(y_b)} rows of one value. Evaluate on others, or choose "
            "eval_metric='rmse'."
        )
    return 1 - mean((s_bc[:, 0] - y_b) ** 2, weight_b) / spread


def predicted(s_bc: Array) -> Array:
    """The class that ``predict`` answers, (rows,): score above 0, or the first of the largest scores."""
    return s_bc[:, 0] > 0 if s_bc.shape[1] == 1 else np.argmax(s_bc, axis=1)


def accuracy(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Share of the rows whose predicted class is right."""
    return mean(predicted(s_bc) == y_b, weight_b)


def top_probability(s_bc: Array) -> Array:
    """The largest probability of each row, (rows,); a few rows at a time, which a processor's cache holds."""
    parts = (s_bc[start : start + CACHED_ROWS] for start in range(0, len(s_bc), CACHED_ROWS))
    return np.concatenate([np.max(softmax64(part), axis=1) for part in parts])


def ece(y_b: Array, s_bc: Array, weight_b: Array) -> float:
    """Expected calibration error: the mean over bins of |mean confidence - share of hits|, a bin weighing its rows.

    15 bins of equal width, closed below, the last one on both sides. Logistic: the confidence is the probability of
    class 1, a hit is class 1. Softmax: the confidence is the largest probability, a hit is a right prediction.
    """
    if s_bc.shape[1] == 1:
        confidence_b, hit_b = sigmoid64(s_bc[:, 0]), y_b
    else:
        confidence_b, hit_b = top_probability(s_bc), predicted(s_bc) == y_b
    bin_b = np.minimum((confidence_b * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    gaps = np.bincount(bin_b, weight_b * (confidence_b - hit_b), CALIBRATION_BINS)
    return math.fsum(np.abs(gaps)) / math.fsum(weight_b)


@dataclass(frozen=True)
class Score:
    """What a metric said of one evaluation."""

    name: str
    value: float
    higher_is_better: bool


@dataclass(frozen=True)
class Metric:
    """A metric of this package: ``function(y_b, s_bc, weight_b) -> float``, for the losses that it fits."""

    name: str
    higher_is_better: bool
    losses: tuple[str, ...]
    function: Callable[[Array, Array, Array], float]

    def score(self, loss: str, y_b: Array, s_bc: Array, weight_b: Array) -> Score:
        """The score of these rows; ``loss`` is one of ``losses``."""
        try:
            with np.errstate(over="ignore"):  # an overflow shows in the value
                value = self.function(y_b, s_bc, weight_b)
        except OverflowError:  # math.fsum: the sum is beyond float64
            value = math.inf
        return Score(self.name, value, self.higher_is_better)


@dataclass(frozen=True)
class CustomMetric:
    """A user's metric: ``function(y_true, prediction) -> (name, value, higher_is_better)``.

    ``y_true`` is y_b; ``prediction`` is the probability of class 1 (rows,) for the logistic loss, the probabilities
    (rows, C) for softmax, the scores (rows,) for squared, float64. Both are fresh arrays. Weights are not passed.
    """

    function: Callable[[Array, Array], object]

    def score(self, loss: str, y_b: Array, s_bc: Array, weight_b: Array) -> Score:
        """The score of these rows.

        Raises
        ------
        OptionError
            The function returned something else than a name, a number and a bool.
        """
        returned = self.function(y_b.copy(), PREDICTIONS[loss](s_bc))
        match returned:
            case (str() as name, Real() as value, bool() | np.bool_() as higher) if not isinstance(value, bool):
                return Score(name, float(value), bool(higher))
        raise OptionError(
            "a custom eval_metric must return (name, value, higher_is_better), a str, a number and a bool: got "
            f"{short_repr(returned)} from {self.function!r}. Return for instance ('mae', 0.25, False)."
        )


PREDICTIONS: dict[str, Callable[[Array], Array]] = {
    "logistic": lambda s_bc: sigmoid64(s_bc[:, 0]),
    "softmax": softmax64,
    "squared": lambda s_bc: s_bc[:, 0].copy(),
}

CLASSIFICATION = ("logistic", "softmax")
METRICS = {
    metric.name: metric
    for metric in (
        Metric("logloss", False, CLASSIFICATION, logloss),
        Metric("ne", False, CLASSIFICATION, ne),
        Metric("auc", True, ("logistic",), auc),
        Metric("rmse", False, ("squared",), rmse),
        Metric("mae", False, ("squared",), mae),
        Metric("r2", True, ("squared",), r2),
        Metric("accuracy", True, CLASSIFICATION, accuracy),
        Metric("ece", False, CLASSIFICATION, ece),
    )
}


RANKED = {"gauc": ("logistic",), "precision": ("logistic",), "recall": ("logistic",), "ndcg": ("logistic", "squared")}


def ranking_metric(name: str, group_b: Array | None) -> Metric | None:
    """The metric of ranked lists with that name, over these groups; None when there is none."""
    if name == "gauc":
        return Metric(name, True, RANKED[name], partial(gauc, group_b=group_b))
    stem, at, k = name.partition("@")
    if stem in AT_K and at and k.isascii() and k.isdecimal() and k[0] != "0" and len(k) < 10:
        return Metric(name, True, RANKED[stem], partial(AT_K[stem], int(k), group_b=group_b))
    return None


def resolve_metrics(spec: object, loss: str, group_b: Array | None = None) -> tuple[Metric | CustomMetric, ...]:
    """The metrics that ``eval_metric`` asks for; the first one steers.

    Parameters
    ----------
    spec : str, callable, or list or tuple of those
        ``"auto"`` is logloss for the classification losses and rmse for squared; other names are keys of ``METRICS``,
        ``"gauc"``, or ``"precision@10"``, ``"recall@10"``, ``"ndcg@10"`` with any k; a callable is a `CustomMetric`.
    loss : str
        ``"logistic"``, ``"squared"`` or ``"softmax"``.
    group_b : (rows,) int64, or None
        The groups of the rows that will be evaluated, for metrics of ranked lists; None is one group.

    Raises
    ------
    OptionError
        Not a metric, a metric that does not fit the loss, one metric twice, or none.
    """
    entries = spec if isinstance(spec, list | tuple) else (spec,)
    metrics = tuple(resolve(entry, loss, group_b) for entry in entries)
    if not metrics:
        raise OptionError(f"eval_metric must name at least one metric: got {spec!r}. Pass {allowed(loss)}.")
    refuse_repeats([metric.name for metric in metrics if isinstance(metric, Metric)])
    return metrics


def resolve(entry: object, loss: str, group_b: Array | None) -> Metric | CustomMetric:
    """One metric."""
    if callable(entry):
        return CustomMetric(entry)
    name = {"squared": "rmse"}.get(loss, "logloss") if isinstance(entry, str) and entry == "auto" else entry
    metric = METRICS.get(name) or ranking_metric(name, group_b) if isinstance(name, str) else None
    if metric is None:
        raise OptionError(f"eval_metric {entry!r} is unknown. Pass {allowed(loss)}.")
    if loss not in metric.losses:
        raise OptionError(f"eval_metric {entry!r} does not fit loss={loss!r}. Pass {allowed(loss)}.")
    return metric


def allowed(loss: str) -> str:
    """What ``eval_metric`` may be for this loss, in words."""
    names = ["auto", *(metric.name for metric in METRICS.values() if loss in metric.losses)]
    names += [name if name == "gauc" else f"{name}@10" for name, losses in RANKED.items() if loss in losses]
    with_k = " (any k for 10)" if loss in RANKED["ndcg"] else ""
    listed = ", ".join(map(repr, names)) + with_k
    return f"{listed}, a callable giving (name, value, higher_is_better), or a list of those"


def defined_metrics(loss: str, y_b: Array, weight_b: Array | None, group_b: Array | None) -> tuple[Metric, ...]:
    """The metrics without a k that these rows define; gauc where there are groups. One class alone has no auc."""
    names = [name for name, metric in METRICS.items() if loss in metric.losses]
    names += ["gauc"] if group_b is not None and loss in RANKED["gauc"] else []
    constant = np.zeros((len(y_b), 1 if loss != "softmax" else int(y_b.max()) + 1))
    found = []
    for metric in resolve_metrics(names, loss, group_b):
        try:
            evaluate((metric,), loss, constant, y_b, weight_b)
        except InputError:
            continue
        found.append(metric)
    return tuple(metric for metric in found if isinstance(metric, Metric))


def refuse_repeats(names: list[str]) -> None:
    """The history keeps one series per name."""
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise OptionError(f"each metric needs a name of its own: got {repeated[0]!r} twice. Drop or rename one.")


def evaluate(
    metrics: tuple[Metric | CustomMetric, ...],
    loss: str,
    scores_bc: Array,
    y_b: Array,
    weight_b: Array | None = None,
) -> list[Score]:
    """Each metric on these rows.

    Parameters
    ----------
    metrics : what `resolve_metrics` gave for the same loss
    loss : str
    scores_bc : (rows, C) T
        Raw scores; widened to float64, which is exact.
    y_b : (rows,) float64
        Encoded targets, without label smoothing.
    weight_b : (rows,) float64, or None
        Finite, not negative.

    Returns
    -------
    list of Score
        In the order of ``metrics``; every value is finite.

    Raises
    ------
    InputError
        No rows, weights that are all 0, a score or a metric that is not finite, or auc on one class.
    OptionError
        A custom metric that returns something else than (name, value, higher_is_better), or two metrics of one name.
    """
    s_bc = scores_bc.astype(np.float64)
    refuse_unusable(s_bc)
    weight_b = scaled(weight_b, len(s_bc))
    with np.errstate(all="ignore"):  # what overflows shows in the value
        found = [metric.score(loss, y_b, s_bc, weight_b) for metric in metrics]
    for score in found:
        if not math.isfinite(score.value):
            raise InputError(
                f"metric {score.name!r} is not finite: it gave {score.value} on {len(s_bc)} rows, and metrics steer "
                "training. Look at the targets and the learning rate, or choose another eval_metric."
            )
    refuse_repeats([score.name for score in found])
    return found


def refuse_unusable(s_bc: Array) -> None:
    """No rows, or a score that is not finite: it would be ranked as if it were a number."""
    if len(s_bc) == 0:
        raise InputError("metrics need at least one row to evaluate: got 0. Hold out more rows, or pass eval_set.")
    finite = np.isfinite(s_bc)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise InputError(
            f"metrics need finite scores: got {s_bc[row, column]} at row {row}, column {column}. "
            "The model has diverged: choose a smaller learning_rate."
        )


def scaled(weight_b: Array | None, rows: int) -> Array:
    """The weights times a power of two, the largest in [0.5, 1): only ratios matter, and no product overflows."""
    if weight_b is None:
        return np.ones(rows)
    largest = float(np.max(weight_b))
    if largest == 0:
        raise InputError(f"the weights of the {rows} rows to evaluate are all 0. Give at least one a weight above 0.")
    return np.ldexp(weight_b, -math.frexp(largest)[1])
