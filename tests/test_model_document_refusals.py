"""Model files whose parts do not fit together are refused."""

from __future__ import annotations

import numpy as np
import pytest
from saved_models import FIELDS, X, Y, train

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import ModelFileError
from fwfm_gpu.model_document import describe
from fwfm_gpu.model_file import write_file


@pytest.fixture(scope="module")
def described():
    """What a file of an Adam model with names holds."""
    rows = FieldMatrix.from_matrix(X, FIELDS, field_names=["x", "y", "z"], feature_names=list("abcde"))
    options = {"n_factors": 3, "epochs": 2, "batch_size": 8, "optimizer": "adam", "validation_fraction": 0.2}
    return describe(fwfm_gpu.train(rows, Y["logistic"], **options, progress=False))


def load_changed(described, path, change):
    """Load a file whose arrays and document a function has changed."""
    arrays, document = dict(described[0]), {**described[1]}
    change(arrays, document)
    write_file(path, arrays, document)
    return fwfm_gpu.load(path)


def refused(described, path, change):
    with pytest.raises(ModelFileError, match=r"model\.fwfm.*must describe one whole model") as caught:
        load_changed(described, path, change)
    assert "Fetch the file again" in str(caught.value)
    return str(caught.value)


DOCUMENT = [
    *("package_version", "numpy_version", "loss", "options", "n_fields", "labels", "optimizer_state"),
    *("generator_state", "position", "history", "seconds", "data_fingerprint"),
]
ARRAYS = [
    *("w0", "w", "V", "R", "fields", "labels.utf8", "labels.offsets", "field_names.offsets", "feature_names.offsets"),
    *(f"state.{moment}.{group}" for moment in "mv" for group in ("w0", "w", "V", "R")),
    *("count.bias", "count.feature", "count.slot"),
]


def test_the_unchanged_file_is_read(described, path):
    model = load_changed(described, path, lambda arrays, document: None)
    assert model.columns.feature_names == tuple("abcde")
    assert set(described[1]) == set(DOCUMENT)
    assert set(described[0]) == {*ARRAYS, "field_names.utf8", "feature_names.utf8"}


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_missing_entry(name, described, path):
    assert name in refused(described, path, lambda arrays, document: document.pop(name))


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array(name, described, path):
    refused(described, path, lambda arrays, document: arrays.pop(name))


WRONG_KINDS = {
    "package_version": [None, 1, [], {}],
    "numpy_version": [None, 2, []],
    "loss": [None, 1, [], ["logistic"], "hinge", "", "squared", "softmax", "Logistic"],
    "options": [None, [], "adam", {}],
    "n_fields": [None, 0, 2, 4, -3, 3.0, "3", True],
    "labels": [None, 1, "", "<U1", "<U3", "<i8", "|b1", "|O", "<M8[s]", "|S4", "nonsense"],
    "optimizer_state": [None, 1, 0, "yes"],
    "generator_state": [None, {}, [], "PCG64", 1],
    "position": [None, {}, [], 2],
    "history": [None, {}, 1, "none", [1], [[]], [{}]],
    "seconds": [None, "1", [], True, -1.0],
    "data_fingerprint": [1, [], {}],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in WRONG_KINDS.items() for value in values])
def test_a_wrong_entry(name, value, described, path):
    refused(described, path, lambda arrays, document: document.update({name: value}))


@pytest.mark.parametrize(
    "name, value",
    [
        ("optimizer", "lion"),
        ("optimizer", "ftrl"),  # has another state
        ("optimizer", None),
        ("dtype", "float16"),
        ("dtype", "float64"),  # the arrays are not
        ("n_factors", 2),
        ("n_factors", -1),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("learning_rate", "fast"),
        ("learning_rate", -1),
        ("l1_linear", 0.5),
        ("shuffle", 1),
        ("seed", None),
        ("class_weight", 1),
        ("class_weight", [1]),
        ("class_weight", "even"),
        ("class_weight", [["up"]]),
        ("class_weight", [["up", "2"]]),
        ("from_the_future", 1),
    ],
)
def test_a_wrong_option(name, value, described, path):
    def change(arrays, document):
        document["options"] = {**document["options"], name: value}

    refused(described, path, change)


@pytest.mark.parametrize("name", ["epochs", "batches", "loss"])
@pytest.mark.parametrize("value", [None, "1", [], True, "missing"])
def test_a_wrong_position(name, value, described, path):
    def change(arrays, document):
        document["position"] = {**document["position"], name: value}
        if value == "missing":
            del document["position"][name]

    assert name in refused(described, path, change)


