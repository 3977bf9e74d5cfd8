"""Columns as fitted fields take them, and what is said of those that no longer fit."""

from __future__ import annotations

from typing import Any

from fwfm_gpu.columns import Column
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_choice import Field
from fwfm_gpu.list_columns import ListColumn
from fwfm_gpu.matrix_reader import first_true

__all__ = ["name_columns", "not_seen", "prepared"]

NO_CHANCE = 1e-6  # a table of rows that miss a value is refused where it is less likely than this


def prepared(column: Column | ListColumn, field: Field, fitted_rows: int) -> Any:
    """A column as its field takes it; refused where it is no more what fit saw."""
    if not column.missing.all() and not field.accepts(column):  # of no rows, all are missing
        row = first_true(~column.missing)
        raise InputTypeError(
            f"column {column.name!r} held {field.family} when the encoder was fitted: got {column.kind}, such as "
            f"{column.value(row)} at row {row}. Convert it to what it was."
        )
    own = field.prepare(column)
    rows, lost = len(own.missing), bool(own.missing.all())
    share = (field.missing + 1) / (fitted_rows + 2)  # as if one more had been missing, and one present
    if lost and rows >= 2 and share**rows < NO_CHANCE:
        raise InputError(
            f"column {column.name!r} must hold values: all {rows} rows miss it, where {field.missing} of "
            f"{fitted_rows} did in fit. Look at where the column comes from, or fit on rows like these."
        )
    return own


def not_seen(column: Any, field: Field, row: int) -> InputError:
    return InputError(
        f"column {field.column!r} must hold values that fit saw, as unknown is 'error': got "
        f"{field.show_unseen(column, row)} at row {row}. Fit on rows that hold it, or choose unknown='learned' or "
        "'ignore'."
    )


def name_columns(names: tuple[str, ...]) -> str:
    if not names:
        return "There are none."
    shown = ", ".join(map(repr, names[:20]))
    return f"There are: {shown}{', ...' if len(names) > 20 else ''}."
