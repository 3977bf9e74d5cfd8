"""Metrics of ranked lists against their definitions, over every order of tied rows, and against scikit-learn."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest

from fwfm_gpu.errors import InputError
from fwfm_gpu.metrics import auc, evaluate, resolve_metrics
from fwfm_gpu.ranking_metrics import running_sums

NAMES = ["gauc", "precision@3", "recall@3", "ndcg@3"]
LISTS = NAMES[1:]


def value_of(name, y_b, s_b, weight_b=None, group_b=None, loss="logistic"):
    y_b, s_b = np.asarray(y_b, float), np.asarray(s_b, float)
    [score] = evaluate(resolve_metrics(name, loss, group_b), loss, s_b[:, None], y_b, weight_b)
    return score.value


def rows_of(rows=400, groups=60, seed=0):
    """Targets, scores with ties, weights that are no short binary fractions, groups of 1 to a dozen rows."""
    random = np.random.default_rng(seed)
    s_b = np.round(random.normal(0, 1, rows), 1)
    y_b = (s_b + random.normal(0, 1, rows) > 0.5).astype(float)
    return y_b, s_b, random.random(rows) + 0.1, random.integers(0, groups, rows)


def of_one_order(name, y, k):
    """The metric of one list in its final order, as textbooks have it."""
    if name == "precision":
        return math.fsum(y[:k]) / k
    if name == "recall":
        return math.fsum(y[:k]) / math.fsum(y) if any(y) else 0.0
    found, best = (
        math.fsum(gain / math.log2(i + 2) for i, gain in enumerate(order[:k])) for order in (y, sorted(y, reverse=True))
    )
    return found / best if best else 0.0


def over_all_orders(name, y_b, s_b, k):
    """The mean over every order that the scores allow."""
    places = range(len(y_b))
    allowed = [p for p in permutations(places) if all(s_b[a] >= s_b[b] for a, b in pairwise(p))]
    return math.fsum(of_one_order(name, [float(y_b[i]) for i in order], k) for order in allowed) / len(allowed)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["precision", "recall", "ndcg"])
def test_tied_rows_count_as_the_mean_over_their_orders(name, seed):
    random = np.random.default_rng(seed)
    rows, k = 6, int(random.integers(1, 8))
    s_b, y_b = random.integers(0, 3, rows), np.append(1.0, random.integers(0, 2, rows - 1))
    want = over_all_orders(name, y_b, s_b, k)
    assert value_of(f"{name}@{k}", y_b, s_b) == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize("k", [1, 3, 100])
def test_grades_gain_what_they_say(k):
    random = np.random.default_rng(k)
    s_b, y_b = random.integers(0, 3, 6), random.choice([0.0, 1.0, 2.5, 4.0], 6) + 0.5
    want = over_all_orders("ndcg", y_b, s_b, k)
    assert value_of(f"ndcg@{k}", y_b, s_b, loss="squared") == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("precision@1", 0.0),
        ("precision@2", 1 / 2),
        ("precision@3", (0.5 + 1) / 3),
        ("precision@4", 2 / 4),
        ("precision@8", 2 / 8),  # places that no row fills are misses
        ("recall@1", 0.0),
        ("recall@2", 1 / 2),
        ("recall@3", 1.5 / 2),
        ("recall@9", 1.0),
        ("ndcg@2", (1 / math.log2(3)) / (1 + 1 / math.log2(3))),
        ("ndcg@4", (1 / math.log2(3) + 0.5 / 2 + 0.5 / math.log2(5)) / (1 + 1 / math.log2(3))),
    ],
)
def test_one_list_by_hand(name, want):
    assert value_of(name, [0, 1, 1, 0], [9, 8, 7, 7]) == pytest.approx(want, rel=1e-15)


def test_lists_by_hand():
    y_b, s_b, group_b = [1, 0, 0, 1, 0, 0], [2, 1, 2, 1, 1, 2], np.array([5, 5, 9, 9, 7, 7])
    assert value_of("precision@1", y_b, s_b, None, group_b) == 1 / 3
    assert value_of("recall@1", y_b, s_b, None, group_b) == 1 / 3  # group 7 holds no hit: 0
    assert value_of("recall@2", y_b, s_b, None, group_b) == 2 / 3
    assert value_of("ndcg@2", y_b, s_b, None, group_b) == pytest.approx((1 + 1 / math.log2(3)) / 3, rel=1e-15)
    assert value_of("gauc", y_b, s_b, None, group_b) == 0.5  # group 7 is left out
    weight_b = np.array([2.0, 4.0, 1.0, 1.0, 2.0, 2.0])
    assert value_of("recall@1", y_b, s_b, weight_b, group_b) == 3 / (3 + 1 + 2)  # a list: the mean weight of its rows
    assert value_of("gauc", y_b, s_b, weight_b, group_b) == 6 / (6 + 2)  # gauc: their sum


def test_a_list_in_the_best_order_has_ndcg_1_exactly():
    y_b, _, _, group_b = rows_of()
    kept = np.isin(group_b, group_b[y_b == 1])
    for seed in range(3):
        grades = y_b * np.random.default_rng(seed).integers(1, 6, len(y_b))
        assert value_of("ndcg@7", grades[kept], grades[kept] * 2, None, group_b[kept], "squared") == 1.0


@pytest.mark.parametrize("k", [1, 5, 20])
def test_ndcg_agrees_with_scikit_learn(k):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of this test")
    y_b, s_b, _, group_b = rows_of(rows=600, groups=200)
    by_group = {g: np.flatnonzero(group_b == g) for g in np.unique(group_b)}
    several = {g: rows for g, rows in by_group.items() if len(rows) > 1}  # scikit-learn refuses lists of one
    want = [metrics.ndcg_score(y_b[rows][None], s_b[rows][None], k=k) for rows in several.values()]
    kept = np.concatenate(list(several.values()))
    assert 0.0 in want  # a group without a hit is among them
    assert value_of(f"ndcg@{k}", y_b[kept], s_b[kept], None, group_b[kept]) == pytest.approx(np.mean(want), rel=1e-13)
    whole = metrics.ndcg_score(y_b[None], s_b[None], k=k)
    assert value_of(f"ndcg@{k}", y_b, s_b) == pytest.approx(whole, rel=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_agrees_with_scikit_learn(weighted):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of this test")
    y_b, s_b, weight_b, group_b = rows_of(rows=2000, groups=300)
    weight_b = weight_b if weighted else np.ones(len(y_b))
    found, weights = [], []
    for g in np.unique(group_b):
        rows = group_b == g
        if len(np.unique(y_b[rows])) == 2:
            found.append(metrics.roc_auc_score(y_b[rows], s_b[rows], sample_weight=weight_b[rows]))
            weights.append(weight_b[rows].sum())
    assert len(found) < len(np.unique(group_b))  # groups of one class are there
    want = np.average(found, weights=weights)
    assert value_of("gauc", y_b, s_b, weight_b if weighted else None, group_b) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_of_one_group_is_auc(weighted):
    y_b, s_b, weight_b, _ = rows_of()
    given = weight_b if weighted else None
    want = auc(y_b, s_b[:, None], weight_b if weighted else np.ones(len(y_b)))
    assert value_of("gauc", y_b, s_b, given) == pytest.approx(want, rel=1e-14)
    assert value_of("gauc", y_b, s_b, given) == value_of("gauc", y_b, s_b, given, np.full(len(y_b), 7))


# what holds for each of them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_order_of_rows_is_without_effect(name, weighted):
    y_b, s_b, weight_b, group_b = rows_of()
    want = value_of(name, y_b, s_b, weight_b if weighted else None, group_b)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(y_b))
        given = weight_b[order] if weighted else None
        assert value_of(name, y_b[order], s_b[order], given, group_b[order]) == want


def test_the_order_of_graded_rows_is_without_effect():
    _, s_b, weight_b, group_b = rows_of()
    grades = np.random.default_rng(1).random(len(s_b))
    want = value_of("ndcg@4", grades, s_b, weight_b, group_b, "squared")
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(s_b))
        assert value_of("ndcg@4", grades[order], s_b[order], weight_b[order], group_b[order], "squared") == want


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_groups_are_without_effect(name):
    y_b, s_b, weight_b, group_b = rows_of()
    renamed = np.random.default_rng(0).permutation(group_b.max() + 1)[group_b]
    assert value_of(name, y_b, s_b, weight_b, renamed) == value_of(name, y_b, s_b, weight_b, group_b)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_weight_0_count_for_nothing(name):
    y_b, s_b, weight_b, group_b = rows_of()
    kept = np.arange(len(y_b)) % 3 > 0
    want = value_of(name, y_b[kept], s_b[kept], weight_b[kept], group_b[kept])
    assert value_of(name, y_b, s_b, weight_b * kept, group_b) == want


@pytest.mark.parametrize("exponent", [-900, 900])
@pytest.mark.parametrize("name", NAMES)
def test_only_ratios_of_weights_matter(name, exponent):
    y_b, s_b, weight_b, group_b = rows_of()
    want = value_of(name, y_b, s_b, weight_b, group_b)
    assert value_of(name, y_b, s_b, np.ldexp(weight_b, exponent), group_b) == want
    assert value_of(name, y_b, s_b, np.full(len(y_b), 0.25), group_b) == value_of(name, y_b, s_b, None, group_b)


def test_a_weight_of_gauc_is_as_good_as_repeated_rows():
    y_b, s_b, _, group_b = rows_of()
    count = np.random.default_rng(1).integers(0, 4, len(y_b))
    again = np.repeat(np.arange(len(y_b)), count)
    want = value_of("gauc", y_b[again], s_b[again], None, group_b[again])
    assert value_of("gauc", y_b, s_b, count.astype(float), group_b) == want


@pytest.mark.parametrize("name", NAMES)
def test_inputs_stay_as_they_were(name):
    given = rows_of()
    before = [array.copy() for array in given]
    value_of(name, *given)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_two_zeros_are_one_score():
    assert value_of("precision@1", [1, 0], [-0.0, 0.0]) == 0.5
    assert value_of("gauc", [1, 0], [-0.0, 0.0]) == 0.5


def test_runs_are_added_up_each_by_itself():
    value_t = np.array([1e300, 1.0, 2.0, 4.0, 1e-300, 1e-300, 3.0])
    start_t = np.array([0, 1, 1, 1, 4, 4, 6])
    np.testing.assert_array_equal(running_sums(value_t, start_t), [1e300, 1.0, 3.0, 7.0, 1e-300, 2e-300, 3.0])


# refused rows


@pytest.mark.parametrize("name", LISTS)
def test_a_list_needs_a_hit(name):
    with pytest.raises(InputError, match=rf"{name} needs a row whose target is above 0.*got none among 3"):
        value_of(name, [0, 0, 0], [1, 2, 3])
    with pytest.raises(InputError, match="got none among 2"):
        value_of(name, [0, 0, 1], [1, 2, 3], np.array([1.0, 1.0, 0.0]))


def test_gauc_needs_a_group_of_both_classes():
    with pytest.raises(InputError, match=r"gauc needs a group with rows of both classes.*none among 2 groups"):
        value_of("gauc", [0, 0, 1], [1, 2, 3], None, np.array([0, 0, 1]))


def test_what_a_place_gains_is_not_negative():
    with pytest.raises(InputError, match=r"ndcg@5 needs targets of 0 or above.*got -0\.5"):
        value_of("ndcg@5", [1, -0.5], [1, 2], loss="squared")
