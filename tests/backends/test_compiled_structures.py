"""Named tuples in memory: machine code finds in them what Python put there."""

from __future__ import annotations

import gc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from fwfm_gpu.backends.compiled import machine, numba
from fwfm_gpu.backends.compiled_structures import Packed


class Inner(NamedTuple):
    flag: Any
    table: Any
    half: Any


class Outer(NamedTuple):
    numbers: Any
    inner: Inner
    count: Any
    cube: Any
    other: Inner


NUMBERS = (np.float32, np.float64, np.int32, np.int64)


def make(T: Any) -> Outer:
    numbers = np.arange(12).astype(T)
    one, other = Inner(True, numbers[:6].reshape(2, 3), T(3)), Inner(False, numbers[6:].reshape(3, 2), T(-5))
    return Outer(numbers, one, -(1 << 40), numbers.reshape(2, 3, 2), other)


def read(outer, found):
    inner, other = outer.inner, outer.other
    for i in range(len(outer.numbers)):
        found[i] = outer.numbers[i]
    found[12], found[13] = inner.table[1, 2], other.table[2, 0]
    found[14], found[15] = inner.half, other.half
    found[16], found[17] = inner.flag, other.flag
    found[18], found[19] = outer.count, outer.cube[1, 2, 1]
    found[20], found[21] = len(inner.table) * 10 + inner.table.shape[1], len(other.table) * 10 + other.table.shape[1]
    return inner.half


def write(outer, value):
    outer.other.table[1, 1] = value
    row = outer.cube[0, 1]
    row[0] = value
    return outer.numbers[9], outer.numbers[2]


@pytest.mark.parametrize("T", NUMBERS)
def test_every_member_is_found(T):
    want, got = np.zeros(22), np.zeros(22)
    read(make(T), want)
    answer = machine(read)(Packed(make(T)), got)
    np.testing.assert_array_equal(got, want)
    assert answer == 3
    (signature,) = machine(read).nopython_signatures[-1:]
    assert signature.return_type == numba.from_dtype(np.dtype(T))


@pytest.mark.parametrize("T", NUMBERS)
def test_what_is_written_is_in_the_arrays(T):
    outer = make(T)
    assert machine(write)(Packed(outer), T(7)) == (7, 7)
    assert outer.numbers[9] == outer.numbers[2] == 7


def reread(outer):
    """A number is read again after it was written through another table of the same memory."""
    before = outer.inner.table[0, 0]
    outer.numbers[0] = before + 1
    return outer.inner.table[0, 0] - before


def test_tables_may_share_memory():
    assert machine(reread)(Packed(make(np.float32))) == 1


def test_tuples_of_one_kind_take_the_same_code():
    first, second = Packed(make(np.float32)), Packed(make(np.float32))
    assert first._numba_type_ is second._numba_type_
    assert Packed(make(np.float64))._numba_type_ != first._numba_type_


def test_a_packed_tuple_keeps_its_arrays():
    array = np.arange(6.0)
    packed, alive = Packed(Inner(True, array, 1.5)), weakref.ref(array)
    del array
    gc.collect()
    assert alive() is not None
    del packed
    gc.collect()
    assert alive() is None


class Other(NamedTuple):
    table: Any
    numbers: Any


def first_of_table(outer):
    return outer.table[0]


def test_members_are_found_by_name_in_tuples_of_one_name():
    first = Other

    class Same(NamedTuple):
        numbers: Any
        table: Any

    Same.__name__ = first.__name__
    arrays = np.full(3, 1.0), np.full(3, 2.0)
    assert machine(first_of_table)(Packed(first(*arrays))) == 1
    assert machine(first_of_table)(Packed(Same(*arrays))) == 2


def test_tables_are_of_numbers():
    with pytest.raises(AssertionError):
        Packed(Inner(True, np.zeros(3, bool), 0.0))


def test_arrays_must_be_in_one_piece():
    with pytest.raises(AssertionError):
        Packed(Inner(True, np.zeros((3, 4))[:, ::2], 0.0))


def nothing_there(outer):
    return outer.missing


def test_what_is_not_there_is_refused_when_typed():
    with pytest.raises(numba.TypingError, match="missing"):
        machine(nothing_there)(Packed(make(np.float32)))
