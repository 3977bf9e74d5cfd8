"""Which arrays lie on a device, and what of them is known unopened."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host.fakes import CudaArray, CupyxMatrix, DlpackArray, TorchCsr
from scipy import sparse

from fwfm_gpu.device_arrays import Csr, Dense, find_source, on_device, shape_of
from fwfm_gpu.errors import InputTypeError

KINDS = [CudaArray, DlpackArray]
ARRAYS = np.array([0, 1, 2]), np.array([1, 0]), np.array([0.5, 2])


class Interface:
    """The least that may be offered."""

    __cuda_array_interface__ = {"shape": (2, 3), "typestr": "<f4", "data": (1, True), "version": 3}  # noqa: RUF012


class Elsewhere:
    """DLPack names the kind of the memory."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __dlpack_device__(self):
        return (self.kind, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_on_a_device_are_known_unopened(kind):
    array = kind(np.ones((4, 3)))
    assert on_device(array)
    assert shape_of(array) == (4, 3)
    source = find_source(array)
    assert isinstance(source, Dense)
    assert source.array is array


def test_an_interface_is_enough():
    assert on_device(Interface())
    assert shape_of(Interface()) == (2, 3)


@pytest.mark.parametrize(("kind", "found"), [(1, False), (2, True), (3, False), (10, False), (13, True)])
def test_dlpack_says_where_an_array_lies(kind, found):
    assert on_device(Elsewhere(kind)) is found


@pytest.mark.parametrize(
    "X",
    [
        np.ones((2, 2)),
        np.ma.ones((2, 2)),
        [[1.0]],
        None,
        3,
        "text",
        sparse.csr_array([[1.0]]),
        sparse.eye(2, format="dia"),
    ],
)
def test_the_host_is_no_device(X):
    assert not on_device(X)
    assert find_source(X) is None


def test_rows_of_the_host_are_no_source():
    assert find_source(Csr(*ARRAYS, (2, 2))) is None


@pytest.mark.parametrize("wrap", [CupyxMatrix, TorchCsr])
def test_csr_of_other_libraries_is_found(wrap):
    arrays = tuple(CudaArray(array) for array in ARRAYS)
    source = find_source(wrap(arrays, (2, 3)))
    assert isinstance(source, Csr)
    assert source.arrays == arrays
    assert source.shape == (2, 3)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (CupyxMatrix((None, None, CudaArray(ARRAYS[2])), (2, 2), "csc"), r"got csc \(CupyxMatrix\). Pass X.tocsr\(\)."),
        (CupyxMatrix((None, None, CudaArray(ARRAYS[2])), (2, 2), "coo"), "got coo"),
        (TorchCsr((), (2, 2), "sparse_coo"), r"got torch.sparse_coo. Pass X.to_sparse_csr\(\)."),
    ],
)
def test_other_sparse_formats_are_refused(X, words):
    with pytest.raises(InputTypeError, match=f"X must be in CSR format on a device, {words}"):
        find_source(X)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_rows_of_two_places_are_refused(which):
    arrays = list(ARRAYS)
    arrays[which] = CudaArray(arrays[which])
    with pytest.raises(InputTypeError, match="indptr, indices and values must lie together"):
        find_source(Csr(*arrays, (2, 2)))
