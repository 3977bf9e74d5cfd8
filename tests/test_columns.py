"""What a column is taken for, and what is refused."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pytest

from fwfm_gpu.columns import read_column
from fwfm_gpu.errors import InputError, InputTypeError

NAN, EAST = float("nan"), datetime.timezone(datetime.timedelta(hours=9))
READ = [  # values, kind, what stands at each row (None: missing)
    (["b", "a", "b"], "strings", ["b", "a", "b"]),
    (["a", None, NAN, ""], "strings", ["a", None, None, ""]),
    ([None, NAN, "a"], "strings", [None, None, "a"]),
    (np.array(["b", "a", "nan"]), "strings", ["b", "a", "nan"]),
    (np.array(["b", None], dtype=object), "strings", ["b", None]),
    (np.array(["b", "a"], dtype=np.dtypes.StringDType()), "strings", ["b", "a"]),
    (np.array(["b", None], dtype=np.dtypes.StringDType(na_object=None)), "strings", ["b", None]),
    ([3, 1], "integers", [3, 1]),
    ([3, None, NAN], "integers", [3, None, None]),
    ([np.int8(3), 2**40], "integers", [3, 2**40]),
    (np.array([3, 1], np.uint8), "integers", [3, 1]),
    (np.array([3, 1], ">i4"), "integers", [3, 1]),
    (np.array([2**63 - 1], np.uint64), "integers", [2**63 - 1]),
    ([1.5, 2, None], "floats", [1.5, 2.0, None]),
    ([NAN, 2.0], "floats", [None, 2.0]),
    (np.array([1.5, NAN], np.float16), "floats", [1.5, None]),
    (np.array([1.5, NAN], ">f8"), "floats", [1.5, None]),
    ([True, None, np.False_], "booleans", [True, None, False]),
    (np.array([True, False]), "booleans", [True, False]),
    (np.array(["1970-01-02", "NaT", "1969-12-31"], "M8[D]"), "times", [86_400, None, -86_400]),
    (np.array([-1], "M8[ns]"), "times", [-1]),
    ([datetime.date(1970, 1, 2), None, datetime.datetime(1970, 1, 1, 0, 1)], "times", [86_400, None, 60]),
    ([datetime.datetime(1970, 1, 1, 1, tzinfo=EAST), np.datetime64("1970-01-01T01", "ns")], "times", [3600, 3600]),
    ([None, NAN, np.datetime64("NaT")], "nothing", [None, None, None]),
    ([], "nothing", []),
]


@pytest.mark.parametrize(("values", "kind", "expected"), READ, ids=lambda x: repr(x)[:40])
def test_a_column_is_read_for_what_it_holds(values, kind, expected):
    column = read_column("x", values)
    items = [column.values[row].item() for row in range(len(expected))]
    if column.categories is not None:
        items = [None if item < 0 else column.categories[item] for item in items]
    assert column.kind == kind
    assert column.missing.tolist() == [value is None for value in expected]
    assert [None if lost else item for item, lost in zip(items, column.missing, strict=True)] == expected


MIXTURES = [
    (["a", 1], "begins with strings, and row 1 holds int 1"),
    (["a", None, 1.5], "begins with strings, and row 2 holds float 1.5"),
    (["a", ["b"]], "begins with strings, and row 1 holds list"),
    (["a", b"b"], "begins with strings, and row 1 holds bytes"),
    (["a"] * 70_000 + [3], "row 70000 holds int 3"),
    (["a"] * 70_000 + [{}], "row 70000 holds dict"),
    ([None, 1, "a"], "begins with numbers, and row 2 holds str 'a'"),
    ([1, None, True], "begins with numbers, and row 2 holds bool True"),
    ([True, 1], "begins with booleans, and row 1 holds int 1"),
]


@pytest.mark.parametrize(("values", "message"), MIXTURES, ids=lambda x: repr(x)[-30:])
def test_a_mixture_is_refused_by_its_first_stranger(values, message):
    with pytest.raises(InputTypeError, match="column 'x' must hold values of one kind") as refused:
        read_column("x", values)
    assert message in str(refused.value)


REFUSED = [
    (np.array([3], "m8[s]"), InputTypeError, "got timedelta64[s]. Make numbers of them first, such as their seconds"),
    ([datetime.timedelta(1)], InputTypeError, "got timedelta at row 0. Make numbers of them first"),
    ([datetime.date(2020, 1, 1), "a"], InputTypeError, "begins with dates, and row 1 holds str 'a'"),
    ([["a"], "a"], InputTypeError, "begins with lists, and row 1 holds str 'a'"),
    ([["a"], None, [1]], InputTypeError, "begins with strings, and row 1 holds int 1"),
    ([[["a"]]], InputTypeError, "holds lists of lists: a list may hold strings, booleans or numbers"),
    ([[datetime.date(2020, 1, 1)]], InputTypeError, "holds lists of times"),
    ([[1], np.zeros((2, 2))], InputTypeError, "lists of single values: got an array of shape (2, 2)"),
    ([[1], np.array(3)], InputTypeError, "lists of single values: got an array of shape ()"),
    ([{"a": 1}], InputTypeError, "got dict at row 0"),
    ([decimal.Decimal(1)], InputTypeError, "Convert it to float first"),
    ([b"a"], InputTypeError, "Decode bytes to str first"),
    (np.array([b"a"]), InputTypeError, "Decode bytes to str first"),
    (np.array([1j]), InputTypeError, "got complex128"),
    ([object()], InputTypeError, "got object at row 0"),
    (np.ma.masked_array([1, 2], [True, False]), InputTypeError, "column 'x' is a masked array"),
    ([1.0, np.inf], InputError, "must be finite: got inf at row 1"),
    (np.array([NAN, -np.inf]), InputError, "must be finite: got -inf at row 1"),
    (np.array([2**63], np.uint64), InputError, "below 2**63"),
    ([1, 2**63], InputError, "below 2**63"),
    ([None, 1.5, 2**2000], InputError, "got an integer of 2001 bits, beyond what float64 holds, at row 2"),
    ([1.5, -(2**2000)], InputError, "at row 1"),
    (
        np.zeros((2, 1)),
        InputError,
        "must be 1-D, one value per row: got shape (2, 1). Where a row holds several values",
    ),
    (3, InputError, "must be 1-D, one value per row: got shape ()"),
    ("abc", InputError, "got shape (). For a single row, make it a list: ['abc']."),
]


@pytest.mark.parametrize(("values", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_what_is_not_understood_is_refused_by_name(values, error, message):
    with pytest.raises(error, match="column 'x'") as refused:
        read_column("x", values)
    assert message in str(refused.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="longdouble is float64 here")
@pytest.mark.parametrize("make", [list, np.array])
def test_a_longdouble_beyond_float64_is_refused(make):
    with pytest.raises(InputError, match=r"column 'x' must be finite: got .* at row 1"):
        read_column("x", make([np.longdouble(1), np.longdouble("1e4000")]))


def test_pandas_own_missing_values_are_missing():
    pandas = pytest.importorskip("pandas", reason="pandas makes them")
    column = read_column("x", [pandas.NA, "a", pandas.NaT])
    assert column.missing.tolist() == [True, False, True]


def test_the_array_stays_the_callers():
    values = np.array([1.0, np.nan])
    values.setflags(write=False)
    read_column("x", values)
    assert values.tobytes() == np.array([1.0, np.nan]).tobytes()
