"""The doors that rows, targets and weights come in through, and how they refuse."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import sparse

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import FwfmError

ROWS, COLUMNS = 12, 4
GOOD = np.random.default_rng(0).integers(1, 4, (ROWS, COLUMNS)) * 0.5
LABELS = np.array(["no", "yes"] * 6)
NUMBERS = np.linspace(-1, 1, ROWS)
OPTIONS = {"n_factors": 2, "epochs": 2, "batch_size": 4, "progress": False}


def contents(value):
    """The bytes of everything that a caller passes, at any depth."""
    if isinstance(value, dict):
        return [(key, contents(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [contents(item) for item in value]
    if sparse.issparse(value):
        names = ("data", "indices", "indptr") if value.format in ("csr", "csc") else ("data", "row", "col")
        return [contents(np.asarray(getattr(value, name))) for name in names]
    if isinstance(value, FieldMatrix):
        return [contents(getattr(value, name)) for name in ("indptr", "indices", "values", "fields")]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist() if value.dtype == object else value.tobytes()
    return repr(value)


def refused(call, kind, words, *given):
    """The call raises that error of ours, with those words, and changes nothing that it was given."""
    before = contents(given)
    with pytest.raises(kind, match=words) as caught:
        call(*given)
    assert isinstance(caught.value, FwfmError)
    assert contents(given) == before


def train(X, y, **options):
    return fwfm_gpu.train(X, y, **{**OPTIONS, **options})


def good(loss):
    return LABELS if loss == "logistic" else NUMBERS


TRAINING = {
    "train": lambda model, X, y, weight: train(X, y, loss=model.loss, sample_weight=weight),
    "continue_training": lambda model, X, y, weight: model.continue_training(X, y, epochs=1, sample_weight=weight),
    "partial_fit": lambda model, X, y, weight: model.partial_fit(X, y, sample_weight=weight),
    "eval_set": lambda model, X, y, weight: train(
        GOOD, good(model.loss), loss=model.loss, eval_set=(X, y) if weight is None else (X, y, weight)
    ),
    "eval_set later": lambda model, X, y, weight: model.continue_training(
        GOOD, good(model.loss), epochs=1, eval_set=(X, y) if weight is None else (X, y, weight)
    ),
}
PREDICTING = {
    name: lambda model, X, y, weight, name=name: getattr(model, name)(X)
    for name in ("predict", "predict_proba", "decision_function")
}
EVERY_DOOR = {**TRAINING, **PREDICTING}


@cache
def train_models():
    """A classification and a regression."""
    return {loss: train(GOOD, good(loss), loss=loss) for loss in ("logistic", "squared")}


def forbid_training(monkeypatch):
    """From here on a trained batch is a failure; in the end the models are as they were."""

    def advance(self, run, batches):
        raise AssertionError("training has begun")

    before = {loss: model.trained for loss, model in train_models().items()}
    monkeypatch.setattr(type(get_backend()), "advance", advance)
    yield
    assert {loss: model.trained for loss, model in train_models().items()} == before


def spoiled(value, row=3, column=2):
    X = GOOD.copy()
    X[row, column] = value
    return X
