"""Row gradients: tiles of consecutive rows, and one item per row and slot."""

from __future__ import annotations

import numpy as np
import pytest
from engine_data import PATTERNS, Spec, load, make_problem, rows_of

from fwfm_gpu.backends import get_backend, numpy_gradients
from fwfm_gpu.backends.numpy_coordinates import SlotSums
from fwfm_gpu.backends.numpy_gradients import RowStage, cut_tiles, pattern_lanes, row_gradients, sum_row_slots
from fwfm_gpu.backends.numpy_plan import make_group
from fwfm_gpu.numerics import ROW_BLOCK


def make_stage(spec: Spec) -> RowStage:
    data, model = load(get_backend("numpy"), make_problem(spec))
    return RowStage(model, data, make_group(data, np.arange(spec.rows)), 0, None)


@pytest.mark.parametrize("bound", [1, 30, 1000, 10**9])
@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_tiles_are_consecutive_rows_within_the_bound(monkeypatch, pattern, k, bound):
    monkeypatch.setattr(numpy_gradients, "TABLE_ENTRIES", bound)
    stage = make_stage(Spec(pattern=pattern, k=k))
    tiles = list(cut_tiles(stage))
    assert [row for lo, hi in tiles for row in range(lo, hi)] == [*range(130)]
    lengths = np.diff(stage.group.starts)
    pairs = lengths * (lengths - 1) // 2 * bool(k)
    assert all(hi - lo == 1 or pairs[lo:hi].sum() <= bound for lo, hi in tiles)


@pytest.mark.parametrize(
    ("pattern", "lanes"),
    [("alike", 1024), ("alike-repeated", None), ("ragged", None), ("ragged-repeated", None), ("empty", 1024)],
)
def test_only_rows_of_one_pattern_of_distinct_fields_take_the_fast_path(pattern, lanes):
    assert pattern_lanes(make_stage(Spec(pattern=pattern))) == lanes


@pytest.mark.parametrize(("entries", "lanes"), [(1, None), (15 * 15, None), (16 * 15, 64), (200 * 15, 192)])
def test_a_tile_of_the_fast_path_is_whole_row_blocks(monkeypatch, entries, lanes):
    stage = make_stage(Spec(pattern="alike"))  # 5 items of 3 factors: 15 entries a row
    monkeypatch.setattr("fwfm_gpu.backends.numpy_rows.TABLE_ENTRIES", entries)
    assert pattern_lanes(stage) == lanes
    assert lanes is None or lanes % ROW_BLOCK == 0


def test_pairs_of_a_row_that_share_a_slot_become_one_item():
    position_i, slot_i = np.array([0, 0, 0, 2, 2, 5]), np.array([4, 1, 4, 1, 1, 0])
    value_ci = np.array([[1e8, 1, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]], np.float32)
    position_u, slot_u, value_cu = sum_row_slots(position_i, slot_i, value_ci)
    assert position_u.tolist() == [0, 0, 2, 5]
    assert slot_u.tolist() == [1, 4, 1, 0]
    assert value_cu.tolist() == [[1, 1e8, 5, 4], [2, 4, 9, 6]]  # 1e8 + 1 is 1e8 in float32
    assert value_cu.dtype == np.float32


def test_shared_slots_are_summed_in_pair_order():
    value_ci = np.array([[1e8, 1, -1e8, 1]], np.float32)
    _, _, value_cu = sum_row_slots(np.zeros(4, int), np.zeros(4, int), value_ci)
    assert value_cu.tolist() == [[1]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_have_a_place_for_every_row_and_item(pattern):
    problem = make_problem(Spec(pattern=pattern, loss="softmax", n_classes=3))
    data, model = load(get_backend("numpy"), problem)
    group = make_group(data, problem["orders"][0])
    gradients = row_gradients(model, data, group, 0, SlotSums(model.parameters))
    assert gradients.s_bc.shape == (130, 3)
    assert gradients.g_cb.shape == (3, 130)
    assert gradients.items_cji.shape == (3, 4, rows_of(problem).nnz)
    assert gradients.loss > 0
