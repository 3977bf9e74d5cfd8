"""An epoch that is stopped in the middle, and finished later."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import DTYPES, LOSSES, RULES, bits, make_rows, scripted, train, values_of

import fwfm_gpu
from fwfm_gpu import Callback, epochs
from fwfm_gpu.errors import FwfmWarning, OptionError


class StopAt(Callback):
    """Stop after so many batches of an epoch."""

    def __init__(self, epoch, batch):
        self.place = (epoch, batch)

    def on_batches(self, status):
        return (status.epoch, status.batch) == self.place


@pytest.fixture
def one_batch_at_a_time(monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)


@pytest.mark.usefixtures("one_batch_at_a_time")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_epoch_that_was_stopped_is_finished(rule, loss, dtype, tmp_path):
    X, y = make_rows(loss=loss)
    options = {"optimizer": rule, "dtype": dtype, "validation_fraction": 0.2, "sample_weight": np.linspace(1, 2, 44)}
    never_stopped = train(X, y, epochs=3, **options)
    stopped = train(X, y, epochs=3, callbacks=[StopAt(2, 3)], **options)
    assert (stopped.trained.position.epochs, stopped.trained.position.batches) == (1, 3)
    assert len(stopped.history) == 1
    stopped.save(tmp_path / "model.fwfm")
    loaded = fwfm_gpu.load(tmp_path / "model.fwfm")
    assert bits(loaded) == bits(stopped)
    for model in (stopped, loaded):
        model.continue_training(X, y, epochs=2, sample_weight=options["sample_weight"], progress=False)
        assert bits(model) == bits(never_stopped)
        for got, want in zip(model.history, never_stopped.history, strict=True):
            assert (got.epoch, got.loss, got.metrics) == (want.epoch, want.loss, want.metrics)


@pytest.mark.usefixtures("one_batch_at_a_time")
def test_an_epoch_may_be_stopped_again_and_again():
    X, y = make_rows()
    model = train(X, y, callbacks=[StopAt(1, 2)])
    for batch in (3, 5):
        model.continue_training(X, y, epochs=2, callbacks=[StopAt(1, batch)], progress=False)
        assert (model.trained.position.epochs, model.trained.position.batches) == (0, batch)
    model.continue_training(X, y, epochs=2, progress=False)
    assert bits(model) == bits(train(X, y))


@pytest.mark.usefixtures("one_batch_at_a_time")
def test_a_stop_at_the_last_batch_finishes_the_epoch():
    X, y = make_rows()
    model = train(X, y, epochs=3, callbacks=[StopAt(2, 6)], eval_set=(X, y))
    assert bits(model) == bits(train(X, y, epochs=2))
    assert len(model.history) == 2


@pytest.mark.usefixtures("one_batch_at_a_time")
def test_a_stop_in_the_middle_restores_no_best_epoch():
    X, y = make_rows()
    evaluation = {"eval_set": (X, y), "eval_metric": scripted([1, 2, 3]), "patience": 9}
    model = train(X, y, epochs=5, callbacks=[StopAt(3, 2)], **evaluation)
    assert (model.trained.position.epochs, model.trained.position.batches) == (2, 2)
    assert bits(model) == bits(train(X, y, epochs=5, callbacks=[StopAt(3, 2)]))


def test_how_many_batches_are_queued_changes_no_bit(monkeypatch):
    X, y = make_rows()
    want = bits(train(X, y, batch_size=1))
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(epochs, "PROMPT", seconds)
        assert bits(train(X, y, batch_size=1)) == want


@pytest.mark.usefixtures("one_batch_at_a_time")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stopped_in", [2, 3, 4])
def test_patience_goes_on_through_a_stop_and_a_file(rule, stopped_in, tmp_path):
    X, y = make_rows()
    script = [1, 5, 6, 7, 8]  # the first epoch stays the best
    options = {"optimizer": rule, "eval_set": (X, y), "patience": 3, "epochs": 9}
    stopped = train(X, y, **options, eval_metric=scripted(script), callbacks=[StopAt(stopped_in, 2)])
    assert (stopped.trained.best.epoch, stopped.best_epoch) == (1, stopped_in - 1)
    stopped.save(tmp_path / "model.fwfm")
    never_stopped = train(X, y, **options, eval_metric=scripted(script))
    for model in (fwfm_gpu.load(tmp_path / "model.fwfm"), stopped):
        rest = scripted([script[0], *script[stopped_in - 1 :]])  # the best epoch is measured again
        model.continue_training(X, y, epochs=9, eval_set=(X, y), eval_metric=rest, progress=False)
        assert (model.best_epoch, model.trained.best) == (1, None)
        assert bits(model) == bits(never_stopped)
        assert values_of(model, "scripted") == values_of(never_stopped, "scripted")


@pytest.mark.usefixtures("one_batch_at_a_time")
def test_a_pass_forgets_the_best_epoch():
    X, y = make_rows()
    model = train(X, y, eval_set=(X, y), eval_metric=scripted([1, 2]), patience=3, callbacks=[StopAt(2, 2)])
    assert model.trained.best is not None
    with pytest.warns(FwfmWarning, match="its rest is left out"):
        model.partial_fit(X, y)
    assert model.trained.best is None


def test_another_metric_is_not_compared_with_the_former():
    X, y = make_rows()
    options = {"eval_set": (X, y), "patience": 1, "learning_rate": 0.005}
    model = train(X, y, epochs=1, eval_metric="accuracy", **options)
    model.continue_training(X, y, epochs=6, eval_set=(X, y), eval_metric="logloss", progress=False)
    assert model.best_epoch == 7  # logloss falls in every epoch, though it starts above the accuracy
    assert list(model.history[-1].metrics) == ["logloss"]


def test_what_a_pass_broke_is_measured_anew():
    X, y = make_rows(count=400)
    model = train(X, y, epochs=15, eval_set=(X, y), patience=1)
    for _ in range(8):
        model.partial_fit(X, np.where(y == "even", "odd", "even"))
    model.continue_training(X, y, epochs=1, eval_set=(X, y), progress=False)
    assert model.best_epoch == len(model.history)  # better than where it stood, though worse than the record


def test_a_metric_that_does_not_fit_leaves_the_model():
    X, y = make_rows()
    model = train(X, y)
    options, before = model.options, bits(model)
    with pytest.raises(OptionError, match="rmse"):
        model.continue_training(X, y, epochs=1, eval_set=(X, y), eval_metric="rmse", progress=False)
    assert model.options is options
    assert bits(model) == before
