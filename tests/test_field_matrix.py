from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix

FORMATS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
DENSE = np.array([[0, 1.5, 0, -2], [0, 0, 0, 0], [3, 0, 0.25, 1]])
ARRAYS = ("indptr", "indices", "values", "fields")


def assert_same(got: FieldMatrix, want: FieldMatrix) -> None:
    """Equal to the bit, dtypes and names too."""
    for name in ARRAYS:
        a, b = getattr(got, name), getattr(want, name)
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name
    for name in ("n_fields", "field_names", "feature_names", "shape"):
        assert getattr(got, name) == getattr(want, name), name


def dense(matrix: FieldMatrix) -> np.ndarray:
    """Independent of to_csr: one value at a time."""
    filled = np.zeros(matrix.shape, matrix.values.dtype)
    for row in range(len(matrix)):
        for p in range(matrix.indptr[row], matrix.indptr[row + 1]):
            assert filled[row, matrix.indices[p]] == 0
            filled[row, matrix.indices[p]] = matrix.values[p]
    return filled


def assert_canonical(matrix: FieldMatrix) -> None:
    assert matrix.indptr.dtype == np.int64
    assert matrix.indices.dtype == np.int32
    assert matrix.fields.dtype == np.int32
    assert matrix.values.dtype in (np.float32, np.float64)
    assert matrix.indptr[0] == 0
    assert matrix.indptr[-1] == len(matrix.indices) == len(matrix.values) == matrix.nnz
    for row in range(matrix.n_rows):
        assert np.all(np.diff(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]) > 0)
    assert np.all(matrix.values != 0)
    assert np.all(np.isfinite(matrix.values))
    for name in ARRAYS:
        assert not getattr(matrix, name).flags.writeable
        assert getattr(matrix, name).dtype.isnative


def raw(data: object, indices: object, indptr: object, shape: tuple[int, int], kind: type = sparse.csr_array):
    """A compressed matrix with its arrays set afterwards: SciPy checks nothing."""
    X = kind(shape)
    X.data, X.indices, X.indptr = np.asarray(data), np.asarray(indices), np.asarray(indptr)
    return X


def raw_coo(data: object, row: object, col: object, shape: tuple[int, int]):
    X = sparse.coo_array(([0.0], ([0], [0])), shape=shape)
    X.data, X.row, X.col = np.asarray(data), np.asarray(row), np.asarray(col)
    return X


# ids


def test_ids_become_columns_behind_the_offset_of_their_field():
    matrix = FieldMatrix.from_ids([[0, 2, 1], [1, 0, 0]], [2, 3, 2])
    np.testing.assert_array_equal(matrix.indices, [0, 4, 6, 1, 2, 5])
    np.testing.assert_array_equal(matrix.indptr, [0, 3, 6])
    np.testing.assert_array_equal(matrix.fields, [0, 0, 1, 1, 1, 2, 2])
    assert (matrix.shape, len(matrix), matrix.n_fields, matrix.nnz) == ((2, 7), 2, 3, 6)
    assert_canonical(matrix)


def test_ids_cost_no_memory_for_values():
    matrix = FieldMatrix.from_ids([[0, 2], [1, 0]], [2, 3])
    assert matrix.values.dtype == np.float32
    assert matrix.values.strides == (0,)
    assert matrix.all_ones
    np.testing.assert_array_equal(matrix.values, np.ones(4))


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_ids_of_every_integer_dtype_and_layout_give_the_same_rows(dtype, order):
    plain = np.random.default_rng(0).integers(0, 100, (20, 4))
    ids = np.array(plain, dtype=dtype, order=order)
    ids.setflags(write=False)
    want = FieldMatrix.from_ids(plain.tolist(), [100] * 4)
    assert_same(FieldMatrix.from_ids(ids, np.array([100] * 4, np.uint16)), want)
    np.testing.assert_array_equal(dense(want), np.hstack([np.eye(100)[plain[:, f]] for f in range(4)]))


def test_ids_may_be_a_strided_view():
    ids = np.arange(24).reshape(4, 6)[::-2, 1::2]
    assert_same(FieldMatrix.from_ids(ids, [24] * 3), FieldMatrix.from_ids(ids.tolist(), [24] * 3))


def test_a_field_of_size_0_is_fine_without_rows_or_names_alone():
    matrix = FieldMatrix.from_ids(np.empty((0, 2), int), [0, 3], field_names=["a", "b"])
    assert matrix.shape == (0, 3)
    assert matrix.n_fields == 2
    np.testing.assert_array_equal(matrix.fields, [1, 1, 1])


