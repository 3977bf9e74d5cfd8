"""The arrays that compiled kernels work on, sized for a model and its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fwfm_gpu.backends.compiled_alone import Alone
from fwfm_gpu.backends.compiled_coordinates import Sums, Totals, Update
from fwfm_gpu.backends.compiled_rows import TOGETHER, Group, Rows, Theta, factors_in_table
from fwfm_gpu.backends.compiled_work import LONGEST, Block, BlockSums, Task
from fwfm_gpu.backends.numpy_resident import Data, Model
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.optimizers import Adam, Corrections
from fwfm_gpu.parameters import Array, Parameters, make_aligned

__all__ = ["Shape", "as_argument", "fit_block", "make_block_sums", "make_rows", "make_sums", "make_task"]
__all__ += ["make_theta", "make_update", "make_worker"]

WIDEST = 16  # lanes at most


@dataclass(frozen=True)
class Shape:
    """What decides how large tables are."""

    n_classes: int
    n_factors: int
    n_fields: int
    longest: int  # nonzeros of the longest row
    listed: bool  # whether sums of R are listed by slot
    dtype: Any

    @property
    def pairs(self) -> int:
        """Pairs of the longest row that goes side by side with others, whole lanes."""
        z = min(self.longest, LONGEST) if self.n_factors else 0
        return round_up(z * (z - 1) // 2)


def round_up(number: int) -> int:
    """To whole lanes."""
    return -(-number // WIDEST) * WIDEST


class Shared:
    """An array's memory under another name: the base of `as_argument`."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def as_argument(array: Array) -> Array:
    """The same memory, C-contiguous and flat or as it was, not marked as read-only.

    numba compiles anew for arrays that are read-only. Kernels do not write what they only read.
    """
    contiguous = np.ascontiguousarray(array)
    if contiguous.flags.writeable:
        return contiguous
    return np.asarray(Shared(contiguous)) if contiguous.size else np.empty_like(contiguous)


def make_theta(parameters: Parameters) -> Theta:
    """Views of a model's parameters, or of one of its optimizer's sets of arrays."""
    w0, w, V, R = (as_argument(array) for array in parameters.arrays().values())
    return Theta(w0, w, V.reshape(-1), R.reshape(-1), parameters.n_factors, parameters.n_fields)


def make_rows(data: Data) -> Rows:
    """Views of rows."""
    nothing, repeats = np.empty(0), data.values.size > 1 and data.values.strides == (0,)
    y, weight = (nothing if array is None else array for array in (data.y, data.weight))
    values = data.values[:1] if repeats else data.values
    indptr, indices, values, fields, y, weight = map(
        as_argument, (data.indptr, data.indices, values, data.fields, y, weight)
    )
    return Rows(indptr, indices, values, fields, y, weight, 0 if repeats else 1)


def make_task(data: Data, model: Model) -> Task:
    """How the rows are worked through."""
    found = data.pattern
    pattern = np.empty(0, np.int32) if found is None or len(found) > LONGEST else as_argument(found)
    recipe = model.recipe
    learns_R = recipe is not None and recipe.learns_R and model.parameters.n_factors > 0
    return Task(pattern, data.shares_fields, learns_R, 0.0 if recipe is None else recipe.label_smoothing)


def choose_way(task: Task, n_classes: int, longest: int) -> dict[str, bool]:
    """The constants of the row stage that fit the rows."""
    patterned = len(task.pattern) > 0
    listed = task.learns_R and (not patterned or task.shares)
    shares_r = patterned and n_classes == 1
    return {"PATTERNED": patterned, "SHARES_R": shares_r, "LISTED": listed, "ALONE": longest > LONGEST}


def make_worker(shape: Shape, lanes: int) -> tuple[Block, Group, Alone]:
    """The tables of one thread."""
    T, z, pairs = shape.dtype, min(shape.longest, LONGEST), shape.pairs
    k, k4 = shape.n_factors, factors_in_table(shape.n_factors)
    slots, padded = shape.n_fields**2 if shape.listed else 0, round_up(shape.longest + 1)

    def table(*sizes: int, dtype: Any = T) -> Array:
        zeros = make_aligned(sizes, dtype)
        zeros.fill(0)
        return zeros

    integers = partial(table, dtype=np.int64)

    block = Block(
        order=integers(ROW_BLOCK),
        picked=integers(ROW_BLOCK),
        starts=integers(ROW_BLOCK + 1),
        gw=table(shape.n_classes, 0),
        gV=table(shape.n_classes, 0),
        local=np.zeros(0, np.int32),
        met=integers(0),
        moved=np.zeros(0, np.int32),
        ends=integers(1),
        hashed=np.zeros(0, np.int32),
        cd=table(ROW_BLOCK, pairs if shape.listed else 0),
        longest=integers(ROW_BLOCK),
        row_sum=table(slots),
        row_seen=integers(slots),
        entry=integers(slots) - 1,
    )
    group = Group(
        length=integers(lanes),
        feature=integers(z + 1, lanes),
        place=integers(z + 1, lanes),
        target=integers(z + 1, lanes),
        field=integers(z + 1, lanes),
        x=table(z + 1, lanes),
        w=table(z + 1, lanes),
        y=np.zeros(lanes),
        weight=np.zeros(lanes),
        e=np.zeros((shape.n_classes, lanes)),
        s=table(shape.n_classes, lanes),
        g=table(shape.n_classes, lanes),
        G=table(max(z, 1) * k4 * lanes),
        gV=table(TOGETHER * k4 * lanes),
        D=table(pairs + lanes, lanes),
        r=table(pairs + lanes, lanes),
        Q=table(TOGETHER + z, 1 + z, lanes),
    )
    alone = Alone(
        z=integers(1),
        feature=integers(padded),
        field=integers(padded),
        x=table(padded),
        w=table(padded),
        Vt=table(max(k, 1), padded),
        d=table(padded),
        q=table(padded),
        gV=table(round_up(k)),
    )
    return block, group, alone


