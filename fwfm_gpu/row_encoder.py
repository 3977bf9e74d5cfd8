"""One row of a table at a time: what an encoder makes of it, by look-ups prepared once."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from math import isfinite
from typing import Any

import numpy as np

from fwfm_gpu.category_field import CategoryField
from fwfm_gpu.columns import is_missing
from fwfm_gpu.date_columns import parse_time, part_of
from fwfm_gpu.date_field import DateField
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_choice import Field
from fwfm_gpu.field_kind import NOTHING
from fwfm_gpu.hash_field import HashField, make_hash
from fwfm_gpu.list_field import ListField
from fwfm_gpu.number_field import MOST_EXACT, Cuts, Scale

__all__ = ["RowEncoder"]

NUMBERS = {int, float, np.int32, np.int64, np.float32, np.float64}
FLOATS = {float, np.float32, np.float64}
BOOLEANS = {bool, np.bool_}
DATES = {date, datetime}
KINDS = {"strings": str, "numbers": float, "booleans": bool}  # what is looked up, by a field's family
KIND_OF = {str: str, **dict.fromkeys(NUMBERS, float), **dict.fromkeys(BOOLEANS, bool)}
MOST_INTEGER = 2.0**63

Find = Callable[[Any], int]  # the feature of a value, or NOTHING; KeyError where it is for the encoder to say
FindAll = Callable[[Any], list[int]]  # the features of a list
Weigh = Callable[[Any], float]


class RowEncoder:
    """A row as ``FieldEncoder.transform`` encodes it, without a table.

    Values of Python's own types and NumPy's usual ones are looked up. A row that holds anything else, or that is to be
    refused, goes through the encoder itself.

    Parameters
    ----------
    encoder : FieldEncoder
        Fitted; a later fit does not reach this object.
    """

    def __init__(self, encoder: FieldEncoder) -> None:
        self.encoder = copy.copy(encoder)
        self.finders: list[tuple[str, Find | FindAll]] = []  # of each slot, and of each list
        self.weighers: list[tuple[int, str, Weigh]] = []  # of each slot whose value is not 1
        self.lists: list[tuple[int, bool]] = []  # which of the finders are of lists, and whether their values are means
        order = self.encoder.feature_order
        self.order: list[int] | None = None if order is None else order.tolist()
        first = 0
        for field in self.encoder.fields:
            if isinstance(field, ListField):
                self.lists.append((len(self.finders), field.mean))
                self.finders.append((field.column, find_members(field, first, encoder.unknown)))
            else:
                for find, weigh in make_slots(field, first, encoder.unknown):
                    if weigh is not None:
                        self.weighers.append((len(self.finders), field.column, weigh))
                    self.finders.append((field.column, find))
            first += field.n_features
        self.listed = {field.column for field in self.encoder.fields if isinstance(field, ListField)}
        self.weighted = any(field.weighted for field in self.encoder.fields)

    def encode(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        """The features and values of a row; values are None where all are 1.

        Parameters
        ----------
        row : mapping of a column's name to its value
            More columns than the encoder knows are ignored.

        Raises
        ------
        InputError, InputTypeError
            As ``FieldEncoder.transform`` does; or a column holds several values.
        """
        row = row if type(row) is dict else dict(row)  # other mappings may make up what they do not hold
        try:
            features: list[Any] = [find(row[name]) for name, find in self.finders]
            values = self._weigh(row) if self.weighted else None
        except (KeyError, TypeError, ValueError):  # a value that is not looked up, or that cannot be
            return self._transform(row)
        if self.lists:
            features, values = self._flatten(features, values)
        if NOTHING in features:
            kept = [i for i, feature in enumerate(features) if feature != NOTHING]
            features, values = [features[i] for i in kept], None if values is None else [values[i] for i in kept]
        return features if self.order is None else [self.order[i] for i in features], values

    def _weigh(self, row: Mapping[str, Any]) -> list[float]:
        """The value of each slot."""
        values = [1.0] * len(self.finders)
        for slot, name, weigh in self.weighers:
            values[slot] = weigh(row[name])
        return values

    def _flatten(self, found: list[Any], values: list[float] | None) -> tuple[list[int], list[float] | None]:
        """The features of lists between those of slots."""
        for slot, mean in reversed(self.lists):
            several = found[slot]
            found[slot : slot + 1] = several
            if values is not None:
                values[slot : slot + 1] = [1 / max(len(several), 1) if mean else 1.0] * len(several)
        return found, values

    def _transform(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        """The row as a table of one."""
        table = {name: [row[name]] for name in self.encoder.column_names if name in row}
        for name, (value,) in table.items():
            if name not in self.listed and isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value):
                raise InputError(
                    f"a row must hold one value per column: got {type(value).__name__} for column {name!r}. For a "
                    "table of many rows call the model's own methods."
                )
        rows = self.encoder.transform(table)
        return rows.indices, rows.values


def make_slots(field: Field, first: int, unknown: str) -> Iterator[tuple[Find, Weigh | None]]:
    """What finds the feature of each slot of a field, counted from ``first``, and what gives its value if not 1."""
    if isinstance(field, DateField):
        for find, weigh in make_slots(field.values, first, unknown):
            yield find_part(field.part, find), None if weigh is None else find_part(field.part, weigh)
        return
    assert not isinstance(field, ListField)  # which has no slots
    refuses = unknown == "error"
    missing = None if refuses and not field.missing else shift(field.missing_feature, first)
    if isinstance(field, CategoryField):
        other = shift(field.rare_feature if unknown == "learned" else NOTHING, first)
        yield find_category(field.family, Features(field, first, None if refuses else other, missing)), None
        return
    if isinstance(field, HashField):
        yield find_hashed(field, first, missing), None
        return
    if field.cuts is not None:
        yield find_bin(field.cuts, first, missing), None
        missing = NOTHING  # it stands in the first slot
    if field.scale is not None:
        yield find_scaled(first + field.n_bins, missing), weigh_scaled(field.scale)


def shift(feature: int, first: int) -> int:
    """A feature of a field as one of all."""
    return feature if feature == NOTHING else first + feature


class Features(dict[Any, int]):
    """The feature of each category of a field, and of what is none: None where that is to be refused."""

    def __init__(self, field: CategoryField, first: int, other: int | None, missing: int | None) -> None:
        super().__init__(zip(field.vocabulary.tolist(), (field.features + first).tolist(), strict=True))
        self.kind, self.other, self.missing = KINDS[field.family], other, missing

    def __missing__(self, value: Any) -> int:
        if type(value) is self.kind and self.other is not None:
            return self.other
        return find_missing(value, self.missing)


def find_missing(value: Any, feature: int | None) -> int:
    """The feature of missing values, of what may be one."""
    if feature is None or not is_missing(value):
        raise KeyError(value)
    return feature


def find_category(family: str, features: Features) -> Find:
    """A look-up. True equals 1, and 1 a Decimal: where categories are no strings, the type is looked at first."""
    if family == "strings":
        return features.__getitem__
    fits, kind = {"numbers": is_exact, "booleans": is_boolean}[family], KINDS[family]
    return lambda value: features[kind(value)] if fits(value) else find_missing(value, features.missing)


def find_hashed(field: HashField, first: int, missing: int | None) -> Find:
    """`fwfm_gpu.hash_field` of one value."""
    find, n_buckets = make_hash(field.seed), field.n_buckets

    def look_up(value: Any) -> int:
        kind = type(value)
        if kind is str:
            return first + find(value) % n_buckets
        if kind in BOOLEANS:
            return first + find("true" if value else "false") % n_buckets
        if is_number(value) and value == int(value) and (kind not in FLOATS or is_exact(value)):
            return first + find(str(int(value))) % n_buckets
        return find_missing(value, missing)

    return look_up


def find_part(part: str, find: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A look-up of a part of a date or time."""

    def look_up(value: Any) -> Any:
        if type(value) is str:
            value = parse_time(value)
        return find(part_of(value, part) if type(value) in DATES else check_missing(value))

    return look_up


