"""The model file: named arrays and one JSON document, in the safetensors byte layout.

::

    bytes 0 to 7   length of the header, little-endian
    header         {"__metadata__":{"sha256":"...","fwfm_gpu":"..."},"name":{"dtype":...},...}, spaces up to 8 bytes
    data           the arrays one after another, little-endian, C order, 8-byte items first: each is aligned

``sha256`` is 64 lowercase digits at a fixed place and covers every other byte of the file; ``fwfm_gpu`` is the document
as one JSON string. Any safetensors reader understands the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import reprlib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError
from fwfm_gpu.parameters import Array

__all__ = ["FORMAT_VERSION", "pack_strings", "read_file", "unpack_strings", "write_file"]

FORMAT_VERSION = 1

OPENING = b'{"__metadata__":{"sha256":"'
ROWS = b'","fwfm_gpu_rows":'  # what follows the digits in a file of encoded rows
LENGTH = slice(0, 8)
DIGITS = slice(LENGTH.stop + len(OPENING), LENGTH.stop + len(OPENING) + 64)
LONGEST_HEADER = 100_000_000  # what other safetensors readers accept
DEEPEST_DOCUMENT = 64  # far from Python's recursion limit, so that what is written can be read from anywhere
MOST_AXES = 64  # of a NumPy array
LARGEST_SIZE = int(np.iinfo(np.intp).max)
DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
REMEDY = "Pass a file that save() wrote: fetch it again, or train and save the model again."

# Compact; a float by its shortest repr, which reads back exactly.
to_json = partial(json.dumps, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
Content = mmap.mmap | bytes


class Entry(NamedTuple):
    """Where an array lies: bytes ``begin`` to ``end`` of the data."""

    begin: int
    end: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def write_file(path: str | os.PathLike[str], arrays: Mapping[str, Array], document: Mapping[str, Any]) -> None:
    """Write a model file in one step: the former file stays until the new one is complete and on disk.

    The same arrays and document give the same bytes. A symbolic link is followed; the mode of a former file is kept.

    Parameters
    ----------
    path : str or path-like
    arrays : mapping of str to array
        float32, float64, int64, int32, uint8 or bool, of any shape, byte order and strides.
    document : mapping
        Plain JSON: dicts with string keys, lists, strings, integers of any size, finite floats, booleans, None. It
        comes back equal, in the same order; ``"format_version"`` is set here.

    Raises
    ------
    InputError, InputTypeError
        An array or an entry of the document that the file cannot hold. Nothing was written.
    OSError
        The system refused; the former file is as it was and no other file is left.
    """
    stored = sorted_arrays(arrays)
    header = encoded_header(stored, {**document, "format_version": FORMAT_VERSION})
    replace_file(path, lambda file: write_content(file, header, stored))


def sorted_arrays(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays in the order of the file: large items first, then by name."""
    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise InputError(f"arrays must have names, not '__metadata__': found {reprlib.repr(name)}. Rename it.")
        if not isinstance(array, np.ndarray) or stored_dtype(array) not in DTYPE_NAMES:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            allowed = ", ".join(np.dtype(dtype).name for dtype in DTYPE_NAMES)
            raise InputTypeError(f"arrays[{name!r}] must be an array of {allowed}: found {found}. Convert it.")
    return dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))


def stored_dtype(array: Array) -> str:
    """The array's dtype in little-endian, as NumPy spells it."""
    return array.dtype.newbyteorder("<").str


def encoded_header(arrays: Mapping[str, Array], document: dict[str, Any]) -> bytes:
    """Length and header, with zeros for the digits of the checksum."""
    check_plain(document)
    entries, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        dtype = DTYPE_NAMES[stored_dtype(array)]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    try:
        metadata = {"sha256": "0" * 64, "fwfm_gpu": to_json(document)}
        text = to_json({"__metadata__": metadata, **entries}).encode()
    except ValueError as error:  # a lone surrogate, an integer of over 4300 digits
        raise InputError(f"document and names must be JSON in UTF-8: {error}. Change or shorten that entry.") from error
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise InputError(f"document and names must fit into {LONGEST_HEADER} bytes: found {len(text)}. Use an array.")
    return len(text).to_bytes(8, "little") + text


