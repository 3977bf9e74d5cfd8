"""tune: a search that repeats itself, shares its rows, and says what it found."""

from __future__ import annotations

import logging
import signal
import sys

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldMatrix, tuning
from fwfm_gpu.errors import InputTypeError, InterruptedTrainingWarning, MissingExtraError, OptionError
from fwfm_gpu.options import Options
from fwfm_gpu.tuning import SPACE, tune

optuna = pytest.importorskip("optuna", reason="the search is Optuna's: fwfm-gpu[tune]")

FAST = {"device": "numpy", "epochs": 4, "batch_size": 64}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    rows = FieldMatrix.from_ids(ids := rng.integers(0, 6, (300, 3)), [6] * 3)
    return rows, (rng.random(300) < 1 / (1 + np.exp(3 - ids[:, 0] - (ids[:, 1] == ids[:, 2])))).astype(int)


def states(tuned):
    return [trial.state for trial in tuned.trials]


def test_a_seed_repeats_the_search(data):
    first, again, other = (tune(*data, trials=6, seed=seed, **FAST) for seed in (1, 1, 2))
    assert [(t.options, t.value, t.epochs, t.state) for t in first.trials] == [
        (t.options, t.value, t.epochs, t.state) for t in again.trials
    ]
    assert first.options == again.options
    np.testing.assert_array_equal(first.model.parameters.V, again.model.parameters.V)
    assert [trial.options for trial in first.trials[1:]] != [trial.options for trial in other.trials[1:]]


def test_what_is_found_is_the_best_and_trains_anew(data):
    tuned = tune(*data, trials=6, **FAST)
    values = [trial.value for trial in tuned.trials if trial.value is not None]
    assert tuned.value == min(values) == tuned.best.value
    assert (tuned.metric, tuned.higher_is_better) == ("logloss", False)
    assert tuned.options["epochs"] == tuned.best.epochs
    again = fwfm_gpu.train(*data, progress=False, **tuned.options)
    for name, array in tuned.model.parameters.arrays().items():
        np.testing.assert_array_equal(getattr(again.parameters, name), array)
    assert str(tuned).splitlines()[0].split()[:4] == ["trial", "logloss", "epochs", "state"]
    assert f"{tuned.best.number}*" in str(tuned)


def test_a_trial_is_what_train_makes_of_its_options(data):
    tuned = tune(*data, trials=3, refit=False, metric=["auc", "logloss"], validation_fraction=0.3, **FAST)
    assert tuned.metric == "auc" and tuned.higher_is_better
    for trial in tuned.trials:
        asked = {**FAST, **trial.options, "loss": "logistic", "eval_metric": ["auc", "logloss"], "patience": 3}
        model = fwfm_gpu.train(*data, progress=False, validation_fraction=0.3, **asked)
        assert (trial.value, trial.epochs) == (model.history[model.best_epoch - 1].metrics["auc"], model.best_epoch)
        if trial is tuned.best:
            np.testing.assert_array_equal(tuned.model.parameters.V, model.parameters.V)


def test_the_defaults_are_the_first_trial(data):
    usual = Options()
    assert tune(*data, trials=1, **FAST).trials[0].options == {name: getattr(usual, name) for name in SPACE}


def test_rows_are_read_once_and_shared(data, monkeypatch):
    rows, y = data
    seen = []
    train = tuning.train
    monkeypatch.setattr(tuning, "train", lambda X, y, **given: seen.append((X, given)) or train(X, y, **given))
    tune(rows.to_csr().toarray(), y, fields=rows.fields, trials=3, refit=False, **FAST)
    assert len({id(X) for X, _ in seen}) == 1
    assert isinstance(seen[0][0], FieldMatrix)
    assert {(given["seed"], given["validation_fraction"]) for _, given in seen} == {(0, 0.2)}


def test_groups_are_ranked_by_themselves(data):
    X, y = data
    group = np.arange(len(y)) % 7
    tuned = tune(X, y, trials=1, group=group, metric="gauc", validation_fraction=0.3, **FAST)
    options = {**tuned.trials[0].options, **FAST, "validation_fraction": 0.3, "eval_metric": "gauc", "patience": 3}
    model = fwfm_gpu.train(X, y, group=group, progress=False, **options)
    assert tuned.metric == "gauc"
    assert tuned.value == max(record.metrics["gauc"] for record in model.history)


def test_rows_of_ones_own_to_measure_on_and_to_test(data):
    rows, y = data
    valid, test = np.arange(200, 250), np.arange(250, 300)
    eval_set = (rows.take(valid), y[valid])
    given = {"eval_set": eval_set, "test_set": (rows.take(test), y[test], np.ones(50)), "metric": "auc"}
    tuned = tune(rows.take(np.arange(200)), y[:200], trials=2, **given, **FAST)
    s = tuned.model.decision_function(rows.take(test))
    higher = s[y[test] == 1][:, None] - s[y[test] == 0]
    assert tuned.test == {"auc": pytest.approx(np.mean((higher > 0) + (higher == 0) / 2), abs=1e-12)}


def test_options_that_are_fixed_leave_the_space(data):
    tuned = tune(*data, trials=3, optimizer="adam", n_factors=2, **FAST)
    assert all(set(trial.options) == {"learning_rate", "l2_linear", "l2_factors"} for trial in tuned.trials)
    assert (tuned.options["optimizer"], tuned.options["n_factors"]) == ("adam", 2)
    assert tuned.model.options.optimizer == "adam"


