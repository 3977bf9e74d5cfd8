"""Cuts that survive skew, scales by exact sums."""

from __future__ import annotations

from operator import ge, gt, le, lt

import numpy as np
import pytest

from fwfm_gpu.number_field import Cuts, cut, find_peaks, standardise

SKEWED = np.concatenate((np.zeros(900), np.arange(1.0, 101.0)))  # nine rows of ten are 0


COMPARE = {"<": lt, "<=": le, ">": gt, ">=": ge, "(": gt, "[": ge, ")": lt, "]": le}


def cut_rows(rows, bins, min_count=1):
    return cut(*np.unique(rows, return_counts=True), bins, min_count)


def peaks_by_definition(counts, bins):
    """One after another, the largest that holds more than a bin's share of what is left."""
    counts, peaks = dict(enumerate(counts)), set()
    while counts:
        largest = max(counts, key=counts.get)
        if counts[largest] * min(bins, sum(counts.values())) <= sum(counts.values()):
            break
        peaks.add(largest)
        del counts[largest]
    return sorted(peaks)


def test_even_values_are_cut_into_equal_counts():
    cuts = cut_rows(np.arange(100.0), 4)
    assert cuts.names("x") == ["x < 25", "x in [25, 50)", "x in [50, 75)", "x >= 75"]
    assert np.bincount(cuts.find(np.arange(100.0))).tolist() == [25, 25, 25, 25]


def test_a_value_with_more_than_a_bins_share_has_a_bin_of_its_own_and_the_rest_is_cut():
    cuts = cut_rows(SKEWED, 4)
    assert cuts.names("x") == ["x <= 0", "x in (0, 26)", "x in [26, 51)", "x in [51, 76)", "x >= 76"]
    assert np.bincount(cuts.find(SKEWED)).tolist() == [900, 25, 25, 25, 25]


def test_a_value_that_is_large_in_the_rest_has_a_bin_of_its_own():
    rows = np.concatenate((SKEWED, np.full(40, 50.0)))
    cuts = cut_rows(rows, 4)
    assert "x=50" in cuts.names("x")
    assert np.count_nonzero(cuts.find(rows) == cuts.find(np.array([50.0]))) == 41


def test_exactly_one_bins_share_is_no_peak():
    assert find_peaks(np.array([25, 25, 25, 25]), 4, 1).tolist() == [False] * 4
    assert find_peaks(np.array([26, 25, 25, 24]), 4, 1).tolist() == [True] * 4  # one after another
    assert find_peaks(np.array([30, *[10] * 7]), 4, 1).tolist() == [True] + [False] * 7


@pytest.mark.parametrize("seed", range(20))
def test_peaks_are_found_as_one_after_another(seed):
    rng = np.random.default_rng(seed)
    counts = rng.permutation(200)[:40] + 1  # distinct, so that no tie is left to the order
    counts[:3] *= 20
    bins = int(rng.integers(2, 30))
    assert np.flatnonzero(find_peaks(counts, bins, 1)).tolist() == peaks_by_definition(counts.tolist(), bins)


def test_where_all_values_are_peaks_bins_run_from_one_to_the_next():
    cuts = cut_rows(np.repeat([1.0, 5.0, 7.0], 10), 8)
    assert cuts.find(np.array([-9.0, 1.0, 4.9, 5.0, 7.0, 99.0])).tolist() == [0, 0, 0, 1, 2, 2]
    assert cuts.names("x") == ["x < 5", "x in [5, 7)", "x >= 7"]


def test_between_a_peak_and_the_rest_is_the_rest():
    cuts = cut_rows(np.concatenate((np.full(50, 3.0), [1.0, 6.0])), 4)
    assert cuts.names("x") == ["x < 3", "x=3", "x > 3"]
    assert cuts.find(np.array([0.0, 2.9, 3.0, 3.1, 6.0])).tolist() == [0, 0, 1, 2, 2]


def test_one_value_is_one_bin():
    cuts = cut_rows(np.full(10, 7.0), 8)
    assert cuts.names("x") == ["x any"]
    assert cuts.find(np.array([-1.0, 7.0, 8.0])).tolist() == [0, 0, 0]


