"""A row as a dict: what the encoder makes of it as a table of one row."""

from __future__ import annotations

import datetime
import enum
from collections import UserDict, defaultdict
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from encoded_rows import answer, by_table, without_zeros

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError
from fwfm_gpu.row_encoder import RowEncoder

NAN, ROWS = float("nan"), 60


class Colour(enum.StrEnum):
    RED = "Oslo"


def repeat(*values):
    """A column of these values; the last is rare."""
    return np.array([*values[:-1]] * (ROWS // (len(values) - 1)) + [values[-1]], object)


COLUMNS = {
    "strings": repeat("Oslo", "Rome", "", "Bern"),
    "strings, missing": repeat("Oslo", None, "Bern"),
    "booleans": repeat(True, False, True),
    "booleans, missing": repeat(True, None, True),
    "truths": repeat(True, True, True),
    "integers": repeat(0, 1, 3, 7),
    "integers, missing": repeat(0, 1, None, 7),
    "large integers": repeat(2**53, 2**53 + 1, 2**53 + 2, -(2**62)),
    "float categories": repeat(0.5, 1.0, -0.0, 7.25),
    "large floats": repeat(2.0**53, 1e300, 0.1, -1e17),
    "numbers": repeat(0.5, 1.0, -0.0, 7.25, 1e-300, 12.0),
    "numbers, missing": repeat(0.5, 1.0, NAN, 1e10),
    "constant": repeat(2.0, 2.0, 2.0),
    "wide": repeat(-1e308, 1e308, 3.0),
    "tiny": repeat(5e-324, 1e-323, 3e-324),
    "subnormal": repeat(1e-310, 3e-310, 2e-310),
}
CATEGORICAL = ["large integers", "float categories", "large floats"]

VALUES = [
    *("Oslo", "Bern", "", "oslo", "Ł", np.str_("Oslo"), np.str_("new"), Colour.RED, b"Oslo"),
    *(None, NAN, np.nan, np.float64("nan"), np.float32("nan"), np.datetime64("NaT"), np.datetime64("2020-01-01")),
    *(True, False, np.True_, np.False_),
    *(0, 1, 3, 7, 8, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, -(2**62), 2**63 - 1, -(2**63), 2**63, 2**70, 10**400),
    *(np.int8(3), np.int32(3), np.int64(7), np.uint64(3), np.uint64(2**63), np.int64(2**53 + 1)),
    *(0.0, -0.0, 0.5, 1.0, 2.0, 7.25, 7.250000000000001, 0.1, 1e10, 12.0, -3.5, 1e-300, 5e-324, 9e15, 1e17, -1e17),
    *(1e300, -1e308, 1e308, float("inf"), -np.inf, 2.0**53, 2.0**63, -(2.0**63)),
    *(np.float64(0.5), np.float32(0.1), np.float32(0.5), np.float16(0.5), np.longdouble(0.5)),
    *(Decimal(1), 1 + 0j, datetime.date(2020, 1, 1), object(), {}, {1}, np.array(0.5), np.array(None)),
]


@pytest.mark.parametrize("min_count", [1, 5])
@pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
@pytest.mark.parametrize("unknown", ["learned", "ignore", "error"])
@pytest.mark.parametrize("name", COLUMNS)
def test_every_value_is_encoded_as_in_a_table(name, unknown, numeric_as, min_count):
    categorical = [name] if name in CATEGORICAL else None
    encoder = FieldEncoder(categorical, unknown=unknown, numeric_as=numeric_as, min_count=min_count, bins=4)
    encoder.fit({"first": ["a", "b"] * (len(COLUMNS[name]) // 2) + ["b"], name: COLUMNS[name]})
    rows = RowEncoder(encoder)
    for value in VALUES:
        row = {name: value, "first": "b"}
        assert without_zeros(answer(rows.encode, row)) == answer(by_table(encoder), row), repr(value)


@pytest.fixture(params=["bins", "value", "both"])
def encoder(request):
    table = {name: COLUMNS[name][:31] for name in ("strings, missing", "booleans", "integers", "numbers, missing")}
    return FieldEncoder(numeric_as=request.param, min_count=1).fit(table)


USUAL = [
    {"strings, missing": "Oslo", "booleans": True, "integers": 3, "numbers, missing": 0.5},
    {"strings, missing": "new", "booleans": np.False_, "integers": 99, "numbers, missing": np.float64(-4)},
    {"strings, missing": None, "booleans": True, "integers": np.int64(1), "numbers, missing": 7},
    {"strings, missing": NAN, "booleans": True, "integers": 1.0, "numbers, missing": None},
    {"strings, missing": "Oslo", "booleans": None, "integers": NAN, "numbers, missing": NAN, "more": [1, 2]},
]


@pytest.mark.parametrize("row", USUAL)
def test_usual_rows_are_looked_up(encoder, row, monkeypatch):
    known = {name: value for name, value in row.items() if name != "more"}
    want = answer(by_table(encoder), known)
    rows = RowEncoder(encoder)
    monkeypatch.setattr(FieldEncoder, "transform", None)
    assert answer(rows.encode, row) == want


@pytest.mark.parametrize("kind", [UserDict, lambda row: defaultdict(str, row)])
def test_any_mapping_is_a_row_and_stays_as_it_is(encoder, kind):
    row = kind(USUAL[0])
    assert answer(RowEncoder(encoder).encode, row) == answer(by_table(encoder), USUAL[0])
    del row["booleans"]
    with pytest.raises(InputError, match="must have every column that was fitted: 'booleans' not there"):
        RowEncoder(encoder).encode(row)
    assert "booleans" not in row


@pytest.mark.parametrize("value", [[1], (1, 2), np.array([1.0]), ["Oslo"]])
def test_a_column_of_several_values_is_refused(encoder, value):
    with pytest.raises(InputError, match=r"a row must hold one value per column: got .* for column 'integers'"):
        RowEncoder(encoder).encode(USUAL[0] | {"integers": value})


def test_a_later_fit_does_not_reach_it(encoder):
    rows, want = RowEncoder(encoder), answer(by_table(encoder), USUAL[0])
    encoder.fit({"x": [1.0, 2.0]})
    for row in USUAL[0], USUAL[0] | {"integers": np.int8(3)}:  # looked up, and through the encoder
        assert answer(rows.encode, row) == want


def test_the_encoder_s_report_stays(encoder):
    before = str(encoder.report())
    RowEncoder(encoder).encode(USUAL[0] | {"integers": np.int8(9)})
    assert str(encoder.report()) == before


def test_rows_of_many_fields_are_numbered_through():
    names = [f"{kind} {i}" for i, kind in enumerate(["strings", "integers", "numbers", "booleans"] * 3)]
    table = {name: COLUMNS[name.split()[0]][:ROWS] for name in names}
    for numeric_as, unknown in product(["bins", "value", "both"], ["learned", "ignore"]):
        encoder = FieldEncoder(numeric_as=numeric_as, unknown=unknown, min_count=1).fit(table)
        rows, generator = RowEncoder(encoder), np.random.default_rng(0)
        for _ in range(20):
            row = {name: generator.choice(column) for name, column in table.items()}
            assert without_zeros(answer(rows.encode, row)) == answer(by_table(encoder), row)
