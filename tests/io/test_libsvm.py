from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy import sparse

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.io import iterate_libsvm, read_libsvm, write_libsvm

CONTENT = b"# a file\n1 3:0.5 1:-2e-3 # one\n  # none\n-1.5\n0 2:1 2:2\n+1 4:7 # qid:3 \xff\n"
DENSE = [[-2e-3, 0, 0.5, 0], [0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 7]]


class Stream:
    """A file that is read once and cannot go back."""

    def __init__(self, file):
        self.read = file.read

    def seekable(self):
        return False


def test_lines_comments_and_duplicates(text, block_bytes):
    for size in (1, 7, 30, 1000):
        block_bytes(size)
        rows, y = read_libsvm(text(CONTENT))
        assert y.tolist() == [1, -1.5, 0, 1]
        assert rows.to_csr().toarray().tolist() == DENSE
        assert rows.fields.tolist() == [0, 1, 2, 3]


def test_a_comment_does_not_move_the_place_of_an_error(text):
    with pytest.raises(InputError, match="line 4, column 6: expected a finite decimal number as value, got 'x'"):
        read_libsvm(text("# a\n1 1:1 # b\n#c\n1  2:x # d\n"))


def test_a_blank_line_is_none_of_a_comment_alone(text):
    with pytest.raises(InputError, match="line 2, column 1: expected a row"):
        read_libsvm(text("1 1:1\n\n# a\n1 1:1\n"))
    assert read_libsvm(text("1 1:1\n# a\n\n  # b\n"))[0].n_rows == 1


def test_the_first_feature_is_found_or_said(text):
    one, zero = "1 1:5 2:6\n", "1 1:5\n0 0:7\n"
    assert read_libsvm(text(one))[0].to_csr().toarray().tolist() == [[5, 6]]
    assert read_libsvm(text(one), zero_based=False)[0].to_csr().toarray().tolist() == [[5, 6]]
    assert read_libsvm(text(one), zero_based=True)[0].to_csr().toarray().tolist() == [[0, 5, 6]]
    assert read_libsvm(text(zero))[0].to_csr().toarray().tolist() == [[0, 5], [7, 0]]
    with pytest.raises(InputError, match="line 2, column 3: expected a feature of at least 1, got '0:7'"):
        read_libsvm(text(zero), zero_based=False)
    with pytest.raises(OptionError, match="zero_based must be True, False or 'auto', got 'maybe'"):
        read_libsvm(text(zero), zero_based="maybe")


@pytest.mark.parametrize("size", [1, 1000])
def test_the_limit_follows_the_first_feature(text, size, block_bytes):
    block_bytes(size)
    assert read_libsvm(text("1 3:1\n"), n_features=3)[0].n_features == 3
    assert read_libsvm(text("1 3:1\n"), max_features=3)[0].n_features == 3
    assert read_libsvm(text("1 2:1\n0 0:1\n"), n_features=3)[0].n_features == 3
    for content in ("1\n1 3:1\n0 0:1\n", "1 0:1\n0 3:1\n"):
        with pytest.raises(
            InputError, match=r"line 2, column 3: expected a feature below 3, got '3:1'. Pass a larger n_"
        ):
            read_libsvm(text(content), n_features=3)
    with pytest.raises(InputError, match="line 1, column 3: expected a feature below 4, got '4:1'"):
        read_libsvm(text("1 4:1\n"), n_features=3)
    with pytest.raises(InputError, match="line 1, column 3: expected a feature below 3, got '3:1'"):
        read_libsvm(text("1 3:1\n"), n_features=3, zero_based=True)


