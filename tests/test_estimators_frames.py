"""Frames in, of whichever library: numbers as they are, everything else through an encoder that the model keeps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from small_models import bits

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")
pytest.importorskip("narwhals", reason="narwhals is missing: frames are read through it")
pytest.importorskip("pandas", reason="pandas is missing: there are no such frames to read")
pytest.importorskip("polars", reason="polars is missing: there are no such frames to read")
pytest.importorskip("pyarrow", reason="pyarrow is missing: frames are read through it")

import pandas as pd
import polars as pl
import pyarrow as pa
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FwFMClassifier, FwFMRegressor
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.io.tables import is_numeric

SMALL = {"n_factors": 3, "batch_size": 8, "epochs": 2, "device": "numpy"}
INSTALLED = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
random = np.random.default_rng(0)
COLUMNS = {
    "city": random.choice(["Oslo", "Bergen", "Tromsø"], 60).tolist(),
    "age": random.normal(40, 10, 60).tolist(),
    "visits": random.integers(0, 5, 60).tolist(),
}
NUMBERS = {name: COLUMNS[name] for name in ("age", "visits")}
y = np.where(np.array(COLUMNS["visits"]) > 2, "yes", "no")
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.fixture(params=FRAMES)
def frame_of(request):
    """Makes a frame of a dict, of each library in turn."""
    if request.param == "polars" and INSTALLED < (1, 9):
        pytest.skip("scikit-learn before 1.9 sees no names in frames of polars 2")
    return FRAMES[request.param]


def take(columns, rows):
    return {name: list(np.array(values)[rows]) for name, values in columns.items()}


def fitted(X, **options):
    return FwFMClassifier(**SMALL, **options).fit(X, y)


def test_a_frame_with_a_column_of_strings_is_encoded(frame_of):
    X = frame_of(COLUMNS)
    classifier = fitted(X)
    encoder = FieldEncoder()
    assert bits(classifier.model_) == bits(fwfm_gpu.train(encoder.fit_transform(COLUMNS), y, progress=False, **SMALL))
    assert classifier.n_features_in_ == 3
    assert classifier.feature_names_in_.tolist() == ["city", "age", "visits"]
    assert classifier.model_.columns.field_names == ("city", "age", "visits")
    want = classifier.model_.predict_proba(encoder.transform(COLUMNS))
    np.testing.assert_array_equal(classifier.predict_proba(X), want)
    np.testing.assert_array_equal(classifier.predict_proba(classifier.model_.columns.encoder.transform(X)), want)


def test_a_wholly_numeric_frame_trains_as_its_numbers(frame_of):
    X, array = frame_of(NUMBERS), np.column_stack([NUMBERS["age"], NUMBERS["visits"]])
    classifier, want = fitted(X), fitted(array)
    assert bits(classifier.model_) == bits(want.model_)
    np.testing.assert_array_equal(classifier.predict_proba(X), want.predict_proba(array))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        classifier.predict(array)
    assert classifier.feature_names_in_.tolist() == ["age", "visits"]
    assert classifier.model_.columns.feature_names == classifier.model_.columns.field_names == ("age", "visits")
    assert classifier.model_.columns.encoder is None


NUMERIC = {
    "floats": pd.DataFrame({"a": np.float32([1, 2]), "b": [1.0, 2.0]}),
    "booleans": pd.DataFrame({"a": [True, False], "b": [1.0, 2.0]}),
    "nullable": pd.DataFrame({"a": pd.array([1, 2], "Int64"), "b": pd.array([True, False], "boolean")}),
    "arrow": pd.DataFrame({"a": pd.array([1, 2], pd.ArrowDtype(pa.int32())), "b": [1.0, 2.0]}),
    "sparse": pd.DataFrame.sparse.from_spmatrix(sparse.eye_array(2)),
    "unnamed": pd.DataFrame([[1.0, 2.0], [3.0, 4.0]]),
}


@pytest.mark.parametrize("kind", NUMERIC)
def test_every_numeric_dtype_of_pandas_trains_as_its_numbers(kind):
    X, targets = NUMERIC[kind], [0.5, -0.5]
    assert is_numeric(X)
    regressor = FwFMRegressor(**SMALL).fit(X, targets)
    assert bits(regressor.model_) == bits(FwFMRegressor(**SMALL).fit(X.to_numpy().astype(float), targets).model_)


@pytest.mark.parametrize(
    "column",
    [["a", "b"], pd.Categorical([1, 2]), [pd.Timestamp("2024-01-01")] * 2, np.array([1, 2], object)],
    ids=["strings", "categories", "dates", "objects"],
)
def test_what_is_no_number(column):
    assert not is_numeric(pd.DataFrame({"a": column, "b": [1.0, 2.0]}))
    assert not is_numeric(pl.DataFrame({"a": ["x"], "b": [1.0]}))


def test_a_frame_of_numbers_may_have_fields():
    X = pd.DataFrame(NUMBERS)
    classifier = FwFMClassifier(**SMALL).fit(X, y, fields=[0, 0])
    assert classifier.R_.shape == (1, 1)
    assert classifier.model_.columns.feature_names == ("age", "visits")
    with pytest.raises(InputError, match="columns of a frame are fields already"):
        FwFMClassifier(**SMALL).fit(pd.DataFrame(COLUMNS), y, fields=[0, 0, 1])


def test_an_encoder_that_is_given_encodes_numbers_too():
    encoder = FieldEncoder(bins=4)
    classifier = fitted(pd.DataFrame(NUMBERS), encoder=encoder)
    want = fwfm_gpu.train(FieldEncoder(bins=4).fit_transform(NUMBERS), y, progress=False, **SMALL)
    assert bits(classifier.model_) == bits(want)
    assert "not fitted" in repr(encoder)  # fit learns a copy


@pytest.mark.parametrize("columns", [COLUMNS, NUMBERS], ids=["encoded", "numeric"])
def test_names_are_those_of_fit_in_their_order(columns, frame_of):
    X = frame_of(columns)
    classifier = fitted(X)
    backwards = frame_of({name: columns[name] for name in reversed(columns)})
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        classifier.predict(backwards)
    renamed = frame_of({("income" if name == "age" else name): values for name, values in columns.items()})
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- income"):
        classifier.predict(renamed)
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- visits"):
        classifier.predict(frame_of({name: columns[name] for name in columns if name != "visits"}))


def test_a_frame_is_needed_where_one_was_encoded():
    classifier = fitted(pd.DataFrame(COLUMNS))
    with pytest.raises(InputTypeError, match=r"X must be a frame, as in fit.*'city', 'age', 'visits'"):
        classifier.predict(np.ones((2, 3)))
    with pytest.raises(InputTypeError, match=r"X must be an array, a sparse matrix or a frame.*got a dict"):
        FwFMClassifier().fit(COLUMNS, y)
    np.testing.assert_array_equal(classifier.predict(COLUMNS), classifier.predict(pd.DataFrame(COLUMNS)))


def test_a_model_of_encoded_rows_reads_frames():
    encoder = FieldEncoder()
    classifier = fitted(encoder.fit_transform(COLUMNS))
    X = pd.DataFrame(COLUMNS)
    np.testing.assert_array_equal(classifier.predict(X), classifier.predict(encoder.transform(X)))
    assert classifier.n_features_in_ == len(encoder.get_feature_names_out())


def test_missing_and_unknown_values_are_the_encoders(frame_of):
    classifier = fitted(frame_of(COLUMNS), encoder=FieldEncoder(min_count=1))
    strange = frame_of({"city": ["Vardø", None], "age": [None, 40.0], "visits": [1, 2]})
    assert classifier.predict_proba(strange).shape == (2, 2)


def test_missing_numbers_are_refused_as_in_arrays(frame_of):
    with pytest.raises(ValueError, match="contains NaN"):
        fitted(frame_of({**NUMBERS, "age": [None, *NUMBERS["age"][1:]]}))


def test_an_eval_set_of_frames(frame_of):
    for columns in (COLUMNS, NUMBERS):
        X = frame_of(columns)
        classifier = FwFMClassifier(**SMALL).fit(X, y, eval_set=(X, y))
        proba = classifier.predict_proba(X)[np.arange(60), (y == "yes").astype(int)]
        assert classifier.history_[-1].metrics["logloss"] == pytest.approx(-np.mean(np.log(proba)))


def test_a_first_chunk_teaches_the_categories(frame_of):
    X, rest = frame_of(take(COLUMNS, slice(0, 32))), frame_of(take(COLUMNS, slice(32, 60)))
    classifier = FwFMClassifier(**SMALL).partial_fit(X, y[:32], classes=["no", "yes"]).partial_fit(rest, y[32:])
    model = fwfm_gpu.train(
        FieldEncoder().fit_transform(X), y[:32], progress=False, **{**SMALL, "epochs": 1}, shuffle=False
    )
    assert bits(classifier.model_)[0] == bits(model.partial_fit(rest, y[32:]))[0]


def test_an_encoder_that_was_fitted_serves_all_chunks():
    encoder = FieldEncoder().fit(COLUMNS)
    classifier = FwFMClassifier(**SMALL, encoder=encoder)
    for rows in (slice(0, 32), slice(32, 60)):
        classifier.partial_fit(pd.DataFrame(take(COLUMNS, rows)), y[rows], classes=["no", "yes"])
    want = FwFMClassifier(**SMALL).partial_fit(encoder.transform(COLUMNS), y, classes=["no", "yes"])
    assert bits(classifier.model_)[0] == bits(want.model_)[0]


def test_a_warm_start_keeps_the_encoder():
    X = pd.DataFrame(COLUMNS)
    classifier = fitted(X, warm_start=True)
    encoder = classifier.model_.columns.encoder
    classifier.fit(X.iloc[:40], y[:40])
    assert classifier.model_.columns.encoder is encoder
    assert classifier.n_iter_ == 4


@pytest.mark.parametrize("series", [pd.Series, pl.Series, pa.array], ids=["pandas", "polars", "pyarrow"])
def test_targets_and_weights_may_be_series(series):
    X, weight = pd.DataFrame(COLUMNS), np.linspace(1, 2, 60)
    classifier = FwFMClassifier(**SMALL).fit(X, series(y.tolist()), sample_weight=series(weight.tolist()))
    assert bits(classifier.model_) == bits(FwFMClassifier(**SMALL).fit(X, y, sample_weight=weight).model_)
    assert classifier.predict(X).tolist() == np.where(classifier.predict_proba(X)[:, 1] > 0.5, "yes", "no").tolist()


def test_an_encoder_is_a_step_of_a_pipeline(frame_of):
    frame = frame_of(COLUMNS)
    pipeline = make_pipeline(FieldEncoder(bins=4), FwFMClassifier(**SMALL)).fit(frame, y)
    want = FwFMClassifier(**SMALL, encoder=FieldEncoder(bins=4)).fit(frame, y)
    assert bits(pipeline[-1].model_) == bits(want.model_)
    assert pipeline.predict(frame).tolist() == want.predict(frame).tolist()
    assert clone(pipeline).fit(frame, y).score(frame, y) == pipeline.score(frame, y)
    encoder = FieldEncoder(bins=4).fit(frame, y=None)
    assert encoder.transform(frame).fingerprint() == FieldEncoder(bins=4).fit_transform(frame, y).fingerprint()
    assert encoder.partial_fit(frame, y).transform(frame).fingerprint() == encoder.transform(frame).fingerprint()


def test_what_takes_models_says_where_an_estimator_has_its_own():
    frame = pd.DataFrame(COLUMNS)
    classifier = FwFMClassifier(**SMALL).fit(frame, y)
    with pytest.raises(InputTypeError, match=r"got FwFMClassifier\. Pass its \.model_\."):
        fwfm_gpu.evaluate(classifier, frame, y)
    assert fwfm_gpu.evaluate(classifier.model_, frame, y)
