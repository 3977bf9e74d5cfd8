"""Tables as they come: pandas, polars, pyarrow and cuDF tables, or a dict of arrays, read one column at a time.

A dict needs NumPy alone. Frames are read through narwhals and pyarrow, which are imported when the first one comes: of
any library a column becomes a pyarrow array, and is read from that. Only a column of Python objects is read as such,
since it may hold several kinds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.columns import Column, integer_column, nest, read_column, read_vector, refusal
from fwfm_gpu.errors import InputError, InputTypeError, MissingExtraError
from fwfm_gpu.list_columns import ListColumn
from fwfm_gpu.parameters import Array

__all__ = ["Table", "is_numeric", "is_table", "open_table"]

EXPECTED = "a table must be a pandas, polars, pyarrow or cuDF table, or a dict of arrays"
OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True)
class Table:
    """The columns of a table, not yet read.

    Attributes
    ----------
    names : tuple of str
    n_rows : int
    read : function of a name giving its Column or ListColumn
    """

    names: tuple[str, ...]
    n_rows: int
    read: Callable[[str], Column | ListColumn]


def is_table(value: Any) -> bool:
    """Whether it has named columns: a dict, or a frame of whichever library (asked of its type)."""
    kind = type(value)
    return isinstance(value, Mapping) or (hasattr(kind, "columns") and hasattr(kind, "shape"))


def is_numeric(frame: Any) -> bool:
    """Whether the declared type of every column is a number or a boolean. No value is read.

    Raises
    ------
    InputTypeError
        If it is no frame.
    MissingExtraError
        If it is no pandas frame, and narwhals or pyarrow is not installed.
    """
    dtypes = getattr(frame, "dtypes", ())
    if len(dtypes) and all(hasattr(dtype, "kind") for dtype in dtypes):  # pandas, and who follows it
        return all(dtype.kind in "biuf" for dtype in dtypes)
    narwhals, pyarrow = _import_readers(frame)
    schema = _from_native(frame, narwhals, pyarrow).schema
    return all(dtype.is_numeric() or dtype == narwhals.Boolean for dtype in schema.values())


def open_table(table: Any) -> Table:
    """Look at a table's columns without reading them.

    Parameters
    ----------
    table : pandas, polars, pyarrow, cuDF or narwhals table, pyarrow RecordBatch, or dict of (rows,) arrays

    Raises
    ------
    InputTypeError
        If it is no table, or a column name is no str.
    InputError
        If two columns have one name, or lengths differ.
    MissingExtraError
        If it is a frame, and narwhals or pyarrow is not installed.
    """
    if isinstance(table, Mapping):
        return _open_mapping(table)
    if not is_table(table):  # a lazy frame would work to answer
        raise InputTypeError(f"{EXPECTED}: got {type(table).__name__}. {_advice(table)}")
    return _open_frame(table)


def _advice(table: Any) -> str:
    if hasattr(table, "collect"):
        return "Call collect() on it first."
    return "Name its columns, as in {'age': ages, 'city': cities}."


def _open_mapping(table: Mapping[Any, Any]) -> Table:
    names = _checked_names(list(table))
    vectors = {name: read_vector(name, table[name]) for name in names}
    lengths = {name: len(vector) for name, vector in vectors.items()}
    for name, length in lengths.items():
        if length != lengths[names[0]]:
            raise InputError(
                f"columns must be of one length: {names[0]!r} has {lengths[names[0]]} rows, {name!r} has {length}."
            )
    return Table(names, lengths[names[0]] if names else 0, lambda name: read_column(name, vectors[name]))


def _open_frame(table: Any) -> Table:
    narwhals, pyarrow = _import_readers(table)
    named = hasattr(type(table), "column_names")  # pyarrow, whose columns are no names
    names = _checked_names(list(table.column_names if named else table.columns))
    frame = _from_native(table, narwhals, pyarrow)

    def read(name: str) -> Column | ListColumn:
        series = frame[name]
        native = series.to_native()
        objects = isinstance(getattr(native, "dtype", None), np.dtype) and native.dtype.hasobject
        objects &= not narwhals.dependencies.is_cudf_series(native)  # which calls its strings objects
        if objects or series.dtype == narwhals.Object:
            return read_column(name, native.to_numpy())
        try:
            return _read_arrow(name, series.to_arrow(), pyarrow)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
            raise refusal(name, str(series.dtype), f" ({error})") from error

    return Table(names, len(frame), read)


def _import_readers(table: Any) -> tuple[Any, Any]:
    """narwhals and pyarrow."""
    try:
        import narwhals
        import pyarrow
    except ImportError as error:
        raise MissingExtraError(
            f"a table of type {type(table).__name__} needs {error.name}: pip install 'fwfm-gpu[data]', or pass a dict "
            "of arrays, which needs NumPy alone."
        ) from error
    return narwhals, pyarrow


def _from_native(table: Any, narwhals: Any, pyarrow: Any) -> Any:
    """A narwhals frame; of a record batch too, which narwhals does not know."""
    if isinstance(table, pyarrow.RecordBatch):
        table = pyarrow.Table.from_batches([table])
    try:
        return narwhals.from_native(table, eager_only=True)
    except TypeError as error:
        raise InputTypeError(f"{EXPECTED}: got {type(table).__name__}. {_advice(table)}") from error


def _checked_names(names: Sequence[Any]) -> tuple[str, ...]:
    """All str, none twice."""
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InputTypeError(
                f"column names must be str: got {type(name).__name__} {name!r} for column {i}. Rename the columns."
            )
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(
            f"column names must differ: {twice!r} names {names.count(twice)} columns. Rename or drop them."
        )
    return tuple(names)


def _read_arrow(name: str, array: Any, pa: Any) -> Column | ListColumn:
    """A column from a pyarrow array, whole or in chunks."""
    types, kind = pa.types, array.type
    if hasattr(kind, "value_field"):  # lists of whichever kind
        return _read_lists(name, array, pa)
    if types.is_date(kind) or types.is_timestamp(kind):
        return _read_times(name, array, pa)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _text_column(name, array.dictionary_encode(), labelled=False)
    if types.is_dictionary(kind):
        if types.is_string(kind.value_type) or types.is_large_string(kind.value_type):
            return _text_column(name, array, labelled=True)
        column = _read_arrow(name, array.cast(kind.value_type), pa)
        return replace(column, labelled=True) if isinstance(column, Column) else column
    if types.is_null(kind):
        return Column(name, "nothing", np.zeros(len(array), bool), np.ones(len(array), bool))
    if types.is_floating(kind) or types.is_decimal(kind):
        return read_column(name, _to_numpy(array.cast(pa.float64())))
    missing = _to_numpy(array.is_null())
    if types.is_boolean(kind):
        return Column(name, "booleans", _to_numpy(array.fill_null(False)), missing)
    if types.is_integer(kind):
        return integer_column(name, _to_numpy(array.fill_null(0)), missing)
    raise refusal(name, str(kind))


def _read_lists(name: str, array: Any, pa: Any) -> ListColumn:
    """A column of lists; what a null covers is no member."""
    from pyarrow import compute

    if array.null_count:
        array = array.cast(pa.list_(array.type.value_type)) if pa.types.is_fixed_size_list(array.type) else array
    lengths = _to_numpy(compute.list_value_length(array).fill_null(0)).astype(np.int64)
    return nest(name, _read_arrow(name, compute.list_flatten(array), pa), lengths)


def _read_times(name: str, array: Any, pa: Any) -> Column:
    """A column of dates or times, in the wall time of its zone."""
    from pyarrow import compute

    missing = _to_numpy(array.is_null())
    if pa.types.is_date(array.type):
        array = array.cast(pa.date32()).cast(pa.int32())
        return Column(name, "times", _to_numpy(array.fill_null(0)).astype(np.int64) * 86_400, missing)
    offset = OFFSET.fullmatch(array.type.tz or "")
    if array.type.tz and not offset:
        array = compute.local_timestamp(array)
    ticks = _to_numpy(array.cast(pa.int64()).fill_null(0))
    seconds = ticks.astype(f"M8[{array.type.unit}]").astype("M8[s]").astype(np.int64)
    if offset:
        sign, hours, minutes = offset.groups()
        seconds += (int(hours) * 60 + int(minutes)) * 60 * (-1 if sign == "-" else 1)
    return Column(name, "times", seconds, missing)


def _text_column(name: str, array: Any, labelled: bool) -> Column:
    """Strings from a dictionary array; its dictionary may hold doubles, nulls, and what no row uses."""
    if hasattr(array, "combine_chunks"):
        array = array.unify_dictionaries().combine_chunks()
    if hasattr(array, "chunks"):  # some versions keep a single chunk
        array = array.chunk(0)
    numbers: dict[str, int] = {}
    listed = array.dictionary.to_pylist()
    lookup = [-1 if category is None else numbers.setdefault(category, len(numbers)) for category in listed]
    positions = _to_numpy(array.indices.fill_null(len(listed)).cast("int64"))
    codes = np.array([*lookup, -1], np.int32)[positions]
    return Column(name, "strings", codes, codes < 0, list(numbers), labelled)


def _to_numpy(array: Any) -> Array:
    if hasattr(array, "combine_chunks"):
        return np.asarray(array.to_numpy())
    return np.asarray(array.to_numpy(zero_copy_only=False))
