"""Rows of any source into an encoded file, in bounded memory and in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.encoded_file import BLOCK_ROWS, FORMAT_VERSION, KEY, LARGE, block_digest
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import read_column, read_sample_weight
from fwfm_gpu.matrix_reader import index_dtype
from fwfm_gpu.model_document import plain, put_encoder, put_labels, put_strings
from fwfm_gpu.model_file import DIGITS, DTYPE_NAMES, sorted_arrays, stored_dtype, to_json
from fwfm_gpu.parameters import Array
from fwfm_gpu.row_parts import Piece, windows
from fwfm_gpu.stream_sources import Chunk, Roles, Source, open_source
from fwfm_gpu.stream_survey import Survey, family, located, take_survey
from fwfm_gpu.stream_training import FIT_ROWS, Reading
from fwfm_gpu.version import __version__

__all__ = ["Converted", "convert"]

AT_ONCE = 2**20  # bytes


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote.

    Attributes
    ----------
    path : str
    rows, features, fields : int
    values : int
        Entries that are not zero.
    bytes : int
    """

    path: str
    rows: int
    features: int
    fields: int
    values: int
    bytes: int


KIND = object()  # the key of what kind of ids came


def convert(
    source: Any,
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    weight: str | None = None,
    group: str | None = None,
    columns: Iterable[str] | None = None,
    encoder: FieldEncoder | None = None,
    fit_rows: int = FIT_ROWS,
    fields: Any = None,
) -> Converted:
    """Write rows as an encoded file, to be passed to ``train`` by its path: it is mapped, and training starts at once.

    The same rows and columns give the same bytes, whatever the chunks. While it is written, the target's directory
    needs the file's size twice. A former file stays whole until the new one is.

    Parameters
    ----------
    source
        What ``train`` takes as a source: paths or batches; or a table that holds its label.
    path : str or path-like
    label, weight, group, columns, encoder, fit_rows, fields
        As in ``train``. Ids of groups that are no integers are numbered in the order in which they first come.

    Returns
    -------
    Converted

    Raises
    ------
    InputError, InputTypeError, OptionError
        As ``train`` raises for a source.
    OSError
        The system refused; the former file is as it was and no other file is left.
    """
    reading = Reading.of(Roles(label, weight, group, columns), encoder, fit_rows, fields)
    opened = open_source([source] if is_table(source) else source, reading.roles, fields)
    survey = take_survey(opened, reading.encoder, reading.fit_rows)
    with ExitStack() as stack:
        spools = Spools(os.path.dirname(os.path.realpath(os.fsdecode(path))), survey, stack)
        for block in windows(pieces(opened, survey), BLOCK_ROWS):
            spools.add(block)
        replace_file(path, spools.finish)
    columns_, written = survey.columns, os.path.getsize(path)
    return Converted(os.fsdecode(path), survey.rows, len(columns_.fields), columns_.n_fields, spools.nnz, written)


def pieces(source: Source, survey: Survey) -> Iterator[Piece]:
    """The rows of a source, encoded; y as places among the labels, or as numbers."""
    rows, known = 0, dict[Any, Any]()
    for chunk in source.chunks():
        with located(source, chunk):
            piece = encoded(chunk, survey, known)
        rows += len(piece)
        yield piece
    if rows != survey.rows:
        raise InputError(
            f"{source.name}: expected the {survey.rows} rows of the first pass in every pass, got {rows}. Pass a "
            "source that starts anew and does not change."
        )


def encoded(chunk: Chunk, survey: Survey, known: dict[Any, Any]) -> Piece:
    """A chunk; values stay float64, for T is not known yet."""
    X = survey.columns.read(chunk.X, "float64")
    y = read_column(chunk.y, "y", "label")
    if survey.complete:
        places = np.searchsorted(survey.labels, y).clip(max=len(survey.labels) - 1)
        if np.any(survey.labels[places] != y):
            raise InputError("y holds a label that the first pass did not. Pass a source that does not change.")
        y = places.astype(np.int32)
    weight = None if chunk.weight is None else read_sample_weight(chunk.weight, len(y))
    if (weight is not None) != survey.weighted:
        raise InputError("all batches must have weights, or none: this one differs from the first pass.")
    group = None if chunk.group is None else number_groups(read_column(chunk.group, "group", "id"), known)
    return Piece(X, y.astype(np.int32 if survey.complete else np.float64), weight, group)


def number_groups(ids: Array, known: dict[Any, Any]) -> Array:
    """Ids as integers: those that are such already as they are, others in the order in which they first come.

    Raises
    ------
    InputTypeError
        Ids of another kind than before.
    """
    kind = family(ids) if ids.dtype.kind not in "iu" else "integers"
    if known.setdefault(KIND, kind) != kind:
        raise InputTypeError(f"ids of groups must be of one kind: they were {known[KIND]}, and are {kind} here.")
    if kind == "integers":
        return ids
    own, inverse = np.unique(ids, return_inverse=True)
    first = np.full(len(own), len(ids))
    np.minimum.at(first, inverse, np.arange(len(ids)))
    numbers = np.empty(len(own), np.int64)
    for place in np.argsort(first).tolist():
        numbers[place] = known.setdefault(own[place].item(), len(known) - 1)  # the kind is in it already
    return numbers[inverse]


