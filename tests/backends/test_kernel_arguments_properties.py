"""Numbers go to kernels as they are, or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fwfm_gpu.backends.kernel_arguments import convert

pytest.importorskip("hypothesis", reason="random numbers are made by hypothesis")

from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(width=64))
def test_a_float_is_taken_when_nothing_is_rounded(value):
    with np.errstate(all="ignore"):
        same = np.float64(np.float32(value)) == value or math.isnan(value)
    got = convert(value, np.dtype("float32"))
    assert (got is not None) == bool(same)
    if same:
        assert type(got) is np.float32
        np.testing.assert_array_equal(np.float64(got), value)
        assert np.signbit(got) == np.signbit(value) or math.isnan(value)
    wide = convert(value, np.dtype("float64"))
    assert type(wide) is np.float64
    assert wide.tobytes() == np.float64(value).tobytes()


@given(st.integers(-(2**65), 2**65))
def test_an_int_is_taken_when_it_fits(value):
    for dtype in (np.int32, np.int64):
        limits = np.iinfo(dtype)
        got = convert(value, np.dtype(dtype))
        assert (got is not None) == (limits.min <= value <= limits.max)
        assert got is None or (type(got) is dtype and int(got) == value)
