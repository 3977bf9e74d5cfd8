"""Golden files: what a version once wrote, every later one reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from golden.make_golden import FEATURE_NAMES, FIELD_NAMES, MODELS, X, arrays_of, make

import fwfm_gpu
from fwfm_gpu.errors import MissingStateError

DIGESTS = {
    "v1-logistic-adagrad": "8056cfe857737d18c3a622b05b5cdc2cf89743cb4d81d81b464056699bb3b372",
    "v1-softmax-adam": "eeb68dd2c57f1021bd36f8756cf370b19017444c638a458f022f9cc1db964c54",
    "v1-squared-ftrl": "7f3344d5f21d9afa64fa8ed82f8cd88938de1e0267fa5d1921686ab65facdb85",
    "v1-sgd-without-state": "83dc427870f27805cbd9ef0718474c2a92d0c17625c6afcbcd156c8ed7f96888",
}
GOLDEN = Path(__file__).parent


@pytest.fixture(params=DIGESTS)
def golden(request):
    """A golden model, and what is to be read from it."""
    with np.load(GOLDEN / f"{request.param}.npz") as said:
        return fwfm_gpu.load(GOLDEN / f"{request.param}.fwfm"), dict(said)


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_files_stay_as_they_were(name):
    contents = [(GOLDEN / f"{name}.{ending}").read_bytes() for ending in ("fwfm", "npz")]
    assert hashlib.sha256(b"".join(contents)).hexdigest() == DIGESTS[name]
    assert all(len(content) < 10_000 for content in contents)


def test_every_golden_file_is_known():
    assert {file.stem for file in GOLDEN.glob("*.fwfm")} == set(DIGESTS) == set(MODELS)


def test_a_golden_file_scores_as_ever(golden):
    model, said = golden
    np.testing.assert_array_equal(model.decision_function(said["X"]), said["scores"], strict=True)
    assert [record.loss for record in model.history] == said["losses"].tolist()
    for name, array in arrays_of(model, "before").items():
        np.testing.assert_array_equal(array, said[name], strict=True)


def test_a_golden_file_knows_its_labels(golden):
    model, said = golden
    if model.loss == "squared":
        np.testing.assert_array_equal(model.predict(said["X"]), said["scores"], strict=True)
        return
    np.testing.assert_array_equal(model.classes, np.unique(said["y"]), strict=True)
    assert model.predict(said["X"]).dtype == said["y"].dtype
    assert np.mean(model.predict(said["X"]) == said["y"]) > 0.5


def test_training_goes_on_from_a_golden_file(golden):
    model, said = golden
    if model.optimizer_state is None:
        with pytest.raises(MissingStateError):
            model.continue_training(said["X"], said["y"], epochs=1)
        return
    model.continue_training(said["X"], said["y"], epochs=1, progress=False)
    for name, array in arrays_of(model, "after").items():
        np.testing.assert_array_equal(array, said[name], strict=True)


def test_what_else_stands_in_a_golden_file():
    first, second, third, fourth = (fwfm_gpu.load(GOLDEN / f"{name}.fwfm") for name in DIGESTS)
    assert first.columns.field_names == tuple(FIELD_NAMES)
    assert first.columns.feature_names == tuple(FEATURE_NAMES)
    assert first.options.class_weight == {"да": 2.0}
    assert list(first.history[1].metrics) == ["logloss", "accuracy"]
    assert (second.trained.position.epochs, second.trained.position.batches) == (1, 1)
    assert second.options.label_smoothing == 0.1
    assert (third.options.l1_linear, third.options.l1_factors, third.parameters.dtype) == (0.01, 0.001, np.float64)
    assert (fourth.options.field_weights, fourth.optimizer_state) == ("ones", None)


def test_golden_files_can_be_made_but_not_made_again(tmp_path):
    for name in MODELS:
        make(name, tmp_path)
        assert fwfm_gpu.load(tmp_path / f"{name}.fwfm").predict(X).shape == (16,)
        content = (tmp_path / f"{name}.fwfm").read_bytes()
        with pytest.raises(FileExistsError, match="golden files stay as they are"):
            make(name, tmp_path)
        assert (tmp_path / f"{name}.fwfm").read_bytes() == content