@pytest.mark.parametrize(
    "name, value", [("epochs", -1), ("epochs", 1.0), ("batches", -1), ("batches", 0.0), ("more", 1)]
)
def test_a_position_that_cannot_be(name, value, described, path):
    def change(arrays, document):
        document["position"] = {**document["position"], name: value}

    assert name in refused(described, path, change)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("epoch", value) for value in (None, "1", 1.0, True, -1)),
        *(("loss", value) for value in ("1", [], True)),
        *(("metrics", value) for value in (None, [], 1, {"auc": None}, {"auc": "1"}, {"auc": True})),
        *(("seconds", value) for value in (None, "1", -1.0)),
        *(("rows_per_second", value) for value in (None, "1", -1.0)),
        ("more", 1),
    ],
)
def test_a_wrong_record(name, value, described, path):
    def change(arrays, document):
        first, *others = document["history"]
        document["history"] = [{**first, name: value}, *others]

    refused(described, path, change)


@pytest.mark.parametrize("name", ["epoch", "loss", "metrics", "seconds", "rows_per_second"])
def test_a_record_with_less(name, described, path):
    def change(arrays, document):
        first, *others = document["history"]
        document["history"] = [{key: value for key, value in first.items() if key != name}, *others]

    assert name in refused(described, path, change)


@pytest.mark.parametrize(
    "change",
    [
        {"bit_generator": "MT19937"},
        {"bit_generator": None},
        {"state": {}},
        {"state": {"state": "1", "inc": 1}},
        {"state": {"state": -1, "inc": 1}},
        {"state": {"state": 2**200, "inc": 1}},
        {"uinteger": "x"},
        {"has_uint32": None},
    ],
    ids=str,
)
def test_a_wrong_generator_state(change, described, path):
    def change_state(arrays, document):
        document["generator_state"] = {**document["generator_state"], **change}

    refused(described, path, change_state)


FLOATS = [name for name in ARRAYS if name in ("w0", "w", "V", "R") or name.startswith("state.")]
CHANGES = {
    "one more": lambda array: np.concatenate((array, array[..., -1:]), axis=-1),
    "one less": lambda array: array[..., :-1],
    "an axis more": lambda array: array[None],
    "an axis less": lambda array: np.asarray(array[0]),
    "no entry": lambda array: array[:0],
    "float64": lambda array: array.astype(np.float64),
    "integers": lambda array: array.astype(np.int32),
}


@pytest.mark.parametrize(
    "name, kind",
    [
        *((name, kind) for name in [*FLOATS, "count.feature", "count.slot"] for kind in CHANGES),
        *(("fields", kind) for kind in CHANGES if kind != "integers"),
    ],
)
def test_a_wrong_array(name, kind, described, path):
    refused(described, path, lambda arrays, document: arrays.update({name: CHANGES[kind](arrays[name])}))


@pytest.mark.parametrize(
    "name, array",
    [
        ("count.bias", np.array(-1)),
        ("count.bias", np.array([1])),
        ("count.bias", np.array(1, np.int32)),
        ("count.bias", np.array(1.0)),
        ("count.feature", np.array([1, 1, -1, 1, 1])),
        ("count.slot", np.full((3, 3), -1)),
        ("fields", np.array([0, 0, 1, 2, 3], np.int32)),
        ("fields", np.array([0, 0, 1, 2, -1], np.int32)),
        ("fields", np.array([0, 0, 1, 2, 2])),
        ("fields", np.array(0, np.int32)),
        ("labels.offsets", np.array([0, 4])),
        ("labels.offsets", np.array([0, 2, 4, 6])),
        ("labels.offsets", np.array([0, 4, 7])),
        ("labels.utf8", np.frombuffer(b"dow\xffup", np.uint8)),
        ("field_names.offsets", np.array([0, 1, 3])),
        ("feature_names.offsets", np.array([0, 1, 2, 3, 5])),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.tolist()),
)
def test_an_array_that_does_not_fit(name, array, described, path):
    refused(described, path, lambda arrays, document: arrays.update({name: array}))


@pytest.mark.parametrize(
    "labels, dtype",
    [
        (np.array([1, 0]), "<i8"),
        (np.array([1, 1]), "<i8"),
        (np.array([0, 1, 2]), "<i8"),
        (np.array([1]), "<i8"),
        (np.array([0, 300]), "|i1"),
        (np.array([-1, 1]), "|u1"),
        (np.array([0.5, 1.5]), "<i8"),
        (np.array([0.5, np.nan]), "<f8"),
        (np.array([0.0, 1e300]), "<f4"),
        (np.array([[0, 1]]), "<i8"),
        (np.array([0, 1]), "|O"),
    ],
    ids=str,
)
def test_wrong_labels(labels, dtype, described, path):
    def change(arrays, document):
        del arrays["labels.utf8"], arrays["labels.offsets"]
        arrays["labels"], document["labels"] = labels, dtype

    refused(described, path, change)


def test_state_that_is_announced_and_missing(path):
    arrays, document = describe(train(), optimizer_state=False)
    write_file(path, arrays, {**document, "optimizer_state": True})
    with pytest.raises(ModelFileError, match=r"state\.acc\.w0"):
        fwfm_gpu.load(path)
