"""The estimators in the company of scikit-learn: pipelines, searches, calibration, processes, files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from small_models import bits, make_rows

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")

import joblib
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fwfm_gpu import FwFMClassifier, FwFMRegressor

SMALL = {"n_factors": 2, "batch_size": 16, "epochs": 3, "device": "numpy"}
ROWS, LABELS = make_rows(120)
X, FIELDS = ROWS.to_csr().toarray(), np.array(ROWS.fields)
NUMBERS = make_rows(120, "squared")[1]
WEIGHT = np.random.default_rng(2).uniform(0.5, 2, 120)


def classifier(**options):
    return FwFMClassifier(**SMALL, **options)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_in_a_pipeline():
    ids = np.column_stack([X[:, :6].argmax(1), X[:, 6:11].argmax(1), X[:, 11:].argmax(1)])
    pipeline = make_pipeline(OneHotEncoder(), classifier()).fit(ids, LABELS, fwfmclassifier__fields=FIELDS)
    assert bits(pipeline[-1].model_) == bits(classifier().fit(X, LABELS, FIELDS).model_)
    np.testing.assert_array_equal(pipeline.predict(ids), pipeline[-1].predict(X))
    assert pipeline.score(ids, LABELS) == np.mean(pipeline.predict(ids) == LABELS)


def test_in_a_grid_search():
    search = GridSearchCV(classifier(), {"n_factors": [0, 3], "learning_rate": [0.1, 0.3]}, scoring="roc_auc", cv=3)
    search.fit(X, LABELS, fields=FIELDS)
    assert set(search.best_params_) == {"n_factors", "learning_rate"}
    assert bits(search.best_estimator_.model_) == bits(
        clone(classifier()).set_params(**search.best_params_).fit(X, LABELS, FIELDS).model_
    )


def test_two_processes_score_as_one():
    one = cross_val_score(classifier(), X, LABELS, cv=4, params={"fields": FIELDS})
    two = cross_val_score(classifier(), X, LABELS, cv=4, params={"fields": FIELDS}, n_jobs=2)
    np.testing.assert_array_equal(one, two)


def test_out_of_fold_probabilities():
    proba = cross_val_predict(classifier(), X, LABELS, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_a_clone_is_unfitted_and_trains_alike():
    fitted = classifier(callbacks=(print,), random_state=3).fit(X, LABELS)
    again = clone(fitted)
    assert not hasattr(again, "model_")
    assert again.get_params() == fitted.get_params()
    assert bits(again.fit(X, LABELS).model_) == bits(fitted.model_)


@pytest.mark.parametrize("kind", ["pickle", "joblib", "joblib, mapped"])
def test_a_stored_estimator_predicts_and_goes_on(kind, tmp_path):
    fitted = classifier(warm_start=True).fit(X, LABELS)
    fitted.predict(X)  # an engine is up
    if kind == "pickle":
        stored = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, tmp_path / "classifier.joblib")
        stored = joblib.load(tmp_path / "classifier.joblib", mmap_mode="r" if "mapped" in kind else None)
    np.testing.assert_array_equal(stored.predict_proba(X), fitted.predict_proba(X))
    assert bits(stored.fit(X, LABELS).model_) == bits(fitted.fit(X, LABELS).model_)


def test_no_engine_travels():
    fitted = classifier().fit(X, LABELS)
    before = len(pickle.dumps(fitted))
    fitted.predict(X)
    assert len(pickle.dumps(fitted)) == before


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated(method):
    calibrated = CalibratedClassifierCV(classifier(), method=method, cv=3).fit(X, LABELS, sample_weight=WEIGHT)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_permutation_importance_finds_what_counts():
    A = np.random.default_rng(0).normal(size=(200, 3))
    y = A[:, 1] > 0
    fitted = FwFMClassifier(**{**SMALL, "epochs": 20}).fit(A, y)
    importance = permutation_importance(fitted, A, y, n_repeats=3, random_state=0, n_jobs=2).importances_mean
    assert np.argmax(importance) == 1
    assert importance[1] > 0.3


def test_one_against_the_rest():
    y = make_rows(120, "softmax")[1]
    many = OneVsRestClassifier(classifier()).fit(X, y)
    assert many.predict_proba(X).shape == (120, 3)


def test_targets_that_were_not_standardised():
    y = 1000 + 50 * NUMBERS
    wrapped = TransformedTargetRegressor(FwFMRegressor(**SMALL), transformer=StandardScaler()).fit(X, y)
    assert abs(np.mean(wrapped.predict(X)) - 1000) < 20


@pytest.mark.skipif(
    sklearn.__version__.startswith("1.7."),
    reason="before 1.8 a pipeline cannot say that it scores with weights",
)
def test_fields_and_weights_are_routed_through_a_search(routing):
    inner = classifier().set_fit_request(fields=True, sample_weight=True).set_score_request(sample_weight=True)
    pipeline = make_pipeline(StandardScaler(with_mean=False).set_fit_request(sample_weight=False), inner)
    search = GridSearchCV(pipeline, {"fwfmclassifier__n_factors": [2]}, cv=3)
    search.fit(X, LABELS, fields=FIELDS, sample_weight=WEIGHT)
    scaled = StandardScaler(with_mean=False).fit_transform(X)
    want = classifier().fit(scaled, LABELS, FIELDS, WEIGHT)
    assert bits(search.best_estimator_[-1].model_) == bits(want.model_)
    np.testing.assert_array_equal(search.best_estimator_[-1].field_ids_, FIELDS)


def test_weights_are_routed_row_by_row(routing):
    seen = []
    inner = classifier(callbacks=(lambda status: seen.append(status.batches) and None,))
    inner.set_fit_request(fields=True, sample_weight=True).set_score_request(sample_weight=False)
    result = cross_validate(
        inner,
        X,
        LABELS,
        cv=3,
        params={"fields": FIELDS, "sample_weight": WEIGHT},
        return_estimator=True,
        return_indices=True,
    )
    for fitted, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        want = classifier().fit(X[train], LABELS[train], FIELDS, WEIGHT[train])
        assert bits(fitted.model_) == bits(want.model_)


def test_what_was_not_asked_for_is_refused(routing):
    with pytest.raises(ValueError, match="fields"):
        GridSearchCV(classifier(), {"epochs": [1]}, cv=3).fit(X, LABELS, fields=FIELDS)


def test_requests_of_partial_fit(routing):
    asked = classifier().set_partial_fit_request(classes=True, fields=True, sample_weight=True)
    requests = asked.get_metadata_routing().partial_fit.requests
    assert requests == {"classes": True, "fields": True, "sample_weight": True}
