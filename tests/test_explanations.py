"""Explanations: terms beside a loop that spells them out, and their sums beside the scores."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from conftest import DEVICES, make_backend
from handmade_models import handmade
from small_models import make_rows, train

from fwfm_gpu import FieldMatrix
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, OptionError

MODULE = sys.modules["fwfm_gpu.explanations"]
ROWS, FIELDS = 70, [0, 0, 0, 1, 1, 2, 2, 2, 4]  # field 3 has no feature
KINDS = ("ids", "lacking", "several", "values", "unsorted")
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


def matrix(kind):
    """One feature of each field; at most one; any number; with values; of fields in no order."""
    generator = np.random.default_rng(5)
    if kind == "ids":
        return FieldMatrix.from_ids(generator.integers(4, size=(ROWS, 5)), [4] * 5)
    if kind == "lacking":
        X = np.zeros((ROWS, 9))
        X[np.arange(ROWS)[:, None], [[0, 3, 5, 8]]] = 1
        return FieldMatrix.from_matrix(X * (generator.random(X.shape) < 0.7), FIELDS)
    X = generator.normal(size=(ROWS, len(FIELDS))) * (generator.random((ROWS, len(FIELDS))) < 0.5)
    X[3] = 0
    X = (X != 0).astype(float) if kind == "several" else X
    return FieldMatrix.from_matrix(X, [4, 2, 0, 2, 1, 0, 2, 1, 0] if kind == "unsorted" else FIELDS)


def terms(model, rows, b, c):
    """The terms of a score as numerics 3 has them, in its order: of features, and of pairs."""
    p = model.parameters
    T = p.dtype.type
    places = range(rows.indptr[b], rows.indptr[b + 1])
    row = [(int(rows.indices[e]), int(rows.fields[rows.indices[e]]), T(rows.values[e])) for e in places]
    linear = [(f, p.w[c, i] * x) for i, f, x in row]
    pairs = []
    for (i, f, x), (j, g, y) in itertools.combinations(row, 2):
        d = T(0)
        for t in range(p.n_factors):
            d = d + p.V[c, i, t] * p.V[c, j, t]
        pairs.append(((min(f, g), max(f, g)), ((p.R[c, min(f, g), max(f, g)] * d) * x) * y))
    return linear, pairs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", ["many", "few"])
def test_terms_are_those_of_the_score(kind, C, dtype, at_once, monkeypatch):
    if at_once == "few":
        monkeypatch.setattr(sys.modules["fwfm_gpu.contributions"], "AT_ONCE", 100)
        monkeypatch.setattr(sys.modules["fwfm_gpu.contributions"], "COUNTED_AT_ONCE", 13)
    rows = matrix(kind).rounded(dtype)
    model = handmade(rows, C, dtype=dtype)
    found = model.explain(rows)
    T, column = np.dtype(dtype).type, {tuple(pair): m for m, pair in enumerate(found.pair_fields.tolist())}
    for b, c in itertools.product(range(ROWS), range(C)):
        at = (b,) if C == 1 else (b, c)
        linear, pairs = terms(model, rows, b, c)
        expected_linear, expected_pairs = np.zeros(rows.n_fields), np.zeros(len(column))
        for f, term in linear:
            expected_linear[f] += term
        for slot, term in pairs:
            expected_pairs[column[slot]] += term
        np.testing.assert_array_equal(found.linear[at], expected_linear.astype(T))
        np.testing.assert_array_equal(found.pairs[at], expected_pairs.astype(T))
        sizes = np.array([model.parameters.w0[c], *(t for _, t in linear), *(t for _, t in pairs)], np.float64)
        bound = 2 * len(sizes) * UNIT[dtype] * np.abs(sizes).sum()
        assert abs(found.sums()[at] - float(found.scores[at])) <= bound
    assert found.linear.dtype == found.pairs.dtype == found.scores.dtype == dtype
    assert not found.rest.any() and found.bias.shape == found.scores.shape[1:]
    assert found.scores.tobytes() == model.decision_function(rows).tobytes()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_every_engine(kind, device):
    rows, engine = matrix(kind).rounded("float32"), make_backend(device)
    model = handmade(rows, C=2)
    scores = engine.score(engine.load_model(model.parameters), engine.load_data(rows))
    np.testing.assert_array_equal(model.explain(rows).scores, scores)


def test_one_feature_per_field_adds_up_to_the_very_score_in_its_order():
    rows = matrix("ids")
    model = handmade(rows)
    found = model.explain(rows)
    assert found.pair_fields.tolist() == [list(pair) for pair in itertools.combinations(range(5), 2)]
    score = np.full(ROWS, found.bias)
    for column in (*found.linear.T, *found.pairs.T):
        score = score + column
    np.testing.assert_array_equal(score, found.scores)


def test_the_bound_is_of_use():
    """Scores do differ from the sums: equality would be too much to promise."""
    rows = matrix("several")
    found = handmade(rows).explain(rows)
    assert np.any(found.sums() != found.scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("C", [1, 2])
def test_the_strongest_pairs_and_the_rest(kind, C):
    rows = matrix(kind)
    model = handmade(rows, C)
    whole = model.explain(rows)
    strength = model.field_strengths(rows)
    for n in (0, 2, 100):
        part = model.explain(rows, pairs=n)
        assert [tuple(pair) for pair in part.pair_fields.tolist()] == strength.pairs()[:n]
        columns = [whole.pair_fields.tolist().index(pair) for pair in part.pair_fields.tolist()]
        np.testing.assert_array_equal(part.pairs, whole.pairs[..., columns])
        np.testing.assert_array_equal(part.scores, whole.scores)
        others = np.delete(whole.pairs.astype(float), columns, axis=-1).sum(axis=-1)
        np.testing.assert_allclose(part.rest, others, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(model.explain(rows, pairs=100).rest, 0)


@pytest.mark.parametrize("pairs", ["all", 2])
def test_chunks_are_the_whole(pairs):
    rows = matrix("several")
    model = handmade(rows, C=2)
    whole, parts = model.explain(rows, pairs=pairs), list(model.explain_chunks(rows, pairs=pairs, chunk_rows=32))
    assert [len(part) for part in parts] == [32, 32, 6]
    for name in ("linear", "pairs", "rest", "scores"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    for part in parts:
        np.testing.assert_array_equal(part.pair_fields, whole.pair_fields)
    assert len(list(model.explain_chunks(rows))) == 1


def test_a_result_that_is_too_large_is_refused_before_it_is_made(monkeypatch):
    rows = matrix("ids")
    model = handmade(rows)
    monkeypatch.setattr(MODULE, "MOST_BYTES", ROWS * (5 + 10 + 2) * 4)
    model.explain(rows)
    monkeypatch.setattr(MODULE, "MOST_BYTES", ROWS * (5 + 10 + 2) * 4 - 1)
    with pytest.raises(InputError, match=r"70 rows and 10 pairs of fields take .* GiB, more than .*explain_chunks"):
        model.explain(rows)
    assert len(list(model.explain_chunks(rows))) == 9  # an eighth each
    model.explain(rows, pairs=3)


@pytest.mark.parametrize("X", [np.zeros((2, 9)), np.zeros((0, 9))])
def test_rows_without_anything(X):
    rows = matrix("several")
    for pairs in ("all", 3):
        found = handmade(rows).explain(FieldMatrix.from_matrix(X, FIELDS), pairs=pairs)
        assert found.pairs.shape == (len(X), 0) and len(found) == len(X)
        np.testing.assert_array_equal(found.scores, np.full(len(X), found.bias))
        assert str(found).startswith(f"Explanations of {len(X) or 'no'} rows")


def test_a_linear_model():
    rows = matrix("values")
    model = handmade(rows, k=0)
    found = model.explain(rows)
    assert not found.pairs.any()
    np.testing.assert_array_equal(found.scores, model.decision_function(rows))


def test_a_table_through_the_encoder():
    table = {"town": np.array(["Bern", "Oslo", "Rome", None] * 10, object), "size": np.linspace(0, 1, 40)}
    rows = FieldEncoder(numeric_as="both", bins=4).fit_transform(table)
    y = np.where(np.arange(40) % 4 == 1, "yes", "no")
    model = train(rows, y, device="numpy")
    one, other = model.explain(table), model.explain(rows)
    np.testing.assert_array_equal(one.pairs, other.pairs)
    assert one.field_names == ("town", "size")
    assert one.pair_names == ("town \N{MULTIPLICATION SIGN} size", "size \N{MULTIPLICATION SIGN} size")
    text = one.show(1)
    assert "town=Oslo" in text and "pairs within size" in text and text.splitlines()[-1].endswith("score")
    assert "size (standardised) [" in text  # a value other than 1


def test_arrays_are_plain_and_read_only():
    X = np.random.default_rng(0).integers(0, 2, size=(20, 4))
    found = train(X, np.arange(20) % 2, device="numpy").explain(X)
    for array in (found.bias, found.linear, found.pairs, found.rest, found.scores, found.pair_fields):
        assert type(array) is np.ndarray and not array.flags.writeable


# what is shown


def shown():
    names = {"field_names": ["age", "job"], "feature_names": ["young", "old", "cook", "nurse"]}
    rows = FieldMatrix.from_ids([[0, 0], [1, 1]], [2, 2], **names)
    V = [[1], [2], [3], [4]]
    return handmade(rows, k=1, w0=[0.5], w=[1, -2, 0.25, 0], V=V, R=[[1, 0.5], [9, 1]]).explain(rows)


def test_one_row_as_a_table():
    assert shown().show(1).splitlines() == [
        "row 1",
        "+0.500  bias",
        "+4.000  old \N{MULTIPLICATION SIGN} nurse",
        "-2.000  old",
        "+2.500  score",
    ]
    assert shown().show(1, n=1).splitlines()[3:] == ["-2.000  all others", "+2.500  score"]


def test_all_rows_as_a_table():
    assert str(shown()).splitlines() == [
        "Explanations of 2 rows: mean |term|",
        "2.750  pair   age \N{MULTIPLICATION SIGN} job",
        "1.500  field  age",
        "0.125  field  job",
    ]


def test_one_label_of_several():
    rows = matrix("ids")
    found = handmade(rows, C=3, labels=["a", "b", "c"]).explain(rows)
    best = int(np.argmax(found.scores[4]))
    assert found.show(4).splitlines()[0] == f"row 4, label {'abc'[best]!r}"
    assert found.show(4) == found.show(4, label="abc"[best])
    assert found.show(4, label="abc"[best - 1]) != found.show(4)


def test_fields_without_names_are_numbered():
    rows = matrix("ids")
    found = handmade(rows).explain(rows)
    assert "field 0: feature " in found.show(0) and found.pair_names[0] == "field 0 \N{MULTIPLICATION SIGN} field 1"


# what is refused


@pytest.mark.parametrize("pairs", ["some", -1, 1.5, None, True])
def test_pairs_are_all_or_a_number(pairs):
    rows = matrix("ids")
    for explain in (handmade(rows).explain, handmade(rows).explain_chunks):
        with pytest.raises(OptionError, match='pairs must be "all" or a whole number'):
            explain(rows, pairs=pairs)


@pytest.mark.parametrize("chunk_rows", [0, 1.5, True])
def test_chunks_have_rows(chunk_rows):
    rows = matrix("ids")
    with pytest.raises(OptionError, match="chunk_rows must be"):
        handmade(rows).explain_chunks(rows, chunk_rows=chunk_rows)


def test_rows_are_checked_before_the_first_chunk_is_asked_for():
    model = handmade(matrix("ids"))
    with pytest.raises(InputError, match="columns that the model was trained on"):
        model.explain_chunks(np.zeros((3, 2)))
    with pytest.raises(InputTypeError, match="without an encoder"):
        model.explain({"a": [1]})


def test_what_is_shown_is_there():
    with pytest.raises(InputError, match="row must be a number from 0 to 1: got 2"):
        shown().show(2)
    with pytest.raises(OptionError, match="n must be"):
        shown().show(0, n=0)
    with pytest.raises(OptionError, match="label is for softmax alone"):
        shown().show(0, label="yes")


def test_a_model_that_trains_on_is_explained_as_it_is_now():
    rows, y = make_rows()
    model = train(rows, y, device="numpy")
    before = model.explain(rows).scores
    model.partial_fit(rows, y)
    after = model.explain(rows).scores
    assert np.any(before != after)
    np.testing.assert_array_equal(after, model.decision_function(rows))
