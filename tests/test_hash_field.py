"""Hashed columns: which bucket a value falls into, what fit counts, and what is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from encoded_tables import names_of

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError, OptionError
from fwfm_gpu.hash_field import find_bucket


def bucket(text, n_buckets, seed=0):
    """As the module describes it, step by step."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return sum(byte << (8 * i) for i, byte in enumerate(digest)) % n_buckets


def buckets_of(values, n_buckets=2**14, **options):
    """The bucket of each value, None where it has none."""
    encoder = FieldEncoder(hashed={"x": n_buckets}, **options).fit({"x": values})
    rows = encoder.transform({"x": values})
    return [int(rows.indices[a]) if a < b else None for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)]


def test_the_buckets_stay_what_they_were():
    assert [find_bucket(text, 2**20) for text in ("", "a", "Zürich", "-17")] == [1028035, 817593, 842598, 162292]
    assert find_bucket("a", 2**20, seed=2**64 - 1) == 537977


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a", "b", "", "Zürich", "a"], ["a", "b", "", "Zürich", "a"]),
        ([3, -17, 2**63 - 1, 0], ["3", "-17", str(2**63 - 1), "0"]),
        ([3.0, -0.0, 2.0**53, -17.0], ["3", "0", str(2**53), "-17"]),
        ([True, False], ["true", "false"]),
        (np.array([7, 255], np.uint8), ["7", "255"]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_a_value_is_hashed_by_its_text(values, texts, seed):
    assert buckets_of(values, hash_seed=seed) == [bucket(text, 2**14, seed) for text in texts]


def test_1_and_1_0_and_the_string_1_are_one_value_in_whichever_column_fit_saw():
    encoder = FieldEncoder(hashed={"x": 1000}).fit({"x": [1, 2]})
    want = encoder.transform({"x": [1, 17]}).fingerprint()
    assert encoder.transform({"x": [1.0, 17.0]}).fingerprint() == want
    assert encoder.transform({"x": ["1", "17"]}).fingerprint() == want


def test_missing_has_a_feature_behind_the_buckets_where_fit_saw_it_and_nothing_is_unknown():
    encoder = FieldEncoder(hashed={"x": 3}, unknown="error").fit({"x": ["a", None]})
    assert encoder.get_feature_names_out().tolist() == ["x#0", "x#1", "x#2", "x missing"]
    assert names_of(encoder.transform({"x": [None, "never seen"]})) == [["x missing"], [f"x#{bucket('never seen', 3)}"]]
    strict = FieldEncoder(hashed={"x": 3}, unknown="error").fit({"x": ["a", "b"]})
    with pytest.raises(InputError, match=r"column 'x' must hold values that fit saw.* a missing value at row 1"):
        strict.transform({"x": ["a", None]})
    lax = FieldEncoder(hashed={"x": 3}).fit({"x": ["a", "b"]})
    assert lax.transform({"x": ["a", None]}).indptr.tolist() == [0, 1, 1]


def test_several_columns_share_n_buckets_or_have_their_own():
    table = {"a": ["x"], "b": ["x"], "c": ["x"]}
    rows = FieldEncoder(hashed=["a", "b"], n_buckets=7, min_count=1).fit_transform(table)
    assert np.bincount(rows.fields).tolist() == [7, 7, 1]
    rows = FieldEncoder(hashed={"a": 5, "b": 1}, min_count=1).fit_transform(table)
    assert np.bincount(rows.fields).tolist() == [5, 1, 1]


@pytest.mark.parametrize("values", [np.arange(500), np.arange(500).astype(str), np.arange(500.0)])
def test_the_report_counts_collisions(values):
    values = np.concatenate([values, values[:100]])
    encoder = FieldEncoder(hashed={"x": 1000}).fit({"x": values})
    found = [bucket(str(i), 1000) for i in range(500)]
    shared = [i for i in range(500) if found.count(found[i]) > 1]
    report = encoder.report()[0]
    counted = report.collisions
    assert (report.kind, report.distinct, report.features, report.rare) == ("hashed", 500, 1000, 0)
    assert (counted.values, counted.used, counted.sharing) == (500, len(set(found)), len(shared))
    assert (counted.cells, counted.shared_cells) == (600, len(shared) + sum(i < 100 for i in shared))
    assert counted.expected == pytest.approx(500 * (1 - 0.999**499))
    assert f"{len(shared)} values share a bucket (197 by chance)" in str(encoder.report())


def test_the_collisions_of_many_hashes_are_those_of_chance():
    counted = FieldEncoder(hashed={"x": 2**12}).fit({"x": np.arange(2**12)}).report()[0].collisions
    assert abs(counted.sharing - counted.expected) < 5 * np.sqrt(counted.expected)


@pytest.mark.parametrize("n_buckets", [1, 2])
def test_few_buckets(n_buckets):
    counted = FieldEncoder(hashed={"x": n_buckets}).fit({"x": ["a"]}).report()[0].collisions
    assert (counted.sharing, counted.expected, counted.share) == (0, 0.0, 0.0)
    counted = FieldEncoder(hashed={"x": 1}).fit({"x": ["a", "b"]}).report()[0].collisions
    assert (counted.sharing, counted.expected, counted.share) == (2, 2.0, 1.0)


def test_many_buckets_give_rows_no_names_and_the_encoder_names_what_is_asked_for():
    table = {"x": ["a", None], "y": [["b"], ["c", "d"]], "z": [1.5, 2.5]}
    encoder = FieldEncoder(hashed={"x": 2**20, "y": 9}, multi=["y"]).fit(table)
    assert encoder.transform(table).feature_names is None
    assert encoder.n_features == 2**20 + 1 + 9 + 1
    asked = [0, 2**20 - 1, 2**20, 2**20 + 1, 2**20 + 10]
    assert encoder.name_features(asked) == ["x#0", "x#1048575", "x missing", "y#0", "z any"]
    small = FieldEncoder(hashed={"x": 7, "y": 9}).fit(table)
    assert small.name_features(range(18)) == list(small.transform(table).feature_names)
    assert small.get_feature_names_out().tolist() == list(small.transform(table).feature_names)
    assert encoder.name_features([]) == []


@pytest.mark.parametrize("wrong", [[-1], [19], [[1]], [1.5]])
def test_features_that_are_not_there_have_no_name(wrong):
    encoder = FieldEncoder(hashed={"x": 19}).fit({"x": ["a"]})
    with pytest.raises((InputError, InputTypeError), match="features"):
        encoder.name_features(wrong)


def test_a_restored_encoder_hashes_alike():
    table = {"x": ["a", "b", None], "y": [1, 2, 3]}
    encoder = FieldEncoder(hashed={"x": 100, "y": 50}, hash_seed=9).fit(table)
    arrays, document = encoder.describe()
    assert not arrays and document["format"] == 2
    restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
    assert restored.transform(table).fingerprint() == encoder.transform(table).fingerprint()
    assert restored.report() == encoder.report()
    assert repr(restored) == repr(encoder)
    for spoil in ({"n_buckets": 0}, {"seed": -1}, {"seed": 2**64}, {"missing": -1}, {"n_buckets": "7"}):
        spoilt = {**document, "fields": [document["fields"][0] | spoil, document["fields"][1]]}
        with pytest.raises(ModelFileError, match="an encoder must be described"):
            FieldEncoder.restore(arrays, spoilt)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1.5, 2.0], InputError, r"column 'x' must hold .* whole numbers up to 2\*\*53 in size to be hashed: got 1\.5"),
        ([2.0, 2.0**54], InputError, r"got 1\.8014398509481984e\+16"),
        (np.array(["2020"], "M8[D]"), InputTypeError, "column 'x' holds dates or times"),
        (["a", "\ud800"], InputError, "column 'x' must hold valid Unicode"),
    ],
)
def test_what_cannot_be_hashed_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        FieldEncoder(hashed=["x"]).fit({"x": values})
    encoder = FieldEncoder(hashed=["x"]).fit({"x": ["a"]})
    with pytest.raises(error, match=message if error is InputError else "column 'x' held values .* got times"):
        encoder.transform({"x": values})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hashed": {"x": 0}}, r"hashed\['x'\] must be an integer from 1 to 1073741824, got 0"),
        ({"hashed": "x"}, "hashed must be a list of column names, got 'x'"),
        ({"hashed": {1: 7}}, "hashed must be a list of column names"),
        ({"n_buckets": True}, "n_buckets must be an integer"),
        ({"hash_seed": -1}, "hash_seed must be an integer from 0"),
        ({"hash_seed": 2**64}, "hash_seed must be an integer from 0"),
        ({"hashed": ["x"], "numeric": ["x"]}, "column 'x' is named in both numeric and hashed"),
        ({"hashed": ["x"], "categorical": ["x"]}, "column 'x' is named in both categorical and hashed"),
    ],
)
def test_options_outside_what_is_allowed(options, message):
    with pytest.raises(OptionError, match=message):
        FieldEncoder(**options)


def test_a_hashed_column_that_is_not_there():
    with pytest.raises(InputError, match="hashed names column 'z', which is not there"):
        FieldEncoder(hashed=["z"]).fit({"x": [1]})
