"""A field of categories: one feature per category seen often enough, one for the rare, one for the missing."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fwfm_gpu.columns import Column
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_kind import NOTHING, Encoded, FieldKind
from fwfm_gpu.list_columns import ListColumn, distinct
from fwfm_gpu.matrix_reader import first_true
from fwfm_gpu.parameters import Array

__all__ = ["CategoryField", "check_unicode", "count_members", "count_values", "fit_categories", "present_values"]


@dataclass(frozen=True, eq=False)
class CategoryField(FieldKind):
    """A column whose values are names.

    Attributes
    ----------
    name : str
    family : str
        ``"strings"``, ``"numbers"`` or ``"booleans"``.
    vocabulary : (distinct,) object (str), int64, float64 or bool
        All that fit saw, ascending.
    rare : (distinct,) bool
        Seen too seldom for a feature of its own.
    missing : int
        Rows of fit without a value.
    keeps_rare : bool
        Whether there is a rare feature although no category may be rare any more: one that was rare grew frequent.
    """

    name: str
    family: str
    vocabulary: Array
    rare: Array
    missing: int
    keeps_rare: bool = False
    kind: ClassVar[str] = "categorical"
    n_slots: ClassVar[int] = 1  # features that a row can have at most

    @property
    def learns_values(self) -> bool:
        return True

    @property
    def distinct(self) -> int:
        return len(self.vocabulary)

    @property
    def n_rare(self) -> int:
        return int(np.count_nonzero(self.rare))

    @property
    def rare_feature(self) -> int:
        """Its number, or NOTHING where fit saw no rare category: what was never trained contributes nothing."""
        return self.distinct - self.n_rare if self.has_rare else NOTHING

    @property
    def has_rare(self) -> bool:
        """Whether there is a rare feature."""
        return self.keeps_rare or self.n_rare > 0

    @property
    def missing_feature(self) -> int:
        return self.n_features - 1 if self.missing else NOTHING

    @property
    def n_features(self) -> int:
        return self.distinct - self.n_rare + self.has_rare + (self.missing > 0)

    @cached_property
    def features(self) -> Array:
        """The feature of each category, (distinct,) int32."""
        frequent = np.cumsum(~self.rare, dtype=np.int32) - 1
        return np.where(self.rare, np.int32(self.rare_feature), frequent).astype(np.int32)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each string stands in the vocabulary."""
        return {category: i for i, category in enumerate(self.vocabulary.tolist())}

    def feature_names(self) -> list[str]:
        """``education=Masters``, ``education rare``, ``education missing``."""
        names = [f"{self.name}={category}" for category in self.vocabulary[~self.rare].tolist()]
        names += [f"{self.name} rare"] * self.has_rare
        return names + [f"{self.name} missing"] * (self.missing > 0)

    def accepts(self, column: Any) -> bool:
        """Whether the column holds what fit saw."""
        return bool(column.family == self.family)

    def encode(self, column: Column, unknown: str) -> Encoded:
        """The feature of each row; ``unknown`` says what becomes of values that fit did not see."""
        other = self.rare_feature if unknown == "learned" else NOTHING
        lookup = np.concatenate((self.features, np.array([other, self.missing_feature], np.int32)))
        unseen, missing = self.distinct, self.distinct + 1
        positions = self._find(column)  # in the vocabulary; unseen and missing follow its end
        strange = positions == (unseen if self.missing else missing)
        if not self.missing:
            strange |= positions == unseen
        return Encoded([lookup[positions]], [None], strange if strange.any() else None)

    def _find(self, column: Column) -> Array:
        """The position of each value in the vocabulary, one past its end if unseen, two if missing."""
        unseen, missing = self.distinct, self.distinct + 1
        if column.missing.all():
            return np.full(len(column.missing), missing, np.int64)
        if column.categories is not None:
            found = [self.positions.get(category, unseen) for category in column.categories]
            return np.array([*found, missing])[column.values]  # -1, the missing, is the last
        vocabulary, values = self.vocabulary, column.values
        if vocabulary.dtype != values.dtype:  # integers against floats
            vocabulary, values = vocabulary.astype(np.float64), values.astype(np.float64)
        positions = np.searchsorted(vocabulary, values)
        positions[positions == unseen] = 0
        positions[vocabulary[positions] != values] = unseen
        positions[column.missing] = missing
        return positions

    def arrays(self) -> dict[str, Array]:
        """What a file keeps as arrays."""
        return {"vocabulary": self.vocabulary, "rare": self.rare}

    def document(self) -> dict[str, Any]:
        """What a file keeps as JSON."""
        document = {"kind": self.kind, "name": self.name, "family": self.family, "missing": self.missing}
        return document | ({"keeps_rare": True} if self.keeps_rare else {})

    @classmethod
    def restore(cls, arrays: dict[str, Array], document: dict[str, Any]) -> CategoryField:
        """The field that `arrays` and `document` described; ValueError, KeyError or TypeError if they are no such."""
        name, family = str(document["name"]), document["family"]
        vocabulary, rare, missing = arrays["vocabulary"], arrays["rare"], operator.index(document["missing"])
        if vocabulary.dtype.kind not in {"strings": "O", "numbers": "if", "booleans": "b"}[family]:
            raise ValueError(f"a vocabulary of {vocabulary.dtype} in a field of {family}")
        if rare.dtype != bool or rare.shape != (vocabulary.size,) or missing < 0:
            raise ValueError("parts of a field that do not fit together")
        listed = vocabulary.tolist()
        if not listed or not all(low < high for low, high in pairwise(listed)):
            raise ValueError("a vocabulary that is empty or does not ascend")
        return cls(name, family, vocabulary, rare, missing, document.get("keeps_rare", False) is True)


