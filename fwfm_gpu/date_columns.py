"""Dates and times: seconds of wall time, and the parts of them that make fields.

Wall time is what a clock shows where the time was taken: the zone of a value, or of its column, is left out, and
nothing is converted to another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.matrix_reader import first_true
from fwfm_gpu.parameters import Array

if TYPE_CHECKING:
    from fwfm_gpu.columns import Column

__all__ = ["DATES", "NUMERIC_PARTS", "PARTS", "parse_time", "parse_times", "part_of", "read_part", "wall_seconds"]

DATES = (date, np.datetime64)  # datetime is a date, and pandas' Timestamp a datetime
ISO_8601 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)
DAY, HOUR = 86_400, 3_600  # seconds
THURSDAY = 3  # the first of January 1970


def _months(seconds: Array) -> Array:
    return seconds.astype("M8[s]").astype("M8[M]")


PARTS: dict[str, Callable[[Array], Array]] = {  # of int64 seconds of wall time since 1970
    "hour": lambda seconds: seconds % DAY // HOUR,
    "weekday": lambda seconds: (seconds // DAY + THURSDAY) % 7,
    "is_weekend": lambda seconds: (seconds // DAY + THURSDAY) % 7 >= 5,
    "day": lambda seconds: seconds // DAY - _months(seconds).astype("M8[D]").astype(np.int64) + 1,
    "month": lambda seconds: _months(seconds).astype(np.int64) % 12 + 1,
    "year": lambda seconds: _months(seconds).astype("M8[Y]").astype(np.int64) + 1970,
}
NUMERIC_PARTS = ("year",)  # the others are categories

OBJECT_PARTS: dict[str, Callable[[Any], Any]] = {
    "hour": lambda value: value.hour if isinstance(value, datetime) else 0,
    "weekday": lambda value: value.weekday(),
    "is_weekend": lambda value: value.weekday() >= 5,
    "day": lambda value: value.day,
    "month": lambda value: value.month,
    "year": lambda value: value.year,
}


def read_part(column: Column, part: str) -> Column:
    """A part of each time of a column, as a column of integers or booleans."""
    values = PARTS[part](np.where(column.missing, 0, column.values))
    kind = "booleans" if values.dtype == bool else "integers"
    return replace(column, name=f"{column.name}.{part}", kind=kind, values=values)


def part_of(value: date, part: str) -> Any:
    """A part of one date or time, with what `read_part` gives."""
    return OBJECT_PARTS[part](value)


def parse_time(text: str) -> datetime:
    """The wall time of a date or time as ISO 8601 writes it, seconds rounded down; ValueError for anything else."""
    found = ISO_8601.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, *time = (int(number) for number in found.groups() if number is not None)
    hour, minute, second = (*time, 0, 0, 0)[:3]
    return datetime(year, month, day, hour, minute, second)


def parse_times(column: Column) -> Column:
    """A column of strings as the times that they write.

    Raises
    ------
    InputError
        The first that is no ISO 8601.
    """
    assert column.categories is not None
    seconds, bad = np.zeros(len(column.categories) + 1, np.int64), []  # the last one is of missing values
    for code in np.unique(column.values[~column.missing]).tolist():
        try:
            seconds[code] = (parse_time(column.categories[code]) - datetime(1970, 1, 1)) // timedelta(seconds=1)
        except ValueError:
            bad.append(code)
    if bad:
        row = first_true(np.isin(column.values, bad))
        raise InputError(
            f"column {column.name!r} held times when the encoder was fitted, and strings of it must be ISO 8601, such "
            f"as '2024-05-01' or '2024-05-01T13:45:00': got {column.value(row)} at row {row}."
        )
    return replace(column, kind="times", values=seconds[column.values], categories=None, labelled=False)


def wall_seconds(values: Array) -> Array:
    """Seconds since 1970, rounded down, of datetime64 or of an array of objects that are `DATES`, (rows,) int64."""
    if values.dtype.kind == "O":
        naive = [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in values]
        values = np.array(naive, "M8[us]")
    return values.astype("M8[s]").astype(np.int64)
