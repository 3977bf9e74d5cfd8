"""Bad input through every door: an error of ours with the place in it, before any training, nothing touched."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import sparse

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.backends.numpy_backend import NumPyBackend
from fwfm_gpu.errors import DeviceError, FwfmError, InputError, InputTypeError, MissingExtraError, OptionError

ROWS, COLUMNS = 12, 4
GOOD = np.random.default_rng(0).integers(1, 4, (ROWS, COLUMNS)) * 0.5
LABELS = np.array(["no", "yes"] * 6)
NUMBERS = np.linspace(-1, 1, ROWS)
OPTIONS = {"n_factors": 2, "epochs": 2, "batch_size": 4, "progress": False}


@pytest.fixture(scope="module")
def models():
    """A classification and a regression."""
    return {
        loss: fwfm_gpu.train(GOOD, y, loss=loss, **OPTIONS) for loss, y in (("logistic", LABELS), ("squared", NUMBERS))
    }


@pytest.fixture(autouse=True)
def no_training(models, monkeypatch):
    """From here on a trained batch is a failure, and the models stay as they are."""

    def advance(self, run, batches):
        raise AssertionError("training has begun")

    monkeypatch.setattr(NumPyBackend, "advance", advance)
    before = {loss: model.trained for loss, model in models.items()}
    yield
    assert {loss: model.trained for loss, model in models.items()} == before


def contents(value):
    """The bytes of everything that a caller passes, at any depth."""
    if isinstance(value, dict):
        return [(key, contents(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [contents(item) for item in value]
    if sparse.issparse(value):
        names = ("data", "indices", "indptr") if value.format in ("csr", "csc") else ("data", "row", "col")
        return [contents(np.asarray(getattr(value, name))) for name in names]
    if isinstance(value, FieldMatrix):
        return [contents(getattr(value, name)) for name in ("indptr", "indices", "values", "fields")]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist() if value.dtype == object else value.tobytes()
    return repr(value)


def refused(call, kind, words, *given):
    """The call raises that error of ours, with those words, and changes nothing that it was given."""
    before = contents(given)
    with pytest.raises(kind, match=words) as caught:
        call(*given)
    assert isinstance(caught.value, FwfmError)
    assert contents(given) == before


def train(X, y, **options):
    return fwfm_gpu.train(X, y, **{**OPTIONS, **options})


def good(loss):
    return LABELS if loss == "logistic" else NUMBERS


TRAINING = {
    "train": lambda model, X, y, weight: train(X, y, loss=model.loss, sample_weight=weight),
    "continue_training": lambda model, X, y, weight: model.continue_training(X, y, epochs=1, sample_weight=weight),
    "partial_fit": lambda model, X, y, weight: model.partial_fit(X, y, sample_weight=weight),
    "eval_set": lambda model, X, y, weight: train(
        GOOD, good(model.loss), loss=model.loss, eval_set=(X, y) if weight is None else (X, y, weight)
    ),
    "eval_set later": lambda model, X, y, weight: model.continue_training(
        GOOD, good(model.loss), epochs=1, eval_set=(X, y) if weight is None else (X, y, weight)
    ),
}
PREDICTING = {
    name: lambda model, X, y, weight, name=name: getattr(model, name)(X)
    for name in ("predict", "predict_proba", "decision_function")
}
EVERY_DOOR = {**TRAINING, **PREDICTING}


# X


def spoiled(value, row=3, column=2):
    X = GOOD.copy()
    X[row, column] = value
    return X


def compressed(kind=sparse.csr_array, **changes):
    """A compressed matrix with its arrays changed behind SciPy's back."""
    X = kind(GOOD)
    for name, (place, value) in changes.items():
        array = getattr(X, name).copy()
        array[place] = value
        setattr(X, name, array)
    return X


def shortened(name):
    X = sparse.csr_array(GOOD)
    setattr(X, name, getattr(X, name)[:-1])
    return X


def twice(value):
    """Two entries of one place, each finite."""
    return sparse.coo_array(([value, value], ([3, 3], [2, 2])), shape=GOOD.shape)


class OnADevice:
    __cuda_array_interface__ = {"shape": (ROWS, COLUMNS), "typestr": "<f4", "data": (1, True), "version": 3}  # noqa: RUF012


