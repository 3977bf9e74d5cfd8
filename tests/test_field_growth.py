"""Encoders that grow: old features keep their numbers, new ones follow, against plain Python."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.row_encoder import RowEncoder

MIN_COUNT = 3
NAMES = ("city", "size", "member", "tags", "time", "user", "age")


def objects(values):
    return np.array([*values, None], object)[:-1]


def make_table(rows, seed, categories, missing=0.0):
    """Columns of every kind; later tables hold more categories."""
    random = np.random.default_rng(seed)
    skewed = np.minimum(random.geometric(0.2, rows), categories)
    city = objects([None if random.random() < missing else f"c{(i * 7) % 23}" for i in skewed])
    tags = objects([[f"t{j}" for j in random.integers(0, categories, random.integers(0, 4))] for _ in range(rows)])
    return {
        "city": city,
        "size": random.integers(0, categories, rows),
        "member": random.random(rows) < 0.5,
        "tags": tags,
        "time": objects([datetime(2026, 1, 1 + i % 28, i % categories) for i in range(rows)]),
        "user": random.integers(0, 1000, rows),
        "age": np.where(random.random(rows) < missing, np.nan, random.normal(size=rows)),
    }


def make_encoder(**options):
    kinds = {"multi": {"tags": None}, "multi_value": "mean", "dates": {"time": ("hour",)}, "hashed": {"user": 16}}
    return FieldEncoder(min_count=MIN_COUNT, bins=4, numeric_as="both", **{**kinds, **options})


def named(rows):
    """Each row as a dict of feature name to value."""
    parts = zip(rows.indptr[:-1].tolist(), rows.indptr[1:].tolist(), strict=True)
    return [
        {rows.feature_names[j]: rows.values[i] for i, j in enumerate(rows.indices[a:b].tolist(), a)} for a, b in parts
    ]


class Known:
    """What an encoder knows of one column of categories, in plain Python."""

    def __init__(self, values):
        self.own, self.rare, self.missing = set(), False, False
        self.learn(values)

    def learn(self, values):
        counts = Counter(value for value in values if value is not None)
        self.own |= {value for value, count in counts.items() if count >= MIN_COUNT}
        self.rare |= any(value not in self.own for value in counts)
        self.missing |= len(counts.keys()) > 0 and any(value is None for value in values)

    def name(self, column, value):
        if value is None:
            return f"{column} missing" if self.missing else None
        if value in self.own:
            return f"{column}={value}"
        return f"{column} rare" if self.rare else None


def assert_canonical(rows):
    again = FieldMatrix.from_matrix(rows.to_csr(), rows.fields)
    for name in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))


@pytest.mark.parametrize("seed", range(3))
def test_old_features_stay_and_new_ones_follow(seed):
    tables = [
        make_table(60, (seed, i), categories, missing)
        for i, (categories, missing) in enumerate(((5, 0), (9, 0.1), (14, 0.1)))
    ]
    encoder, known = make_encoder(), {}
    for i, table in enumerate(tables):
        before = () if i == 0 else tuple(encoder.get_feature_names_out())
        owned = () if i == 0 else encoder.transform(tables[0]).fields
        assert encoder.partial_fit(table) is encoder
        for column in ("city", "size", "member"):
            values = table[column].tolist()
            known[column] = Known(values) if i == 0 else (known[column].learn(values), known[column])[1]
        names = tuple(encoder.get_feature_names_out())
        assert names[: len(before)] == before
        for shown in tables:
            rows = encoder.transform(shown)
            assert_canonical(rows)
            np.testing.assert_array_equal(rows.fields[: len(owned)], owned)
            assert {rows.field_names[f] for f in rows.fields} == {*NAMES[:4], "time.hour", *NAMES[5:]}
            for row, got in enumerate(named(rows)):
                for column, what in known.items():
                    want = what.name(column, shown[column].tolist()[row])
                    assert [name for name in got if name.startswith((f"{column}=", f"{column} "))] == [
                        *([want] if want else [])
                    ]
    assert len(names) > len(before)


def test_what_did_not_come_later_keeps_its_rows():
    first, second = make_table(60, 0, 6), make_table(60, 1, 12)
    encoder = make_encoder()
    before = encoder.fit_transform(first)
    after = encoder.partial_fit(second).transform(first)
    promoted = set(encoder.get_feature_names_out()[before.n_features :])
    for old, new in zip(named(before), named(after), strict=True):
        if not promoted & new.keys():
            assert old == new
    assert before.encoder.n_features == before.n_features < encoder.n_features  # the encoder of then


def test_one_row_is_encoded_alike():
    encoder = make_encoder().partial_fit(make_table(60, 0, 6)).partial_fit(make_table(60, 1, 12, 0.2))
    table, alone = make_table(40, 2, 14, 0.2), RowEncoder(encoder)
    rows = encoder.transform(table)
    for i in range(40):
        features, values = alone.encode({name: column[i] for name, column in table.items()})
        own = slice(rows.indptr[i], rows.indptr[i + 1])
        order = np.argsort(features)
        np.testing.assert_array_equal(np.array(features)[order], rows.indices[own])
        np.testing.assert_array_equal(np.array(values)[order], rows.values[own])


def test_it_comes_back_from_its_description():
    encoder = make_encoder().partial_fit(make_table(60, 0, 6)).partial_fit(make_table(60, 1, 12, 0.2))
    arrays, document = encoder.describe()
    assert document["format"] == 3
    again = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
    table = make_table(40, 2, 14, 0.2)
    for name in ("indptr", "indices", "values", "fields"):
        np.testing.assert_array_equal(getattr(again.transform(table), name), getattr(encoder.transform(table), name))
    assert list(again.get_feature_names_out()) == list(encoder.get_feature_names_out())
    with pytest.raises(fwfm_gpu.errors.ModelFileError, match="an order that does not number all features"):
        FieldEncoder.restore({**arrays, "order": arrays["order"] * 0}, document)


def test_a_rare_category_that_grew_frequent_leaves_the_rare_feature_behind():
    encoder = FieldEncoder(min_count=2).fit({"a": ["x", "x", "y"]})
    encoder.partial_fit({"a": ["y", "y", "x"]})
    assert list(encoder.get_feature_names_out()) == ["a=x", "a rare", "a=y"]
    assert named(encoder.transform({"a": ["x", "y", "z"]})) == [{"a=x": 1}, {"a=y": 1}, {"a rare": 1}]
    again = FieldEncoder.restore(*encoder.describe())
    assert named(again.transform({"a": ["z"]})) == [{"a rare": 1}]


def test_nothing_new_changes_nothing():
    table = make_table(60, 0, 6)
    encoder = make_encoder().fit(table)
    before = encoder.get_feature_names_out().tolist()
    assert encoder.partial_fit(table).get_feature_names_out().tolist() == before
    assert encoder.feature_order is None and encoder.describe()[1]["format"] == 2


def test_numbers_of_another_kind_join():
    encoder = FieldEncoder(categorical=["a"], min_count=1).fit({"a": [1, 2]}).partial_fit({"a": [0.0, 1.0]})
    assert list(encoder.get_feature_names_out()) == ["a=1", "a=2", "a=0"]
    with pytest.raises(InputError, match=r"held whole numbers when the encoder was fitted: got 2\.5"):
        encoder.partial_fit({"a": [2.5]})
    floats = FieldEncoder(categorical=["a"], min_count=1).fit({"a": [0.5, 2.0]}).partial_fit({"a": [2, 3]})
    assert list(floats.get_feature_names_out()) == ["a=0.5", "a=2.0", "a=3.0"]


def test_a_model_grows_with_its_encoder(path):
    first, second = make_table(200, 0, 6), make_table(200, 1, 12, 0.1)
    y = np.arange(200) % 2
    encoder = make_encoder()
    model = fwfm_gpu.train(encoder.fit_transform(first), y, epochs=1, progress=False)
    n = model.parameters.n_features
    rows = encoder.partial_fit(second).transform(second)
    model.grow(rows).partial_fit(rows, y)
    assert model.parameters.n_features == encoder.n_features > n
    assert model.parameters.w[0, n:].any()
    model.save(path)
    loaded = fwfm_gpu.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(second), model.predict_proba(second))
    one = {name: column[3] for name, column in second.items()}
    assert loaded.scorer().score(one) == loaded.decision_function(second)[3]
    with pytest.raises(InputError, match="grows by rows"):
        model.grow([0])


@pytest.mark.parametrize(
    ("table", "kind", "words"),
    [
        ({"a": [1, 2], "b": ["p", "q"]}, InputTypeError, "held strings when the encoder was fitted"),
        ({"b": ["p", "q"]}, InputError, "'a' not there"),
        ({"a": ["=y", "x"], "b": ["p", "q"], "a=": ["y", "z"]}, InputError, "must not have the name of another"),
    ],
)
def test_what_it_refuses_leaves_it_as_it_was(table, kind, words):
    encoder = FieldEncoder(min_count=1)
    encoder.fit({"a": ["x", "x"], "b": ["p", "q"], **({"a=": ["y", "z"]} if "a=" in table else {})})
    before = encoder.get_feature_names_out().tolist()
    with pytest.raises(kind, match=words):
        encoder.partial_fit(table)
    assert encoder.get_feature_names_out().tolist() == before
