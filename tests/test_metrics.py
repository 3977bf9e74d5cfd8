"""Metrics against their definitions, and against scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.metrics import METRICS, CustomMetric, Metric, Score, evaluate, resolve_metrics
from fwfm_gpu.numerics import sigmoid64, softmax64

FITTING = [(name, loss) for name, metric in METRICS.items() for loss in metric.losses]
CLASSES = 4


def rows_of(loss, rows=200, seed=0):
    """Scores with many ties, targets that depend on them, weights that are small powers of two."""
    random = np.random.default_rng(seed)
    C = CLASSES if loss == "softmax" else 1
    s_bc = np.round(random.normal(0, 2, (rows, C)), 1)
    noise = random.normal(0, 2, (rows, C))
    y_b = {
        "logistic": lambda: (s_bc + noise > 0)[:, 0].astype(float),
        "softmax": lambda: np.argmax(s_bc + noise, axis=1).astype(float),
        "squared": lambda: (s_bc + noise)[:, 0],
    }[loss]()
    return s_bc, y_b, 2.0 ** random.integers(0, 4, rows)


def value_of(name, loss, s_bc, y_b, weight_b=None):
    [score] = evaluate(resolve_metrics(name, loss), loss, s_bc, y_b, weight_b)
    return score.value


@pytest.fixture
def oracle():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of this test")


# definitions


def auc_by_pairs(y_b, s_b, weight_b):
    """Every pair of a class 1 row and a class 0 row, in exact arithmetic."""
    won = total = Fraction(0)
    for i in np.flatnonzero(y_b == 1):
        for j in np.flatnonzero(y_b == 0):
            pair = Fraction(weight_b[i]) * Fraction(weight_b[j])
            total += pair
            won += pair * (Fraction(1) if s_b[i] > s_b[j] else Fraction(1, 2) if s_b[i] == s_b[j] else Fraction(0))
    return float(won / total)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_auc_is_the_share_of_ordered_pairs_exactly(seed, weighted):
    s_bc, y_b, weight_b = rows_of("logistic", rows=40, seed=seed)
    assert len(np.unique(s_bc)) < len(s_bc)  # ties are there
    want = auc_by_pairs(y_b, s_bc[:, 0], weight_b if weighted else np.ones(40))
    assert value_of("auc", "logistic", s_bc, y_b, weight_b if weighted else None) == want


@pytest.mark.parametrize(
    ("scores", "targets", "want"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([7, 7, 7, 7], [0, 1, 0, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),
        ([-0.0, 0.0], [0, 1], 0.5),  # one number, two zeros
        ([800, 900], [0, 1], 1.0),  # both probabilities are 1: the scores still tell
    ],
)
def test_auc_of_small_cases(scores, targets, want):
    assert value_of("auc", "logistic", np.array(scores, float)[:, None], np.array(targets, float)) == want


def test_auc_uses_fractional_weights():
    s_bc, y_b, _ = rows_of("logistic", rows=30)
    weight_b = np.random.default_rng(1).random(30)
    want = auc_by_pairs(y_b, s_bc[:, 0], weight_b)
    assert value_of("auc", "logistic", s_bc, y_b, weight_b) == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_logloss_is_minus_log_of_the_own_probability(loss):
    s_bc, y_b, weight_b = rows_of(loss)
    p = softmax64(s_bc) if loss == "softmax" else np.stack([1 - sigmoid64(s_bc[:, 0]), sigmoid64(s_bc[:, 0])], axis=1)
    losses = [-math.log(row[int(y)]) for row, y in zip(p, y_b, strict=True)]
    want = math.fsum(weight_b * losses) / math.fsum(weight_b)
    assert value_of("logloss", loss, s_bc, y_b, weight_b) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize(
    ("loss", "scores", "target", "want"),
    [
        ("logistic", [2000.0], 0, 2000.0),
        ("logistic", [-3e38], 1, 3e38),
        ("logistic", [2000.0], 1, 0.0),
        ("logistic", [40.0], 1, math.exp(-40.0)),  # 1 - p would be 0
        ("logistic", [0.0], 1, math.log(2)),
        ("softmax", [0.0, 5000.0, 10.0], 0, 5000.0),
        ("softmax", [0.0, 5000.0, 10.0], 1, 0.0),
        ("softmax", [50.0, 0.0, 0.0], 0, 2 * math.exp(-50.0)),
        ("softmax", [1e30, 1e30, 1e30], 2, math.log(3)),
    ],
)
def test_logloss_is_not_clipped(loss, scores, target, want):
    assert value_of("logloss", loss, np.array([scores]), np.array([float(target)])) == pytest.approx(want, rel=1e-14)


def test_normalised_entropy_by_hand():
    y_b = np.array([1.0, 0.0, 0.0, 0.0])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert value_of("ne", "logistic", np.zeros((4, 1)), y_b) == pytest.approx(math.log(2) / entropy, rel=1e-15)
    assert value_of("ne", "logistic", np.zeros((4, 1)), y_b, np.array([3.0, 1.0, 1.0, 1.0])) == 1.0
    assert value_of("ne", "logistic", np.full((4, 1), math.log(1 / 3)), y_b) == pytest.approx(1, rel=1e-15)
    y_b = np.array([0.0, 1.0, 2.0])
    assert value_of("ne", "softmax", np.zeros((3, 3)), y_b) == pytest.approx(1, rel=1e-15)
    assert value_of("ne", "softmax", 50 * np.eye(3), y_b) < 1e-20


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_normalised_entropy_of_the_best_constant_is_1(loss):
    s_bc, y_b, weight_b = rows_of(loss)
    shares = np.bincount(y_b.astype(int), weight_b, s_bc.shape[1])
    constant = np.log(shares) if loss == "softmax" else np.log(shares[1:] / shares[0])
    found = value_of("ne", loss, np.broadcast_to(constant, s_bc.shape), y_b, weight_b)
    assert found == pytest.approx(1, rel=1e-14)
    assert value_of("ne", loss, s_bc, y_b, weight_b) < 1  # the scores tell something


def test_mae_and_r2_by_hand():
    s_bc, y_b = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 4.0, 4.0])
    assert value_of("mae", "squared", s_bc, y_b) == 2 / 3
    assert value_of("mae", "squared", s_bc, y_b, np.array([1.0, 3.0, 0.0])) == 1.5
    assert value_of("r2", "squared", s_bc, y_b) == pytest.approx(1 - 4 / 6, rel=1e-15)
    assert value_of("r2", "squared", y_b[:, None], y_b) == 1.0


def test_rmse_by_hand():
    s_bc, y_b = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 4.0, 4.0])
    assert value_of("rmse", "squared", s_bc, y_b) == math.sqrt(4 / 3)
    assert value_of("rmse", "squared", s_bc, y_b, np.array([1.0, 3.0, 0.0])) == math.sqrt(3)


def test_accuracy_by_hand():
    s_bc, y_b = np.array([[0.1], [-0.1], [0.0], [3.0]]), np.array([1.0, 0.0, 1.0, 0.0])
    assert value_of("accuracy", "logistic", s_bc, y_b) == 0.5  # a score of 0 is class 0, as predict has it
    assert value_of("accuracy", "logistic", s_bc, y_b, np.array([1.0, 2.0, 4.0, 1.0])) == 3 / 8
    s_bc, y_b = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0], [0.0, 0.0, 1.0]]), np.array([1.0, 0.0, 1.0])
    assert value_of("accuracy", "softmax", s_bc, y_b) == 2 / 3  # equal scores: the first class


def test_accuracy_follows_the_score_where_the_probability_rounds_to_one_half():
    assert sigmoid64(np.array([1e-300]))[0] == 0.5
    assert value_of("accuracy", "logistic", np.array([[1e-300]]), np.array([1.0])) == 1.0


def ece_by_bins(confidence_b, hit_b, weight_b):
    total, error = weight_b.sum(), 0.0
    for b in range(15):
        last = b == 14
        inside = (confidence_b * 15 >= b) & ((confidence_b * 15 < b + 1) | last)
        weight = weight_b[inside].sum()
        if weight > 0:
            gap = np.average(confidence_b[inside], weights=weight_b[inside]) - np.average(
                hit_b[inside], weights=weight_b[inside]
            )
            error += weight / total * abs(gap)
    return error


@pytest.mark.parametrize("weighted", [False, True])
def test_ece_is_the_mean_gap_over_15_bins(weighted):
    for loss in ("logistic", "softmax"):
        s_bc, y_b, weight_b = rows_of(loss, rows=5000)  # more rows than are turned into probabilities at a time
        weight_b = weight_b if weighted else np.ones(5000)
        if loss == "softmax":
            confidence_b, hit_b = softmax64(s_bc).max(axis=1), (np.argmax(s_bc, axis=1) == y_b).astype(float)
        else:
            confidence_b, hit_b = sigmoid64(s_bc[:, 0]), y_b
        want = ece_by_bins(confidence_b, hit_b, weight_b)
        got = value_of("ece", loss, s_bc, y_b, weight_b if weighted else None)
        assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(("score", "target", "want"), [(0.0, 1, 0.5), (900.0, 1, 0.0), (900.0, 0, 1.0)])
def test_ece_of_one_row(score, target, want):
    assert value_of("ece", "logistic", np.array([[score]]), np.array([float(target)])) == want


def test_the_last_bin_of_ece_holds_probability_1():
    s_bc = np.array([[900.0], [3.0]])  # probabilities 1 and 0.95, both in [14/15, 1]
    p = sigmoid64(s_bc[:, 0])
    assert value_of("ece", "logistic", s_bc, np.array([0.0, 1.0])) == (p[0] + (p[1] - 1)) / 2


# scikit-learn


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "loss", "theirs"),
    [
        ("logloss", "logistic", lambda o, y, p, s, w: o.log_loss(y, p, sample_weight=w)),
        ("logloss", "softmax", lambda o, y, p, s, w: o.log_loss(y, p, sample_weight=w)),
        ("auc", "logistic", lambda o, y, p, s, w: o.roc_auc_score(y, s[:, 0], sample_weight=w)),
        ("accuracy", "logistic", lambda o, y, p, s, w: o.accuracy_score(y, s[:, 0] > 0, sample_weight=w)),
        ("accuracy", "softmax", lambda o, y, p, s, w: o.accuracy_score(y, s.argmax(axis=1), sample_weight=w)),
        ("rmse", "squared", lambda o, y, p, s, w: math.sqrt(o.mean_squared_error(y, s[:, 0], sample_weight=w))),
        ("mae", "squared", lambda o, y, p, s, w: o.mean_absolute_error(y, s[:, 0], sample_weight=w)),
        ("r2", "squared", lambda o, y, p, s, w: o.r2_score(y, s[:, 0], sample_weight=w)),
    ],
)
def test_metrics_agree_with_scikit_learn(oracle, name, loss, theirs, weighted):
    s_bc, y_b, _ = rows_of(loss, rows=1000)
    weight_b = np.random.default_rng(2).random(1000) if weighted else None
    p = {"logistic": lambda: sigmoid64(s_bc[:, 0]), "softmax": lambda: softmax64(s_bc), "squared": lambda: None}[loss]()
    want = theirs(oracle, y_b, p, s_bc, weight_b)
    assert value_of(name, loss, s_bc, y_b, weight_b) == pytest.approx(want, rel=1e-12)


# what holds for every metric


@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_a_weight_is_as_good_as_repeated_rows(name, loss):
    s_bc, y_b, weight_b = rows_of(loss)
    again = np.repeat(np.arange(len(y_b)), weight_b.astype(int))
    weighted, repeated = value_of(name, loss, s_bc, y_b, weight_b), value_of(name, loss, s_bc[again], y_b[again])
    if name == "ece":  # its bins add left to right
        assert weighted == pytest.approx(repeated, rel=1e-12)
    else:
        assert weighted == repeated


@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_rows_of_weight_0_count_for_nothing(name, loss):
    s_bc, y_b, weight_b = rows_of(loss)
    kept = np.arange(len(y_b)) % 3 > 0
    assert value_of(name, loss, s_bc, y_b, weight_b * kept) == value_of(
        name, loss, s_bc[kept], y_b[kept], weight_b[kept]
    )


@pytest.mark.parametrize(("name", "loss"), [pair for pair in FITTING if pair[0] != "ece"])
def test_the_order_of_rows_is_without_effect(name, loss):
    s_bc, y_b, weight_b = rows_of(loss)
    order = np.random.default_rng(3).permutation(len(y_b))
    assert value_of(name, loss, s_bc, y_b, weight_b) == value_of(name, loss, s_bc[order], y_b[order], weight_b[order])


@pytest.mark.parametrize("exponent", [-900, 900])
@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_only_ratios_of_weights_matter(name, loss, exponent):
    s_bc, y_b, weight_b = rows_of(loss)
    assert value_of(name, loss, s_bc, y_b, np.ldexp(weight_b, exponent)) == value_of(name, loss, s_bc, y_b, weight_b)


@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_float32_scores_are_widened(name, loss):
    s_bc, y_b, _ = rows_of(loss)
    narrow = s_bc.astype(np.float32)
    assert value_of(name, loss, narrow, y_b) == value_of(name, loss, narrow.astype(np.float64), y_b)


@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_inputs_stay_as_they_were(name, loss):
    given = rows_of(loss)
    before = [array.copy() for array in given]
    value_of(name, loss, *given)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# custom metrics


@pytest.mark.parametrize(
    ("loss", "want"),
    [
        ("logistic", lambda s_bc: sigmoid64(s_bc[:, 0])),
        ("softmax", softmax64),
        ("squared", lambda s_bc: s_bc[:, 0]),
    ],
)
def test_a_callable_gets_targets_and_predictions_of_its_own(loss, want):
    s_bc, y_b, weight_b = rows_of(loss)
    seen = []

    def spoil(y_true, prediction):
        seen.append((y_true.copy(), prediction.copy()))
        y_true[:] = prediction[:] = -1
        return "spoiled", np.float32(0.5), np.True_

    scores = evaluate(resolve_metrics([spoil, "auto"], loss), loss, s_bc, y_b, weight_b)
    assert scores[0] == Score("spoiled", 0.5, True)
    assert type(scores[0].value) is float
    assert scores[1].value == value_of("auto", loss, *rows_of(loss))
    np.testing.assert_array_equal(seen[0][0], y_b)
    np.testing.assert_array_equal(seen[0][1], want(s_bc))
    np.testing.assert_array_equal(s_bc, rows_of(loss)[0])


@pytest.mark.parametrize(
    "returned",
    [
        None,
        0.5,
        ("mae", 0.5),
        ("mae", True, 0.5),
        ("mae", True, True),
        (0.5, "mae", True),
        ("mae", "0.5", True),
        ("mae", 0.5, 1),
        "abc",
    ],
)
def test_a_callable_that_returns_something_else_is_told_so(returned):
    metrics = resolve_metrics(lambda y_true, prediction: returned, "squared")
    with pytest.raises(OptionError, match=r"must return \(name, value, higher_is_better\)") as caught:
        evaluate(metrics, "squared", np.zeros((2, 1)), np.zeros(2))
    assert f"got {returned!r} from" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_custom_metric_that_is_not_finite_is_refused(value):
    metrics = resolve_metrics(lambda y_true, prediction: ("mine", value, True), "squared")
    with pytest.raises(InputError, match=f"metric 'mine' is not finite: it gave {value} on 2 rows"):
        evaluate(metrics, "squared", np.zeros((2, 1)), np.zeros(2))


def test_a_custom_name_must_be_its_own():
    metrics = resolve_metrics(["rmse", lambda y_true, prediction: ("rmse", 0.0, False)], "squared")
    with pytest.raises(OptionError, match="'rmse' twice"):
        evaluate(metrics, "squared", np.zeros((2, 1)), np.zeros(2))


def test_kinds_of_metric():
    def mine(y_true, prediction):
        return "mine", 0.0, False

    assert resolve_metrics(mine, "squared") == (CustomMetric(mine),)
    assert isinstance(resolve_metrics("rmse", "squared")[0], Metric)


# refused rows


@pytest.mark.parametrize(
    ("target", "found"), [(0.0, "3 rows of class 0 and 0 of class 1"), (1.0, "0 rows of class 0 and 3")]
)
def test_auc_of_one_class_is_refused(target, found):
    with pytest.raises(InputError, match=found):
        value_of("auc", "logistic", np.zeros((3, 1)), np.full(3, target))


@pytest.mark.parametrize(
    ("name", "loss", "C"), [("auc", "logistic", 1), ("ne", "logistic", 1), ("ne", "softmax", 3), ("r2", "squared", 1)]
)
def test_one_target_by_weight_is_refused(name, loss, C):
    with pytest.raises(InputError, match=f"{name} needs (rows|targets)"):
        value_of(name, loss, np.zeros((2, C)), np.array([0.0, 1.0]), np.array([1.0, 0.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_named(bad):
    s_bc = np.zeros((5, 3), np.float32)
    s_bc[2, 1] = s_bc[4, 0] = bad
    with pytest.raises(InputError, match=f"got {bad} at row 2, column 1"):
        value_of("accuracy", "softmax", s_bc, np.zeros(5))


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="at least one row"):
        value_of("rmse", "squared", np.zeros((0, 1)), np.zeros(0))


@pytest.mark.parametrize(("name", "loss"), FITTING)
def test_weights_that_are_all_0_are_refused(name, loss):
    s_bc, y_b, weight_b = rows_of(loss)
    with pytest.raises(InputError, match="the weights of the 200 rows to evaluate are all 0"):
        value_of(name, loss, s_bc, y_b, 0 * weight_b)


@pytest.mark.parametrize("score", [1e200, 1e154])  # its square overflows; the sum of the squares does
def test_a_metric_beyond_float64_is_refused(score):
    with pytest.raises(InputError, match="metric 'rmse' is not finite: it gave inf on 3 rows"):
        value_of("rmse", "squared", np.full((3, 1), score), np.zeros(3))
