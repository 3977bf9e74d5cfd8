"""The columns of a matrix: a field for each, and names of both, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.matrix_reader import first_true, integers
from fwfm_gpu.parameters import Array

__all__ = ["MOST_FIELD_PAIRS", "check_fields", "count_fields", "read_columns", "read_names"]

MOST_FIELD_PAIRS = 2**28  # R holds F * F weights per class


def read_columns(shape: tuple[int, ...], fields: Any, field_names: Any, feature_names: Any) -> dict[str, Any]:
    """What a FieldMatrix knows of the columns of a matrix, by its own names."""
    if len(shape) != 2:
        raise InputError(f"X must be 2-D (rows, columns): got shape {shape}.")
    if shape[1] == 0:
        raise InputError(f"X must have at least one column: got shape {shape}.")
    named = read_names("field_names", field_names)
    checked, n_fields = check_fields(fields, shape[1], named)
    listed = read_names("feature_names", feature_names, shape[1])
    return {"fields": checked, "n_fields": n_fields, "field_names": named, "feature_names": listed}


def check_fields(fields: Any, n_features: int, field_names: tuple[str, ...] | None) -> tuple[Array, int]:
    """A field per column, (n,) int32, and the number of fields."""
    if fields is None:
        n_fields = count_fields(n_features, field_names)
        return np.arange(n_features, dtype=np.int32), n_fields
    fields = integers("fields", fields)
    if fields.shape != (n_features,):
        raise InputError(f"fields must name one field per column: expected shape ({n_features},), got {fields.shape}.")
    if fields.min() < 0:
        column = first_true(fields < 0)
        raise InputError(f"fields must be at least 0: got fields[{column}] = {fields[column]}.")
    n_fields = count_fields(int(fields.max()) + 1, field_names)
    return np.array(fields, dtype=np.int32), n_fields


def count_fields(used: int, field_names: tuple[str, ...] | None) -> int:
    """The number of fields: one per name if there are names; R must be able to hold a weight for each pair."""
    n_fields = used if field_names is None else len(field_names)
    if n_fields < used:
        raise InputError(f"field_names must hold at least {used} names, one per field: got {n_fields}.")
    if n_fields**2 > MOST_FIELD_PAIRS:
        raise InputError(
            f"{n_fields} fields are too many: R would take {n_fields}^2 = {n_fields**2} weights, at most "
            f"{MOST_FIELD_PAIRS} are allowed. Pass fields=... so that many columns share a field."
        )
    return n_fields


def read_names(what: str, names: Any, expected: int | None = None) -> tuple[str, ...] | None:
    """The names as a tuple of str, of the expected length where there is one."""
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputTypeError(f"{what} must be a sequence of str, got {type(names).__name__}.")
    listed = tuple(names)
    for i, name in enumerate(listed):
        if not isinstance(name, str):
            raise InputTypeError(f"{what} must be str: got {type(name).__name__} {name!r} at {what}[{i}].")
    if expected is not None and len(listed) != expected:
        raise InputError(f"{what} must hold {expected} names, got {len(listed)}.")
    return tuple(map(str, listed))  # NumPy's str become Python's
