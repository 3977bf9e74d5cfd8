"""Rows that lie on a device, and their equals on the host."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.fakes import CudaArray, DlpackArray, FakeArray
from cuda_host.loader import compiler

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.cuda_adoption import place_rows
from fwfm_gpu.errors import FwfmError
from fwfm_gpu.field_matrix import FieldMatrix

ROWS, FIELDS = 90, np.array([0, 0, 1, 1, 2, 2, 2])
N = len(FIELDS)
OPTIONS = {"n_factors": 3, "epochs": 2, "batch_size": 32, "progress": False}
KINDS = [CudaArray, DlpackArray]


def make_dense(seed: int = 0) -> np.ndarray:
    """Numbers in about half of the places; some become subnormal, some 0 in float32."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(ROWS, N)) * generator.choice([1, 1, 1, 1e-40, 1e-60], (ROWS, N))
    return np.where(generator.random((ROWS, N)) < 0.5, X, 0)


def make_csr(dtype="float32", index="int32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """indptr, indices, values: canonical."""
    rows = FieldMatrix.from_matrix(make_dense().astype(dtype))
    return rows.indptr.astype(index), rows.indices.astype(index), np.array(rows.values, dtype)


def make_messy(seed: int = 0, zeros: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns in any order, some twice; zeros of both signs."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, ROWS)
    nnz = int(lengths.sum())
    values = generator.choice([1.5, -2.25, 1e-41, 1 / 3, *([0.0, -0.0] if zeros else [])], nnz)
    return np.append(0, np.cumsum(lengths)), generator.integers(0, N, nnz), values


TARGETS = np.random.default_rng(1).integers(0, 2, ROWS)
WEIGHTS = np.random.default_rng(2).random(ROWS)
IDS = np.random.default_rng(3).integers(0, [3, 4, 5], (ROWS, 3))


def from_csr(wrap, arrays) -> FieldMatrix:
    return FieldMatrix.from_csr(*(None if a is None else wrap(a) for a in arrays), (ROWS, N), FIELDS)


def from_matrix(wrap, X) -> FieldMatrix:
    return FieldMatrix.from_matrix(wrap(X), FIELDS)


def from_ids(wrap, ids) -> FieldMatrix:
    return FieldMatrix.from_ids(wrap(ids), [3, 4, 5])


ones = (*make_csr()[:2], None)
with_zeros = (*make_csr()[:2], np.where(np.arange(len(ones[1])) % 3, make_csr()[2], -0.0).astype("float32"))
INPUTS = {
    "canonical": (from_csr, make_csr()),
    "int64": (from_csr, make_csr(index="int64")),
    "uint16": (from_csr, make_csr(index="uint16")),
    "float64": (from_csr, make_csr("float64")),
    "integers": (from_csr, (*make_csr()[:2], np.arange(1, 1 + len(ones[1])))),
    "halves": (from_csr, (*make_csr()[:2], np.arange(1, 1 + len(ones[1])).astype("float16"))),
    "ones": (from_csr, ones),
    "stored ones": (from_csr, (*ones[:2], np.ones(len(ones[1])))),
    "zeros": (from_csr, with_zeros),
    "messy": (from_csr, make_messy()),
    "duplicates": (from_csr, tuple(array * 2 if i == 0 else np.repeat(array, 2) for i, array in enumerate(make_csr()))),
    "messy ones": (from_csr, (*make_messy()[:2], None)),
    "no values": (from_csr, (np.zeros(ROWS + 1, int), np.zeros(0, int), np.zeros(0))),
    "strided": (from_csr, tuple(np.repeat(array, 2)[::2] for array in make_csr())),
    "dense": (from_matrix, make_dense()),
    "dense float32": (from_matrix, make_dense().astype("float32")),
    "dense columns": (from_matrix, np.asfortranarray(make_dense())),
    "dense booleans": (from_matrix, make_dense() > 0),
    "full": (from_matrix, np.random.default_rng(4).normal(size=(ROWS, N))),
    "ids": (from_ids, IDS),
    "short ids": (from_ids, IDS.astype("uint8")),
}


def use_host_engine(monkeypatch):
    """The CUDA engine on the host, which every door gets; "numpy" stays what it is."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA engine's kernels cannot be compiled for the host")
    backend = host_backend(seed=17)

    def get(device, *given):
        return get_backend(device) if device == "numpy" else backend

    for module in ("training", "continuation", "stream_training", "model", "evaluation"):
        monkeypatch.setattr(f"fwfm_gpu.{module}.get_backend", get)
    return backend


def identity(array):
    return array