def check_plain(value: Any, where: str = "document", room: int = DEEPEST_DOCUMENT) -> None:
    """Refuse what JSON cannot hold, or would give back as something else."""
    if room < 0:
        raise InputError(f"the document may nest {DEEPEST_DOCUMENT} deep: found more at {where}. Flatten it.")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputTypeError(f"keys of {where} must be strings: found {reprlib.repr(key)}. Use str(key).")
            check_plain(item, f"{where}[{reprlib.repr(key)}]", room - 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]", room - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where} must be finite: found {value!r}, which JSON cannot hold. Use None.")
    elif value is not None and not isinstance(value, (str, int)):
        raise InputTypeError(f"{where} must be plain JSON: found {type(value).__name__}. Convert it, or use an array.")


def write_content(file: BinaryIO, header: bytes, arrays: Mapping[str, Array]) -> None:
    """Header and arrays, then the digits of the checksum into their place."""
    file.write(header)
    digest = hashlib.sha256(header[: DIGITS.start] + header[DIGITS.stop :])
    for array in arrays.values():
        content = np.asarray(array, dtype=stored_dtype(array), order="C").reshape(-1).view(np.uint8).data
        file.write(content)
        digest.update(content)
    file.seek(DIGITS.start)
    file.write(digest.hexdigest().encode())


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a model file, checksum first.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    arrays : dict of str to array
        Read-only views into the mapped file, which they keep open; nothing is copied.
    document : dict
        As written, with ``"format_version"``.

    Raises
    ------
    ModelFileError
        Too short, not a model file, damaged, not valid inside, or of a newer version: the message says which.
    OSError
        The system refused, ``FileNotFoundError`` included.
    """
    with open(os.fspath(path), "rb") as file:
        try:
            content: Content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file has no map
            content = b""
    try:
        check_intact(content)
        start, header = parse_header(content)
        document = parse_document(header.pop("__metadata__", None))
        entries = sorted(parse_entry(name, entry) for name, entry in header.items())
        check_tiling(entries, len(content) - start)
        return {entry.name: view(content, start, entry) for entry in entries}, document
    except ModelFileError as error:
        raise ModelFileError(f"{os.fsdecode(path)!r}: {error}") from error.__cause__


def check_intact(content: Content) -> None:
    """Refuse bytes that are not those of a model file, or not those that were written."""
    if len(content) < DIGITS.stop:
        raise refusal(f"at least {DIGITS.stop} bytes", len(content), "too short for a model file")
    opening = content[LENGTH.stop : DIGITS.start]
    if opening != OPENING:
        raise refusal(f"{OPENING!r} at byte 8", opening, "not a model file, or damaged at its start")
    if content[DIGITS.stop : DIGITS.stop + len(ROWS)] == ROWS:
        raise refusal("a model", "rows that convert() wrote", "not a model file: train on it")
    digest = hashlib.sha256(content[: DIGITS.start])
    digest.update(memoryview(content)[DIGITS.stop :])
    digits = digest.hexdigest().encode()
    if content[DIGITS] != digits:
        raise refusal(f"the SHA-256 {content[DIGITS]!r} that it states", digits.decode(), "damaged")


def parse_header(content: Content) -> tuple[int, dict[str, Any]]:
    """Where the data starts, and the header."""
    length, room = int.from_bytes(content[LENGTH], "little"), len(content) - LENGTH.stop
    if length > min(room, LONGEST_HEADER) or length % 8:
        raise refusal(f"a length of the header that is a multiple of 8 and at most {min(room, LONGEST_HEADER)}", length)
    start = LENGTH.stop + length
    return start, parse_json("header", content[LENGTH.stop : start])


def parse_document(metadata: Any) -> dict[str, Any]:
    """The document of a version that this package knows."""
    if not isinstance(metadata, dict) or list(metadata) != ["sha256", "fwfm_gpu"]:
        raise refusal("the metadata 'sha256' and 'fwfm_gpu'", metadata)
    text = metadata["fwfm_gpu"]
    if not isinstance(text, str):
        raise refusal("a document that is a JSON string", text)
    document = parse_json("document", text)
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise refusal("a format_version that is an integer from 1", version)
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"written by a newer fwfm_gpu: expected format version {FORMAT_VERSION} or less, found "
            f"{reprlib.repr(version)}. Upgrade fwfm_gpu to read it."
        )
    return document


def parse_json(what: str, text: bytes | str) -> dict[str, Any]:
    """A JSON object: UTF-8, no key twice, all numbers finite."""
    try:
        text = text if isinstance(text, str) else text.decode()
        value = json.loads(text, object_pairs_hook=unique_keys, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:
        raise refusal(f"a {what} in JSON", error) from error
    if not isinstance(value, dict):
        raise refusal(f"a {what} that is a JSON object", value)
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError(f"a key twice in {reprlib.repr([key for key, _ in pairs])}")
    return entries


def finite(literal: str) -> float:
    """A JSON number with a fraction or exponent, or one of the constants that JSON does not have."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"the number {reprlib.repr(literal)}")
    return number


