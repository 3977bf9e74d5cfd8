"""Converted files on the command line: read whole, or beside a model or other rows whose columns they must have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fwfm_gpu.encoded_file import EncodedRows, open_encoded
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError
from fwfm_gpu.row_parts import Piece, join_rows
from fwfm_gpu.stream_sources import Chunk

__all__ = ["iterate_encoded", "read_encoded"]


def iterate_encoded(path: str, like: Any = None) -> Iterator[Chunk]:
    """The rows of a converted file, a block at a time.

    Parameters
    ----------
    path : str
    like : FieldMatrix or Columns, optional
        The columns that it must have: of the same encoder, if of any.

    Raises
    ------
    InputError
        It has others.
    EncodedFileError, OSError
        As `open_encoded` and `EncodedRows.block` raise.
    """
    rows = open_encoded(path)
    if like is not None:
        check_columns(rows, like)
    return rows.chunks()


def read_encoded(path: str, like: Any = None) -> Piece:
    """The same as a whole."""
    chunks = list(iterate_encoded(path, like))
    weight, group = (
        None if parts[0] is None else np.concatenate(parts)
        for parts in ([chunk.weight for chunk in chunks], [chunk.group for chunk in chunks])
    )
    rows = join_rows([chunk.X for chunk in chunks])
    return Piece(rows, np.concatenate([chunk.y for chunk in chunks]), weight, group)


def check_columns(rows: EncodedRows, like: Any) -> None:
    """Equal numbers mean equal features only where whatever made them is equal."""
    if found := difference(rows.survey.columns, like):
        raise InputError(
            f"{rows.name}: these rows were converted with other columns than the model or the data has: {found}. Pass "
            "the file that they were converted from, or convert it again with --like."
        )


def difference(found: Any, known: Any) -> str | None:
    """The first thing in which columns differ."""
    if (found.encoder is None) != (known.encoder is None):
        return f"{origin(found.encoder)}, and not {origin(known.encoder)}"
    if found.encoder is not None and (differs := encoder_difference(found.encoder, known.encoder)):
        return differs
    if len(found.fields) != len(known.fields):
        return f"{len(found.fields):,} features, and not {len(known.fields):,}"
    if found.n_fields != known.n_fields or not np.array_equal(found.fields, known.fields):
        return "features are of other fields"
    for name in ("field_names", "feature_names"):
        one, other = getattr(found, name), getattr(known, name)
        if one is not None and other is not None and one != other:
            i = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
            return f"{name.replace('_', ' ')[:-1]} {i} is {one[i]!r}, and not {other[i]!r}"
    return None


def origin(encoder: FieldEncoder | None) -> str:
    """What rows were made of."""
    return "rows that had no encoder" if encoder is None else f"a table with {', '.join(encoder.column_names[:20])}"


def encoder_difference(found: FieldEncoder, known: FieldEncoder) -> str | None:
    """The first thing in which encoders differ."""
    if found.field_names != known.field_names:
        return f"fields {', '.join(found.field_names[:20])}, and not {', '.join(known.field_names[:20])}"
    for one, other in zip(found.fields, known.fields, strict=True):
        arrays, others = one.arrays(), other.arrays()
        same = one.document() == other.document() and arrays.keys() == others.keys()
        if not same or not all(np.array_equal(arrays[name], others[name]) for name in arrays):
            return f"the values of column {one.column!r} were learned from other rows or with other options"
    (arrays, document), (others, other_document) = found.describe(), known.describe()
    if document != other_document or not all(np.array_equal(arrays[name], others[name]) for name in arrays):
        return "their encoder has other options"
    return None
