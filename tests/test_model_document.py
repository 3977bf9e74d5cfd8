"""Model files: everything comes back, and predicts and trains on as before."""

from __future__ import annotations

import ast
import math
import mmap
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from saved_models import FIELDS, RULES, X, Y, assert_same_model, train

import fwfm_gpu
from fwfm_gpu import FieldMatrix, epochs
from fwfm_gpu.errors import MissingStateError, ModelFileError, OptionError
from fwfm_gpu.model_file import read_file
from fwfm_gpu.version import __version__


@pytest.fixture
def there_and_back(path):
    """Save and load."""

    def travel(model, **how):
        model.save(path, **how)
        return fwfm_gpu.load(path)

    return travel


# there and back


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", Y)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_comes_back(rule, loss, dtype, there_and_back):
    l1 = {"l1_linear": 0.001} if rule == "ftrl" else {}
    model = train(loss, optimizer=rule, dtype=dtype, validation_fraction=0.2, patience=9, seed=2**70, **l1)
    loaded = there_and_back(model)
    assert_same_model(loaded, model)
    assert loaded.optimizer_state.rule == rule
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X), strict=True)
    assert repr(loaded) == repr(model)


def test_the_linear_model_comes_back(there_and_back):
    model = train(n_factors=0)
    assert_same_model(there_and_back(model), model)


def test_names_come_back(there_and_back):
    names = {"field_names": ["x", "", "時", "no column"], "feature_names": ["a", "é", "\0", "🂡\n", ""]}
    model = fwfm_gpu.train(FieldMatrix.from_matrix(X, FIELDS, **names), Y["logistic"], epochs=1, progress=False)
    loaded = there_and_back(model)
    assert_same_model(loaded, model)
    assert loaded.columns.feature_names == ("a", "é", "\0", "🂡\n", "")


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["down", "up"]),
        np.array(["down", "up"], "<U9"),
        np.array(["вниз", "上 🂡"]),
        np.array(["", "b"]),
        np.array([False, True]),
        np.array([-7, 12]),
        np.array([-(2**63), 2**63 - 1]),
        np.array([3, 5], np.int8),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([2**63, 2**63 + 1], np.uint64),
        np.array([1, 2], np.uint8),
        np.array([0.1, 1 / 3]),
        np.array([0.0, 0.1], np.float32),
        np.array([0.5, 1.0], np.float16),
    ],
    ids=lambda labels: f"{labels.dtype}-{labels[1]}",
)
def test_labels_of_each_kind_come_back(labels, there_and_back):
    model = train(y=labels[(X.sum(axis=1) > 0).astype(int)], epochs=1)
    loaded = there_and_back(model)
    assert_same_model(loaded, model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X), strict=True)


@pytest.mark.parametrize(
    "labels, class_weight",
    [
        (["down", "up"], {"up": 2.0}),
        (["вниз", "вверх"], {"вниз": 2, "вверх": 0.5}),
        ([0, 1], {1: 2.0, 0: 1}),
        ([0, 1], {True: 2.0}),
        ([0, 1], {np.int8(1): np.float32(0.1)}),
        ([0.5, 1.5], {0.5: 3}),
        ([False, True], {False: 3.0}),
        (np.array([1, 2**64 - 1], np.uint64), {2**64 - 1: 3.0}),
        ([0, 1], "balanced"),
        ([0, 1], {}),
    ],
    ids=str,
)
def test_class_weights_come_back_and_count_again(labels, class_weight, there_and_back):
    y = np.array(labels)[(X.sum(axis=1) > 0).astype(int)]
    model = train(y=y, class_weight=class_weight, epochs=1)
    loaded = there_and_back(model)
    assert_same_model(loaded, model)
    loaded.continue_training(X, y, epochs=1, progress=False)
    assert_same_model(plain_times(loaded), plain_times(train(y=y, class_weight=class_weight, epochs=2)))


def plain_times(model):
    """The model as if no time had passed, and trained in one go."""
    history = tuple(replace(record, seconds=0.0, rows_per_second=0.0) for record in model.history)
    model.trained = replace(model.trained, history=history, seconds=0.0)
    model.options = replace(model.options, epochs=0)
    return model


def test_an_interrupted_epoch_comes_back(there_and_back, monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)

    class Stop(fwfm_gpu.Callback):
        def on_batches(self, status):
            return (status.epoch, status.batch) == (2, 2)

    model = train(callbacks=[Stop()])
    assert model.trained.position.batches == 2
    assert model.trained.position.loss > 0
    assert_same_model(there_and_back(model), model)


@pytest.mark.parametrize("metrics", ["logloss", ["auc", "logloss"], ("ece",)])
def test_metrics_come_back(metrics, there_and_back):
    model = train(eval_set=(X, Y["logistic"]), eval_metric=metrics)
    assert_same_model(there_and_back(model), model)


