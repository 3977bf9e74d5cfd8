"""The model file: the layout another reader understands, and what it cannot hold."""

from __future__ import annotations

import ast
import gc
import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_bytes import DIGITS, POSIX, refused, seal, write_small

from fwfm_gpu import model_file
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError
from fwfm_gpu.model_file import FORMAT_VERSION, pack_strings, read_file, unpack_strings, write_file

DOCUMENT = {
    "loss": "softmax",
    "numbers": [0.1, 1e-320, -0.0, 1.7976931348623157e308, 5e-324, 1 / 3],
    "generator": {"state": 2**128 - 1, "inc": -(2**127), "has_uint32": False, "none": None},
    "zulu": {"before": 1, "alpha": 2},
    "text": 'quotes " and \\ and \u0000, é, 語, 🂡',
    "": [],
}


def make_arrays() -> dict[str, Any]:
    """One array of each dtype and of each awkward shape or memory order."""
    rng = np.random.default_rng(0)
    return {
        "w0": np.array(1.5, np.float32),
        "V": rng.normal(size=(2, 3, 4)).astype(np.float32),
        "strided": rng.normal(size=(4, 6))[::2, ::-3],
        "fortran": np.asfortranarray(rng.normal(size=(3, 2))),
        "big_endian": np.arange(5, dtype=">i8"),
        "counts": np.array([-(2**63), 2**63 - 1]),
        "indices": np.arange(3, dtype=np.int32)[::-1],
        "bytes": np.arange(7, dtype=np.uint8),
        "flags": np.array([[True], [False], [True]]),
        "no_factors": np.zeros((1, 5, 0), np.float32),
        "nothing": np.zeros(0, np.int64),
        "no_flags": np.zeros((0, 3), bool),
        "näme \n": np.array([np.nan, np.inf, -0.0]),
    }


