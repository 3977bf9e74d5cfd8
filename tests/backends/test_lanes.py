"""The operations on lanes: machine code does what lanes.py says in NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fwfm_gpu.backends import lanes
from fwfm_gpu.backends.lanes import (
    all_zero,
    atomic_add,
    atomic_read,
    atomic_swap,
    first_lanes,
    gather,
    load,
    load_some,
    narrowed,
    prefetch,
    read_columns,
    splat,
    store,
    store_some,
    sum_lanes,
    tables,
    widened,
    write_columns,
)
from fwfm_gpu.numerics import choose, exp64, power_of_two, sigmoid64

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from machine_cases import Case, cases, in_python

from fwfm_gpu.backends import compiled

FLOATS = (np.float32, np.float64)
NUMBERS = (*FLOATS, np.int64)
POSITIONS = (0, 1, 7, 16, 33)
COUNTS = range(20)  # up to LANES + 3
SIZE = 33 + 16 * 16  # numbers of a table

# Bound when compiled.
LANES = lanes.LANES
WIDTH = 2


# ---- what lanes are for: numbers


def calculate(left, right, number, out):
    left, right, out = tables(left), tables(right), tables(out)
    a, b = load(left, 1), load(right, 1)
    for i, c in enumerate(
        (a + b, a - b, a * b, a + number, a - number, a * number, number + a, number - a, number * a)
    ):
        store(out, i * LANES, c)


def compare(left, right, number, out):
    left, right, out = tables(left), tables(right), tables(out)
    a, b = load(left, 1), load(right, 1)
    for i, holds in enumerate((a < b, a <= b, a > b, a >= b, a < number, number <= a, a > number, number >= a)):
        store(out, i * LANES, choose(holds, a, b))
        store(out, (8 + i) * LANES, choose(holds, a, number))


def calculate_floats(left, right, number, out):
    left, right, out = tables(left), tables(right), tables(out)
    a, b = load(left, 1), load(right, 1)
    for i, c in enumerate((a / b, a / number, number / a, np.sqrt(a), np.abs(a), -a, -np.sqrt(np.abs(a)) / b)):
        store(out, i * LANES, c)
    least, most = np.minimum(a, b) + 0, np.maximum(a, number) + 0  # which of two zeros is taken is not said
    for i, c in enumerate((np.rint(a), least, most, 1 / a, a - 3, choose(a == b, a, b))):
        store(out, (7 + i) * LANES, c)


def pass_through_float64(left, right, number, out):
    left, right, out = tables(left), tables(right), tables(out)
    wide = widened(load(left, 1)) / widened(load(right, 1))
    store(out, 0, narrowed(wide, out))
    store(out, LANES, narrowed(exp64(np.minimum(np.abs(wide), 700.0)), out))
    store(out, 2 * LANES, narrowed(sigmoid64(widened(load(left, 1))), out))


@pytest.mark.parametrize("function", [calculate, compare], ids=lambda function: function.__name__)
@cases(*NUMBERS)
def test_numbers(case, function):
    for seed in range(20):
        left, right = case.numbers(SIZE, seed=seed), case.numbers(SIZE, seed=100 + seed)
        case.check(function, left, right, right[0], case.numbers(SIZE))


@cases(*FLOATS)
def test_numbers_of_floats(case):
    for seed in range(20):
        left, right = case.numbers(SIZE, seed=seed), case.numbers(SIZE, seed=100 + seed)
        case.check(calculate_floats, left, right, right[0], case.numbers(SIZE))
        case.check(pass_through_float64, left, right, right[0], case.numbers(SIZE))


def divide(numbers):
    store(tables(numbers), 0, load(tables(numbers), 0) / load(tables(numbers), 0))


def negate(numbers):
    store(tables(numbers), 0, -load(tables(numbers), 0))


@pytest.mark.parametrize("function", [divide, negate], ids=lambda function: function.__name__)
def test_what_lanes_of_integers_cannot_do_is_refused(function):
    with pytest.raises(compiled.numba.TypingError, match="Lanes"):
        compiled.machine(function)(np.ones(16, np.int64))


def share(numbers, out):
    numbers, out = tables(numbers), tables(out)
    for i in range(0, len(out), 4):
        out[i], out[i + 1] = atomic_add(numbers, 1, 3), atomic_add(numbers, 1, -1)
        out[i + 2], out[i + 3] = atomic_swap(numbers, 2, i), atomic_read(numbers, 1)


def test_atomic_operations_answer_what_was_there():
    numbers, out = np.arange(5, 9), np.zeros(8, np.int64)
    Case(16, np.int64).check(share, numbers, out)
    compiled.machine(share)(numbers, out)
    assert numbers.tolist() == [5, 10, 4, 8]
    assert out.tolist() == [6, 9, 7, 8, 8, 11, 0, 10]


def count_up(numbers, times):
    numbers = tables(numbers)
    for _ in range(times):
        atomic_add(numbers, 0, 1)
        while atomic_swap(numbers, 1, 1) == 1:
            pass
        numbers[2] = numbers[2] + 1  # one thread at a time comes here
        atomic_swap(numbers, 1, 0)


def extremes(narrow, wide, out):
    narrow, wide, out = tables(narrow), tables(wide), tables(out)
    for i in range(len(narrow)):
        out[2 * i], out[2 * i + 1] = min(narrow[i], wide[i]), max(narrow[i], wide[i])
    return min(len(narrow), 3) - max(narrow[0], 0)


def test_the_least_and_the_most_of_integers():
    narrow, wide = np.array([-3, 5, -7, 0], np.int32), np.array([-(1 << 40), 1 << 40, -7, -1])
    Case(16, np.int64).check(extremes, narrow, wide, np.zeros(8, np.int64))


def least(one, other):
    return min(one, other)


@pytest.mark.parametrize("numbers", [(1.0, 2.0), (1, 2.0)])
def test_the_least_of_floats_is_refused(numbers):
    with pytest.raises(compiled.numba.TypingError):
        compiled.machine(least)(*numbers)


def wait_for(numbers):
    numbers = tables(numbers)
    while atomic_read(numbers, 0) == 0:
        pass
    return numbers[1]


def test_what_another_thread_writes_is_seen():
    numbers = np.zeros(2, np.int64)
    compiled.machine(wait_for)(np.ones(2, np.int64))  # compiled now
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(compiled.machine(wait_for), numbers)
        numbers[1] = 7
        numbers[0] = 1
        assert waiting.result(60) == 7


@pytest.mark.parametrize("run, times", [(compiled.machine(count_up), 30_000), (in_python(count_up), 300)])
def test_threads_do_not_come_between(run, times):
    numbers = np.zeros(3, np.int64)
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(run, numbers, times) for _ in range(3)]:
            done.result()
    assert numbers.tolist() == [3 * times, 0, 3 * times]


def powers(n, out):
    n, out = tables(n), tables(out)
    for i in range(len(n)):
        out[i] = power_of_two(n[i])
    for at in range(0, len(n) - LANES + 1, LANES):
        store(out, len(n) + at, power_of_two(load(n, at)))


@cases(np.float64)
def test_powers_of_two(case):
    n = np.arange(-1022.0, 1024.0)
    case.check(powers, n[: len(n) // case.lanes * case.lanes], np.zeros(2 * len(n)))


# ---- to and from tables


def copy(table, at, out, to):
    store(tables(out), to, load(tables(table), at))


def copy_some(table, at, out, to, count):
    out = tables(out)
    store_some(out, to, load(tables(table), at), count)


def load_few(table, at, out, to, count):
    store(tables(out), to, load_some(tables(table), at, count))


def spread(table, at, out, to, count):
    table, out = tables(table), tables(out)
    store(out, to, choose(first_lanes(count), splat(table[at]), load(table, at)))


@cases(*NUMBERS)
def test_load_and_store(case):
    for at in POSITIONS:
        for to in POSITIONS:
            case.check(copy, case.numbers(SIZE), at, case.numbers(SIZE, seed=1), to)


@pytest.mark.parametrize("function", [copy_some, load_few, spread], ids=lambda function: function.__name__)
@cases(*NUMBERS)
def test_some_lanes(case, function):
    for at in POSITIONS:
        for count in COUNTS:
            case.check(function, case.numbers(SIZE), at, case.numbers(SIZE, seed=1), at + 2, count)


def test_a_table_of_two_axes_is_counted_in_numbers():
    for case in (Case(8, np.float32), Case(16, np.float32)):
        case.check(copy, case.numbers(9, 30), 33, case.numbers(7, 40, seed=1), 41)


def look_up(table, places, out):
    table, places, out = tables(table), tables(places), tables(out)
    prefetch(table, places[0])
    store(out, 0, gather(table, load(places, 0)))


@cases(*NUMBERS)
def test_gather(case):
    for seed in range(10):
        places = np.random.default_rng(seed).integers(SIZE, size=16)
        case.check(look_up, case.numbers(SIZE), places, case.numbers(16, seed=1))


# ---- across lanes


def transpose(into, at, table, places, skip):
    read_columns(tables(into), at, tables(table), tables(places), skip, WIDTH)


def transpose_back(table, places, skip, numbers, at):
    write_columns(tables(table), tables(places), skip, tables(numbers), at, WIDTH)


WIDTHS = pytest.mark.parametrize("width", [2, 4, 8, 16])


@WIDTHS
@cases(*FLOATS)
def test_read_columns(case, width):
    for seed, at in enumerate(POSITIONS if width <= case.lanes else ()):
        places = np.random.default_rng(seed).integers(SIZE - 20, size=16)
        case.check(transpose, case.numbers(SIZE), at, case.numbers(SIZE, seed=1), places, seed, WIDTH=width)


@WIDTHS
@cases(*FLOATS)
def test_write_columns(case, width):
    for seed, at in enumerate(POSITIONS if width <= case.lanes else ()):
        places = np.random.default_rng(seed).permutation(16) * 18
        places[seed::5] = -1 - places[seed::5]
        case.check(
            transpose_back, case.numbers(SIZE + 20), places, seed % 3, case.numbers(SIZE, seed=1), at, WIDTH=width
        )


def add_up(totals, to, table, at):
    totals = tables(totals)
    store(totals, to, sum_lanes(load(totals, to), tables(table), at))


@cases(*FLOATS)
def test_sum_lanes(case):
    generator = np.random.default_rng(0)
    for at in POSITIONS:
        table = (generator.normal(size=SIZE) * 10.0 ** generator.integers(-6, 6, SIZE)).astype(case.dtype)
        case.check(add_up, table[:50], at, table, at)
        case.check(add_up, case.numbers(50), at, case.numbers(SIZE, seed=at), at)


def is_zero(table, at):
    return all_zero(load(tables(table), at))


@pytest.mark.parametrize("odd", [0.0, -0.0, 1.0, np.nan, np.inf, "subnormal"])
@cases(*FLOATS)
def test_all_zero(case, odd):
    odd = np.finfo(case.dtype).smallest_subnormal if odd == "subnormal" else case.dtype(odd)
    for lane in range(case.lanes):
        table = np.zeros(20, case.dtype)
        table[1 + lane] = odd
        case.check(is_zero, table, 1)
        assert compiled.machine(is_zero, LANES=case.lanes)(table, 1) == (odd == 0)


# ---- what is refused


def widen(table, number, out):
    table, out = tables(table), tables(out)
    store(out, 0, load(table, 0) * number)


def mix(table, other, out):
    table, other, out = tables(table), tables(other), tables(out)
    store(out, 0, load(table, 0) + load(other, 0))


def convert(table, count, out):
    store(tables(out), 0, load(tables(table), 0))


def convert_some(table, count, out):
    store_some(tables(out), 0, load(tables(table), 0), count)


@pytest.mark.parametrize(
    "function, other, out",
    [
        (widen, np.float64(2), np.float32),
        (widen, 2.0, np.float32),
        (widen, 2, np.float32),
        (mix, np.zeros(16), np.float32),
        (mix, np.zeros(16, np.int64), np.float32),
        (convert, 3, np.float64),
        (convert_some, 3, np.float64),
    ],
)
def test_nothing_is_widened(function, other, out):
    with pytest.raises(compiled.numba.TypingError):
        compiled.machine(function)(np.zeros(16, np.float32), other, np.zeros(16, out))
