"""Checkpoints: training that stops anywhere goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import warnings

import numpy as np
import pytest
from small_models import LOSSES, RULES, bits, make_rows, scripted, slow_fuse, values_of
from small_models import train as train_anywhere

import fwfm_gpu
from fwfm_gpu import Callback, epochs
from fwfm_gpu.errors import (
    CheckpointError,
    DivergenceError,
    FwfmWarning,
    InputError,
    InterruptedTrainingWarning,
    OptionError,
    StreamWarning,
)


def train(X, y, **options):
    """On the engine that needs no compiling, unless told."""
    return train_anywhere(X, y, **{"device": "numpy", **options})


class KilledError(Exception):
    """In place of a signal that ends the process."""


class KillAt(Callback):
    """End training after so many batches, or epochs, told of here."""

    def __init__(self, batches=None, epochs=None):
        self.left = {"batches": batches, "epochs": epochs}

    def on_batches(self, status):
        self.count("batches")

    def on_epoch(self, status):
        self.count("epochs")

    def count(self, what):
        if self.left[what] is not None:
            self.left[what] -= 1
            if self.left[what] <= 0:
                raise KilledError


def killed(X, y, where, **options):
    with pytest.raises(KilledError):
        train(X, y, callbacks=[where], **options)


def report(model):
    """Everything but times."""
    return bits(model), [(r.epoch, r.loss, r.metrics) for r in model.history], model.fingerprint(history=True)


def names(directory):
    return sorted(os.listdir(directory))


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "checkpoints")


# the same bytes


@pytest.mark.parametrize("rule", RULES)
def test_killed_after_each_batch_in_turn(device, rule, place):
    X, y = make_rows()
    options = {"optimizer": rule, "epochs": 3, "validation_fraction": 0.2, "device": device}
    want = report(train(X, y, **options))
    for batches in range(1, 6):
        with pytest.raises(KilledError):  # a little more each time: it must get over what it did
            train(X, y, checkpoint=place, checkpoint_every=1, resume=place, callbacks=[KillAt(batches)], **options)
    assert report(train(X, y, checkpoint=place, checkpoint_every=1, resume=place, **options)) == want


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("every", [None, 1, 4, 7])
def test_how_often_they_are_written_changes_no_byte(loss, every, place):
    X, y = make_rows(loss=loss)
    options = {"epochs": 3, "eval_set": make_rows(20, loss, seed=1), "patience": 5, "optimizer": "adam"}
    options |= {"sample_weight": np.linspace(1, 2, 44)}
    want = report(train(X, y, **options))
    written = {"checkpoint": place, "checkpoint_every": every}
    assert report(train(X, y, **written, **options)) == want
    for name in names(place):
        os.unlink(os.path.join(place, name))
    killed(X, y, KillAt(epochs=2), **written, **options)
    assert report(train(X, y, **written, resume=place, **options)) == want


def test_another_engine_may_go_on(place):
    pytest.importorskip("numba", reason="numba is missing: there is no other engine")
    X, y = make_rows()
    killed(X, y, KillAt(9), checkpoint=place, checkpoint_every=1, device="cpu", n_threads=2)
    model = train(X, y, checkpoint=place, resume=place, device="numpy")
    assert model.fingerprint() == train(X, y, device="numpy").fingerprint()
    assert model.device == "numpy"


@pytest.mark.parametrize("batches", range(1, 26, 3))
def test_early_stopping_decides_as_if_nothing_had_happened(batches, place):
    X, y = make_rows()
    script = [5, 4, 3, 6, 7, 8]
    options = {"epochs": 9, "patience": 2, "eval_set": (X, y)}
    want = train(X, y, eval_metric=scripted(script), **options)
    written = {"checkpoint": place, "checkpoint_every": 1, "resume": place}
    killed(X, y, KillAt(batches), eval_metric=scripted(script), **written, **options)
    finished = (batches - 1) // 6  # epochs of 6 batches whose metric is not asked for again
    model = train(X, y, eval_metric=scripted(script[finished:]), **written, **options)
    assert (report(model), values_of(model, "scripted")) == (report(want), [5, 4, 3, 6, 7])
    assert report(train(X, y, eval_metric=scripted([]), **written, **options)) == report(want)  # nothing is left to do


def test_a_finished_training_gives_its_model_again(place):
    X, y = make_rows()
    want = train(X, y, checkpoint=place)
    before = names(place)
    assert report(train(X, y, checkpoint=place, resume=place)) == report(want)
    assert report(train(X, y, resume=place)) == report(want)
    assert names(place) == before


def test_a_finished_training_may_be_given_more_epochs(place):
    X, y = make_rows()
    options = {"validation_fraction": 0.2, "patience": 9, "eval_metric": "accuracy"}
    train(X, y, checkpoint=place, epochs=3, **options)
    assert report(train(X, y, resume=place, epochs=5, **options)) == report(train(X, y, epochs=5, **options))


@pytest.mark.parametrize("schedule", ["constant", "exponential", "step", "linear", "cosine", lambda p, P: 1 - p / P])
def test_rates_follow_their_schedule(schedule, place):
    X, y = make_rows()
    options = {"schedule": schedule, "schedule_every": 2, "warmup_epochs": 1, "epochs": 5}
    killed(X, y, KillAt(epochs=4), checkpoint=place, checkpoint_every=4, **options)
    model = train(X, y, resume=place, **options)
    assert report(model) == report(train(X, y, **options))
    assert [r.learning_rate for r in model.history] == [r.learning_rate for r in train(X, y, **options).history]
    if schedule in ("constant", "exponential", "step"):
        assert report(train(X, y, resume=place, **{**options, "epochs": 6})) == report(
            train(X, y, **{**options, "epochs": 6})
        )
    else:  # other epochs are another plan
        with pytest.raises(OptionError, match="other options: epochs was 5 and is 6"):
            train(X, y, resume=place, **{**options, "epochs": 6})


def test_a_function_is_called_one(place):
    X, y = make_rows()
    train(X, y, checkpoint=place, epochs=1, schedule=lambda epoch, epochs: 1)
    with pytest.raises(OptionError, match="schedule was a function and is 'constant'"):
        train(X, y, resume=place, epochs=1)


def test_fewer_epochs_than_are_begun_are_refused(place):
    X, y = make_rows()
    killed(X, y, KillAt(8), checkpoint=place, checkpoint_every=1, epochs=3)
    with pytest.raises(OptionError, match=r"epochs must be at least the 2 that the checkpoint in .* got 1"):
        train(X, y, resume=place, epochs=1)


# when, what and where


def test_two_generations_stay(place):
    X, y = make_rows()
    train(X, y, epochs=5, checkpoint=place)
    assert names(place) == ["checkpoint-00000004.fwfm", "checkpoint-00000005.fwfm"]
    assert [fwfm_gpu.load(os.path.join(place, name)).trained.position.epochs for name in names(place)] == [4, 5]


def test_every_multiple_is_counted_over_the_training_and_hit_exactly(place, monkeypatch):
    seen = []
    write = fwfm_gpu.checkpoints.Checkpoints.write

    def note(self, model):
        seen.append(model.trained.position.epochs * 6 + model.trained.position.batches)
        write(self, model)

    monkeypatch.setattr(fwfm_gpu.checkpoints.Checkpoints, "write", note)
    monkeypatch.setattr(epochs, "PROMPT", 60.0)  # as many at once as there are
    X, y = make_rows()
    train(X, y, epochs=4, checkpoint=place, checkpoint_every=5)
    assert seen == [5, 10, 15, 20, 24]


def test_a_checkpoint_is_a_model_file(place):
    X, y = make_rows()
    killed(X, y, KillAt(epochs=2), checkpoint=place, checkpoint_every=8)
    loaded = fwfm_gpu.load(os.path.join(place, names(place)[-1]))
    assert (loaded.trained.position.epochs, loaded.trained.position.batches) == (1, 2)
    loaded.continue_training(X, y, epochs=1, progress=False)
    assert report(loaded) == report(train(X, y))


def test_ctrl_c_writes_where_training_stands(place, monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)
    X, y = make_rows()

    class CtrlC(Callback):
        def on_batches(self, status):
            if (status.epoch, status.batch) == (2, 3):
                signal.raise_signal(signal.SIGINT)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.warns(InterruptedTrainingWarning, match=r"train\(\.\.\., resume="):
            stopped = train(X, y, checkpoint=place, callbacks=[CtrlC()])
    finally:
        signal.signal(signal.SIGINT, former)
    assert names(place) == ["checkpoint-00000001.fwfm", "checkpoint-00000002.fwfm"]
    assert fwfm_gpu.load(os.path.join(place, names(place)[-1])).fingerprint() == stopped.fingerprint()
    assert report(train(X, y, resume=place)) == report(train(X, y))


def test_divergence_keeps_the_last_good_one(place):
    X, y, options = slow_fuse()
    options |= {"epochs": 9, "checkpoint": place, "checkpoint_every": 1}
    with pytest.raises(DivergenceError) as caught:
        train(X, y, **options)
    assert (caught.value.epoch, caught.value.batch) == (4, 3)
    kept = fwfm_gpu.load(os.path.join(place, names(place)[-1])).trained.position
    assert (kept.epochs, kept.batches) == (3, 2)
    with pytest.raises(DivergenceError) as again:
        train(X, y, resume=place, **options)
    assert (again.value.epoch, again.value.batch) == (4, 3)


@pytest.mark.parametrize("content", [None, [], ["checkpoint-00000001.fwfm.0123456789abcdef.tmp", "notes.txt"]])
def test_without_a_finished_checkpoint_training_starts_afresh(content, place):
    X, y = make_rows()
    if content is not None:
        os.makedirs(place)
        for name in content:
            with open(os.path.join(place, name), "wb") as file:
                file.write(b"half")
    assert report(train(X, y, resume=place)) == report(train(X, y))
    assert report(train(X, y, resume=place, checkpoint=place)) == report(train(X, y))
    assert [name for name in names(place) if not name.endswith(".fwfm")] == (["notes.txt"] if content else [])


def test_another_directory_gets_checkpoints_of_its_own(place, tmp_path):
    X, y = make_rows()
    train(X, y, checkpoint=place)
    before = names(place)
    other = str(tmp_path / "other")
    train(X, y, resume=place, checkpoint=other)
    assert (names(place), names(other)) == (before, ["checkpoint-00000001.fwfm"])


# what is refused


def test_checkpoints_of_another_training_are_not_overwritten(place):
    X, y = make_rows()
    train(X, y, checkpoint=place)
    before = names(place)
    with pytest.raises(
        CheckpointError, match=r"holds checkpoints of another training, checkpoint-00000002\.fwfm among"
    ):
        train(X, y, checkpoint=place)
    assert names(place) == before


X, y = make_rows()
weight = np.linspace(1, 2, 44)
OTHER = [
    ({"learning_rate": 0.2}, OptionError, "learning_rate was 0.1 and is 0.2"),
    ({"seed": 1, "batch_size": 4}, OptionError, "batch_size was 8 and is 4; seed was 0 and is 1"),
    ({"patience": 3}, OptionError, "patience was None and is 3"),
    ({"sample_weight": weight}, InputError, "with other rows, targets or weights"),
    ({"eval_set": (X, y)}, InputError, "with other rows of eval_set"),
    ({"X": X.take(np.arange(43, -1, -1))}, InputError, "with other rows, targets or weights"),
    ({"X": X.take(np.arange(40)), "y": y[:40]}, InputError, "with other rows, targets or weights"),
    ({"X": make_rows()[0].take(np.arange(44)), "loss": "softmax"}, OptionError, "loss was 'auto' and is 'softmax'"),
    ({"y": y[::-1]}, InputError, "with other rows, targets or weights"),
    (
        {"y": np.where(y == "odd", "b", "a"), "eval_set": (X, np.where(y == "odd", "b", "a"))},
        InputError,
        r"with other labels: \['even', 'odd'\] then, \['a', 'b'\] now",
    ),
]


@pytest.mark.parametrize(
    "other, error, message", OTHER, ids=[str(i) + " ".join(other) for i, (other, *_) in enumerate(OTHER)]
)
def test_other_data_and_options_are_refused(other, error, message, place):
    evaluation = {"eval_set": (X.take(np.arange(20)), y[:20])}
    train(X, y, checkpoint=place, **evaluation)
    before = names(place)
    given = {"X": X, "y": y, **evaluation, **other}
    with pytest.raises(error, match=message):
        train(given.pop("X"), given.pop("y"), resume=place, checkpoint=place, **given)
    assert names(place) == before


@pytest.mark.parametrize(
    "options, message",
    [
        ({"checkpoint": 3}, "checkpoint must be the path of a directory; got 3"),
        ({"resume": True}, "resume must be the path"),
        ({"checkpoint_every": 5}, "checkpoint_every=5 needs a place to write to"),
        ({"checkpoint": "x", "checkpoint_every": 0}, "checkpoint_every must be a whole number, 1 or above"),
    ],
)
def test_options_are_checked_before_anything_is_made(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=message):
        train(X, y, **options)
    assert names(tmp_path) == []


def test_another_numpy_is_warned_of(place, monkeypatch):
    train(X, y, checkpoint=place)
    monkeypatch.setattr(np, "__version__", "1.0")
    with pytest.warns(StreamWarning, match="and this is 1.0"):
        train(X, y, resume=place, epochs=3)


# damage


def damage(path, how):
    with open(path, "r+b") as file:
        if how == "cut":
            file.truncate(100)
        elif how == "empty":
            file.truncate(0)
        else:
            file.seek(-1, os.SEEK_END)
            byte = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(how, place):
    killed(X, y, KillAt(9), checkpoint=place, checkpoint_every=1)
    newest = names(place)[-1]
    damage(os.path.join(place, newest), how)
    with pytest.warns(FwfmWarning, match=f"{newest}' is damaged.*Training goes on from the one before") as caught:
        model = train(X, y, checkpoint=place, checkpoint_every=100, resume=place)
    assert report(model) == report(train(X, y))
    assert newest not in names(place)
    assert len(names(place)) == 2
    assert len(caught) == 1


def test_two_damaged_ones_are_an_error(place):
    train(X, y, checkpoint=place)
    before = names(place)
    for name in before:
        damage(os.path.join(place, name), "flipped")
    with pytest.raises(CheckpointError, match=r"no checkpoint can be read: .*00000002.*damaged.*delete them"):
        train(X, y, checkpoint=place, resume=place)
    assert names(place) == before


def test_a_model_file_is_no_checkpoint(place):
    os.makedirs(place)
    train(X, y).save(os.path.join(place, "checkpoint-00000001.fwfm"))
    with pytest.raises(CheckpointError, match="it is a model file, but not a checkpoint"):
        train(X, y, resume=place)


def test_warnings_point_at_the_caller(place):
    train(X, y, checkpoint=place)
    damage(os.path.join(place, names(place)[-1]), "cut")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fwfm_gpu.train(X, y, n_factors=3, batch_size=8, epochs=2, progress=False, resume=place)
    assert [warning.filename for warning in caught] == [__file__]
