from __future__ import annotations

import gzip

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.io import iterate_libffm, read_libffm, scan_libffm, write_libffm

CONTENT = "1 0:1:1 1:4:1\n0\n1 0:0:1\n0 0:2:1 1:3:0.5\n1 1:3:1\n0 0:1:1\n1 0:0:2\n"


class Stream:
    """A file that is read once and cannot go back."""

    def __init__(self, file):
        self.read = file.read

    def seekable(self):
        return False


def joined(chunks):
    matrices, labels = zip(*chunks, strict=True)
    return np.vstack([rows.to_csr().toarray() for rows in matrices]), np.concatenate(labels)


def test_what_is_read_can_be_trained_on(text):
    rows, y = read_libffm(text(CONTENT))
    model = fwfm_gpu.train(rows, y, epochs=2)
    assert model.loss == "logistic"
    assert model.predict_proba(rows).shape == (7, 2)


def test_duplicates_are_summed_in_file_order_and_zeros_dropped(text):
    rows, _ = read_libffm(text("1 0:3:1e16 0:1:2 0:3:1 0:3:-1e16 1:0:0 0:2:5 0:2:-5\n0 1:0:-0\n"))
    assert rows.indices.tolist() == [1]  # (1e16 + 1) - 1e16 is 0
    assert rows.indptr.tolist() == [0, 1, 1]
    assert rows.fields.tolist() == [1, 0, 0, 0]


def test_unsorted_rows_are_sorted(text):
    rng = np.random.default_rng(0)
    orders = [rng.permutation(50) for _ in range(30)]
    content = "".join("1 " + " ".join(f"0:{i}:{i + 1}.5" for i in order) + "\n" for order in orders)
    rows, _ = read_libffm(text(content))
    assert rows.indices.reshape(30, 50).tolist() == [list(range(50))] * 30
    np.testing.assert_array_equal(rows.values, rows.indices + 1.5)


def test_sums_beyond_float64_are_refused(text):
    with pytest.raises(InputError, match="line 2, column 1: expected finite sums of the values of one feature"):
        read_libffm(text("1\n1 0:1:1e308 0:1:1e308\n"))


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 3, 6, 7, 8, 10**6])
@pytest.mark.parametrize("size", [1, 20, 1000])
def test_chunks_are_the_rows_in_one_column_space(rows_per_chunk, size, text, block_bytes):
    block_bytes(size)
    rows, y = read_libffm(text(CONTENT))
    chunks = list(iterate_libffm(text(CONTENT), rows_per_chunk=rows_per_chunk))
    assert [len(labels) for _, labels in chunks[:-1]] == [rows_per_chunk] * (len(chunks) - 1)
    for chunk, _ in chunks:
        np.testing.assert_array_equal(chunk.fields, rows.fields)
        assert chunk.n_fields == rows.n_fields
        assert chunk.fingerprint() == fwfm_gpu.FieldMatrix.from_matrix(chunk.to_csr(), chunk.fields).fingerprint()
    X, labels = joined(chunks)
    np.testing.assert_array_equal(X, rows.to_csr().toarray())
    np.testing.assert_array_equal(labels, y)


def test_chunks_keep_split_features_and_given_sizes(text):
    shared = "1 0:5:1\n0 1:5:1\n"
    for chunk, _ in iterate_libffm(text(shared), rows_per_chunk=1, shared_ids="split", n_fields=3):
        assert (chunk.feature_names, chunk.n_fields) == (("0:5", "1:5"), 3)
    for chunk, _ in iterate_libffm(text(CONTENT), rows_per_chunk=2, n_features=9, n_fields=4):
        assert (chunk.n_features, chunk.n_fields) == (9, 4)


def test_the_first_pass_raises_from_the_call(text):
    with pytest.raises(InputError, match="line 2, column 3"):
        iterate_libffm(text("1 0:1:1\n1 1:1:1\n"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_open_file_is_read_from_where_it_stands(pack, text):
    file = text(b"header" + pack(CONTENT.encode()))
    file.seek(6)
    assert sum(len(y) for _, y in iterate_libffm(file, rows_per_chunk=2)) == 7


def test_a_stream_is_read_once_with_columns_and_not_twice(text):
    columns = scan_libffm(text(CONTENT))
    assert len(list(iterate_libffm(Stream(text(CONTENT)), columns=columns, rows_per_chunk=3))) == 3
    assert read_libffm(Stream(text(CONTENT)))[0].n_rows == 7
    with pytest.raises(InputError, match="<stream>: expected a file that can be read twice"):
        iterate_libffm(Stream(text(CONTENT)))


def test_chunks_without_rows_are_refused(text):
    columns = scan_libffm(text(CONTENT))
    with pytest.raises(InputError, match="expected at least one row, got none"):
        list(iterate_libffm(text(""), columns=columns))
    with pytest.raises(InputError, match="got none"):
        list(iterate_libffm(text(""), n_features=3))


@pytest.mark.parametrize("rows_per_chunk", [0, -1, 1.5, "2", None])
def test_rows_per_chunk_is_a_count(rows_per_chunk, tmp_path):
    with pytest.raises(OptionError, match="rows_per_chunk must be an integer from 1"):
        iterate_libffm(tmp_path / "nowhere", rows_per_chunk=rows_per_chunk)


def test_a_written_file_reads_back(tmp_path, text):
    rows, y = read_libffm(text(CONTENT))
    write_libffm(tmp_path / "rows", rows, y)
    assert (tmp_path / "rows").read_text() == CONTENT
    again, labels = read_libffm(tmp_path / "rows")
    assert again.fingerprint() == rows.fingerprint()
    np.testing.assert_array_equal(labels, y)
