"""Any model comes back, and any bytes are either a model file or refused as one."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fwfm_gpu.errors import ModelFileError
from fwfm_gpu.model_file import pack_strings, read_file, unpack_strings, write_file

# One folder per test will do: each example overwrites the file of the last.
FILES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT.filter(lambda key: key != "format_version"), PLAIN, max_size=4)
DTYPES = st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<i8", ">i8", "<i4", ">i4", "u1", "?"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAYS = st.dictionaries(
    TEXT.filter(lambda name: name != "__metadata__"),
    hnp.arrays(DTYPES, SHAPES).map(lambda array: array.T),  # Fortran order as well
    max_size=5,
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.integers(2**31, 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def assert_same(got: Any, want: Any) -> None:
    """Equal with types, order of keys, and bits of floats."""
    assert json.dumps(got) == json.dumps(want)


@FILES
@given(arrays=ARRAYS, document=DOCUMENTS)
def test_any_model_comes_back(tmp_path, arrays, document):
    path = tmp_path / "model"
    write_file(path, arrays, document)
    got, got_document = read_file(path)
    assert_same(got_document, {**document, "format_version": 1})
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        assert got[name].shape == array.shape
        assert got[name].dtype == array.dtype.newbyteorder("<")
        assert got[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
        assert got[name].flags.aligned


@FILES
@given(arrays=ARRAYS, document=DOCUMENTS)
def test_safetensors_reads_any_model(tmp_path, arrays, document):
    oracle = pytest.importorskip("safetensors.numpy", reason="the oracle of the layout is not installed")
    path = tmp_path / "model"
    write_file(path, arrays, document)
    assert_oracle_agrees(oracle, path)


@FILES
@given(arrays=ARRAYS, document=DOCUMENTS, random=st.randoms(use_true_random=False))
def test_the_order_of_the_arrays_does_not_matter(tmp_path, arrays, document, random):
    names = list(arrays)
    random.shuffle(names)
    write_file(tmp_path / "one", arrays, document)
    write_file(tmp_path / "other", {name: arrays[name] for name in names}, document)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@FILES
@given(arrays=ARRAYS, document=DOCUMENTS, data=st.data())
def test_any_damage_is_refused(tmp_path, arrays, document, data):
    path = tmp_path / "model"
    write_file(path, arrays, document)
    content = path.read_bytes()
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, len(content)))
    changed = content[:begin] + data.draw(st.binary(max_size=20)) + content[end:]
    path.write_bytes(changed)
    if changed == content:
        read_file(path)
    else:
        with pytest.raises(ModelFileError):
            read_file(path)


@FILES
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ModelFileError):
        read_file(tmp_path / "model")


HEADER = {
    "__metadata__": {"sha256": "0" * 64, "fwfm_gpu": '{"format_version":1}'},
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "BOOL", "shape": [2, 0, 3], "data_offsets": [8, 8]},
    "c": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]},
}
PLACES = [
    *[(name,) for name in HEADER],
    *[(name, key) for name, entry in HEADER.items() for key in entry],
    *[("b", "shape", axis) for axis in range(3)],
    *[(name, "data_offsets", side) for name in "abc" for side in (0, 1)],
]


def seal(text: bytes, data: bytes) -> bytes:
    """A file with a right length and checksum around any header."""
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text + data
    digits = hashlib.sha256(content[:35] + content[99:]).hexdigest().encode()
    return content[:35] + digits + content[99:]


@settings(FILES, max_examples=300)
@given(place=st.sampled_from(PLACES), value=ANY_JSON, size=st.sampled_from([0, 8, 9, 10]))
def test_a_forged_header_is_read_as_others_read_it_or_refused(tmp_path, place, value, size):
    header = copy.deepcopy(HEADER)
    target: Any = header
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    path = tmp_path / "model"
    path.write_bytes(seal(json.dumps(header, separators=(",", ":")).encode(), bytes(size)))
    read_or_refused(path)


@settings(FILES, max_examples=300)
@given(begin=st.integers(0, 300), length=st.integers(0, 3), more=st.binary(max_size=3) | TEXT.map(str.encode))
def test_a_garbled_header_is_read_as_others_read_it_or_refused(tmp_path, begin, length, more):
    text = json.dumps(HEADER, separators=(",", ":")).encode()
    path = tmp_path / "model"
    path.write_bytes(seal(text[:begin] + more + text[begin + length :], bytes(9)))
    read_or_refused(path)


def read_or_refused(path: Any) -> None:
    try:
        read_file(path)
    except ModelFileError:
        return
    if b"-0" in path.read_bytes():
        return  # Python takes it for the integer 0, others for a float
    oracle = pytest.importorskip("safetensors.numpy", reason="the oracle of the layout is not installed")
    assert_oracle_agrees(oracle, path)


def assert_oracle_agrees(oracle: Any, path: Any) -> None:
    """The safetensors package reads the same arrays."""
    arrays, _ = read_file(path)
    theirs = oracle.load_file(path)
    assert set(theirs) == set(arrays)
    for name, array in theirs.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].tobytes() == array.tobytes()


@FILES
@given(st.lists(TEXT))
def test_any_strings_come_back(strings):
    assert unpack_strings(*pack_strings(strings)) == strings


@FILES
@given(st.binary(max_size=12), st.lists(st.integers(-1, 12), max_size=5))
def test_any_arrays_are_strings_or_refused(content, offsets):
    data = np.frombuffer(content, np.uint8)
    try:
        strings = unpack_strings(data, np.array(offsets, np.int64))
    except ModelFileError:
        return
    assert [array.tolist() for array in pack_strings(strings)] == [data.tolist(), offsets]
