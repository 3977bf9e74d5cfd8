"""The strongest feature pairs beside a loop over all of them."""

from __future__ import annotations

import itertools
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from handmade_models import handmade
from small_models import make_rows, train

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.interactions import Interactions, Search

MODULE = sys.modules["fwfm_gpu.interactions"]


def matrix(sizes, **names):
    """Columns of fields that have so many features."""
    return FieldMatrix.from_ids(np.zeros((0, len(sizes)), int), sizes, **names)


def spelled_out(model, n, pairs=None, c=None):
    """Every pair, one number at a time; features, values and strength of the first n."""
    p = model.parameters
    V, R = (array.astype(np.float64).tolist() for array in (p.V, p.R))
    fields = model.columns.fields.tolist()
    classes = range(p.n_classes) if c is None else [c]
    found = []
    for i, j in itertools.combinations(range(p.n_features), 2):
        slot = tuple(sorted((fields[i], fields[j])))
        if not (p.w[:, i].any() and p.w[:, j].any()) or (pairs is not None and slot not in pairs):
            continue
        values = []
        for at in classes:
            d = 0.0
            for a, b in zip(V[at][i], V[at][j], strict=True):
                d = d + a * b
            values.append(d * R[at][slot[0]][slot[1]])
        strength = abs(values[0])
        if len(values) > 1:
            total = 0.0
            for value in values:
                total = total + value
            mean, squares = total / len(values), 0.0
            for value in values:
                squares = squares + (value - mean) * (value - mean)
            strength = float(np.sqrt(squares))
        if strength > 0:
            found.append(((i, j), tuple(values), strength))
    found.sort(key=lambda pair: (-pair[2], pair[0]))
    return found[:n]


def assert_found(found, expected):
    assert [(pair.features, pair.values, pair.strength) for pair in found] == expected


