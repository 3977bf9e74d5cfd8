"""One row at a time on NumPy; and how a row is read as it comes, the same for every engine."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fwfm_gpu.backends.numpy_resident import Data
from fwfm_gpu.backends.numpy_rows import ClassTheta, score_rows
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.matrix_reader import canonical, check_range, first_true, host_array, integers
from fwfm_gpu.numerics import sigmoid64
from fwfm_gpu.parameters import Array, Parameters
from fwfm_gpu.row_norms import normalize_row

__all__ = ["Given", "NumPyScorer", "make_canonical"]

TABLE_ENTRIES = 1 << 20  # of [factor, position, position]; a longer row is scored as a matrix of one row is
LISTED = (list, tuple)

Pack = Callable[..., None]


@lru_cache(maxsize=1024)
def packers(length: int) -> tuple[Pack, Pack]:
    """What writes so many integers, or floats, of a list into memory: several times faster than NumPy does."""
    return struct.Struct(f"{length}q").pack_into, struct.Struct(f"{length}d").pack_into


class Given:
    """Room for a row as it comes.

    Attributes
    ----------
    features : (length,) int64
    values : (length,) float64
    """

    def __init__(self, length: int) -> None:
        self.features, self.values = np.zeros(length, np.int64), np.zeros(length)
        self.memory = self.features.data, self.values.data

    def take(self, features: Any, values: Any) -> int:
        """Put a row in; without values all are 1. Returns how many items it has.

        Raises
        ------
        InputTypeError
            Features are no integers, or values no real numbers.
        InputError
            They are not 1-D, or not of one length.
        """
        z = len(features)
        pack_integers, pack_floats = packers(z)
        if not (type(features) in LISTED and packs(pack_integers, self.memory[0], features)):
            self.features[:z] = read_vector("features", integers("features", features), z)
        if values is None:
            self.values[:z] = 1
        elif not (type(values) in LISTED and packs(pack_floats, self.memory[1], values)):
            self.values[:z] = read_vector("values", real_numbers(values), z)
        return z


def packs(pack: Pack, memory: memoryview, numbers: Any) -> bool:
    """Write a list; False where it holds anything else than such numbers, or more or fewer."""
    try:
        pack(memory, 0, *numbers)
    except (struct.error, TypeError, OverflowError):
        return False
    return True


def real_numbers(values: Any) -> Array:
    """An array of real numbers."""
    array = host_array("values", values)
    if array.size and array.dtype.kind not in "biuf":
        raise InputTypeError(f"values must be real numbers, got {array.dtype}.")
    return array


def read_vector(what: str, array: Array, length: int) -> Array:
    """A vector of so many numbers, none beyond int64."""
    if array.shape != (length,):
        raise InputError(f"{what} must be 1-D, one per feature: expected shape ({length},), got {array.shape}.")
    if array.dtype == np.uint64:
        check_range(array, 2**63, lambda p: f"{what}[{p}]")
    return array


def make_canonical(features: Array, values: Array, n_features: int, T: Any) -> tuple[Array, Array]:
    """The row's features, ascending, and its values in T, none of them 0 (numerics 1).

    Raises
    ------
    InputError
        A feature that the model does not have; a value that is not finite, in T and after duplicates are summed.
    """
    check_range(features, n_features, lambda p: f"features[{p}]")
    if not np.all(features[1:] > features[:-1]):
        _, features, values = canonical(np.zeros(len(features), np.int64), features, values, 1)
    with np.errstate(over="ignore", under="ignore"):
        x = values.astype(T)
    finite = np.isfinite(x)
    if not finite.all():
        p = first_true(~finite)
        raise InputError(
            f"values must be finite, also after duplicates are summed, and fit {T}: got {values[p].item()!r} for "
            f"feature {features[p]}. Replace or scale such values first."
        )
    kept = x != 0
    return (features, x) if kept.all() else (features[kept], x[kept])


@dataclass(frozen=True)
class Row:
    """A canonical row and its table of pairs."""

    features: Array  # (z,)
    x: Array  # (z,) T
    slots_zz: Array  # (z, z) where r(a, b) stands in flat R
    above_zz: Array  # (z, z) bool: the pairs, a < b

    @classmethod
    def of(cls, features: Array, x: Array, fields: Array, n_fields: int) -> Row:
        """A row with the fields of its features."""
        fields, position = fields[features].astype(np.intp), np.arange(len(features))
        low, high = np.minimum(fields[:, None], fields), np.maximum(fields[:, None], fields)
        return cls(features, x, low * n_fields + high, position[:, None] < position)


def score_row(theta: ClassTheta, row: Row) -> Any:
    """The score of one class, from left to right (numerics 3)."""
    terms = [np.atleast_1d(theta.w0), theta.w[row.features] * row.x]
    if theta.V.shape[1]:  # the linear model has no pairs
        V_kz = theta.V[row.features].T
        d_zz = np.zeros(row.slots_zz.shape, V_kz.dtype)
        for product_zz in V_kz[:, :, None] * V_kz[:, None, :]:
            d_zz += product_zz
        terms_zz = ((theta.R[row.slots_zz] * d_zz) * row.x[:, None]) * row.x
        terms.append(terms_zz[row.above_zz])
    return np.add.accumulate(np.concatenate(terms))[-1]


class NumPyScorer:
    """Scores one row at a time; any number of threads may call it.

    Parameters
    ----------
    parameters : Parameters
        Shared, not copied.
    fields : (n,) int32
    normalizes : bool
        Whether a row is divided by its length first.
    """

    name = "numpy"

    def __init__(self, parameters: Parameters, fields: Array, normalizes: bool = False) -> None:
        self.parameters, self.fields, self.normalizes = parameters.map(np.ascontiguousarray), fields, normalizes
        self.thetas = [ClassTheta.of(self.parameters, c) for c in range(parameters.n_classes)]

    def scores(self, features: Any, values: Any) -> list[float]:
        """The score of each class, a number of T.

        Raises
        ------
        InputTypeError, InputError
            As `Given.take` and `make_canonical` do.
        """
        given, p = Given(len(features)), self.parameters
        given.take(features, values)
        features, x = make_canonical(given.features, given.values, p.n_features, p.dtype)
        if self.normalizes:
            features, x = normalize_row(features, x)
        with np.errstate(all="ignore"):
            if len(x) ** 2 * max(p.n_factors, 1) > TABLE_ENTRIES:
                return self._score_long(features, x)
            row = Row.of(features, x, self.fields, p.n_fields)
            return [float(score_row(theta, row)) for theta in self.thetas]

    def sigmoid(self, features: Any, values: Any) -> float:
        """The sigmoid of the score of the one class, in float64 (numerics 4)."""
        scores = np.array(self.scores(features, values))
        with np.errstate(all="ignore"):
            return float(sigmoid64(scores)[0])

    def _score_long(self, features: Array, x: Array) -> list[float]:
        """A row whose tables would be too large."""
        length = np.array([len(x)])
        data = Data(np.append(0, length), features, x, self.fields, length, None, True, None, None)
        scores: list[float] = score_rows(self.parameters, data, np.zeros(1, np.int64))[0].tolist()
        return scores
