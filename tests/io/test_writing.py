from __future__ import annotations

import gzip
import os

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.io import read_libffm, write_libffm, write_libsvm, writing

WRITERS = [write_libffm, write_libsvm]


@pytest.fixture
def rows():
    return FieldMatrix.from_matrix(np.array([[1, 0, -2.5], [0, 0, 0], [1e22, 1 / 3, 5e-324]]), fields=[0, 3, 1])


def test_numbers_are_written_with_the_fewest_digits(rows, tmp_path):
    write_libffm(tmp_path / "a", rows, [1, -0.0, 1e-5])
    assert (tmp_path / "a").read_text() == ("1 0:0:1 1:2:-2.5\n-0\n1e-05 0:0:1e+22 3:1:0.3333333333333333 1:2:5e-324\n")
    write_libsvm(tmp_path / "a", rows, [True, False, True])
    assert (tmp_path / "a").read_text() == "1 1:1 3:-2.5\n0\n1 1:1e+22 2:0.3333333333333333 3:5e-324\n"


def test_float32_comes_back_exactly(tmp_path):
    rows = FieldMatrix.from_matrix(np.array([[0.1, 1 / 3]], np.float32), fields=[0, 0])
    write_libffm(tmp_path / "a", rows, [0])
    again, _ = read_libffm(tmp_path / "a")
    assert again.rounded("float32").fingerprint() == rows.fingerprint()
    assert again.values.tolist() == rows.values.tolist()


@pytest.mark.parametrize("write", WRITERS)
def test_gzip_follows_the_name_and_the_bytes_are_the_same_each_time(write, rows, tmp_path):
    for name in ("a", "a.gz", "b.gz"):
        write(tmp_path / name, rows, [0, 1, 2])
    packed = (tmp_path / "a.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a").read_bytes()
    assert packed == (tmp_path / "b.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # no time
    assert sorted(os.listdir(tmp_path)) == ["a", "a.gz", "b.gz"]


def test_many_rows_are_written(tmp_path, monkeypatch):
    rows = FieldMatrix.from_ids(np.arange(60).reshape(20, 3) % 5, [5, 5, 5])
    write_libffm(tmp_path / "a", rows, np.arange(20))
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 3)
    write_libffm(tmp_path / "b", rows, np.arange(20))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_libffm(tmp_path / "a")[0].to_csr().toarray().tolist() == rows.to_csr().toarray().tolist()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "y, error, message",
    [
        ([1, 2], InputError, r"expected shape \(3,\), got \(2,\)"),
        ([[1], [2], [3]], InputError, r"expected shape \(3,\), got \(3, 1\)"),
        ([1, np.nan, 2], InputError, "y must be finite: got nan at row 1"),
        ([1, 2, np.inf], InputError, "y must be finite: got inf at row 2"),
        (["a", "b", "c"], InputTypeError, "y must hold real numbers"),
    ],
)
def test_labels_that_cannot_be_written_leave_the_file(write, y, error, message, rows, tmp_path):
    (tmp_path / "a").write_text("former")
    with pytest.raises(error, match=message):
        write(tmp_path / "a", rows, y)
    assert (tmp_path / "a").read_text() == "former"


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "Ctrl-C"])
def test_an_error_on_the_way_leaves_the_former_file_and_no_other(name, error, rows, tmp_path, monkeypatch):
    (tmp_path / name).write_text("former")
    plain = writing.shortest

    def fail(value):
        if value == 5e-324:
            raise error
        return plain(value)

    monkeypatch.setattr(writing, "shortest", fail)
    with pytest.raises(type(error)):
        write_libffm(tmp_path / name, rows, [0, 1, 2])
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "former"


def test_only_files_are_written(rows, tmp_path):
    with pytest.raises(InputError, match="something else is there"):
        write_libffm(tmp_path, rows, [0, 1, 2])
    with pytest.raises(FileNotFoundError):
        write_libffm(tmp_path / "nowhere" / "a", rows, [0, 1, 2])
    assert os.listdir(tmp_path) == []


def test_a_link_is_followed(rows, tmp_path):
    (tmp_path / "a").write_text("former")
    try:
        (tmp_path / "b").symlink_to(tmp_path / "a")
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    write_libffm(tmp_path / "b", rows, [0, 1, 2])
    assert (tmp_path / "b").is_symlink()
    assert (tmp_path / "a").read_text().startswith("0 0:0:1 ")
