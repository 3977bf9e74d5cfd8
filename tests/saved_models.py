"""Small models to save, and how loaded ones are compared."""

from __future__ import annotations

import numpy as np

import fwfm_gpu

RULES = ("sgd", "adagrad", "adam", "ftrl")
X = np.random.default_rng(0).integers(-2, 3, (30, 5)) * 0.5
FIELDS = [0, 0, 1, 2, 2]
Y = {
    "logistic": np.where(X.sum(axis=1) > 0, "up", "down"),
    "softmax": np.digitize(X.sum(axis=1), [-1, 1]),
    "squared": X.sum(axis=1) + 0.125,
}


def train(loss="logistic", y=None, **options):
    """Small and quiet."""
    settings = {"fields": FIELDS, "loss": loss, "n_factors": 3, "epochs": 2, "batch_size": 8, "progress": False}
    return fwfm_gpu.train(X, Y[loss] if y is None else y, **{**settings, **options})


def arrays_of(model):
    """Parameters, then state where there is one."""
    state = [] if model.optimizer_state is None else model.optimizer_state.as_list()
    return [*model.parameters.arrays().values(), *state]


def assert_same_model(got, want):
    """All that a file holds, to the bit."""
    for name in ("options", "loss", "history"):
        assert getattr(got, name) == getattr(want, name), name
    for name in ("generator_state", "position", "seconds", "data_fingerprint", "numpy_version"):
        assert getattr(got.trained, name) == getattr(want.trained, name), name
    for name in ("n_fields", "field_names", "feature_names"):
        assert getattr(got.columns, name) == getattr(want.columns, name), name
    np.testing.assert_array_equal(got.columns.fields, want.columns.fields, strict=True)
    assert (got.classes is None) == (want.classes is None)
    if want.classes is not None:
        np.testing.assert_array_equal(got.classes, want.classes, strict=True)
    for got_array, want_array in zip(arrays_of(got), arrays_of(want), strict=True):
        np.testing.assert_array_equal(got_array, want_array, strict=True)
