"""Rows on a device as the package meets them: shape, fields, names; and that nothing on the host looks inside."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from cuda_host.fakes import CudaArray, DlpackArray

import fwfm_gpu
from fwfm_gpu.device_matrix import DeviceMatrix
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io import write_libsvm
from fwfm_gpu.model import Columns

DENSE = np.array([[1.0, 0, 2], [0, 3, 0]])
FIELDS = [1, 0, 1]
NAMES = {"field_names": ["a", "b"], "feature_names": ["x", "y", "z"]}


@pytest.fixture
def rows():
    return FieldMatrix.from_matrix(CudaArray(DENSE), FIELDS, **NAMES)


def test_columns_are_those_of_the_host(rows):
    host = FieldMatrix.from_matrix(DENSE, FIELDS, **NAMES)
    assert type(rows) is DeviceMatrix
    assert (rows.shape, len(rows), rows.n_features) == ((2, 3), 2, 3)
    assert repr(rows) == "DeviceMatrix(2 x 3, 2 fields)"
    for name in ("n_fields", "field_names", "feature_names", "encoder"):
        assert getattr(rows, name) == getattr(host, name)
    np.testing.assert_array_equal(rows.fields, host.fields, strict=True)
    assert not rows.fields.flags.writeable


def test_ids_and_three_arrays_give_one_too():
    ids = FieldMatrix.from_ids(DlpackArray(np.array([[0, 1], [2, 0]])), [3, 2])
    assert (type(ids), ids.shape, ids.fields.tolist()) == (DeviceMatrix, (2, 5), [0, 0, 0, 1, 1])
    csr = FieldMatrix.from_csr(CudaArray(np.array([0, 1])), CudaArray(np.array([2])), None, (1, 4))
    assert (type(csr), csr.shape, csr.n_fields) == (DeviceMatrix, (1, 4), 4)


def test_three_arrays_of_the_host_are_checked_at_once():
    rows = FieldMatrix.from_csr([0, 2, 3], [1, 0, 1], [0.5, 2, 3], (2, 2), [0, 0], field_names=["f"])
    assert type(rows) is FieldMatrix
    np.testing.assert_array_equal(rows.to_csr().toarray(), [[2, 0.5], [0, 3]])
    assert FieldMatrix.from_csr([0, 1], [0], None, (1, 1)).all_ones
    with pytest.raises(InputError, match=r"indices\[1\] \(row 0\) must be at least 0 and below 2: got 2"):
        FieldMatrix.from_csr([0, 2], [0, 2], None, (1, 2))
    with pytest.raises(InputError, match=r"X must be 2-D \(rows, columns\): got shape \(1,\)"):
        FieldMatrix.from_csr([0, 1], [0], None, (1,))


@pytest.mark.parametrize("name", ["indptr", "indices", "values", "nnz", "all_ones"])
def test_the_host_is_told_where_the_arrays_are(rows, name):
    with pytest.raises(InputTypeError, match=r"X lies on a device \(CudaArray\), and only the CUDA engine opens it"):
        getattr(rows, name)


@pytest.mark.parametrize("verb", ["to_csr", "fingerprint"])
def test_verbs_of_the_host_say_so_too(rows, verb):
    with pytest.raises(InputTypeError, match="X lies on a device"):
        getattr(rows, verb)()


def test_an_unknown_attribute_is_an_ordinary_error(rows):
    with pytest.raises(AttributeError, match="'DeviceMatrix' object has no attribute 'colour'"):
        rows.colour  # noqa: B018
    assert copy.copy(rows).source is rows.source


def test_what_is_asked_is_remembered(rows):
    assert rows.rounded("float64").dtype == "float64"
    assert rows.rounded(np.float32).take([1]).dtype == "float32"
    taken = rows.take([1, 0, 1]).take([2, 0, 1])
    assert (taken.n_rows, taken.selected.tolist()) == (3, [1, 1, 0])
    assert rows.take(slice(1, None)).shape == (1, 3)
    with pytest.raises(OptionError, match="dtype must be 'float32' or 'float64', got 'float16'"):
        rows.rounded("float16")
    with pytest.raises(InputError, match=r"rows\[0\] must be at least 0 and below 2: got 2"):
        rows.take([2])


def test_it_is_returned_as_it_is(rows):
    assert FieldMatrix.from_matrix(rows, FIELDS, **NAMES) is rows
    with pytest.raises(InputError, match="column 0 is of field 1, got 0"):
        FieldMatrix.from_matrix(rows, [0, 0, 1])


def test_a_model_reads_it_as_its_own_columns(rows):
    columns = Columns.of(FieldMatrix.from_matrix(DENSE, FIELDS, **NAMES))
    assert columns.read(rows, "float32").dtype == "float32"
    assert columns.read(CudaArray(DENSE), "float64").fields.tolist() == FIELDS
    with pytest.raises(InputError, match="expected 3, got 2"):
        columns.read(CudaArray(DENSE[:, :2]), "float32")
    with pytest.raises(InputError, match="column 0 is of field 1, and of field 0 in X"):
        columns.read(FieldMatrix.from_matrix(CudaArray(DENSE)), "float32")


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1), (2, 0)])
def test_shapes_are_checked_unopened(shape):
    with pytest.raises(InputError, match=r"2-D|at least one column"):
        FieldMatrix.from_matrix(CudaArray(np.ones(shape)))


def test_text_files_need_the_host(rows, tmp_path):
    with pytest.raises(InputTypeError, match="X lies on a device"):
        write_libsvm(tmp_path / "rows.txt", rows, [0, 1])


def test_reports_need_the_host(tmp_path):
    pytest.importorskip("matplotlib", reason="a report needs fwfm-gpu[plots]")
    model = fwfm_gpu.train(DENSE, [0, 1], fields=FIELDS, epochs=1, device="numpy", progress=False)
    with pytest.raises(InputTypeError, match="X lies on a device"):
        fwfm_gpu.report(model, CudaArray(DENSE), [0, 1], tmp_path / "report.html")
