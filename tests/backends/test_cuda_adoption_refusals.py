"""Bad rows that lie on a device are refused as those of the host are."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host.fakes import CudaArray
from device_rows import (
    BAD,
    FIELDS,
    ROWS,
    N,
    from_csr,
    identity,
    make_csr,
    refusal,
    spoiled,
    use_host_engine,
)

from fwfm_gpu.errors import InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix


@pytest.fixture
def engine(monkeypatch):
    return use_host_engine(monkeypatch)


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_as_on_the_host(engine, name):
    make, arrays = BAD[name]
    wanted = refusal(lambda: make(identity, arrays).rounded("float32"))
    assert refusal(lambda: engine.load_data(make(CudaArray, arrays).rounded("float32"))) == wanted


def test_a_refusal_names_the_feature(engine):
    names = [f"f{i}" for i in range(N)]
    rows = FieldMatrix.from_matrix(CudaArray(spoiled(np.nan)), FIELDS, feature_names=names).rounded("float32")
    assert "nan at row 40, column 5 (feature 'f5')" in refusal(lambda: engine.load_data(rows))[1]


def test_a_bad_value_is_fetched_alone(engine, monkeypatch):
    fetched = []
    monkeypatch.setattr(engine.device, "to_host", lambda array: fetched.append(array.shape) or np.array(array))
    make, arrays = BAD["NaN"]
    refusal(lambda: engine.load_data(make(CudaArray, arrays)))
    assert fetched == [(ROWS + 1,), (2,), (3,), (1,), (1,)]


def test_an_array_that_does_not_open_is_named(engine, monkeypatch):
    def adopt(array):
        raise BufferError("it needs a gradient")

    monkeypatch.setattr(engine.device, "adopt", adopt)
    kind, text = refusal(lambda: engine.load_data(from_csr(CudaArray, make_csr()).rounded("float32")))
    assert kind is InputTypeError
    assert text == "indptr must be an array that host can open, got CudaArray: it needs a gradient"
