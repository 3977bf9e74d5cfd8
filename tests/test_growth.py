"""Models that grow: what was learned stays to the bit, what is new starts as the contract says, on every engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import RULES, bits, train

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import FwfmWarning, InputError, InputTypeError
from fwfm_gpu.model import FwFM, Trained

OLD = [0, 0, 0, 1, 1]  # the field of each feature at first
NEW = [1, 0, 3]  # of those that come: two of known fields, one of a field that skips a number
WIDE = [*OLD, *NEW]


def make_rows(features, count, seed):
    """Rows of one or two of the first so many features, with labels."""
    random = np.random.default_rng(seed)
    dense = random.integers(0, 3, (count, features)) * (random.random((count, features)) < 0.5) * 0.5
    return FieldMatrix.from_matrix(dense, WIDE[:features]), np.where(dense.sum(axis=1) > 1, "high", "low")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_it_is_as_if_the_features_had_always_been_there(device, rule, loss):
    first, second = make_rows(5, 40, 0), make_rows(8, 40, 1)
    options = {"optimizer": rule, "loss": loss, "epochs": 0, "device": device, "init_scale": 0.3}
    if loss == "softmax":
        first, second = ((X, np.arange(40) % 3) for X, _ in (first, second))
    grown = train(*first, **options).partial_fit(*first)
    assert grown.grow(NEW) is grown
    grown.partial_fit(*second)

    start = train(FieldMatrix.from_matrix(np.eye(8), WIDE), np.resize(first[1], 8), **options)
    narrow, C = train(*first, **options).parameters, start.parameters.n_classes
    drawn = np.random.default_rng([0, 5, 3]).normal(0, 0.3, (C, 3, 3)).astype(np.float32)
    parameters = replace(start.parameters, V=np.concatenate((narrow.V, drawn), axis=1))
    state = start.options.recipe(loss).start_state(parameters)
    always = FwFM(start.options, loss, start.labels, start.columns, Trained(parameters, state, {}))
    widened = FieldMatrix.from_matrix(np.pad(first[0].to_csr().toarray(), ((0, 0), (0, 3))), WIDE)
    always.partial_fit(widened, first[1]).partial_fit(*second)
    assert bits(grown)[0] == bits(always)[0]
    np.testing.assert_array_equal(grown.columns.fields, WIDE)
    assert grown.columns.n_fields == 4


def test_growing_changes_no_score_and_draws_nothing(path):
    X, y = make_rows(5, 40, 0)
    model = train(X, y)
    before, drawn, history = model.decision_function(X), model.trained.generator_state, model.history
    wide = FieldMatrix.from_matrix(np.pad(X.to_csr().toarray(), ((0, 0), (0, 3))), WIDE)
    np.testing.assert_array_equal(model.grow(NEW).decision_function(wide), before)
    assert (model.trained.generator_state, model.history) == (drawn, history)
    assert not model.parameters.w[:, 5:].any() and model.parameters.V[:, 5:].all()
    assert (model.parameters.R[:, 2:] == 1).all() and (model.parameters.R[:, :, 2:] == 1).all()
    model.save(path)
    loaded = fwfm_gpu.load(path)
    assert bits(loaded) == bits(model)
    second = make_rows(8, 40, 1)
    assert bits(loaded.continue_training(*second, epochs=2, progress=False)) == bits(
        model.continue_training(*second, epochs=2, progress=False)
    )


def test_a_second_growth_has_other_factors():
    X, y = make_rows(5, 40, 0)
    model = train(X, y).grow([0]).grow([0])
    assert not np.array_equal(model.parameters.V[:, 5], model.parameters.V[:, 6])


def test_a_model_without_state_grows_too(path):
    X, y = make_rows(5, 40, 0)
    train(X, y).save(path, optimizer_state=False)
    model = fwfm_gpu.load(path).grow(NEW)
    assert model.optimizer_state is None and model.parameters.n_features == 8


def test_an_interrupted_epoch_is_left_out_after_growing():
    X, y = make_rows(5, 40, 0)
    stop = fwfm_gpu.Callback()
    stop.on_batches = lambda status: True
    model = train(X, y, callbacks=[stop]).grow(NEW)
    assert model.trained.position.batches
    with pytest.warns(FwfmWarning, match="interrupted on other data"):
        model.continue_training(*make_rows(8, 40, 1), epochs=1, progress=False)


def test_growth_forgets_the_best_epoch():
    X, y = make_rows(5, 40, 0)
    model = train(X, y, eval_set=(X, y), patience=3, epochs=4)
    model.trained = replace(model.trained, best=object())
    assert model.grow(NEW).trained.best is None


def test_names_are_of_all_or_of_none():
    X, y = make_rows(5, 40, 0)
    named = FieldMatrix(X.indptr, X.indices, X.values, X.fields, 2, ("a", "b"), tuple("vwxyz"))
    model = train(named, y).grow(NEW, feature_names=["p", "q", "r"], field_names=["c", "d"])
    assert model.columns.feature_names == tuple("vwxyzpqr") and model.columns.field_names == tuple("abcd")
    with pytest.raises(InputError, match="feature_names must hold 1 names, got 0"):
        model.grow([0])
    with pytest.raises(InputError, match="feature_names must be left out"):
        train(X, y).grow([0], feature_names=["p"])


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ([-1], InputError, "fields must be at least 0"),
        ([0.5], (InputError, InputTypeError), "fields must"),
        ([[0]], InputError, "expected shape"),
        ([10**6], InputError, "too many"),
        (FieldMatrix.from_matrix(np.eye(3), [0, 0, 0]), InputError, "expected at least 5, got 3"),
        (FieldMatrix.from_matrix(np.eye(6), [0, 0, 1, 1, 1, 0]), InputError, "column 2 is of field 0, and of field 1"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(fields, kind, words):
    X, y = make_rows(5, 40, 0)
    model = train(X, y)
    before, columns = bits(model), model.columns
    with pytest.raises(kind, match=words):
        model.grow(fields)
    assert bits(model) == before and model.columns is columns


def test_rows_of_other_names_are_refused():
    X, y = make_rows(5, 40, 0)
    named = FieldMatrix(X.indptr, X.indices, X.values, X.fields, 2, ("a", "b"), tuple("vwxyz"))
    wide = FieldMatrix.from_matrix(np.eye(6), [*OLD, 0], field_names=["a", "b"], feature_names=list("vwXyzp"))
    with pytest.raises(InputError, match=r"expected 'x' at feature_names\[2\], got 'X'"):
        train(named, y).grow(wide)


def test_nothing_to_grow_by_changes_nothing():
    model = fwfm_gpu.train(np.eye(4), [0, 1, 0, 1], device="numpy", progress=False)
    before = bits(model)
    assert bits(model.grow([])) == before
    assert bits(model.grow(np.zeros(0, int))) == before
    assert bits(model.continue_training(np.eye(4), [0, 1, 0, 1], epochs=0, progress=False)) == before


def test_a_table_is_encoded_first():
    model = fwfm_gpu.train(np.eye(4), [0, 1, 0, 1], device="numpy", progress=False)
    with pytest.raises(InputTypeError, match=r"got a table \(dict\)\. Pass encoder\.transform\(table\) after"):
        model.grow({"a": [1]})
