"""The public doors on the CUDA engine, its kernels compiled for the host: the same model as on NumPy, to the bit."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.loader import compiler

import fwfm_gpu
from fwfm_gpu import FieldMatrix, train
from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import DivergenceError, InterruptedTrainingWarning

pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ is missing: kernels cannot be compiled for the host")

SIZES = [7, 40, 3, 12]


@pytest.fixture(autouse=True)
def on_host(monkeypatch):
    """device="cuda" is the host."""

    def choose(device="auto", *given):
        return host_backend(seed=11) if device == "cuda" else get_backend(device, *given)

    monkeypatch.setattr("fwfm_gpu.training.get_backend", choose)
    monkeypatch.setattr("fwfm_gpu.continuation.get_backend", choose)
    monkeypatch.setattr("fwfm_gpu.model.get_backend", choose)


@pytest.fixture
def interruptible():
    """Ctrl-C counts, also where the tests run under nohup."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def make_rows(rows: int = 300):
    """One feature per field, and labels of three classes that depend on two of them."""
    generator = np.random.default_rng(8)
    ids = np.stack([generator.integers(size, size=rows) for size in SIZES], axis=1)
    return FieldMatrix.from_ids(ids, SIZES), (ids[:, 0] + ids[:, 2]) % 3


def everything(model) -> dict[str, bytes]:
    """Parameters and state, as bytes."""
    arrays = dict(model.parameters.arrays())
    arrays |= {f"state {i}": array for i, array in enumerate(model.optimizer_state.as_list())}
    return {name: array.tobytes() for name, array in arrays.items()}


def on_both(call) -> list:
    """What a call gives on NumPy and on CUDA."""
    return [call(device) for device in ("numpy", "cuda")]


OPTIONS = {"epochs": 3, "batch_size": 70, "n_factors": 4, "progress": False}
CASES = {
    "logistic": {},
    "softmax": {"loss": "softmax", "optimizer": "adam", "label_smoothing": 0.1},
    "squared": {"loss": "squared", "optimizer": "ftrl", "learning_rate": 0.5, "l1_linear": 0.01, "dtype": "float64"},
    "held R": {"field_weights": "ones", "optimizer": "sgd"},
    "linear": {"n_factors": 0},
    "weights": {"sample_weight": np.linspace(0, 2, 300), "class_weight": {0: 1.0, 1: 2.5}},
    "early stopping": {"validation_fraction": 0.2, "patience": 1, "epochs": 20, "learning_rate": 0.5},
}


@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_same_model(name):
    X, y = make_rows()
    options = OPTIONS | CASES[name]
    target = {"softmax": y, "squared": y - 1.0}.get(options.get("loss"), (y > 0).astype(int))
    first, second = on_both(lambda device: train(X, target, device=device, **options))
    assert everything(first) == everything(second)
    assert first.best_epoch == second.best_epoch
    assert [record.metrics for record in first.history] == [record.metrics for record in second.history]
    assert first.decision_function(X).tobytes() == second.decision_function(X).tobytes()
    losses = [[record.loss for record in model.history] for model in (first, second)]
    np.testing.assert_allclose(*losses, rtol=1e-10)  # reported: any log will do (numerics 4)


def test_partial_fit_and_continue_training_give_the_same_model():
    X, y = make_rows()

    def call(device):
        model = train(X, y, device=device, loss="softmax", optimizer="adam", **OPTIONS)
        model.partial_fit(X.take(slice(0, 140)), y[:140]).partial_fit(X.take(slice(140, 300)), y[140:])
        return everything(model.continue_training(X, y, epochs=2, progress=False))

    first, second = on_both(call)
    assert first == second


def test_training_that_was_interrupted_goes_on_to_the_same_model(monkeypatch, interruptible):
    monkeypatch.setattr("fwfm_gpu.epochs.PROMPT", 0)  # a batch at a time
    X, y = make_rows()
    whole = everything(train(X, y > 0, device="numpy", **OPTIONS))

    class Press(fwfm_gpu.Callback):
        def on_batches(self, status):
            if (status.epoch, status.batch) == (2, 2):
                signal.raise_signal(signal.SIGINT)

    with pytest.warns(InterruptedTrainingWarning):
        model = train(X, y > 0, device="cuda", callbacks=[Press()], **OPTIONS)
    model.continue_training(X, y > 0, epochs=OPTIONS["epochs"] - len(model.history), progress=False)
    assert everything(model) == whole


def test_divergence_gives_back_the_last_finite_epoch():
    X, y = make_rows()

    def call(device):
        with pytest.raises(DivergenceError) as caught:
            train(X, y * 1e25, device=device, loss="squared", optimizer="sgd", learning_rate=1e4, **OPTIONS)
        return caught.value.epoch, caught.value.batch, everything(caught.value.model)

    first, second = on_both(call)
    assert first == second


def test_a_model_moves_between_devices(tmp_path):
    X, y = make_rows()
    model = train(X, y > 0, device="cuda", **OPTIONS)
    scores = model.decision_function(X)
    model.save(tmp_path / "model.fwfm")
    elsewhere = fwfm_gpu.load(tmp_path / "model.fwfm")
    assert (elsewhere.options.device, elsewhere.device) == ("cuda", "auto")
    assert elsewhere.decision_function(X).tobytes() == scores.tobytes()
    back = fwfm_gpu.load(tmp_path / "model.fwfm", device="cuda")
    assert back.decision_function(X).tobytes() == scores.tobytes()
    model.device = "numpy"
    assert model.decision_function(X).tobytes() == scores.tobytes()
    assert everything(back.partial_fit(X, y > 0)) == everything(model.partial_fit(X, y > 0))
