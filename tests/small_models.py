"""Small problems, and models trained on them, quickly and quietly."""

from __future__ import annotations

import signal

import numpy as np

import fwfm_gpu
from fwfm_gpu import FieldMatrix

RULES = ("sgd", "adagrad", "adam", "ftrl")
LOSSES = ("logistic", "squared", "softmax")
DTYPES = ("float32", "float64")
EVERY_KIND = [(rule, loss, dtype) for rule in RULES for loss in LOSSES for dtype in DTYPES]


def make_rows(count=44, loss="logistic", seed=0):
    """Rows of three fields with one feature each, and targets of a loss."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, [6, 5, 4], (count, 3))
    y = {
        "logistic": np.where(ids.sum(axis=1) % 2 == 0, "even", "odd"),
        "softmax": ids[:, :2].sum(axis=1) % 3,
        "squared": random.normal(size=count),
    }[loss]
    return FieldMatrix.from_ids(ids, [6, 5, 4]), y


def train(X, y, **options):
    """Small and quiet."""
    return fwfm_gpu.train(X, y, **{"n_factors": 3, "batch_size": 8, "epochs": 2, "progress": False, **options})


def bits(model):
    """All that further training depends on, to be compared by ==."""
    arrays = [*model.parameters.arrays().values(), *model.optimizer_state.as_list()]
    described = [(array.dtype.str, array.shape, array.tobytes()) for array in arrays]
    return described, model.trained.generator_state, model.trained.position


class CtrlC(fwfm_gpu.Callback):
    """Raise SIGINT, as often as asked, at one place."""

    def __init__(self, epoch=2, batch=3, times=1):
        self.place, self.times = (epoch, batch), times

    def on_batches(self, status):
        if (status.epoch, status.batch) == self.place:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def scripted(values, higher_is_better=False, name="scripted"):
    """A metric that says what the script says, call after call."""
    script = iter(values)
    return lambda y_true, prediction: (name, next(script), higher_is_better)


def values_of(model, name):
    return [record.metrics[name] for record in model.history]


LINEAR = {"loss": "squared", "n_factors": 0, "optimizer": "sgd", "shuffle": False, "batch_size": 1, "l2_linear": 0.0}
HUGE = 3e38  # times a weight above 1.134 it is beyond float32


def slow_fuse():
    """Rows, targets and options: the huge row, 2, weighs nothing; row 0 makes the weight of its column grow.

    That weight is 2 * (1 - 0.8**t) after t epochs at a learning rate of 0.1: 1.18 after the fourth.
    """
    X = np.array([[1.0, 0.0], [0.0, 0.5], [HUGE, 0.0], [0.0, 0.25]])
    y, weight = np.array([4.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
    return X, y, {**LINEAR, "sample_weight": weight, "learning_rate": 0.1, "fields": [0, 1]}
