"""Tables in parts: one column taken out, every s-th row kept, parts joined. NumPy alone where a table is a dict."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.parameters import Array

__all__ = ["column_of", "every", "height", "join_tables", "names_of", "only", "release"]


def names_of(table: Any) -> list[str]:
    """The names of its columns."""
    return [str(name) for name in (table if isinstance(table, Mapping) else _frame(table).columns)]


def height(table: Any) -> int:
    """How many rows it has."""
    if isinstance(table, Mapping):
        return len(next(iter(table.values()))) if table else 0
    return len(_frame(table))


def column_of(table: Any, name: str, role: str) -> Array:
    """A column as an array.

    Raises
    ------
    InputError
        It is not there.
    """
    if name not in names_of(table):
        shown = ", ".join(map(repr, names_of(table)[:20]))
        raise InputError(f"{role} names column {name!r}, which is not there. There are: {shown}.")
    return _vector(table[name]) if isinstance(table, Mapping) else np.asarray(_frame(table)[name].to_numpy())


def only(table: Any, names: Sequence[str]) -> Any:
    """The table of these columns."""
    if isinstance(table, Mapping):
        return {name: table[name] for name in names}
    return _frame(table).select(list(names)).to_native()


def every(table: Any, step: int, first: int = 0) -> Any:
    """Every so many-th row, from the first on."""
    if step == 1 and first == 0:
        return table
    if isinstance(table, Mapping):
        return {name: _vector(column)[first::step] for name, column in table.items()}
    return _frame(table).gather_every(step, first).to_native()


def join_tables(tables: Sequence[Any]) -> Any:
    """Tables of the same columns, one after another.

    Raises
    ------
    InputTypeError
        Their columns cannot be joined, such as strings with numbers.
    """
    if len(tables) == 1:
        return tables[0]
    if isinstance(tables[0], Mapping):
        parts = {name: [_vector(table[name]) for table in tables] for name in tables[0]}
        return {name: _join(name, vectors) for name, vectors in parts.items()}
    import narwhals

    try:
        return narwhals.concat([_frame(table) for table in tables], how="vertical").to_native()
    except Exception as error:  # each library has its own
        raise InputTypeError(f"batches must be tables of the same columns and types: {error}") from error


def release() -> None:
    """Give memory that tables no longer use back to the system: pyarrow keeps it for the next ones."""
    if (pyarrow := sys.modules.get("pyarrow")) is not None:
        pyarrow.default_memory_pool().release_unused()


def _join(name: str, vectors: list[Array]) -> Array:
    """One column of several dicts; what NumPy would make strings of stays as it is."""
    kinds = {"U" if vector.dtype.kind in "UT" else "O" if vector.dtype.kind == "O" else "n" for vector in vectors}
    if len(kinds) > 1:
        vectors = [vector.astype(object) for vector in vectors]
    return np.concatenate(vectors)


def _vector(values: Any) -> Array:
    """An array; a list keeps its objects as they are."""
    return np.array(values, dtype=object) if isinstance(values, list | tuple) else np.asarray(values)


def _frame(table: Any) -> Any:
    import narwhals

    return narwhals.from_native(table, eager_only=True)
