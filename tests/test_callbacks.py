"""Callbacks: when they are called, what they are told, how they stop training."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import Callback, EarlyStopping, Status, epochs
from fwfm_gpu.callbacks import Callbacks
from fwfm_gpu.errors import InputTypeError, OptionError

X = np.random.default_rng(0).integers(0, 2, (20, 4)).astype(float)
y = np.arange(20) % 2


def train(callbacks, **options):
    """Two epochs of three batches."""
    return fwfm_gpu.train(X, y, **{"batch_size": 8, "epochs": 2, "progress": False, **options}, callbacks=callbacks)


def parameters_of(model):
    return [array.tobytes() for array in model.parameters.arrays().values()]


class Recorder(Callback):
    """Writes down each event; says True, or raises, at one of them."""

    def __init__(self, stop_at=None, fail_at=None):
        self.told = []
        self.stop_at, self.fail_at = stop_at, fail_at

    def hear(self, event, status):
        self.told.append((event, status))
        if event == self.fail_at:
            raise LookupError("on purpose")
        return event == self.stop_at

    def on_begin(self, status):
        return self.hear("begin", status)

    def on_batches(self, status):
        return self.hear("batches", status)

    def on_epoch(self, status):
        return self.hear("epoch", status)

    def on_end(self, status):
        return self.hear("end", status)

    @property
    def events(self):
        return [event for event, _ in self.told]


@pytest.fixture(autouse=True)
def one_batch_at_a_time(monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)


def test_the_order_of_events_and_what_is_told():
    recorder = Recorder()
    model = train([recorder])
    told = [(event, s.epoch, s.epochs, s.batch, s.batches, len(s.history)) for event, s in recorder.told]
    assert told[:-1] == [
        ("begin", 1, 2, 0, 3, 0),
        ("batches", 1, 2, 1, 3, 0),
        ("batches", 1, 2, 2, 3, 0),
        ("batches", 1, 2, 3, 3, 0),
        ("epoch", 1, 2, 3, 3, 1),
        ("batches", 2, 2, 1, 3, 1),
        ("batches", 2, 2, 2, 3, 1),
        ("batches", 2, 2, 3, 3, 1),
        ("epoch", 2, 2, 3, 3, 2),
    ]
    assert told[-1][:3] == ("end", 2, 2)
    assert recorder.told[-1][1].history == model.history


def test_training_that_goes_on_counts_on():
    model = train([])
    recorder = Recorder()
    model.continue_training(X, y, epochs=1, callbacks=[recorder], progress=False)
    told = [(event, s.epoch, s.epochs, len(s.history)) for event, s in recorder.told]
    assert told[0] == ("begin", 3, 3, 2)
    assert told[-2] == ("epoch", 3, 3, 3)


def test_no_epochs_begin_and_end():
    recorder = Recorder()
    train([recorder], epochs=0)
    assert recorder.events == ["begin", "end"]


def test_the_record_of_an_epoch_is_there_when_it_is_told():
    recorder = Recorder()
    model = train([recorder], eval_set=(X, y))
    told = [status.history[-1] for event, status in recorder.told if event == "epoch"]
    assert told == list(model.history)
    assert set(told[0].metrics) == {"logloss"}


@pytest.mark.parametrize(
    "event, epochs_done, batches_done", [("begin", 0, 0), ("batches", 0, 1), ("epoch", 1, 0), ("end", 2, 0)]
)
def test_a_true_stops(event, epochs_done, batches_done):
    recorder = Recorder(stop_at=event)
    model = train([recorder])
    position = model.trained.position
    assert (position.epochs, position.batches) == (epochs_done, batches_done)
    assert recorder.events[-1] == "end"
    assert recorder.events.count("end") == 1
    if batches_done == 0:
        assert parameters_of(model) == parameters_of(train([], epochs=epochs_done))


@pytest.mark.parametrize("answer, epochs_done", [(None, 2), (False, 2), (np.False_, 2), (True, 1), (np.True_, 1)])
def test_a_function_is_called_after_each_epoch(answer, epochs_done):
    seen = []
    model = train([lambda status: (seen.append(status), answer)[1]])
    assert [status.epoch for status in seen] == list(range(1, epochs_done + 1))
    assert len(model.history) == epochs_done


def test_everyone_is_asked_although_one_stops():
    first, second = Recorder(stop_at="epoch"), Recorder()
    train([first, second])
    assert first.events == second.events


def test_callbacks_may_come_from_a_generator():
    recorders = [Recorder(), Recorder()]
    train(recorder for recorder in recorders)
    assert recorders[0].events == recorders[1].events != []


def test_callbacks_change_no_bit():
    assert parameters_of(train([Recorder(), lambda status: None])) == parameters_of(train([]))


@pytest.mark.parametrize("event", ["begin", "batches", "epoch"])
def test_the_end_comes_also_after_a_failure(event):
    failing, other = Recorder(fail_at=event), Recorder()
    with pytest.raises(LookupError, match="on purpose"):
        train([other, failing])
    assert other.events[-2:] == [event, "end"]
    assert failing.events[-2:] == [event, "end"]


def test_a_failure_leaves_the_model_that_goes_on():
    model = train([])
    before = model.trained
    with pytest.raises(LookupError):
        model.continue_training(X, y, epochs=2, callbacks=[Recorder(fail_at="epoch")], progress=False)
    assert model.trained is before


def test_a_status_cannot_be_changed():
    status = Status(1, 2, 3, 4, ())
    with pytest.raises(FrozenInstanceError):
        status.epoch = 5


def test_a_bare_callback_does_nothing():
    bare, status = Callbacks([Callback()]), Status(1, 2, 3, 4, ())
    assert not any(bare.tell(event, status) for event in ("begin", "batches", "epoch", "end"))


@pytest.mark.parametrize("wrong", ["on_epoch", 3, None, Callback, Recorder])
def test_what_is_no_callback_is_refused(wrong):
    with pytest.raises(InputTypeError, match=r"functions of a Status or fwfm_gpu\.Callback objects.*got"):
        train([wrong])


@pytest.mark.parametrize("wrong", [print, Recorder(), None, 3])
def test_callbacks_come_in_a_list(wrong):
    with pytest.raises(InputTypeError, match=r"callbacks must be a list.*Pass \[it\]"):
        train(wrong)


# early stopping


def scripted(values, name="mine", higher_is_better=True):
    """A metric that takes these values, one after another."""
    left = iter(values)
    return lambda y_true, prediction: (name, next(left), higher_is_better)


@pytest.mark.parametrize(
    "values, higher_is_better, options, stopped, best",
    [
        ([1, 2, 3, 4, 5], True, {}, None, (5, 5)),
        ([5, 4, 3, 2, 1], False, {}, None, (5, 1)),
        ([1, 3, 2, 2, 9], True, {"patience": 2}, 4, (2, 3)),
        ([5, 3, 4, 4, 0], False, {"patience": 2}, 4, (2, 3)),
        ([1, 1, 1, 1, 1], True, {"patience": 1}, 2, (1, 1)),
        ([1, 1.5, 2.25, 3, 9], True, {"patience": 2, "min_delta": 1}, None, (5, 9)),
        ([1, 1.5, 2, 2, 9], True, {"patience": 2, "min_delta": 1}, 3, (1, 1)),
    ],
)
def test_early_stopping_waits_for_a_gain(values, higher_is_better, options, stopped, best):
    stopping = EarlyStopping(**options)
    metric = scripted(values, higher_is_better=higher_is_better)
    model = train([stopping], epochs=5, eval_set=(X, y), eval_metric=metric)
    assert (stopping.stopped_epoch, stopping.best_epoch, stopping.best_value) == (stopped, *best)
    assert len(model.history) == model.best_epoch == (stopped or 5)  # the model is that of the last epoch


@pytest.mark.parametrize(
    "series, stopped", [(None, 2), ("a/first", 2), ("a/second", 3), ("b/first", 2), ("b/second", None)]
)
def test_early_stopping_watches_any_series(series, stopped):
    # On a, then on b, after each epoch: second is 0, 1, 0, 0 on a, and 0, 1, 2, 3 on b.
    metrics = [scripted([5] * 8, "first", False), scripted([0, 0, 1, 1, 0, 2, 0, 3], "second")]
    stopping = EarlyStopping(series, patience=1)
    train([stopping], epochs=4, eval_set={"a": (X, y), "b": (X, y)}, eval_metric=metrics)
    assert stopping.stopped_epoch == stopped


def test_early_stopping_says_when_and_why(caplog):
    with caplog.at_level("INFO", "fwfm_gpu"):
        train([EarlyStopping(patience=1)], epochs=5, eval_set=(X, y), eval_metric=scripted([0.5, 0.25]))
    assert "early stopping after epoch 2: mine is 0.25, and was 0.5 in epoch 1" in caplog.text


def test_early_stopping_counts_anew_when_training_goes_on():
    stopping = EarlyStopping("loss", patience=1, min_delta=1e9)
    model = train([stopping], epochs=9)
    assert stopping.stopped_epoch == 2
    model.continue_training(X, y, epochs=9, callbacks=[stopping], progress=False)
    assert (stopping.stopped_epoch, len(model.history)) == (4, 4)


@pytest.mark.parametrize("patience", [0, -1, 1.5, None, True])
def test_early_stopping_needs_a_patience(patience):
    with pytest.raises(OptionError, match="patience must be a whole number, 1 or above"):
        EarlyStopping(patience=patience)


@pytest.mark.parametrize("min_delta", [-1, float("nan"), float("inf"), None, True, "1"])
def test_early_stopping_needs_a_delta(min_delta):
    with pytest.raises(OptionError, match="min_delta must be a finite number 0 or above"):
        EarlyStopping(min_delta=min_delta)


def test_early_stopping_names_the_series_there_are():
    with pytest.raises(OptionError, match="watches 'auc', and the series of this training are 'loss', 'logloss'"):
        train([EarlyStopping("auc")], eval_set=(X, y))