def assert_same_arrays(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype.newbyteorder("="), name
        assert got[name].shape == array.shape, name
        assert got[name].astype(array.dtype).tobytes() == array.tobytes(), name


@pytest.fixture
def small(path):
    return write_small(path)


# The layout


def test_the_bytes_of_version_1(small):
    header = (
        b'{"__metadata__":{"sha256":"f100b9e581389fa1d26a1b42089150b936ec3323697bd309e4b2247663d11259",'
        b'"fwfm_gpu":"{\\"loss\\":\\"squared\\",\\"format_version\\":1}"},'
        b'"t":{"dtype":"I64","shape":[],"data_offsets":[0,8]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
    )
    header += b" " * (-len(header) % 8)
    data = b"\x03" + bytes(7) + b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert small == len(header).to_bytes(8, "little") + header + data


def test_the_checksum_covers_everything_else(path):
    write_file(path, make_arrays(), DOCUMENT)
    assert path.read_bytes() == seal(path.read_bytes())


def test_safetensors_reads_the_same(path):
    safetensors = pytest.importorskip("safetensors", reason="the oracle of the layout is not installed")
    numpy_reader = pytest.importorskip("safetensors.numpy", reason="the oracle of the layout is not installed")
    write_file(path, make_arrays(), DOCUMENT)
    assert_same_arrays(numpy_reader.load_file(path), make_arrays())
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert set(metadata) == {"sha256", "fwfm_gpu"}
    assert metadata["sha256"].encode() == path.read_bytes()[DIGITS]
    assert json.loads(metadata["fwfm_gpu"]) == {**DOCUMENT, "format_version": 1}


def test_what_is_written_comes_back(path):
    write_file(path, make_arrays(), DOCUMENT)
    arrays, document = read_file(str(path))
    assert_same_arrays(arrays, make_arrays())
    assert document == {**DOCUMENT, "format_version": FORMAT_VERSION}
    assert list(document) == [*DOCUMENT, "format_version"]  # order, at every level
    assert list(document["zulu"]) == ["before", "alpha"]
    assert [number.hex() for number in document["numbers"]] == [number.hex() for number in DOCUMENT["numbers"]]


def test_nothing_can_be_kept(path):
    write_file(path, {}, {})
    assert read_file(path) == ({}, {"format_version": 1})


def test_the_same_model_gives_the_same_bytes(path, tmp_path):
    arrays = make_arrays()
    write_file(path, arrays, DOCUMENT)
    other = tmp_path / "other"
    write_file(other, dict(reversed(arrays.items())), dict(DOCUMENT))
    assert other.read_bytes() == path.read_bytes()
    write_file(other, *read_file(path))  # also from what was read
    assert other.read_bytes() == path.read_bytes()


def test_the_callers_arrays_and_document_stay(path):
    arrays, document = make_arrays(), json.loads(json.dumps(DOCUMENT))
    for array in arrays.values():
        array.flags.writeable = False
    before = {name: (id(array), array.dtype, array.strides, array.tobytes()) for name, array in arrays.items()}
    write_file(path, arrays, document)
    assert before == {name: (id(array), array.dtype, array.strides, array.tobytes()) for name, array in arrays.items()}
    assert document == DOCUMENT


def test_arrays_are_aligned_views_that_keep_the_map(path):
    write_file(path, make_arrays(), DOCUMENT)
    arrays, _ = read_file(path)
    for name, array in arrays.items():
        assert isinstance(array.base, mmap.mmap), name
        assert array.flags.aligned and array.flags.c_contiguous and not array.flags.writeable, name
        assert array.ctypes.data % array.itemsize == 0, name
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    kept = arrays["V"]
    del arrays, array
    gc.collect()
    assert kept.tobytes() == make_arrays()["V"].tobytes()


@POSIX
def test_arrays_outlive_the_file(path):
    write_file(path, make_arrays(), {})
    arrays, _ = read_file(path)
    write_file(path, {}, {})
    path.unlink()
    assert_same_arrays(arrays, make_arrays())


# Refused before anything is written


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    "arrays, document, error, words",
    [
        ({"a": np.zeros(2, np.complex128)}, {}, InputTypeError, "arrays\\['a'\\] .* found complex128"),
        ({"a": np.zeros(2, np.float16)}, {}, InputTypeError, "found float16"),
        ({"a": np.array([None])}, {}, InputTypeError, "found object"),
        ({"a": np.array(["x"])}, {}, InputTypeError, "found <U1"),
        ({"a": np.zeros(2, "m8[s]")}, {}, InputTypeError, "found timedelta64"),
        ({"a": [1.0]}, {}, InputTypeError, "found list"),
        ({1: np.zeros(2)}, {}, InputError, "found 1"),
        ({"__metadata__": np.zeros(2)}, {}, InputError, "found '__metadata__'"),
        ({"\ud800": np.zeros(2)}, {}, InputError, "surrogates"),
        ({}, {"auc": [0.5, float("nan")]}, InputError, "document\\['auc'\\]\\[1\\] must be finite: found nan"),
        ({}, {"a": float("-inf")}, InputError, "found -inf"),
        ({}, {"a": {1: 2}}, InputTypeError, "keys of document\\['a'\\] must be strings: found 1"),
        ({}, {2: 2}, InputTypeError, "keys of document must be strings: found 2"),
        ({}, {"a": (1, 2)}, InputTypeError, "document\\['a'\\] .* found tuple"),
        ({}, {"a": np.int64(1)}, InputTypeError, "found int64"),
        ({}, {"a": b""}, InputTypeError, "found bytes"),
        ({}, {"a": "\udcff"}, InputError, "surrogates"),
        ({}, {"a": "\ud83c\udca1"}, InputError, "surrogates"),  # would come back as one character
        ({}, {"a": 10**5000}, InputError, "4300"),
        ({}, {"a": nested(64)}, InputError, "64 deep"),
        ({}, {"a": endless()}, InputError, "64 deep"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(tmp_path, path, arrays, document, error, words):
    path.write_bytes(b"former")
    with pytest.raises(error, match=words):
        write_file(path, arrays, document)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"former"


def test_the_deepest_document_comes_back(path):
    write_file(path, {}, {"a": nested(63)})
    assert read_file(path)[1]["a"] == nested(63)


def test_a_header_too_long_for_other_readers_is_refused(tmp_path, path, monkeypatch):
    monkeypatch.setattr(model_file, "LONGEST_HEADER", 400)
    write_file(path, {}, {"a": "x" * 200})
    with pytest.raises(InputError, match="fit into 400 bytes: found 4"):
        write_file(path, {}, {"a": "x" * 300})
    assert os.listdir(tmp_path) == [path.name]
    monkeypatch.setattr(model_file, "LONGEST_HEADER", 300)
    assert "a length of the header that is a multiple of 8 and at most 300" in refused(path, path.read_bytes())


def test_pickle_is_not_on_the_path():
    tree = ast.parse(Path(model_file.__file__).read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert "numpy" in names
    assert not names & {"pickle", "_pickle", "shelve", "marshal", "copyreg"}


# Strings


@pytest.mark.parametrize("strings", [[], [""], ["a"], ["", "é", "語", "", "🂡 \0\n", ""], ["x" * 1000] * 3])
def test_strings_come_back(strings, path):
    data, offsets = pack_strings(strings)
    assert (data.dtype, data.ndim, offsets.dtype, offsets.shape) == (np.uint8, 1, np.int64, (len(strings) + 1,))
    assert unpack_strings(data, offsets) == strings
    write_file(path, {"data": data, "offsets": offsets}, {})
    arrays, _ = read_file(path)
    assert unpack_strings(arrays["data"], arrays["offsets"]) == strings


def test_strings_are_utf8_one_after_another():
    data, offsets = pack_strings(["a", "é", ""])
    assert data.tobytes() == "aé".encode()
    assert offsets.tolist() == [0, 1, 3, 3]


def test_what_is_no_string_is_refused():
    with pytest.raises(InputTypeError, match="strings\\[1\\] must be a string: found int"):
        pack_strings(["a", 1])
    with pytest.raises(InputError, match="strings\\[2\\] must be valid Unicode"):
        pack_strings(["a", "b", "\ud800"])


@pytest.mark.parametrize(
    "data, offsets, words",
    [
        (b"abc", [], "from 0 to 3, found \\[\\]"),
        (b"abc", [1, 3], "from 0 to 3"),
        (b"abc", [0, 2], "from 0 to 3"),
        (b"abc", [0, 4], "from 0 to 3"),
        (b"abc", [-1, 3], "from 0 to 3"),
        (b"abc", [0, 2, 1, 3], "do not fall, found \\[2, 1\\]"),
        (b"abc", [0, 2**62, -(2**62), 3], "do not fall"),
        (b"a\xff", [0, 1, 2], "UTF-8 in string 1"),
        ("é".encode(), [0, 1, 2], "UTF-8 in string 0"),  # whole, but cut in two
        (b"\xed\xa0\x80", [0, 3], "UTF-8 in string 0"),  # a surrogate
        (b"\xc0\x80", [0, 2], "UTF-8 in string 0"),  # overlong
    ],
)
def test_broken_strings_are_refused(data, offsets, words):
    with pytest.raises(ModelFileError, match=words):
        unpack_strings(np.frombuffer(data, np.uint8), np.array(offsets, np.int64))


@pytest.mark.parametrize(
    "data, offsets",
    [
        (np.zeros(3, np.int8), np.array([0, 3])),
        (np.zeros((3, 1), np.uint8), np.array([0, 3])),
        (np.zeros(3, np.uint8), np.array([0, 3], np.int32)),
        (np.zeros(3, np.uint8), np.array([0.0, 3.0])),
        (np.zeros(3, np.uint8), np.array([[0, 3]])),
        (np.zeros(3, np.uint8), np.array(3)),
    ],
)
def test_other_arrays_are_no_strings(data, offsets):
    with pytest.raises(ModelFileError, match="of strings with one axis of"):
        unpack_strings(data, offsets)