@pytest.fixture(params=["usual blocks", "small blocks"])
def blocks(request, monkeypatch):
    """Small ones make many bounds of a small problem."""
    if request.param == "small blocks":
        monkeypatch.setattr(MODULE, "FIRST_BLOCK", 1)
        monkeypatch.setattr(MODULE, "MOST_AT_ONCE", 2**10)
        monkeypatch.setattr(MODULE, "CANDIDATES_AT_ONCE", 7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("n", [1, 10, 2_000])
def test_the_strongest_of_all_pairs(blocks, n, C, dtype):
    model = handmade(matrix([30, 4, 0, 1, 20]), C, k=4, dtype=dtype)
    assert_found(model.top_interactions(n), spelled_out(model, n))


@pytest.mark.parametrize("C", [1, 2])
def test_ties_go_to_the_smaller_numbers(blocks, C):
    rows = matrix([30, 30, 30])
    V = np.random.default_rng(0).integers(-1, 2, size=(C, 90, 2))
    model = handmade(rows, C, k=2, V=V, R=np.full((C, 3, 3), 2))
    strengths = [pair.strength for pair in model.top_interactions(200)]
    assert strengths[0] == strengths[10]
    for n in (1, 7, 200):
        assert_found(model.top_interactions(n), spelled_out(model, n))


@pytest.mark.parametrize("C", [1, 3])
def test_heavy_tails_are_pruned_and_nothing_is_lost(monkeypatch, C):
    sizes, generator = [150, 150], np.random.default_rng(3)
    V = generator.normal(size=(C, 300, 3)) * (generator.pareto(1, 300) + 0.01)[:, None]
    model = handmade(matrix(sizes), C, V=V)
    multiplied = []
    multiply = Search._multiply

    def counted(search, p, q, a, b, bound):
        multiplied.append(len(search.sorted[p].block(a)) * len(search.sorted[q].block(b)))
        multiply(search, p, q, a, b, bound)

    monkeypatch.setattr(Search, "_multiply", counted)
    monkeypatch.setattr(MODULE, "FIRST_BLOCK", 8)
    found = model.top_interactions(5)
    assert sum(multiplied) < 0.2 * 300 * 300 / 2
    assert_found(found, spelled_out(model, 5))


def test_differences_below_the_last_digit_of_float32_are_seen(monkeypatch):
    monkeypatch.setattr(MODULE, "FIRST_BLOCK", 4)
    m = np.arange(1, 201)
    V = np.zeros((201, 3))
    V[0] = 1, 2.0**-15, 0
    V[1:] = np.stack((np.ones(200), m * 2.0**-15, 2 / m), axis=1)  # the strongest have the smallest norms
    rows = matrix([1, 200])
    model = handmade(rows, V=V, R=np.ones((2, 2)))
    found = model.top_interactions(5, fields=(0, 1))
    assert [pair.features for pair in found] == [(0, 200), (0, 199), (0, 198), (0, 197), (0, 196)]
    assert found[0].value == 1 + 200 * 2.0**-30


def test_products_that_float32_rounds_down_are_not_lost(monkeypatch):
    monkeypatch.setattr(MODULE, "FIRST_BLOCK", 1)
    v, r = np.float32(1.03), np.float32(2.01)  # products a little above powers of 2 round most
    strong = (1.95 + np.arange(2000) * 2.0**-23).astype(np.float32)
    exact, rough = np.float64(v) * strong * r, (v * strong) * r
    at = int(np.argmax(exact - rough))
    below = (exact[at] - 2.0**-25) / r  # as a float32 and a little
    weak = np.float32(below), np.float32(below - np.float32(below))
    assert rough[at] < np.float32(np.float64(r) * below) and below * r < exact[at]  # the stronger one looks weaker
    V = [[v, 1, 1], [0, *weak], [strong[at], 0, 0]]  # the weaker one comes first: its norm is larger
    model = handmade(matrix([1, 2]), V=V, R=[[r, r], [0, r]])
    assert model.top_interactions(1, fields=(0, 1))[0].features == (0, 2)


def test_a_class_whose_largest_norms_come_late(monkeypatch):
    monkeypatch.setattr(MODULE, "FIRST_BLOCK", 1)
    V = [[[1], [0.01], [5], [1]], [[1], [10], [0], [0]]]  # the second counts for its other class, which R mutes
    R = np.full((2, 3, 3), 2.0)
    R[1, 0, 1] = 0.001
    model = handmade(matrix([1, 2, 1]), C=2, k=1, V=V, R=R)
    assert_found(model.top_interactions(1), spelled_out(model, 1))
    model = handmade(matrix([1, 2, 1]), C=2, k=1, V=V, R=R * (1 - np.eye(3)))
    assert_found(model.top_interactions(1), [((0, 2), (10.0, 0.0), 50**0.5)])


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("size", [1e-42, 1e-12, 1e25])
def test_factors_whose_products_leave_float32(size, C, monkeypatch):
    monkeypatch.setattr(MODULE, "FIRST_BLOCK", 4)
    V = np.random.default_rng(0).normal(size=(C, 40, 4)) * size
    model = handmade(matrix([20, 20]), C, k=4, V=V)
    expected = spelled_out(model, 6)
    assert len(expected) == 6
    assert_found(model.top_interactions(6), expected)


def test_one_pair_of_fields_by_name_or_number():
    model = handmade(matrix([6, 5, 4], field_names=["age", "job", "town"]))
    for fields in (("age", "town"), ("town", 0), [np.int64(2), "age"]):
        assert_found(model.top_interactions(4, fields=fields), spelled_out(model, 4, {(0, 2)}))
    assert_found(model.top_interactions(4, fields=("job", "job")), spelled_out(model, 4, {(1, 1)}))


def test_one_label_of_several():
    model = handmade(matrix([6, 5, 4]), C=3, labels=["a", "b", "c"])
    assert_found(model.top_interactions(4, label="b"), spelled_out(model, 4, c=1))
    alone = model.top_interactions(1, label="b")[0]
    assert alone.value == alone.values[0] and "label" not in str(model.top_interactions(1, label="b"))


def test_what_all_labels_share_is_no_strength():
    model = handmade(matrix([1, 2]), C=2, k=1, V=[[3, 1, 2], [3, 1, 1]], R=np.full((2, 2, 2), 2))
    first, second = model.top_interactions(5)
    assert (first.features, first.values) == ((0, 2), (12.0, 6.0))
    assert (second.features, second.values) == ((1, 2), (4.0, 2.0))
    assert first.leading == 0 and first.value == 12.0  # and 6 for either label, of (0, 1), changes no probability


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("at_once", ["many", "few"])
def test_pairs_that_rows_hold(C, at_once, monkeypatch):
    if at_once == "few":
        monkeypatch.setattr(MODULE, "CANDIDATES_AT_ONCE", 3)
        monkeypatch.setattr(sys.modules["fwfm_gpu.held_pairs"], "AT_ONCE", 10)
    X = np.random.default_rng(0).random((30, 12)) < 0.3
    rows = FieldMatrix.from_matrix(X.astype(float), fields=[0] * 4 + [1] * 8)
    model = handmade(rows, C)
    together = X.T.astype(int) @ X
    every = spelled_out(model, 1000)
    for min_rows in (1, 4):
        expected = [pair for pair in every if together[pair[0]] >= min_rows]
        for n in (5, 1000):
            found = model.top_interactions(n, X=rows, min_rows=min_rows)
            assert_found(found, expected[:n])
            assert [pair.rows for pair in found] == [together[pair.features] for pair in found]
    within = model.top_interactions(1000, X=rows, fields=(1, 1))
    assert_found(within, [pair for pair in expected_pairs(every, together) if min(pair[0]) >= 4])
    assert str(found).splitlines()[0].endswith("  rows") and every[0] and model.top_interactions(1)[0].rows is None
    assert model.top_interactions(X=rows.take([])) == ()


def expected_pairs(every, together):
    return [pair for pair in every if together[pair[0]]]


def test_features_and_pairs_that_were_never_trained_are_left_out():
    rows, y = make_rows()
    n = rows.n_features
    wide = FieldMatrix.from_csr(
        rows.indptr, rows.indices, rows.values, (rows.n_rows, n + 3), [*rows.fields.tolist(), 1, 3, 3]
    )
    model = train(wide, y, device="numpy")
    for kept in (model, without_state(model)):
        found = kept.top_interactions(1000)
        assert {i for pair in found for i in pair.features} == set(range(n))
        assert {pair.fields for pair in found} == {(0, 1), (0, 2), (1, 2)}
        assert kept.top_interactions(5, fields=(0, 3)) == ()
        assert {pair.fields for pair in kept.top_interactions(5, fields=(0, 0))} == {(0, 0)}


def without_state(model):
    copy = pickle.loads(pickle.dumps(model))
    copy.trained = replace(copy.trained, optimizer_state=None)
    return copy


def test_two_features_of_one_field_count_where_rows_held_both():
    X = np.random.default_rng(0).integers(0, 2, size=(40, 6))
    model = train(FieldMatrix.from_matrix(X, fields=[0, 0, 0, 1, 1, 1]), np.arange(40) % 2, device="numpy")
    assert {pair.fields for pair in model.top_interactions(100)} == {(0, 0), (0, 1), (1, 1)}
    held = train(
        FieldMatrix.from_matrix(X, fields=[0, 0, 0, 1, 1, 1]), np.arange(40) % 2, field_weights="ones", device="numpy"
    )
    assert {pair.fields for pair in held.top_interactions(100)} == {(0, 1)}
    assert {pair.fields for pair in held.top_interactions(100, fields=(1, 1))} == {(1, 1)}


@pytest.mark.parametrize("options", [{"epochs": 0}, {"n_factors": 0}])
def test_nothing_learned_is_nothing_found(options):
    found = train(*make_rows(), device="numpy", **options).top_interactions()
    assert found == () and str(found) == "no feature pair was learned"


def test_the_table():
    names = {"field_names": ["age", "job"], "feature_names": ["young", "old", "cook", "nurse \x1b" + "x" * 99]}
    model = handmade(matrix([2, 2], **names), k=1, V=[1, 2, 3, -4], R=np.ones((2, 2)))
    assert str(model.top_interactions(2, fields=("age", "job"))).splitlines() == [
        "   features" + " " * 52 + "fields        value",
        "1  old       nurse \N{REPLACEMENT CHARACTER}xxxxxxxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxx  age     job  -8.000",
        "2  old       cook                                              age     job  +6.000",
    ]
    assert model.top_interactions(1, fields=(1, 1))[0].names == ("cook", names["feature_names"][3])
    softmax = str(handmade(matrix([3, 3]), C=2, labels=["yes", "no"]).top_interactions(3))
    assert softmax.splitlines()[0].split() == ["features", "fields", "value", "label", "strength"]
    assert "yes" in softmax or "no" in softmax
    assert "feature 0" in str(handmade(matrix([1, 1])).top_interactions()) and "field 1" in softmax


def test_long_tables_end():
    text = str(handmade(matrix([20, 20])).top_interactions(150))
    assert len(text.splitlines()) == 102 and text.endswith("... 50 more")


def test_results_are_tuples_that_travel():
    found = handmade(matrix([3, 3]), C=2).top_interactions(3)
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again, Interactions) and again == found and str(again) == str(found)
    with pytest.raises(AttributeError, match="cannot assign"):
        found[0].strength = 0.0


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_n_is_a_positive_number(n):
    with pytest.raises(OptionError, match="n must be a whole number, 1 or above"):
        handmade(matrix([2, 2])).top_interactions(n)
    with pytest.raises(OptionError, match="min_rows must be a whole number, 1 or above"):
        handmade(matrix([2, 2])).top_interactions(X=matrix([2, 2]), min_rows=n)
    with pytest.raises(OptionError, match="min_rows needs rows to count: got min_rows=2 and no X"):
        handmade(matrix([2, 2])).top_interactions(min_rows=2)


@pytest.mark.parametrize("fields", ["ab", ("a",), ("a", "z"), (0, 2), (0, -1), (0, True), (0, 1, 1), 3, (0, 1.0)])
def test_fields_are_two_of_the_model(fields):
    with pytest.raises(InputError, match="fields must"):
        handmade(matrix([2, 2], field_names=["a", "b"])).top_interactions(fields=fields)


def test_labels_are_those_of_softmax():
    with pytest.raises(OptionError, match="label is for softmax alone"):
        handmade(matrix([2, 2])).top_interactions(label="yes")
    with pytest.raises(OptionError, match=r"one of the model's: got 'd'\. There are: 'a', 'b'"):
        handmade(matrix([2, 2]), C=2, labels=["a", "b"]).top_interactions(label="d")
