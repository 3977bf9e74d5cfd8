"""Training that goes on: in chunks, from a file, with more rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import EVERY_KIND, bits, make_rows, train

import fwfm_gpu
from fwfm_gpu.errors import MissingStateError, OptionError, StreamWarning

# training that goes on


@pytest.mark.parametrize("rule, loss, dtype", EVERY_KIND)
def test_chunks_equal_one_pass(rule, loss, dtype):
    X, y = make_rows(loss=loss)
    options = {"optimizer": rule, "dtype": dtype, "epochs": 0, "init_scale": 0.3}
    whole, parts = train(X, y, **options), train(X, y, **options)
    drawn = whole.trained.generator_state
    whole.partial_fit(X, y)
    for lo, hi in ((0, 16), (16, 24), (24, 44)):  # of batches of 8
        assert parts.partial_fit(X.take(slice(lo, hi)), y[lo:hi]) is parts
    assert bits(parts) == bits(whole)
    assert bits(whole)[0] == bits(train(X, y, **{**options, "epochs": 1, "shuffle": False}))[0]
    assert whole.trained.generator_state == drawn


def test_a_pass_in_the_order_given():
    X, y = make_rows()
    model = train(X, y, epochs=0)
    backwards = np.arange(44)[::-1]
    forwards = bits(train(X, y, epochs=0).partial_fit(X, y))
    assert bits(model.partial_fit(X.take(backwards), y[backwards])) != forwards


def test_a_pass_takes_weights():
    X, y = make_rows()
    weight = np.linspace(0, 2, 44)
    weighted = train(X, y, epochs=0).partial_fit(X, y, sample_weight=weight)
    assert bits(weighted)[0] == bits(train(X, y, epochs=1, shuffle=False, sample_weight=weight))[0]
    assert bits(weighted)[0] != bits(train(X, y, epochs=0).partial_fit(X, y))[0]


def test_a_pass_keeps_the_class_weights():
    X, y = make_rows()
    model = train(X, y, epochs=0, class_weight={"odd": 3.0}).partial_fit(X, y)
    want = train(X, y, epochs=0).partial_fit(X, y, sample_weight=np.where(y == "odd", 3.0, 1.0))
    assert bits(model)[0] == bits(want)[0]


def test_a_pass_holds_nothing_out():
    X, y = make_rows()
    model = train(X, y, epochs=0, validation_fraction=0.5)
    start = model.parameters.w.copy()
    model.partial_fit(X, y)
    touched = np.unique(X.indices)
    assert np.all(model.parameters.w[0, touched] != start[0, touched])


def test_a_pass_cannot_balance_classes():
    X, y = make_rows()
    model = train(X, y, class_weight="balanced")
    before = bits(model)
    with pytest.raises(OptionError, match="partial_fit cannot balance classes"):
        model.partial_fit(X, y)
    assert bits(model) == before


@pytest.mark.parametrize("rule, loss, dtype", EVERY_KIND)
def test_training_that_goes_on_equals_training_that_never_stopped(rule, loss, dtype, tmp_path):
    X, y = make_rows(loss=loss)
    options = {"optimizer": rule, "dtype": dtype, "init_scale": 0.3, "validation_fraction": 0.2}
    never_stopped = train(X, y, epochs=5, **options)
    gone_on = train(X, y, epochs=3, **options)
    gone_on.save(tmp_path / "model.fwfm")
    assert gone_on.continue_training(X, y, epochs=2, progress=False) is gone_on
    loaded = fwfm_gpu.load(tmp_path / "model.fwfm").continue_training(X, y, epochs=2, progress=False)
    for model in (gone_on, loaded):
        assert bits(model) == bits(never_stopped)
        told = [(record.epoch, record.loss, record.metrics) for record in model.history]
        assert told == [(record.epoch, record.loss, record.metrics) for record in never_stopped.history]


def test_weights_go_on_too():
    X, y = make_rows()
    options = {"class_weight": "balanced", "label_smoothing": 0.1, "shuffle": False}
    weight = np.linspace(0.5, 2, 44)
    parts = train(X, y, epochs=1, sample_weight=weight, **options)
    parts.continue_training(X, y, epochs=2, sample_weight=weight, progress=False)
    assert bits(parts) == bits(train(X, y, epochs=3, sample_weight=weight, **options))


def test_training_goes_on_with_more_rows():
    X, y = make_rows()
    model = train(X, y, epochs=1)
    more, labels = make_rows(60, seed=8)
    model.continue_training(more, labels, epochs=1, progress=False)
    assert [record.epoch for record in model.history] == [1, 2]


def test_no_more_epochs_change_nothing():
    X, y = make_rows()
    model = train(X, y)
    before = bits(model)
    model.continue_training(X, y, epochs=0, progress=False)
    assert bits(model) == before


def test_what_the_caller_changes_later_is_without_effect():
    X, y = make_rows()
    class_weight = {"odd": 3.0}
    model = train(X, y, class_weight=class_weight, epochs=1)
    class_weight["odd"] = 100.0
    model.continue_training(X, y, epochs=1, progress=False)
    assert bits(model) == bits(train(X, y, class_weight={"odd": 3.0}, epochs=2))


@pytest.mark.parametrize("go_on", ["continue_training", "partial_fit"])
def test_training_on_needs_the_state(go_on):
    X, y = make_rows()
    model = train(X, y)
    model.trained = replace(model.trained, optimizer_state=None)
    more = {"epochs": 1} if go_on == "continue_training" else {}
    with pytest.raises(MissingStateError, match=r"optimizer state.*saved with optimizer_state=False"):
        getattr(model, go_on)(X, y, **more)


@pytest.mark.parametrize(
    "options, warned",
    [
        ({}, True),
        ({"shuffle": False, "validation_fraction": 0.2}, True),
        ({"shuffle": False}, False),
        ({"shuffle": False, "validation_fraction": 0.2, "validation": "tail"}, False),
    ],
    ids=str,
)
def test_another_numpy_version_is_warned_of_where_something_is_drawn(options, warned, recwarn):
    X, y = make_rows()
    model = train(X, y, **options)
    model.trained = replace(model.trained, numpy_version="1.0.0")
    if warned:
        with pytest.warns(StreamWarning, match=r"NumPy 1\.0\.0, and this is") as caught:
            model.continue_training(X, y, epochs=1, progress=False)
        assert caught[0].filename == __file__
    else:
        model.continue_training(X, y, epochs=1, progress=False)
        assert not recwarn.list
    assert model.trained.numpy_version == np.__version__


def test_a_pass_over_a_table_that_holds_its_label():
    table = {"a": np.array(["x", "y", "z", "x"] * 5), "w": np.linspace(0, 2, 20), "y": np.arange(20) % 3 % 2}
    named = {"label": "y", "weight": "w"}
    model = fwfm_gpu.train(table, device="numpy", progress=False, epochs=1, **named)
    want = fwfm_gpu.train(table, device="numpy", progress=False, epochs=1, **named)
    rows = want.columns.encoder.transform({"a": table["a"]})
    want.partial_fit(rows, table["y"], sample_weight=table["w"])
    assert bits(model.partial_fit(table, **named)) == bits(want)
    want.partial_fit(rows, table["y"])
    assert bits(model.partial_fit(table, label="y", columns=["a"])) == bits(want)
    with pytest.raises(OptionError, match="label must name the column"):
        model.partial_fit(table)
    with pytest.raises(OptionError, match="are for tables that hold their label"):
        model.partial_fit(rows, table["y"], label="y")