def fit_categories(column: Column, present: tuple[Array, Array], min_count: int) -> CategoryField:
    """Number the categories of a column in sorted order; those in fewer rows than min_count are rare."""
    vocabulary, counts = present
    return CategoryField(
        column.name, column.family, vocabulary, counts < min_count, int(np.count_nonzero(column.missing))
    )


def present_values(column: Column | ListColumn) -> tuple[Array, Array]:
    """The distinct values in ascending order, and in how many rows each is found."""
    values, counts = count_values(column) if isinstance(column, Column) else count_members(column)
    if values.dtype != object:
        return values, counts
    order = np.array(sorted(range(len(values)), key=values.tolist().__getitem__), np.int64)
    return values[order], counts[order]


def count_values(column: Column) -> tuple[Array, Array]:
    """The distinct values in an order that may be any for strings, and in how many rows each is found."""
    values = column.values[~column.missing]
    if column.categories is None:
        distinct, counts = np.unique(values, return_counts=True)
        return _without_sign(distinct), counts
    return _found_strings(column, np.bincount(values, minlength=len(column.categories)))


def count_members(column: ListColumn) -> tuple[Array, Array]:
    """`count_values` of the members of lists: in how many rows each is found, however often in one."""
    members = column.members
    numbers, values = members.values.astype(np.int64), members.values[:0]
    if members.categories is None:
        values, numbers = np.unique(members.values, return_inverse=True)
    width = max(len(values if members.categories is None else members.categories), 1)
    pairs = distinct(column.lists * width + numbers)  # of a list and a member
    rows = np.bincount(column.rows, minlength=column.n_lists)[pairs // width]
    counts = np.bincount(pairs % width, weights=rows, minlength=width).astype(np.int64)
    if members.categories is not None:
        return _found_strings(members, counts)
    return _without_sign(values)[counts > 0], counts[counts > 0]


def _found_strings(column: Column, counts: Array) -> tuple[Array, Array]:
    """The strings that are found somewhere, checked."""
    found = np.flatnonzero(counts)
    strings = [(column.categories or [])[i] for i in found.tolist()]
    check_unicode(column.name, strings)
    return np.array([*strings, None], dtype=object)[:-1], counts[found]


def _without_sign(values: Array) -> Array:
    """-0 as 0, whichever row comes first."""
    return values + 0.0 if values.dtype.kind == "f" else values


def check_unicode(name: str, strings: list[str]) -> None:
    """Refuse now what no file could hold later."""
    try:
        "".join(strings).encode()
    except UnicodeEncodeError:
        bad = np.array([not string.isascii() and _broken(string) for string in strings])
        raise InputError(
            f"column {name!r} must hold valid Unicode: got {strings[first_true(bad)]!r}. "
            "Decode it again with the right encoding, or replace the broken character."
        ) from None


def _broken(string: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in string)
