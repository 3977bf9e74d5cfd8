"""Columns whose rows hold several values: lists, or strings that a separator cuts."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fwfm_gpu.matrix_reader import starts
from fwfm_gpu.parameters import Array

if TYPE_CHECKING:
    from fwfm_gpu.columns import Column

__all__ = ["ListColumn", "distinct", "make_lists", "split_strings"]


@dataclass(frozen=True, eq=False)
class ListColumn:
    """A column of lists.

    Strings repeat, and so do the lists that they are cut into: each list stands here once, and rows point at it.

    Attributes
    ----------
    name : str
    members : Column
        Of all lists, one after another; none of them is missing.
    starts : (lists + 1,) int64
        Where each list begins.
    rows : (rows,) int64
        The list of each row.
    """

    name: str
    members: Column
    starts: Array
    rows: Array
    kind: ClassVar[str] = "lists"

    @property
    def n_lists(self) -> int:
        return len(self.starts) - 1

    @property
    def family(self) -> str:
        return f"lists of {self.members.family}"

    @cached_property
    def missing(self) -> Array:
        """Which rows hold no value: those without a list, and those whose list is empty, (rows,) bool."""
        empty: Array = (self.starts[1:] == self.starts[:-1])[self.rows]
        return empty

    @cached_property
    def lists(self) -> Array:
        """The list of each member, (members,) int64."""
        return np.repeat(np.arange(self.n_lists), np.diff(self.starts))

    def members_of(self, row: int) -> Column:
        """The members of one row."""
        one = slice(*self.starts[self.rows[row] : self.rows[row] + 2].tolist())
        return replace(self.members, values=self.members.values[one], missing=self.members.missing[one])

    def value(self, row: int) -> str:
        """What stands there, for a message."""
        if self.missing[row]:
            return "a missing value"
        members = self.members_of(row)
        listed = members.values.tolist()
        return reprlib.repr([members.categories[i] for i in listed] if members.categories is not None else listed)


def make_lists(name: str, members: Column, lengths: Array) -> ListColumn:
    """A list for each row, given its length; members that are missing are left out.

    Parameters
    ----------
    name : str
    members : Column
    lengths : (rows,) integers
    """
    begin = starts(lengths)
    if members.missing.any():
        kept = ~members.missing
        begin = starts(kept)[begin]
        members = replace(members, values=members.values[kept], missing=members.missing[kept])
    return ListColumn(name, members, begin, np.arange(len(lengths)))


def split_strings(column: Column, separator: str) -> ListColumn:
    """A column of strings as lists of the parts that are not empty; nothing else is stripped from them."""
    parts = [[part for part in string.split(separator) if part] for string in column.categories or ()]
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(part, len(numbers)) for listed in parts for part in listed]
    members = replace(
        column,
        values=np.array(codes, np.int32),
        missing=np.zeros(len(codes), bool),
        categories=list(numbers),
        labelled=False,
    )
    lengths = np.array([*map(len, parts), 0])  # the last list is that of the rows that miss it
    return ListColumn(column.name, members, starts(lengths), np.where(column.missing, len(parts), column.values))


def distinct(numbers: Array) -> Array:
    """Each of the numbers once, ascending. np.unique hashes, and takes many times as long."""
    rising = np.sort(numbers)
    return rising[np.concatenate(([True], rising[1:] != rising[:-1]))] if len(rising) else rising
