"""How much memory a step takes, at batches of any size."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

from .cases import CASES, Drawn, draw
from .engines import BACKENDS, require
from .resident import Resident

BATCH_SIZES = [1024, 8192, 65536]


class StepMemory:
    """One AdaGrad step of the criteo case."""

    params = (BACKENDS, BATCH_SIZES)
    param_names = ("backend", "batch_size")

    def setup_cache(self) -> Drawn:
        return draw(CASES["criteo"], max(BATCH_SIZES))

    def setup(self, drawn: Drawn, backend: str, batch_size: int) -> None:
        self.resident = Resident.load(require(backend), replace(CASES["criteo"], batch_size=batch_size), drawn)

    def peakmem_step(self, drawn: Drawn, backend: str, batch_size: int) -> None:
        """Of the whole process: interpreter, packages, rows, model and step."""
        self.step()

    def track_bytes_of_a_step(self, drawn: Drawn, backend: str, batch_size: int) -> int:
        """Host memory that a step takes beyond what is resident, its array of touched coordinates included."""
        tracemalloc.start()
        try:
            self.step()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    track_bytes_of_a_step.unit = "bytes"

    def step(self) -> None:
        self.resident.advance(self.resident.begin(), 1)
