"""Memory of a step, beyond rows, parameters, state and one array of the touched coordinates, is bounded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fwfm_gpu.backends import get_backend
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.optimizers import Adam
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.recipe import Penalties, Recipe

BOUND = 250e6  # bytes


def make_rows(n_rows: int, ragged: bool) -> FieldMatrix:
    """39 fields, one feature per field and row; of ragged rows every third item is left out at random."""
    generator = np.random.default_rng(0)
    rows = FieldMatrix.from_ids(generator.integers(1000, size=(n_rows, 39), dtype=np.int32), [1000] * 39)
    if not ragged:
        return rows
    kept = generator.random(rows.nnz) < 2 / 3
    indptr = np.concatenate(([0], np.cumsum(kept)))[rows.indptr]
    return FieldMatrix(indptr, rows.indices[kept], rows.values[kept], rows.fields, rows.n_fields)


def make_long_rows(n_rows: int, z: int) -> FieldMatrix:
    """Rows of z nonzeros in 20 fields."""
    indices = np.tile(np.arange(z, dtype=np.int32), n_rows)
    values = np.ones(len(indices), np.float32)
    return FieldMatrix(np.arange(n_rows + 1) * z, indices, values, (np.arange(z) % 20).astype(np.int32), 20)


def peak_of_a_step(rows: FieldMatrix, k: int) -> float:
    """Bytes that one batch of all rows takes at most, less one array of its touched coordinates."""
    backend, n, n_fields = get_backend("numpy"), rows.n_features, rows.n_fields
    parameters = Parameters(
        np.zeros(1, np.float32),
        np.zeros((1, n), np.float32),
        np.full((1, n, k), 0.01, np.float32),
        np.ones((1, n_fields, n_fields), np.float32),
    )
    recipe = Recipe("logistic", Adam(0.001), rows.n_rows, Penalties())
    data = backend.load_data(rows, np.arange(rows.n_rows) % 2.0)
    run = backend.begin(backend.load_model(parameters, None, recipe), data, np.arange(rows.n_rows))
    touched = len(np.unique(rows.indices)) * (1 + k) * 4
    tracemalloc.start()
    try:
        backend.advance(run, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert backend.collect(run).batches == 1
    return peak - touched


@pytest.mark.parametrize("ragged", [False, True], ids=["alike", "ragged"])
def test_a_step_stays_under_250_mb_and_does_not_grow_with_the_batch(ragged):
    small, large = (peak_of_a_step(make_rows(n_rows, ragged), 16) for n_rows in (16_384, 65_536))
    assert large < BOUND
    assert large < 1.05 * small


def test_long_rows_stay_under_250_mb():
    assert peak_of_a_step(make_long_rows(600, 300), 2) < BOUND
