from __future__ import annotations

import random

import numpy as np
import pytest

from fwfm_gpu.io import numbers
from fwfm_gpu.io.numbers import HUGE, Text

DECIMALS = [
    *("0", "1", "7", "10", "00", "007", "12345678", "123456789", "1234567890123456", "9007199254740993"),
    *(
        "-0",
        "+0",
        "-1",
        "+1",
        "-0.0",
        "0.5",
        ".5",
        "5.",
        "-.5",
        "+5.",
        "-3.25e-4",
        "3.25E+4",
        "1e5",
        "1e-5",
        "1.e5",
        ".1e1",
    ),
    *("0.1", "0.2", "0.3", "123.456", "0.00001", "99999999.99999999", "0.1234567890123456", "0.12345678901234567"),
    *("0.30000000000000004", "1.7976931348623157e308", "5e-324", "2e-324", "2.2250738585072014e-308", "1e22", "1e23"),
    *("9007199254740992", "9007199254740993.0", "18014398509481985", "2305843009213693951", "2305843009213693952"),
    *("0.0000000000000000000001", "0.00000000000000000000001", "0.0001234567890123456789", "1234567890.123456789012"),
    *("179769313486231570000000000000", "0." + "0" * 400 + "1", "1" * 300, "0." + "3" * 300),
    *("0.500000000000000166533453693773481063544750213623046875", "9007199254740993.5", "4503599627370496.5"),
    *("4503599627370497.5", "9007199254740993e0", "0.9007199254740993", "72057594037927945", "72057594037927944"),
]
BROKEN = [
    "",
    "-",
    "+",
    ".",
    "-.",
    "e",
    "1e",
    "1e+",
    "1.2.3",
    "1-2",
    "--1",
    "+-1",
    "1.-2",
    "-e1",
    "1e1.5",
    "1e5e5",
    ".e1",
    "1+",
]


def between_colons(words):
    """Each word between marks of its own, as Text names them: before and after."""
    text = Text((":".join(["", *words, ""]) + "\n").encode())
    colons = np.flatnonzero(text.kinds == numbers.COLON)
    return text, colons[:-1], colons[1:]


def decimals(words):
    text, before, after = between_colons(words)
    return text.decimals(before, after)


def hexes(values):
    return [float(value).hex() for value in values]


def test_decimals_are_what_float_reads():
    assert hexes(decimals(DECIMALS)) == hexes(map(float, DECIMALS))


@pytest.mark.parametrize("word", DECIMALS)
def test_a_decimal_alone_is_what_float_reads(word):
    assert hexes(decimals([word])) == [float(word).hex()]


@pytest.mark.parametrize("word", BROKEN)
def test_what_is_no_number_is_nan_and_leaves_its_neighbours(word):
    values = decimals(["0.25", word, "-3"])
    assert np.isnan(values[1])
    assert values[[0, 2]].tolist() == [0.25, -3.0]


@pytest.mark.parametrize("digits", range(1, 25))
def test_random_decimals_of_every_length_are_what_float_reads(digits):
    draw = random.Random(digits)
    words = []
    for _ in range(400):
        word = "".join(draw.choices("0123456789", k=digits))
        point = draw.randrange(digits + 1)
        words.append(draw.choice(["", "", "-", "+"]) + draw.choice([word, f"{word[:point]}.{word[point:]}"]))
    assert hexes(decimals(words)) == hexes(map(float, words))


def test_random_floats_come_back_from_their_repr():
    draw = random.Random(1)
    values = [draw.gauss(0, 1) * 10.0 ** draw.randrange(-6, 12) for _ in range(20000)]
    assert hexes(decimals(list(map(repr, values)))) == hexes(values)


@pytest.mark.parametrize("step", [-1, 0, 1])
def test_halfway_cases_and_their_neighbours_round_to_even(step):
    words = []
    for n in range(2**53 + 1, 2**53 + 99, 2):  # 54 bits: halfway between two float64
        words += [str(2**k * n + step) for k in range(4)]
        words += [f"{n >> k}.{(n % 2**k) * 5**k + step:0{k}d}" for k in range(1, 6) if (n % 2**k) * 5**k + step >= 0]
    assert hexes(decimals(words)) == hexes(map(float, words))


def test_reprs_are_read_without_float(monkeypatch):
    def refuse(text):
        raise AssertionError(text)

    monkeypatch.setattr(numbers, "float", refuse, raising=False)
    words = ["0.12345678901234567", "-12.345678901234567", "1234567890.1234567", "0.0012345678901234567", "1", "0.5"]
    assert hexes(decimals(words)) == hexes(map(float, words))


def test_integers_of_any_length():
    words = [
        "0",
        "7",
        "12345678",
        "123456789",
        "1234567890123456",
        "0" * 30 + "12",
        "0" * 99,
        "9" * 16,
        "9" * 17,
        "9" * 5000,
    ]
    text, before, after = between_colons(words)
    want = [int(word) for word in words[:-2]] + [HUGE, HUGE]
    assert text.integers(before, after).tolist() == want
