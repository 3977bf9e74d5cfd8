"""One row at a time, compiled.

What takes time is not the arithmetic but the call: numba takes a tuple of arrays apart far more slowly than as many
arguments. So the kernel is given arrays alone, all made once, and reads the row from memory that Python writes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwfm_gpu.backends.compiled import machine
from fwfm_gpu.backends.compiled_alone import Alone, gather_alone, score_alone
from fwfm_gpu.backends.compiled_rows import Theta
from fwfm_gpu.backends.compiled_tables import as_argument, make_theta, round_up
from fwfm_gpu.backends.lanes import prefetch, tables
from fwfm_gpu.backends.numpy_scorer import Given, make_canonical
from fwfm_gpu.numerics import SMALLEST_SUM, sigmoid64
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["CompiledScorer", "score_one"]

SHORTEST = 64  # items that there is room for at least
NORMALIZES = False  # bound when compiled: whether a row is divided by its length


class Room(NamedTuple):
    """Tables of one row; each call has its own. Z: items that there is room for, in whole lanes."""

    fields: Array  # (n,) int32
    features: Array  # (Z,) int64: as given
    values: Array  # (Z,) float64: as given
    total: Array  # (Z,) float64: values, duplicates summed
    item: Array  # (3, Z) int64: feature, field; the number of items
    number: Array  # (3, Z) T: x, w, d
    Vt: Array  # (k, Z) T
    answer: Array  # (C + 1,) float64: scores; the sigmoid of the first


def score_one(z: int, *arrays: Any) -> bool:
    """Score the row of ``z`` items that stands in a room: ``arrays`` are those of a `Theta` and a `Room`.

    Returns whether it could: False where a feature is out of range, or a value not finite.
    """
    theta, room = tables(Theta(*arrays[:6])), tables(Room(*arrays[6:]))
    x, w, d = room.number[0], room.number[1], room.number[2]
    alone = Alone(room.item[2], room.item[0], room.item[1], x, w, room.Vt, d, d, d)
    if not (sort_items(z, theta, room) and round_values(room, alone)):
        return False
    if NORMALIZES:
        normalize_values(alone)
    for c in range(len(theta.w0)):
        gather_alone(theta, c, alone)
        room.answer[c] = score_alone(theta, c, alone)
    room.answer[len(theta.w0)] = sigmoid64(room.answer[0])
    return True


def sort_items(z: int, theta: Theta, room: Room) -> bool:
    """Features ascending, duplicates summed in the order given (numerics 1); False where one is out of range.

    Sorts by insertion: a row that is in order is just copied, and one that is not takes fewer steps than it has pairs.
    """
    n, feature, count = theta.w.shape[1], room.item[0], 0
    for p in range(z):
        new = room.features[p]
        if new < 0 or new >= n:
            return False
        prefetch(theta.V, new * theta.n_factors)
        prefetch(theta.w, new)
        prefetch(room.fields, new)
        at = count
        while at > 0 and feature[at - 1] > new:
            at -= 1
        if at > 0 and feature[at - 1] == new:
            room.total[at - 1] = room.total[at - 1] + room.values[p]
        else:
            for q in range(count, at, -1):
                feature[q], room.total[q] = feature[q - 1], room.total[q - 1]
            feature[at], room.total[at] = new, room.values[p]
            count += 1
    room.item[2, 0] = count
    return True


def round_values(room: Room, alone: Alone) -> bool:
    """Values rounded to T, zeros dropped (numerics 1); False where one is not finite."""
    kept = 0
    for p in range(alone.z[0]):
        alone.x[kept] = room.total[p]
        if not np.isfinite(alone.x[kept]):
            return False
        if alone.x[kept] != 0:
            feature = alone.feature[p]
            alone.feature[kept], alone.field[kept] = feature, room.fields[feature]
            kept += 1
    alone.z[0] = kept
    return True


def normalize_values(alone: Alone) -> None:
    """Values divided by the row's length, zeros dropped (numerics 1)."""
    x, feature, field, z = alone.x, alone.feature, alone.field, alone.z[0]
    largest, total = 1.0, sum_squares(alone, 1.0)
    if z > 0 and not (total >= SMALLEST_SUM and total < np.inf):
        largest = 0.0
        for p in range(z):
            size = np.abs(np.float64(x[p]))
            if size > largest:
                largest = size
        total = sum_squares(alone, largest)
    length, kept = np.sqrt(total), 0
    for p in range(z):
        x[kept] = (np.float64(x[p]) / largest) / length
        if x[kept] != 0:
            feature[kept], field[kept] = feature[p], field[p]
            kept += 1
    alone.z[0] = kept


def sum_squares(alone: Alone, largest: float) -> float:
    """The sum of the squares of the row's values, each divided by a number first."""
    total = 0.0
    for p in range(alone.z[0]):
        part = np.float64(alone.x[p]) / largest
        total = total + part * part
    return total


class Desk:
    """A room, and Python's way into it."""

    def __init__(self, theta: Theta, fields: Array, length: int) -> None:
        T, width = theta.w.dtype, round_up(max(length, SHORTEST))
        self.width, self.given, answer = width, Given(width), np.zeros(len(theta.w0) + 1)
        numbers = np.zeros((3, width), T), np.zeros((max(theta.n_factors, 1), width), T)
        room = Room(
            fields,
            self.given.features,
            self.given.values,
            np.zeros(width),
            np.zeros((3, width), np.int64),
            *numbers,
            answer,
        )
        self.arrays = (*theta, *room)
        self.answer: Any = answer.data


class CompiledScorer:
    """Scores one row at a time; any number of threads may call it.

    Parameters
    ----------
    parameters : Parameters
        Shared, not copied.
    fields : (n,) int32
    normalizes : bool
        Whether a row is divided by its length first.
    """

    name = "cpu"

    def __init__(self, parameters: Parameters, fields: Array, normalizes: bool = False) -> None:
        self.theta, self.fields, self.normalizes = make_theta(parameters), as_argument(fields), normalizes
        self.kernel = machine(score_one, NORMALIZES=normalizes)
        self.desks: list[Desk] = []  # free ones: a call takes one out and puts it back, so no two ever share
        self.scores((), None)  # compiles

    def scores(self, features: Any, values: Any) -> list[float]:
        """The score of each class, a number of T.

        Raises
        ------
        InputTypeError, InputError
            As `Given.take` and `make_canonical` do.
        """
        return self._run(features, values)[:-1]

    def sigmoid(self, features: Any, values: Any) -> float:
        """The sigmoid of the score of the one class, in float64 (numerics 4)."""
        return self._run(features, values)[-1]

    def _run(self, features: Any, values: Any) -> list[float]:
        """Scores, and the sigmoid of the first."""
        desk = self._find_desk(len(features))
        z = desk.given.take(features, values)
        if not self.kernel(z, *desk.arrays):
            given, theta = desk.given, self.theta
            make_canonical(given.features[:z], given.values[:z], theta.w.shape[1], theta.w.dtype)
            raise AssertionError("the kernel refused a row that NumPy takes")
        answer: list[float] = desk.answer.tolist()
        self.desks.append(desk)
        return answer

    def _find_desk(self, length: int) -> Desk:
        """A desk of nobody else's, wide enough."""
        try:
            desk = self.desks.pop()
        except IndexError:
            return Desk(self.theta, self.fields, length)
        return desk if desk.width >= length else Desk(self.theta, self.fields, length)
