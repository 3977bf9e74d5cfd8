"""Our engine: rows per second of training and of scoring as a user gets them, memory, and the time of each kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu import FieldMatrix, cuda_sources
from fwfm_gpu.backends import Backend, get_backend
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.parameters import Array, Parameters
from fwfm_gpu.recipe import Penalties, Recipe

from .cases import SHAPES, Case, Effort
from .rows import SEED, draw
from .timing import median_rate

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Resident:
    """What the engine holds."""

    backend: Backend
    data: Any
    model: Any
    order: Array  # (rows,) int64
    batches: int

    @classmethod
    def load(cls, case: Case, effort: Effort, backend: Backend | None = None) -> Resident:
        """Rows and a fresh model of float32, on another engine than a user gets where one is given."""
        shape, (ids, y) = SHAPES[case.shape], draw(case.shape, effort.rows)
        rows = FieldMatrix.from_ids(ids, shape.sizes)
        n, F, generator = rows.n_features, rows.n_fields, np.random.default_rng(SEED)
        w0, w, R = (np.full(of, value, np.float32) for of, value in (((1,), 0), ((1, n), 0), ((1, F, F), 1)))
        V = generator.normal(0, 0.01, (1, n, shape.k)).astype(np.float32)
        recipe = Recipe("logistic", RULES[case.optimizer](LEARNING_RATE), case.batch, Penalties())
        backend = get_backend(effort.device) if backend is None else backend
        data, model = backend.load_data(rows, y), backend.load_model(Parameters(w0, w, V, R), None, recipe)
        return cls(backend, data, model, generator.permutation(effort.rows), math.ceil(effort.rows / case.batch))

    def train(self, times: int) -> None:
        """So many passes over all rows, each from its order on the host to its loss on the host."""
        for _ in range(times):
            run = self.backend.begin(self.model, self.data, self.order)
            self.backend.advance(run, self.batches)
            done = self.backend.collect(run)
            if done.first_bad is not None:
                raise ArithmeticError(
                    f"batch {done.first_bad} is not finite: its step was left out, and time would lie"
                )

    def score(self, times: int) -> None:
        """So many times the scores of all rows, on the host."""
        for _ in range(times):
            self.backend.score(self.model, self.data)


def measure(case: Case, effort: Effort) -> dict[str, Any]:
    """Figures of a case, by name."""
    free_before = free_memory(effort.device)
    resident = Resident.load(case, effort)
    figures: dict[str, Any] = {
        "train_rows_per_s": median_rate(resident.train, effort.rows, effort),
        "score_rows_per_s": median_rate(resident.score, effort.rows, effort),
    }
    free = free_memory(effort.device, let_go=False)
    figures["memory_bytes"] = None if free_before is None or free is None else free_before - free
    return figures | kernel_times(resident, effort.device)


def free_memory(device: str, let_go: bool = True) -> int | None:
    """Bytes that the card has left, after what earlier cases hoarded was given back. None without a card."""
    if not device.startswith("cuda"):
        return None
    import cupy

    if let_go:
        cupy.get_default_memory_pool().free_all_blocks()
    return int(cupy.cuda.runtime.memGetInfo()[0])


def kernel_times(resident: Resident, device: str) -> dict[str, Any]:
    """Microseconds of each kernel in a training step, grouped by the file that it is in.

    PyTorch's profiler sees every kernel of the process, ours too. What keeps it from doing so is the reason why there
    are no figures, and never fails a case.
    """
    if not device.startswith("cuda"):
        return {"kernels_us": None, "kernels_reason": "no GPU was asked for"}
    try:
        spent = profile(resident)
    except Exception as error:  # any of PyTorch, its profiler and the driver may be missing or refuse
        return {"kernels_us": None, "kernels_reason": f"{type(error).__name__}: {str(error)[:200]}"}
    if not spent:
        return {"kernels_us": None, "kernels_reason": "PyTorch's profiler saw no kernel"}
    stages = kernel_stages()
    grouped: dict[str, dict[str, float]] = {}
    for kernel, microseconds in sorted(spent.items(), key=lambda item: -item[1]):
        of_stage = grouped.setdefault(stages.get(kernel, "other"), {})
        of_stage[kernel] = round(microseconds / resident.batches, 2)
    return {"kernels_us": grouped, "kernels_reason": None}


def profile(resident: Resident) -> dict[str, float]:
    """Microseconds of each kernel in one pass."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    with watch(activities=[ProfilerActivity.CUDA]) as seen:
        resident.train(1)
        torch.cuda.synchronize()
    spent = {event.key: event.self_device_time_total for event in seen.key_averages()}
    return {kernel: microseconds for kernel, microseconds in spent.items() if microseconds > 0}


def kernel_stages() -> dict[str, str]:
    """The file of each kernel, as ``{"row_gradient": "rows"}``."""
    sources = [cuda_sources.read_source(path.name) for path in cuda_sources.source_folder().glob("*.cu")]
    return {kernel: source.name.removesuffix(".cu") for source in sources for kernel in source.kernels}
