"""One row at a time: the bits of the model's own methods, whatever the row, the engine and the thread."""

from __future__ import annotations

import pickle
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import fwfm_gpu
from fwfm_gpu import FwFM
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.labels import Labels
from fwfm_gpu.model import Columns, Trained
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Parameters

LOSSES = {"squared": 1, "logistic": 1, "softmax": 3}
LENGTHS = (0, 1, 2, 15, 16, 17, 39, 200)
VALUES = ("ones", "signed", "subnormal", "huge", "zeros", "integers")
N = 400


@cache
def make_model(loss: str = "logistic", dtype: str = "float32", k: int = 3, shared: bool = True) -> FwFM:
    """Random parameters, zeros and -0 among them; 7 fields that rows share, or one per feature."""
    generator, C, F = np.random.default_rng(k), LOSSES[loss], 7 if shared else N
    fields = (generator.integers(F, size=N) if shared else generator.permutation(N)).astype(np.int32)
    shapes = (C,), (C, N), (C, N, k), (C, F, F)
    parameters = Parameters(*(generator.normal(0, 0.4, shape).astype(dtype) for shape in shapes))
    parameters.w[:, ::7], parameters.V[:, 1::6] = 0, -0.0
    state = np.random.default_rng(0).bit_generator.state
    labels = None if loss == "squared" else Labels(np.arange(max(C, 2)))
    options = Options(device="numpy", dtype=dtype, n_factors=k)
    return FwFM(options, loss, labels, Columns(fields, F), Trained(parameters, None, state))


def make_values(kind: str, length: int, dtype: str, generator: np.random.Generator) -> np.ndarray:
    """Values that a matrix of T may hold."""
    x = generator.normal(size=length)
    if kind == "ones":
        x = np.ones(length)
    elif kind == "subnormal":
        x = x * (10 * float(np.finfo(dtype).smallest_subnormal))
    elif kind == "huge":
        x = x * 10.0 ** generator.integers(-6, 30, size=length)
    elif kind == "zeros":
        x = np.where(generator.random(length) < 0.5, 0.0, x)
    elif kind == "integers":
        x = generator.integers(-3, 4, length)
    return x


