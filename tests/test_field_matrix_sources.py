"""Rows from every kind of matrix: the same canonical rows; what is the caller's stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from field_matrices import ARRAYS, DENSE, FORMATS, assert_canonical, assert_same, dense, raw, raw_coo
from scipy import sparse

from fwfm_gpu.field_matrix import FieldMatrix

# matrices


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_sparse_format_gives_the_bits_of_the_dense_array(form, kind):
    want = FieldMatrix.from_matrix(DENSE)
    assert_canonical(want)
    np.testing.assert_array_equal(dense(want), DENSE)
    assert_same(FieldMatrix.from_matrix(getattr(sparse, f"{form}_{kind}")(DENSE)), want)


@pytest.mark.parametrize(
    "X",
    [
        DENSE.tolist(),
        DENSE.astype(object),
        np.asfortranarray(DENSE),
        np.repeat(DENSE, 2, axis=0)[::2],
        DENSE.astype(">f8"),
        DENSE.astype(np.longdouble),
    ],
    ids=["list", "object", "fortran", "strided", "big-endian", "longdouble"],
)
def test_every_dense_input_gives_the_same_rows(X):
    assert_same(FieldMatrix.from_matrix(X), FieldMatrix.from_matrix(DENSE))


@pytest.mark.parametrize(
    "dtype, expected",
    [(d, np.float32) for d in ("float32", "float16", ">f4", "bool", "int8", "int16", "uint8", "uint16")]
    + [(d, np.float64) for d in ("float64", ">f8", "longdouble", "int32", "uint32", "int64", "uint64", "object")],
)
def test_values_are_float32_where_that_is_exact(dtype, expected):
    matrix = FieldMatrix.from_matrix(np.array([[0, 1], [7, 0]]).astype(dtype))
    assert matrix.values.dtype == expected
    assert_canonical(matrix)
    if dtype in ("float32", "int8", "int64"):
        assert FieldMatrix.from_matrix(sparse.csc_array(np.array([[0, 1]], dtype))).values.dtype == expected


def test_ones_are_stored_once_whatever_they_came_from():
    for X in (np.eye(3), sparse.eye_array(3, format="csr"), sparse.eye_array(3, format="coo")):
        matrix = FieldMatrix.from_matrix(X)
        assert matrix.all_ones
        assert matrix.values.dtype == np.float64
    assert not FieldMatrix.from_matrix(np.diag([1, 1, 2])).all_ones
    assert not FieldMatrix.from_matrix([[5]]).all_ones
    assert not replace(matrix, values=np.broadcast_to(5.0, (3,))).all_ones


def test_duplicates_are_summed_in_stored_order_in_float64():
    # In stored order the 1 is lost against 1e16 before it leaves; -1e16 first would keep it.
    stored, other = np.array([1e16, 1, -1e16, 2]), np.array([1e16, -1e16, 1, 2])
    row, column = np.zeros(4, int), np.array([3, 3, 3, 1])
    for values, total in ((stored, 0.0), (other, 1.0)):
        want = [[0, 2, 0, total]]
        coo = sparse.coo_array((values, (row, column)), shape=(1, 4))
        csr = raw(values, column, [0, 4], (1, 4))
        csc = raw(values[[3, 0, 1, 2]], [0, 0, 0, 0], [0, 0, 1, 1, 4], (1, 4), sparse.csc_array)
        for X in (coo, csr, csc):
            matrix = FieldMatrix.from_matrix(X)
            np.testing.assert_array_equal(dense(matrix), want)
            assert_canonical(matrix)


def test_many_duplicates_are_summed_one_by_one():
    values = np.random.default_rng(1).normal(size=1000) * 10.0 ** np.random.default_rng(2).integers(-8, 8, 1000)
    total = 0.0
    for value in values:
        total += float(value)
    assert total != np.sum(values)  # or the test shows nothing
    matrix = FieldMatrix.from_matrix(sparse.coo_array((values, (np.zeros(1000, int),) * 2), shape=(1, 1)))
    assert matrix.values.tolist() == [total]


def test_summed_float32_values_become_float64():
    values = np.array([1, 2**-30], np.float32)
    matrix = FieldMatrix.from_matrix(sparse.coo_array((values, ([0, 0], [0, 0])), shape=(1, 1)))
    assert matrix.values.dtype == np.float64
    assert matrix.values.tolist() == [1 + 2**-30]


def test_zeros_are_dropped_also_those_that_duplicates_leave():
    X = raw([0.0, 2.0, -2.0, -0.0, 5.0], [0, 1, 1, 2, 3], [0, 4, 5], (2, 4))
    matrix = FieldMatrix.from_matrix(X)
    assert matrix.indptr.tolist() == [0, 0, 1]
    assert matrix.indices.tolist() == [3]
    assert FieldMatrix.from_matrix([[-0.0, 1]]).indices.tolist() == [1]


def test_stale_flags_of_scipy_are_not_believed():
    X = raw([1.0, 2.0, 4.0], [2, 0, 2], [0, 3], (1, 3))
    X.has_sorted_indices = X.has_canonical_format = True
    np.testing.assert_array_equal(dense(FieldMatrix.from_matrix(X)), [[2, 0, 5]])


@pytest.mark.parametrize("index, pointer", [(np.int32, np.int64), (np.int64, np.int32), (np.uint16, np.uint64)])
def test_index_dtypes_may_be_mixed(index, pointer):
    X = raw(np.array([1.5, -2, 3, 0.25, 1]), np.array([1, 3, 0, 2, 3], index), np.array([0, 2, 2, 5], pointer), (3, 4))
    assert_same(FieldMatrix.from_matrix(X), FieldMatrix.from_matrix(DENSE))
    C = raw(
        np.array([3, 1.5, 0.25, -2, 1]),
        np.array([2, 0, 2, 0, 2], index),
        np.array([0, 1, 2, 3, 5], pointer),
        (3, 4),
        sparse.csc_array,
    )
    assert_same(FieldMatrix.from_matrix(C), FieldMatrix.from_matrix(DENSE))
    T = raw_coo([1, 3, 1.5, 0.25, -2], np.array([2, 2, 0, 2, 0], index), np.array([3, 0, 1, 2, 3], pointer), (3, 4))
    assert_same(FieldMatrix.from_matrix(T), FieldMatrix.from_matrix(DENSE))


def test_non_contiguous_and_unaligned_arrays_become_plain_ones():
    wide = np.zeros((5, 2))
    wide[:, 0] = [1.5, -2, 3, 0.25, 1]
    packed = np.zeros(5, np.dtype([("pad", "i1"), ("index", "i4")]))
    packed["index"] = [1, 3, 0, 2, 3]
    X = raw(wide[:, 0], packed["index"], np.array([0, 0, 2, 0, 2, 0, 5])[::2], (3, 4))
    assert not X.indices.flags.aligned
    matrix = FieldMatrix.from_matrix(X)
    assert_same(matrix, FieldMatrix.from_matrix(DENSE))
    for name in ARRAYS:
        assert getattr(matrix, name).flags.aligned
        assert getattr(matrix, name).flags.c_contiguous


@pytest.mark.parametrize("shape", [(0, 3), (2, 3)])
@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_and_empty_rows_are_fine(form, shape):
    X = np.zeros(shape)
    matrix = FieldMatrix.from_matrix(getattr(sparse, f"{form}_array")(shape))
    assert_same(matrix, FieldMatrix.from_matrix(X))
    assert matrix.shape == shape
    assert matrix.nnz == 0
    assert_canonical(matrix)
    assert_same(matrix.take(slice(None)).rounded("float32").rounded("float64"), matrix)


# what stays the caller's


def unsorted_csr():
    return raw([2.0, 0.0, 1.0, 1.0], [2, 1, 0, 0], [0, 2, 4], (2, 3))


MUST_STAY = {
    "canonical csr": lambda: sparse.csr_array(DENSE),
    "float32 csr": lambda: sparse.csr_array(DENSE.astype(np.float32)),
    "unsorted csr": unsorted_csr,
    "csc": lambda: raw([2.0, 0.0, 1.0, 1.0], [1, 0, 0, 0], [0, 2, 4], (2, 2), sparse.csc_array),
    "coo": lambda: sparse.coo_array(([1.0, 2, 3, 0], ([1, 0, 1, 0], [2, 1, 2, 0])), shape=(2, 3)),
    "bsr": lambda: sparse.bsr_array(np.kron(np.eye(2), [[1, 2], [3, 0]]), blocksize=(2, 2)),
    "dia": lambda: sparse.dia_array(([[1.0, 2, 3]], [1]), shape=(3, 4)),
    "dok": lambda: sparse.dok_array(DENSE),
    "lil": lambda: sparse.lil_array(DENSE),
    "dense": lambda: DENSE.copy(),
    "ones": lambda: sparse.csr_array(np.eye(3)),
}


def arrays_of(X) -> dict[str, np.ndarray]:
    if isinstance(X, np.ndarray):
        return {"X": X}
    names = ("data", "indices", "indptr", "row", "col", "offsets", "rows")
    return {name: getattr(X, name) for name in names if isinstance(getattr(X, name, None), np.ndarray)}


def snapshot(X) -> object:
    if isinstance(X, sparse.dok_array):
        return list(X.items())
    if isinstance(X, sparse.lil_array):
        return X.rows.tolist(), X.data.tolist()
    return {name: (id(a), a.dtype, a.tobytes(), a.flags.writeable) for name, a in arrays_of(X).items()}


@pytest.mark.parametrize("flags", [{}, {"has_sorted_indices": True}, {"has_canonical_format": True}], ids=str)
@pytest.mark.parametrize("kind", MUST_STAY)
def test_the_callers_matrix_keeps_its_bytes(kind, flags):
    X = MUST_STAY[kind]()
    for name, value in flags.items():
        if hasattr(X, name):  # SciPy's own flags, true or not
            setattr(X, name, value)
    state = {name: value for name, value in getattr(X, "__dict__", {}).items() if isinstance(value, bool)}
    fields = np.zeros(X.shape[1], np.int32)
    before = snapshot(X)
    assert before
    matrix = FieldMatrix.from_matrix(X, fields)
    matrix.rounded("float32").take([0, 0]).fingerprint()
    matrix.to_csr().data[:] = 7
    assert snapshot(X) == before
    assert {name: value for name, value in getattr(X, "__dict__", {}).items() if isinstance(value, bool)} == state
    fields[:] = 5  # writable still, and not ours
    assert not matrix.fields.any()


@pytest.mark.parametrize("kind", [kind for kind in MUST_STAY if kind not in ("dok", "lil")])
def test_read_only_arrays_are_accepted(kind):
    want, X = FieldMatrix.from_matrix(MUST_STAY[kind]()), MUST_STAY[kind]()
    for array in arrays_of(X).values():
        array.setflags(write=False)
    assert_same(FieldMatrix.from_matrix(X), want)


@pytest.mark.parametrize("numbers", [DENSE, DENSE.astype(np.float32), [[0, 2.0], [0, 0], [3, 0], [0, 0]]], ids=len)
def test_a_canonical_csr_shares_its_memory_read_only(numbers):
    X = sparse.csr_array(numbers)
    matrix = FieldMatrix.from_matrix(X)
    assert np.shares_memory(matrix.values, X.data)
    assert np.shares_memory(matrix.indices, X.indices)
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[0] = 0
    X.data[0] = 9  # the caller's own stays writable


@pytest.mark.parametrize(
    "kind", [kind for kind in MUST_STAY if kind not in ("dok", "lil", "canonical csr", "float32 csr")]
)
def test_nothing_else_shares_memory_with_the_caller(kind):
    X = MUST_STAY[kind]()
    matrix = FieldMatrix.from_matrix(X)
    for name, array in arrays_of(X).items():
        for own in ARRAYS:
            if kind != "ones" or (name, own) != ("indices", "indices"):
                assert not np.shares_memory(array, getattr(matrix, own))
