"""Random files against a slow reader in plain Python, and matrices that come back from text."""

from __future__ import annotations

import io
from collections import defaultdict
from unittest import mock

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError
from fwfm_gpu.io import read_libffm, read_libsvm, source, write_libffm, write_libsvm

pytest.importorskip("hypothesis", reason="random files are made by hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

ALLOWED = set(b"0123456789+-.eE")
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 0.5, -3.25e-4, 1e22, 5e-324]), st.floats(-1e300, 1e300))
SIZES = st.one_of(st.integers(1, 40), st.just(2**18))


class BadLineError(Exception):
    """The number of the line that the slow reader refuses."""


def slow_number(text: bytes) -> float:
    if not set(text) <= ALLOWED:
        raise ValueError
    value = float(text)
    if value in (float("inf"), -float("inf")):
        raise ValueError
    return value


def slow_id(text: bytes) -> int:
    if not text or not set(text) <= set(b"0123456789"):
        raise ValueError
    return int(text)


def slow_read(content: bytes, width: int, comments: bool) -> list[tuple[float, list[tuple[list[int], float]]]]:
    """Label and entries of each row."""
    rows, field_of, blank = [], {}, None
    for number, line in enumerate(content.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        commented = comments and b"#" in line
        words = (line.split(b"#")[0] if commented else line).replace(b"\t", b" ").split(b" ")
        words = [word for word in words if word]
        if not words:
            blank = blank if commented else blank or number
            continue
        if blank:
            raise BadLineError(blank)
        try:
            row = (slow_number(words[0]), [])
            for word in words[1:]:
                *ids, value = word.split(b":")
                if len(ids) != width - 1:
                    raise ValueError
                ids = [slow_id(i) for i in ids]
                if ids[-1] >= 2**24 or ids[0] >= (16384 if width == 3 else 2**24):
                    raise ValueError
                if width == 3 and field_of.setdefault(ids[1], ids[0]) != ids[0]:
                    raise ValueError
                row[1].append((ids, slow_number(value)))
        except ValueError:
            raise BadLineError(number) from None
        rows.append(row)
    return rows


def canonical(rows):
    """Sums in file order, zeros dropped, columns ascending, as the matrices have them."""
    for _, entries in rows:
        sums = defaultdict(float)
        for ids, value in entries:
            sums[ids[-1]] += value
        yield {column: sums[column] for column in sorted(sums) if sums[column] != 0}


def as_dicts(matrix):
    for begin, end in zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True):
        yield dict(zip(matrix.indices[begin:end].tolist(), matrix.values[begin:end].tolist(), strict=True))


@st.composite
def files(draw, width):
    """Valid text of a few lines."""
    blanks = st.sampled_from([" ", " ", "\t", "  "])
    numbers = st.one_of(FLOATS.map(repr), st.sampled_from(["1", "+2", ".5", "3.", "-7", "1E3", "00.10"]))
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        line = draw(numbers)
        for _ in range(draw(st.integers(0, 4))):
            feature = draw(st.integers(0, 30))
            ids = [feature % 3, feature] if width == 3 else [feature]
            line += draw(blanks) + ":".join([*map(str, ids), draw(numbers)])
        if width == 2 and draw(st.integers(0, 5)) == 0:
            line += " # 1:x"
        lines.append(line + draw(st.sampled_from(["\n", "\n", "\r\n", " \n"])))
    return "".join(lines).encode()


@st.composite
def broken(draw, width):
    """Valid text with a few bytes taken out, put in or replaced."""
    content = bytearray(draw(files(width)))
    place = draw(st.integers(0, len(content)))
    cut = draw(st.integers(0, 2))
    put = draw(st.lists(st.sampled_from(b" \t\r\n:::..--++eE0192_#xn\0\xd9"), min_size=1 - min(cut, 1), max_size=2))
    content[place : place + cut] = bytes(put)
    return bytes(content)


def expected(content, width):
    """The rows of the slow reader, or what the message must say."""
    try:
        rows = slow_read(content, width, comments=width == 2)
    except BadLineError as bad:
        return None, rf"line {bad}, column \d+: "
    if not rows:
        return None, "at least one row"
    if any(abs(value) == float("inf") for row in canonical(rows) for value in row.values()):
        return None, "finite sums"
    if not any(entries for _, entries in rows):
        return None, "at least one feature"
    return rows, None


def check(content, read, width, size):
    """The reader and the slow reader refuse the same line, or read the same rows."""
    rows, message = expected(content, width)
    with mock.patch.object(source, "BLOCK_BYTES", size):
        if message:
            with pytest.raises(InputError, match=message):
                read(io.BytesIO(content))
            return
        got, y = read(io.BytesIO(content))
    assert y.tolist() == [label for label, _ in rows]
    assert list(as_dicts(got)) == list(canonical(rows))


@settings(max_examples=300, deadline=None)
@given(broken(3), SIZES)
def test_broken_libffm_is_refused_or_read_right(content, size):
    check(content, read_libffm, 3, size)


@settings(max_examples=300, deadline=None)
@given(broken(2), SIZES)
def test_broken_libsvm_is_refused_or_read_right(content, size):
    check(content, lambda file: read_libsvm(file, zero_based=True), 2, size)


@settings(max_examples=100, deadline=None)
@given(files(3), files(2), SIZES)
def test_valid_files_are_read_right(libffm, libsvm, size):
    check(libffm, read_libffm, 3, size)
    check(libsvm, lambda file: read_libsvm(file, zero_based=True), 2, size)


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    values = draw(st.lists(FLOATS, min_size=rows * columns, max_size=rows * columns))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    with np.errstate(over="ignore", under="ignore"):
        X = np.array(values).reshape(rows, columns).astype(dtype)
    X[np.isinf(X)] = 1
    fields = draw(st.lists(st.integers(0, 4), min_size=columns, max_size=columns))
    y = draw(st.lists(FLOATS, min_size=rows, max_size=rows))
    return FieldMatrix.from_matrix(X, fields), y


@settings(max_examples=100, deadline=None)
@given(matrices(), SIZES, st.sampled_from(["rows", "rows.gz"]))
def test_matrices_come_back_from_text(tmp_path_factory, made, size, name):
    rows, y = made
    path = tmp_path_factory.mktemp("text") / name
    with mock.patch.object(source, "BLOCK_BYTES", size):
        write_libffm(path, rows, y)
        again, labels = read_libffm(path, n_features=rows.n_features, n_fields=rows.n_fields)
        used = np.unique(rows.indices)
        assert again.fields[used].tolist() == rows.fields[used].tolist()
        write_libsvm(path, rows, y)
        third, _ = read_libsvm(path, fields=rows.fields)
    assert np.array(y).tobytes() == labels.tobytes()
    for other in (again, third):
        assert other.indptr.tobytes() == rows.indptr.tobytes()
        assert other.indices.tobytes() == rows.indices.tobytes()
        assert other.values.tobytes() == rows.values.astype(np.float64).tobytes()
    assert third.fields.tobytes() == rows.fields.tobytes()
