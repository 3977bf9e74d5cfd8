"""What the CUDA engine keeps on the device: rows, and models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwfm_gpu.backends.cuda_adoption import place_rows
from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Shape
from fwfm_gpu.backends.kernel_arguments import Packed, Program
from fwfm_gpu.backends.patterns import look_at_fields, order_fields
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.optimizers import RULES, Adam
from fwfm_gpu.parameters import Array, Counts, OptimizerState, Parameters
from fwfm_gpu.recipe import Recipe

__all__ = ["Data", "Model", "load_model", "load_rows", "pack_model", "pack_recipe", "pack_rows"]


@dataclass(frozen=True)
class Data:
    """Canonical CSR on the device, and what the host knows of it."""

    indptr: Any  # (rows + 1,) int64
    indices: Any  # (nnz,) int32 or int64
    values: Any  # (nnz,) T, None when every value is 1
    fields: Any  # (n,) int32
    field_order: Any  # (nnz,) int32, None unless a row shares a field
    pattern: Array | None  # (z,) int32 fields of every row's nonzeros, on the host; None where rows differ
    y: Any  # (rows,) float64
    weight: Any  # (rows,) float64, None when every weight is 1
    lengths: Array  # (rows,) int64, on the host
    real: str

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    @property
    def index(self) -> str:
        return str(self.indices.dtype)

    @cached_property
    def longest(self) -> int:
        return int(self.lengths.max(initial=0))

    @cached_property
    def alike(self) -> int:
        """The number of nonzeros of every row, -1 where rows differ."""
        return self.longest if self.longest == self.lengths.min(initial=self.longest) else -1

    @property
    def distinct_pattern(self) -> bool:
        """Whether every row has the same fields, each once: a pair of positions is a slot of R."""
        return self.pattern is not None and self.field_order is None


@dataclass
class Model:
    """Parameters on the device, and to train them state and a recipe."""

    parameters: Parameters
    state: OptimizerState | None = None
    recipe: Recipe | None = None
    touches: int = 0  # no coordinate was touched by more batches than this

    def batch_rows(self, order: Array) -> int:
        """Rows of a batch of a run in this order."""
        assert self.recipe is not None
        return max(1, min(self.recipe.batch_size, len(order)))

    def shape(self, index: str) -> Shape:
        p = self.parameters
        sums_slots = self.recipe is not None and self.recipe.learns_R and p.n_factors > 0
        return Shape(p.n_features, p.n_fields, p.n_factors, p.n_classes, str(p.dtype), index, sums_slots)


def load_rows(device: Device, rows: FieldMatrix, y: Array | None, weight: Array | None) -> Data:
    """Rows on the device: each array copied once, or adopted where it lies there already. Only training needs to know
    what rows have in common."""
    xp, placed, fields = device.xp, place_rows(device, rows), device.to_device(rows.fields)
    indices, lengths = placed.indices, placed.lengths
    pattern, shares = (None, False) if y is None else look_at_fields(xp, indices, fields, lengths)
    return Data(
        indptr=placed.indptr,
        indices=indices,
        values=placed.values,
        fields=fields,
        field_order=order_fields(xp, indices, fields, lengths) if shares else None,
        pattern=None if pattern is None else device.to_host(pattern),
        y=None if y is None else device.to_device(np.asarray(y, np.float64)),
        weight=None if weight is None else device.to_device(np.asarray(weight, np.float64)),
        lengths=lengths,
        real=placed.real,
    )


def load_model(device: Device, parameters: Parameters, state: OptimizerState | None, recipe: Recipe | None) -> Model:
    """Copies on the device; with a recipe and without a state, a fresh one."""
    if recipe is not None and state is None:
        state = recipe.start_state(parameters)
    if recipe is None or state is None:
        return Model(parameters.map(device.to_device))
    counts = None if state.counts is None else [state.counts.bias, state.counts.feature, state.counts.slot]
    touches = 0 if counts is None else max(int(np.max(array, initial=0)) for array in counts)
    return Model(parameters.map(device.to_device), map_state(state, device.to_device), recipe, touches)


def map_state(state: OptimizerState, function: Any) -> OptimizerState:
    """The same function on each array."""
    moments = {name: arrays.map(function) for name, arrays in state.moments.items()}
    if state.counts is None:
        return OptimizerState(state.rule, moments)
    bias, feature, slot = (function(array) for array in (state.counts.bias, state.counts.feature, state.counts.slot))
    return OptimizerState(state.rule, moments, Counts(bias.reshape(()), feature, slot))


def pack_rows(program: Program, data: Data) -> Packed:
    """``Rows`` of arguments.cuh."""
    names = ("indptr", "indices", "values", "fields", "field_order", "y", "weight")
    return program.struct("Rows", **{name: getattr(data, name) for name in names})


def pack_model(kernels: Kernels, model: Model) -> Packed:
    """``Model`` of arguments.cuh; a scoring model has no state."""
    struct = kernels.rows.struct
    p, state = model.parameters, model.state
    moments = [] if state is None else list(state.moments.values())
    arrays = [struct("Arrays", **dict(zip(("w0", "w", "V", "R"), group, strict=True))) for group in groups(p, moments)]
    counts = None if state is None else state.counts
    return struct(
        "Model",
        theta=arrays[0],
        first=arrays[1],
        second=arrays[2],
        counts=struct(
            "Counts",
            bias=None if counts is None else counts.bias,
            feature=None if counts is None else counts.feature,
            slot=None if counts is None else counts.slot,
        ),
        n_features=p.n_features,
        n_factors=p.n_factors,
        n_fields=p.n_fields,
        n_classes=p.n_classes,
    )


def groups(parameters: Parameters, moments: list[Parameters]) -> list[tuple[Any, ...]]:
    """w0, w, V, R of the parameters and of the first and second moment; None for those that the rule does not have."""
    present = [tuple(arrays.arrays().values()) for arrays in (parameters, *moments)]
    return present + [(None, None, None, None)] * (3 - len(present))


def pack_recipe(
    device: Device, kernels: Kernels, model: Model, batches: int, learning_rate: float | None = None
) -> Packed:
    """``Recipe`` of arguments.cuh, at the learning rate of a run, with Adam's tables for so many more batches."""
    assert model.recipe is not None
    recipe, T = model.recipe.at_rate(learning_rate), model.parameters.dtype
    tables = []
    if isinstance(recipe.rule, Adam):
        tables = [device.to_device(table) for table in recipe.rule.correction_tables(model.touches + batches, T)]
    first, second = tables or (None, None)
    linear, factors = recipe.penalties.of("w", T), recipe.penalties.of("V", T)
    return kernels.coordinates.struct(
        "Recipe",
        **recipe.rule.constants(T)._asdict(),
        loss=list(LOSSES).index(recipe.loss),
        rule=list(RULES).index(recipe.rule.name),
        label_smoothing=recipe.label_smoothing,
        l1_linear=linear.l1,
        l2_linear=linear.l2,
        l1_factors=factors.l1,
        l2_factors=factors.l2,
        first_corrections=first,
        second_corrections=second,
        first_last=0 if first is None else len(first) - 1,
        second_last=0 if second is None else len(second) - 1,
    )