def test_more_field_names_than_columns_of_ids_add_fields():
    assert FieldMatrix.from_ids([[0]], [1], field_names=["a", "later"]).n_fields == 2


@pytest.mark.parametrize(
    "ids, sizes, names, message",
    [
        ([[0, 0], [1, 0], [0, 3], [0, 9]], [2, 3], ["user", "item"], "got 3 at row 2, field 1 ('item') of size 3"),
        ([[1, 2], [2, 2]], [2, 3], None, "got 2 at row 1, field 0 of size 2"),
        ([[0, 0], [-1, 3]], [2, 3], None, "got -1 at row 1, field 0 of size 2"),
        (np.array([[0, 2**64 - 1]], np.uint64), [2, 3], None, "got 18446744073709551615 at row 0, field 1 of size 3"),
        (np.array([[0, -1]], np.int8), np.array([2, 2**40], np.uint64), None, "got -1 at row 0, field 1"),
        (np.array([[0, 127]], np.int8), [300, 0], None, "got 127 at row 0, field 1 of size 0"),
        ([0, 1], [2], None, "ids must have shape (rows, 1), one column per entry of sizes: got shape (2,)"),
        ([[[0]]], [2], None, "got shape (1, 1, 1)"),
        ([[0, 1]], [2], None, "ids must have shape (rows, 1), one column per entry of sizes: got shape (1, 2)"),
        ([[0, 1], [0]], [2, 2], None, "ids must be an array with rows of one length, got list"),
        ([[]], [], None, "sizes must hold one number per field, at least one: got shape (0,)"),
        ([[0]], 2, None, "sizes must hold one number per field, at least one: got shape ()"),
        ([[0, 0]], [2, -3], None, "sizes[1] must be at least 0 and below 281474976710656: got -3"),
        ([[0, 0]], [2, 2**50], None, "sizes[1] must be at least 0 and below 281474976710656: got"),
        (np.empty((0, 2), int), [0, 0], None, "sizes must add up to at least one feature"),
        ([[0, 0]], [1, 1], ["a"], "field_names must hold at least 2 names, one per field: got 1"),
        (np.zeros((1, 2**14 + 1), int), [1] * (2**14 + 1), None, "16385 fields are too many"),
    ],
)
def test_unusable_ids_are_refused_with_their_place(ids, sizes, names, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_ids(ids, sizes, field_names=names)


@pytest.mark.parametrize(
    "ids, sizes, message",
    [
        ([[0.0]], [2], "ids must be integers, got float64"),
        ([[True]], [2], "ids must be integers, got bool"),
        ([["a"]], [2], "ids must be integers, got <U1"),
        ([[2**70]], [2], "ids must be integers, got object"),
        ([[0]], [2.0], "sizes must be integers, got float64"),
        (sparse.csr_array([[1]]), [2], "ids must be integers, got object"),
        (np.ma.masked_array([[1, 1]], mask=[[0, 1]]), [2, 2], "ids is a masked array"),
    ],
)
def test_ids_that_are_no_integers_are_refused(ids, sizes, message):
    with pytest.raises(InputTypeError, match=re.escape(message)):
        FieldMatrix.from_ids(ids, sizes)


def test_later_changes_of_ids_and_sizes_do_not_reach_the_rows():
    ids, sizes = np.array([[1, 0]], np.int32), np.array([2, 2])
    matrix = FieldMatrix.from_ids(ids, sizes)
    before = matrix.fingerprint()
    ids[:], sizes[:] = 0, 0
    assert matrix.fingerprint() == before


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


# what is refused


def names(n: int) -> list[str]:
    return [f"feature_{i}" for i in range(n)]


BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize("form", ["dense", *FORMATS])
@pytest.mark.parametrize("bad", BAD)
def test_values_that_are_not_finite_are_refused_with_row_and_column(bad, form):
    X = DENSE.copy()
    X[2, 2] = X[2, 3] = BAD[bad]
    X = X if form == "dense" else getattr(sparse, f"{form}_array")(X)
    with pytest.raises(InputError, match=re.escape(f"got {bad} at row 2, column 2. ")):
        FieldMatrix.from_matrix(X)
    with pytest.raises(InputError, match=re.escape(f"got {bad} at row 2, column 2 (feature 'feature_2').")):
        FieldMatrix.from_matrix(X, feature_names=names(4))


def test_the_first_place_is_named_in_row_order_not_in_stored_order():
    X = sparse.coo_array(([np.nan, np.inf, 1, np.nan], ([3, 1, 0, 1], [0, 2, 1, 1])), shape=(4, 3))
    with pytest.raises(InputError, match="got nan at row 1, column 1"):
        FieldMatrix.from_matrix(X)


def test_duplicates_that_overflow_are_refused():
    X = sparse.coo_array(([1e308, 1e308], ([1, 1], [1, 1])), shape=(2, 2))
    with pytest.raises(InputError, match="after duplicates are summed: got inf at row 1, column 1"):
        FieldMatrix.from_matrix(X)


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="long double is float64 here")
def test_a_long_double_beyond_float64_is_refused():
    with pytest.raises(InputError, match="got inf at row 0, column 1"):
        FieldMatrix.from_matrix(np.array([[1, np.finfo(np.longdouble).max]]))