@dataclass
class Room:
    """Arrays that grow as they are asked for and are used again."""

    arrays: dict[str, Array]

    def take(self, name: str, dtype: Any, *sizes: int) -> Array:
        """Uninitialised memory under a name: what was taken before under the same name is given up."""
        wanted = math.prod(sizes)
        if name not in self.arrays or len(self.arrays[name]) < wanted:
            self.arrays.pop(name, None)
            self.arrays[name] = make_aligned((wanted + wanted // 8,), dtype)
        return self.arrays[name][:wanted].reshape(sizes)


@dataclass(frozen=True)
class Extent:
    """How much there is of a batch."""

    rows: int
    items: int
    block_items: int  # of the row block that has most


def make_block_sums(room: Room, shape: Shape, shelves: int, items: int, owners: int) -> BlockSums:
    """Shelves, each for the sums of a row block of so many items, whose features have so many owners."""
    C, T, F = shape.n_classes, shape.dtype, shape.n_fields
    most = min(ROW_BLOCK * shape.longest * (shape.longest - 1) // 2, F * (F + 1) // 2)  # slots of a row block
    slots, pairs = (most, 0) if shape.listed else (0, shape.pairs)
    return BlockSums(
        g=room.take("g", T, shelves, C, ROW_BLOCK),
        owned=room.take("owned", np.int64, shelves, owners + 1),
        feature=room.take("feature", np.int64, shelves, items),
        w=room.take("block w", T, shelves, C, items),
        V=room.take("block V", T, shelves, C, items * shape.n_factors),
        by_pair=room.take("by pair", T, shelves, C, pairs),
        listed=room.take("listed", np.int64, shelves, 1),
        slot=room.take("slot", np.int64, shelves, slots),
        by_slot=room.take("by slot", T, shelves, C, slots),
    )


def fit_block(room: Room, shape: Shape, items: int, owners: int, block: Block) -> Block:
    """A thread's tables of a row block, large enough for so many items."""
    C, T = shape.n_classes, shape.dtype
    places = 1 << (2 * items).bit_length()
    return block._replace(
        gw=room.take("gw", T, C, items),
        gV=room.take("gV", T, C, items * shape.n_factors),
        local=room.take("local", np.int32, items),
        hashed=room.take("hashed", np.int32, places),
        ends=room.take("ends", np.int64, owners),
        met=room.take("met", np.int64, items + 1),
        moved=room.take("moved", np.int32, items),
    )


def make_sums(room: Room, shape: Shape, touched: int, slots: tuple[Array, Array], moments: int) -> Sums:
    """Room for totals of so many features and of the slots that may be touched: `Sums.slot` and `Sums.known`."""
    C, k, T = shape.n_classes, shape.n_factors, shape.dtype

    def totals(name: str, present: bool) -> Totals:
        features, many = (touched, len(slots[0])) if present else (0, 0)
        return Totals(
            w0=room.take(name + " w0", T, C),
            w=room.take(name + " w", T, C, features),
            V=room.take(name + " V", T, C, features * k),
            R=room.take(name + " R", T, C, many),
        )

    first, second = totals("first", moments > 0), totals("second", moments > 1)
    return Sums(totals("theta", True), first, second, *slots)


def make_update(model: Model, most: int) -> Update:
    """What steps work on, with Adam's corrections of counts up to ``most``."""
    recipe, state, parameters = model.recipe, model.state, model.parameters
    assert recipe is not None and state is not None
    T, theta = parameters.dtype, make_theta(parameters)
    moments = [make_theta(state[name]) for name in recipe.rule.moments]
    first, second = (*moments, theta, theta)[:2]
    tables = recipe.rule.correction_tables(most, T) if isinstance(recipe.rule, Adam) else (np.ones(1, T), np.ones(1, T))
    counts = state.counts
    nothing = np.zeros(0, np.int64)
    return Update(
        theta,
        first,
        second,
        recipe.rule.constants(T),
        recipe.penalties.of("w", T),
        recipe.penalties.of("V", T),
        Corrections(*(as_argument(table) for table in tables)),
        nothing if counts is None else counts.feature,
        nothing if counts is None else counts.slot.reshape(-1),
        nothing if counts is None else counts.bias.reshape(1),
    )
