"""Our engine with atomics in place of its ordered sums: what their order costs.

Row gradients are the engine's own. Then each is added where it belongs, in whatever order threads come. There is no
plan, and no step is looked at before it is written. For what the check measures alone: one class, rows of the same
fields.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.cuda import CudaBackend
from fwfm_gpu.backends.cuda_coordinates import cut_batch
from fwfm_gpu.backends.cuda_device import Device
from fwfm_gpu.backends.cuda_memory import Bounds, Budget, batch_items, make_sizes
from fwfm_gpu.backends.cuda_step import Run, Stages, make_stages
from fwfm_gpu.backends.kernel_arguments import Launch, Packed, Program
from fwfm_gpu.backends.kernels import architecture, fetch_binary
from fwfm_gpu.cuda_sources import Source, Variant, read_source, source_folder
from fwfm_gpu.errors import InputError
from fwfm_gpu.numerics import ROW_BLOCK

from .cases import Case, Effort
from .ours import Resident, kernel_times
from .timing import median_rate

SOURCE = Path(__file__).with_name("atomics.cu")

RawKernels = Mapping[str, Callable[..., object]]


@cache
def read_atomics() -> Source:
    """``atomics.cu``, joined with the engine's headers."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (SOURCE, *source_folder().glob("*.cuh")):
            shutil.copy(path, folder)
        return read_source(SOURCE.name, Path(folder))


@cache
def load_kernels(source: Source, variant: Variant) -> RawKernels:
    """The kernels on the current device, compiled as the engine's are."""
    import cupy

    binary = fetch_binary(source, variant, architecture(cupy.cuda.runtime.getDevice()))
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(binary)
        file.flush()
        module = cupy.RawModule(path=file.name)
        return {name: module.get_function(name) for name in source.kernels}


class AtomicBackend(CudaBackend):
    """The CUDA engine with other sums.

    Parameters
    ----------
    device : Device
    budget : Budget, optional
    load : function of Source and Variant
        Gives the raw kernels of a source by name.
    """

    def __init__(
        self, device: Device, budget: Budget | None = None, load: Callable[[Source, Variant], RawKernels] = load_kernels
    ) -> None:
        super().__init__(device, budget)
        self.load = load

    def prepare(self, run: Run) -> Run:
        """Room for a run's work.

        Raises
        ------
        InputError
            Rows or model are not of the kind that the check measures.
        """
        data, shape = run.data, run.model.shape(run.data.index)
        items = batch_items(data.lengths, run.host_order, run.size)
        bounds = Bounds(run.size, items, data.longest, data.distinct_pattern)
        sizes = make_sizes(shape, self.budget, bounds)
        if not sizes.pattern or shape.n_classes > 1 or shape.real != "float32":
            raise InputError(
                "atomics take rows of the same distinct fields, one class and float32: got "
                f"{'such' if sizes.pattern else 'other'} rows, {shape.n_classes} and {shape.real}. "
                "Use the engine itself."
            )
        kernels = self.kernels(run.model, data)
        stages = make_stages(self.device, kernels, self.allocate_room(run.model, data, bounds), run)
        starts, *_ = stages.planner.list_items(stages.plans[0], 0)
        starts()  # rows are alike: the same in every batch
        source, variant = read_atomics(), kernels.rows.variant
        program = Program(source, variant, self.load(source, variant))
        step = AtomicStages(stages, program, allocate_sums(stages, program)).step()
        run.stages, run.steps = stages, [step, step]
        return run


def allocate_sums(stages: Stages, program: Program) -> Packed:
    """``Sums`` of atomics.cu."""
    xp, shape = stages.device.xp, stages.rows.shape
    n, T = shape.n_features, shape.real
    return program.struct(
        "Sums",
        w=xp.zeros(n, T),
        V=xp.zeros((n, shape.n_factors), T),
        R=xp.zeros(stages.sizes.columns, T),
        bias=xp.zeros(1, T),
        loss=xp.zeros(1),
        mark=xp.zeros(n, xp.int32),
        touched=xp.zeros(stages.sizes.items, shape.index),
        count=xp.zeros(1, xp.int32),
    )


@dataclass(frozen=True)
class AtomicStages:
    """Makes the launches of a batch, over what the engine's stages hold."""

    stages: Stages
    program: Program
    sums: Packed

    def step(self) -> Callable[[], None]:
        """One mini-batch."""
        device, rows, last = self.stages.device, [*self.rows()], [*self.updates()]
        items, bias = self.items(), self.bias()

        def queue() -> None:
            for launch in rows:
                launch()
            with device.beside():
                bias()
            items()
            device.join()
            for launch in last:
                launch()

        return queue

    def rows(self) -> Iterator[Launch]:
        """Row gradients, chunk by chunk, and the sums of pairs."""
        stages, sizes, slots = self.stages, self.stages.sizes, self.stages.coordinates.slots
        threads = self.threads(128)
        for group in cut_batch(np.full(sizes.rows, stages.rows.longest), sizes):
            for lo, hi in group.chunks:
                yield from stages.rows.gradients(stages.plans[0].packed, stages.recipe, stages.work, lo, hi)
                grid = (-(-sizes.columns // threads), -(-(hi - lo) // ROW_BLOCK))
                arguments = (stages.rows.batch, stages.work, self.sums, slots, lo, hi)
                yield self.program.bind("add_pairs", grid, (threads,), arguments)

    def items(self) -> Launch:
        """w and V, and the list of touched features."""
        rows, k, threads = self.stages.rows, self.stages.rows.shape.n_factors, self.threads(256)
        lanes = min(threads, k // math.gcd(k, 4))  # of an item: WIDTH factors each
        block = (lanes, threads // lanes)
        arguments = (rows.rows, rows.model, rows.batch, self.stages.work, self.sums, rows.longest)
        return self.program.bind("add_items", (-(-self.stages.sizes.items // block[1]),), block, arguments, 8)

    def bias(self) -> Launch:
        """w0 and the loss."""
        threads, arguments = self.threads(256), (self.stages.rows.batch, self.stages.work, self.sums)
        grid = (-(-self.stages.sizes.rows // threads),)
        return self.program.bind("add_bias", grid, (threads,), arguments, 12 * threads)

    def updates(self) -> Iterator[Launch]:
        """The steps, and the end of the batch."""
        stages, grid = self.stages, (self.stages.device.most_blocks,)
        arguments = (stages.rows.model, stages.recipe, stages.rows.batch, self.sums)
        block = stages.coordinates.block(256)
        yield self.program.bind("update_touched", grid, block, (*arguments, stages.coordinates.slots))
        yield self.program.bind("close_batch", (1,), (1,), arguments)

    def threads(self, most: int) -> int:
        """Threads of a block."""
        return min(most, self.stages.device.most_threads)


def measure(case: Case, effort: Effort) -> dict[str, Any]:
    """Figures of a case, by name: training alone, since scoring sums nothing over rows."""
    resident = Resident.load(case, effort, AtomicBackend(get_backend(effort.device).device))
    figures = {"train_rows_per_s": median_rate(resident.train, effort.rows, effort)}
    return figures | kernel_times(resident, effort.device)
