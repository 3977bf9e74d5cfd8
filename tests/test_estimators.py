"""FwFMClassifier and FwFMRegressor: the words, the bits and the errors of ``train``."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from small_models import bits, make_rows

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix, FwFMClassifier, FwFMRegressor
from fwfm_gpu.errors import CheckpointError, DivergenceError, FwfmError, InputError, OptionError
from fwfm_gpu.options import Options

SMALL = {"n_factors": 3, "batch_size": 8, "epochs": 2, "device": "numpy"}
ESTIMATORS = {"logistic": FwFMClassifier, "softmax": FwFMClassifier, "squared": FwFMRegressor}
LOSSES = list(ESTIMATORS)

OWN = {"random_state", "warm_start"}  # beside those of train
FOR_SOURCES = {"label", "weight", "columns", "fit_rows", "shuffle_rows"}  # rows that are read while they are trained on
GIVEN_TO_FIT = {"X", "y", "fields", "sample_weight", "eval_set", "group"}
FOR_CLASSES = {"loss", "class_weight", "label_smoothing", "negative_sampling_rate"}


def train(X, y, **options):
    return fwfm_gpu.train(X, y, **{**SMALL, "progress": False, **options})


def small(loss, **options):
    return ESTIMATORS[loss](**SMALL, **options)


def dense(loss="logistic", rows=44):
    """An array, its targets and its fields."""
    X, y = make_rows(rows, loss)
    return X.to_csr().toarray(), y, X.fields


def keywords(function):
    """Names and defaults."""
    return {name: entry.default for name, entry in inspect.signature(function).parameters.items() if name != "self"}


@pytest.mark.parametrize(
    ("estimator", "left_out"), [(FwFMClassifier, set()), (FwFMRegressor, FOR_CLASSES)], ids=["classifier", "regressor"]
)
def test_the_words_are_those_of_train(estimator, left_out):
    """Whoever gives train a new keyword gives it to the estimators, too."""
    of_train, own = keywords(fwfm_gpu.train), keywords(estimator)
    assert set(own) == (set(of_train) - GIVEN_TO_FIT - {"counts"} - FOR_SOURCES - left_out - {"seed"}) | OWN
    assert set(Options.__dataclass_fields__) - FOR_SOURCES - left_out - {"seed"} <= set(own)
    assert [name for name in own if name in of_train] == [name for name in of_train if name in own]
    different = {name for name in own if name in of_train and own[name] != of_train[name]}
    assert different == {"progress"}  # a scikit-learn estimator is quiet
    assert own["random_state"] == of_train["seed"]
    assert all(entry.kind == entry.KEYWORD_ONLY for entry in inspect.signature(estimator).parameters.values())


def test_fit_takes_what_is_given_to_train_along_with_x():
    assert set(keywords(FwFMClassifier.fit)) == GIVEN_TO_FIT


@pytest.mark.parametrize("loss", LOSSES)
def test_fit_is_train_to_the_bit(loss):
    X, y, fields = dense(loss)
    weight = np.random.default_rng(3).uniform(0.5, 2, len(y))
    estimator = small(loss, random_state=5, l2_factors=0.01).fit(X, y, fields=fields, sample_weight=weight)
    model = train(X, y, loss=loss, fields=fields, sample_weight=weight, seed=5, l2_factors=0.01)
    assert bits(estimator.model_) == bits(model)
    assert estimator.n_iter_ == len(estimator.history_) == 2
    np.testing.assert_array_equal(estimator.predict(X), model.predict(X))
    if loss != "squared":
        np.testing.assert_array_equal(estimator.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(estimator.decision_function(X), model.decision_function(X))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_kind_of_rows_trains_alike(loss):
    X, y = make_rows(loss=loss)
    want = bits(small(loss).fit(X, y).model_)
    for rows in (X.to_csr(), sparse.coo_matrix(X.to_csr()), X.to_csr().toarray(), X.to_csr().toarray().tolist()):
        assert bits(small(loss).fit(rows, y, fields=X.fields).model_) == want


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_learned(loss):
    X, y, fields = dense(loss)
    estimator = small(loss).fit(X, y, fields)
    p, several = estimator.model_.parameters, loss == "softmax"
    for name, array in p.arrays().items():
        learned = getattr(estimator, f"{name}_")
        assert learned.shape == (array.shape if several else array.shape[1:])
        np.testing.assert_array_equal(learned, array if several else array[0])
    assert estimator.n_features_in_ == 15
    assert not hasattr(estimator, "feature_names_in_")
    np.testing.assert_array_equal(estimator.field_ids_, fields)
    assert estimator.history_ == estimator.model_.history
    if loss == "squared":
        assert not hasattr(estimator, "classes_")
    else:
        np.testing.assert_array_equal(estimator.classes_, np.unique(y))


def test_nothing_is_learned_before_fit():
    for kind in (FwFMClassifier, FwFMRegressor):
        for name in ("w0_", "w_", "V_", "R_", "field_ids_", "history_", "n_iter_", "classes_"):
            assert not hasattr(kind(), name)
        with pytest.raises(NotFittedError):
            kind().predict([[0.0]])


def test_a_field_matrix_brings_its_fields_and_names():
    X, y = make_rows()
    estimator = small("logistic").fit(X, y)
    assert estimator.n_features_in_ == 15
    np.testing.assert_array_equal(estimator.predict(X.to_csr()), estimator.predict(X))
    with pytest.raises(InputError, match="fields of its own"):
        small("logistic").fit(X, y, fields=np.arange(15))
    with pytest.raises(InputError, match="expected 15, got 9"):
        estimator.predict(FieldMatrix.from_ids([[0, 0]], [4, 5]))


def test_two_classes_of_the_softmax_loss_have_one_score_each_row():
    X, y, _ = dense()
    classifier = FwFMClassifier(**SMALL, loss="softmax").fit(X, y)
    scores = classifier.decision_function(X)
    assert scores.shape == (44,)
    assert classifier.w_.shape == (2, 15)
    np.testing.assert_array_equal(classifier.classes_[(scores > 0).astype(int)], classifier.predict(X))


def test_three_numbers_are_three_classes_for_a_classifier():
    X, y, _ = dense("softmax")
    classifier = small("softmax").fit(X, y.astype(float))
    assert classifier.model_.loss == "softmax"
    assert classifier.predict_proba(X).shape == (44, 3)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(classifier.predict_proba(X)))


def test_a_probability_of_0_has_the_logarithm_minus_infinity():
    linear = FwFMClassifier(device="numpy", n_factors=0, learning_rate=1.0, dtype="float64")
    classifier = linear.fit([[-1.0], [1.0]], [0, 1])
    assert classifier.predict_log_proba([[1e6]])[0, 0] == -np.inf


def test_random_state_is_the_seed_or_draws_one():
    X, y, _ = dense()

    def fitted(state):
        return small("logistic", random_state=state).fit(X, y).model_

    assert fitted(7).options.seed == fitted(np.int64(7)).options.seed == 7
    assert bits(fitted(np.random.RandomState(1))) == bits(fitted(np.random.RandomState(1)))
    drawing = np.random.RandomState(1)
    assert fitted(drawing).options.seed != fitted(drawing).options.seed
    assert fitted(None).options.seed != fitted(None).options.seed
    with pytest.raises(ValueError, match="cannot be used to seed"):
        fitted("seven")


@pytest.mark.parametrize("options", [{}, {"normalize": "l2"}], ids=["", "normalized"])
@pytest.mark.parametrize("loss", LOSSES)
def test_partial_fit_is_one_pass_in_the_order_given(loss, options):
    X, y, fields = dense(loss)
    classes = {} if loss == "squared" else {"classes": np.unique(y)}
    want = train(X, y, loss=loss, fields=fields, epochs=1, shuffle=False, **options)
    whole = small(loss, **options).partial_fit(X, y, **classes, fields=fields)
    parts = small(loss, **options)
    for start in range(0, 44, 16):
        parts.partial_fit(X[start : start + 16], y[start : start + 16], **classes, fields=fields)
    for estimator in (whole, parts):
        assert bits(estimator.model_)[0] == bits(want)[0]
    assert (whole.n_iter_, parts.n_iter_) == (1, 3)


def test_classes_that_the_first_rows_do_not_hold():
    X, y, _ = dense("softmax")
    classifier = small("softmax").partial_fit(X[y == 1], y[y == 1], classes=[0, 1, 2])
    assert classifier.predict_proba(X).shape == (44, 3)
    classifier.partial_fit(X, y)
    with pytest.raises(InputError, match="classes must stay those of the first call, 0, 1, 2: got 0, 1"):
        classifier.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InputError, match=r"label that the model does not know.*got 3"):
        classifier.partial_fit(X, y + 1)


def test_partial_fit_needs_classes_first():
    X, y, _ = dense()
    with pytest.raises(InputError, match="classes must be passed on the first call"):
        small("logistic").partial_fit(X, y)
    small("logistic").fit(X, y).partial_fit(X, y)


def test_partial_fit_that_fails_leaves_what_was_learned():
    X, y, _ = dense("squared")
    regressor = small("squared").fit(X, y)
    before = bits(regressor.model_)
    with pytest.raises(DivergenceError):
        regressor.set_params(learning_rate=1e38).partial_fit(X, y)
    assert bits(regressor.model_) == before
    assert regressor.n_iter_ == 2


@pytest.mark.parametrize("loss", LOSSES)
def test_a_warm_start_goes_on(loss):
    X, y, fields = dense(loss)
    estimator = small(loss, warm_start=True, validation_fraction=0.2).fit(X, y, fields).fit(X, y, fields)
    never_stopped = train(X, y, loss=loss, fields=fields, epochs=4, validation_fraction=0.2)
    assert bits(estimator.model_) == bits(never_stopped)
    assert estimator.n_iter_ == len(estimator.history_) == 4
    estimator.set_params(epochs=1).fit(X, y)
    assert estimator.n_iter_ == 5


def test_without_a_warm_start_fit_begins_anew():
    X, y, _ = dense()
    classifier = small("logistic").fit(X, y)
    before = bits(classifier.model_)
    assert bits(classifier.fit(X, y).model_) == before
    assert classifier.n_iter_ == 2


def test_a_warm_start_takes_new_options_and_counts_passes():
    X, y, _ = dense()
    classifier = small("logistic", warm_start=True).fit(X, y).partial_fit(X, y)
    former = classifier.model_
    classifier.set_params(learning_rate=0.01, epochs=1, random_state=9).fit(X, y)
    assert classifier.n_iter_ == 4
    assert (classifier.model_.options.learning_rate, classifier.model_.options.seed) == (0.01, 0)
    assert former.options.learning_rate == 0.1


def test_several_eval_sets_and_their_groups():
    X, y, _ = dense()
    classifier = small("logistic", eval_metric=["gauc", "auc"])
    group = np.arange(44) % 4
    sets = {"first": (X, y, None, group), "second": (sparse.csr_array(X), y, None, group)}
    classifier.fit(X, y, eval_set=sets)
    assert list(classifier.history_[0].metrics) == ["first/gauc", "first/auc", "second/gauc", "second/auc"]
    both = classifier.fit(X, y, eval_set=list(sets.values())).history_[0].metrics
    assert len(set(both)) == 4
    held_out = small("logistic", eval_metric="gauc", validation_fraction=0.5).fit(X, y, group=group)
    want = train(X, y, eval_metric="gauc", validation_fraction=0.5, group=group)
    assert [record.metrics for record in held_out.history_] == [record.metrics for record in want.history]


@pytest.mark.parametrize(
    "changed",
    [{"n_factors": 4}, {"optimizer": "adam"}, {"dtype": "float64"}, {"field_weights": "ones"}, {"normalize": "l2"}],
)
def test_what_a_model_cannot_change_when_it_goes_on(changed):
    X, y, _ = dense()
    classifier = small("logistic", warm_start=True).fit(X, y).set_params(**changed)
    with pytest.raises(OptionError, match=f"{next(iter(changed))} must stay what the model was trained with"):
        classifier.fit(X, y)
    with pytest.raises(OptionError, match="must stay"):
        classifier.partial_fit(X, y)


def test_checkpoints_are_those_of_train(tmp_path):
    X, y, _ = dense()
    want = small("logistic").fit(X, y)
    saving = small("logistic", checkpoint=tmp_path, checkpoint_every=3, resume=tmp_path).set_params(epochs=1).fit(X, y)
    goes_on = clone(saving).set_params(epochs=2).fit(X, y)
    assert bits(goes_on.model_) == bits(want.model_)
    assert goes_on.n_iter_ == 2
    with pytest.raises(CheckpointError, match="holds checkpoints of another training"):
        clone(saving).set_params(resume=None).fit(X, y)
    with pytest.raises(OptionError, match="checkpoint must be None where warm_start goes on"):
        goes_on.set_params(warm_start=True).fit(X, y)
    with pytest.raises(OptionError, match="checkpoint_every=3 needs a place"):
        small("logistic", checkpoint_every=3).fit(X, y)


def test_a_warm_start_on_other_rows_is_refused():
    X, y, fields = dense()
    classifier = small("logistic", warm_start=True).fit(X, y, fields)
    with pytest.raises(ValueError, match="X has 14 features, but FwFMClassifier is expecting 15"):
        classifier.fit(X[:, :-1], y)
    with pytest.raises(InputError, match="fields that the model was trained on"):
        classifier.fit(X, y, fields=np.arange(15))
    with pytest.raises(InputError, match="label that the model does not know"):
        classifier.fit(X, np.where(y == "even", "other", y))


def test_an_eval_set_is_scored_and_read_as_x_is():
    X, y, fields = dense()
    classifier = small("logistic", eval_metric=["auc", "logloss"], patience=1)
    classifier.fit(X, y, fields, eval_set=(sparse.csr_matrix(X), y))
    model = train(X, y, fields=fields, eval_metric=["auc", "logloss"], patience=1, eval_set=(X, y))
    assert [record.metrics for record in classifier.history_] == [record.metrics for record in model.history]
    with pytest.raises(ValueError, match="X has 14 features"):
        classifier.fit(X, y, fields, eval_set=(X[:, :-1], y))
    with pytest.raises(FwfmError, match="eval_set"):
        classifier.fit(X, y, fields, eval_set=(X,))


REFUSED = {
    "squared loss": (FwFMClassifier(loss="squared"), "loss must be one of 'auto', 'logistic', 'softmax'"),
    "unknown loss": (FwFMClassifier(loss=None), "loss must be one of"),
    "an option": (FwFMClassifier(n_factors=-1), "n_factors must be a whole number"),
    "no metric": (FwFMClassifier(eval_metric=None), "eval_metric must be"),
    "negative seed": (FwFMClassifier(random_state=-1), "seed must be"),
    "unknown class": (FwFMClassifier(class_weight={"maybe": 2}), "class_weight names a label"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_are_refused_by_fit_and_not_before(case):
    estimator, words = REFUSED[case]
    X, y, _ = dense()
    with pytest.raises(FwfmError, match=words):
        clone(estimator).fit(X, y)


def test_class_weight_is_that_of_train():
    X, y, _ = dense()
    weighted = small("logistic", class_weight="balanced").fit(X, y)
    assert bits(weighted.model_) == bits(train(X, y, class_weight="balanced"))
    with pytest.raises(OptionError, match="cannot balance"):
        weighted.partial_fit(X, y)


def test_one_class_is_no_problem_to_learn():
    with pytest.raises(InputError, match="at least two classes, got one class alone: 'a'"):
        FwFMClassifier(device="numpy").fit([[1.0], [2.0]], ["a", "a"])


def test_an_encoder_that_was_given_is_not_fitted():
    encoder = FieldEncoder(min_count=1)
    classifier = FwFMClassifier(encoder=encoder)
    assert clone(classifier).encoder is not encoder
    assert classifier.get_params()["encoder"] is encoder


def test_without_scikit_learn_the_message_says_what_to_install():
    program = """
import sys
sys.modules["sklearn"] = None
import fwfm_gpu
from fwfm_gpu import *
assert "FwFMClassifier" in dir(fwfm_gpu)
try:
    fwfm_gpu.FwFMRegressor
except fwfm_gpu.errors.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "need scikit-learn 1.7 or later: pip install 'fwfm-gpu[sklearn]'" in done.stdout
