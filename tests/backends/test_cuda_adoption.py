"""Rows that lie on a device: the bits of the same rows from the host, no copy where none is needed."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.fakes import CudaArray, CupyxMatrix, DlpackArray, TorchCsr
from device_rows import (
    FIELDS,
    INPUTS,
    KINDS,
    OPTIONS,
    ROWS,
    TARGETS,
    WEIGHTS,
    N,
    assert_same_model,
    both,
    compare_rows,
    from_csr,
    identity,
    make_csr,
    make_dense,
    make_messy,
    refusal,
    unwrap,
    use_host_engine,
)
from scipy import sparse

import fwfm_gpu
from fwfm_gpu.backends.cuda_adoption import place_rows
from fwfm_gpu.errors import InputTypeError


@pytest.fixture
def engine(monkeypatch):
    return use_host_engine(monkeypatch)


# ---- the bits


@pytest.mark.parametrize("T", ["float32", "float64"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_those_of_the_host(engine, name, T):
    for seed in (0, 1, 2):
        compare_rows(host_backend(seed).device, *(rows.rounded(T) for rows in both(name)))


@pytest.mark.parametrize("seed", range(20))
def test_random_rows_are_those_of_the_host(engine, seed):
    arrays = make_messy(seed, zeros=seed % 2 == 0)
    host, placed = from_csr(identity, arrays), place_rows(engine.device, from_csr(CudaArray, arrays))
    np.testing.assert_array_equal(placed.starts, host.indptr)
    np.testing.assert_array_equal(placed.indices, host.indices)
    assert placed.values.tobytes() == np.array(host.values).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["canonical", "float64", "zeros", "messy", "dense", "ids"])
def test_training_gives_the_model_of_the_host(engine, name, kind):
    host, there = both(name, kind)
    options = {**OPTIONS, "validation_fraction": 0.3, "patience": 5}
    wanted = fwfm_gpu.train(host, TARGETS, sample_weight=WEIGHTS, device="numpy", **options)
    got = fwfm_gpu.train(there, kind(TARGETS), sample_weight=kind(WEIGHTS), **options)
    assert_same_model(got, wanted)
    for predict in ("decision_function", "predict_proba", "predict"):
        sent = getattr(got, predict)(there)
        assert isinstance(sent, DlpackArray if kind is DlpackArray else np.ndarray)
        np.testing.assert_array_equal(unwrap(sent), getattr(wanted, predict)(host), strict=True)


@pytest.mark.parametrize("wrap", [CupyxMatrix, TorchCsr])
def test_sparse_matrices_of_other_libraries_come_in(engine, wrap):
    arrays = make_csr()
    X = wrap(tuple(CudaArray(array) for array in arrays), (ROWS, N))
    host = sparse.csr_array(arrays[::-1], shape=(ROWS, N))
    got = fwfm_gpu.train(X, TARGETS, fields=FIELDS, **OPTIONS)
    assert_same_model(got, fwfm_gpu.train(host, TARGETS, fields=FIELDS, device="numpy", **OPTIONS))
    np.testing.assert_array_equal(unwrap(got.decision_function(X)), got.decision_function(host))


@pytest.mark.parametrize("wrap", KINDS)
def test_what_comes_later_is_read_there_too(engine, wrap):
    X, y, weight = make_dense(), TARGETS, WEIGHTS

    def run(wrap, device):
        evaluated = (wrap(X[:40]), wrap(y[:40]), wrap(weight[:40]))
        model = fwfm_gpu.train(
            wrap(X), wrap(y), fields=FIELDS, eval_set=evaluated, device=device, n_factors=2, epochs=1, progress=False
        )
        model.continue_training(wrap(X), wrap(y), epochs=1, eval_set=evaluated, progress=False)
        return model.partial_fit(wrap(X[:50]), wrap(y[:50]), sample_weight=wrap(weight[:50]))

    assert_same_model(run(wrap, "cuda"), run(identity, "numpy"))


@pytest.mark.parametrize("wrap", KINDS)
def test_groups_and_several_eval_sets_are_read_there_too(engine, wrap):
    X, y, group, metrics = make_dense(), TARGETS, np.arange(ROWS) % 7, ["gauc", "ndcg@3"]

    def run(wrap, device):
        options = {**OPTIONS, "fields": FIELDS, "device": device, "eval_metric": metrics}
        sets = {
            name: (wrap(X[part]), wrap(y[part]), None, wrap(group[part]))
            for name, part in {"a": slice(40), "b": slice(40, None)}.items()
        }
        model = fwfm_gpu.train(wrap(X), wrap(y), eval_set=sets, **options)
        held = fwfm_gpu.train(wrap(X), wrap(y), validation_fraction=0.5, group=wrap(group), **options)
        found = fwfm_gpu.evaluate(model, wrap(X), wrap(y), sample_weight=wrap(WEIGHTS), group=wrap(group))
        return [record.metrics for record in (*model.history, *held.history)], found

    assert run(wrap, "cuda") == run(identity, "numpy")


def test_labels_that_are_strings_stay_on_the_host(engine):
    y = np.where(TARGETS > 0, "yes", "no")
    model = fwfm_gpu.train(DlpackArray(make_dense()), y, **OPTIONS)
    assert type(model.predict(DlpackArray(make_dense()))) is np.ndarray
    assert isinstance(model.predict_proba(DlpackArray(make_dense())), DlpackArray)


def test_softmax_and_squared_loss_send_their_predictions_back(engine):
    X, y = make_dense(), np.arange(ROWS) % 3
    for loss in ("softmax", "squared"):
        got = fwfm_gpu.train(DlpackArray(X), DlpackArray(y), loss=loss, **OPTIONS)
        wanted = fwfm_gpu.train(X, y, loss=loss, device="numpy", **OPTIONS)
        assert_same_model(got, wanted)
        np.testing.assert_array_equal(got.predict(DlpackArray(X)).inside, wanted.predict(X), strict=True)


# ---- no copy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_canonical_rows_of_that_dtype_are_used_where_they_lie(engine, T, index, kind):
    arrays = make_csr(T, index)
    data = engine.load_data(from_csr(kind, arrays).rounded(T), TARGETS)
    indptr, indices, values = arrays
    assert np.shares_memory(data.indices, indices)
    assert np.shares_memory(data.values, values)
    assert np.shares_memory(data.indptr, indptr) is (index == "int64")
    assert data.index == index


@pytest.mark.parametrize("name", INPUTS)
def test_the_callers_arrays_stay_as_they_were(engine, name):
    _, there = both(name)
    before = [np.array(array.inside) for array in there.source.arrays]
    fwfm_gpu.train(there, TARGETS, **{**OPTIONS, "epochs": 1, "validation_fraction": 0.2})
    for array, copy in zip(there.source.arrays, before, strict=True):
        np.testing.assert_array_equal(array.inside, copy, strict=True)


def test_an_epoch_fetches_no_rows(engine, monkeypatch):
    fetched = []

    def fetch(array):
        fetched.append(array.nbytes)
        return np.array(array)

    monkeypatch.setattr(engine.device, "to_host", fetch)

    def count(epochs):
        fetched.clear()
        rows = from_csr(CudaArray, make_csr())
        fwfm_gpu.train(rows, TARGETS, **{**OPTIONS, "epochs": epochs, "batch_size": 1000})
        return len(fetched), sum(fetched)

    calls, size = zip(*(count(epochs) for epochs in (1, 2, 4)), strict=True)
    assert calls[2] - calls[1] == 2 * (calls[1] - calls[0])
    assert size[2] - size[1] == 2 * (size[1] - size[0]) == 2 * (3 * 8 + 8)  # a cursor and a loss each


def test_without_faults_only_starts_and_places_are_fetched(engine, monkeypatch):
    fetched = []
    monkeypatch.setattr(engine.device, "to_host", lambda array: fetched.append(array.shape) or np.array(array))
    place_rows(engine.device, from_csr(CudaArray, make_csr()))
    assert fetched == [(ROWS + 1,), (2,), (3,)]


# ---- engines without a device


def test_the_numpy_engine_opens_no_device():
    host = make_dense()
    model = fwfm_gpu.train(host, TARGETS, device="numpy", **OPTIONS)
    calls = [
        lambda: fwfm_gpu.train(CudaArray(host), TARGETS, device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, CudaArray(TARGETS), device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, TARGETS, sample_weight=DlpackArray(WEIGHTS), device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, TARGETS, eval_set=(host, CudaArray(TARGETS)), device="numpy", **OPTIONS),
        lambda: model.partial_fit(CudaArray(host), TARGETS),
        lambda: model.partial_fit(host, CudaArray(TARGETS)),
        lambda: model.continue_training(host, CudaArray(TARGETS), epochs=1),
        lambda: model.predict(CudaArray(host)),
    ]
    for call in calls:
        kind, text = refusal(call)
        assert kind is InputTypeError
        assert "lies on a device" in text
        assert "pass device='cuda', or copy" in text
