"""What all kinds of fields have in common, and what becomes of a column in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwfm_gpu.columns import Column
from fwfm_gpu.list_columns import ListColumn
from fwfm_gpu.matrix_reader import places, starts
from fwfm_gpu.parameters import Array

__all__ = ["NOTHING", "Encoded", "EncodedLists", "FieldKind"]

NOTHING = -1  # no feature at all


@dataclass(frozen=True, eq=False)
class Encoded:
    """A column as numbers of features inside its field, at most one in each slot of a row.

    Attributes
    ----------
    features : list of (rows,) int32
        NOTHING where a row has none. In one row they ascend.
    values : list of (rows,) float64 or None
        None where every value is 1.
    unseen : (rows,) bool or None
        Where a value was not seen in fit; None when there is no such row.
    """

    features: list[Array]
    values: list[Array | None]
    unseen: Array | None = None


@dataclass(frozen=True, eq=False)
class EncodedLists:
    """A column as numbers of features inside its field, any number of them in a row.

    Attributes
    ----------
    starts : (rows + 1,) int64
        Where the features of each row begin.
    features : (n,) int64
        In one row they ascend.
    values : (n,) float64 or None
    unseen : (rows,) bool or None
        Where a row held a value that was not seen in fit; None when there is no such row.
    """

    starts: Array
    features: Array
    values: Array | None
    unseen: Array | None = None

    def take(self, rows: Array) -> EncodedLists:
        """Those rows, in that order, whatever is unseen in them."""
        lengths = np.diff(self.starts)[rows]
        old = places(self.starts[rows], lengths)
        return EncodedLists(starts(lengths), self.features[old], None if self.values is None else self.values[old])


class FieldKind:
    """A field that reads the column of its own name, as it stands there."""

    name: str
    format: ClassVar[int] = 1  # of a description that can hold it

    @property
    def learns_values(self) -> bool:
        """Whether a value may be unknown that is not missing."""
        return False

    @property
    def has_rare(self) -> bool:
        """Whether it has a feature for values that are rare."""
        return False

    @property
    def weighted(self) -> bool:
        """Whether a feature's value may be other than 1."""
        return False

    @property
    def column(self) -> str:
        """The column that it reads."""
        return self.name

    def feature_names(self) -> list[str]:
        """The name of each feature."""
        raise NotImplementedError

    def name_feature(self, feature: int) -> str:
        """The name of one feature."""
        return self.feature_names()[feature]

    def prepare(self, column: Any) -> Any:
        """The column as `encode` takes it; one that is not accepted is all missing."""
        if isinstance(column, ListColumn):
            return Column(column.name, "nothing", np.zeros(len(column.rows), bool), column.missing)
        return column

    def show_unseen(self, column: Any, row: int) -> str:
        """The value of a row that fit did not see, for a message."""
        shown: str = column.value(row)
        return shown