def test_a_space_of_ones_own(data):
    space = {"n_factors": (1, 3), "init_scale": (0.001, 0.1, "log"), "field_weights": ["learn", "ones"]}
    tuned = tune(*data, trials=5, space=space, **FAST)
    for trial in tuned.trials:
        assert trial.options["n_factors"] in (1, 2, 3)
        assert 0.001 <= trial.options["init_scale"] <= 0.1
        assert trial.options["field_weights"] in ("learn", "ones")


def test_a_trial_that_diverges_is_told_and_passed_over(data):
    tuned = tune(*data, trials=6, space={"learning_rate": [0.1, 1e30], "optimizer": ["sgd"]}, **FAST)
    assert {"diverged", "complete"} <= set(states(tuned))
    assert all(trial.value is None for trial in tuned.trials if trial.state == "diverged")
    assert tuned.options["learning_rate"] == 0.1
    with pytest.raises(OptionError, match=r"no trial came to a value \(diverged\)"):
        tune(*data, trials=2, space={"learning_rate": [1e30]}, optimizer="sgd", **FAST)


def test_a_trial_that_falls_behind_is_ended(data):
    space = {"learning_rate": [0.1, 1e-9]}
    tuned = tune(*data, trials=12, space=space, **{**FAST, "epochs": 6})
    ended = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert ended and all(trial.options == {"learning_rate": 1e-9} and trial.value is None for trial in ended)
    assert all(trial.epochs == tuning.SPARED for trial in ended)


def test_a_time_budget_ends_the_search_but_leaves_one_value(data):
    tuned = tune(*data, seconds=1e-9, **FAST)
    assert (states(tuned), tuned.trials[0].epochs) == (["stopped"], 1)
    assert tuned.value == tuned.trials[0].value


def test_ctrl_c_gives_back_the_best_so_far(data, monkeypatch):
    train, calls = tuning.train, []

    def interrupted(X, y, callbacks=(), **given):
        calls.append(given)
        stop = [lambda status: signal.raise_signal(signal.SIGINT)] if len(calls) == 3 else []
        return train(X, y, callbacks=[*callbacks, *stop], **given)

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.warns(InterruptedTrainingWarning, match="the search ended after 3 trials"):
        tuned = tune(*data, trials=9, **FAST)
    assert states(tuned)[2] == "stopped" and len(calls) == 3
    assert tuned.model.best_epoch == tuned.best.epochs
    assert tuned.value == min(trial.value for trial in tuned.trials)


def test_a_metric_may_be_a_function(data):
    def gain(y, p):
        return "gain", float(np.mean(p[y == 1])), True

    tuned = tune(*data, trials=2, metric=gain, refit=False, **FAST)
    assert (tuned.metric, tuned.higher_is_better) == ("gain", True)


def test_a_study_goes_on(data):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    tune(*data, trials=2, study=study, **FAST)
    tuned = tune(*data, trials=2, study=study, **FAST)
    assert tuned.study is study
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert [trial.number for trial in tuned.trials] == [2, 3]
    with pytest.raises(OptionError, match="the study must maximize this metric, and it was made to minimize"):
        tune(*data, trials=2, study=study, metric="auc", **FAST)


def test_optuna_is_silent_and_each_trial_is_a_log_line(data, caplog, capfd):
    former = optuna.logging.get_verbosity()
    with caplog.at_level(logging.INFO, "fwfm_gpu"):
        tune(*data, trials=2, **FAST)
    lines = [record.getMessage() for record in caplog.records if record.name == "fwfm_gpu"]
    assert [line.split()[:2] for line in lines] == [["trial", "0"], ["trial", "1"]]
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == former


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials must be a whole number, 1 or above; got 0"),
        ({"seconds": 0}, "seconds must be a number above 0; got 0"),
        ({"learning": 1}, "tune takes the options of train: 'learning' is none"),
        ({"n_factors": -1}, "n_factors must be a whole number, 0 or above"),
        ({"metric": "beauty"}, "'beauty' is unknown"),
        ({"space": {"seed": [1]}}, "space names 'seed', which is no option to search over"),
        ({"space": {"n_factors": (3, 1)}}, r"space of n_factors must be a list of choices, .* got \(3, 1\)"),
        ({"space": {"n_factors": 3}}, "space of n_factors must be a list of choices"),
        ({"space": {"l2_linear": (0, 1, "log")}}, "above 0"),
        ({"space": {"n_factors": {"adam": [1]}}}, "only learning_rate hangs on the optimizer"),
        ({"space": {"learning_rate": {"adam": [1]}}}, "needs a range for optimizer 'adagrad'"),
        ({"space": {"n_factors": [1]}, "n_factors": 2}, "n_factors is both in the space and fixed at 2"),
        ({"space": {}}, "the space is empty"),
    ],
)
def test_bad_requests_are_refused_before_training(data, monkeypatch, given, message):
    monkeypatch.setattr(tuning, "train", None)
    with pytest.raises(OptionError, match=message):
        tune(*data, **given)


def test_a_table_has_to_be_encoded():
    with pytest.raises(InputTypeError, match=r"pass FieldEncoder\(\).fit_transform\(X\)"):
        tune({"a": [1, 2]}, [0, 1])


def test_without_optuna(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fwfm-gpu\[tune\]'"):
        tune(*data)
