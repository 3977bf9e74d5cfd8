"""Rows that lie on a GPU, in the arrays of CuPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from device_rows import (
    BAD,
    FIELDS,
    INPUTS,
    OPTIONS,
    ROWS,
    TARGETS,
    N,
    assert_same_model,
    both,
    compare_rows,
    identity,
    make_csr,
    refusal,
)
from scipy import sparse

import fwfm_gpu
from fwfm_gpu.backends import get_backend
from fwfm_gpu.field_matrix import FieldMatrix

# ---- on a GPU


@pytest.fixture
def cupy():
    """CuPy, where a GPU answers."""
    return pytest.importorskip("cupy", reason="CuPy is not installed: nothing can lie on a GPU")


@pytest.mark.gpu
@pytest.mark.parametrize("T", ["float32", "float64"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_on_a_gpu_are_those_of_the_host(cupy, name, T):
    compare_rows(get_backend("cuda").device, *(rows.rounded(T) for rows in both(name, cupy.asarray)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", BAD)
def test_bad_rows_on_a_gpu_are_refused_as_on_the_host(cupy, name):
    make, arrays = BAD[name]
    wanted = refusal(lambda: make(identity, arrays).rounded("float32"))
    backend = get_backend("cuda")
    assert refusal(lambda: backend.load_data(make(cupy.asarray, arrays).rounded("float32"))) == wanted


@pytest.mark.gpu
def test_cupyx_rows_are_trained_on_where_they_lie(cupy):
    from cupyx.scipy.sparse import csr_matrix

    host = sparse.csr_matrix(make_csr()[::-1], shape=(ROWS, N))
    X, backend = csr_matrix(host), get_backend("cuda")
    data = backend.load_data(FieldMatrix.from_matrix(X, FIELDS).rounded("float32"))
    assert (data.indices.data.ptr, data.values.data.ptr) == (X.indices.data.ptr, X.data.data.ptr)
    options = {**OPTIONS, "fields": FIELDS, "validation_fraction": 0.3}
    got = fwfm_gpu.train(X, cupy.asarray(TARGETS), device="cuda", **options)
    wanted = fwfm_gpu.train(host, TARGETS, device="numpy", **options)
    assert_same_model(got, wanted)
    for predict in ("decision_function", "predict_proba", "predict"):
        sent = getattr(got, predict)(X)
        assert type(sent) is cupy.ndarray
        np.testing.assert_array_equal(sent.get(), getattr(wanted, predict)(host), strict=True)


@pytest.mark.gpu(may_skip=True)
def test_torch_tensors_come_in_and_go_back(cupy):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its tensors cannot come in")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    host, parts = sparse.csr_array(make_csr()[::-1], shape=(ROWS, N)), [torch.tensor(a).cuda() for a in make_csr()]
    got = fwfm_gpu.train(host, torch.tensor(TARGETS).cuda(), fields=FIELDS, device="cuda", **OPTIONS)
    wanted = got.decision_function(host)
    for X in (torch.sparse_csr_tensor(*parts, size=(ROWS, N)), torch.tensor(host.toarray()).cuda()):
        sent = got.decision_function(X)
        assert isinstance(sent, torch.Tensor)
        np.testing.assert_array_equal(sent.cpu().numpy(), wanted, strict=True)