def find_members(field: ListField, first: int, unknown: str) -> FindAll:
    """The features of a list, each once, ascending."""
    (look_up, _), *_ = make_slots(field.members, first, unknown)
    separator, hashed = field.separator, isinstance(field.members, HashField)

    def find(value: Any) -> list[int]:
        if type(value) is str and separator is not None:
            value = [part for part in value.split(separator) if part]
        elif type(value) not in (list, tuple):
            value = [check_missing(value)]
        members = [member for member in value if not is_missing(member)]
        if hashed and len({KIND_OF.get(type(member)) for member in members}) > 1:
            raise KeyError(members)  # whatever it is, a hash would be found
        features = {look_up(member) for member in members}
        if not features:
            features.add(look_up(None))
        features.discard(NOTHING)
        return sorted(features)

    return find


def check_missing(value: Any) -> Any:
    """The value, if it is missing."""
    if not is_missing(value):
        raise KeyError(value)
    return value


def find_bin(cuts: Cuts, first: int, missing: int | None) -> Find:
    """`Cuts.find` of one number."""
    edges = cuts.edges.tolist()
    return lambda value: first + bisect_right(edges, float(value)) if is_number(value) else find_missing(value, missing)


def find_scaled(feature: int, missing: int | None) -> Find:
    """The one feature of all numbers."""
    return lambda value: feature if is_number(value) else find_missing(value, missing)


def weigh_scaled(scale: Scale) -> Weigh:
    """`Scale.apply` of one number; a missing feature has the value 1."""

    def weigh(value: Any) -> float:
        weight = (float(value) - scale.center) / scale.spread if is_number(value) else 1.0
        if not isfinite(weight):
            raise KeyError(value)
        return weight

    return weigh


def is_number(value: Any) -> bool:
    """Whether it is a number of a usual type that an int64 or a float64 holds, finite."""
    return type(value) in NUMBERS and -MOST_INTEGER < value < MOST_INTEGER


def is_exact(value: Any) -> bool:
    """Whether, besides, it is the same number in float64 as no other integer is."""
    return type(value) in NUMBERS and -MOST_EXACT < value < MOST_EXACT


def is_boolean(value: Any) -> bool:
    """Whether it is True or False."""
    return type(value) in BOOLEANS