COMPRESSED = [
    ([1, 1], [0, 1], [1, 2, 2], "indptr must start at 0: got indptr[0] = 1"),
    ([1, 1], [0, 1], [-1, 1, 2], "indptr must start at 0: got indptr[0] = -1"),
    ([1, 1], [0, 1], [0, 3, 2], "indptr must not decrease: got 3, then 2 at the end of {axis} 1"),
    ([1, 1], [0, 1], np.array([0, 3, 2], np.uint32), "indptr must not decrease: got 3, then 2 at the end of {axis} 1"),
    (
        [1, 1],
        [0, 1],
        [0, 1, 1],
        "indptr must end at the number of stored values: got 1 at its end, indices of shape (2,)",
    ),
    ([1, 1], [0, 1], [0, 1, 3], "indptr must end at the number of stored values: got 3 at its end"),
    ([1, 1, 1], [0, 1], [0, 1, 2], "got 2 at its end, indices of shape (2,), data of shape (3,)"),
    ([1, 1], [0, 1, 0], [0, 1, 2], "got 2 at its end, indices of shape (3,), data of shape (2,)"),
    ([[1, 1]], [0, 1], [0, 1, 2], "data of shape (1, 2)"),
    ([1, 1], [0, 1], [0, 2], "indptr must hold 3 entries, one per {axis} and one more: got shape (2,)"),
    ([1, 1], [0, 1], [[0, 1, 2]], "got shape (1, 3)"),
    ([1, 1], [0, 2], [0, 0, 2], "indices[1] ({axis} 1) must be at least 0 and below 2: got 2"),
    ([1, 1], [-1, 0], [0, 2, 2], "indices[0] ({axis} 0) must be at least 0 and below 2: got -1"),
]


@pytest.mark.parametrize("kind, axis", [(sparse.csr_array, "row"), (sparse.csc_matrix, "column")])
@pytest.mark.parametrize("data, indices, indptr, message", COMPRESSED)
def test_malformed_csr_and_csc_are_refused_with_their_place(kind, axis, data, indices, indptr, message):
    X = raw(np.asarray(data, float), indices, indptr, (2, 2), kind)
    with pytest.raises(InputError, match=re.escape(message.format(axis=axis))):
        FieldMatrix.from_matrix(X)


