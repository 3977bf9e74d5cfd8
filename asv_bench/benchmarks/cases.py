"""The rows that engines are timed on: a fixed seed, and ids by Zipf's law as in logs of clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwfm_gpu import FieldMatrix
from fwfm_gpu.parameters import Array, Parameters

SEED = 0
ROWS = 1 << 15
EXPONENT = 1.1  # of Zipf's law
LEARNING_RATE, L2 = 0.05, 1e-5

FRAPPE = (957, 4082, 7, 7, 2, 3, 2, 9, 80, 233)
CRITEO = (
    *((64,) * 13),
    *(1460, 583, 20000, 20000, 305, 24, 12517, 633, 3, 20000, 5683, 20000, 3194),
    *(27, 14992, 20000, 10, 5652, 2173, 4, 20000, 18, 15, 20000, 105, 20000),
)


@dataclass(frozen=True)
class Case:
    """Shape of the rows, and how they are trained on."""

    sizes: tuple[int, ...]  # how many features each column of ids has
    n_factors: int
    batch_size: int
    ragged: bool = False  # 0 to 20 nonzeros of any value, two columns of ids to a field


CASES = {
    "criteo": Case(CRITEO, 16, 8192),
    "frappe": Case(FRAPPE, 10, 8192),
    "ragged": Case((1000,) * 20, 10, 8192, ragged=True),
}

Drawn = dict[str, Array]


def draw(case: Case, rows: int) -> Drawn:
    """Ids (rows, columns) int32, targets (rows,), and for ragged rows values (rows, columns), many of them 0."""
    generator = np.random.default_rng(SEED)
    drawn = {
        "ids": np.stack([draw_zipf(size, rows, generator) for size in case.sizes], axis=1),
        "y": (generator.random(rows) < 0.3).astype(np.float64),
    }
    if case.ragged:
        kept = generator.random((rows, len(case.sizes))) < generator.random((rows, 1))
        drawn["values"] = np.where(kept, generator.normal(size=kept.shape), 0).astype(np.float32)
    return drawn


def draw_zipf(size: int, rows: int, generator: np.random.Generator) -> Array:
    """Ids below ``size``, (rows,) int32."""
    p = np.arange(1, size + 1) ** -EXPONENT
    return generator.choice(size, rows, p=p / np.sum(p)).astype(np.int32)


def make_rows(case: Case, drawn: Drawn) -> FieldMatrix:
    """The rows, values float32. Made in ``setup``: asv pickles what is drawn, and a FieldMatrix of ones would swell."""
    rows = FieldMatrix.from_ids(drawn["ids"], case.sizes)
    if not case.ragged:
        return rows
    csr = rows.to_csr()
    csr.data = drawn["values"].reshape(-1)
    return FieldMatrix.from_matrix(csr, rows.fields // 2)


def make_parameters(case: Case, rows: FieldMatrix) -> Parameters:
    """A fresh model of float32."""
    n, F = rows.n_features, rows.n_fields
    V = np.random.default_rng(SEED).normal(0, 0.01, (1, n, case.n_factors)).astype(np.float32)
    w0, w, R = (np.zeros(shape, np.float32) for shape in ((1,), (1, n), (1, F, F)))
    return Parameters(w0, w, V, R + 1)


class Cases:
    """A benchmark on the cases, which are drawn once for all benchmarks."""

    def setup_cache(self) -> dict[str, Drawn]:
        return {name: draw(case, ROWS) for name, case in CASES.items()}
