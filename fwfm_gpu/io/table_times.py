"""Which columns of a table hold dates or times, and whether these have a time of day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from fwfm_gpu.date_columns import DAY
from fwfm_gpu.io.tables import open_table

__all__ = ["find_times"]


def find_times(columns: Collection[str], read: Callable[[Collection[str]], Iterable[Any]]) -> dict[str, bool]:
    """The columns that hold dates or times, in the order of the table.

    Parameters
    ----------
    columns : collection of str
        Those that are looked at.
    read : function of column names
        Gives these columns from their first row, as one pyarrow table or several. What it gives is read no further
        than the answer needs.

    Returns
    -------
    dict of str to bool
        Whether any row of the column has another time than midnight.
    """
    import pyarrow

    first = next(iter(read(columns)), None)
    if first is None:
        return {}
    found = {
        name: False
        for name, kind in zip(first.column_names, first.schema.types, strict=True)
        if pyarrow.types.is_date(kind) or pyarrow.types.is_timestamp(kind)
    }
    left = {name for name in found if not pyarrow.types.is_date(first.schema.field(name).type)}
    for table in read(frozenset(left)) if left else ():
        opened = open_table(table)
        for name in [name for name in opened.names if name in left]:
            column: Any = opened.read(name)
            if np.any(column.values[~column.missing] % DAY):
                found[name] = True
                left.remove(name)
        if not left:
            break
    return found
