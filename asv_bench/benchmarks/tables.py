"""Raw tables and text files to rows. No engine has a part in it."""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np

from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.io import read_libffm, write_libffm

from .cases import CASES, SEED, draw

ROWS = 200_000
TEXT_ROWS = 20_000
CATEGORIES = (2, 5, 7, 9, 16, 42, 1000)


def draw_table(rows: int) -> dict[str, np.ndarray]:
    """Seven columns of strings, four of integers, three of floats with missing values."""
    generator = np.random.default_rng(SEED)
    table: dict[str, np.ndarray] = {}
    for i, count in enumerate(CATEGORIES):
        names = np.array([f"category {c}" for c in range(count)], object)
        table[f"string {i}"] = names[generator.integers(0, count, rows)]
    for i, count in enumerate((10, 40, 100, 5000)):
        table[f"integer {i}"] = generator.integers(0, count, rows)
    for i in range(3):
        table[f"float {i}"] = np.where(generator.random(rows) < 0.1, np.nan, generator.normal(size=rows))
    return table


class Encoding:
    """``FieldEncoder`` on a dict of arrays, 14 columns."""

    def setup(self) -> None:
        self.table = draw_table(ROWS)
        self.encoder = FieldEncoder().fit(self.table)

    def track_cells_per_second(self) -> int:
        """Transform; best of three."""
        return round(ROWS * len(self.table) / fastest(lambda: self.encoder.transform(self.table)))

    def time_fit(self) -> None:
        """Kinds, categories and bins."""
        FieldEncoder().fit(self.table)

    track_cells_per_second.unit = "cells/s"


class Libffm:
    """A file of 39 fields of one feature each."""

    params = (["ones", "four digits"], ["error", "split"])
    param_names = ("values", "shared_ids")

    def setup(self, values: str, shared_ids: str) -> None:
        case = CASES["criteo"]
        rows = FieldMatrix.from_ids(draw(case, TEXT_ROWS)["ids"], case.sizes)
        if values != "ones":
            csr = rows.to_csr()
            csr.data = np.round(np.random.default_rng(SEED).normal(size=csr.nnz), 4)
            rows = FieldMatrix.from_matrix(csr, rows.fields)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "rows.ffm")
        write_libffm(self.path, rows, np.arange(TEXT_ROWS) % 2)

    def teardown(self, values: str, shared_ids: str) -> None:
        self.folder.cleanup()

    def track_megabytes_per_second(self, values: str, shared_ids: str) -> float:
        """Read; best of three."""
        seconds = fastest(lambda: read_libffm(self.path, shared_ids=shared_ids))
        return round(os.path.getsize(self.path) / seconds / 1e6, 1)

    track_megabytes_per_second.unit = "MB/s"


def fastest(work) -> float:
    """Seconds of the fastest of three runs."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
