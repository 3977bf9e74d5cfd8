"""Rows: lanes side by side, sums in order, padding that changes nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from engine_data import bits

from fwfm_gpu.backends import get_backend, numpy_rows
from fwfm_gpu.backends.numpy_rows import add_in_order, choose_lanes, group_by_length, pair_dots, pair_slots
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.numerics import pair_starts
from fwfm_gpu.parameters import Parameters


@pytest.mark.parametrize("z", [0, 1, 2, 3, 7])
def test_pair_slots_are_of_the_upper_triangle_in_pair_order(z):
    n_fields, lanes = 6, 4
    fields_zl = np.random.default_rng(z).integers(n_fields, size=(z, lanes))
    slots_pl = pair_slots(fields_zl, n_fields)
    assert slots_pl.shape == (z * (z - 1) // 2, lanes)
    for p, (a, b) in enumerate(combinations(range(z), 2)):
        for lane in range(lanes):
            f, h = fields_zl[a, lane], fields_zl[b, lane]
            assert slots_pl[p, lane] == min(f, h) * n_fields + max(f, h)


def test_many_fields_do_not_overflow_a_slot():
    fields_zl = np.array([[65_535], [65_534]], np.int32)
    assert pair_slots(fields_zl, 65_536).tolist() == [[65_534 * 65_536 + 65_535]]


@pytest.mark.parametrize("z", range(9))
def test_pair_starts_agree_with_pair_order(z):
    firsts = [a for a, _ in combinations(range(z), 2)]
    assert pair_starts(z)[-1] == len(firsts)
    for a in range(z - 1):
        assert pair_starts(z)[a] == firsts.index(a)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lanes", [1, 2, 63, 64, 65, 200])
def test_sums_go_left_to_right_in_either_way(monkeypatch, lanes, dtype):
    generator = np.random.default_rng(lanes)
    start_l = generator.normal(size=lanes).astype(dtype)
    terms_zl = (generator.normal(size=(40, lanes)) * 10.0 ** generator.integers(-5, 5, (40, lanes))).astype(dtype)
    start_l[0], terms_zl[:, 0] = -0.0, -0.0
    want = start_l.copy()
    for term_l in terms_zl:
        want = want + term_l
    for few in (0, 10**6):
        monkeypatch.setattr(numpy_rows, "FEW_LANES", few)
        np.testing.assert_array_equal(bits(add_in_order(start_l.copy(), terms_zl)), bits(want))
    assert np.signbit(want[0])


def test_nothing_to_add_leaves_the_start():
    for lanes in (1, 100):
        s_l = np.full(lanes, -0.0, np.float32)
        assert np.all(np.signbit(add_in_order(s_l, np.empty((0, lanes), np.float32))))


def test_dots_start_at_plus_zero():
    V_kzl = np.array([[[-1.0], [0.0]]])  # their product is -0
    assert bits(pair_dots(V_kzl)).tolist() == [[0]]


def test_dots_add_factors_in_order():
    generator = np.random.default_rng(0)
    V_kzl = generator.normal(size=(20, 5, 3)).astype(np.float32)
    d_pl = pair_dots(V_kzl)
    for p, (a, b) in enumerate(combinations(range(5), 2)):
        for lane in range(3):
            d = np.float32(0)
            for t in range(20):
                d = d + V_kzl[t, a, lane] * V_kzl[t, b, lane]
            assert d_pl[p, lane] == d


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("k", [0, 1, 16])
@pytest.mark.parametrize("z", [0, 1, 2, 39, 5000])
def test_lanes_are_many_within_the_bound(z, k, n_classes):
    lanes = choose_lanes(z, k, n_classes)
    entries = n_classes * max(z * k, z * (z - 1) // 2 if k else z)
    assert 1 <= lanes <= numpy_rows.MOST_LANES
    assert lanes == 1 or lanes * entries <= numpy_rows.TABLE_ENTRIES
    assert lanes == numpy_rows.MOST_LANES or (lanes + 1) * entries > numpy_rows.TABLE_ENTRIES


@pytest.mark.parametrize("lengths", [[], [0], [5] * 3000, [3, 0, 7, 3, 8, 0, 9], [*range(300)], [2, 1] * 2000])
def test_every_row_is_in_one_chunk_of_similar_lengths(lengths):
    lengths = np.array(lengths, np.int64)
    chunks = list(group_by_length(lengths, 4, 1))
    assert sorted(position for chunk in chunks for position in chunk) == [*range(len(lengths))]
    for chunk in chunks:
        assert 0 < len(chunk) <= numpy_rows.MOST_LANES
        assert lengths[chunk].max() <= lengths[chunk].min() * (1 + 1 / numpy_rows.PADDING)


def test_rows_of_one_length_stay_in_order():
    chunks = list(group_by_length(np.full(3000, 5), 4, 1))
    assert len(chunks) > 1
    assert np.concatenate(chunks).tolist() == [*range(3000)]


@pytest.mark.parametrize("n_rows", [2, 200])
def test_padding_leaves_a_score_of_minus_zero(n_rows):
    lengths = np.arange(n_rows) % 2 + 8  # they share a chunk
    indptr, fields = np.append(0, np.cumsum(lengths)), np.array([0] + [1] * 9, np.int32)
    indices = np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths])
    rows = FieldMatrix(indptr, indices, np.ones(len(indices), np.float32), fields, 2)
    w0, w, V = np.full(1, -0.0), np.full((1, 10), -0.0), np.zeros((1, 10, 3))
    R = np.array([[[1.0, 1], [1, -1]]])  # real pairs add -0, those with a padded feature 0 would add 0
    model = Parameters(*(array.astype(np.float32) for array in (w0, w, V, R)))
    backend = get_backend("numpy")
    s_bc = backend.score(backend.load_model(model), backend.load_data(rows))
    assert np.all(s_bc == 0)
    assert np.all(np.signbit(s_bc))
