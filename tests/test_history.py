"""The history: what each epoch's record says, against a slow recomputation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.history import EpochRecord, Position

ROWS = 12
X = np.random.default_rng(0).normal(size=(ROWS, 4))
TARGETS = {"logistic": np.arange(ROWS) % 2, "softmax": np.arange(ROWS) % 3, "squared": np.linspace(-1, 2, ROWS)}
EPS = 0.1


def loss_of(loss, s, target):
    """The loss of one row by its definition, with label smoothing."""
    if loss == "squared":
        return (s[0] - target) ** 2 / 2
    if loss == "logistic":
        wanted = target * (1 - EPS) + EPS / 2
        p = 1 / (1 + np.exp(-s[0]))
        return -wanted * np.log(p) - (1 - wanted) * np.log(1 - p)
    p = np.exp(s) / np.exp(s).sum()
    wanted = np.where(np.arange(3) == target, 1 - EPS, EPS / 2)
    return -(wanted * np.log(p)).sum()


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_each_row_before_its_batch(loss, weighted):
    y = TARGETS[loss]
    weight = np.linspace(0.5, 2, ROWS) if weighted else np.ones(ROWS)
    options = {
        "loss": loss,
        "n_factors": 3,
        "dtype": "float64",
        "batch_size": 1,
        "shuffle": False,
        "label_smoothing": 0.0 if loss == "squared" else EPS,
        "learning_rate": 0.1,
        "progress": False,
    }
    model = fwfm_gpu.train(X, y, **options, epochs=2, sample_weight=weight if weighted else None)
    walker = fwfm_gpu.train(X, y, **options, epochs=0)
    for record in model.history:
        total = 0.0
        for row in range(ROWS):
            total += weight[row] * loss_of(loss, np.ravel(walker.decision_function(X[[row]])), y[row])
            walker.partial_fit(X[[row]], y[[row]], sample_weight=weight[[row]])
        assert record.loss == pytest.approx(total / weight.sum(), rel=1e-12)


def test_without_evaluation_there_are_no_metrics():
    model = fwfm_gpu.train(X, TARGETS["logistic"], epochs=3, progress=False)
    assert [record.epoch for record in model.history] == [1, 2, 3]
    assert [record.metrics for record in model.history] == [{}, {}, {}]


def test_time_and_speed():
    model = fwfm_gpu.train(X, TARGETS["logistic"], epochs=3, validation_fraction=0.25, progress=False)
    for record in model.history:
        assert record.seconds > 0
        assert record.rows_per_second == 9 / record.seconds
    assert model.trained.seconds == pytest.approx(sum(record.seconds for record in model.history))


def test_a_history_is_a_tuple_of_frozen_records():
    model = fwfm_gpu.train(X, TARGETS["logistic"], epochs=1, progress=False)
    assert isinstance(model.history, tuple)
    with pytest.raises(FrozenInstanceError):
        model.history[0].loss = 0.0


def test_defaults():
    assert EpochRecord(1, 0.5) == EpochRecord(1, 0.5, {}, 0.0, 0.0)
    assert Position() == Position(0, 0, 0.0)
    assert EpochRecord(1, 0.5).metrics is not EpochRecord(2, 0.5).metrics