@pytest.mark.parametrize(
    "row, col, message",
    [
        ([0, 2], [0, 0], "row[1] must be at least 0 and below 2: got 2"),
        ([-1, 1], [0, 0], "row[0] must be at least 0 and below 2: got -1"),
        ([0, 1], [0, 3], "col[1] must be at least 0 and below 3: got 3"),
        ([0, 1], [0, -7], "col[1] must be at least 0 and below 3: got -7"),
        ([0], [0, 1], "row, col and data must be of one length: got shapes (1,), (2,) and (2,)"),
        ([0, 1, 1], [0, 1, 1], "row, col and data must be of one length: got shapes (3,), (3,) and (2,)"),
    ],
)
def test_malformed_coo_is_refused_with_its_place(row, col, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_matrix(raw_coo([1.0, 1.0], row, col, (2, 3)))


@pytest.mark.parametrize(
    "X, message",
    [
        (np.ones(3), "X must be 2-D (rows, columns): got shape (3,)"),
        (np.ones((1, 1, 1)), "got shape (1, 1, 1)"),
        (3.0, "got shape ()"),
        (None, "got shape ()"),
        ([], "got shape (0,)"),
        (sparse.coo_array([1.0, 2.0]), "got shape (2,)"),
        ([[1, 2], [3]], "X must be an array with rows of one length, got list"),
        (np.ones((3, 0)), "X must have at least one column: got shape (3, 0)"),
        (sparse.csr_array((3, 0)), "X must have at least one column: got shape (3, 0)"),
        (sparse.csc_array((3, 0)), "X must have at least one column: got shape (3, 0)"),
    ],
)
def test_unusable_shapes_are_refused(X, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_matrix(X)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((1, 1), complex),
        [["a"]],
        [[b"a"]],
        np.array([["1.5", 2]], object),
        np.array([[object()]]),
        [[1j]],
        np.array([[1j]], object),
        [[10**400]],
        {"a": 1},
        "text",
        np.array([["2020-01-01"]], "datetime64[D]"),
        sparse.csr_array([[1j]]),
        sparse.coo_array([[1j]]),
        np.ma.masked_array([[1, 2]], mask=[[False, True]]),
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_is_no_real_number_is_refused(X):
    with pytest.raises(InputTypeError, match=r"X must hold real numbers, got|X is a masked array"):
        FieldMatrix.from_matrix(X)


class OnDevice:
    __cuda_array_interface__ = {"shape": (2,)}  # noqa: RUF012


class Unwilling:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion is not allowed")


def test_what_the_host_needs_is_refused_on_a_device():
    with pytest.raises(InputTypeError, match=r"fields lies on a device \(OnDevice\), and is needed on the host: copy"):
        FieldMatrix.from_matrix([[1, 2]], OnDevice())
    with pytest.raises(InputTypeError, match="sizes lies on a device"):
        FieldMatrix.from_ids([[0]], OnDevice())
    with pytest.raises(InputTypeError, match="X must be an array, got Unwilling: implicit conversion"):
        FieldMatrix.from_matrix(Unwilling())


@pytest.mark.parametrize("bad", [{"data": [1.0]}, {"indices": [0.0]}, {"indptr": [0.0, 1.0]}])
def test_index_arrays_must_be_integers(bad):
    arrays = {"data": [1.0], "indices": [0], "indptr": [0, 1]} | bad
    X = raw(*arrays.values(), (1, 1))
    if "data" in bad:
        assert FieldMatrix.from_matrix(X).nnz == 1
    else:
        with pytest.raises(InputTypeError, match=f"{next(iter(bad))} must be integers, got float64"):
            FieldMatrix.from_matrix(X)


# fields and names


def test_every_column_is_its_own_field_unless_told():
    matrix = FieldMatrix.from_matrix(DENSE)
    np.testing.assert_array_equal(matrix.fields, [0, 1, 2, 3])
    assert matrix.n_fields == 4


@pytest.mark.parametrize("fields", [[2, 0, 0, 2], np.array([2, 0, 0, 2], np.uint8), np.array([2, 0, 0, 2], ">i8")])
def test_a_field_without_columns_is_fine(fields):
    matrix = FieldMatrix.from_matrix(DENSE, fields)
    assert matrix.n_fields == 3
    assert matrix.fields.tolist() == [2, 0, 0, 2]
    assert_canonical(matrix)
    assert FieldMatrix.from_matrix(DENSE, fields, field_names=list("abcde")).n_fields == 5


@pytest.mark.parametrize(
    "fields, message",
    [
        ([0, 1, 2], "fields must name one field per column: expected shape (4,), got (3,)"),
        ([[0, 1, 2, 3]], "expected shape (4,), got (1, 4)"),
        (0, "expected shape (4,), got ()"),
        ([], "expected shape (4,), got (0,)"),
        ([0, 1, -2, -1], "fields must be at least 0: got fields[2] = -2"),
        ([0, 1, 2, 2**14], "16385 fields are too many: R would take 16385^2 = 268468225 weights"),
        (np.array([0, 1, 2, 2**64 - 1], np.uint64), "fields are too many"),
    ],
)
def test_unusable_fields_are_refused(fields, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_matrix(DENSE, fields)


@pytest.mark.parametrize("fields", [[0.0, 1, 2, 3], [True] * 4, list("abcd"), [None] * 4])
def test_fields_that_are_no_integers_are_refused(fields):
    with pytest.raises(InputTypeError, match="fields must be integers, got"):
        FieldMatrix.from_matrix(DENSE, fields)


def test_too_many_columns_without_fields_are_refused_with_advice():
    X = sparse.csr_array((1, 2**14 + 1))
    with pytest.raises(InputError, match=r"R would take 16385\^2 = 268468225 weights.*Pass fields=\.\.\."):
        FieldMatrix.from_matrix(X)
    assert FieldMatrix.from_matrix(X, np.zeros(2**14 + 1, int)).n_fields == 1
    assert FieldMatrix.from_matrix(sparse.csr_array((1, 2**14))).n_fields == 2**14


def test_names_are_kept_as_plain_str():
    matrix = FieldMatrix.from_matrix(DENSE, [0, 0, 1, 1], field_names=np.array(["a", "b"]), feature_names=iter("wxyz"))
    assert matrix.field_names == ("a", "b")
    assert type(matrix.field_names[0]) is str
    assert matrix.feature_names == ("w", "x", "y", "z")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"feature_names": ["a"]}, InputError, "feature_names must hold 4 names, got 1"),
        ({"feature_names": list("abcde")}, InputError, "feature_names must hold 4 names, got 5"),
        ({"feature_names": ["a", "b", 3, "d"]}, InputTypeError, "got int 3 at feature_names[2]"),
        ({"feature_names": "abcd"}, InputTypeError, "feature_names must be a sequence of str, got str"),
        ({"field_names": 7}, InputTypeError, "field_names must be a sequence of str, got int"),
        ({"field_names": list("abc")}, InputError, "field_names must hold at least 4 names, one per field: got 3"),
        ({"field_names": [None] * 4}, InputTypeError, "got NoneType None at field_names[0]"),
    ],
)
def test_unusable_names_are_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FieldMatrix.from_matrix(DENSE, **options)


