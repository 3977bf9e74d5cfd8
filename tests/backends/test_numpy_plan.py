"""Plan: whole row blocks in order, and who sums what."""

from __future__ import annotations

import numpy as np
import pytest
from engine_data import PATTERNS, Spec, make_problem, rows_of

from fwfm_gpu.backends import numpy_plan
from fwfm_gpu.backends.numpy_plan import Group, cut_batch, make_group, plan_segments, touched_features
from fwfm_gpu.backends.numpy_resident import load_rows


def load(pattern: str, rows: int = 300):
    """Resident rows, and an order of them."""
    problem = make_problem(Spec(pattern=pattern, rows=rows))
    return load_rows(rows_of(problem), problem["y"], None), problem["orders"][0]


def items_of(data, row: int) -> list[int]:
    return data.indices[data.indptr[row] : data.indptr[row + 1]].tolist()


@pytest.mark.parametrize("bound", [0, 1, 700, 10**9])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 300])
def test_groups_are_whole_blocks_within_the_bound(monkeypatch, size, pattern, bound):
    monkeypatch.setattr(numpy_plan, "GROUP_BYTES", bound)
    data, order = load(pattern)
    groups = cut_batch(data, order[:size], 2)
    np.testing.assert_array_equal(np.concatenate(groups), order[:size])
    assert all(len(group) % 64 == 0 for group in groups[:-1])
    assert all(len(group) for group in groups)
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        assert len(group) <= 64 or 2 * data.lengths[group].sum() <= bound
        if following is not None:  # no group could have taken one more block
            assert 2 * (data.lengths[group].sum() + data.lengths[following[:64]].sum()) > bound


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_group_lists_the_items_row_by_row(pattern):
    data, order = load(pattern)
    group = make_group(data, order)
    assert group.feature.tolist() == [feature for row in order for feature in items_of(data, row)]
    np.testing.assert_array_equal(np.diff(group.starts), data.lengths[order])


@pytest.mark.parametrize("cuts", [[], [64], [64, 128]])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_touched_features_are_those_of_any_row(pattern, cuts):
    data, order = load(pattern)
    touched = touched_features(data, np.split(order[:200], cuts))
    assert touched.tolist() == sorted({feature for row in order[:200] for feature in items_of(data, row)})


def test_segments_of_the_example(monkeypatch):
    monkeypatch.setattr(numpy_plan, "ROW_BLOCK", 2)
    plan = plan_segments(Group(np.arange(3), np.array([0, 2, 4, 5]), np.array([7, 2, 2, 7, 7])))
    assert plan.segment.tolist() == [1, 0, 0, 1, 2]
    assert plan.segment_feature.tolist() == [2, 7, 7]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_segment_is_a_feature_in_a_block(pattern):
    data, order = load(pattern)
    group = make_group(data, order)
    plan = plan_segments(group)
    block = np.repeat(np.arange(len(order)) // 64, np.diff(group.starts))
    wanted = list(zip(group.feature.tolist(), block.tolist(), strict=True))
    ranks = {key: rank for rank, key in enumerate(sorted(set(wanted)))}
    assert plan.segment.tolist() == [ranks[key] for key in wanted]
    assert plan.segment_feature.tolist() == [feature for feature, _ in ranks]


def test_the_largest_features_keep_their_order():
    feature = np.array([2**31 - 1, 0, 2**40, 2**31 - 1, 2**40 - 1], np.int64)
    plan = plan_segments(Group(np.arange(1), np.array([0, 5]), feature))
    assert plan.segment_feature.tolist() == [0, 2**31 - 1, 2**40 - 1, 2**40]
    assert plan.segment.tolist() == [1, 0, 3, 1, 2]