def parse_entry(name: str, entry: Any) -> Entry:
    """What the header says of one array."""
    where = f"of array {reprlib.repr(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise refusal(f"dtype, shape and data_offsets {where}", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refusal(f"a dtype {where} that is one of {', '.join(DTYPES)}", dtype)
    if not is_sizes(shape) or len(shape) > MOST_AXES:
        raise refusal(f"a shape {where} of at most {MOST_AXES} integers from 0", shape)
    if not is_sizes(offsets) or len(offsets) != 2:
        raise refusal(f"data_offsets {where} that are two integers from 0", offsets)
    begin, end = offsets
    item = np.dtype(DTYPES[dtype])
    if end - begin != math.prod(shape) * item.itemsize or begin % item.itemsize:
        raise refusal(f"data_offsets {where} that hold {dtype} {reprlib.repr(shape)} and are aligned", offsets)
    return Entry(begin, end, name, item, tuple(shape))


def is_sizes(value: Any) -> bool:
    """Whether it is a list of integers from 0 that NumPy can index with."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= LARGEST_SIZE for size in value)


def check_tiling(entries: Sequence[Entry], size: int) -> None:
    """The arrays follow each other and fill the data: no hole, no overlap, nothing after them."""
    place = 0
    for entry in entries:
        if entry.begin != place:
            raise refusal(f"array {reprlib.repr(entry.name)} at byte {place} of the data", entry.begin)
        place = entry.end
    if place != size:
        raise refusal(f"{place} bytes of data", size)


def view(content: Content, start: int, entry: Entry) -> Array:
    """The array, without a copy."""
    try:
        array: Array = np.ndarray(entry.shape, entry.dtype, content, start + entry.begin)
    except ValueError as error:  # no element, yet axes whose product is beyond an index
        raise refusal(f"a shape of array {reprlib.repr(entry.name)} that NumPy can hold", entry.shape) from error
    if entry.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise refusal(f"bytes 0 and 1 in array {reprlib.repr(entry.name)}", int(array.view(np.uint8).max()))
    return array


def refusal(expected: str, found: Any, kind: str = "not a valid model file") -> ModelFileError:
    """The error that tells what is wrong with a file and what to do."""
    shown = str(found) if isinstance(found, Exception) else reprlib.repr(found)
    return ModelFileError(f"{kind}: expected {expected}, found {shown}. {REMEDY}")


def pack_strings(strings: Sequence[str]) -> tuple[Array, Array]:
    """Strings as two arrays.

    Parameters
    ----------
    strings : sequence of str

    Returns
    -------
    data : (bytes,) uint8
        UTF-8, one string after another.
    offsets : (count + 1,) int64
        String ``i`` is ``data[offsets[i] : offsets[i + 1]]``: ``["a", "é"] -> [0, 1, 3]``.

    Raises
    ------
    InputError, InputTypeError
        An entry that is not a string, or that UTF-8 cannot hold; the message names the first.
    """
    encoded: list[bytes] = []
    for index, string in enumerate(strings):
        if not isinstance(string, str):
            raise InputTypeError(f"strings[{index}] must be a string: found {type(string).__name__}. Use str().")
        try:
            encoded.append(string.encode())
        except UnicodeEncodeError as error:
            raise InputError(f"strings[{index}] must be valid Unicode: {error}. Replace that character.") from error
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def unpack_strings(data: Array, offsets: Array) -> list[str]:
    """The strings that :func:`pack_strings` packed.

    Parameters
    ----------
    data : (bytes,) uint8
    offsets : (count + 1,) int64

    Raises
    ------
    ModelFileError
        Offsets that do not run from 0 to the end of the data, or a string that is not UTF-8.
    """
    for name, array, dtype in (("data", data, np.uint8), ("offsets", offsets, np.int64)):
        if array.ndim != 1 or array.dtype != dtype:
            raise refusal(f"{name} of strings with one axis of {np.dtype(dtype)}", (array.shape, array.dtype.name))
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(data):
        raise refusal(f"offsets of strings from 0 to {len(data)}", offsets.tolist())
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if len(falls):
        raise refusal("offsets of strings that do not fall", offsets[falls[0] : falls[0] + 2].tolist())
    content = data.tobytes()
    strings: list[str] = []
    for begin, end in pairwise(offsets.tolist()):
        try:
            strings.append(content[begin:end].decode())
        except UnicodeDecodeError as error:
            raise refusal(f"UTF-8 in string {len(strings)}", error) from error
    return strings