PLACE = "row 3, column 2"
BAD_X = {
    "NaN": (spoiled(np.nan), InputError, f"finite.*nan at {PLACE}"),
    "infinity": (spoiled(np.inf), InputError, f"finite.*inf at {PLACE}"),
    "-infinity": (spoiled(-np.inf), InputError, f"-inf at {PLACE}"),
    "NaN in float32": (spoiled(np.nan).astype(np.float32), InputError, PLACE),
    "NaN in lists": (spoiled(np.nan).tolist(), InputError, PLACE),
    "NaN in CSR": (sparse.csr_array(spoiled(np.nan)), InputError, PLACE),
    "NaN in CSC": (sparse.csc_array(spoiled(np.nan)), InputError, PLACE),
    "NaN in COO": (sparse.coo_array(spoiled(np.nan)), InputError, PLACE),
    "the first of two": (np.maximum(spoiled(np.nan), spoiled(np.inf, 1, 3)), InputError, "row 1, column 3"),
    "beyond float32": (spoiled(1e39), InputError, rf"fit float32.*1e\+39 at {PLACE}"),
    "beyond float32 in CSR": (sparse.csr_array(spoiled(-1e39)), InputError, PLACE),
    "beyond float32 in a FieldMatrix": (FieldMatrix.from_matrix(spoiled(1e39)), InputError, PLACE),
    "beyond float64 when summed": (twice(1e308), InputError, PLACE),
    "beyond float32 when summed": (twice(np.float32(3e38)), InputError, PLACE),
    "indptr from 1": (compressed(indptr=(0, 1)), InputError, "indptr"),
    "indptr that falls": (
        compressed(indptr=(4, 1)),
        InputError,
        "indptr must not decrease: got 12, then 1 at the end of row 3",
    ),
    "indptr that ends early": (compressed(indptr=(-1, 40)), InputError, "indptr"),
    "indptr that ends late": (compressed(indptr=(-1, 50)), InputError, "indptr"),
    "indptr too short": (shortened("indptr"), InputError, "indptr"),
    "indices too few": (shortened("indices"), InputError, "ind"),
    "a negative index": (compressed(indices=(14, -1)), InputError, "row 3.*got -1"),
    "an index beyond": (compressed(indices=(14, 4)), InputError, "row 3.*got 4"),
    "a negative index in CSC": (compressed(sparse.csc_array, indices=(14, -1)), InputError, "-1"),
    "an index beyond in CSC": (compressed(sparse.csc_array, indices=(14, ROWS)), InputError, f"{ROWS}"),
    "no columns": (np.empty((ROWS, 0)), InputError, "at least one column"),
    "one axis": (np.ones(COLUMNS), InputError, "2-D"),
    "three axes": (np.ones((ROWS, COLUMNS, 1)), InputError, "2-D"),
    "a number": (3.0, InputError, "2-D"),
    "nothing": (None, InputError, "2-D"),
    "ragged": ([[1, 2, 3, 4], [1, 2, 3]], InputError, "rows of one length"),
    "strings": (GOOD.astype(str), InputTypeError, "real numbers"),
    "objects": (np.full((ROWS, COLUMNS), {}, object), InputTypeError, "real numbers"),
    "complex": (GOOD + 0j, InputTypeError, "real numbers"),
    "complex in CSR": (sparse.csr_array(GOOD + 0j), InputTypeError, "real numbers"),
    "dates": (np.zeros((ROWS, COLUMNS), "M8[s]"), InputTypeError, "real numbers"),
    "masked": (np.ma.masked_array(GOOD, GOOD > 1), InputTypeError, "masked"),
    "on a device": (OnADevice(), InputTypeError, "device"),
}


