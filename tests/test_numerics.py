"""exp, sigmoid, softmax and Adam's corrections: near the truth, and the same bits however they are evaluated."""

from __future__ import annotations

import math
from decimal import Decimal, FloatOperation, Inexact, localcontext
from fractions import Fraction

import numpy as np
import pytest
import reference
from engine_data import bits

from fwfm_gpu.backends import get_backend, numpy_resident
from fwfm_gpu.errors import DeviceError
from fwfm_gpu.numerics import (
    ROW_BLOCK,
    bias_corrections,
    exp64,
    flushes_subnormals,
    pair_starts,
    sigmoid64,
    softmax64,
)

GENERATOR = np.random.default_rng(0)
ENDS = np.array([-700, 700, 0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e-17, -1e-17, 1, -1, 0.5 * math.log(2), math.log(2)])
HALVES = (np.arange(-1000, 1000) + 0.5) * math.log(2)  # n is a half here: to even
SAMPLE = np.concatenate((ENDS, HALVES, GENERATOR.uniform(-700, 700, 3000), GENERATOR.normal(size=3000)))


def ulps_from_exp(x: float, got: float) -> float:
    """How far from the true exp(x), in units of its last place."""
    with localcontext() as context:
        context.prec = 60
        true = Decimal(x).exp()
        return float(abs(Decimal(got) - true) / Decimal(math.ulp(float(true))))


def test_a_row_block_is_64_rows():
    assert ROW_BLOCK == 64


def test_exp_is_within_1_2_ulp():
    worst = max(ulps_from_exp(x, got) for x, got in zip(SAMPLE.tolist(), exp64(SAMPLE).tolist(), strict=True))
    assert worst < 1.2


def test_exp_of_zero_is_one():
    assert exp64(np.array([0.0, -0.0, 5e-324, -5e-324, 1e-17])).tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("array_function", "scalar_function"), [(exp64, reference.exp), (sigmoid64, reference.sigmoid)]
)
def test_equals_the_reference_bit_for_bit(array_function, scalar_function):
    np.testing.assert_array_equal(
        bits(array_function(SAMPLE)), bits(np.array([*map(scalar_function, SAMPLE.tolist())]))
    )


@pytest.mark.parametrize("function", [exp64, sigmoid64])
def test_scalars_slices_and_arrays_give_the_same_bits(function):
    whole = function(SAMPLE)
    for part in (
        np.array([function(x) for x in SAMPLE]),
        function(np.repeat(SAMPLE, 3)[::3]),
        function(SAMPLE[::-1])[::-1],
        function(SAMPLE[:, None])[:, 0],
    ):
        np.testing.assert_array_equal(bits(part), bits(whole))


def test_sigmoid_is_half_at_zero_of_either_sign():
    assert sigmoid64(np.array([0.0, -0.0])).tolist() == [0.5, 0.5]


def test_sigmoid_rises_to_one_and_falls_towards_zero():
    s = np.array([1e308, 701, 700, 40, -700, -701, -1e308])
    assert sigmoid64(s)[:4].tolist() == [1, 1, 1, 1]
    tiny = exp64(np.float64(-700))
    assert sigmoid64(s)[4:].tolist() == [tiny, tiny, tiny]  # 1 + tiny is 1
    assert 0 < tiny < 1e-303


def test_sigmoid_of_opposite_scores_adds_up_to_one():
    np.testing.assert_allclose(sigmoid64(SAMPLE) + sigmoid64(-SAMPLE), 1, rtol=0, atol=2**-52)


def test_sigmoid_never_falls():
    assert np.all(np.diff(sigmoid64(np.linspace(-40, 40, 20_001))) >= 0)


@pytest.mark.parametrize("scale", [0.1, 10, 1e4, 1e300])
@pytest.mark.parametrize("n_classes", [2, 3, 5, 9])
def test_softmax_equals_the_reference_bit_for_bit(n_classes, scale):
    s_bc = np.random.default_rng(n_classes).normal(0, scale, (200, n_classes))
    s_bc[0] = 0
    want = np.array([reference.softmax(row) for row in s_bc.tolist()])
    np.testing.assert_array_equal(bits(softmax64(s_bc)), bits(want))
    np.testing.assert_allclose(softmax64(s_bc).sum(axis=1), 1, rtol=1e-15)
    assert np.all(softmax64(s_bc) > 0)


def test_softmax_of_equal_scores_is_even():
    assert softmax64(np.array([[1e300, 1e300], [-7.0, -7.0]])).tolist() == [[0.5, 0.5], [0.5, 0.5]]


# ---- Adam's corrections


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999, 0.5, 0.0])
@pytest.mark.parametrize("t", [1, 2, 3, 10, 54, 55, 300, 494, 2_258, 30_000])  # libm's pow is wrong at 0.9999**494
def test_corrections_are_of_the_exact_power(beta, t):
    table = bias_corrections(beta, 40_000)
    assert table[min(t, len(table) - 1)] == 1 - float(Fraction(beta) ** t)


@pytest.mark.parametrize(("beta", "entries"), [(0.999, 37_413), (0.9, 357), (0.5, 55), (0.0, 2)])
def test_a_table_ends_at_its_first_one(beta, entries):
    table = bias_corrections(beta, 10**6)
    assert len(table) == entries
    assert (table[-1], np.count_nonzero(table == 1)) == (1, 1)
    assert 1 - float(Fraction(beta) ** (entries - 1)) == 1
    assert 1 - float(Fraction(beta) ** (entries - 2)) < 1


@pytest.mark.parametrize("length", [1, 2, 100])
def test_a_shorter_table_is_the_start_of_the_longer(length):
    table = bias_corrections(0.999, length)
    assert len(table) == length + 1
    np.testing.assert_array_equal(table, bias_corrections(0.999, 40_000)[: length + 1])


def test_a_table_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        bias_corrections(0.9, 10)[1] = 0


# ---- subnormals, pairs


def test_this_process_keeps_subnormals():
    assert flushes_subnormals() is False


def test_the_engine_refuses_a_process_that_flushes_them(monkeypatch):
    monkeypatch.setattr(numpy_resident, "flushes_subnormals", lambda: True)
    with pytest.raises(DeviceError, match="flushes subnormal numbers"):
        get_backend("numpy")


@pytest.mark.parametrize(
    ("z", "starts"), [(0, [0]), (1, [0, 0]), (2, [0, 1, 1]), (3, [0, 2, 3, 3]), (4, [0, 3, 5, 6, 6])]
)
def test_pair_starts(z, starts):
    assert pair_starts(z) == starts


def test_the_callers_decimal_traps_are_not_ours():
    with localcontext() as context:
        context.traps[FloatOperation] = context.traps[Inexact] = True
        assert len(bias_corrections(0.7701, 10)) == 11
