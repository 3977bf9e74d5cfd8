"""Rows of length 1: the bits of a scalar reference, wherever rows lie and whoever reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import make_backend
from cuda_host.fakes import CudaArray
from device_rows import INPUTS, both, compare_rows, unwrap, use_host_engine
from scipy import sparse
from small_models import bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu import FieldMatrix, row_norms
from fwfm_gpu.errors import OptionError
from fwfm_gpu.row_norms import normalize_rows

N = 12


def train(X, y, **options):
    """On NumPy: other engines are given the same rows."""
    return train_small(X, y, **{"device": "numpy", **options})


def reference_row(x: list[float]) -> list[float]:
    """One row of float64, one operation at a time (numerics 1)."""
    total = 0.0
    for x_p in x:
        total = total + x_p * x_p
    if x and not 1e-270 <= total < math.inf:
        largest = max(abs(x_p) for x_p in x)
        x, total = [x_p / largest for x_p in x], 0.0
        for x_p in x:
            total = total + x_p * x_p
    return [x_p / math.sqrt(total) for x_p in x]


def make_matrix(dtype: str, kind: str, rows: int = 90, seed: int = 0) -> FieldMatrix:
    """Rows of no to N values."""
    draw, T = np.random.default_rng(seed), np.finfo(dtype)
    X = draw.normal(size=(rows, N)) * (draw.random((rows, N)) < draw.random((rows, 1)))
    if kind == "wide":
        X *= 10.0 ** draw.integers(-T.maxexp // 4, T.maxexp // 4, X.shape)
    elif kind == "tiny":
        X = np.rint(X * 10) * float(T.smallest_subnormal)
    elif kind == "vast":
        X *= float(T.max) / 10
    elif kind == "ones":
        X = (X != 0).astype(float)
    return FieldMatrix.from_matrix(X.astype(dtype), np.arange(N) // 2).rounded(dtype)


@pytest.mark.parametrize("kind", ["plain", "wide", "tiny", "vast", "ones"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at_once", [1, 25, 1 << 20])
def test_rows_are_divided_by_their_length(monkeypatch, dtype, kind, at_once):
    monkeypatch.setattr(row_norms, "AT_ONCE", at_once)
    matrix = make_matrix(dtype, kind)
    got, T = normalize_rows(matrix, "l2"), np.dtype(dtype).type
    assert got.unit_rows
    for b in range(matrix.n_rows):
        features, values = (getattr(matrix, name)[slice(*matrix.indptr[b : b + 2])] for name in ("indices", "values"))
        with np.errstate(under="ignore"):
            want = [(i, T(x)) for i, x in zip(features, reference_row([float(x) for x in values]), strict=True)]
        kept = slice(*got.indptr[b : b + 2])
        assert list(zip(got.indices[kept], got.values[kept], strict=True)) == [(i, x) for i, x in want if x != 0]
    assert got.values.dtype == T


def test_what_becomes_zero_is_dropped_and_a_row_without_values_stays():
    rows = FieldMatrix.from_matrix(np.array([[1e30, 1e-30], [0, 0], [0, -1e-30]], "float32"))
    got = normalize_rows(rows, "l2")
    assert (got.indptr.tolist(), got.indices.tolist(), got.values.tolist()) == ([0, 1, 1, 2], [0, 1], [1, -1])


def test_rows_are_divided_once():
    rows = make_matrix("float32", "plain")
    once = normalize_rows(rows, "l2")
    assert normalize_rows(once, "l2") is once
    assert normalize_rows(rows, None) is rows
    assert once.take([3, 5]).unit_rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_on_a_device_are_divided_there(monkeypatch, name, dtype):
    engine = use_host_engine(monkeypatch)
    compare_rows(engine.device, *(normalize_rows(rows.rounded(dtype), "l2") for rows in both(name)))


@pytest.mark.parametrize("kind", ["wide", "tiny", "vast"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_rows_on_a_device(monkeypatch, dtype, kind):
    engine, rows = use_host_engine(monkeypatch), make_matrix(dtype, kind)
    compare_rows(engine.device, *(normalize_rows(each.rounded(dtype), "l2") for each in (rows, on_device(rows))))


# ---- through the doors


def weighed(seed: int = 0):
    """Rows with values, and two labels."""
    matrix = make_matrix("float64", "plain", 120, seed)
    return matrix, np.random.default_rng(seed).integers(2, size=120)


def on_device(rows: FieldMatrix) -> FieldMatrix:
    arrays = [CudaArray(np.array(getattr(rows, name))) for name in ("indptr", "indices", "values")]
    return FieldMatrix.from_csr(*arrays, rows.shape, rows.fields)


@pytest.mark.parametrize("device", ["numpy", "cuda"])
def test_training_sees_rows_of_length_1(monkeypatch, device):
    if device == "cuda":
        use_host_engine(monkeypatch)
    (X, y), (Z, z) = weighed(), weighed(1)
    X_given, Z_given = (on_device(rows) if device == "cuda" else rows for rows in (X, Z))
    divided = [normalize_rows(rows.rounded("float32"), "l2") for rows in (X, Z)]
    model = train(X_given, y, normalize="l2", eval_set=(Z_given, z), device=device)
    plain = train(divided[0], y, eval_set=(divided[1], z), device="numpy")
    assert bits(model) == bits(plain)
    assert [record.metrics for record in model.history] == [record.metrics for record in plain.history]
    assert bits(model) != bits(train(X, y, device="numpy"))
    for more, other in ((X_given, divided[0]), (Z_given, divided[1])):
        for each, rows in ((model, more), (plain, other)):
            each.partial_fit(rows, y).continue_training(rows, y, epochs=1, progress=False)
    assert bits(model) == bits(plain)
    want = plain.decision_function(divided[1]).tobytes()
    assert model.decision_function(Z).tobytes() == model.decision_function(divided[1]).tobytes() == want
    if device == "cuda":
        assert unwrap(model.decision_function(Z_given)).tobytes() == want


def test_rows_that_were_held_out_are_divided_too():
    X, y = weighed()
    model = train(X, y, normalize="l2", validation_fraction=0.25, eval_metric="logloss")
    plain = train(normalize_rows(X.rounded("float32"), "l2"), y, validation_fraction=0.25, eval_metric="logloss")
    assert [record.metrics for record in model.history] == [record.metrics for record in plain.history]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_single_row_scores_as_in_a_matrix(device, dtype, path):
    make_backend(device)
    X, y = weighed()
    train(X, y, normalize="l2", dtype=dtype, device="numpy").save(path)
    model = fwfm_gpu.load(path, device="numpy")
    assert model.options.normalize == model.columns.normalize == "l2"
    scorer = model.scorer(device)
    for kind in ("plain", "wide", "tiny", "vast", "ones"):
        matrix = make_matrix(dtype, kind, 40, 3)
        want = model.decision_function(matrix)
        for b in range(matrix.n_rows):
            row = slice(*matrix.indptr[b : b + 2])
            features, values = matrix.indices[row][::-1], matrix.values[row][::-1]
            assert scorer.score(features, values) == want[b], (kind, b)


def test_duplicates_are_summed_before_the_length_is_taken():
    X, y = weighed()
    model = train(X, y, normalize="l2")
    rows = sparse.csr_array(([1.0, 2.0, 4.0], [3, 5, 3], [0, 3]), shape=(1, N))
    assert model.decision_function(rows)[0] == model.scorer("numpy").score([3, 5, 3], [1.0, 2.0, 4.0])
    assert model.decision_function(rows)[0] == model.scorer("numpy").score([5, 3], [2.0, 5.0])


def test_without_it_nothing_is_divided(path):
    X, y = make_rows()
    model = train(X, y)
    model.save(path)
    assert fwfm_gpu.load(path, device="numpy").columns.normalize is None
    with pytest.raises(OptionError, match="normalize must be one of None, 'l2'; got 'l1'"):
        train(X, y, normalize="l1")


def test_rows_that_are_read_in_parts_are_divided_too():
    X, y = weighed()
    parts = [(X.take(slice(lo, lo + 50)), y[lo : lo + 50]) for lo in range(0, 120, 50)]
    model = train(parts, None, normalize="l2", shuffle=False)
    assert model.columns.normalize == "l2"
    assert bits(model)[0] == bits(train(X, y, normalize="l2", shuffle=False))[0]
