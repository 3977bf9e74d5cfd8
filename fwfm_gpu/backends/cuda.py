"""The CUDA engine: launches only. What is computed stands in ``cuda/``; in which order, in the stages ``cuda_*.py``.

It takes its device as an argument. `CupyDevice` is a GPU; anything with the same few verbs will do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fwfm_gpu.backends import Collected
from fwfm_gpu.backends.cuda_device import Device, Kernels
from fwfm_gpu.backends.cuda_memory import Bounds, Budget, batch_items, make_sizes
from fwfm_gpu.backends.cuda_resident import Data, Model, load_model, load_rows, map_state, pack_model, pack_rows
from fwfm_gpu.backends.cuda_rows import RowStage
from fwfm_gpu.backends.cuda_step import Cursor, Run, make_stages
from fwfm_gpu.backends.numpy_resident import Model as HostModel
from fwfm_gpu.backends.numpy_resident import grow
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array, OptimizerState, Parameters
from fwfm_gpu.recipe import Recipe

__all__ = ["CudaBackend"]


class CudaBackend:
    """The seam of ``fwfm_gpu.backends`` on a device."""

    name = "cuda"

    def __init__(self, device: Device, budget: Budget | None = None) -> None:
        self.device = device
        self.budget = Budget() if budget is None else budget

    def load_data(self, rows: FieldMatrix, y: Array | None = None, weight: Array | None = None) -> Data:
        with self.device.current():
            return load_rows(self.device, rows, y, weight)

    def load_model(
        self, parameters: Parameters, state: OptimizerState | None = None, recipe: Recipe | None = None
    ) -> Model:
        with self.device.current():
            return load_model(self.device, parameters, state, recipe)

    def begin(self, model: Model, data: Data, order: Array) -> Run:
        assert model.recipe is not None
        order = np.asarray(order, np.int64)
        size = max(1, min(model.recipe.batch_size, len(order)))
        with self.device.current():
            run = Run(model, data, self.device.to_device(order), order, size, Cursor.at_start(self.device))
            if len(order) == 0:
                return run
            bounds = Bounds(size, batch_items(data.lengths, order, size), data.longest, data.distinct_pattern)
            sizes = make_sizes(model.shape(data.index), self.budget, bounds)
            run.prepare(make_stages(self.device, self.kernels(model, data), model, data, sizes, run))
        return run

    def advance(self, run: Run, batches: int) -> None:
        with self.device.current():
            for _ in range(batches):
                if not run.advance():
                    return

    def collect(self, run: Run) -> Collected:
        with self.device.current():
            done, bad, _ = self.device.to_host(run.cursor.place).tolist()
            return Collected(float(self.device.to_host(run.cursor.loss)[0]), done, None if bad < 0 else bad)

    def score(self, model: Model, data: Data) -> Array:
        with self.device.current():
            return self.device.to_host(self.score_there(model, data))

    def score_there(self, model: Model, data: Data) -> Any:
        """Raw scores, (rows, C) of T, on the device."""
        kernels, xp, rows = self.kernels(model, data), self.device.xp, data.n_rows
        s_bc = xp.empty((rows, model.parameters.n_classes), data.real)
        if rows == 0:
            return s_bc
        cursor = Cursor.at_start(self.device)
        batch = kernels.rows.struct("Batch", order=None, visits=rows, size=rows, cursor=cursor.place, loss=cursor.loss)
        members = dict.fromkeys(name for name, _, _ in kernels.rows.source.structs["Work"])
        work = kernels.rows.struct("Work", **{**members, "s_bc": s_bc, "items": 0, "pairs": 0, "blocks": 0})
        packed = pack_rows(kernels.rows, data), pack_model(kernels, model), batch
        stage = RowStage(self.device, kernels, model.shape(data.index), data.longest, *packed)
        for launch in stage.scores(work, 0, rows):
            launch()
        return s_bc

    def copy_model(self, model: Model) -> Model:
        with self.device.current():
            copy = self.device.xp.array
            state = None if model.state is None else map_state(model.state, copy)
            return Model(model.parameters.map(copy), state, model.recipe, model.touches)

    def grow_model(self, model: Model, fields: Array, V: Array) -> Model:
        grown = grow(HostModel(*self.fetch_model(model), model.recipe), fields, V)
        return self.load_model(grown.parameters, grown.state, grown.recipe)

    def fetch_model(self, model: Model) -> tuple[Parameters, OptimizerState | None]:
        with self.device.current():
            fetch = self.device.to_host
            return model.parameters.map(fetch), None if model.state is None else map_state(model.state, fetch)

    def kernels(self, model: Model, data: Data) -> Kernels:
        """The kernels for this T, index and number of factors."""
        return Kernels(self.device, data.real, data.index, model.parameters.n_factors)
