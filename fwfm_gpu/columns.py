"""One column of a table, read: what it holds, and where something is missing. NumPy alone.

Missing is None, NaN, and pandas' NA and NaT; an empty string is a string. Numbers of rows in messages start at 0.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fwfm_gpu.date_columns import DATES, wall_seconds
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.list_columns import ListColumn, make_lists
from fwfm_gpu.matrix_reader import first_true, host_array
from fwfm_gpu.parameters import Array

__all__ = ["Column", "integer_column", "is_missing", "nest", "read_column", "read_vector", "refusal", "text_column"]

ROWS_AT_ONCE = 2**16  # as Python objects
NOT_TEXT = -2
FLOATS = (float, np.floating)
INTEGERS = (int, np.integer)
BOOLEANS = (bool, np.bool_)
PANDAS_MISSING = {"NAType", "NaTType"}  # known by name: pandas is never imported
LISTS = (list, tuple, set, frozenset, np.ndarray)
DURATIONS = "Make numbers of them first, such as their seconds"


@dataclass(frozen=True, eq=False)
class Column:
    """A column as every encoder reads it.

    Attributes
    ----------
    name : str
    kind : str
        ``"strings"``, ``"integers"``, ``"floats"``, ``"booleans"``, ``"times"``, or ``"nothing"`` when not even its
        dtype tells.
    values : (rows,) int32, int64, float64 or bool
        Of strings the position in categories, -1 where missing. Of times the seconds of wall time since 1970. Elsewhere
        what stands at a missing value is arbitrary.
    missing : (rows,) bool
    categories : list of str
        The distinct strings, in any order; some may be unused.
    labelled : bool
        Whether the table itself calls it categorical.
    """

    name: str
    kind: str
    values: Array
    missing: Array
    categories: list[str] | None = None
    labelled: bool = False

    @property
    def family(self) -> str:
        """Columns of one family can be told apart from no other: integers and floats both are ``"numbers"``."""
        return "numbers" if self.kind in ("integers", "floats") else self.kind

    def value(self, row: int) -> str:
        """What stands there, for a message."""
        if self.missing[row]:
            return "a missing value"
        if self.kind == "times":
            return str(self.values[row].astype("M8[s]"))
        item = self.values[row].item()
        return reprlib.repr(item if self.categories is None else self.categories[item])


class Numbering(dict[Any, int]):
    """A number per string in order of first appearance, -1 for what is missing, NOT_TEXT for anything else."""

    def __init__(self) -> None:
        super().__init__({None: -1})

    def __missing__(self, value: Any) -> int:
        if is_missing(value):
            return -1
        if not isinstance(value, str):
            return NOT_TEXT
        number = self[str(value)] = len(self) - 1  # None is in it already
        return number

    def strings(self) -> list[str]:
        return list(self)[1:]


def read_column(name: str, values: Any) -> Column | ListColumn:
    """Read a column given as an array or a sequence.

    Parameters
    ----------
    name : str
    values : (rows,) strings, booleans, integers, floats, dates or times, or lists of such
        An array of any such dtype, an array of objects of one kind, or a list.

    Raises
    ------
    InputTypeError
        If it holds anything else, such as durations or bytes, or a mixture.
    InputError
        If it is not 1-D, a float is infinite in float64, or an integer does not fit int64, or float64 beside floats.
    """
    array = read_vector(name, values)
    kind = array.dtype.kind
    if kind == "U":
        return text_column(name, array)
    if kind in "OT":
        return _read_objects(name, array.astype(object, copy=False))
    if kind == "b":
        return Column(name, "booleans", array, np.zeros(len(array), bool))
    if kind in "iu":
        return integer_column(name, array, np.zeros(len(array), bool))
    if kind == "f":
        return _float_column(name, array)
    if kind == "M":
        return Column(name, "times", wall_seconds(array), np.isnat(array))
    raise refusal(name, str(array.dtype))


def read_vector(name: str, values: Any) -> Array:
    """The values as a 1-D array; a list keeps its objects as they are."""
    listed = isinstance(values, (list, tuple))  # NumPy would make strings of [1, "a"] and of [nan, "a"]
    try:
        array = np.fromiter(values, object, len(values)) if listed else host_array(f"column {name!r}", values)
    except ValueError as error:
        raise InputError(f"column {name!r} must be 1-D, one value per row: got lists inside a list.") from error
    if array.ndim != 1:
        advice = " Where a row holds several values, make it a list of lists."
        if array.ndim == 0:
            advice = "" if array.dtype.kind == "O" else f" For a single row, make it a list: {[array.item()]!r:.50}."
        raise InputError(f"column {name!r} must be 1-D, one value per row: got shape {array.shape}.{advice}")
    return array


def text_column(name: str, strings: Array) -> Column:
    """A column of strings and missing values from an array of strings or objects."""
    numbering = Numbering()
    codes = np.empty(len(strings), np.int32)
    for start in range(0, len(strings), ROWS_AT_ONCE):
        part = strings[start : start + ROWS_AT_ONCE].tolist()
        try:
            codes[start : start + len(part)] = np.fromiter(map(numbering.__getitem__, part), np.int32, len(part))
        except TypeError:  # what cannot be hashed is no string
            bad = next(i for i, value in enumerate(part) if not (isinstance(value, str) or is_missing(value)))
            raise _mixture(name, "strings", start + bad, part[bad]) from None
    if (codes == NOT_TEXT).any():
        row = first_true(codes == NOT_TEXT)
        raise _mixture(name, "strings", row, strings[row])
    return Column(name, "strings", codes, codes < 0, numbering.strings())


def integer_column(name: str, values: Array, missing: Array) -> Column:
    """A column of integers; what stands at a missing value is arbitrary."""
    if values.dtype.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
        raise _too_large(name)
    return Column(name, "integers", values.astype(np.int64, copy=False), missing)


def refusal(name: str, found: str, where: str = "") -> InputTypeError:
    """The error for a column of a kind that is not understood."""
    advice = "Convert it first, or leave it out"
    if any(word in found.lower() for word in ("time", "duration", "period")):
        advice = DURATIONS
    elif "bytes" in found or "binary" in found or found.startswith("|S"):
        advice = "Decode bytes to str first"
    elif "ecimal" in found:
        advice = "Convert it to float first"
    return InputTypeError(
        f"column {name!r} must hold strings, booleans, integers, floats, dates or lists: got {found}{where}. {advice}."
    )


def is_missing(value: Any) -> bool:
    """Whether a single object stands for a missing value."""
    if value is None:
        return True
    if isinstance(value, FLOATS):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return type(value).__name__ in PANDAS_MISSING


def _read_objects(name: str, array: Array) -> Column | ListColumn:
    """A column of Python objects: all of the kind of the first that is not missing."""
    row = next((row for row, value in enumerate(array) if not is_missing(value)), None)
    if row is None:
        return Column(name, "nothing", np.zeros(len(array), bool), np.ones(len(array), bool))
    first = array[row]
    if isinstance(first, str):
        return text_column(name, array)
    if isinstance(first, BOOLEANS):
        present, missing = _present(name, "booleans", BOOLEANS, array)
        return Column(name, "booleans", _spread(present.astype(bool), missing), missing)
    if isinstance(first, LISTS):
        return _read_lists(name, array)
    if isinstance(first, DATES):
        present, missing = _present(name, "dates", DATES, array)
        return Column(name, "times", _spread(wall_seconds(present), missing), missing)
    if not isinstance(first, FLOATS + INTEGERS):
        raise refusal(name, type(first).__name__, f" at row {row}")
    present, missing = _present(name, "numbers", FLOATS + INTEGERS, array)
    if all(issubclass(kind, INTEGERS) for kind in set(map(type, present))):
        try:
            return Column(name, "integers", _spread(present.astype(np.int64), missing), missing)
        except OverflowError:
            raise _too_large(name) from None
    return _float_column(name, np.where(missing, np.nan, _spread(_floats(name, present, missing), missing)))


def _read_lists(name: str, array: Array) -> ListColumn:
    """A column of lists, tuples, sets and 1-D arrays."""
    present, missing = _present(name, "lists", LISTS, array)
    flat = [np.ndim(value) == 1 if isinstance(value, np.ndarray) else True for value in present]
    if not all(flat):
        bad = present[flat.index(False)]
        raise InputTypeError(f"column {name!r} must hold lists of single values: got an array of shape {bad.shape}.")
    lengths = _spread(np.fromiter(map(len, present), np.int64, len(present)), missing)
    dtypes = {value.dtype if isinstance(value, np.ndarray) else None for value in present}
    joined = np.concatenate(present) if len(dtypes) == 1 and None not in dtypes else list(chain.from_iterable(present))
    return nest(name, read_column(name, joined), lengths)


def nest(name: str, members: Column | ListColumn, lengths: Array) -> ListColumn:
    """A column of lists of the members, where they are what a list may hold."""
    if isinstance(members, ListColumn) or members.kind == "times":
        raise InputTypeError(
            f"column {name!r} holds lists of {members.kind}: a list may hold strings, booleans or numbers. Make such "
            "members of them first."
        )
    return make_lists(name, members, lengths)


def _floats(name: str, present: Array, missing: Array) -> Array:
    """Objects that are numbers as float64; infinite what is too large, of integers an error."""
    try:
        with np.errstate(over="ignore"):
            return present.astype(np.float64)
    except OverflowError:
        bad = next(i for i, value in enumerate(present) if isinstance(value, int) and _overflows(value))
        row = int(np.flatnonzero(~missing)[bad])
        raise _infinite(name, f"an integer of {present[bad].bit_length()} bits", row) from None


def _overflows(value: int) -> bool:
    try:
        float(value)
    except OverflowError:
        return True
    return False


def _present(name: str, expected: str, kinds: tuple[type, ...], array: Array) -> tuple[Array, Array]:
    """What is not missing, checked to be of those kinds, and where something is missing."""
    missing = np.fromiter(map(is_missing, array), bool, len(array))
    present = array[~missing]
    for kind in set(map(type, present)):
        if not issubclass(kind, kinds) or (issubclass(kind, BOOLEANS) and kinds is not BOOLEANS):
            bad = next(i for i, value in enumerate(present) if type(value) is kind)
            raise _mixture(name, expected, int(np.flatnonzero(~missing)[bad]), present[bad])
    return present, missing


def _spread(present: Array, missing: Array) -> Array:
    """The present values at their rows, 0 between them."""
    values = np.zeros(len(missing), present.dtype)
    values[~missing] = present
    return values


def _float_column(name: str, values: Array) -> Column:
    """A column of floats, where NaN is missing."""
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float64, copy=False)
    missing = np.isnan(numbers)
    infinite = np.isinf(numbers)
    if infinite.any():
        row = first_true(infinite)
        raise _infinite(name, str(values[row]), row)
    return Column(name, "floats", numbers, missing)


def _infinite(name: str, found: str, row: int) -> InputError:
    where = "" if found.lstrip("+-") == "inf" else ", beyond what float64 holds,"
    return InputError(
        f"column {name!r} must be finite: got {found}{where} at row {row}. Replace it, by NaN where it means missing."
    )


def _mixture(name: str, expected: str, row: int, value: Any) -> InputTypeError:
    return InputTypeError(
        f"column {name!r} must hold values of one kind: it begins with {expected}, and row {row} holds "
        f"{type(value).__name__} {reprlib.repr(value)}. Convert the column to one kind first."
    )


def _too_large(name: str) -> InputError:
    return InputError(
        f"column {name!r} must hold integers below 2**63 in size: got larger ones. Convert them to str where they are "
        "names of things, to float where they are amounts."
    )
