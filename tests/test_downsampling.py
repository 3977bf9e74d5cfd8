"""Sampled negatives: the draw, the corrected bias, and training that goes on from the raw one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import make_backend
from small_models import bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu import downsample
from fwfm_gpu.downsampling import correct_bias, log_of_rate
from fwfm_gpu.errors import InputError, ModelFileError, OptionError
from fwfm_gpu.metrics import evaluate, resolve_metrics
from fwfm_gpu.model_document import describe
from fwfm_gpu.model_file import read_file, write_file
from fwfm_gpu.numerics import sigmoid64


def train(X, y, **options):
    return train_small(X, y, **{"device": "numpy", **options})


# ---- the draw


@pytest.mark.parametrize("labels", [(0, 1), ("no", "yes"), (False, True), (-1.0, 1.0)])
def test_the_draw_by_hand(labels):
    y = np.array(labels)[np.random.default_rng(5).integers(2, size=500)]
    drawn = np.random.default_rng(7).random(500)
    want = [b for b in range(500) if y[b] == labels[1] or drawn[b] < 0.3]
    kept = downsample(y, 0.3, seed=7)
    assert (kept.tolist(), kept.dtype) == (want, np.int64)


def test_all_rows_at_a_rate_of_1():
    assert downsample([0, 1, 0, 0], 1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("rate", [0, -0.1, 1.1, math.nan, None, "0.1", True])
def test_a_rate_is_a_share(rate):
    with pytest.raises(OptionError, match="rate must be a number above 0, 1 at most"):
        downsample([0, 1], rate)
    if rate is not None:
        with pytest.raises(OptionError, match="negative_sampling_rate must be a "):
            train(*make_rows(), negative_sampling_rate=rate)


def test_one_label_or_a_wrong_seed_is_refused():
    with pytest.raises(InputError, match="at least two labels"):
        downsample([1, 1], 0.5)
    with pytest.raises(OptionError, match="seed must be a whole number"):
        downsample([0, 1], 0.5, seed=-1)


# ---- the bias


@pytest.mark.parametrize("rate", [0.1, 0.5, 1e-3, 0.9999999, 5e-324])
def test_the_logarithm_is_the_nearest(rate):
    assert abs(log_of_rate(rate) - math.log(rate)) <= math.ulp(math.log(rate))
    assert (log_of_rate(1.0), log_of_rate(None)) == (0, 0)
    assert log_of_rate(0.5) == -0.6931471805599453


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bias_alone_is_corrected_and_rounded_once(dtype):
    X, y = make_rows()
    model, plain = train(X, y, dtype=dtype, negative_sampling_rate=0.1), train(X, y, dtype=dtype)
    raw = plain.parameters.w0
    assert model.trained.parameters.w0.tobytes() == raw.tobytes()
    assert model.parameters.w0.tobytes() == (raw.astype(float) + math.log(0.1)).astype(dtype).tobytes()
    assert not model.parameters.w0.flags.writeable
    for name in ("w", "V", "R"):
        assert getattr(model.parameters, name) is getattr(model.trained.parameters, name)
    assert correct_bias(plain.parameters, 1.0) is plain.parameters


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_every_score_is_that_of_all_rows(device):
    make_backend(device)
    X, y = make_rows()
    model = train(X, y, negative_sampling_rate=0.25)
    s, raw = model.decision_function(X), train(X, y).decision_function(X)
    np.testing.assert_allclose(s, raw + math.log(0.25), rtol=0, atol=1e-6)
    assert model.predict_proba(X)[:, 1].tobytes() == sigmoid64(s.astype(float)).tobytes()
    assert (model.predict(X) == "odd").tolist() == (s > 0).tolist()
    scorer = model.scorer(device)
    for b in range(5):
        assert scorer.score(X.indices[3 * b : 3 * b + 3]) == s[b]


def test_probabilities_are_calibrated_for_the_whole():
    draw = np.random.default_rng(0)
    ids = draw.integers(3, size=(40_000, 1))
    X = fwfm_gpu.FieldMatrix.from_ids(ids, [3])
    y = (draw.random(40_000) < np.array([0.02, 0.05, 0.2])[ids[:, 0]]).astype(int)
    kept = downsample(y, 0.2)
    options = {"n_factors": 0, "batch_size": 64, "epochs": 5}
    sampled = train(X.take(kept), y[kept], negative_sampling_rate=0.2, **options)
    one_each = np.eye(3)
    np.testing.assert_allclose(sampled.predict_proba(one_each)[:, 1], [0.02, 0.05, 0.2], rtol=0.25)
    biased = train(X.take(kept), y[kept], **options).predict_proba(one_each)[:, 1]
    assert np.all(biased > 1.8 * sampled.predict_proba(one_each)[:, 1])


# ---- training that goes on, and what evaluates it


def test_a_pause_changes_no_bit(path):
    X, y = make_rows()
    whole = train(X, y, epochs=4, negative_sampling_rate=0.3)
    train(X, y, epochs=2, negative_sampling_rate=0.3).save(path)
    parts = fwfm_gpu.load(path, device="numpy").continue_training(X, y, epochs=2, progress=False)
    assert bits(parts) == bits(whole)
    assert parts.trained.parameters.w0.tobytes() == whole.trained.parameters.w0.tobytes()
    assert bits(parts.partial_fit(X, y)) == bits(whole.partial_fit(X, y))


def test_a_file_holds_both(path):
    X, y = make_rows()
    model = train(X, y, negative_sampling_rate=0.3)
    model.save(path)
    arrays, document = read_file(path)
    assert arrays["w0"].tobytes() == model.parameters.w0.tobytes()
    assert arrays["trained.w0"].tobytes() == model.trained.parameters.w0.tobytes()
    loaded = fwfm_gpu.load(path, device="numpy")
    assert loaded.decision_function(X).tobytes() == model.decision_function(X).tobytes()
    write_file(path, {**arrays, "w0": arrays["w0"] + 1}, document)
    with pytest.raises(ModelFileError, match=r"w0 should be that of trained\.w0"):
        fwfm_gpu.load(path)
    assert "trained.w0" not in describe(train(X, y))[0]


def test_an_eval_set_is_whole_and_rows_held_out_are_a_sample():
    X, y = make_rows()
    options = {"eval_metric": "logloss", "epochs": 1}
    held, plain = (train(X, y, validation_fraction=0.25, **options, **more) for more in (SAMPLED, {}))
    assert held.history[0].metrics == plain.history[0].metrics
    model = train(X, y, eval_set=(X, y), **options, **SAMPLED)
    raw = train(X, y, epochs=1).decision_function(X).astype(float)[:, None] + log_of_rate(0.3)
    (want,) = evaluate(resolve_metrics("logloss", "logistic"), "logistic", raw, (y == "odd").astype(float), None)
    assert model.history[0].metrics["logloss"] == want.value
    assert fwfm_gpu.evaluate(model, X, y, metrics="logloss")["logloss"] == pytest.approx(want.value, rel=1e-6)


SAMPLED = {"negative_sampling_rate": 0.3}


def test_it_goes_with_the_logistic_loss_alone():
    X, y = make_rows(loss="softmax")
    with pytest.raises(OptionError, match='negative_sampling_rate goes with loss="logistic"'):
        train(X, y, **SAMPLED)
