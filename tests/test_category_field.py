"""Categories in sorted order, the rare, the missing and the unseen."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.category_field import NOTHING, fit_categories, present_values
from fwfm_gpu.columns import read_column
from fwfm_gpu.errors import InputError


def fit(values, min_count=1):
    column = read_column("x", values)
    return fit_categories(column, present_values(column), min_count)


def features(field, values, unknown="learned"):
    return field.encode(read_column("x", values), unknown).features[0].tolist()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "é", "a", "B", ""], ["x=", "x=B", "x=a", "x=b", "x=é"]),
        ([10, 9, -1], ["x=-1", "x=9", "x=10"]),
        ([1.5, -0.0, 0.0], ["x=0.0", "x=1.5"]),
        ([True, False], ["x=False", "x=True"]),
        (["a", None], ["x=a", "x missing"]),
    ],
)
def test_categories_are_numbered_in_sorted_order(values, names):
    field = fit(values)
    assert field.feature_names() == names
    assert field.n_features == len(names)
    encoded = features(field, values)
    assert sorted(set(encoded)) == list(range(len(names)))


def test_rare_categories_share_a_feature_after_the_frequent_ones():
    field = fit(["c", "a", "c", "b", None], min_count=2)
    assert field.feature_names() == ["x=c", "x rare", "x missing"]
    assert features(field, ["a", "b", "c", None]) == [1, 1, 0, 2]


@pytest.mark.parametrize(("unknown", "expected"), [("learned", 1), ("ignore", NOTHING), ("error", NOTHING)])
def test_the_unseen_go_where_unknown_says_and_the_rare_do_not(unknown, expected):
    field = fit(["c", "a", "c"], min_count=2)
    encoded = field.encode(read_column("x", ["z", "a", "c"]), unknown)
    assert encoded.features[0].tolist() == [expected, 1, 0]
    assert encoded.unseen.tolist() == [True, False, False]


def test_without_a_rare_category_the_unseen_contribute_nothing():
    assert features(fit(["a", "b"]), ["z", "b"]) == [NOTHING, 1]


def test_missing_that_fit_did_not_see_is_unseen():
    encoded = fit(["a", "b"]).encode(read_column("x", ["a", None]), "learned")
    assert encoded.features[0].tolist() == [0, NOTHING]
    assert encoded.unseen.tolist() == [False, True]


def test_missing_that_fit_saw_is_not_unseen():
    assert fit(["a", None]).encode(read_column("x", [None, "a"]), "learned").unseen is None


@pytest.mark.parametrize(
    ("fitted", "asked", "expected"),
    [
        ([1, 2, 3], [2.0, 2.5, np.nan, 3.0], [1, NOTHING, NOTHING, 2]),
        ([1.0, 2.5], [1, 2, 3], [0, NOTHING, NOTHING]),
        ([2**53, 2**53 + 1], [2**53 + 1, 2**53 + 2], [1, NOTHING]),
        ([-(2**63), 2**63 - 1], [2**63 - 1, -(2**63)], [1, 0]),
    ],
)
def test_integers_and_floats_are_compared_by_value(fitted, asked, expected):
    assert features(fit(fitted), asked) == expected


def test_a_string_with_a_trailing_nul_is_another_string():
    assert features(fit(["a", "a\0"]), ["a\0", "a"]) == [1, 0]


def test_a_string_that_no_file_can_hold_is_refused():
    with pytest.raises(InputError, match=r"column 'x' must hold valid Unicode: got '\\ud800'"):
        fit(["é", "\ud800"])
