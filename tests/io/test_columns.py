from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.io import iterate_libffm, read_libffm, read_libsvm, scan_libffm

SHARED = "1 0:5:1 2:5:2\n0 2:0:3 0:7:1\n"


def test_a_short_line_does_not_ask_for_all_memory(text):
    with pytest.raises(InputError, match=r"line 2, column 3: expected a feature below 16777216.*larger max_features"):
        read_libffm(text("1 0:1:1\n1 0:2147483647:1\n"))
    with pytest.raises(InputError, match=r"line 2, column 3: expected a feature below 16777217.*larger max_features"):
        read_libsvm(text("1 1:1\n1 2147483647:1\n"))


def test_the_largest_allowed_feature_is_read(text):
    assert read_libffm(text("1 0:99:1\n"), max_features=100)[0].n_features == 100
    assert read_libffm(text("1 0:99:1\n"), n_features=100, max_features=5)[0].n_features == 100
    for options in ({"max_features": 99}, {"n_features": 99}):
        with pytest.raises(InputError, match=r"line 1, column 3: expected a feature below 99, got '0:99:1'"):
            read_libffm(text("1 0:99:1\n"), **options)


@pytest.mark.parametrize("feature", [2**31 - 1, 2**31, 2**63, 2**64, 10**16, 10**30, "9" * 5000], ids=range(7))
def test_features_beyond_any_integer_are_refused(text, feature):
    with pytest.raises(InputError, match="line 1, column 3: expected a feature below"):
        read_libffm(text(f"1 0:{feature}:1\n"))
    with pytest.raises(InputError, match="line 1, column 3: expected a field below 16384"):
        read_libffm(text(f"1 {feature}:0:1\n"))


def test_fields_are_limited_to_what_their_pairs_take(text):
    assert read_libffm(text("1 16383:0:1\n"))[0].n_fields == 16384
    for field in (16384, 10**30):
        with pytest.raises(InputError, match=r"expected a field below 16384.*There can be at most 16384 fields"):
            read_libffm(text(f"1 {field}:0:1\n"))
    with pytest.raises(InputError, match="line 2, column 9: expected a field below 16384, got '16384:1:1'"):
        read_libffm(text("1\n1 0:0:1 16384:1:1\n"))


def test_the_number_of_fields_may_be_given(text):
    assert read_libffm(text("1 1:0:1\n"), n_fields=4)[0].n_fields == 4
    with pytest.raises(InputError, match=r"expected a field below 1, got '1:0:1'. Pass a larger n_fields"):
        read_libffm(text("1 1:0:1\n"), n_fields=1)


def test_features_that_no_row_holds_are_of_field_0(text):
    rows, _ = read_libffm(text("1 3:2:1\n"), n_features=4)
    assert rows.fields.tolist() == [0, 0, 3, 0]
    assert (rows.n_fields, rows.fields.dtype) == (4, np.int32)


@pytest.mark.parametrize(
    "content, place, field",
    [
        ("1 0:5:1 1:5:1\n", "line 1, column 9", 0),
        ("1 0:5:1\n1 0:4:1\n1 0:4:1 1:5:1\n", "line 3, column 9", 0),
        ("1 3:5:0\n1 1:5:1\n1 3:5:1\n", "line 2, column 3", 3),
    ],
)
@pytest.mark.parametrize("size", [1, 9, 1000])
def test_a_feature_under_two_fields_is_refused(content, place, field, size, text, block_bytes):
    block_bytes(size)
    with pytest.raises(
        InputError, match=f"{place}: expected this feature under field {field} as before.*shared_ids='split'"
    ):
        read_libffm(text(content))


@pytest.mark.parametrize("size", [1, 9, 1000])
def test_a_feature_under_two_fields_may_be_split(size, text, block_bytes):
    block_bytes(size)
    rows, _ = read_libffm(text(SHARED), shared_ids="split")
    assert rows.feature_names == ("0:5", "0:7", "2:0", "2:5")
    assert rows.fields.tolist() == [0, 0, 2, 2]
    assert rows.to_csr().toarray().tolist() == [[1, 0, 0, 2], [0, 1, 3, 0]]
    assert rows.indices.dtype == np.int32


def test_split_features_may_be_large_and_are_counted(text):
    content = f"1 0:{2**48 - 1}:1 1:{2**48 - 1}:1\n1 0:1:1\n"
    assert read_libffm(text(content), shared_ids="split")[0].n_features == 3
    with pytest.raises(InputError, match="line 2, column 3: expected at most 2 different pairs of field and feature"):
        read_libffm(text(content), shared_ids="split", max_features=2)
    with pytest.raises(InputError, match=f"line 1, column 3: expected a feature below {2**48}"):
        read_libffm(text(f"1 0:{2**48}:1"), shared_ids="split")


