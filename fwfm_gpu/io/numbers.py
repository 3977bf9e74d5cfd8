"""Decimal numbers of a text as arrays, all at once, each exactly as Python's ``int`` and ``float`` read it.

The text is cut at every byte that is no digit, its *marks*. A number is named by the ordinals of the marks before and
after it, so what lies between them are the signs, points and exponents inside. A worked example::

    text   1 0:12:-0.5\\n
    marks  -1 1 3 6 7 9 11        the line end before the text comes first
    kinds  \\n _ : : - . \\n        the value has marks 3 and 6 around it, and two inside
"""

from __future__ import annotations

import numpy as np

from fwfm_gpu.parameters import Array

__all__ = ["BAD", "COLON", "HUGE", "NEWLINE", "Text"]

NEWLINE, BLANK, COLON, POINT, SIGN, EXPONENT, BAD = range(7)  # up to the colon: what ends a number
KINDS = np.full(256, BAD, np.uint8)
for characters, kind in (
    (b"\n", NEWLINE),
    (b" \t", BLANK),
    (b":", COLON),
    (b".", POINT),
    (b"+-", SIGN),
    (b"eE", EXPONENT),
):
    KINDS[list(characters)] = kind

MINUS = ord("-")
HUGE = 2**62  # stands for any integer that is larger
LONGEST = 16  # digits of an identifier
EXACT = 2**53  # integers below it are float64 numbers
LARGE = 2**61  # and below it there is room to add
POWERS = np.array([float(10**p) for p in range(23)])  # exact
TENS = np.array([10**p if p < 19 else 0 for p in range(23)])  # beyond int64 only zeros are multiplied
# The last L of eight bytes, as digits instead of characters: the last digit is the highest byte.
LAST = np.array([0x0F0F0F0F0F0F0F0F >> 8 * (8 - L) << 8 * (8 - L) for L in range(9)], np.uint64)


class Text:
    """Bytes that end with a line end, and where their numbers are."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.bytes = np.frombuffer(text, np.uint8)
        self.marks = np.concatenate(([-1], np.flatnonzero(self.bytes - np.uint8(ord("0")) > 9)))
        self.kinds = KINDS.take(self.bytes.take(self.marks))
        # windows[e]: the eight bytes that end before byte e
        self.windows = np.ndarray((len(text) + 1,), "<u8", b"0" * 8 + text, strides=(1,)).copy()

    def integers(self, before: Array, after: Array) -> Array:
        """Numbers of digits alone, as int64; HUGE for what does not fit.

        Parameters
        ----------
        before, after : (m,) integers
            Ordinals of the marks around each: neighbours.
        """
        ends = self.marks[after]
        lengths = ends - self.marks[before] - 1
        numbers = self._digits(ends, np.minimum(lengths, LONGEST))
        for i in np.flatnonzero(lengths > LONGEST).tolist():
            digits = self.text[ends[i] - lengths[i] : ends[i]].lstrip(b"0")
            numbers[i] = int(digits or b"0") if len(digits) <= LONGEST else HUGE
        return numbers

    def decimals(self, before: Array, after: Array) -> Array:
        """Numbers with sign, point and exponent, as float64, correctly rounded; NaN somewhere if one is none.

        Digits with at most one point are an integer over a power of ten, and one division gives the number. ``float``
        itself reads whatever that cannot.

        Parameters
        ----------
        before, after : (m,) integers
            Ordinals of the marks around each.
        """
        begins, ends = self.marks[before] + 1, self.marks[after]
        signed = (self.kinds[before + 1] == SIGN) & (self.marks[before + 1] == begins)
        first = before + 1 + signed  # the mark after the sign; where nothing is left, the end
        pointed = self.kinds[first] == POINT
        points = np.where(pointed, self.marks[first], ends)
        wholes, fractions = points - begins - signed, ends - points - pointed
        easy = (after - first == pointed) & (wholes + fractions > 0) & (wholes + fractions < len(TENS))
        fractions *= easy
        numbers = self._digits(points, wholes * easy)
        if pointed.any():
            easy &= numbers < LARGE / POWERS[fractions]
            numbers = numbers * TENS[fractions] + self._digits(ends, fractions)
        easy &= numbers < LARGE
        values = quotients(numbers * easy, fractions)
        if signed.any():
            np.negative(values, out=values, where=signed & (self.bytes[begins] == MINUS))
        hard = np.flatnonzero(~easy | np.isnan(values))
        if len(hard):
            values[hard] = self._slowly(begins[hard].tolist(), ends[hard].tolist())
        return values

    def _slowly(self, begins: list[int], ends: list[int]) -> list[float]:
        """What float reads; all NaN when it refuses one, for then the block is refused."""
        text = self.text
        try:
            return [float(text[begin:end]) for begin, end in zip(begins, ends, strict=True)]
        except ValueError:
            return [float("nan")] * len(begins)

    def _digits(self, ends: Array, lengths: Array) -> Array:
        """Integers of up to 24 digits, given where they end; (m,) int64, at least LARGE for what is larger."""
        longest = int(lengths.max(initial=0))
        numbers = self._eight(ends, np.minimum(lengths, 8))
        for skipped, most in ((8, 10**8), (16, 400)):
            if longest > skipped:
                more = self._eight(np.maximum(ends - skipped, 0), np.clip(lengths - skipped, 0, 8))
                numbers += np.minimum(more, np.uint64(most)) * np.uint64(10**skipped)
        return numbers.view(np.int64)

    def _eight(self, ends: Array, lengths: Array) -> Array:
        """Integers of up to eight digits: neighbours are joined to pairs, then fours, then eights; (m,) uint64."""
        digits = self.windows.take(ends)
        digits &= LAST.take(lengths)
        for shift, factor, mask in ((8, 10, 0x00FF00FF00FF00FF), (16, 100, 0x0000FFFF0000FFFF), (32, 10**4, 2**32 - 1)):
            digits = (digits * np.uint64(factor) + (digits >> np.uint64(shift))) & np.uint64(mask)
        return digits


def quotients(numbers: Array, tens: Array) -> Array:
    """numbers / 10**tens as float64, correctly rounded; NaN where that could not be proved.

    Below 2**53 both are float64 numbers, so the division rounds once. Above, the first quotient q leaves a remainder
    that is known exactly, and q + rest lies between two sums that mostly round to the same number.

    Parameters
    ----------
    numbers : (m,) int64, 0 <= numbers < 2**61
    tens : (m,) integers, 0 <= tens <= 22
    """
    values = numbers.astype(np.float64)
    if tens.any():
        values /= POWERS[tens]
    large = np.flatnonzero(numbers >= EXACT)
    if len(large):
        n, d = numbers[large], POWERS[tens[large]]
        q = values[large]
        top = n.astype(np.float64)
        left = (n - top.astype(np.int64)).astype(np.float64)
        high, low = product(q, d)
        rest = (((top - high) - low) + left) / d  # wrong by less than 2**-50 of itself
        margin = np.abs(rest) * 2.0**-48
        values[large] = np.where(q + (rest - margin) == q + (rest + margin), q + rest, np.nan)
    return values


def product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b as a sum of two float64, exactly (Dekker)."""
    high = a * b
    a_high, b_high = upper(a), upper(b)
    a_low, b_low = a - a_high, b - b_high
    return high, a_low * b_low - (((high - a_high * b_high) - a_low * b_high) - a_high * b_low)


def upper(a: Array) -> Array:
    """The upper half of the 53 bits (Veltkamp)."""
    scaled = a * (2.0**27 + 1)
    return scaled - (scaled - a)
