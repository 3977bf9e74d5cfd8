"""Tables of plain text."""

from __future__ import annotations

import pytest

from fwfm_gpu.text_table import lined_up, shortened, signed


def test_columns_line_up():
    assert lined_up([["a", "1"], ["long", "22"]], right=[1]) == "a      1\nlong  22"
    assert lined_up([["a", ""], ["b", ""]]) == "a\nb"


def test_names_are_one_short_line():
    assert shortened("plain") == "plain"
    assert shortened("a\nb\x1b") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert shortened("x" * 20 + "end", 12) == "xxxxxxx…xend"


@pytest.mark.parametrize(
    "values, texts",
    [
        ([1.5, -0.25], ["+1.500", "-0.250"]),
        ([0.012345, 0], ["+0.01235", "+0.00000"]),
        ([12345.6, float("nan")], ["+12346", "-"]),
        ([1e-9, -2e-9], ["+1.000e-09", "-2.000e-09"]),
        ([-0.0], ["+0"]),
        ([], []),
    ],
)
def test_numbers_of_a_column_have_equal_decimals(values, texts):
    assert signed(values) == texts
