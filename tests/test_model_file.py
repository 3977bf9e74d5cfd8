"""The model file: the layout another reader understands, writing that loses nothing, reading that believes nothing."""

from __future__ import annotations

import ast
import contextlib
import errno
import gc
import hashlib
import io
import itertools
import json
import mmap
import os
import pickle
import stat
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwfm_gpu import atomic_file, model_file
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError
from fwfm_gpu.model_file import FORMAT_VERSION, pack_strings, read_file, unpack_strings, write_file

DIGITS = slice(35, 99)  # where the checksum stands, for all versions to come
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions, links and devices")

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


def seal(content: bytes) -> bytes:
    """The bytes with a right checksum, computed here and not by the code under test."""
    digits = hashlib.sha256(content[: DIGITS.start] + content[DIGITS.stop :]).hexdigest().encode()
    return content[: DIGITS.start] + digits + content[DIGITS.stop :]


def forge(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with a right checksum around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return seal((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def forged_header(document: Any = '{"format_version":1}', **entries: Any) -> dict[str, Any]:
    return {"__metadata__": {"sha256": "0" * 64, "fwfm_gpu": document}, **entries}


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(path: Path, content: bytes) -> str:
    """The message with which these bytes are refused."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_same_arrays(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype.newbyteorder("="), name
        assert got[name].shape == array.shape, name
        assert got[name].astype(array.dtype).tobytes() == array.tobytes(), name


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.fwfm"


@pytest.fixture
def small(path):
    """Bytes of a small file with two arrays."""
    write_file(path, {"w": np.array([1.0, -2.0], np.float32), "t": np.array(3)}, {"loss": "squared"})
    return path.read_bytes()


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


# The former file is never lost


class Faults:
    """Counts the steps of a write and raises at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException) -> None:
        self.fail_at, self.error, self.steps = fail_at, error, []
        for name in ("open", "chmod", "fsync", "replace"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))
        faults = self

        class File(io.BufferedWriter):
            def write(self, content):
                faults.step("write")
                return super().write(content)

            def seek(self, *place):
                faults.step("seek")
                return super().seek(*place)

            def flush(self):
                faults.step("flush")
                super().flush()

        def open_file(path, mode, opener):
            return File(io.FileIO(path, mode, opener=opener))

        monkeypatch.setattr(atomic_file, "open", open_file, raising=False)

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.fail_at:
            raise self.error

    def watched(self, name: str, function: Any) -> Any:
        def call(*args, **keywords):
            self.step(name)
            return function(*args, **keywords)

        return call


STEPS = ["open", "chmod", "write", "write", "write", "seek", "write", "flush", "fsync", "flush", "replace"]


@POSIX
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("fail_at", range(1, len(STEPS) + 1), ids=lambda at: f"{at}-{STEPS[at - 1]}")
def test_a_failure_at_any_step_leaves_the_former_file(tmp_path, path, monkeypatch, small, fail_at, error):
    with monkeypatch.context() as patch:
        faults = Faults(patch, fail_at, error)
        with pytest.raises(type(error)) as caught:
            write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {})
    assert caught.value is error
    assert faults.steps[:fail_at] == STEPS[:fail_at]
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == small


@POSIX
def test_the_directory_is_synced_last(tmp_path, path, monkeypatch, small):
    with monkeypatch.context() as patch:
        faults = Faults(patch, 0, OSError())
        write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {})
    assert faults.steps == [*STEPS, "open", "fsync"]
    for at, code in itertools.product((len(STEPS) + 1, len(STEPS) + 2), (errno.EACCES, errno.EINVAL, errno.EIO)):
        raises = pytest.raises(OSError, match="broken") if code == errno.EIO else contextlib.nullcontext()
        with monkeypatch.context() as patch, raises:
            Faults(patch, at, OSError(code, "broken"))
            write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {"at": at, "code": code})
        assert read_file(path)[1] == {"at": at, "code": code, "format_version": 1}  # it was already in place
        assert os.listdir(tmp_path) == [path.name]


@POSIX
def test_ctrl_c_on_any_line_leaves_one_whole_file(tmp_path, path, monkeypatch, small):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_file(path, {"V": np.ones(3)}, {})
    new = path.read_bytes()
    outcomes = []
    for last in itertools.count(1):
        path.write_bytes(small)
        done = interrupted_write(last, path)
        assert os.listdir(tmp_path) == [path.name], f"line {last}"
        outcomes.append(path.read_bytes())
        if done:
            break
    switch = outcomes.index(new)
    assert outcomes == [small] * switch + [new] * (len(outcomes) - switch)
    assert switch > 30  # lines before the file was replaced


def interrupted_write(last: int, path: Path) -> bool:
    """Write until the given line of the two modules, counted as executed; True when the end came first."""
    lines = itertools.count(1)

    def trace(frame, event, arg):
        if frame.f_code.co_filename not in (model_file.__file__, atomic_file.__file__):
            return None
        if event == "line" and next(lines) == last:
            raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        write_file(path, {"V": np.ones(3)}, {})
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(former)
    return True


def test_a_full_disk_leaves_the_former_file(tmp_path, path, small):
    resource = pytest.importorskip("resource", reason="the system has no limit on file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_file(path, {"V": np.ones(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == small


# Paths and permissions


@pytest.fixture
def umask_027():
    former = os.umask(0o027)
    yield
    os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@POSIX
@pytest.mark.usefixtures("umask_027")
def test_a_new_file_has_the_mode_of_the_umask(path):
    write_file(path, {}, {})
    assert mode(path) == 0o640


@POSIX
@pytest.mark.usefixtures("umask_027")
@pytest.mark.parametrize("former", [0o600, 0o664, 0o444])
def test_the_mode_of_a_former_file_is_kept(path, former):
    path.write_bytes(b"former")
    path.chmod(former)
    write_file(path, {}, {})
    assert mode(path) == former
    assert read_file(path) == ({}, {"format_version": 1})


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path, exists):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"former")
    link.symlink_to(Path("store") / "target")
    write_file(link, {}, {"a": 1})
    assert link.is_symlink()
    assert read_file(target)[1]["a"] == 1
    assert os.listdir(tmp_path / "store") == ["target"]


@POSIX
def test_a_ring_of_links_is_an_error_of_the_system(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(tmp_path / "a", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").is_symlink()


def test_a_path_without_its_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "missing" / "model", {}, {})
    assert os.listdir(tmp_path) == []


def test_a_directory_as_the_path(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", {}, {})
    assert os.listdir(tmp_path) == ["folder"]


@POSIX
def test_a_pipe_as_the_path(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="regular file"):
        write_file(tmp_path / "pipe", {}, {})
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_path_of_this_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_file("model", {}, {"a": 1})
    assert read_file("model")[1]["a"] == 1


@pytest.mark.parametrize("path", [1, None])
def test_a_number_is_no_path(path):
    with pytest.raises(TypeError):
        write_file(path, {}, {})
    with pytest.raises(TypeError):
        read_file(path)


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
