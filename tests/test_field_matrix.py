"""A FieldMatrix: from ids, its fields and names, rounding, taking rows, its fingerprint."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from field_matrices import ARRAYS, DENSE, assert_canonical, assert_same, dense, names
from scipy import sparse

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix

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
