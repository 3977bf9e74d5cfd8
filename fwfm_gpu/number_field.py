"""A field of numbers: quantile bins that survive skew, one standardised feature, or both."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fwfm_gpu.columns import Column
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_kind import NOTHING, Encoded, FieldKind
from fwfm_gpu.matrix_reader import first_true
from fwfm_gpu.parameters import Array

__all__ = ["Cuts", "NumberField", "Scale", "check_exact", "cut", "fit_numbers", "standardise"]

ALL_DIGITS = 17  # of a float64
MOST_EXACT = 2**53  # float64 tells all integers up to it apart


@dataclass(frozen=True, eq=False)
class Cuts:
    """A partition of the numbers into bins, one after another.

    Points 0, 0 and 5, the second with `after`, make the bins x < 0, x=0, x in (0, 5) and x >= 5.

    Attributes
    ----------
    points : (bins - 1,) float64
        Ascending.
    after : (bins - 1,) bool
        Whether a point belongs to the bin before it, not to the one that it begins.
    """

    points: Array
    after: Array

    @property
    def n_bins(self) -> int:
        return len(self.points) + 1

    @cached_property
    def edges(self) -> Array:
        """The smallest number of each bin but the first, (bins - 1,) float64."""
        with np.errstate(over="ignore"):  # of the largest number, which is no peak before others
            return np.where(self.after, np.nextafter(self.points, np.inf), self.points)

    def find(self, values: Array) -> Array:
        """The bin of each value, (rows,) int32."""
        return np.searchsorted(self.edges, values, side="right").astype(np.int32)

    def names(self, name: str) -> list[str]:
        """``age < 25``, ``age in [25, 28)``, ``age >= 60``, and ``age=0`` for a value alone."""
        if not len(self.points):
            return [f"{name} any"]
        ends = list(zip(show_apart(self.points.tolist()), self.after.tolist(), strict=True))
        (low, low_after), (high, high_after) = ends[0], ends[-1]
        inner = [_name_between(name, *pair) for pair in pairwise(ends)]
        return [f"{name} {'<=' if low_after else '<'} {low}", *inner, f"{name} {'>' if high_after else '>='} {high}"]


@dataclass(frozen=True)
class Scale:
    """Standardising: ``(x - center) / spread``."""

    center: float
    spread: float

    def apply(self, values: Array) -> Array:
        """(rows,) float64; infinite where it overflows."""
        with np.errstate(over="ignore"):
            return (values - self.center) / self.spread


@dataclass(frozen=True, eq=False)
class NumberField(FieldKind):
    """A column whose values are amounts.

    Attributes
    ----------
    name : str
    distinct : int
    missing : int
        Rows of fit without a value.
    cuts : Cuts, optional
    scale : Scale, optional
        At least one of both is there.
    """

    name: str
    distinct: int
    missing: int
    cuts: Cuts | None
    scale: Scale | None
    kind: ClassVar[str] = "numeric"
    family: ClassVar[str] = "numbers"
    n_rare: ClassVar[int] = 0

    @property
    def n_slots(self) -> int:
        """Features that a row can have at most."""
        return (self.cuts is not None) + (self.scale is not None)

    @property
    def weighted(self) -> bool:
        return self.scale is not None

    @property
    def n_bins(self) -> int:
        return 0 if self.cuts is None else self.cuts.n_bins

    @property
    def missing_feature(self) -> int:
        return self.n_features - 1 if self.missing else NOTHING

    @property
    def n_features(self) -> int:
        return self.n_bins + (self.scale is not None) + (self.missing > 0)

    def feature_names(self) -> list[str]:
        """The bins, ``age (standardised)``, ``age missing``."""
        names = [] if self.cuts is None else self.cuts.names(self.name)
        names += [f"{self.name} (standardised)"] * (self.scale is not None)
        return names + [f"{self.name} missing"] * (self.missing > 0)

    def accepts(self, column: Any) -> bool:
        """Whether the column holds what fit saw."""
        return bool(column.family == self.family)

    def encode(self, column: Column, unknown: str) -> Encoded:
        """The features of each row: a bin, a standardised value. Nothing is unknown but what is missing."""
        numbers = np.where(column.missing, 0.0, column.values)
        missing = column.missing if column.missing.any() else None
        encoded = Encoded([], [], None if self.missing else missing)
        if self.cuts is not None:
            encoded.features.append(self.cuts.find(numbers))
            encoded.values.append(None)
        if self.scale is not None:
            encoded.features.append(np.full(len(numbers), self.n_bins, np.int32))
            encoded.values.append(self._standardised(numbers))
        if missing is not None:
            for features in encoded.features:
                features[missing] = NOTHING
            encoded.features[0][missing] = self.missing_feature
            if encoded.values[0] is not None:
                encoded.values[0][missing] = 1.0
        return encoded

    def _standardised(self, numbers: Array) -> Array:
        assert self.scale is not None
        values = self.scale.apply(numbers)
        if not np.isfinite(values).all():
            row = first_true(~np.isfinite(values))
            raise InputError(
                f"column {self.name!r} must be finite after it is standardised: got {numbers[row].item()!r} at row "
                f"{row}, {self.scale}. Remove or scale such values, or encode the column as bins."
            )
        return values

    def arrays(self) -> dict[str, Array]:
        """What a file keeps as arrays."""
        return {} if self.cuts is None else {"points": self.cuts.points, "after": self.cuts.after}

    def document(self) -> dict[str, Any]:
        """What a file keeps as JSON."""
        scale = None if self.scale is None else [self.scale.center, self.scale.spread]
        return {
            "kind": self.kind,
            "name": self.name,
            "distinct": self.distinct,
            "missing": self.missing,
            "scale": scale,
        }

    @classmethod
    def restore(cls, arrays: dict[str, Array], document: dict[str, Any]) -> NumberField:
        """The field that `arrays` and `document` described; ValueError, KeyError or TypeError if they are no such."""
        scale = None if document["scale"] is None else Scale(*map(float, document["scale"]))
        cuts = Cuts(arrays["points"], arrays["after"]) if "points" in arrays else None
        if cuts is not None and (cuts.points.ndim != 1 or cuts.points.dtype != np.float64 or cuts.after.dtype != bool):
            raise ValueError("cuts of another dtype")
        if cuts is not None and not (np.isfinite(cuts.points).all() and (cuts.edges[1:] > cuts.edges[:-1]).all()):
            raise ValueError("cuts that are not finite or do not ascend")
        counts = [operator.index(document[key]) for key in ("distinct", "missing")]
        if min(counts) < 0 or (cuts is None and scale is None):
            raise ValueError("parts of a field that do not fit together")
        return cls(str(document["name"]), counts[0], counts[1], cuts, scale)


def check_exact(column: Column, values: Array) -> None:
    """Refuse integers that float64 would round; ``values`` ascend."""
    if column.kind == "integers" and (values[-1] > MOST_EXACT or values[0] < -MOST_EXACT):
        row = first_true(~column.missing & ((column.values > MOST_EXACT) | (column.values < -MOST_EXACT)))
        raise InputError(
            f"column {column.name!r} must hold integers up to 2**53 in size to be taken as numeric: got "
            f"{column.value(row)} at row {row}. These look like identifiers: name the column in categorical, or in "
            "numeric where they are amounts and may be rounded to float64."
        )


def fit_numbers(
    column: Column, present: tuple[Array, Array], numeric_as: str, bins: int, min_count: int
) -> NumberField:
    """Cut and scale a column of numbers, given its distinct values and their counts."""
    values, counts = _rounded(*present)
    return NumberField(
        column.name,
        len(values),
        int(np.count_nonzero(column.missing)),
        None if numeric_as == "value" else cut(values, counts, bins, min_count),
        None if numeric_as == "bins" else standardise(values, counts),
    )


def _rounded(values: Array, counts: Array) -> tuple[Array, Array]:
    """Ascending values as float64, where large integers may become equal: merged, with the sums of their counts."""
    values = values.astype(np.float64)
    firsts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return values[firsts], np.add.reduceat(counts, firsts)


def cut(values: Array, counts: Array, bins: int, min_count: int) -> Cuts:
    """Bins of about equal counts, beside a bin for each peak.

    A peak is a value that holds more than one bin's share of the rows; and of the rows that are left without the
    peaks found so far, until there is none. The rest is cut at its quantiles, and by the peaks that lie within.
    Quantiles are never so many that fewer than min_count rows fall between two of them on average.

    Parameters
    ----------
    values : (distinct,) float64
        Ascending.
    counts : (distinct,) int64
    bins, min_count : int
    """
    peak = find_peaks(counts, bins, min_count)
    begins = peak.copy()
    begins[1:] |= peak[:-1]
    rest = np.flatnonzero(~peak)
    begins[rest[_quantiles(counts[rest], bins, min_count)]] = True
    starts = np.flatnonzero(begins[1:]) + 1  # below all values, the first bin is open
    after = peak[starts - 1] & ~peak[starts]  # what lies between a peak and the rest is of the rest
    return Cuts(np.where(after, values[starts - 1], values[starts]), after)


def find_peaks(counts: Array, bins: int, min_count: int) -> Array:
    """Which values hold more than one bin's share of the rows that no larger peak holds, (distinct,) bool."""
    falling = np.sort(counts)[::-1]
    left = np.cumsum(falling[::-1])[::-1]  # rows of this value and of all smaller counts
    high = falling * _parts(left, bins, min_count) > left
    n_peaks = len(high) if high.all() else first_true(~high)
    return counts >= falling[n_peaks - 1] if n_peaks else np.zeros(len(counts), bool)


