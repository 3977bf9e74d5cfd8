from __future__ import annotations

import gzip
import io

import numpy as np
import pytest

from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.io import read_libffm, read_libsvm, source

CONTENT = b"1 0:1:0.5 1:2:-3.25e-4\r\n0\n\t-1\t 0:3:1  1:2:2 \n+.5 2:4:10\n \n\n"


class Pieces:
    """A stream that gives these pieces and cannot go back."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read(self, size=-1):
        return self.pieces.pop(0) if self.pieces else b""

    def seekable(self):
        return False


def bits(labelled):
    rows, y = labelled
    return [array.tobytes() for array in (rows.indptr, rows.indices, rows.values, rows.fields, y)]


@pytest.fixture
def want(text):
    return bits(read_libffm(text(CONTENT)))


def test_the_content_is_read(text):
    rows, y = read_libffm(text(CONTENT))
    assert y.tolist() == [1, 0, -1, 0.5]
    np.testing.assert_array_equal(
        rows.to_csr().toarray(), [[0, 0.5, -3.25e-4, 0, 0], [0] * 5, [0, 0, 2, 1, 0], [0, 0, 0, 0, 10]]
    )
    assert rows.fields.tolist() == [0, 0, 1, 0, 2]


@pytest.mark.parametrize("cut", range(1, len(CONTENT)))
def test_a_piece_may_end_anywhere(cut, want):
    assert bits(read_libffm(Pieces(CONTENT[:cut], CONTENT[cut:]))) == want


@pytest.mark.parametrize("size", range(1, len(CONTENT) + 2))
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_blocks_may_be_of_any_size(size, pack, want, text, block_bytes):
    block_bytes(size)
    assert bits(read_libffm(text(pack(CONTENT)))) == want


@pytest.mark.parametrize("name", ["rows.txt", "rows.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_gzip_is_told_by_the_first_bytes_not_by_the_name(name, pack, kind, tmp_path, want):
    path = tmp_path / name
    path.write_bytes(pack(CONTENT))
    assert bits(read_libffm(kind(path))) == want


def test_an_open_file_stays_open(tmp_path, want):
    path = tmp_path / "rows"
    path.write_bytes(CONTENT)
    with open(path, "rb") as file:
        assert bits(read_libffm(file)) == want
        assert not file.closed


def test_gzip_members_follow_each_other_with_zeros_between(text, want):
    packed = b"\0\0".join(gzip.compress(CONTENT[cut : cut + 9]) for cut in range(0, len(CONTENT), 9)) + b"\0" * 5
    assert bits(read_libffm(text(packed))) == want


def test_what_unpacks_to_much_more_is_read_in_small_pieces(text, block_bytes):
    block_bytes(1000)
    pieces = [len(block.text) for block in source.read_blocks(text(gzip.compress(b"1 0:1:1\n" * 10000)))]
    assert sum(pieces) == 80000
    assert max(pieces) < 2000


def test_every_truncation_of_a_gzip_file_is_refused(text):
    packed = gzip.compress(CONTENT)
    for length in range(len(packed)):
        with pytest.raises(InputError):
            read_libffm(text(packed[:length]))


def test_a_truncated_gzip_file_is_called_that(tmp_path):
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(CONTENT)[:-9])
    with pytest.raises(InputError, match=r"rows\.gz: expected intact gzip data, got: it ends before its end mark"):
        read_libffm(path)


@pytest.mark.parametrize("place", [12, -6, -2])
def test_damaged_gzip_is_refused(text, place):
    packed = bytearray(gzip.compress(CONTENT))
    packed[place] ^= 1
    with pytest.raises(InputError, match="expected intact gzip data"):
        read_libffm(text(bytes(packed)))


def test_what_follows_gzip_data_must_be_gzip(text):
    with pytest.raises(InputError, match="expected intact gzip data"):
        read_libffm(text(gzip.compress(CONTENT) + b"1 0:1:1\n"))


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\n", gzip.compress(b"")], ids=["empty", "LF", "blank", "gzip"])
def test_a_file_without_rows_is_refused(text, content):
    with pytest.raises(InputError, match="<stream>: expected at least one row, got none"):
        read_libffm(text(content))


def test_long_lines_are_read(text, block_bytes):
    block_bytes(64)
    line = "1 " + " ".join(f"{column % 7}:{column}:{column}" for column in range(1, 5000))
    rows, _ = read_libffm(text(f"{line}\n0 0:0:1\n{line}"))
    assert np.diff(rows.indptr).tolist() == [4999, 1, 4999]
    assert rows.values[5000:].tolist() == list(range(1, 5000))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch, block_bytes):
    block_bytes(64)
    monkeypatch.setattr(source, "LONGEST_LINE", 1000)
    endless = Pieces(b"1 0:1:1\n", *[b"0" * 64] * 100)
    with pytest.raises(InputError, match="<stream>, line 2: expected lines of at most 1000 bytes, got a longer one"):
        read_libffm(endless)
    assert len(endless.pieces) > 80


def test_the_name_of_the_file_leads_the_message(tmp_path, text):
    path = tmp_path / "rows.ffm"
    path.write_bytes(b"1 0:1:1\nx\n")
    with pytest.raises(InputError, match=r"rows\.ffm, line 2, column 1: "):
        read_libffm(path)
    with open(path, "rb") as file, pytest.raises(InputError, match=r"rows\.ffm, line 2, column 1: "):
        read_libffm(file)


def test_long_text_is_cut_in_the_message(text):
    with pytest.raises(InputError, match="got '" + "x" * 57 + r"\.\.\.'"):
        read_libffm(text("1 0:1:1\n" + "x" * 1000))


@pytest.mark.parametrize(
    "given", [3, None, b"1 0:1:1\n", io.StringIO("1 0:1:1\n")], ids=["int", "None", "bytes", "text"]
)
def test_what_is_no_binary_file_is_refused(given):
    if isinstance(given, bytes):
        with pytest.raises(InputTypeError, match="expected a path or a file opened in binary mode, got bytes"):
            read_libffm(given)
    else:
        with pytest.raises(InputTypeError, match=r"binary mode|mode 'rb'"):
            read_libffm(given)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_libsvm(tmp_path / "nowhere")


def test_a_file_is_not_changed(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(CONTENT)
    read_libffm(path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
    ],
)
@pytest.mark.parametrize("read", [read_libffm, read_libsvm])
def test_an_encoding_beyond_ascii_is_named(read, encoding, named, text):
    entry = "0:1:1" if read is read_libffm else "1:1"
    with pytest.raises(InputError, match=f"line 1, .* The file is in {named}: save it as ASCII"):
        read(text(f"1 {entry}\n0 {entry}\n".encode(encoding)))
