"""The strongest feature pairs that a model learned, exactly, without looking at all of them.

Conventions: i and j features, p and q fields, c class. A pair's value is ``R_pq <v_i, v_j>``: what it adds to the score
of a row that holds both with value 1 (numerics 3).

By Cauchy and Schwarz no value is larger than ``|R_pq| |v_i| |v_j|``. The features of each field are sorted by norm and
cut into blocks, so that two blocks have a bound too. Pairs of blocks are multiplied in the order of their bounds, until
the next bound is below the n-th strongest pair that was found: nothing stronger can be left.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.held_pairs import count_pairs
from fwfm_gpu.model_names import Names
from fwfm_gpu.parameters import Array
from fwfm_gpu.text_table import lined_up, shortened, signed
from fwfm_gpu.training_marks import trained_features, trained_pairs

if TYPE_CHECKING:
    from fwfm_gpu.field_matrix import FieldMatrix
    from fwfm_gpu.model import FwFM

__all__ = ["Interaction", "Interactions", "top_interactions"]

FIRST_BLOCK = 32  # features with the largest norms: little work until the bound bites
MOST_AT_ONCE = 2**24  # bytes of products
CANDIDATES_AT_ONCE = 2**16  # pairs that are calculated anew at once
SHOWN = 100  # lines of a table


@dataclass(frozen=True)
class Interaction:
    """One feature pair.

    Attributes
    ----------
    features : (int, int)
        Their numbers, ascending.
    names : (str, str)
        ``feature 7`` where the model knows no names.
    fields : (int, int)
    field_names : (str, str)
    values : tuple of float
        ``R <v_i, v_j>``, one per class of softmax, else one: what the pair adds to the score of a row that holds both
        features with value 1. Calculated in float64, factors in ascending order.
    strength : float
        What pairs are ranked by: ``|value|``; over several classes the norm of the values less their mean, since what
        a pair adds to all classes alike changes no probability.
    rows : int or None
        How many rows hold both features; None where no rows were given.
    """

    features: tuple[int, int]
    names: tuple[str, str]
    fields: tuple[int, int]
    field_names: tuple[str, str]
    values: tuple[float, ...]
    strength: float
    rows: int | None = None

    @property
    def value(self) -> float:
        """The value; over several classes that which is farthest from their mean, of two the first."""
        return self.values[self.leading]

    @property
    def leading(self) -> int:
        """The place of `value` in ``values``."""
        mean = math.fsum(self.values) / len(self.values)
        distances = [abs(value - mean) for value in self.values]
        return distances.index(max(distances))


class Interactions(tuple[Interaction, ...]):
    """Feature pairs, the strongest first; str() of it is a table."""

    labels: tuple[Any, ...] = ()  # of the classes that values are of, where there are several

    def __str__(self) -> str:
        if not self:
            return "no feature pair was learned"
        heads = ["", "features", "", "fields", "", "value", *(["label", "strength"] if self.labels else [])]
        shown = self[:SHOWN]
        columns = [
            [str(place + 1) for place in range(len(shown))],
            [shortened(pair.names[0]) for pair in shown],
            [shortened(pair.names[1]) for pair in shown],
            [shortened(pair.field_names[0], 24) for pair in shown],
            [shortened(pair.field_names[1], 24) for pair in shown],
            signed(pair.value for pair in shown),
        ]
        if self.labels:
            columns.append([shortened(self.labels[pair.leading], 24) for pair in shown])
            columns.append([text.lstrip("+") for text in signed(pair.strength for pair in shown)])
        right = {0, 5, 7} if self.labels else {0, 5}
        if shown[0].rows is not None:
            right.add(len(heads))
            heads.append("rows")
            columns.append([str(pair.rows) for pair in shown])
        table = lined_up([heads, *zip(*columns, strict=True)], right)
        return table if len(shown) == len(self) else f"{table}\n... {len(self) - len(shown)} more"

    def __reduce__(self) -> tuple[Any, ...]:
        return made, (tuple(self), self.labels)


def made(pairs: Any, labels: tuple[Any, ...]) -> Interactions:
    """A table of pairs."""
    interactions = Interactions(pairs)
    interactions.labels = labels
    return interactions


def top_interactions(
    model: FwFM, n: int = 20, *, X: Any = None, min_rows: int = 1, fields: Any = None, label: Any = None
) -> Interactions:
    """The strongest feature pairs that the model learned, by ``|R <v_i, v_j>|``: exact, also over millions of features.

    Only what training left a mark on counts: features that no training row held have random factors and are left out,
    and so are pairs of fields that no training row held together. Two features of one field count where training rows
    held two of them (with ``field_weights="ones"``, which leaves no mark, when ``fields`` asks for it). Values are for
    features of value 1.

    Parameters
    ----------
    n : int
        How many; fewer come back where fewer pairs have a strength above 0.
    X : optional
        Rows, as for `decision_function`, on the host: only pairs that rows hold count. The model has a value for any
        two features, also for two that never meet, and those are often its largest.
    min_rows : int
        With X: how many rows must hold a pair.
    fields : (str or int, str or int), optional
        One pair of fields, by name or number, the same twice for pairs within a field; marked by training or not.
    label : optional
        For softmax: pairs by their value for this label alone.

    Returns
    -------
    Interactions
        A tuple of `Interaction`, the strongest first, of equally strong ones the smaller feature numbers first. str()
        of it is a table.

    Raises
    ------
    InputError
        ``fields`` are not two fields of the model; X has other columns than in training.
    OptionError
        ``n`` or ``min_rows`` is no positive integer, or there is no X for ``min_rows``; ``label`` is unknown, or the
        loss is not softmax.
    InputTypeError
        X lies on a GPU.

    Notes
    -----
    Memory beyond the model: ``8 (C + 3)`` bytes per feature, and at most some 200 MB, whatever the number of pairs.
    Work: as many products as pairs of blocks have a bound above the n-th strength, which for trained factors is a small
    part of all pairs. The worst case, all factors of equal norm, is all pairs. With X every pair of every row is looked
    at instead, and memory is some 70 bytes for each different one.
    """
    for option, value in (("n", n), ("min_rows", min_rows)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise OptionError(f"{option} must be a whole number, 1 or above; got {value!r}.")
    if X is None and min_rows > 1:
        raise OptionError(f"min_rows needs rows to count: got min_rows={min_rows} and no X. Pass X.")
    names = Names.of(model)
    chosen = None if label is None else names.find_label(label)
    search = Search(model, slice(None) if chosen is None else slice(chosen, chosen + 1), int(n))
    asked = asked_pairs(model, fields, names)
    counts: list[int | None] = [None] * search.n
    if X is None:
        search.run(asked)
    else:
        counts = search.choose(model.columns.read(X, str(model.parameters.dtype)), asked, min_rows)
    pairs = []
    found = zip(search.i, search.j, search.strength, search.values.T, counts, strict=False)
    for i, j, strength, values, rows in found:
        p, q = (int(model.columns.fields[feature]) for feature in (i, j))
        pairs.append(
            Interaction(
                features=(int(i), int(j)),
                names=(names.feature(int(i)), names.feature(int(j))),
                fields=(p, q),
                field_names=(names.field(p), names.field(q)),
                values=tuple(values.tolist()),
                strength=float(strength),
                rows=rows,
            )
        )
    return made(pairs, names.labels if chosen is None else ())


def asked_pairs(model: FwFM, fields: Any, names: Names) -> list[tuple[int, int]]:
    """Field pairs to look at, each with the smaller number first."""
    if fields is None:
        return [(int(p), int(q)) for p, q in np.argwhere(np.triu(trained_pairs(model)))]
    if isinstance(fields, str) or not np.iterable(fields) or len(fields := tuple(fields)) != 2:
        raise InputError(f"fields must be two fields, by name or number: got {fields!r}. Pass fields=(one, other).")
    p, q = sorted(names.find_field(which) for which in fields)
    return [(p, q)]


@dataclass(frozen=True, eq=False)
class Sorted:
    """The features of a field, those with the largest factors first, in blocks."""

    features: Array  # (m,) int64
    starts: Array  # (blocks + 1,) int64
    norms: Array  # (C, blocks) float64: no feature of this block, or of a later one, has a larger norm

    def block(self, place: int) -> Array:
        """Numbers of features."""
        return self.features[self.starts[place] : self.starts[place + 1]]


@dataclass(eq=False)
class Search:
    """The n strongest pairs so far, and pairs of blocks in the order of their bounds.

    Attributes
    ----------
    i, j : (found,) int64
        i < j; the strongest first.
    strength : (found,) float64
    values : (C, found) float64
    """

    model: FwFM
    classes: slice
    n: int
    i: Array = field(init=False)
    j: Array = field(init=False)
    strength: Array = field(init=False)
    values: Array = field(init=False)

    def __post_init__(self) -> None:
        parameters = self.model.parameters
        self.V, self.R = parameters.V[self.classes], parameters.R[self.classes].astype(np.float64)
        C, k = len(self.V), parameters.n_factors
        self.i = self.j = np.zeros(0, np.int64)
        self.strength, self.values = np.zeros(0), np.zeros((C, 0))
        self.waiting: list[tuple[float, int, int, int, int]] = []  # -bound, fields, blocks
        T = np.finfo(parameters.dtype)
        self.top = float(T.max)
        self.slack = (k + 2 * C + 16) * float(T.eps)  # of products in T, as a part of their bound
        self.least = (k + 1) * float(T.tiny) if C == 1 else 2 * math.sqrt(C * float(T.tiny))  # what underflow may take
        side = math.isqrt(MOST_AT_ONCE // (C * T.dtype.itemsize))
        self.most = 2 ** max(5, side.bit_length() - 1)
        self.marked = trained_features(self.model)

    @property
    def threshold(self) -> float:
        """What a pair must reach to be among the strongest."""
        return float(self.strength[-1]) if len(self.strength) == self.n else 0.0

    def choose(self, rows: FieldMatrix, asked: list[tuple[int, int]], min_rows: int) -> list[int | None]:
        """Of the pairs that rows hold; how many rows hold each that was found."""
        i, j, counts = count_pairs(rows, min_rows)
        low, high = np.sort((self.model.columns.fields[i], self.model.columns.fields[j]), axis=0)
        wanted = np.zeros(self.R.shape[1:], bool)
        wanted[tuple(np.array(asked, np.intp).reshape(-1, 2).T)] = True
        kept = self.marked[i] & self.marked[j] & wanted[low, high]
        i, j, counts, low, high = (array[kept] for array in (i, j, counts, low, high))
        for start in range(0, len(i), CANDIDATES_AT_ONCE):
            part = slice(start, start + CANDIDATES_AT_ONCE)
            self._compare(i[part], j[part], self.R[:, low[part], high[part]])
        n = rows.n_features
        found = np.searchsorted(i * n + j, self.i * n + self.j)
        return [int(count) for count in counts[found]]

    def run(self, asked: list[tuple[int, int]]) -> None:
        """Of all pairs, until no bound is left that reaches the threshold."""
        self.sorted = sort_features(self.V, self.model.columns, self.marked, self.most)
        for p, q in asked:
            self._push(p, q, 0, 0)
        while self.waiting and -self.waiting[0][0] >= self.threshold:
            bound, p, q, a, b = heapq.heappop(self.waiting)
            self._multiply(p, q, a, b, -bound)
            if p != q:  # every pair of blocks has one parent: to the left, in the first column above
                self._push(p, q, a, b + 1)
                if b == 0:
                    self._push(p, q, a + 1, 0)
            else:
                self._push(p, q, a, b + 1)
                if a == b:
                    self._push(p, q, a + 1, a + 1)

    def _push(self, p: int, q: int, a: int, b: int) -> None:
        """A pair of blocks with its bound, which none of its children exceeds."""
        one, other = self.sorted[p].norms, self.sorted[q].norms
        if a < one.shape[1] and b < other.shape[1]:
            squares = (np.abs(self.R[:, p, q]) * one[:, a] * other[:, b]) ** 2
            bound = math.sqrt(float(np.sum(squares))) * (1 + 1e-9)
            if bound > 0:
                heapq.heappush(self.waiting, (-bound, p, q, a, b))

    def _multiply(self, p: int, q: int, a: int, b: int, bound: float) -> None:
        """All pairs of two blocks in T, and those that may be among the strongest once more, exactly."""
        one, other = self.sorted[p].block(a), self.sorted[q].block(b)
        with np.errstate(all="ignore"):
            products = self.V[:, one] @ self.V[:, other].transpose(0, 2, 1)  # in any order: they only choose
            products *= self.R[:, p, q].astype(products.dtype)[:, None, None]
            rough = strength_of(products)
            error = self.slack * bound + self.least * (1 + float(np.sum(np.abs(self.R[:, p, q]))))
        if p == q and a == b:
            rough[np.tril(np.ones(rough.shape, bool))] = -1  # each pair once, and none with itself
        kept = ~(rough < min(max(0.0, self.threshold - error), self.top))  # NaN of an overflow too
        if np.count_nonzero(kept) > max(self.n, CANDIDATES_AT_ONCE):
            least = float(np.partition(rough.ravel(), -self.n)[-self.n])
            if math.isfinite(least):
                kept &= ~(rough < max(0.0, least - 2 * error))
        places = np.flatnonzero(kept)
        for start in range(0, len(places), CANDIDATES_AT_ONCE):
            x, y = np.divmod(places[start : start + CANDIDATES_AT_ONCE], len(other))
            self._compare(np.minimum(one[x], other[y]), np.maximum(one[x], other[y]), self.R[:, p, q][:, None])

    def _compare(self, i: Array, j: Array, r: Array) -> None:
        """Keep the n strongest of these pairs and those found before. r : (C, pairs) or (C, 1) float64."""
        values = pair_values(self.V, r, i, j)
        strength = strength_of(values)
        good = (strength > 0) & (strength >= self.threshold)
        i, j = np.concatenate((self.i, i[good])), np.concatenate((self.j, j[good]))
        values = np.concatenate((self.values, values[:, good]), axis=1)
        strength = np.concatenate((self.strength, strength[good]))
        order = np.lexsort((j, i, -strength))[: self.n]
        self.i, self.j, self.strength, self.values = i[order], j[order], strength[order], values[:, order]


def sort_features(V: Array, columns: Any, marked: Array, most: int) -> list[Sorted]:
    """The trained features of each field by falling norm over classes; of equal norms the smaller number first."""
    squares = np.zeros(V.shape[:2])
    for t in range(V.shape[2]):
        squares += V[:, :, t].astype(np.float64) ** 2
    order = np.lexsort((-total(squares), columns.fields))
    order = order[marked[order]]
    ends = np.cumsum(np.bincount(columns.fields[order], minlength=columns.n_fields))
    fields = []
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        features = order[start:end]
        starts, size = [0], FIRST_BLOCK
        while starts[-1] < len(features):
            starts.append(min(len(features), starts[-1] + size))
            size = min(2 * size, most)
        norms = np.zeros((len(V), 0))
        if len(features):
            largest = np.maximum.reduceat(squares[:, features], starts[:-1], axis=1)
            norms = np.sqrt(np.maximum.accumulate(largest[:, ::-1], axis=1)[:, ::-1])
        fields.append(Sorted(features, np.array(starts), norms))
    return fields


def pair_values(V: Array, r: Array, i: Array, j: Array) -> Array:
    """``r <v_i, v_j>`` per class in float64, factors in ascending order, (C, pairs). V : (C, n, k)."""
    values = np.zeros((len(V), len(i)))
    for c, factors in enumerate(V):
        for t in range(V.shape[2]):
            values[c] += factors[i, t].astype(np.float64) * factors[j, t]
        values[c] *= r[c]
    return values


def strength_of(values: Array) -> Array:
    """The absolute value; of several classes, on the first axis, the norm of the values less their mean."""
    apart = values - total(values) / len(values)
    strength: Array = np.abs(values[0]) if len(values) == 1 else np.sqrt(total(apart * apart))
    return strength


def total(values: Array) -> Array:
    """The sum over the first axis, in ascending order."""
    summed: Array = values[0].copy()
    for part in values[1:]:
        summed += part
    return summed