def mine(y_true, prediction):
    return "mine", 0.25, True


@pytest.mark.parametrize("metrics", [mine, ["logloss", mine]])
def test_a_metric_that_is_a_function_is_not_kept(metrics, there_and_back):
    evaluation = {"eval_set": (X, Y["logistic"])}
    model = train(eval_metric=metrics, **evaluation)
    loaded = there_and_back(model)
    assert loaded.options == replace(model.options, eval_metric=None)
    assert loaded.history == model.history
    loaded.continue_training(X, Y["logistic"], epochs=1, progress=False)  # nothing to evaluate
    with pytest.raises(OptionError, match=r"eval_metric was a function.*Pass it again"):
        loaded.continue_training(X, Y["logistic"], epochs=1, **evaluation, progress=False)
    loaded.continue_training(X, Y["logistic"], epochs=1, **evaluation, eval_metric=mine, progress=False)
    assert loaded.options.eval_metric is mine
    assert loaded.history[-1].metrics == {"mine": 0.25}


def test_a_loss_that_was_not_finite_stays_as_it_was(there_and_back):
    y = np.array([1e200, -1e200] * 15)
    model = train("squared", y, dtype="float64", optimizer="sgd", n_factors=0, epochs=1, learning_rate=1e-3)
    assert model.history[0].loss == math.inf
    assert there_and_back(model).history[0].loss == math.inf


def test_what_the_document_says(path):
    model = train("softmax", validation_fraction=0.2)
    model.save(path)
    _, document = read_file(path)
    assert document["format_version"] == 1
    assert document["package_version"] == __version__
    assert document["numpy_version"] == np.__version__
    assert document["loss"] == "softmax"
    assert document["options"]["optimizer"] == "adagrad"
    assert document["seconds"] == model.trained.seconds > 0
    assert document["data_fingerprint"] == model.trained.data_fingerprint
    assert document["history"] == [asdict(record) for record in model.history]
    assert document["generator_state"] == model.trained.generator_state


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = train()
    for name in ("a", "b"):
        model.save(tmp_path / name)
    fwfm_gpu.load(tmp_path / "a").save(str(tmp_path / "c"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


# without state


@pytest.mark.parametrize("rule", RULES)
def test_without_state_it_predicts_the_same_and_trains_no_more(rule, there_and_back, path):
    model = train(optimizer=rule)
    model.save(path)
    size = path.stat().st_size
    loaded = there_and_back(model, optimizer_state=False)
    assert rule == "sgd" or path.stat().st_size < size
    assert loaded.optimizer_state is None
    np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X), strict=True)
    with pytest.raises(MissingStateError, match="optimizer_state=False"):
        loaded.continue_training(X, Y["logistic"], epochs=1)
    with pytest.raises(MissingStateError, match="optimizer_state=False"):
        loaded.partial_fit(X, Y["logistic"])
    assert model.optimizer_state is not None
    assert there_and_back(loaded).optimizer_state is None


# mapped


def test_loaded_arrays_are_read_only_views_of_the_file(there_and_back):
    loaded = there_and_back(train(optimizer="adam"))
    state = loaded.optimizer_state
    sets = [loaded.parameters, *state.moments.values()]
    arrays = [array for one in sets for array in one.arrays().values()]
    for array in [*arrays, state.counts.feature, state.counts.slot]:
        assert isinstance(array.base, mmap.mmap)
        assert not array.flags.writeable


def test_training_on_leaves_the_file(path):
    train().save(path)
    content = path.read_bytes()
    loaded = fwfm_gpu.load(path)
    loaded.continue_training(X, Y["logistic"], epochs=1, progress=False)
    loaded.partial_fit(X, Y["logistic"])
    assert path.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is mapped")
def test_a_file_may_be_replaced_while_a_model_is_mapped_from_it(path):
    model = train()
    model.save(path)
    loaded = fwfm_gpu.load(path)
    train(seed=9, epochs=5).save(path)
    np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X))
    loaded.save(path)  # over the file that replaced its own
    assert_same_model(fwfm_gpu.load(path), model)
    again = fwfm_gpu.load(path)
    again.save(path)  # over its own
    assert_same_model(again, model)
    assert_same_model(fwfm_gpu.load(path), model)


# refused


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        fwfm_gpu.load(path)


def test_another_file_is_named(path):
    path.write_text("not a model")
    with pytest.raises(ModelFileError, match=r"model\.fwfm.*too short for a model file"):
        fwfm_gpu.load(path)


# no pickle

PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "copyreg"}


@pytest.mark.parametrize("module", sorted(Path(fwfm_gpu.__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_pickles(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not PICKLES & {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not PICKLES & {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


def test_a_boolean_class_weight_is_a_number_in_the_file(there_and_back):
    model = train(class_weight={"up": True})
    assert there_and_back(model).options.class_weight == {"up": 1.0}
