"""What `fwfm-gpu train` remarks on columns that were probably meant otherwise than they were taken."""

from __future__ import annotations

import re
import sys
from typing import Any

from fwfm_gpu.cli_output import say
from fwfm_gpu.encoding import FieldEncoder

__all__ = ["remark_columns"]

MANY, MANY_IDS = 1000, 50  # different integers of any column, and of one that is called an id
ID = re.compile(r"(^|_)ids?$|[a-z]I[dD]s?$", re.ASCII)
SEPARATORS = "|;,"
LOOKED_AT = 10_000  # rows, for separators


def remark_columns(table: Any, encoder: FieldEncoder) -> None:
    """A line on standard error for ids taken as numbers, for lists in one cell, and for a column without a name.

    Parameters
    ----------
    table : pyarrow.Table
        What was learned from.
    encoder : FieldEncoder, fitted to it
    """
    kinds = {field.column: field.kind for field in encoder.fields}
    asked = {name for names in encoder.named.values() for name in names}
    taken = {name: table.column(name) for name in kinds if name in table.column_names and name not in asked}
    ids = [name for name, column in taken.items() if kinds[name] == "numeric" and looks_like_ids(name, column)]
    if ids:
        say(
            f"fwfm-gpu: {listed(ids, 'hold')} many different integers, taken as numbers: if they are ids, say "
            f"--categorical {','.join(ids)} or --hashed {','.join(ids)}, else --numeric {','.join(ids)}",
            to=sys.stderr,
        )
    found = {name: separator_in(column) for name, column in taken.items() if kinds[name] == "categorical"}
    cut = {name: separator for name, separator in found.items() if separator}
    if cut:
        flags = ",".join(f"{name}={separator}" for name, separator in cut.items())
        say(
            f"fwfm-gpu: {listed(list(cut), 'seem')} to hold several values in a cell, taken as one: --multi '{flags}' "
            "cuts them",
            to=sys.stderr,
        )
    if "" in kinds:
        say(
            "fwfm-gpu: a column without a name is learned from: row numbers that were written along? Name the others "
            "with --columns, or write the file without it",
            to=sys.stderr,
        )


def listed(names: list[str], verb: str) -> str:
    """``'a', 'b' hold``, ``'a' holds``."""
    return f"{', '.join(map(repr, names))} {verb}{'s' if len(names) == 1 else ''}"


def looks_like_ids(name: str, column: Any) -> bool:
    """Whether there are many different integers."""
    if not str(column.type).startswith(("int", "uint")):
        return False
    return len(column.unique()) >= (MANY_IDS if ID.search(name) else MANY)


def separator_in(column: Any) -> str | None:
    """What half of the cells hold, when it cuts them to fewer different parts than there are cells' values."""
    if str(column.type) not in ("string", "large_string"):
        return None
    cells = [cell for cell in column[:LOOKED_AT].to_pylist() if cell]
    for separator in SEPARATORS:
        if 2 * sum(separator in cell for cell in cells) > len(cells):
            parts = {part for cell in cells for part in cell.split(separator)}
            return separator if len(parts) < len(set(cells)) else None
    return None
