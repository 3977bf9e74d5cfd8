"""Bad weights, fields and options: an error of ours, before any training, nothing touched."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from doors import GOOD, LABELS, NUMBERS, ROWS, TRAINING, forbid_training, refused, train, train_models

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import DeviceError, InputError, InputTypeError, MissingExtraError, OptionError


@pytest.fixture
def models():
    return train_models()


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    yield from forbid_training(monkeypatch)


# weights


def weights_with(value, row=5):
    weight = np.ones(ROWS)
    weight[row] = value
    return weight


BAD_WEIGHTS = {
    "NaN": (weights_with(np.nan), InputError, "sample_weight.*row 5"),
    "infinity": (weights_with(np.inf), InputError, "sample_weight.*inf at row 5"),
    "negative": (weights_with(-0.5), InputError, r"not be negative: got -0\.5 at row 5"),
    "all zero": (np.zeros(ROWS), InputError, "weights of all 12 rows are zero"),
    "too few": (np.ones(ROWS - 1), InputError, "one weight per row: expected 12, got 11"),
    "too many": (np.ones(ROWS + 1), InputError, "one weight per row: expected 12, got 13"),
    "none": ([], InputError, "at least one row"),
    "two columns": (np.ones((ROWS, 2)), InputError, "sample_weight must hold one weight per row"),
    "a number": (1.0, InputError, "sample_weight must hold one weight per row"),
    "strings": (["1"] * ROWS, InputTypeError, "sample_weight holds strings"),
    "None inside": ([None] + [1.0] * (ROWS - 1), InputError, "missing weight in sample_weight.*row 0"),
    "complex": (np.ones(ROWS) + 0j, InputTypeError, "sample_weight"),
}


@pytest.mark.parametrize("door", TRAINING)
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights(case, door, models):
    weight, kind, words = BAD_WEIGHTS[case]
    refused(TRAINING[door], kind, words, models["logistic"], GOOD, LABELS, weight)


@pytest.mark.parametrize("door", [door for door in TRAINING if "eval" not in door])
def test_a_weight_beyond_float32(door, models):
    words = r"sample_weight times class_weight must be finite in float32: got 1e\+39 at row 5"
    refused(TRAINING[door], InputError, words, models["logistic"], GOOD, LABELS, weights_with(1e39))


@pytest.mark.parametrize(
    "weight, words",
    [(np.arange(ROWS) >= 9, "9 rows to train on must sum"), (np.arange(ROWS) < 9, "3 rows held out.* all weigh 0")],
    ids=["held out alone", "trained on alone"],
)
def test_weights_of_one_part_alone(weight, words):
    tail = {"validation_fraction": 0.25, "validation": "tail"}
    refused(lambda given: train(GOOD, LABELS, **tail, sample_weight=given), InputError, words, weight)


@pytest.mark.parametrize(
    "class_weight, kind, words",
    [
        ({"perhaps": 1.0}, InputError, "a label that y does not hold: expected 'no', 'yes', got 'perhaps'"),
        ({"no": -1.0}, InputError, r"class_weight\['no'\] must be finite and not negative, got -1"),
        ({"no": np.nan}, InputError, "finite and not negative, got nan"),
        ({"no": np.inf}, InputError, "finite and not negative, got inf"),
        ({"no": 10**400}, InputError, "finite and not negative"),
        ({"no": "2"}, InputTypeError, r"class_weight\['no'\] must be a number, got '2'"),
        ({"no": None}, InputTypeError, "must be a number, got None"),
        ({"no": 0, "yes": 0}, InputError, "weights of all 12 rows are zero"),
        ("even", OptionError, "None, 'balanced' or a dict of label: weight, got 'even'"),
        (2.0, OptionError, "'balanced' or a dict"),
        ([1.0, 2.0], OptionError, "'balanced' or a dict"),
    ],
    ids=str,
)
def test_bad_class_weights(class_weight, kind, words):
    refused(lambda given: train(GOOD, LABELS, class_weight=given), kind, words, class_weight)


def test_class_weights_need_classes():
    words = "class_weight needs classes"
    refused(lambda given: train(GOOD, NUMBERS, class_weight=given), OptionError, words, {0: 1.0})


# fields


@pytest.mark.parametrize(
    "fields, kind, words",
    [
        ([0, 1, 2], InputError, r"one field per column: expected shape \(4,\), got \(3,\)"),
        ([0, 1, 2, 3, 4], InputError, r"got \(5,\)"),
        ([], (InputError, InputTypeError), "fields"),
        ([[0, 1, 2, 3]], InputError, r"got \(1, 4\)"),
        ([0, -1, 2, 3], InputError, r"at least 0: got fields\[1\] = -1"),
        ([0.0, 1.0, 2.0, 3.0], InputTypeError, "fields must be integers, got float64"),
        (["0", "1", "2", "3"], InputTypeError, "fields must be integers"),
        ([0, 1, 2, 2**20], InputError, "fields are too many"),
        (3, InputError, "fields"),
        ("abcd", InputTypeError, "fields must be integers"),
    ],
    ids=str,
)
def test_bad_fields(fields, kind, words):
    refused(lambda given: train(GOOD, LABELS, fields=given), kind, words, fields)
    if isinstance(fields, list):
        refused(lambda given: train(GOOD, LABELS, fields=given), kind, words, np.array(fields))


def test_fields_that_differ_from_those_of_a_field_matrix():
    rows = FieldMatrix.from_matrix(GOOD, [0, 0, 1, 1])
    words = "column 1 is of field 0, got 1. Leave fields out"
    refused(lambda X, fields: train(X, LABELS, fields=fields), InputError, words, rows, [0, 1, 1, 1])


# options

BAD_OPTIONS = [
    *(("learning_rate", value, "above 0") for value in (0, -0.1, np.nan, np.inf, 1e-46, 1e39, "0.1", None, True)),
    *(("n_factors", value, "a whole number, 0 or above") for value in (-1, 1.5, "8", None, True)),
    *(("batch_size", value, "a whole number, 1 or above") for value in (0, -1, 2.0, None, True)),
    *(("epochs", value, "a whole number, 0 or above") for value in (-1, 1.0, None, True)),
    *(("patience", value, "a whole number, 1 or above") for value in (0, -1, 1.5)),
    *(("n_threads", value, "a whole number, 1 or above") for value in (0, -1, 1.5)),
    *(("device_memory", value, "a whole number, 1 or above") for value in (0, -1, 1.5, "1GB")),
    *(("seed", value, "a whole number, 0 or above") for value in (-1, 1.5, None)),
    *(("optimizer", value, "'sgd', 'adagrad', 'adam', 'ftrl'") for value in ("lion", "Adam", None, ["adam"])),
    *(("loss", value, "'auto', 'logistic', 'squared', 'softmax'") for value in ("hinge", None, 1)),
    *(
        ("eval_metric", value, "'auto', 'logloss', 'ne', 'auc', 'accuracy', 'ece', 'gauc'")
        for value in ("f1", "rmse", 3)
    ),
    *(("eval_metric", value, "'auto', 'logloss'") for value in ([], ["auc", "f1"])),
    ("eval_metric", ["auc", "auc"], "each metric needs a name of its own"),
    *(("device", value, '"auto", "cpu", "numpy", "cuda" or "cuda:N"') for value in ("gpu", "CUDA", "cuda:", None, 0)),
    *((f"l1_{group}", 0.1, 'L1 is for "ftrl" alone') for group in ("linear", "factors")),
    *(("dtype", value, "'float32', 'float64'") for value in ("float16", np.float32, None)),
    *(("field_weights", value, "'learn', 'ones'") for value in ("fixed", True)),
    *(("ftrl_start", value, "'warm', 'zero'") for value in ("cold", None)),
    *(("validation", value, "'random', 'tail'") for value in ("head", None)),
    *(("validation_fraction", value, "between 0 and 1") for value in (0, 1, -0.5, np.nan, True)),
    *(("shuffle", value, "True, False") for value in (1, None, "yes")),
    *(("label_smoothing", value, "from 0 to below 1") for value in (1, -0.1, True)),
    *(("beta_1", value, "from 0 to below 1") for value in (1, -0.1)),
    *(("init_scale", value, "0 or above") for value in (-1, np.inf)),
    ("init_scale", 1e39, "keep the factors finite in float32"),
    *(("min_delta", value, "0 or above") for value in (-1, np.nan)),
    *(("progress", value, 'True, False or "auto"') for value in ("bar", None)),
    ("patience", 3, "needs something to evaluate on"),
]


@pytest.mark.parametrize("name, value, allowed", BAD_OPTIONS, ids=lambda value: repr(value)[:30])
def test_bad_options(name, value, allowed):
    call = lambda X, y: train(X, y, **{name: value})  # noqa: E731
    refused(call, OptionError, re.escape(allowed), GOOD, LABELS)


def test_label_smoothing_needs_labels():
    refused(lambda y: train(GOOD, y, label_smoothing=0.1), OptionError, "label_smoothing must be 0", NUMBERS)


def test_two_evaluations():
    call = lambda X, y: train(X, y, eval_set=(X, y), validation_fraction=0.2)  # noqa: E731
    refused(call, OptionError, "eval_set or validation_fraction, not both", GOOD, LABELS)


def test_an_evaluation_that_cannot_be():
    call = lambda X, y: train(GOOD, LABELS, eval_set=(X, y), eval_metric="auc")  # noqa: E731
    refused(call, InputError, "auc needs rows of both classes", GOOD[:2], ["no", "no"])


@pytest.mark.parametrize("epochs", [-1, 1.5, None, True, "1"])
def test_how_many_more_epochs(epochs, models):
    call = lambda X, y: models["logistic"].continue_training(X, y, epochs=epochs)  # noqa: E731
    refused(call, OptionError, "epochs must be a whole number, 0 or above; got", GOOD, LABELS)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_not_there(device):
    words = rf"device='{device}' cannot be used: .*CUDA device.*pass device=\"auto\" or \"numpy\""
    missing = DeviceError if find_spec("cupy") else MissingExtraError
    refused(lambda X, y: train(X, y, device=device), missing, words, GOOD, LABELS)


def test_a_bar_that_cannot_be_shown(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    refused(lambda X, y: train(X, y, progress=True), MissingExtraError, r"fwfm-gpu\[progress\]", GOOD, LABELS)


def test_a_label_that_no_file_can_hold(tmp_path):
    path = tmp_path / "model.fwfm"
    train(GOOD, LABELS, epochs=0).save(path)
    former = path.read_bytes()
    model = train(GOOD, LABELS, epochs=0)
    model.labels = replace(model.labels, classes=np.array(["no", "\ud800"]))  # train would refuse it
    refused(model.save, InputError, "valid Unicode", path)
    assert path.read_bytes() == former
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("label", ["\ud800", "a\0"])
def test_a_label_that_would_not_come_back_is_refused(label):
    refused(train, InputError, "label.* at row 1", GOOD, ["no", label] * (len(LABELS) // 2))


def test_a_table_is_refused_with_what_to_do():
    refused(train, InputTypeError, "FieldEncoder", {"a": [1.0, 2.0]}, [0, 1])
    model = train(GOOD, LABELS, epochs=0)
    refused(model.predict, InputTypeError, "without an encoder", {"a": [1.0, 2.0]})


def test_no_metric_is_refused():
    with pytest.raises(OptionError, match="eval_metric must be"):
        train(GOOD, LABELS, eval_metric=None)


@pytest.mark.parametrize("options", [{"learning_rate": 1e-40}, {"ftrl_beta": 1e38, "learning_rate": 1e-3}])
def test_a_warm_start_that_overflows_is_refused(options):
    with pytest.raises(OptionError, match="must keep FTRL's warm start finite in float32"):
        fwfm_gpu.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], optimizer="ftrl", progress=False, **options)


@pytest.mark.parametrize("n_factors", [1 << 17, 10**30])
def test_too_many_factors_are_refused(n_factors):
    with pytest.raises(OptionError, match="n_factors must be a whole number from 0 to 65536"):
        fwfm_gpu.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], n_factors=n_factors, progress=False)