def test_fields_are_those_of_from_matrix(text):
    rows, _ = read_libsvm(text("1 2:1\n"), fields=[0, 1, 1])
    assert (rows.n_features, rows.fields.tolist(), rows.n_fields) == (3, [0, 1, 1], 2)
    with pytest.raises(InputError, match=r"fields must name one field per column: expected shape \(4,\), got \(3,\)"):
        read_libsvm(text("1 2:1\n"), fields=[0, 1, 1], n_features=4)
    with pytest.raises(InputError, match="line 1, column 3: expected a feature below 4"):
        read_libsvm(text("1 4:1\n"), fields=[0, 1, 1])
    for fields in ([], [[0, 1]], 3):
        with pytest.raises(InputError, match="fields must name one field per column"):
            read_libsvm(text("1 1:1\n"), fields=fields)
    with pytest.raises(InputTypeError, match="fields must be integers"):
        read_libsvm(text("1 2:1\n"), fields=[0.0, 1.0])
    with pytest.raises(InputError, match=r"20000 fields are too many.*Pass fields="):
        read_libsvm(text("1 20000:1\n"))
    assert read_libsvm(text("1 20000:1\n"), fields=np.zeros(20000, int))[0].shape == (1, 20000)


@pytest.mark.parametrize(
    "options", [{}, {"n_features": 4}, {"zero_based": False}, {"zero_based": False, "n_features": 4}]
)
@pytest.mark.parametrize("rows_per_chunk", [1, 2, 3, 4, 5])
def test_chunks_are_the_rows_in_one_column_space(text, options, rows_per_chunk, block_bytes):
    block_bytes(11)
    chunks = list(iterate_libsvm(text(CONTENT), rows_per_chunk=rows_per_chunk, **options))
    assert len(chunks) == -(-4 // rows_per_chunk)
    assert np.vstack([rows.to_csr().toarray() for rows, _ in chunks]).tolist() == DENSE
    assert np.concatenate([y for _, y in chunks]).tolist() == [1, -1.5, 0, 1]


def test_a_stream_is_read_once_when_all_is_said(text):
    options = {"zero_based": False, "fields": [0, 0, 1, 1]}
    chunks = list(iterate_libsvm(Stream(text(gzip.compress(CONTENT))), rows_per_chunk=2, **options))
    assert [rows.fields.tolist() for rows, _ in chunks] == [[0, 0, 1, 1]] * 2
    with pytest.raises(InputError, match="expected a file that can be read twice"):
        iterate_libsvm(Stream(text(CONTENT)), n_features=4)


@pytest.mark.parametrize("zero_based", [True, False])
def test_a_written_file_reads_back(tmp_path, text, zero_based):
    rows, y = read_libsvm(text(CONTENT))
    write_libsvm(tmp_path / "rows", rows, y, zero_based=zero_based)
    again, labels = read_libsvm(tmp_path / "rows", zero_based=zero_based)
    assert again.fingerprint() == rows.fingerprint()
    np.testing.assert_array_equal(labels, y)


def test_a_wide_matrix_can_be_written(tmp_path):
    X = sparse.csr_array(([1.5], ([0], [99999])), shape=(1, 100000))
    write_libsvm(tmp_path / "rows", X, [1])
    assert (tmp_path / "rows").read_text() == "1 100000:1.5\n"


def test_scikit_learn_reads_the_same(text, tmp_path):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn's reader is the oracle")
    rng = np.random.default_rng(0)
    X = sparse.csr_array((rng.random((200, 40)) < 0.2).astype(float))
    X.data = rng.choice([1.0, 0.5, -3.25e-4, 1e22, 1 / 3, 123456.789, 5e-324], size=X.nnz)
    y = rng.normal(size=200)
    contents = [b"# a file\n1 1:-2e-3 3:0.5 # one\n-1.5\n0 2:3\r\n+1\t4:7 # \xff\n"]
    for zero_based in (True, False):
        path = tmp_path / f"rows{zero_based}"
        datasets.dump_svmlight_file(X, y, str(path), zero_based=zero_based, comment="made for a test")
        contents.append(path.read_bytes())
        write_libsvm(path, X, y, zero_based=zero_based)
        contents.append(path.read_bytes())
    for content in contents:
        want, labels = datasets.load_svmlight_file(text(content))
        rows, got = read_libsvm(text(content))
        np.testing.assert_array_equal(rows.to_csr().toarray(), want.toarray())
        np.testing.assert_array_equal(got, labels)
