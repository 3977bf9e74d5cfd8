"""Rows that were encoded once: a file that is mapped, and trained on within a second of being opened.

The byte layout is that of a model file, in another order: arrays that grow with the rows stand behind all others.

::

    bytes 0 to 7   length of the header, little-endian
    header         {"__metadata__":{"sha256":"...","fwfm_gpu_rows":"..."},"name":{"dtype":...},...}, spaces to 8 bytes
    small arrays   fields, names, the encoder, labels, and ``blocks``: a SHA-256 per 65,536 rows
    large arrays   indptr, y, weight, group, values, indices: CSR, 8-byte items first

``sha256`` covers header and small arrays, and is checked when the file is opened; the digest of a block is checked when
it is first read. y holds places in ``labels``, or numbers where there are too many to count.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from fwfm_gpu.errors import EncodedFileError, FwfmError, InputError, ModelFileError
from fwfm_gpu.field_matrix import FieldMatrix, ones
from fwfm_gpu.matrix_reader import ascends, index_dtype
from fwfm_gpu.model import Columns
from fwfm_gpu.model_document import get_encoder, get_labels, get_strings
from fwfm_gpu.model_file import (
    DIGITS,
    LENGTH,
    OPENING,
    REMEDY,
    check_tiling,
    parse_entry,
    parse_header,
    parse_json,
    view,
)
from fwfm_gpu.parameters import Array
from fwfm_gpu.stream_sources import Chunk
from fwfm_gpu.stream_survey import Survey

__all__ = ["BLOCK_ROWS", "FORMAT_VERSION", "KEY", "LARGE", "EncodedRows", "block_digest", "open_encoded"]

FORMAT_VERSION = 1
BLOCK_ROWS = 2**16
KEY = "fwfm_gpu_rows"
LARGE = ("indptr", "y", "weight", "group", "values", "indices")
ADVICE = "Convert the rows again."


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """An encoded file as a source of rows.

    Attributes
    ----------
    name : str
        Its path.
    content : mmap
    arrays : dict of str to array
        Views into the map.
    labels : (m,) array or None
        What y counts in; None where y holds numbers.
    survey : Survey
    """

    name: str
    content: mmap.mmap
    arrays: dict[str, Array]
    labels: Array | None
    survey: Survey
    sound: set[int] = field(default_factory=set)  # blocks that were found to be

    def chunks(self, features: bool = True, after: int = 0) -> Iterator[Chunk]:
        """The rows from the block on that holds row ``after``."""
        columns = self.survey.columns
        empty = FieldMatrix(
            np.zeros(1, np.int64),
            self.arrays["indices"][:0],
            np.zeros(0),
            columns.fields,
            columns.n_fields,
            field_names=columns.field_names,
            feature_names=columns.feature_names,
            encoder=columns.encoder,
        )
        for number in range(after // BLOCK_ROWS, -(-self.survey.rows // BLOCK_ROWS)):
            own = self.block(number)
            y = own["y"] if self.labels is None else self.labels[own["y"]]
            values = own.get("values", ones(len(own["indices"]), np.float32))
            indptr = own["indptr"] - own["indptr"][0]
            rows = replace(empty, indptr=indptr, indices=own["indices"], values=values)
            yield Chunk(number * BLOCK_ROWS, rows, y, own.get("weight"), own.get("group"))

    def block(self, number: int) -> dict[str, Array]:
        """Copies of the large arrays' parts of one block, checked when it is read for the first time."""
        begin, end = number * BLOCK_ROWS, min((number + 1) * BLOCK_ROWS, self.survey.rows)
        indptr = np.array(self.arrays["indptr"][begin : end + 1])
        first, last = int(indptr[0]), int(indptr[-1])
        if not 0 <= first <= last <= len(self.arrays["indices"]):
            self.refuse(number, "its rows begin where there are none")
        own = {"indptr": indptr}
        for name in LARGE[1:]:
            if name in self.arrays:
                lo, hi = (first, last) if name in ("values", "indices") else (begin, end)
                own[name] = np.array(self.arrays[name][lo:hi])
        if hasattr(mmap, "MADV_DONTNEED"):
            self.content.madvise(mmap.MADV_DONTNEED)  # the pages need not stay in memory: the copies do
        if number not in self.sound:
            if block_digest(own) != self.arrays["blocks"][number].tobytes():
                self.refuse(number, "its SHA-256 is another one than stated")
            if not is_sound(own, len(self.survey.columns.fields), self.labels):
                self.refuse(number, "its arrays are no rows")
            self.sound.add(number)
        return own

    def refuse(self, number: int, found: str) -> NoReturn:
        """The file is damaged."""
        begin, end = number * BLOCK_ROWS, min((number + 1) * BLOCK_ROWS, self.survey.rows)
        raise EncodedFileError(f"{self.name!r}: damaged in rows {begin} to {end - 1}: {found}. {ADVICE}")


def block_digest(own: dict[str, Array]) -> bytes:
    """SHA-256 of a block: its arrays in the order of the file, little-endian."""
    digest = hashlib.sha256()
    for name in LARGE:
        if name in own:
            digest.update(np.ascontiguousarray(own[name], own[name].dtype.newbyteorder("<")).data)
    return digest.digest()