class Spools:
    """The large arrays, each in a file without a name until all lengths are known."""

    def __init__(self, directory: str, survey: Survey, stack: ExitStack) -> None:
        self.directory, self.survey, self.stack = directory, survey, stack
        self.files: dict[str, BinaryIO] = {}
        self.dtypes = {
            "indptr": np.dtype("<i8"),
            "y": np.dtype("<i4" if survey.complete else "<f8"),
            "weight": np.dtype("<f8"),
            "group": np.dtype("<i8"),
            "values": np.dtype("<f8"),
            "indices": np.dtype(index_dtype(len(survey.columns.fields))).newbyteorder("<"),
        }
        self.nnz, self.digests = 0, list[bytes]()
        self.spool("indptr", np.zeros(1, np.int64))

    def spool(self, name: str, array: Array) -> None:
        """Some more of an array."""
        if name not in self.files:
            file = tempfile.TemporaryFile(dir=self.directory)  # noqa: SIM115, the stack closes it
            self.files[name] = self.stack.enter_context(file)
        self.files[name].write(np.ascontiguousarray(array, self.dtypes[name]).data)

    def add(self, block: Piece) -> None:
        """The rows of one block."""
        rows = block.rows
        own = {"indptr": rows.indptr + self.nnz, "y": block.y, "indices": rows.indices}
        own |= {name: array for name, array in (("weight", block.weight), ("group", block.group)) if array is not None}
        if "values" in self.files or not rows.all_ones:
            if "values" not in self.files:  # all were 1 so far
                for begin in range(0, self.nnz, AT_ONCE):
                    self.spool("values", np.ones(min(AT_ONCE, self.nnz - begin)))
            own["values"] = rows.values
        own = {name: np.ascontiguousarray(array, self.dtypes[name]) for name, array in own.items()}
        self.digests.append(block_digest(own))
        for name, array in own.items():
            self.spool(name, array[1:] if name == "indptr" else array)
        self.nnz += rows.nnz

    def finish(self, file: BinaryIO) -> None:
        """Header, small arrays, large arrays, and the checksum of what stands before the large ones."""
        header, small = self.header()
        digest = hashlib.sha256(header[: DIGITS.start] + header[DIGITS.stop :])
        file.write(header)
        for array in small.values():
            content = np.asarray(array, dtype=stored_dtype(array), order="C").reshape(-1).view(np.uint8).data
            file.write(content)
            digest.update(content)
        for name in self.large():
            self.files[name].seek(0)
            shutil.copyfileobj(self.files[name], file, AT_ONCE)
        file.seek(DIGITS.start)
        file.write(digest.hexdigest().encode())

    def large(self) -> list[str]:
        """The names of the large arrays in the order of the file: aligned, each of them."""
        return sorted(self.files, key=lambda name: (-self.dtypes[name].itemsize, LARGE.index(name)))

    def header(self) -> tuple[bytes, dict[str, Array]]:
        """Length and header, with zeros for the digits of the checksum; and the small arrays in their order."""
        small, document = describe(self.survey, self.digests)
        small = sorted_arrays(small)
        document["small_bytes"] = sum(array.nbytes for array in small.values())
        entries, end = {}, 0
        for name, array in small.items():
            begin, end = end, end + array.nbytes
            dtype = DTYPE_NAMES[stored_dtype(array)]
            entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
        for name in self.large():
            length = self.files[name].tell()
            begin, end = end, end + length
            shape = [length // self.dtypes[name].itemsize]
            entries[name] = {"dtype": DTYPE_NAMES[self.dtypes[name].str], "shape": shape, "data_offsets": [begin, end]}
        text = to_json({"__metadata__": {"sha256": "0" * 64, KEY: to_json(document)}, **entries}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text, small


def describe(survey: Survey, digests: list[bytes]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The small arrays, of whole 8 bytes, and the document."""
    columns = survey.columns
    arrays: dict[str, Array] = {"fields": columns.fields, "blocks": np.frombuffer(b"".join(digests), np.uint8)}
    arrays["blocks"] = arrays["blocks"].reshape(-1, 32)
    arrays |= {"label_counts": survey.counts, "label_weights": survey.weights}
    document = {
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "rows": survey.rows,
        "n_fields": columns.n_fields,
        "labels": survey.labels.dtype.str,
        "complete": survey.complete,
        "total_weight": survey.total_weight,
        "fingerprint": survey.fingerprint,
    }
    for name, strings in (("field_names", columns.field_names), ("feature_names", columns.feature_names)):
        if strings is not None:
            put_strings(arrays, name, strings)
    if columns.encoder is not None:
        encoder_arrays, described = columns.encoder.describe()
        put_encoder(arrays, encoder_arrays)
        document["encoder"] = plain(described)
    put_labels(arrays, survey.labels)
    size = sum(array.nbytes for array in arrays.values())
    arrays["padding"] = np.zeros(-size % 8, np.uint8)
    return arrays, document
