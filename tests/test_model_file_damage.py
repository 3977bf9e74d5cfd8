"""Reading a model file believes nothing: damage, files of others, forgeries."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import numpy as np
import pytest
from model_bytes import DIGITS, entry, forge, forged_header, refused, seal, write_small

from fwfm_gpu.model_file import read_file


@pytest.fixture
def small(path):
    return write_small(path)


# Damage


def test_every_truncation_is_refused(path, small):
    for length in range(len(small)):
        words = "too short for a model file" if length < DIGITS.stop else ": damaged: expected the SHA-256"
        assert words in refused(path, small[:length]), length


def test_every_flipped_bit_is_refused(path, small):
    for bit in range(8 * len(small)):
        flipped = bytearray(small)
        flipped[bit // 8] ^= 1 << bit % 8
        words = "not a model file, or damaged at its start" if 8 <= bit // 8 < DIGITS.start else ": damaged: expected"
        assert words in refused(path, bytes(flipped)), bit
    path.write_bytes(small)
    read_file(path)


@pytest.mark.parametrize("more", [b"\0", b" ", b"\n", bytes(8), b"x" * 5000])
def test_appended_bytes_are_refused(path, small, more):
    assert "damaged" in refused(path, small + more)
    assert f"expected 16 bytes of data, found {16 + len(more)}" in refused(path, seal(small + more))


def test_changed_whitespace_is_refused(path, small):
    end = 8 + int.from_bytes(small[:8], "little")
    header = small[8:end].rstrip()
    for changed in (header + b"\n" * (end - 8 - len(header)), header + b" " * (end - len(header))):
        assert "damaged" in refused(path, len(changed).to_bytes(8, "little") + changed + small[end:])


def test_uppercase_digits_are_refused(path, small):
    upper = small[: DIGITS.start] + small[DIGITS].upper() + small[DIGITS.stop :]
    assert upper != small
    assert "damaged" in refused(path, upper)


def test_the_message_says_what_to_do(path, small):
    for content in (b"", small[:-1], small[::-1], forge(forged_header("[]"))):
        assert "expected" in refused(path, content)
        assert "found" in refused(path, content)
        assert "fetch it again, or train and save the model again." in refused(path, content)


# Files that are none


def test_files_of_others_are_refused(path, small):
    assert "too short" in refused(path, b"")
    assert "not a model file" in refused(path, np.random.default_rng(0).bytes(4096))
    assert "not a model file" in refused(path, pickle.dumps({"V": np.ones(100)}))
    assert "not a model file" in refused(path, bytes(4096))
    assert "not a model file" in refused(path, b" " + small)


def test_a_safetensors_file_of_others_is_refused(path):
    oracle = pytest.importorskip("safetensors.numpy", reason="the oracle of the layout is not installed")
    for metadata in (None, {"format": "pt"}, {"fwfm_gpu": "{}"}):
        assert "not a model file" in refused(path, oracle.save({"V": np.ones(100, np.float32)}, metadata))


TWO = {"a": entry(offsets=[0, 8]), "b": entry(offsets=[8, 16])}
PLAIN = json.dumps(forged_header(), separators=(",", ":")).encode()
FORGERIES = {
    "length of 2**63": (forge(PLAIN, length=2**63), "length of the header"),
    "length of 2**64 - 1": (forge(PLAIN, length=2**64 - 1), "length of the header"),
    "length beyond the file": (forge(PLAIN, length=1000), "length of the header"),
    "length not of 8": (forge(PLAIN, length=len(PLAIN) - 1), "length of the header"),
    "length of 0": (forge(PLAIN, length=0), "header in JSON"),
    "length inside the digits": (forge(PLAIN, length=64), "header in JSON"),
    "header cut": (forge(PLAIN[:-1]), "header in JSON"),
    "header and more": (forge(PLAIN + b"{}"), "header in JSON"),
    "header not UTF-8": (forge(PLAIN[:-1] + b',"\xff":0}'), "header in JSON"),
    "header with NaN": (forge(PLAIN[:-1] + b',"a":NaN}'), "found the number 'NaN'"),
    "header nested deep": (forge(PLAIN[:-1] + b',"a":' + b"[" * 200_000), "header in JSON"),
    "header with a long number": (forge(PLAIN[:-1] + b',"a":' + b"9" * 5000 + b"}"), "header in JSON"),
    "array twice": (forge(PLAIN[:-1] + b',"a":0,"a":0}'), "a key twice in ['__metadata__', 'a', 'a']"),
    "metadata twice": (forge(PLAIN[:-1] + b',"__metadata__":{}}'), "a key twice in ['__metadata__', '__metadata__']"),
    "dtype twice": (forge(PLAIN[:-1] + b',"a":{"dtype":"F32","dtype":"F32"}}'), "a key twice in ['dtype', 'dtype']"),
    "metadata with more": (
        forge({"__metadata__": {"sha256": "0" * 64, "fwfm_gpu": "{}", "more": ""}}),
        "the metadata 'sha256' and 'fwfm_gpu'",
    ),
    "metadata with less": (forge({"__metadata__": {"sha256": "0" * 64}}), "the metadata 'sha256' and 'fwfm_gpu'"),
    "document not a string": (forge(forged_header({})), "a document that is a JSON string"),
    "document a list": (forge(forged_header("[1]")), "document that is a JSON object"),
    "document empty": (forge(forged_header("")), "document in JSON"),
    "document with NaN": (forge(forged_header('{"format_version":1,"a":NaN}')), "found the number 'NaN'"),
    "document with -Infinity": (forge(forged_header('{"format_version":1,"a":-Infinity}')), "'-Infinity'"),
    "document beyond float64": (forge(forged_header('{"format_version":1,"a":1e999}')), "found the number '1e999'"),
    "document with a key twice": (forge(forged_header('{"format_version":1,"format_version":1}')), "twice"),
    "document nested deep": (forge(forged_header('{"format_version":' + "[" * 200_000)), "document in JSON"),
    "version missing": (forge(forged_header("{}")), "a format_version that is an integer from 1, found None"),
    "version true": (forge(forged_header('{"format_version":true}')), "format_version"),
    "version 1.0": (forge(forged_header('{"format_version":1.0}')), "format_version"),
    "version 0": (forge(forged_header('{"format_version":0}')), "format_version"),
    "version a string": (forge(forged_header('{"format_version":"1"}')), "format_version"),
    "entry not an object": (forge(forged_header(a=[])), "dtype, shape and data_offsets of array 'a'"),
    "entry with more": (forge(forged_header(a={**entry(), "x": 0}), bytes(8)), "dtype, shape and data_offsets"),
    "entry with less": (forge(forged_header(a={"dtype": "F32", "shape": [2]}), bytes(8)), "dtype, shape and"),
    "unknown dtype": (forge(forged_header(a=entry("BF16")), bytes(8)), "one of F32, F64, I64, I32, U8, BOOL"),
    "dtype in lower case": (forge(forged_header(a=entry("f32")), bytes(8)), "found 'f32'"),
    "dtype a list": (forge(forged_header(a=entry(["F32"])), bytes(8)), "a dtype of array 'a'"),
    "shape a number": (forge(forged_header(a=entry(shape=2)), bytes(8)), "a shape of array 'a'"),
    "shape negative": (forge(forged_header(a=entry(shape=[-1, -2])), bytes(8)), "integers from 0, found [-1, -2]"),
    "shape with 2.0": (forge(forged_header(a=entry(shape=[2.0])), bytes(8)), "a shape of array 'a'"),
    "shape with true": (forge(forged_header(a=entry(shape=[2, True])), bytes(8)), "a shape of array 'a'"),
    "shape huge": (forge(forged_header(a=entry(shape=[2**62])), bytes(8)), "data_offsets of array 'a' that hold"),
    "shape beyond an index": (forge(forged_header(a=entry(shape=[2**64])), bytes(8)), "a shape of array 'a'"),
    "shape that wraps to 2": (forge(forged_header(a=entry(shape=[2**32 + 1, 2**32])), bytes(8)), "that hold F32"),
    "shape huge and empty": (
        forge(forged_header(a=entry(shape=[2**62, 2**62, 0], offsets=[0, 0]))),
        "a shape of array 'a' that NumPy can hold",
    ),
    "65 axes": (forge(forged_header(a=entry(shape=[2] + [1] * 64)), bytes(8)), "a shape of array 'a'"),
    "a million axes": (forge(forged_header(a=entry(shape=[9**9] * 10**6)), bytes(8)), "a shape of array 'a'"),
    "offsets of three": (forge(forged_header(a=entry(offsets=[0, 8, 8])), bytes(8)), "two integers from 0"),
    "offsets negative": (forge(forged_header(a=entry(offsets=[-8, 0])), bytes(8)), "two integers from 0"),
    "offsets falling": (forge(forged_header(a=entry(offsets=[8, 0])), bytes(8)), "that hold F32"),
    "offsets too wide": (forge(forged_header(a=entry(offsets=[0, 16])), bytes(16)), "that hold F32"),
    "offsets beyond the data": (forge(forged_header(a=entry(offsets=[0, 8])), bytes(4)), "8 bytes of data, found 4"),
    "offsets huge": (
        forge(forged_header(a=entry(shape=[2**60], offsets=[0, 2**62])), bytes(8)),
        f"{2**62} bytes of data, found 8",
    ),
    "offsets unaligned": (
        forge(forged_header(a=entry("U8", [1], [0, 1]), b=entry(shape=[1], offsets=[1, 5])), bytes(5)),
        "are aligned, found [1, 5]",
    ),
    "a hole before": (forge(forged_header(a=entry(offsets=[8, 16])), bytes(16)), "at byte 0 of the data, found 8"),
    "a hole between": (
        forge(forged_header(a=TWO["a"], b=entry(offsets=[16, 24])), bytes(24)),
        "array 'b' at byte 8 of the data, found 16",
    ),
    "a hole after": (forge(forged_header(**TWO), bytes(24)), "16 bytes of data, found 24"),
    "overlap": (forge(forged_header(a=TWO["a"], b=entry(offsets=[4, 12])), bytes(12)), "at byte 8"),
    "the same bytes twice": (forge(forged_header(a=TWO["a"], b=TWO["a"]), bytes(8)), "array 'b' at byte 8"),
    "an empty array inside another": (
        forge(forged_header(a=TWO["a"], b=entry(shape=[0], offsets=[4, 4])), bytes(8)),
        "array 'b' at byte 8",
    ),
    "a flag of 2": (forge(forged_header(a=entry("BOOL", [2], [0, 2])), b"\1\2"), "bytes 0 and 1 in array 'a', found 2"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_structure_is_refused(path, name):
    content, words = FORGERIES[name]
    message = refused(path, content)
    assert words in message
    assert "not a valid model file: expected" in message
    assert len(message) < 1000


def test_the_forger_can_make_a_good_file(path):
    path.write_bytes(forge(forged_header(**TWO), np.arange(4, dtype="<f4").tobytes()))
    arrays, _ = read_file(path)
    assert arrays["a"].tolist() == [0, 1]
    assert arrays["b"].tolist() == [2, 3]


def test_a_newer_version_is_named_as_such(path):
    header = forged_header('{"format_version":2}', a=entry("BF16"))  # whatever it holds
    message = refused(path, forge(header, bytes(8)))
    assert "newer fwfm_gpu: expected format version 1 or less, found 2. Upgrade fwfm_gpu" in message


@pytest.mark.parametrize("name", ["length of 2**63", "shape huge", "shape huge and empty", "offsets huge"])
def test_a_forged_size_allocates_nothing(path, name):
    tracemalloc.start()
    try:
        refused(path, FORGERIES[name][0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        read_file(path)
