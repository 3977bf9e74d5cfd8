"""The reference engine: the numerics contract on NumPy, written to be read.

A step is three stages, under the same names in every engine::

    plan         numpy_plan.py         order the nonzeros; who sums what. Integers only
    rows         numpy_gradients.py    score, loss gradient, row gradients      (numerics 3 to 5), with numpy_rows.py
    coordinates  numpy_coordinates.py  ordered batch sums, one step each        (numerics 6 and 7)

It runs on the calling thread, at once: ``advance`` returns when its batches are done.
"""

from __future__ import annotations

import numpy as np

from fwfm_gpu.backends.numpy_coordinates import BatchSums, apply
from fwfm_gpu.backends.numpy_gradients import RowGradients, row_gradients
from fwfm_gpu.backends.numpy_plan import Group, cut_batch, make_group, plan_segments, touched_features
from fwfm_gpu.backends.numpy_resident import Data, HostEngine, HostRun, Model
from fwfm_gpu.backends.numpy_rows import score_rows
from fwfm_gpu.parameters import Array

__all__ = ["NumPyBackend", "Run"]

SCORED_ROWS = 1 << 16  # rows scored in one go


class Run(HostRun):
    """One pass over the rows."""

    def step(self, rows: Array) -> float | None:
        model, data, parameters = self.model, self.data, self.model.parameters
        recipe, state = model.recipe, model.state
        assert recipe is not None and state is not None
        bytes_per_item = parameters.n_classes * (1 + parameters.n_factors) * parameters.dtype.itemsize + 40
        cut_rows = cut_batch(data, rows, bytes_per_item)
        sums = BatchSums(parameters, touched_features(data, cut_rows), recipe.learns_R)
        loss, first = 0.0, 0
        with np.errstate(all="ignore"):
            for group_rows in cut_rows:
                group = make_group(data, group_rows)
                gradients = row_gradients(model, data, group, first, sums.slots)
                if not np.all(np.isfinite(gradients.s_bc)):
                    return None
                block_sums(group, gradients, sums)
                loss += gradients.loss
                first += len(group_rows)
            sums.slots.close_block()
            return loss if apply(model, sums, len(rows)) else None


class NumPyBackend(HostEngine):
    """The seam of ``fwfm_gpu.backends`` on NumPy."""

    name = "numpy"

    def begin(
        self, model: Model, data: Data, order: Array, loss: float = 0.0, learning_rate: float | None = None
    ) -> Run:
        return Run(model.at_rate(learning_rate), data, np.asarray(order, np.int64), loss)

    def score(self, model: Model, data: Data) -> Array:
        s_bc = np.empty((len(data.lengths), model.parameters.n_classes), model.parameters.dtype)
        for lo in range(0, len(s_bc), SCORED_ROWS):
            rows = np.arange(lo, min(lo + SCORED_ROWS, len(s_bc)))
            with np.errstate(all="ignore"):
                s_bc[rows] = score_rows(model.parameters, data, rows)
        return s_bc


def block_sums(group: Group, gradients: RowGradients, sums: BatchSums) -> None:
    """First half of the coordinate stage: row gradients of whole row blocks into the batch sums (numerics 6)."""
    sums.add_bias(gradients.g_cb)
    sums.add_items(plan_segments(group), gradients.items_cji)