def test_a_field_matrix_is_returned_as_it_is():
    matrix = FieldMatrix.from_matrix(DENSE, [0, 0, 1, 1], field_names=["a", "b"])
    assert FieldMatrix.from_matrix(matrix) is matrix
    assert FieldMatrix.from_matrix(matrix, [0, 0, 1, 1], field_names=["a", "b"]) is matrix
    with pytest.raises(InputError, match="column 1 is of field 0, got 1"):
        FieldMatrix.from_matrix(matrix, [0, 1, 1, 1])
    with pytest.raises(InputError, match=r"expected shape \(4,\), got \(3,\)"):
        FieldMatrix.from_matrix(matrix, [0, 0, 1])
    with pytest.raises(InputError, match="field_names of its own"):
        FieldMatrix.from_matrix(matrix, field_names=["a", "c"])
    with pytest.raises(InputError, match="feature_names of its own"):
        FieldMatrix.from_matrix(matrix, feature_names=list("abcd"))


# rounding


def test_values_are_rounded_once_and_zeros_dropped():
    values = [[0.1, 1e-50, 3], [1e-46, 0, 0], [0, -1e-45, 2**-149]]
    matrix = FieldMatrix.from_matrix(values, feature_names=list("abc"))
    small = matrix.rounded("float32")
    assert_canonical(small)
    np.testing.assert_array_equal(dense(small), np.array(values).astype(np.float32))
    assert small.indptr.tolist() == [0, 2, 2, 4]
    assert small.feature_names == matrix.feature_names
    assert matrix.nnz == 6


def test_nothing_to_round_returns_itself():
    wide, narrow = FieldMatrix.from_matrix(DENSE), FieldMatrix.from_matrix(DENSE.astype(np.float32))
    assert wide.rounded(np.float64) is wide
    assert narrow.rounded(np.float32) is narrow
    assert_same(narrow.rounded(np.float64), wide)
    assert_same(wide.rounded(np.float32), narrow)


def test_a_broadcast_1_stays_one():
    matrix = FieldMatrix.from_ids([[0, 1], [1, 0]], [2, 2])
    wide = matrix.rounded("float64")
    assert wide.values.dtype == np.float64
    assert wide.all_ones
    assert wide.rounded("float32").all_ones
    assert matrix.rounded("float32") is matrix


def test_a_value_that_overflows_is_refused_with_its_place():
    X = [[1.0, 2.0], [3e38, -3.5e38], [1e300, 0]]
    with pytest.raises(InputError, match=re.escape("X must fit float32: got -3.5e+38 at row 1, column 1. ")):
        FieldMatrix.from_matrix(X).rounded("float32")
    with pytest.raises(InputError, match=re.escape("at row 1, column 1 (feature 'price')")):
        FieldMatrix.from_matrix(X, feature_names=["size", "price"]).rounded("float32")


@pytest.mark.parametrize("dtype", ["float16", "int32", "longdouble", "complex128"])
def test_only_two_dtypes_can_be_asked_for(dtype):
    with pytest.raises(OptionError, match="dtype must be 'float32' or 'float64', got"):
        FieldMatrix.from_matrix(DENSE).rounded(dtype)


