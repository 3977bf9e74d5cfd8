"""Field pairs: strengths, mutual information and deciles beside loops that spell them out."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix, field_pairs
from fwfm_gpu.field_pairs import correlation, deciles, mutual_information, pair_strengths, pair_weights
from fwfm_gpu.parameters import Parameters

ROWS, FIELDS = 60, [0, 0, 0, 1, 1, 2, 2, 2, 4]  # field 3 has no feature


def matrix(kind):
    """Ids of three fields; or fields with none, one or several features a row, with values other than 1."""
    generator = np.random.default_rng(5)
    if kind == "ids":
        return FieldMatrix.from_ids(generator.integers(4, size=(ROWS, 3)), [4, 4, 4])
    X = generator.normal(size=(ROWS, len(FIELDS))) * (generator.random((ROWS, len(FIELDS))) < 0.4)
    return FieldMatrix.from_matrix(X if kind == "values" else (X != 0).astype(float), FIELDS)


def parameters(rows, C=1, k=3):
    generator = np.random.default_rng(8)
    n, F = rows.n_features, rows.n_fields
    shapes = (C,), (C, n), (C, n, k), (C, F, F)
    return Parameters(*(generator.normal(size=shape).astype(np.float32) for shape in shapes))


def row_entries(rows, b):
    """(column, field, value) of each nonzero of a row."""
    place = slice(rows.indptr[b], rows.indptr[b + 1])
    return [
        (int(i), int(rows.fields[i]), float(x)) for i, x in zip(rows.indices[place], rows.values[place], strict=True)
    ]


KINDS = ("ids", "several", "values")
WEIGHTS = {"alike": np.ones(ROWS), "weighted": np.random.default_rng(1).choice([0, 0.5, 2], ROWS)}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_strengths(kind, C, weights):
    rows, weight = matrix(kind), WEIGHTS[weights]
    p, F = parameters(rows, C), rows.n_fields
    expected = np.zeros((F, F))
    seen = np.zeros((F, F), bool)
    for b in np.flatnonzero(weight):
        for (i, f, x), (j, g, z) in itertools.combinations(row_entries(rows, b), 2):
            low, high = min(f, g), max(f, g)
            seen[low, high] = seen[high, low] = True
            for c in range(C):
                d = abs(p.R[c, low, high] * float(np.sum(p.V[c, i] * p.V[c, j])) * x * z)
                expected[low, high] += weight[b] * d / C / weight.sum()
    expected = np.where(seen, np.triu(expected) + np.triu(expected, 1).T, np.nan)
    found, sampled = pair_strengths(p, rows, weight)
    assert sampled == np.count_nonzero(weight)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(found[0, 0]) == (kind == "ids")


def spelled_out(rows, label, weight, p, q):
    """Mutual information from a table of shares, or NaN where no row holds such a pair."""
    shares = Counter()
    any_pair = False
    tenth = dict(zip(range(rows.nnz), deciles(rows.indices, rows.values), strict=True))
    for b in range(rows.n_rows):
        places = range(rows.indptr[b], rows.indptr[b + 1])
        held = {
            f: [(int(rows.indices[e]), tenth[e]) for e in places if rows.fields[rows.indices[e]] == f] for f in (p, q)
        }
        if p == q:
            states = list(itertools.combinations(held[p], 2)) or [None]
            any_pair |= states != [None]
        else:
            any_pair |= bool(held[p] and held[q])
            states = list(itertools.product(held[p] or [None], held[q] or [None]))
        for state in states:
            shares[state, label[b]] += weight[b] / len(states) / weight.sum()
    if not any_pair:
        return math.nan
    of_state, of_label = Counter(), Counter()
    for (state, y), share in shares.items():
        of_state[state] += share
        of_label[y] += share
    return sum(s * math.log(s / of_state[state] / of_label[y]) for (state, y), s in shares.items() if s > 0)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_mutual_information(kind, weights):
    rows = matrix(kind)
    label, weight = np.random.default_rng(2).integers(3, size=ROWS), WEIGHTS[weights]
    fields = np.array([0, 1, 2] if kind == "ids" else [0, 1, 2, 3, 4])
    found, counted = mutual_information(rows, label, fields, weight)
    assert counted == np.count_nonzero(weight)
    kept = np.flatnonzero(weight)
    expected = [[spelled_out(rows.take(kept), label[kept], weight[kept], p, q) for q in fields] for p in fields]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.isnan(found).any()


def test_a_pair_that_decides_the_label_tells_all_of_it():
    ids = np.array(list(itertools.product([0, 1], repeat=3)) * 5)
    label = ids[:, 0] ^ ids[:, 1]
    found, _ = mutual_information(FieldMatrix.from_ids(ids, [2] * 3), label, np.arange(3), np.ones(40))
    np.testing.assert_allclose(found[[0, 0, 1], [1, 2, 2]], [math.log(2), 0, 0], atol=1e-12)


def test_only_the_chosen_fields():
    rows, label = matrix("several"), np.arange(ROWS) % 2
    everything, _ = mutual_information(rows, label, np.arange(5), np.ones(ROWS))
    some, _ = mutual_information(rows, label, np.array([1, 4]), np.ones(ROWS))
    np.testing.assert_array_equal(some, everything[np.ix_([1, 4], [1, 4])])


def test_many_rows_are_sampled_without_those_of_weight_0(monkeypatch):
    rows, weight = matrix("ids"), np.where(np.arange(ROWS) < 30, 0.0, 1.0)
    monkeypatch.setattr(field_pairs, "MOST_COMBINATIONS", 9 * 9)
    monkeypatch.setattr(field_pairs, "MOST_ROWS", 7)
    label = np.zeros(ROWS, np.int64)
    assert mutual_information(rows, label, np.arange(3), weight)[1] == 20  # 3 * 3 // 2 combinations each
    assert pair_strengths(parameters(rows), rows, weight)[1] == 7
    few = field_pairs.sample(weight, np.full(ROWS, 10), 5)
    assert len(few) == 1 and few[0] >= 30


def test_weights_are_symmetric_and_several_classes_are_averaged():
    p = parameters(matrix("ids"), C=2)
    one = Parameters(*(array[:1] for array in p.arrays().values()))
    assert pair_weights(one)[1, 0] == pair_weights(one)[0, 1] == p.R[0, 0, 1]
    assert pair_weights(p)[2, 1] == pytest.approx((abs(p.R[0, 1, 2]) + abs(p.R[1, 1, 2])) / 2)


@pytest.mark.parametrize(
    "values, expected",
    [
        (list(range(20)), np.arange(20) // 2),
        ([5, 5, 5], [0, 0, 0]),
        ([0, 1, 1, 1, 1, 1, 1, 1, 1, 9], [0, 1, 1, 1, 1, 1, 1, 1, 1, 9]),
        ([], []),
    ],
)
def test_deciles(values, expected):
    order = np.random.default_rng(0).permutation(len(values))
    found = deciles(np.zeros(len(values), int)[order], np.array(values, float)[order])
    np.testing.assert_array_equal(found, np.array(expected)[order] if values else expected)


def test_deciles_are_those_of_the_group():
    np.testing.assert_array_equal(deciles(np.array([1, 0, 1, 0]), np.array([7.0, 1, 3, 2])), [5, 0, 0, 5])


def test_correlation_needs_three_pairs_and_spread():
    one = np.array([[9, 1, 2], [1, 9, 4], [2, 4, np.nan]])
    assert correlation(one, 3 - 2 * one) == pytest.approx(-1)
    assert math.isnan(correlation(one, np.where(one == 4, np.nan, one)))
    assert math.isnan(correlation(one, np.ones((3, 3))))
