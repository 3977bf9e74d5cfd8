"""Which metrics a name asks for, and which are defined on some rows."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.errors import OptionError
from fwfm_gpu.metrics import METRICS, Score, defined_metrics, evaluate, resolve_metrics


@pytest.mark.parametrize(("loss", "name"), [("logistic", "logloss"), ("softmax", "logloss"), ("squared", "rmse")])
def test_auto_is_logloss_or_rmse(loss, name):
    assert resolve_metrics("auto", loss) == (METRICS[name],)


def test_several_metrics_keep_their_order():
    metrics = resolve_metrics(["auc", "auto", "ece"], "logistic")
    assert [metric.name for metric in metrics] == ["auc", "logloss", "ece"]
    scores = evaluate(metrics, "logistic", np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]))
    assert [(score.name, score.higher_is_better) for score in scores] == [
        ("auc", True),
        ("logloss", False),
        ("ece", False),
    ]
    assert scores[0] == Score("auc", 1.0, True)


def test_which_metric_fits_which_loss():
    both = ("logistic", "softmax")
    assert {name: (metric.losses, metric.higher_is_better) for name, metric in METRICS.items()} == {
        "logloss": (both, False),
        "ne": (both, False),
        "auc": (("logistic",), True),
        "rmse": (("squared",), False),
        "mae": (("squared",), False),
        "r2": (("squared",), True),
        "accuracy": (both, True),
        "ece": (both, False),
    }


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_does_not_fit_lists_those_that_do(name, loss):
    if loss in METRICS[name].losses:
        assert resolve_metrics(name, loss) == (METRICS[name],)
        return
    with pytest.raises(OptionError, match=f"{name!r} does not fit loss={loss!r}") as caught:
        resolve_metrics(name, loss)
    for other, metric in METRICS.items():
        assert (f"{other!r}" in str(caught.value).split("Pass")[1]) == (loss in metric.losses)


@pytest.mark.parametrize("spec", ["f1", "", None, 3, ["logloss", "f1"], [None], [["logloss"]]])
def test_an_unknown_metric_lists_what_is_allowed(spec):
    with pytest.raises(
        OptionError, match=r"is unknown\. Pass 'auto', 'logloss', 'ne', 'auc', 'accuracy', 'ece', 'gauc', 'prec"
    ):
        resolve_metrics(spec, "logistic")


def test_no_metric_is_refused():
    with pytest.raises(OptionError, match="at least one metric"):
        resolve_metrics([], "logistic")


@pytest.mark.parametrize("spec", [["auc", "auc"], ("auto", "logloss")])
def test_one_metric_twice_is_refused(spec):
    with pytest.raises(OptionError, match="a name of its own"):
        resolve_metrics(spec, "logistic")


RANKED = {
    "gauc": ["logistic"],
    "precision@1": ["logistic"],
    "recall@5": ["logistic"],
    "ndcg@10": ["logistic", "squared"],
}


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
@pytest.mark.parametrize("name", RANKED)
def test_a_metric_of_ranked_lists_says_its_k(name, loss):
    if loss in RANKED[name]:
        [metric] = resolve_metrics(name, loss)
        assert (metric.name, metric.higher_is_better) == (name, True)
        return
    with pytest.raises(OptionError, match=f"{name!r} does not fit loss={loss!r}"):
        resolve_metrics(name, loss)


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "ndcg@ten", "ndcg@10@2", "map@10"])
def test_a_k_is_a_number_from_1(name):
    with pytest.raises(OptionError, match=r"is unknown\..*'ndcg@10' \(any k for 10\), a callable"):
        resolve_metrics(name, "logistic")
    with pytest.raises(OptionError, match="is unknown"):
        resolve_metrics(name.replace("10", "0010") if "@10" in name else name + "\u00b2", "logistic")


def test_one_name_with_two_k_is_two_metrics():
    assert [metric.name for metric in resolve_metrics(["ndcg@1", "ndcg@10"], "logistic")] == ["ndcg@1", "ndcg@10"]
    with pytest.raises(OptionError, match="'ndcg@1' twice"):
        resolve_metrics(["ndcg@1", "ndcg@1"], "logistic")


@pytest.mark.parametrize(
    ("loss", "y", "weight", "group", "names"),
    [
        ("logistic", [0, 1], None, None, ["logloss", "ne", "auc", "accuracy", "ece"]),
        ("logistic", [0, 1], None, [3, 3], ["logloss", "ne", "auc", "accuracy", "ece", "gauc"]),
        ("logistic", [0, 1], None, [3, 4], ["logloss", "ne", "auc", "accuracy", "ece"]),
        ("logistic", [1, 1], None, [3, 3], ["logloss", "accuracy", "ece"]),
        ("logistic", [0, 1], [0, 1], None, ["logloss", "accuracy", "ece"]),
        ("softmax", [0, 2], None, [3, 3], ["logloss", "ne", "accuracy", "ece"]),
        ("softmax", [0, 0], None, None, ["logloss", "accuracy", "ece"]),
        ("squared", [0, 2], None, [3, 3], ["rmse", "mae", "r2"]),
        ("squared", [2, 2], None, None, ["rmse", "mae"]),
    ],
)
def test_what_some_rows_define(loss, y, weight, group, names):
    weight, group = (None if given is None else np.array(given) for given in (weight, group))
    assert [metric.name for metric in defined_metrics(loss, np.array(y, float), weight, group)] == names