def test_many_split_features_are_found(text, block_bytes):
    block_bytes(1000)
    ids = np.random.default_rng(0).permutation(70000)
    content = "".join(f"1 {i % 3}:{i}:1\n" for i in ids)
    rows, _ = read_libffm(text(content), shared_ids="split")
    want = sorted((int(i) % 3, int(i)) for i in ids)
    assert rows.feature_names == tuple(f"{field}:{i}" for field, i in want)
    assert [want[column] for column in rows.indices[:100]] == [(int(i) % 3, int(i)) for i in ids[:100]]


@pytest.mark.parametrize("shared_ids", ["error", "split"])
def test_files_that_belong_together_get_the_same_columns(text, shared_ids):
    files = ["1 0:5:1 2:6:1\n", "1 1:9:1\n0 2:0:3\n"]
    columns = scan_libffm(*map(text, files), shared_ids=shared_ids)
    matrices = [read_libffm(text(file), columns=columns)[0] for file in files]
    together, _ = read_libffm(text("".join(files)), shared_ids=shared_ids)
    np.testing.assert_array_equal(np.vstack([m.to_csr().toarray() for m in matrices]), together.to_csr().toarray())
    for other in (columns, *matrices):
        np.testing.assert_array_equal(other.fields, together.fields)
        assert (other.n_features, other.n_fields, other.feature_names) == (
            together.n_features,
            together.n_fields,
            together.feature_names,
        )


@pytest.mark.parametrize("shared_ids", ["error", "split"])
@pytest.mark.parametrize("entry", ["0:4:1", "0:10:1", "1:5:1", "2:5:1", "9:5:1", "0:0:1"])
def test_what_was_not_scanned_is_refused(text, shared_ids, entry):
    columns = scan_libffm(text("1 0:5:1 2:6:1\n"), shared_ids=shared_ids)
    for _ in range(2):  # and nothing was learnt from it
        with pytest.raises(InputError, match="line 2, column 9: expected"):
            read_libffm(text(f"1\n0 0:5:1 {entry}\n"), columns=columns)
        with pytest.raises(InputError, match="line 2, column 9: expected"):
            list(iterate_libffm(text(f"1\n0 0:5:1 {entry}\n"), columns=columns))


def test_rows_without_features_need_their_number(text):
    with pytest.raises(InputError, match="at least one feature, got none: pass n_features"):
        read_libffm(text("1\n0\n"))
    with pytest.raises(InputError, match="at least one feature, got none: pass n_features"):
        read_libffm(text("1\n0\n"), shared_ids="split")
    with pytest.raises(InputError, match="at least one feature, got none: pass n_features"):
        read_libsvm(text("1\n0\n"))
    for read in (read_libffm, read_libsvm):
        rows, y = read(text("1\n0\n"), n_features=2)
        assert (rows.shape, rows.nnz, y.tolist()) == ((2, 2), 0, [1, 0])


def test_a_matrix_read_is_the_one_that_from_matrix_makes(text):
    rows, _ = read_libffm(text("1 0:1:1 1:2:0.5\n0 0:0:2 0:1:1\n"))
    made = FieldMatrix.from_matrix(rows.to_csr(), rows.fields)
    assert made.fingerprint() == rows.fingerprint()
    ones, _ = read_libffm(text("1 0:1:1 1:2:1\n"))
    assert ones.all_ones
    assert FieldMatrix.from_matrix(ones.to_csr(), ones.fields).fingerprint() == ones.fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        {"shared_ids": "merge"},
        {"max_features": 0},
        {"max_features": 2.5},
        {"max_features": True},
        {"n_features": 0},
        {"n_features": "3"},
        {"n_fields": 0},
        {"n_fields": 16385},
        {"n_features": 3, "shared_ids": "split"},
    ],
)
def test_options_are_checked_before_the_file_is_opened(options, tmp_path):
    for read in (read_libffm, iterate_libffm, scan_libffm):
        with pytest.raises(OptionError):
            read(tmp_path / "nowhere", **options)


def test_columns_and_options_that_find_them_exclude_each_other(text):
    columns = scan_libffm(text(SHARED), shared_ids="split")
    for read in (read_libffm, iterate_libffm):
        with pytest.raises(OptionError, match="columns were given"):
            read(text(SHARED), columns=columns, shared_ids="split")


def test_columns_come_from_a_scan(text):
    with pytest.raises(InputTypeError, match="columns must come from scan_libffm, got list"):
        read_libffm(text(SHARED), columns=[0, 1])


def test_a_scan_without_features_makes_no_columns(text):
    with pytest.raises(InputError, match="at least one feature, got none"):
        read_libffm(text("1\n"), columns=scan_libffm(text("1\n")))


def test_indices_are_int32_whatever_the_limit(text):
    for shared_ids in ("error", "split"):
        rows, _ = read_libffm(text(SHARED.replace("2:5", "2:6")), shared_ids=shared_ids, max_features=2**40)
        assert rows.indices.dtype == np.int32
    assert read_libsvm(text("1 1:1\n"), max_features=2**40)[0].indices.dtype == np.int32
