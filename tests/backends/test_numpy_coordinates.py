"""Coordinates: sums in batch order inside row blocks, then block by block; one step each; counts."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from engine_data import DTYPES, Spec, assert_same_bits, bits, fetch, load, make_problem, start_of

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.numpy_coordinates import BatchSums, SlotSums, apply, count_corrections, counts_of, flat
from fwfm_gpu.backends.numpy_plan import Group, plan_segments
from fwfm_gpu.optimizers import Adam
from fwfm_gpu.parameters import Counts

SIZES = [1, 63, 64, 65, 128, 200]


def blockwise(values: list, T) -> np.generic:
    """The contract's sum: 64 at a time, then the blocks."""
    total = T(0)
    for lo in range(0, len(values), 64):
        block = T(0)
        for value in values[lo : lo + 64]:
            block = block + value
        total = total + block
    return total


def awkward(shape, dtype: str) -> np.ndarray:
    """Values whose sum depends on the order."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=shape) * 10.0 ** generator.integers(-4, 5, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", SIZES)
def test_the_bias_sum_is_blockwise(rows, dtype):
    parameters = start_of(make_problem(Spec(loss="softmax", n_classes=3, rows=3, dtype=dtype)))
    sums, g_cb = BatchSums(parameters, np.arange(2)), awkward((3, rows), dtype)
    sums.add_bias(g_cb)
    want = [blockwise(list(g_b), np.dtype(dtype).type) for g_b in g_cb]
    np.testing.assert_array_equal(bits(sums.bias_c), bits(np.array(want)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", SIZES)
def test_feature_sums_are_blockwise(rows, dtype):
    parameters = start_of(make_problem(Spec(loss="softmax", n_classes=3, k=2, rows=3, dtype=dtype)))
    feature = np.random.default_rng(1).choice([3, 8, 20], rows)  # one item a row
    gradient_cji = awkward((3, 3, rows), dtype)
    sums = BatchSums(parameters, np.unique(feature))
    sums.add_items(plan_segments(Group(np.arange(rows), np.arange(rows + 1), feature)), gradient_cji)
    for at, one in enumerate(np.unique(feature)):
        for c, j in np.ndindex(3, 3):
            total = np.dtype(dtype).type(0)
            for lo in range(0, rows, 64):
                here = slice(lo, lo + 64)
                total = total + blockwise(list(gradient_cji[c, j, here][feature[here] == one]), np.dtype(dtype).type)
            assert bits(sums.total_cjn[c, j, at : at + 1]) == bits(np.array([total]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", SIZES)
def test_slots_of_rows_that_are_alike_are_summed_as_those_of_any_rows(rows, dtype):
    parameters = start_of(make_problem(Spec(rows=3, dtype=dtype)))
    slots_p, value_pl = np.array([1, 7, 13]), awkward((3, rows), dtype)
    value_pl[2] = -0.0
    by_pattern, by_row = SlotSums(parameters), SlotSums(parameters)
    by_pattern.add_pattern(0, slots_p, value_pl)
    for lo in range(0, rows, 50):  # tiles of any rows need not end where a block does
        tile = np.arange(lo, min(lo + 50, rows))
        by_row.add_rows(np.repeat(tile, 3), np.tile(slots_p, len(tile)), value_pl[:, tile].T.reshape(1, -1))
    by_row.close_block()
    want = [blockwise(list(value_l), np.dtype(dtype).type) for value_l in value_pl]
    for sums in (by_pattern, by_row):
        np.testing.assert_array_equal(bits(sums.total_cs[0, slots_p]), bits(np.array(want)))
        assert np.flatnonzero(sums.touched_s).tolist() == [1, 7, 13]


@pytest.mark.parametrize(("group", "shape"), [("w0", (1,)), ("w", (25,)), ("V", (25, 3)), ("R", (25,))])
def test_a_flat_view_writes_through(group, shape):
    parameters = start_of(make_problem(Spec(loss="softmax", n_classes=3, rows=3)))
    view = flat(parameters, group, 1)
    assert view.shape == shape
    view[:] = 7
    array = getattr(parameters, group)
    assert np.all(array[1] == 7)
    assert not np.any(array[[0, 2]] == 7)


def test_counts_are_one_per_feature_slot_and_bias():
    counts = Counts.zeros(start_of(make_problem(Spec(rows=3))))
    for group, value in (("w0", 1), ("w", 2), ("R", 3)):
        counts_of(counts, group)[0] = value
    assert counts_of(counts, "V")[0] == 2
    assert (counts.bias, counts.feature[0], counts.slot[0, 0]) == (1, 2, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_corrections_are_those_of_the_count_after_the_step(dtype):
    T, theta = np.dtype(dtype).type, np.zeros((4, 3), dtype)
    first, second = count_corrections(Adam(0.1, 0.9, 0.99), np.array([0, 1, 99, 10**12]), theta)
    assert first.shape == second.shape == (4, 1)
    assert first.dtype == second.dtype == np.dtype(dtype)
    for beta, got in ((0.9, first), (0.99, second)):
        assert got[:, 0].tolist() == [*(T(reference.one_minus_power(beta, t)) for t in (1, 2, 100)), 1]


@pytest.mark.parametrize("where", ["bias_c", "total_cjn", "slots"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_one_sum_that_is_not_finite_stops_every_step(bad, where):
    backend = get_backend("numpy")
    _, model = load(backend, make_problem(Spec(rule="adam", loss="softmax", n_classes=3)))
    before, sums = fetch(backend, model), BatchSums(model.parameters, np.arange(5))
    sums.total_cjn[:], sums.bias_c[:], sums.slots.total_cs[:] = 1, 1, 1
    sums.slots.touched_s[:5] = True
    array = {"bias_c": sums.bias_c, "total_cjn": sums.total_cjn, "slots": sums.slots.total_cs[:, :5]}[where]
    last = (-1,) * array.ndim
    array[last] = bad
    with np.errstate(invalid="ignore"):
        assert not apply(model, sums, 10)
    assert_same_bits(fetch(backend, model), before)
    array[last] = 1
    assert apply(model, sums, 10)
    assert not np.array_equal(fetch(backend, model)["end_V"], before["end_V"])
