"""Rows to evaluate on: read, named, scored after each epoch or once."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.evaluation import make_evaluations, named_sets
from fwfm_gpu.labels import Labels
from fwfm_gpu.metrics import METRICS, Score
from fwfm_gpu.metrics import evaluate as evaluate_scores
from fwfm_gpu.model import Columns
from fwfm_gpu.options import Options
from fwfm_gpu.problem import Settled, make_problem

ROWS = FieldMatrix.from_matrix(np.random.default_rng(0).normal(size=(20, 3))).rounded("float32")
Y = np.arange(20) % 2 * 1.0
NONE_HELD = np.empty(0, np.int64)


def settled(loss="logistic", **options):
    labels = {"logistic": Labels(np.array(["a", "b"])), "softmax": Labels(np.arange(4)), "squared": None}[loss]
    return Settled(Options(**options), loss, labels, Columns.of(ROWS))


def evaluations(eval_set=None, held=NONE_HELD, sample_weight=None, loss="logistic", group=None, **options):
    about = settled(loss, **options)
    sets = None if eval_set is None else named_sets(eval_set)
    return make_evaluations(about, sets, make_problem(about, ROWS, Y, sample_weight), held, (sample_weight, group))


def evaluation(*given, **options):
    """The only one."""
    [made] = evaluations(*given, **options)
    return made


def test_nothing_to_evaluate_on():
    assert evaluations() == ()


@pytest.mark.parametrize("metric", ["rmse", "f1", ["logloss", "logloss"], [], 3])
def test_a_wrong_metric_is_refused_although_nothing_is_evaluated(metric):
    with pytest.raises(OptionError):
        evaluation(eval_metric=metric)


def test_patience_needs_an_evaluation():
    with pytest.raises(OptionError, match=r"patience=3 needs something to evaluate on: pass eval_set=\(X, y\)"):
        evaluation(patience=3)


def test_one_evaluation_is_enough():
    with pytest.raises(OptionError, match="eval_set or validation_fraction, not both"):
        evaluation((ROWS, ["a", "b"] * 10), held=np.arange(5))


def test_held_out_rows_in_their_order():
    held = np.array([7, 2, 9])
    made = evaluation(held=held, sample_weight=np.arange(20.0), class_weight={"b": 5.0})
    np.testing.assert_array_equal(made.y, Y[held])
    np.testing.assert_array_equal(made.weight, [7.0, 2.0, 9.0])  # class weights shape training alone
    np.testing.assert_array_equal(made.rows.to_csr().toarray(), ROWS.to_csr().toarray()[held])


def test_held_out_rows_that_all_weigh_nothing():
    with pytest.raises(InputError, match="3 rows held out for validation all weigh 0"):
        evaluation(held=np.array([0, 1, 2]), sample_weight=np.arange(20) > 5)


@pytest.mark.parametrize("kind", [tuple, list])
def test_an_eval_set_is_encoded_like_y(kind):
    X = np.ones((3, 3))
    made = evaluation(kind((X, ["b", "a", "b"], [1, 0, 2])))
    assert (made.y.tolist(), made.weight.tolist(), made.rows.shape) == ([1, 0, 1], [1, 0, 2], (3, 3))
    assert made.rows.values.dtype == np.float32
    assert evaluation(kind((X, ["b", "a", "b"]))).weight is None


@pytest.mark.parametrize(
    "wrong, what",
    [
        ((ROWS,), "eval_set must be"),
        ((ROWS, Y, None, None, 1), "eval_set must be"),
        ("ab", "eval_set must be"),
        (ROWS, "eval_set must be"),
        (3, "eval_set must be"),
        ([(ROWS, Y), (ROWS,)], "eval_set 'eval_1' must be"),
        ({"valid": (ROWS, Y), "test": 1}, "eval_set 'test' must be"),
        ({"X": ROWS, "y": Y}, "eval_set 'X' must be"),
        ({1: (ROWS, Y)}, "names of type str: got 1"),
    ],
)
def test_what_an_eval_set_is(wrong, what):
    with pytest.raises(InputTypeError, match=what):
        named_sets(wrong)


@pytest.mark.parametrize(
    "wrong, words",
    [({}, "at least one set"), ([], "at least one set"), ({"": (1, 2)}, "''"), ({"a/b": (1, 2)}, "'a/b'")],
)
def test_sets_have_names_without_a_slash(wrong, words):
    with pytest.raises(InputError, match=words):
        named_sets(wrong)


def test_what_several_sets_are_called():
    one, two = (ROWS, Y), (ROWS, Y, None)
    assert list(named_sets(one)) == list(named_sets([*one])) == list(named_sets([one])) == [""]
    assert named_sets([one, two]) == {"eval_0": one, "eval_1": two}
    assert named_sets({"valid": one, "test": two}) == {"valid": one, "test": two}
    assert list(named_sets({"valid": one})) == ["valid"]


@pytest.mark.parametrize(
    "eval_set, words",
    [
        ((np.ones((3, 2)), ["a", "b", "a"]), "expected 3, got 2"),
        ((np.ones((3, 3)), ["a", "b"]), "eval_set must have the same number of rows"),
        ((np.ones((3, 3)), ["a", "b", "c"]), "does not know.*'c' at row 2"),
        ((np.ones((0, 3)), []), "at least one row"),
        ((np.full((2, 3), np.nan), ["a", "b"]), "finite"),
        ((np.ones((2, 3)), ["a", "b"], [0, 0]), "weights of all 2 rows are zero"),
        ((np.ones((2, 3)), ["a", "b"], [-1, 0]), "negative"),
        ((np.ones((2, 3)), ["a", "b"], [1]), "one weight per row"),
        ((np.ones((2, 3)), ["a", "b"], None, [1]), "group must hold one id per row: expected 2, got 1"),
        ((np.ones((2, 3)), ["a", "b"], None, [1, None]), "missing id in group"),
        ((np.ones((2, 3)), ["a", "b"], None, 1), "group must hold one id per row"),
        ([(ROWS, ["a", "b"] * 10), (np.ones((3, 3)), ["a"])], "X and y of eval_set 'eval_1' must have the same number"),
    ],
)
def test_an_eval_set_is_checked(eval_set, words):
    with pytest.raises((InputError, InputTypeError), match=words):
        evaluation(eval_set)


def test_what_cannot_be_evaluated_is_refused_before_training():
    one_class = (np.ones((2, 3)), ["a", "a"])
    with pytest.raises(InputError, match="auc needs rows of both classes"):
        evaluation(one_class, eval_metric=["logloss", "auc"])
    assert evaluation(one_class, eval_metric="logloss") is not None
    with pytest.raises(InputError, match=r"rmse.*not finite"):
        evaluation((np.ones((2, 3)), [1e200, 0.0]), loss="squared", dtype="float64")


def test_a_metric_of_ones_own_is_not_called_in_vain():
    def fail(y_true, prediction):
        raise AssertionError("called before training")

    assert evaluation((ROWS, ["a", "b"] * 10), eval_metric=fail).metrics[0].function is fail


def test_a_metric_that_a_file_lost_is_asked_for():
    with pytest.raises(
        OptionError, match=r"eval_metric was a function.*continue_training\(\.\.\., eval_metric=\.\.\.\)"
    ):
        evaluation((ROWS, ["a", "b"] * 10), eval_metric=None)
    assert evaluations(eval_metric=None) == ()


# groups


def test_groups_go_with_the_rows_held_out():
    held = np.array([7, 2, 9, 4])  # of class 1, 0, 1, 0
    group = np.where(np.isin(np.arange(20), [7, 2]), "u", "v")
    made = evaluation(held=held, group=group, eval_metric=["gauc", "precision@1"])
    found = made.measure("logistic", np.array([[1.0], [1.0], [0.0], [2.0]]))
    assert found == [Score("gauc", 0.25, True), Score("precision@1", 0.25, True)]
    with pytest.raises(InputError, match="gauc needs a group with rows of both classes"):
        evaluation(held=np.array([7, 9, 4]), group=np.arange(20), eval_metric="gauc")


def test_a_group_without_rows_held_out_is_refused():
    with pytest.raises(OptionError, match="group= is for the rows that are held out"):
        evaluations(group=np.arange(20))
    with pytest.raises(OptionError, match="group= is for the rows that are held out"):
        evaluations((ROWS, ["a", "b"] * 10), group=np.arange(20))


@pytest.mark.parametrize("ids", [[3, 3, 1, 1], ["x", "x", "y", "y"], np.array([True, True, False, False])])
def test_an_id_may_be_a_number_or_a_word(ids):
    rows, labels = np.ones((4, 3)), ["a", "b", "a", "b"]
    made = evaluation((rows, labels, None, ids), eval_metric="gauc")
    assert made.measure("logistic", np.array([[1.0], [2.0], [4.0], [3.0]])) == [Score("gauc", 0.5, True)]


# several sets in training


def make_rows(rows, seed):
    random = np.random.default_rng(seed)
    X = random.integers(0, 2, (rows, 4)).astype(float)
    return X, np.where(X[:, 0] + X[:, 1] * X[:, 2] + random.random(rows) > 1.2, "yes", "no")


X, LABELS = make_rows(200, 0)
VALID, TEST = make_rows(60, 1), make_rows(70, 2)


def train(**options):
    return fwfm_gpu.train(X, LABELS, **{"epochs": 3, "progress": False, "batch_size": 64, "device": "numpy", **options})


def series(model, name):
    return [record.metrics[name] for record in model.history]


def test_each_set_has_series_of_its_own():
    metrics = ["auc", "logloss"]
    both = train(eval_set={"valid": VALID, "test": TEST}, eval_metric=metrics)
    assert list(both.history[-1].metrics) == ["valid/auc", "valid/logloss", "test/auc", "test/logloss"]
    listed = train(eval_set=[VALID, TEST], eval_metric=metrics)
    for name, numbered, data in (("valid", "eval_0", VALID), ("test", "eval_1", TEST)):
        alone = train(eval_set=data, eval_metric=metrics)
        for metric in metrics:
            assert series(both, f"{name}/{metric}") == series(listed, f"{numbered}/{metric}") == series(alone, metric)


def test_the_first_metric_on_the_first_set_steers():
    options = {"epochs": 40, "patience": 2, "learning_rate": 1.0, "eval_metric": ["logloss", "auc"]}
    first, second = (train(eval_set=data, **options).best_epoch for data in (VALID, TEST))
    assert first != second
    assert train(eval_set={"a": VALID, "b": TEST}, **options).best_epoch == first
    assert train(eval_set={"b": TEST, "a": VALID}, **options).best_epoch == second


def test_a_callback_learns_which_way_each_series_gains():
    told = []
    train(eval_set=[VALID, TEST], eval_metric=["auc", "ece"], callbacks=[lambda status: told.append(status)])
    assert told[-1].higher_is_better == {
        "eval_0/auc": True,
        "eval_0/ece": False,
        "eval_1/auc": True,
        "eval_1/ece": False,
    }


def test_a_metric_of_ones_own_sees_each_set():
    seen = []

    def mine(y_true, prediction):
        seen.append(len(y_true))
        return "mine", 0.5, True

    model = train(eval_set=[VALID, TEST], eval_metric=mine, epochs=1)
    assert seen == [60, 70]
    assert model.history[0].metrics == {"eval_0/mine": 0.5, "eval_1/mine": 0.5}


def test_every_engine_loads_each_set_once_and_sees_the_same(backend, monkeypatch):
    options = {"eval_set": [VALID, TEST], "eval_metric": ["auc", "logloss", "ndcg@5"], "n_factors": 2}
    want = [record.metrics for record in train(**options).history]
    loaded, load = [], backend.load_data
    monkeypatch.setattr(backend, "load_data", lambda rows, *rest: (loaded.append(rows.n_rows), load(rows, *rest))[1])
    monkeypatch.setattr("fwfm_gpu.training.get_backend", lambda *given: backend)
    assert [record.metrics for record in train(**options).history] == want
    assert sorted(loaded) == [60, 70, 200]


def test_held_out_rows_have_groups_too(path):
    group = np.random.default_rng(0).integers(0, 9, 200)
    options = {"validation_fraction": 0.3, "eval_metric": "ndcg@3", "group": group}
    model = train(**options, epochs=2)
    assert 0 < model.history[-1].metrics["ndcg@3"] <= 1
    model.save(path)
    went_on = fwfm_gpu.load(path).continue_training(X, LABELS, epochs=1, group=group, progress=False)
    assert went_on.history[-1].metrics == train(**options).history[-1].metrics


@pytest.mark.parametrize("on", ["a table", "a source"])
def test_a_column_of_groups_is_no_feature(on):
    table = {"a": X[:, 0], "b": X[:, 1], "user": np.arange(200) % 9, "label": LABELS}
    options = {"label": "label", "group": "user", "progress": False, "device": "numpy", "epochs": 1}
    if on == "a source":
        model = fwfm_gpu.train([table], **options)
    else:
        model = fwfm_gpu.train(table, **options, validation_fraction=0.3, eval_metric="gauc")
        alike = {**table, "user": np.arange(200) // 100}
        other = fwfm_gpu.train(alike, **options, validation_fraction=0.3, eval_metric="gauc")
        assert model.history[0].metrics != other.history[0].metrics
        went_on = model.continue_training(table, label="label", group="user", epochs=1, progress=False)
        assert list(went_on.history[-1].metrics) == ["gauc"]
        assert fwfm_gpu.train(table, **options).columns.field_names == ("a", "b")
    assert model.columns.field_names == ("a", "b")


# once


@pytest.mark.parametrize("weight", [None, np.linspace(0, 2, 60)])
def test_evaluate_gives_what_training_saw(weight):
    group = np.arange(60) % 7
    metrics = ["auc", "logloss", "ndcg@4", "gauc"]
    model = train(eval_set=(*VALID, weight, group), eval_metric=metrics)
    found = fwfm_gpu.evaluate(model, *VALID, sample_weight=weight, group=group, metrics=metrics)
    assert found == model.history[-1].metrics
    assert list(found) == metrics


def test_auto_is_every_metric_that_is_defined():
    model = train()
    found = fwfm_gpu.evaluate(model, *VALID)
    assert list(found) == ["logloss", "ne", "auc", "accuracy", "ece"]
    s_bc = model.decision_function(VALID[0])[:, None]
    wanted = evaluate_scores([METRICS[name] for name in found], "logistic", s_bc, (VALID[1] == "yes") * 1.0)
    assert list(found.values()) == [score.value for score in wanted]
    assert "gauc" in fwfm_gpu.evaluate(model, *VALID, group=np.arange(60) % 5)
    one_label = VALID[1] == "yes"
    assert list(fwfm_gpu.evaluate(model, VALID[0][one_label], VALID[1][one_label])) == ["logloss", "accuracy", "ece"]


@pytest.mark.parametrize(
    "loss, names", [("squared", ["rmse", "mae", "r2"]), ("softmax", ["logloss", "ne", "accuracy", "ece"])]
)
def test_other_losses_have_metrics_too(loss, names):
    y = X @ [1.0, 2.0, 0.5, 0.0] if loss == "squared" else (X[:, 0] + X[:, 1]).astype(int)
    model = fwfm_gpu.train(X, y, loss=loss, progress=False, learning_rate=0.5, device="numpy")
    found = fwfm_gpu.evaluate(model, X, y)
    assert list(found) == names
    assert all(map(math.isfinite, found.values()))


def test_evaluate_takes_a_metric_of_ones_own():
    found = fwfm_gpu.evaluate(train(), *VALID, metrics=lambda y, p: ("mean", p.mean(), True))
    assert found == {"mean": pytest.approx(0.5, abs=0.5)}


@pytest.mark.parametrize(
    "given, kind, words",
    [
        ({"model": 3}, InputTypeError, "model must be a FwFM, as train and load return it: got int"),
        ({"y": ["yes"]}, InputError, "X and y must have the same number of rows"),
        ({"y": ["maybe"] * 60}, InputError, "does not know.*'maybe'"),
        ({"sample_weight": [0] * 60}, InputError, "weights of all 60 rows are zero"),
        ({"group": [1, 2]}, InputError, "group must hold one id per row: expected 60, got 2"),
        ({"metrics": "rmse"}, OptionError, "'rmse' does not fit loss='logistic'"),
        ({"metrics": []}, OptionError, "at least one metric"),
    ],
)
def test_evaluate_refuses(given, kind, words):
    model = train(epochs=1)
    with pytest.raises(kind, match=words):
        fwfm_gpu.evaluate(**{"model": model, "X": VALID[0], "y": VALID[1], **given})


def test_every_engine_gives_the_same_numbers(backend, monkeypatch):
    model = train()
    want = fwfm_gpu.evaluate(model, *VALID, group=np.arange(60) % 7, metrics=["auc", "logloss", "ndcg@5", "gauc", "ne"])
    monkeypatch.setattr("fwfm_gpu.evaluation.get_backend", lambda *given: backend)
    found = fwfm_gpu.evaluate(model, *VALID, group=np.arange(60) % 7, metrics=list(want))
    assert found == want