def is_sound(own: dict[str, Array], n_features: int, labels: Array | None) -> bool:
    """Whether they are canonical rows (numerics 1): engines trust indices, so that a forged file must not pass."""
    indices, values = own["indices"], own.get("values")
    if np.any(np.diff(own["indptr"]) < 0) or (len(indices) and not 0 <= indices.min() <= indices.max() < n_features):
        return False
    if values is not None and not np.all(np.isfinite(values) & (values != 0)):
        return False
    if labels is not None and not np.all((own["y"] >= 0) & (own["y"] < len(labels))):
        return False
    return ascends(own["indptr"] - own["indptr"][0], indices)


def open_encoded(path: str | os.PathLike[str]) -> EncodedRows:
    """Open an encoded file; what is checked is all but its rows.

    Raises
    ------
    EncodedFileError
        Not an encoded file, damaged, or of a newer version.
    OSError
        The system refused.
    """
    name = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise EncodedFileError(f"{name!r}: expected a file that convert wrote, found no byte. {ADVICE}") from None
    try:
        arrays, document = read_parts(content)
        return restored(name, content, arrays, document)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, FwfmError) as error:
        if isinstance(error, EncodedFileError):
            raise EncodedFileError(f"{name!r}: {error} {ADVICE}") from error
        found = str(error).removesuffix(REMEDY).strip().rstrip(".")
        raise EncodedFileError(
            f"{name!r}: expected an intact file that convert wrote, found {type(error).__name__}: {found}. {ADVICE}"
        ) from error


def read_parts(content: mmap.mmap) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the document of a file whose header and small arrays are as they were written."""
    if len(content) < DIGITS.stop or content[LENGTH.stop : DIGITS.start] != OPENING:
        raise EncodedFileError("expected a file that convert wrote, found something else.")
    start, header = parse_header(content)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or list(metadata) != ["sha256", KEY]:
        raise EncodedFileError("expected a file that convert wrote, found a model or another safetensors file.")
    document = parse_json("document", metadata[KEY])
    version, small = document["format_version"], document["small_bytes"]
    if type(version) is int and version > FORMAT_VERSION:
        raise EncodedFileError(f"written by a newer fwfm_gpu, in format version {version}: upgrade to read it.")
    if type(small) is not int or not 0 <= small <= len(content) - start:
        raise ModelFileError(f"small arrays of {small} bytes")
    digest = hashlib.sha256(content[: DIGITS.start])
    digest.update(memoryview(content)[DIGITS.stop : start + small])
    if content[DIGITS] != digest.hexdigest().encode():
        raise EncodedFileError("damaged: its SHA-256 is another one than stated.")
    entries = sorted(parse_entry(name, entry) for name, entry in header.items())
    check_tiling(entries, len(content) - start)
    return {entry.name: view(content, start, entry) for entry in entries}, document


def restored(name: str, content: mmap.mmap, arrays: dict[str, Array], document: dict[str, Any]) -> EncodedRows:
    """The source of a file whose header is in order."""
    columns = Columns(
        np.array(arrays["fields"]),
        document["n_fields"],
        get_strings(arrays, "field_names"),
        get_strings(arrays, "feature_names"),
        get_encoder(arrays, document),
    )
    rows, labels = document["rows"], get_labels(arrays, document["labels"])
    check_shapes(arrays, document, columns)
    survey = Survey(
        rows=rows,
        labels=labels,
        counts=np.array(arrays["label_counts"]),
        weights=np.array(arrays["label_weights"]),
        complete=document["complete"],
        weighted="weight" in arrays,
        total_weight=document["total_weight"],
        fingerprint=document["fingerprint"],
        columns=columns,
    )
    return EncodedRows(name, content, arrays, labels if document["complete"] else None, survey)


def check_shapes(arrays: dict[str, Array], document: dict[str, Any], columns: Columns) -> None:
    """Every array has the shape and dtype that the others call for."""
    rows, nnz = document["rows"], len(arrays["indices"])
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "indptr": ("int64", (rows + 1,)),
        "y": ("int32" if document["complete"] else "float64", (rows,)),
        "weight": ("float64", (rows,)),
        "group": ("int64", (rows,)),
        "values": ("float64", (nnz,)),
        "indices": (np.dtype(index_dtype(len(columns.fields))).name, (nnz,)),
        "blocks": ("uint8", (-(-rows // BLOCK_ROWS), 32)),
        "fields": ("int32", (len(columns.fields),)),
    }
    for name, (dtype, shape) in wanted.items():
        if name in ("weight", "group", "values") and name not in arrays:
            continue
        if arrays[name].dtype != dtype or arrays[name].shape != shape:
            raise InputError(f"{name} should be {dtype} {shape}, is {arrays[name].dtype} {arrays[name].shape}")
    fields = columns.fields
    if rows < 1 or not len(fields) or not 0 <= fields.min() <= fields.max() < columns.n_fields:
        raise InputError(f"fields should be numbers below {columns.n_fields}")