def unwrap(array):
    """What is inside of a device array; the host's own is refused."""
    assert isinstance(array, FakeArray) or type(array) is np.ndarray
    return array.inside if isinstance(array, FakeArray) else array


def both(name: str, wrap=CudaArray) -> tuple[FieldMatrix, FieldMatrix]:
    """The input on the host and on the device."""
    make, arrays = INPUTS[name]
    return make(identity, arrays), make(wrap, arrays)


def assert_same_model(got, want) -> None:
    for name, array in want.parameters.arrays().items():
        assert got.parameters.arrays()[name].tobytes() == array.tobytes(), name
    assert [record.metrics for record in got.history] == [record.metrics for record in want.history]
    assert got.trained.data_fingerprint == want.trained.data_fingerprint


def compare_rows(device, host, there) -> None:
    """The rows, and some of them, as they are on the device and on the host."""
    for chosen in (slice(None), np.array([5, 2, 2, 80, 1]), slice(0, 0)):
        wanted = host.take(chosen)
        with device.current():
            placed = place_rows(device, there.take(chosen))
            indptr, indices = device.to_host(placed.indptr), device.to_host(placed.indices)
            values = np.ones(len(indices), placed.real) if placed.values is None else device.to_host(placed.values)
        np.testing.assert_array_equal(placed.starts, wanted.indptr)
        np.testing.assert_array_equal(indptr, wanted.indptr)
        np.testing.assert_array_equal(indices, wanted.indices)
        assert placed.real == values.dtype == wanted.values.dtype
        assert values.tobytes() == np.array(wanted.values).tobytes()
        assert not host.all_ones or placed.values is None


# ---- bad input


def changed(which: int, place, value, arrays=None) -> tuple:
    arrays = [np.array(array) for array in (make_csr() if arrays is None else arrays)]
    arrays[which][place] = value
    return tuple(arrays)


def shortened(which: int) -> tuple:
    arrays = list(make_csr())
    arrays[which] = arrays[which][:-1]
    return tuple(arrays)


def spoiled(value) -> np.ndarray:
    X = make_dense()
    X[70, 3], X[40, 5] = np.inf, value
    return X


messy_nan = changed(2, 17, np.nan, make_messy())
BAD = {
    "indptr from 1": (from_csr, changed(0, 0, 1)),
    "indptr that falls": (from_csr, changed(0, 30, 3)),
    "indptr that ends late": (from_csr, changed(0, -1, 10000)),
    "indptr too short": (from_csr, shortened(0)),
    "indices too few": (from_csr, shortened(1)),
    "values too few": (from_csr, shortened(2)),
    "floating-point indptr": (from_csr, (make_csr()[0].astype("f4"), *make_csr()[1:])),
    "floating-point indices": (from_csr, (make_csr()[0], make_csr()[1].astype("f4"), make_csr()[2])),
    "a negative column": (from_csr, changed(1, [200, 111], -2)),
    "a column beyond": (from_csr, changed(1, [200, 111, 7], [-1, N + 1, N])),
    "many columns beyond": (from_csr, changed(1, slice(37, None), N)),
    "two axes of values": (from_csr, (*make_csr()[:2], make_csr()[2][:, None])),
    "complex": (from_csr, (*make_csr()[:2], make_csr()[2] + 0j)),
    "NaN": (from_csr, changed(2, [150, 99], np.nan)),
    "many NaN": (from_csr, changed(2, slice(37, None), np.nan)),
    "-infinity": (from_csr, changed(2, [150, 99], [np.nan, -np.inf])),
    "beyond float32": (from_csr, changed(2, [150, 99], -1e39, make_csr("float64"))),
    "NaN among duplicates": (from_csr, messy_nan),
    "beyond when summed": (from_csr, changed(2, slice(None), 3e38, make_messy())),
    "dense NaN": (from_matrix, spoiled(np.nan)),
    "dense infinity": (from_matrix, spoiled(-np.inf).astype("f4")),
    "dense beyond float32": (from_matrix, np.where(np.isinf(spoiled(-1e39)), 1e39, spoiled(-1e39))),
    "dense complex": (from_matrix, make_dense() + 0j),
    "a negative id": (from_ids, np.where(np.arange(ROWS * 3).reshape(-1, 3) % 100 == 70, -1, IDS)),
    "an id beyond": (from_ids, np.where(np.arange(ROWS * 3).reshape(-1, 3) % 100 == 70, 4, IDS)),
    "floating-point ids": (from_ids, IDS.astype(float)),
}


def refusal(call) -> tuple[type, str]:
    with pytest.raises(FwfmError) as caught:
        call()
    return type(caught.value), str(caught.value)