def test_ranges_hold_min_count_rows_on_average():
    assert cut_rows(np.arange(100.0), 64, min_count=20).n_bins == 5
    assert cut_rows(np.arange(3.0), 64, min_count=20).n_bins == 1


@pytest.mark.parametrize("seed", range(5))
def test_neighbouring_values_never_skip_a_bin_and_no_bin_is_empty(seed):
    rng = np.random.default_rng(seed)
    rows = np.concatenate((rng.choice([-2.0, 0.0, 3.5], 300), rng.normal(size=300).round(1)))
    cuts = cut_rows(rows, 10)
    assert 10 < cuts.n_bins <= 23
    assert np.unique(np.diff(cuts.find(np.unique(rows)))).tolist() == [0, 1]
    assert np.bincount(cuts.find(rows), minlength=cuts.n_bins).min() > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_bin_is_what_its_name_says(seed):
    rows = np.random.default_rng(seed).zipf(1.3, 300).astype(float)
    cuts = cut_rows(rows, 12)
    asked = np.concatenate((rows, np.nextafter(rows, 0.0), np.nextafter(rows, 1e300), [-1e308, 1e308]))
    for value, number in zip(asked.tolist(), cuts.find(asked).tolist(), strict=True):
        assert holds(cuts.names("x")[number], value)


@pytest.mark.parametrize(
    ("points", "names"),
    [
        ([-0.6784662158704471, -0.017247143727842716], ["x < -0.678", "x in [-0.678, -0.0172)", "x >= -0.0172"]),
        ([0.5, 2.0, 1234567.0], ["x < 0.5", "x in [0.5, 2)", "x in [2, 1234567)", "x >= 1234567"]),
        ([0.12341, 0.12342], ["x < 0.12341", "x in [0.12341, 0.12342)", "x >= 0.12342"]),
        ([1.9999, 2.0], ["x < 1.9999", "x in [1.9999, 2)", "x >= 2"]),
        ([-6.996, 0.5], ["x < -7.00", "x in [-7.00, 0.5)", "x >= 0.5"]),
        ([1.23456e-7], ["x < 1.23e-07", "x >= 1.23e-07"]),
        ([12345.678], ["x < 12346", "x >= 12346"]),
        ([99999.9], ["x < 100000", "x >= 100000"]),
        ([0.1, 0.1 + 2**-56], ["x < 0.1", "x in [0.1, 0.10000000000000002)", "x >= 0.10000000000000002"]),
    ],
)
def test_names_show_the_fewest_digits_that_tell_points_apart(points, names):
    assert Cuts(np.array(points), np.zeros(len(points), bool)).names("x") == names


def holds(name, value):
    """Whether a value is in the bin of that name."""
    if name.startswith("x="):
        return value == float(name[2:])
    _, sign, text = name.split(" ", 2)
    if sign != "in":
        return COMPARE[sign](value, float(text))
    low, high = (float(end) for end in text[1:-1].split(", "))
    return COMPARE[text[0]](value, low) and COMPARE[text[-1]](value, high)


@pytest.mark.parametrize("rows", [[1.0, 2.0, 4.0, 4.0], [5.0, 5.0], [-3.0, 1e9]], ids=str)
def test_standardised_rows_have_mean_0_and_deviation_1(rows):
    scale = standardise(*np.unique(rows, return_counts=True))
    np.testing.assert_allclose(scale.center, np.mean(rows), rtol=1e-12)
    np.testing.assert_allclose(scale.spread, np.std(rows) or 1.0, rtol=1e-12)


def test_a_scale_survives_the_largest_numbers():
    scale = standardise(np.array([-1e308, 1e308]), np.array([1, 1]))
    assert (scale.center, scale.spread) == (0.0, 1e308)


def test_a_scale_survives_the_smallest_numbers():
    scale = standardise(np.array([0.0, 1e-320]), np.array([1, 1]))
    assert scale.apply(np.array([0.0, 1e-320])).round(2).tolist() == [-1.0, 1.0]