def _quantiles(counts: Array, bins: int, min_count: int) -> Array:
    """The positions at which all but the first of the ranges of about equal counts begin."""
    rows = counts.sum()
    parts = int(_parts(rows, bins, min_count))
    below = np.cumsum(counts) - counts
    starts: Array = np.searchsorted(below, np.arange(1, parts) * rows // parts)
    return starts[starts < len(counts)]


def _parts(rows: Array, bins: int, min_count: int) -> Array:
    """Into how many ranges so many rows are cut."""
    parts: Array = np.clip(rows // min_count, 1, bins)
    return parts


def _name_between(name: str, low: tuple[str, bool], high: tuple[str, bool]) -> str:
    if low[0] == high[0]:
        return f"{name}={low[0]}"
    return f"{name} in {'(' if low[1] else '['}{low[0]}, {high[0]}{']' if high[1] else ')'}"


def standardise(values: Array, counts: Array) -> Scale:
    """Mean and standard deviation over the rows, by exact sums: the same bits on every machine."""
    largest = float(np.abs(values).max()) or 1.0
    scaled, rows = values / largest, int(counts.sum())  # so that no square overflows
    mean = math.fsum(scaled * counts) / rows
    deviation = math.sqrt(math.fsum((scaled - mean) ** 2 * counts) / rows)
    return Scale(mean * largest, (deviation * largest) or 1.0)


def show_apart(numbers: list[float]) -> list[str]:
    """Ascending numbers by the fewest digits, from 3 on, that tell those apart which differ."""
    differ = [low < high for low, high in pairwise(numbers)]
    for digits in range(3, ALL_DIGITS):
        texts = [_show_rounded(number, digits) for number in numbers]
        if [float(low) < float(high) for low, high in pairwise(texts)] == differ:
            return texts
    return [show(number) for number in numbers]


def _show_rounded(number: float, digits: int) -> str:
    """Whole numbers and whole parts stay as they are; what is rounded keeps its zeros, -7.00 for -6.996."""
    if number.is_integer():
        return show(number)
    text = f"{number:#.{max(digits, len(str(abs(int(number)))))}g}".rstrip(".")
    return show(float(text)) if float(text) == number or "e+" in text else text


def show(number: float) -> str:
    """The shortest text that reads back as the number, without ``.0``."""
    return repr(float(number)).removesuffix(".0")
