"""A field whose rows hold several values: each is a feature of the field, once, however often it is listed."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from fwfm_gpu.category_field import CategoryField
from fwfm_gpu.field_kind import NOTHING, EncodedLists, FieldKind
from fwfm_gpu.hash_field import HashField
from fwfm_gpu.list_columns import ListColumn, distinct, split_strings
from fwfm_gpu.matrix_reader import first_true, starts
from fwfm_gpu.parameters import Array

__all__ = ["ListField"]


@dataclass(frozen=True, eq=False)
class ListField(FieldKind):
    """A multi-valued column.

    Attributes
    ----------
    members : CategoryField or HashField
        What a member is; its missing rows are those without a member.
    separator : str, optional
        What strings are cut at.
    mean : bool
        Whether a feature's value is 1 / count, the count being that of the row's features in this field; else it is 1.
    n_members : int
        Distinct members, of all rows of fit together.
    """

    members: CategoryField | HashField
    separator: str | None
    mean: bool
    n_members: int
    format: ClassVar[int] = 2
    n_slots: ClassVar[int] = 0  # its features stand between slots

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.members.name

    @property
    def kind(self) -> str:
        return f"multi-valued, {self.members.kind}"

    @property
    def family(self) -> str:
        return f"lists of {self.members.family}"

    @property
    def learns_values(self) -> bool:
        return self.members.learns_values

    @property
    def has_rare(self) -> bool:
        return self.members.has_rare

    @property
    def weighted(self) -> bool:
        return self.mean

    @property
    def distinct(self) -> int:
        return self.members.distinct

    @property
    def missing(self) -> int:
        return self.members.missing

    @property
    def n_rare(self) -> int:
        return self.members.n_rare

    @property
    def n_features(self) -> int:
        return self.members.n_features

    def feature_names(self) -> list[str]:
        """Those of its members."""
        return self.members.feature_names()

    def name_feature(self, feature: int) -> str:
        """That of a member."""
        return self.members.name_feature(feature)

    def accepts(self, column: Any) -> bool:
        """Lists of what fit saw; strings where there is a separator."""
        if isinstance(column, ListColumn):
            return self.members.accepts(column.members)
        return self.separator is not None and column.family == "strings"

    def prepare(self, column: Any) -> ListColumn:
        """The column as lists."""
        if isinstance(column, ListColumn):
            return column
        if column.missing.all():
            column = replace(column, categories=[])
        return split_strings(column, self.separator or "")

    def encode(self, column: ListColumn, unknown: str) -> EncodedLists:
        """The features of each row, each once."""
        n, found = self.n_features, self.members.encode(column.members, unknown)
        features, empty = found.features[0].astype(np.int64), np.diff(column.starts) == 0
        kept = features != NOTHING
        pairs = column.lists[kept] * n + features[kept]  # of a list and a feature
        if self.missing:
            pairs = np.concatenate((pairs, np.flatnonzero(empty) * n + self.members.missing_feature))
        if not (pairs[1:] > pairs[:-1]).all():
            pairs = distinct(pairs)
        lengths = np.bincount(pairs // n, minlength=column.n_lists)
        values = np.repeat(1 / np.maximum(lengths, 1), lengths) if self.mean else None
        strange = np.zeros(column.n_lists, bool) if self.missing else empty
        if found.unseen is not None:
            strange = strange | (np.bincount(column.lists[found.unseen], minlength=column.n_lists) > 0)
        unseen = strange[column.rows]
        encoded = EncodedLists(starts(lengths), pairs % n, values).take(column.rows)
        return replace(encoded, unseen=unseen if unseen.any() else None)

    def show_unseen(self, column: ListColumn, row: int) -> str:
        """The member that fit did not see."""
        members = column.members_of(row)
        unseen = self.members.encode(members, "error").unseen
        return members.value(first_true(unseen)) if unseen is not None else column.value(row)

    def arrays(self) -> dict[str, Array]:
        """What a file keeps as arrays."""
        return self.members.arrays()

    def document(self) -> dict[str, Any]:
        """What a file keeps as JSON."""
        return {
            "kind": "multi-valued",
            "separator": self.separator,
            "mean": self.mean,
            "n_members": self.n_members,
            "of": self.members.document(),
        }

    @classmethod
    def restore(cls, members: Any, document: dict[str, Any]) -> ListField:
        """The field of such members that `document` described; ValueError, KeyError or TypeError if it is no such."""
        separator, mean, n_members = document["separator"], document["mean"], operator.index(document["n_members"])
        if not isinstance(members, (CategoryField, HashField)) or not isinstance(mean, bool) or n_members < 0:
            raise ValueError("parts of a field that do not fit together")
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise ValueError(f"a separator {separator!r}")
        return cls(members, separator, mean, n_members)
