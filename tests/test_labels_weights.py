"""The weights of rows: those of samples times those of classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.labels import encode_targets, row_weights


@pytest.fixture
def encoded():
    return encode_targets(["a", "b", "a", "c", "a"], "softmax")


def test_no_weights(encoded):
    assert row_weights(*encoded, None, None) is None


@pytest.mark.parametrize(
    "sample_weight",
    [
        [1, 0, 2, 3, 0.5],
        np.array([1, 0, 2, 3, 0.5], np.float32),
        np.array([1, 0, 2, 3, 0.5], object),
        np.array([[1], [0], [2], [3], [0.5]]),
    ],
)
def test_sample_weights_are_widened_and_copied(encoded, sample_weight):
    weight = row_weights(*encoded, sample_weight, None)
    np.testing.assert_array_equal(weight, np.array([1, 0, 2, 3, 0.5]), strict=True)
    assert not np.shares_memory(weight, np.asarray(sample_weight))


def test_sample_weights_of_float64_are_copied(encoded):
    given = np.arange(5.0)
    row_weights(*encoded, given, None)[:] = 9
    np.testing.assert_array_equal(given, np.arange(5.0))


def test_sample_weights_need_no_classes():
    np.testing.assert_array_equal(row_weights(np.array([0.5, 1.5]), None, [True, False], None), [1.0, 0.0])


def test_class_weights_by_label(encoded):
    np.testing.assert_array_equal(row_weights(*encoded, None, {"a": 2, "c": 0.5}), [2, 1, 2, 0.5, 2])
    np.testing.assert_array_equal(row_weights(*encoded, None, {}), np.ones(5))


def test_balanced_weights_are_rows_over_classes_times_count(encoded):
    a, b = 5 / (3 * 3), 5 / (3 * 1)
    np.testing.assert_array_equal(row_weights(*encoded, None, "balanced"), [a, b, a, b, a])


def test_balanced_weights_count_rows_not_weights(encoded):
    sample_weight = np.array([1.0, 2.0, 3.0, 0.0, 0.1])
    want = sample_weight * row_weights(*encoded, None, "balanced")
    np.testing.assert_array_equal(row_weights(*encoded, sample_weight, "balanced"), want)


def test_balanced_weights_agree_with_scikit_learn():
    theirs = pytest.importorskip("sklearn.utils.class_weight", reason="scikit-learn is the oracle of this test")
    y = np.random.default_rng(0).choice(["a", "b", "c"], 100, p=[0.7, 0.2, 0.1])
    want = theirs.compute_sample_weight("balanced", y)
    np.testing.assert_array_equal(row_weights(*encode_targets(y, "softmax"), None, "balanced"), want)


def test_balanced_weights_where_a_known_class_has_no_rows(encoded):
    targets, labels = encode_targets(["a", "a", "b"], "softmax", encoded[1])
    with np.errstate(all="raise"):
        weight = row_weights(targets, labels, None, "balanced")
    np.testing.assert_array_equal(weight, [3 / 6, 3 / 6, 3 / 3])


@pytest.mark.parametrize("keys", [(0, 1), (False, True), (0.0, 1.0), (np.int64(0), np.int64(1))])
def test_class_weights_by_equal_numbers(keys):
    encoded = encode_targets([0, 1, 1], "logistic")
    np.testing.assert_array_equal(row_weights(*encoded, None, dict(zip(keys, (3, 4), strict=True))), [3, 4, 4])


@pytest.mark.parametrize(
    ("sample_weight", "error", "found"),
    [
        ([1, 2, 3], InputError, "one weight per row: expected 5, got 3"),
        (2.0, InputError, "expected the shape"),
        (np.ones((5, 2)), InputError, "expected the shape"),
        ([1, 2, -3, 4, -5], InputError, "must not be negative: got -3.0 at row 2"),
        (
            [1, 2, math.nan, 4, 5],
            InputError,
            "missing weight in sample_weight: expected one in every row, got nan at row 2",
        ),
        ([1, None, 2, 4, 5], InputError, "got None at row 1"),
        ([1, 2, 3, math.inf, 5], InputError, "sample_weight must be finite and fit float64: got inf at row 3"),
        (
            ["1", "2", "3", "4", "5"],
            InputTypeError,
            "sample_weight holds strings, got '1' at row 0: weights are numbers",
        ),
        ([1, 2, "3", 4, 5], InputTypeError, "got '3' of type str at row 2"),
        (np.zeros(5), InputError, "the weights of all 5 rows are zero"),
    ],
)
def test_refused_sample_weights(encoded, sample_weight, error, found):
    with pytest.raises(error) as caught:
        row_weights(*encoded, sample_weight, None)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("class_weight", "error", "found"),
    [
        ("even", OptionError, "None, 'balanced' or a dict of label: weight, got 'even'"),
        ([1, 2, 3], OptionError, "None, 'balanced' or a dict of label: weight, got [1, 2, 3]"),
        ({"z": 1.0}, InputError, "expected 'a', 'b', 'c', got 'z'"),
        ({0: 1.0}, InputError, "expected 'a', 'b', 'c', got 0"),
        ({"a": "2"}, InputTypeError, "class_weight['a'] must be a number, got '2'"),
        ({"a": None}, InputTypeError, "class_weight['a'] must be a number, got None"),
        ({"b": -1}, InputError, "class_weight['b'] must be finite and not negative, got -1"),
        ({"b": math.nan}, InputError, "class_weight['b'] must be finite and not negative, got nan"),
        ({"b": math.inf}, InputError, "class_weight['b'] must be finite and not negative, got inf"),
        ({"b": 10**400}, InputError, "class_weight['b'] must be finite"),
        ({"a": 0, "b": 0, "c": 0}, InputError, "the weights of all 5 rows are zero"),
    ],
)
def test_refused_class_weights(encoded, class_weight, error, found):
    with pytest.raises(error) as caught:
        row_weights(*encoded, None, class_weight)
    assert found in str(caught.value)


def test_class_weights_need_classes():
    with pytest.raises(OptionError, match=r"loss='squared' has none: got 'balanced'. Drop it"):
        row_weights(np.zeros(2), None, None, "balanced")


def test_a_product_of_weights_that_overflows_is_named(encoded):
    with pytest.raises(InputError, match=r"sample_weight times class_weight must be finite.*got inf at row 3"):
        row_weights(*encoded, np.full(5, 1e200), {"c": 1e200})


def test_products_of_weights_that_all_vanish_are_refused(encoded):
    with pytest.raises(InputError, match="the weights of all 5 rows are zero"):
        row_weights(*encoded, [1, 0, 1, 0, 1], {"a": 0})
