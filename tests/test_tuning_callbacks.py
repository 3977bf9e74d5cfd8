"""Pruning of Optuna's trials."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.errors import InputTypeError, MissingExtraError, OptionError

optuna = pytest.importorskip("optuna", reason="optuna is missing: no trial can be pruned")
optuna.logging.set_verbosity(optuna.logging.WARNING)

X = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
y = np.where(X[:, 0] + np.random.default_rng(1).random(60) > 1, "yes", "no")


def train(trial, metric=None, **options):
    pruning = fwfm_gpu.OptunaPruning(trial, metric)
    return fwfm_gpu.train(
        X, y, **{"epochs": 4, "validation_fraction": 0.3, "progress": False, **options}, callbacks=[pruning]
    )


def study_of(pruner, direction="minimize"):
    return optuna.create_study(direction=direction, pruner=pruner, sampler=optuna.samplers.RandomSampler(0))


@pytest.mark.parametrize("metric, name", [(None, "logloss"), ("logloss", "logloss"), ("auc", "auc"), ("loss", None)])
def test_each_epoch_is_reported(metric, name):
    study, trained = study_of(optuna.pruners.NopPruner()), []

    def objective(trial):
        trained.append(train(trial, metric, eval_metric=["logloss", "auc"]))
        return 0.0

    study.optimize(objective, n_trials=1)
    want = {record.epoch: record.loss if name is None else record.metrics[name] for record in trained[0].history}
    assert study.trials[0].intermediate_values == want
    assert len(want) == 4


def test_a_hopeless_trial_ends_early_and_the_study_knows():
    study = study_of(optuna.pruners.ThresholdPruner(upper=0.0, n_warmup_steps=2))
    study.optimize(train, n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert list(study.trials[0].intermediate_values) == [1, 2]


def test_training_says_after_which_epoch_it_was_pruned():
    study = study_of(optuna.pruners.ThresholdPruner(lower=2.0), direction="maximize")
    with pytest.raises(optuna.TrialPruned, match=r"pruned after epoch 1, with auc \d"):
        train(study.ask(), "auc", eval_metric="auc")


def test_an_unknown_series_lists_those_there_are():
    trial = study_of(optuna.pruners.NopPruner()).ask()
    with pytest.raises(OptionError, match="watches 'f1', and the series of this training are 'loss', 'logloss'"):
        train(trial, "f1")
    with pytest.raises(OptionError, match="watches an evaluation metric, and the series of this training are 'loss'"):
        train(trial, validation_fraction=None)


def test_what_is_no_trial_is_refused():
    with pytest.raises(InputTypeError, match="trial must be a trial of Optuna: got Study"):
        fwfm_gpu.OptunaPruning(study_of(None))


def test_optuna_that_is_missing_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fwfm-gpu\[tune\]'"):
        fwfm_gpu.OptunaPruning(object())