@pytest.mark.parametrize("door", EVERY_DOOR)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_x(case, door, models):
    X, kind, words = BAD_X[case]
    refused(EVERY_DOOR[door], kind, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", [door for door in EVERY_DOOR if door != "train"])
@pytest.mark.parametrize("columns", [1, 3, 5])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_array, FieldMatrix.from_matrix])
def test_another_number_of_columns(form, columns, door, models):
    X = form(np.ones((ROWS, columns)))
    words = rf"expected 4, got {columns}\. Build X with the same columns"
    refused(EVERY_DOOR[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", [door for door in EVERY_DOOR if door != "train"])
def test_other_fields(door, models):
    X = FieldMatrix.from_matrix(GOOD, [0, 1, 1, 3])
    words = "column 2 is of field 2, and of field 1 in X"
    refused(EVERY_DOOR[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", TRAINING)
@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS + 1])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, FieldMatrix.from_matrix])
def test_rows_of_x_and_y_differ(form, rows, door, models):
    X = form(np.ones((rows, COLUMNS)))
    words = f"same number of rows.*got {rows} rows and {ROWS} targets"
    refused(TRAINING[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", TRAINING)
def test_no_rows_at_all(door, models):
    refused(TRAINING[door], InputError, "at least one row", models["logistic"], GOOD[:0], LABELS[:0], None)


def test_an_id_outside_its_field():
    ids = np.array([[0, 1], [1, 2], [2, 0]])
    refused(FieldMatrix.from_ids, InputError, r"got 2 at row 1, field 1 of size 2", ids, [3, 2])
    ids[1, 1] = -1
    refused(FieldMatrix.from_ids, InputError, r"got -1 at row 1, field 1 of size 2", ids, [3, 2])


# y


def labels_with(value, row=5):
    y = LABELS.astype(object)
    y[row] = value
    return y


def numbers_with(value, row=5):
    y = NUMBERS.copy()
    y[row] = value
    return y


BAD_Y = {
    "NaN among labels": ("logistic", labels_with(np.nan), InputError, "missing label in y.*row 5"),
    "None among labels": ("logistic", labels_with(None).tolist(), InputError, "missing label in y.*row 5"),
    "NaN": ("squared", numbers_with(np.nan), InputError, "y.*nan at row 5"),
    "infinity": ("squared", numbers_with(np.inf), InputError, "y must be finite.*inf at row 5"),
    "-infinity": ("squared", numbers_with(-np.inf), InputError, "-inf at row 5"),
    "an integer beyond 64 bits": ("squared", [10**30, *range(ROWS - 1)], InputError, "integer beyond it at row 0"),
    "strings for squared": ("squared", LABELS, InputTypeError, "strings.*loss='squared' needs numbers"),
    "two kinds": ("logistic", labels_with(3), InputTypeError, "got 3 of type int at row 5"),
    "complex": ("squared", NUMBERS + 0j, InputTypeError, "y must hold numbers, booleans or strings"),
    "dates": ("logistic", np.zeros(ROWS, "M8[s]"), InputTypeError, "numbers, booleans or strings"),
    "objects": ("logistic", labels_with({}), InputTypeError, "row 5"),
    "bytes": ("logistic", LABELS.astype("S"), InputTypeError, "numbers, booleans or strings"),
    "masked": ("squared", np.ma.masked_array(NUMBERS, np.arange(ROWS) == 5), InputError, "missing.*row 5"),
    "two columns": ("squared", np.ones((ROWS, 2)), InputError, r"expected the shape \(rows,\) or \(rows, 1\)"),
    "a number": ("squared", 3.0, InputError, "one label per row"),
    "nothing": ("logistic", None, InputError, "one label per row"),
    "a string": ("logistic", "yes", InputError, "one label per row"),
    "too few": ("logistic", LABELS[:-1], InputError, "got 12 rows and 11 targets"),
    "too many": ("squared", np.ones(ROWS + 1), InputError, "got 12 rows and 13 targets"),
}


@pytest.mark.parametrize("door", TRAINING)
@pytest.mark.parametrize("case", BAD_Y)
def test_bad_y(case, door, models):
    loss, y, kind, words = BAD_Y[case]
    refused(TRAINING[door], kind, words, models[loss], GOOD, y, None)


@pytest.mark.parametrize("door", [door for door in TRAINING if "eval" not in door])
def test_a_target_beyond_float32(door, models):
    words = r"y must be finite in float32: got 1e\+39 at row 5"
    refused(TRAINING[door], InputError, words, models["squared"], GOOD, numbers_with(1e39), None)


@pytest.mark.parametrize("door", [door for door in TRAINING if door != "train"])
def test_an_unknown_label(door, models):
    y = np.where(np.arange(ROWS) == 5, "perhaps", LABELS)
    words = "does not know: expected one of 'no', 'yes', got 'perhaps' at row 5"
    refused(TRAINING[door], InputError, words, models["logistic"], GOOD, y, None)


@pytest.mark.parametrize("loss", ["auto", "logistic", "softmax"])
@pytest.mark.parametrize("label", ["yes", 1, True])
def test_one_class_only(loss, label):
    refused(lambda y: train(GOOD, y, loss=loss), InputError, "at least two labels: every row holds", [label] * ROWS)


def test_three_labels_for_the_logistic_loss():
    words = "exactly two labels: y holds 3.*loss='softmax'"
    refused(lambda y: train(GOOD, y, loss="logistic"), InputError, words, [0, 1, 2] * 4)


def test_many_labels_ask_for_a_loss():
    refused(lambda y: train(np.ones((51, 2)), y), OptionError, "y holds 51.*loss='softmax'.*'squared'", list(range(51)))


# weights


def weights_with(value, row=5):
    weight = np.ones(ROWS)
    weight[row] = value
    return weight


BAD_WEIGHTS = {
    "NaN": (weights_with(np.nan), InputError, "sample_weight.*row 5"),
    "infinity": (weights_with(np.inf), InputError, "sample_weight.*inf at row 5"),
    "negative": (weights_with(-0.5), InputError, r"not be negative: got -0\.5 at row 5"),
    "all zero": (np.zeros(ROWS), InputError, "weights of all 12 rows are 0"),
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
        ({"no": 0, "yes": 0}, InputError, "weights of all 12 rows are 0"),
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
    *(("eval_metric", value, "'auto', 'logloss', 'auc', 'accuracy', 'ece', a callable") for value in ("f1", "rmse", 3)),
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


# good input, however odd: accepted, and left as it is


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def unsorted():
    """Columns fall, each entry stands there in two halves, zeros are stored."""
    places = np.tile(np.repeat(np.arange(COLUMNS)[::-1], 2), ROWS)
    halves = np.repeat(GOOD[:, ::-1] / 2, 2, axis=1).ravel()
    halves[:2] = 0
    return sparse.csr_array((halves, places, np.arange(ROWS + 1) * 2 * COLUMNS), shape=GOOD.shape)


ODD_X = {
    "as it should be": sparse.csr_array(GOOD.astype(np.float32)),
    "unsorted": unsorted(),
    "unsorted CSC": sparse.csc_array(unsorted().T.tocsr().T),
    "unsorted COO": unsorted().tocoo(),
    "dense": GOOD.copy(),
    "read-only": read_only(GOOD),
    "not contiguous": np.repeat(GOOD, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray(GOOD),
    "big-endian": GOOD.astype(">f4"),
    "integers": (GOOD * 2).astype(np.int64),
    "booleans": GOOD > 1,
    "objects": GOOD.astype(object),
    "FieldMatrix": FieldMatrix.from_matrix(unsorted()),
    "an empty row": spoiled(0) * (np.arange(ROWS) != 4)[:, None],
    "subnormal": spoiled(1e-42),
    "below float32": spoiled(1e-60),
}


@pytest.fixture
def training_allowed(monkeypatch, no_training):
    monkeypatch.undo()


@pytest.mark.usefixtures("training_allowed")
@pytest.mark.parametrize("form", ODD_X)
def test_odd_input_is_taken_and_left_as_it_is(form):
    X, weight, fields = ODD_X[form], np.linspace(0, 2, ROWS)[::-1], np.array([0, 1, 2, 3], np.uint8)
    given = (X, LABELS, weight, fields)
    before = contents(given)
    model = train(X, LABELS, sample_weight=weight, fields=fields, eval_set=(X, LABELS, weight))
    model.continue_training(X, LABELS, epochs=1, sample_weight=weight, eval_set=[X, LABELS], progress=False)
    model.partial_fit(X, LABELS, sample_weight=weight)
    model.predict_proba(X)
    assert contents(given) == before


@pytest.mark.usefixtures("training_allowed")
@pytest.mark.parametrize("form", ["as it should be", "unsorted", "dense"])
def test_a_model_does_not_change_with_its_input(form):
    X, y, weight, fields = ODD_X[form].copy(), LABELS.copy(), np.ones(ROWS), np.arange(COLUMNS, dtype=np.int32)
    model = train(X, y, sample_weight=weight, fields=fields)
    before = model.decision_function(GOOD)
    for array in [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]:
        array[:] = 0
    y[:], weight[:], fields[:] = "?", 0, 0
    np.testing.assert_array_equal(model.decision_function(GOOD), before)
    assert model.classes.tolist() == ["no", "yes"]
    assert model.columns.fields.tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("training_allowed")
def test_a_field_without_features_is_fine():
    model = train(GOOD, LABELS, fields=[0, 2, 2, 5])
    assert model.parameters.R.shape == (1, 6, 6)
    assert np.all(model.parameters.R[0, 1] == 1)


@pytest.mark.parametrize("options", [{"learning_rate": 1e-40}, {"ftrl_beta": 1e38, "learning_rate": 1e-3}])
def test_a_warm_start_that_overflows_is_refused(options):
    with pytest.raises(OptionError, match="must keep FTRL's warm start finite in float32"):
        fwfm_gpu.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], optimizer="ftrl", progress=False, **options)


@pytest.mark.parametrize("n_factors", [1 << 17, 10**30])
def test_too_many_factors_are_refused(n_factors):
    with pytest.raises(OptionError, match="n_factors must be a whole number from 0 to 65536"):
        fwfm_gpu.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], n_factors=n_factors, progress=False)