# rows


@pytest.mark.parametrize(
    "rows", [[2, 0, 0, 1, 2], [], [1], np.array([2, 1], np.uint8), slice(None, None, -1), slice(1, 9)]
)
def test_take_gives_those_rows_in_that_order(rows):
    matrix = FieldMatrix.from_matrix(DENSE, [0, 1, 1, 3], field_names=list("abcd"), feature_names=names(4))
    taken = matrix.take(rows)
    assert_canonical(taken)
    np.testing.assert_array_equal(dense(taken), DENSE[rows if isinstance(rows, slice) else np.asarray(rows, int)])
    assert taken.fields.tolist() == [0, 1, 1, 3]
    assert (taken.n_fields, taken.field_names, taken.feature_names) == (4, tuple("abcd"), tuple(names(4)))


def test_take_keeps_a_broadcast_1():
    ids = np.random.default_rng(3).integers(0, 5, (10, 3))
    rows = [7, 0, 7]
    taken = FieldMatrix.from_ids(ids, [5] * 3).take(rows)
    assert taken.all_ones
    assert_same(taken, FieldMatrix.from_ids(ids[rows], [5] * 3))


@pytest.mark.parametrize(
    "rows, error, message",
    [
        ([0, 3], InputError, "rows[1] must be at least 0 and below 3: got 3"),
        ([-1], InputError, "rows[0] must be at least 0 and below 3: got -1"),
        ([[0]], InputError, "rows must be 1-D, got shape (1, 1)"),
        (1, InputError, "rows must be 1-D, got shape ()"),
        ([True, False, True], InputTypeError, "rows must be integers, got bool"),
        ([0.0], InputTypeError, "rows must be integers, got float64"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FieldMatrix.from_matrix(DENSE).take(rows)


@pytest.mark.parametrize("matrix", [FieldMatrix.from_matrix(DENSE), FieldMatrix.from_ids([[1, 0], [0, 2]], [2, 3])])
def test_to_csr_is_a_writable_copy(matrix):
    X = matrix.to_csr()
    assert isinstance(X, sparse.csr_array)
    np.testing.assert_array_equal(X.toarray(), dense(matrix))
    assert_same(FieldMatrix.from_matrix(X, matrix.fields), matrix)
    assert X.indices.dtype == X.indptr.dtype == np.int32
    X.data *= 2
    X.sort_indices()
    assert not any(np.shares_memory(X.data, getattr(matrix, name)) for name in ARRAYS)


# fingerprint


def test_the_fingerprint_is_pinned():
    """Model files keep it: it must not change between versions or machines."""
    matrix = FieldMatrix.from_ids([[0, 1], [1, 2]], [2, 3])
    head = b"FieldMatrix 1 2 5 2 4 float32\n"
    arrays = (("<i8", [0, 2, 4]), ("<i4", [0, 3, 1, 4]), ("<f4", [1, 1, 1, 1]), ("<i4", [0, 0, 1, 1, 1]))
    body = b"".join(np.array(numbers, dtype).tobytes() for dtype, numbers in arrays)
    assert matrix.fingerprint() == hashlib.sha256(head + body).hexdigest()


def test_a_broadcast_1_and_ones_written_out_hash_alike():
    matrix = FieldMatrix.from_ids(np.zeros((300_000, 1), int), [1])  # more than one chunk
    written = replace(matrix, values=np.ones(matrix.nnz, np.float32))
    assert not written.all_ones
    assert written.fingerprint() == matrix.fingerprint()


def test_any_single_change_changes_the_fingerprint():
    base = FieldMatrix.from_matrix(DENSE, [0, 0, 1, 1])
    changed = [base, base.rounded("float32"), replace(base, n_fields=3), base.take([0, 1]), base.take([1, 0, 2])]
    for name in ARRAYS:
        for i in range(len(getattr(base, name))):
            array = getattr(base, name).copy()
            array[i] = np.nextafter(array[i], 9) if name == "values" else array[i] + 1
            changed.append(replace(base, **{name: array}))
    assert len({matrix.fingerprint() for matrix in changed}) == len(changed)
    assert replace(base, feature_names=tuple("abcd")).fingerprint() == base.fingerprint()


def test_it_says_what_it_is():
    assert repr(FieldMatrix.from_matrix(DENSE, [0, 0, 1, 1])) == "FieldMatrix(3 x 4, 2 fields, 5 values, float64)"
