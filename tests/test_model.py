"""A trained model: what it predicts, how it reads rows, how it travels, and many threads at once."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.model import Columns
from fwfm_gpu.numerics import sigmoid64, softmax64

X = np.random.default_rng(0).integers(-2, 3, (30, 5)) * 0.5
FIELDS = [0, 0, 1, 2, 2]
Y = {
    "logistic": np.where(X.sum(axis=1) > 0, "up", "down"),
    "softmax": np.digitize(X.sum(axis=1), [-1, 1]),
    "squared": X.sum(axis=1) + 0.125,
}
LOSSES = tuple(Y)


def train(loss="logistic", y=None, **options):
    """Small and quiet."""
    settings = {"fields": FIELDS, "loss": loss, "n_factors": 3, "epochs": 3, "batch_size": 8, "learning_rate": 0.5}
    return fwfm_gpu.train(X, Y[loss] if y is None else y, **{**settings, "progress": False, **options})


# predictions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss, shape", [("logistic", (30,)), ("squared", (30,)), ("softmax", (30, 3))])
def test_scores(loss, shape, dtype):
    model = train(loss, dtype=dtype)
    scores = model.decision_function(X)
    assert (scores.shape, scores.dtype) == (shape, np.dtype(dtype))
    p = model.parameters
    assert (p.n_classes, p.n_features, p.n_fields, p.n_factors) == (3 if loss == "softmax" else 1, 5, 3, 3)
    for row in range(3):
        for c in range(p.n_classes):
            s = p.w0[c] + p.w[c] @ X[row]
            pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
            s += sum(p.R[c, FIELDS[a], FIELDS[b]] * (p.V[c, a] @ p.V[c, b]) * X[row, a] * X[row, b] for a, b in pairs)
            assert np.atleast_1d(scores[row])[c] == pytest.approx(s, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss, C", [("logistic", 2), ("softmax", 3)])
def test_probabilities(loss, C):
    model = train(loss)
    p = model.predict_proba(X)
    assert (p.shape, p.dtype) == ((30, C), np.float64)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    scores = model.decision_function(X).astype(np.float64)
    if loss == "softmax":
        np.testing.assert_array_equal(p, softmax64(scores))
    else:
        np.testing.assert_array_equal(p[:, 1], sigmoid64(scores))


def test_a_regression_has_no_probabilities():
    with pytest.raises(OptionError, match=r'predict_proba needs classes.*loss="squared"\. Call predict'):
        train("squared").predict_proba(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_regression_predicts_its_scores(dtype):
    model = train("squared", dtype=dtype)
    np.testing.assert_array_equal(model.predict(X), model.decision_function(X), strict=True)
    assert model.predict(X).dtype == np.dtype(dtype)
    assert model.classes is None


LABELS = {
    "strings": np.array(["down", "up"]),
    "wide strings": np.array(["down", "up"], "<U9"),
    "objects": np.array(["down", "up"], object),
    "unicode": np.array(["вниз", "上"]),
    "booleans": np.array([False, True]),
    "integers": np.array([-7, 12]),
    "small integers": np.array([3, 5], np.int8),
    "uint64": np.array([0, 2**64 - 1], np.uint64),
    "floats": np.array([0.5, 2.5]),
    "float32": np.array([0.0, 1.0], np.float32),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_came(kind):
    labels = LABELS[kind]
    place = (X.sum(axis=1) > 0).astype(int)
    model = train("auto", labels[place])
    assert model.loss == "logistic"
    predicted = model.predict(X)
    expected = np.array(labels.tolist()) if labels.dtype == object else labels
    np.testing.assert_array_equal(model.classes, expected, strict=True)
    np.testing.assert_array_equal(predicted, expected[(model.decision_function(X) > 0).astype(int)], strict=True)
    assert np.mean(predicted == expected[place]) > 0.9


@pytest.mark.parametrize("labels", [["a", "c", "b"], [30, 10, 20], [-1, 0, 1]])
def test_several_labels(labels):
    labels = np.array(labels)
    model = train("softmax", labels[Y["softmax"]])
    np.testing.assert_array_equal(model.classes, np.sort(labels))
    np.testing.assert_array_equal(model.predict(X), np.sort(labels)[np.argmax(model.predict_proba(X), axis=1)])


def test_the_second_of_two_labels_needs_a_score_above_0():
    fresh = train(epochs=0, n_factors=0)
    assert set(fresh.decision_function(X)) == {0}
    assert set(fresh.predict(X)) == {"down"}
    assert set(train("softmax", epochs=0, n_factors=0).predict(X)) == {0}
    assert set(fresh.predict_proba(X).ravel()) == {0.5}


def test_huge_scores_make_no_warning(recwarn):
    model = train(n_factors=0, dtype="float64")
    model.predict_proba(X * 1e300)
    assert not recwarn.list


@pytest.mark.parametrize("loss", LOSSES)
def test_no_rows(loss):
    model = train(loss)
    assert model.decision_function(X[:0]).shape == ((0, 3) if loss == "softmax" else (0,))
    assert model.predict(X[:0]).shape == (0,)
    assert loss == "squared" or model.predict_proba(X[:0]).shape == (0, 3 if loss == "softmax" else 2)


def test_a_row_alone_scores_as_among_others():
    model = train()
    together = model.decision_function(X)
    alone = np.concatenate([model.decision_function(X[[row]]) for row in range(30)])
    np.testing.assert_array_equal(alone, together)


def test_predictions_see_training_go_on():
    model = train(epochs=1)
    before = model.decision_function(X)
    model.continue_training(X, Y["logistic"], epochs=2, progress=False)
    np.testing.assert_array_equal(model.decision_function(X), train().decision_function(X))
    assert np.any(model.decision_function(X) != before)
    model.partial_fit(X, Y["logistic"])
    assert np.any(model.decision_function(X) != train().decision_function(X))


# rows


FORMS = {
    "CSR": sparse.csr_array(X),
    "CSC": sparse.csc_matrix(X),
    "COO": sparse.coo_array(X),
    "lists": X.tolist(),
    "float32": X.astype(np.float32),
    "FieldMatrix": FieldMatrix.from_matrix(X, FIELDS),
    "FieldMatrix with names": FieldMatrix.from_matrix(X, FIELDS, feature_names=list("abcde")),
    "FieldMatrix with more fields": FieldMatrix.from_matrix(X, FIELDS, field_names=["a", "b", "c", "unused"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows(form):
    model = train()
    np.testing.assert_array_equal(model.decision_function(FORMS[form]), model.decision_function(X))


@pytest.mark.parametrize("call", ["decision_function", "predict", "predict_proba"])
@pytest.mark.parametrize("rows", [X[:, :4], sparse.csr_array(X[:, :4]), FieldMatrix.from_matrix(X[:, :4], FIELDS[:4])])
def test_other_columns_are_refused(call, rows):
    with pytest.raises(InputError, match=r"expected 5, got 4\. Build X with the same columns in the same order"):
        getattr(train(), call)(rows)


def test_more_columns_than_may_be_fields_of_their_own():
    model = fwfm_gpu.train(sparse.eye_array(4, 20_000), [0, 1, 0, 1], fields=np.zeros(20_000, int), progress=False)
    assert model.predict(sparse.csr_array((3, 20_000))).shape == (3,)
    with pytest.raises(InputError, match="expected 20000, got 20001"):
        model.predict(sparse.csr_array((3, 20_001)))


def test_other_fields_are_refused():
    rows = FieldMatrix.from_matrix(X, [0, 0, 1, 1, 2])
    with pytest.raises(InputError, match="column 3 is of field 2, and of field 1 in X"):
        train().predict(rows)


def test_columns_know_names():
    rows = FieldMatrix.from_matrix(X, FIELDS, field_names=["x", "y", "z"], feature_names=list("abcde"))
    columns = Columns.of(rows)
    assert (columns.n_fields, columns.field_names, columns.feature_names) == (3, ("x", "y", "z"), tuple("abcde"))
    with pytest.raises(InputError, match="row 1, column 2 \\(feature 'c'\\)"):
        columns.read([[0] * 5, [0, 0, np.nan, 0, 0]], "float32")


def test_values_are_rounded_once():
    read = Columns.of(FieldMatrix.from_matrix(X, FIELDS)).read(np.full((1, 5), 1 / 3), "float32")
    assert read.values.tolist() == [float(np.float32(1 / 3))] * 5


# the object


def test_what_it_says_of_itself():
    assert repr(train()) == "FwFM(logistic, 5 features, 3 fields, 3 factors, 2 labels, float32)"
    assert repr(train("squared", dtype="float64")) == "FwFM(squared, 5 features, 3 fields, 3 factors, float64)"


def test_parameters_are_read_only():
    model = train()
    for model_or_copy in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for array in model_or_copy.parameters.arrays().values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


@pytest.mark.parametrize(
    "rule, names",
    [
        ("sgd", []),
        ("adagrad", ["acc"]),
        ("adam", ["m", "v", "t"]),
        ("ftrl", ["z", "n"]),
    ],
)
@pytest.mark.parametrize("loss, C", [("logistic", 1), ("softmax", 3)])
def test_the_state_has_the_published_order(rule, names, loss, C):
    state = train(loss, optimizer=rule).optimizer_state
    listed = iter(state.as_list())
    for group, shape in {"w0": (C,), "w": (C, 5), "V": (C, 5, 3), "R": (C, 3, 3)}.items():
        for name in names:
            array = next(listed)
            assert array.shape == shape, (name, group)
            if name != "t":
                assert array is getattr(state[name], group)
    assert next(listed, None) is None
    if rule == "adam":
        assert state.as_list()[2].tolist() == [12] * C  # 3 epochs of 4 batches touch the bias


TRAVEL = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.mark.parametrize("way", TRAVEL)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_predicts_and_goes_on_the_same(way, loss, used, tmp_path):
    model = train(loss)
    if used:
        model.predict(X)  # resident by now
    other = TRAVEL[way](model)
    np.testing.assert_array_equal(other.predict(X), model.predict(X), strict=True)
    other.continue_training(X, Y[loss], epochs=2, progress=False)
    np.testing.assert_array_equal(other.decision_function(X), train(loss, epochs=5).decision_function(X))
    assert len(model.history) == 3
    np.testing.assert_array_equal(model.decision_function(X), train(loss).decision_function(X))


def test_a_model_from_a_file_travels_too(tmp_path):
    train().save(tmp_path / "model.fwfm")
    model = fwfm_gpu.load(tmp_path / "model.fwfm")
    for travel in TRAVEL.values():
        np.testing.assert_array_equal(travel(model).decision_function(X), train().decision_function(X))


# threads


def test_many_threads_predict_while_one_trains():
    model = train(epochs=0)
    stages = [model.decision_function(X).tobytes()]
    training = threading.Event()
    training.set()

    def predict():
        seen = []
        while training.is_set() or not seen:
            seen.append(model.decision_function(X).tobytes())
        return seen

    with ThreadPoolExecutor(8) as pool:
        predictions = [pool.submit(predict) for _ in range(8)]
        try:
            for _ in range(20):
                model.continue_training(X, Y["logistic"], epochs=1, progress=False)
                stages.append(model.decision_function(X).tobytes())
        finally:
            training.clear()
        results = [prediction.result() for prediction in predictions]
    assert len(set(stages)) == 21
    for seen in results:
        places = [stages.index(scores) for scores in seen]  # each is one stage, never a mix
        assert places == sorted(places)


def test_training_may_run_in_a_thread():
    with ThreadPoolExecutor(2) as pool:
        models = list(pool.map(lambda seed: train(seed=seed), [1, 2]))
    for seed, model in zip([1, 2], models, strict=True):
        np.testing.assert_array_equal(model.parameters.V, train(seed=seed).parameters.V)