def make_rows(dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of all lengths and kinds of values: in order; in any order; with features that come more than once."""
    generator, rows = np.random.default_rng(1), []
    for number, (length, kind) in enumerate(product(LENGTHS, VALUES)):
        features = generator.permutation(N)[:length]
        repeated = generator.integers(max(1, length // 2), size=length)
        chosen = (np.sort(features), features, repeated)[(number + number // 6) % 3]
        rows.append((chosen, make_values(kind, length, dtype, generator)))
    return rows


def as_matrix(rows) -> sparse.csr_array:
    """The rows as they are, also where they are not canonical."""
    indptr = np.cumsum([0, *(len(features) for features, _ in rows)])
    features, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return sparse.csr_array((values, features, indptr), shape=(len(rows), N))


def same_bits(got, want) -> None:
    """Equal bits, dtypes and shapes; any NaN is as good as another."""
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))


@pytest.fixture(params=["numpy", "cpu"])
def device(request):
    """Each engine in turn."""
    if request.param == "cpu" and find_spec("numba") is None:
        pytest.skip("numba is missing: there is no compiled engine")
    return request.param


# the same bits


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("k", [0, 1, 3, 8, 16, 17, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_scores_as_in_a_matrix(device, loss, dtype, k, shared):
    model = make_model(loss, dtype, k, shared)
    scorer, rows = model.scorer(device), make_rows(dtype)
    assert scorer.device == device
    want = model.decision_function(as_matrix(rows))
    scores = [scorer.score(features, values) for features, values in rows]
    if loss == "softmax":
        same_bits(np.array(scores), want)
    else:
        assert {type(score) for score in scores} == {float}
        same_bits(np.array(scores), want.astype(np.float64))
    if loss != "squared":
        probabilities = np.array([scorer.predict_proba(features, values) for features, values in rows])
        same_bits(probabilities, model.predict_proba(as_matrix(rows)))


def test_rows_are_not_all_alike():
    """The test above would show nothing if scores were all NaN, or all finite."""
    scores = make_model().decision_function(as_matrix(make_rows("float32")))
    assert 0.2 < np.mean(np.isfinite(scores)) < 1
    assert len(np.unique(scores[np.isfinite(scores)])) > 20


def test_zero_keeps_its_sign(device):
    """d starts at +0, so a product of -0 leaves +0 behind (numerics 2)."""
    plain = make_model()
    for V in ([[-0.0, -0.0], [1.0, 1.0]], [[-0.0, -0.0], [-1.0, -1.0]]):
        arrays = np.array([-0.0]), np.array([[-0.0, -0.0]]), np.array([V]), np.array([[[1.0]]])
        parameters = Parameters(*(array.astype(np.float32) for array in arrays))
        columns = Columns(np.zeros(2, np.int32), 1)
        model = FwFM(plain.options, "logistic", plain.labels, columns, Trained(parameters, None, {}))
        scorer = model.scorer(device)
        for features in ([], [0], [0, 1]):
            want = model.decision_function(as_matrix([(features, np.ones(len(features)))])[:, :2])[0]
            same_bits(scorer.score(features), float(want))
    assert [np.signbit(scorer.score(features)) for features in ([], [0], [0, 1])] == [True, True, False]


@pytest.mark.parametrize("make", [list, tuple, np.array, lambda numbers: array("i", numbers)])
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64])
def test_features_come_in_any_container(device, make, kind):
    scorer = make_model().scorer(device)
    features, values = np.array([3, 0, 250], kind), [0.5, -1.0, 2.0]
    made = features if make is np.array else make(features.tolist())
    assert scorer.score(made, values) == scorer.score([3, 0, 250], values) != scorer.score([3, 0, 251], values)


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, np.float32, np.float16, np.longdouble, lambda x: array("d", x)]
)
def test_values_come_in_any_container(device, make):
    scorer, values = make_model().scorer(device), [0.5, -1.0, 2.0]
    assert scorer.score([3, 0, 250], make(values)) == scorer.score([3, 0, 250], values)


def test_without_values_all_are_1(device):
    scorer = make_model().scorer(device)
    for features in ([5, 9, 300], np.array([5, 9, 300])):
        assert scorer.score(features) == scorer.score(features, [1, 1, 1]) == scorer.score(features, [True] * 3)
    assert (
        scorer.score([]) == scorer.score([], []) == scorer.score(np.array([])) == float(make_model().parameters.w0[0])
    )


def test_what_is_given_stays(device):
    scorer, features, values = make_model().scorer(device), np.array([9, 5, 9]), np.array([1.0, 0.0, 2.0])
    scorer.score(features, values)
    assert (features.tolist(), values.tolist()) == ([9, 5, 9], [1.0, 0.0, 2.0])


def test_a_short_row_after_a_long_one(device):
    scorer = make_model().scorer(device)
    before = scorer.score([1, 2, 3], [1, 2, 3])
    scorer.score(list(range(N)))
    assert scorer.score([1, 2, 3], [1, 2, 3]) == before


# what is refused


@pytest.mark.parametrize(
    "row, error, text",
    [
        (([3, N],), InputError, r"features\[1\] must be at least 0 and below 400: got 400"),
        (([3, -1],), InputError, r"features\[1\] must be at least 0 and below 400: got -1"),
        ((np.array([2**64 - 1], np.uint64),), InputError, "got 18446744073709551615"),
        (([2**70],), InputTypeError, "features must be integers"),
        (([1.0, 2.0],), InputTypeError, "features must be integers, got float64"),
        ((np.array([1.0, 2.0]),), InputTypeError, "features must be integers, got float64"),
        ((["a"],), InputTypeError, "features must be integers"),
        (("12",), InputTypeError, "features must be integers"),
        ((np.array([True]),), InputTypeError, "features must be integers, got bool"),
        (([[1, 2]],), InputError, r"features must be 1-D, one per feature: expected shape \(1,\), got \(1, 2\)"),
        ((np.array([[1, 2]]),), InputError, "features must be 1-D"),
        ((7,), InputTypeError, "a row must be a list, tuple or array of feature numbers, or a dict.* got int"),
        ((np.array(7),), InputTypeError, "got ndarray"),
        ((sparse.csr_array(np.eye(3)),), InputTypeError, "got csr_array"),
        (([1, 2], [1.0]), InputError, r"values must be 1-D, one per feature: expected shape \(2,\), got \(1,\)"),
        (([1, 2], np.ones(1)), InputError, "values must be 1-D"),
        (([1, 2], 1.0), InputError, "values must be 1-D"),
        (([1, 2], ["1", "2"]), InputTypeError, "values must be real numbers, got <U1"),
        (([1, 2], [1j, 2]), InputTypeError, "values must be real numbers, got complex128"),
        (([1, 2], [1.0, None]), InputTypeError, "values must be real numbers, got object"),
        (([1, 2], [1.0, np.nan]), InputError, "values must be finite.* got nan for feature 2"),
        (([2, 1], [-np.inf, 1.0]), InputError, "values must be finite.* got -inf for feature 2"),
        (([1, 2], [1.0, 1e39]), InputError, r"and fit float32: got 1e\+39 for feature 2"),
        (([1, 1], [3e38, 3e38]), InputError, r"also after duplicates are summed, and fit float32: got 6e\+38"),
        (({"a": 1},), InputTypeError, "a row of named columns .dict. needs an encoder"),
    ],
)
def test_a_bad_row_is_refused(device, row, error, text):
    scorer = make_model().scorer(device)
    before = scorer.score([1, 2, 3])
    for method in (scorer.score, scorer.predict_proba):
        with pytest.raises(error, match=text):
            method(*row)
    assert scorer.score([1, 2, 3]) == before


def test_duplicates_are_summed_before_they_are_rounded(device):
    scorer = make_model().scorer(device)
    assert scorer.score([4, 4], [3e38, 3e38 - 6e38]) == scorer.score([])
    assert scorer.score([4, 9, 4], [1e39, 1, -1e39]) == scorer.score([9])
    assert scorer.score([4, 4, 4], [2.0**30, 1, -(2.0**30)]) == scorer.score([4]) != scorer.score([])


def test_a_regression_has_no_probabilities(device):
    with pytest.raises(OptionError, match=r'predict_proba needs classes.*loss="squared"\. Call score'):
        make_model("squared").scorer(device).predict_proba([1])


# engines


@pytest.mark.parametrize("device", ["tpu", "cudax", None, 3])
def test_an_unknown_device_is_refused(device):
    model = make_model("squared", k=1)
    model = FwFM(model.options, model.loss, model.labels, model.columns, model.trained)
    model.device = device
    with pytest.raises(OptionError, match="device must be"):
        model.scorer()


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "numpy"])
def test_the_model_s_device_chooses_the_engine(monkeypatch, device):
    model = make_model()
    model = FwFM(model.options, model.loss, model.labels, model.columns, model.trained)
    model.device = device
    if find_spec("numba") is not None:
        assert model.scorer().device == ("numpy" if device == "numpy" else "cpu")
    monkeypatch.setattr("fwfm_gpu.backends.find_spec", lambda name: None)
    assert model.scorer().device == "numpy"


def test_numba_is_not_needed(tmp_path):
    model = make_model()
    path = tmp_path / "model.fwfm"
    model.save(path)
    features, values = [3, 17, 390, 17], [0.5, -2.25, 1e-3, 7.0]
    program = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import fwfm_gpu\n"
        f"model = fwfm_gpu.load({str(path)!r})\n"
        "model.device = 'cpu'\n"
        "scorer = model.scorer()\n"
        f"print(scorer.device, scorer.score({features}, {values}).hex())\n"
    )
    folder = Path(fwfm_gpu.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["numpy", model.scorer("auto").score(features, values).hex()]


def test_a_model_from_a_file(device, tmp_path):
    for loss in LOSSES:
        model = make_model(loss)
        model.save(tmp_path / loss, optimizer_state=False)
        loaded = fwfm_gpu.load(tmp_path / loss)
        same_bits(loaded.scorer(device).score([7, 200], [1.5, 2]), model.scorer(device).score([7, 200], [1.5, 2]))


# a snapshot


def test_it_keeps_the_parameters_of_its_time(device):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    model = fwfm_gpu.train(X, y, epochs=1, progress=False, device="numpy")
    scorer, before = model.scorer(device), model.decision_function(X)
    model.continue_training(X, y, epochs=2, progress=False)
    assert [scorer.score([i]) for i in range(4)] == before.tolist() != model.decision_function(X).tolist()
    assert [model.scorer(device).score([i]) for i in range(4)] == model.decision_function(X).tolist()


def test_it_shares_the_parameters(device):
    model = make_model("softmax", "float64", 8)
    engine = model.scorer(device)._engine
    own = engine.theta if device == "cpu" else engine.parameters
    for name, array_ in model.parameters.arrays().items():
        assert np.shares_memory(getattr(own, name), array_)
        assert not array_.flags.writeable


@pytest.mark.parametrize("loss", LOSSES)
def test_it_pickles(device, loss):
    scorer = make_model(loss).scorer(device)
    again = pickle.loads(pickle.dumps(scorer))
    same_bits(again.score([9, 3], [2, 0.5]), scorer.score([9, 3], [2, 0.5]))
    assert (again.device, repr(again)) == (device, f"Scorer({loss}, device={device!r})")


def test_many_threads_share_one(device):
    scorer, rows = make_model(k=16).scorer(device), make_rows("float32")
    rows = [(features.tolist(), values.tolist()) for features, values in rows]
    want = [scorer.score(*row) for row in rows]

    def work(seed: int) -> None:
        for i in np.random.default_rng(seed).permutation(len(rows)):
            same_bits(scorer.score(*rows[i]), want[i])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))
    finally:
        sys.setswitchinterval(interval)


# dicts of columns

random = np.random.default_rng(0)
TABLE = {
    "city": np.array(["Oslo", "Rome", "", None, "Bern"], object)[random.integers(5, size=300)],
    "age": np.where(random.random(300) < 0.1, np.nan, random.normal(40, 20, 300)),
    "visits": random.integers(0, 7, 300),
    "member": random.random(300) < 0.3,
}


@cache
def trained_on_columns(numeric_as: str, loss: str) -> FwFM:
    rows = fwfm_gpu.FieldEncoder(numeric_as=numeric_as, min_count=1).fit_transform(TABLE)
    y = {"squared": TABLE["visits"], "logistic": TABLE["member"], "softmax": TABLE["visits"] % 3}[loss]
    return fwfm_gpu.train(rows, y, loss=loss, epochs=2, n_factors=4, progress=False, device="numpy")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
def test_a_dict_scores_as_a_table(device, numeric_as, loss):
    model = trained_on_columns(numeric_as, loss)
    scorer = model.scorer(device)
    want = model.decision_function(TABLE)
    for i in range(100):
        row = {name: column[i] for name, column in TABLE.items()}
        same_bits(np.asarray(scorer.score(row), want.dtype), want[i])
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        same_bits(scorer.score(plain), scorer.score(row))
        if loss != "squared":
            same_bits(scorer.predict_proba(row), model.predict_proba(TABLE)[i])


def test_a_dict_also_after_a_pickle_and_from_a_file(device, tmp_path):
    model = trained_on_columns("both", "logistic")
    model.save(tmp_path / "model")
    row = {"city": "Rome", "age": 31.5, "visits": 2, "member": True}
    want = model.scorer(device).score(row)
    assert fwfm_gpu.load(tmp_path / "model").scorer(device).score(row) == want
    assert pickle.loads(pickle.dumps(model.scorer(device))).score(row) == want


def test_a_dict_takes_no_values(device):
    scorer = trained_on_columns("bins", "logistic").scorer(device)
    with pytest.raises(InputError, match="values must be left out"):
        scorer.score({"city": "Rome", "age": 31.5, "visits": 2, "member": True}, [1, 1, 1, 1])


def test_a_model_with_an_encoder_takes_numbers_too(device):
    model = trained_on_columns("both", "logistic")
    rows = model.columns.encoder.transform(TABLE)
    csr, scorer = rows.to_csr(), model.scorer(device)
    want = model.decision_function(rows)
    for i in range(20):
        items = slice(csr.indptr[i], csr.indptr[i + 1])
        assert scorer.score(csr.indices[items], csr.data[items]) == want[i]
