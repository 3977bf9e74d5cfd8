"""HTML that escapes by itself, and numbers as people read them."""

from __future__ import annotations

import math

import pytest

from fwfm_gpu.report_html import Column, Markup, aligned, bar, count, number, readable, share, table, tag


def test_text_and_attributes_are_escaped_and_markup_is_not():
    found = tag("p", "<b>&", Markup("<i>x</i>"), title='"<', class_="a", aria_label=None)
    assert found == '<p title="&quot;&lt;" class="a">&lt;b&gt;&amp;<i>x</i></p>'
    assert isinstance(found, Markup)
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (0.28376, "0.2838"),
        (0.25, "0.25"),
        (16281, "16,281"),
        (-1234.56, "\u22121,235"),
        (100.0, "100"),
        (1.5e-7, "1.500 \u00d7 10⁻⁷"),
        (-2e12, "\u22122.000 \u00d7 10¹²"),
        (math.nan, "\u2013"),
        (math.inf, "\u2013"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_a_column_of_numbers_has_one_number_of_decimals():
    assert aligned([0.5, 12.25, math.nan, -3]) == ["0.5", "12.2", "\u2013", "\u22123.0"]
    assert aligned([0.0, 0.0]) == ["0", "0"]
    assert aligned([1e-9, 0.0]) == ["1.00 \u00d7 10⁻⁹", "0"]
    assert aligned([]) == []


def test_counts_and_shares():
    assert count(1234567) == "1,234,567"
    assert [share(value) for value in (0, 0.0001, 0.865, 1, math.nan)] == ["0%", "<0.1%", "86.5%", "100.0%", "\u2013"]


@pytest.mark.parametrize(
    "name, most, text",
    [
        ("age", 9, "age"),
        ("sensor north 17", 12, "sensor …h 17"),
        ("a\x00\n\ud800b", 9, "a\ufffd\ufffd\ufffdb"),
        (7, 9, "7"),
    ],
)
def test_names_become_one_short_line_and_keep_their_end(name, most, text):
    assert readable(name, most) == text
    assert len(text) <= most


def test_a_bar_is_as_wide_as_its_part():
    assert 'style="--part:25.0%"' in bar("0.1", 0.25)
    assert 'style="--part:0.0%"' in bar("-", math.nan)


def test_a_table_has_headings_of_columns_and_rows():
    found = table("Name & more", [Column("<field>", False), Column("n")], [["a", "1"], ["b", "2"]])
    assert '<th scope="col">&lt;field&gt;</th><th scope="col" class="n">n</th>' in found
    assert '<tr><th scope="row">b</th><td class="n">2</td></tr>' in found
    assert "<caption>Name &amp; more</caption>" in found
    assert 'role="region" aria-label="Name &amp; more" tabindex="0"' in found


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="longer"):
        table("t", [Column("a"), Column("b")], [["1"]])
