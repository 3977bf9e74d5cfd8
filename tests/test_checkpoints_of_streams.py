"""Checkpoints of training on rows that are read while they are trained on."""

from __future__ import annotations

import os

import numpy as np
import pytest
from encoded_tables import make_table, take
from small_models import bits, make_rows
from small_models import train as train_anywhere

from fwfm_gpu import Callback
from fwfm_gpu.errors import InputError, OptionError

ROWS = 100
X, y = make_rows(ROWS)
OPTIONS = {"device": "numpy", "epochs": 3, "batch_size": 8, "shuffle_rows": 24}


class StoppedError(Exception):
    """In place of a signal that ends the process."""


class StopAfter(Callback):
    """End training after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def on_batches(self, status):
        self.left -= 1
        if self.left == 0:
            raise StoppedError


class Chunks:
    """(X, y) in chunks of one length, as often as asked."""

    def __init__(self, length, labels=y):
        self.length, self.labels = length, labels

    def __iter__(self):
        for lo in range(0, ROWS, self.length):
            own = slice(lo, lo + self.length)
            yield X.take(own), self.labels[own]


def train(source, **options):
    return train_anywhere(source, None, **{**OPTIONS, **options})


def report(model):
    """Everything but times."""
    return bits(model), [(r.epoch, r.loss, r.metrics) for r in model.history], model.fingerprint(history=True)


@pytest.mark.parametrize(
    ("batches", "shuffle"),
    [(1, True), (2, True), (4, True), (13, True), (14, True), (21, True), (4, False), (20, False)],
)
def test_going_on_within_a_window_and_at_its_end(batches, shuffle, tmp_path):
    written = {"checkpoint": tmp_path, "checkpoint_every": 1, "resume": tmp_path}
    options = {"eval_set": make_rows(20, seed=1), "patience": 5, "optimizer": "adam", "shuffle": shuffle}
    with pytest.raises(StoppedError):
        train(Chunks(7), callbacks=[StopAfter(batches)], **written, **options)
    model = train(Chunks(40), **written, **options)  # however the rows are cut
    assert report(model) == report(train(Chunks(7), **options))


def test_a_table_of_batches_goes_on_with_the_same_encoder(tmp_path):
    table = make_table(ROWS)
    table["clicked"] = table.pop("member")
    parts = [take(table, slice(lo, lo + 30)) for lo in range(0, ROWS, 30)]
    options = {"label": "clicked", "checkpoint": tmp_path, "checkpoint_every": 5}
    with pytest.raises(StoppedError):
        train(parts, callbacks=[StopAfter(18)], **options)
    model = train(parts, resume=tmp_path, **options)
    assert report(model) == report(train(parts, label="clicked"))
    with pytest.raises(InputError, match=r"with other columns: \d+ then, \d+ now"):
        train(parts, resume=tmp_path, label="clicked", columns=[name for name in table if name != "clicked"][:2])


def test_other_rows_and_windows_are_refused(tmp_path):
    train(Chunks(7), checkpoint=tmp_path)
    with pytest.raises(OptionError, match="shuffle_rows was 24 and is 32"):
        train(Chunks(7), resume=tmp_path, shuffle_rows=32)
    with pytest.raises(InputError, match="other rows, targets or weights"):
        train(Chunks(7, np.roll(y, 1)), resume=tmp_path)
    assert len(os.listdir(tmp_path)) == 2
