"""What the engines on the processor have in common: what they keep resident, and how a pass over the rows goes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fwfm_gpu.backends import Collected
from fwfm_gpu.backends.patterns import look_at_fields
from fwfm_gpu.errors import DeviceError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.numerics import flushes_subnormals
from fwfm_gpu.parameters import Array, Counts, OptimizerState, Parameters
from fwfm_gpu.recipe import Recipe

__all__ = ["Data", "HostEngine", "HostRun", "Model", "grow", "load_rows"]


@dataclass(frozen=True)
class Data:
    """Canonical CSR with values of T, and what belongs to each row."""

    indptr: Array  # (rows + 1,) int64
    indices: Array  # (nnz,) int32 or int64
    values: Array  # (nnz,) T
    fields: Array  # (n,) int32
    lengths: Array  # (rows,) int64: nonzeros of each row
    pattern: Array | None  # (z,) int32: the fields of every row's nonzeros, where all rows agree
    shares_fields: bool  # whether some row has two features of one field
    y: Array | None  # (rows,) float64
    weight: Array | None  # (rows,) float64


@dataclass(frozen=True)
class Model:
    """Parameters, and to train them state and a recipe."""

    parameters: Parameters
    state: OptimizerState | None = None
    recipe: Recipe | None = None

    def at_rate(self, learning_rate: float | None) -> Model:
        """The same parameters and state, to be stepped at another rate; None: at the recipe's."""
        if learning_rate is None or self.recipe is None:
            return self
        return replace(self, recipe=self.recipe.at_rate(learning_rate))


@dataclass
class HostRun:
    """One pass over the rows, and how far it is. An engine's own says what a step is."""

    model: Model
    data: Data
    order: Array  # (visits,) int64
    loss: float = 0.0
    batches: int = 0
    first_bad: int | None = None

    def next_rows(self) -> Array:
        """The row numbers of the next batch; none at the end."""
        assert self.model.recipe is not None
        size = self.model.recipe.batch_size
        return self.order[self.batches * size : (self.batches + 1) * size]

    def step(self, rows: Array) -> float | None:
        """One mini-batch. Returns its summed loss, or None when a score or a new parameter is not finite."""
        raise NotImplementedError


class HostEngine:
    """What engines on the processor do alike: rows and models lie in memory, and a batch is done when it returns."""

    def __init__(self) -> None:
        if flushes_subnormals():
            raise DeviceError(
                "This process flushes subnormal numbers to zero, so results would differ from every other engine. A "
                "library built with -ffast-math switched that on: train in a process that does not load it."
            )

    def load_data(self, rows: FieldMatrix, y: Array | None = None, weight: Array | None = None) -> Data:
        return load_rows(rows, y, weight)

    def load_model(
        self, parameters: Parameters, state: OptimizerState | None = None, recipe: Recipe | None = None
    ) -> Model:
        if recipe is None:
            return Model(parameters.map(np.ascontiguousarray))  # only read: shared with the caller
        own = parameters.copy()
        return Model(own, (recipe.start_state(own) if state is None else state).copy(), recipe)

    def advance(self, run: HostRun, batches: int) -> None:
        for _ in range(batches):
            rows = run.next_rows()
            if len(rows) == 0 or run.first_bad is not None:
                return
            loss = run.step(rows)
            if loss is None:
                run.first_bad = run.batches
            else:
                run.loss += loss
                run.batches += 1

    def collect(self, run: HostRun) -> Collected:
        return Collected(run.loss, run.batches, run.first_bad)

    def copy_model(self, model: Model) -> Model:
        return Model(*self.fetch_model(model), model.recipe)

    def grow_model(self, model: Model, fields: Array, V: Array) -> Model:
        return grow(model, fields, V)

    def fetch_model(self, model: Model) -> tuple[Parameters, OptimizerState | None]:
        return model.parameters.copy(), None if model.state is None else model.state.copy()


def load_rows(rows: FieldMatrix, y: Array | None, weight: Array | None) -> Data:
    """Rows with their lengths and, where all rows agree, their pattern of fields."""
    lengths = np.diff(rows.indptr)
    pattern, shares_fields = look_at_fields(np, rows.indices, rows.fields, lengths)
    return Data(rows.indptr, rows.indices, rows.values, rows.fields, lengths, pattern, shares_fields, y, weight)


def grow(model: Model, fields: Array, V: Array) -> Model:
    """New features behind the old: w = 0, the given factors, R = 1 for new pairs of fields, fresh state."""
    old = model.parameters
    more_fields = max(0, int(np.max(fields, initial=-1)) + 1 - old.n_fields)
    w = np.zeros(V.shape[:2], old.dtype)
    grown = Parameters(
        old.w0.copy(),
        np.concatenate((old.w, w), axis=1),
        np.concatenate((old.V, V.astype(old.dtype)), axis=1),
        np.pad(old.R, [(0, 0), (0, more_fields), (0, more_fields)], constant_values=1),
    )
    if model.recipe is None or model.state is None:
        return Model(grown)
    return Model(grown, remember(model.state, model.recipe.start_state(grown)), model.recipe)


def remember(old: OptimizerState, fresh: OptimizerState) -> OptimizerState:
    """The fresh state of a grown model, with what the old one remembers laid over it."""
    for name, arrays in fresh.moments.items():
        for group, array in arrays.arrays().items():
            overlay(array, getattr(old[name], group))
    if old.counts is None or fresh.counts is None:
        return fresh
    feature, slot = (
        overlay(fresh.counts.feature, old.counts.feature),
        overlay(fresh.counts.slot, old.counts.slot),
    )
    return OptimizerState(fresh.rule, fresh.moments, Counts(old.counts.bias.copy(), feature, slot))


def overlay(into: Array, what: Array) -> Array:
    """Write ``what`` over the leading corner of ``into``."""
    into[tuple(slice(0, size) for size in what.shape)] = what
    return into
