"""Hashed, multi-valued and date columns of a row as a dict: what the encoder makes of it as a table of one row."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pytest
from encoded_rows import answer, by_table, without_zeros

import fwfm_gpu
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError
from fwfm_gpu.row_encoder import RowEncoder

NAN, EAST = float("nan"), datetime.timezone(datetime.timedelta(hours=9))
TIMES = [datetime.datetime(2024, 2, 29, 23, 59), datetime.date(1969, 12, 31), datetime.datetime(2024, 3, 2, 9)] * 4
FITTED = {
    "words": ["a", "b", "7", "c"] * 3,
    "numbers": [7, -3, 2**60, 0] * 3,
    "gaps": ["a", None, "b", "a"] * 3,
    "cut": ["a|b", "b", "c|a", "a"] * 3,
    "cut, missing": ["a|b", "", "c", None] * 3,
    "tags": [["a", "b"], ["b"], ["c", "a", "c"], ["a"]] * 3,
    "tags, missing": [["a"], [], None, ["b", None]] * 3,
    "ids": [[1, 2], [3], [1], [2**50]] * 3,
    "truths": [[True], [True, False], [True], [True]] * 3,
    "hashed tags": [["a"], ["b", "c"], [], ["a"]] * 3,
    "time": TIMES,
    "time, missing": [*TIMES[:11], None],
}
OPTIONS = {
    "hashed": {"words": 50, "numbers": 50, "gaps": 50, "hashed tags": 50},
    "multi": {"cut": "|", "cut, missing": "|", "tags": None},
    "dates": {"time": ("hour", "weekday", "is_weekend"), "time, missing": ("day", "month", "year")},
}
VALUES = [
    *("a", "b", "z", "", "a|b", "z|a", "|", "a||a", "7", np.str_("a"), "\ud800", b"a", "2024-01-01"),
    *(None, NAN, np.nan, np.float64("nan"), np.datetime64("NaT")),
    *(True, np.False_, 7, -3, 0, 1, 2**53, 2**53 + 1, 2**60, 2**63 - 1, 2**63, np.int64(7), np.int8(7), np.uint64(7)),
    *(7.0, -0.0, 0.5, 2.0**53, 2.0**60, float("inf"), np.float32(7), np.float16(7), Decimal(7), 1j, object(), {}),
    *([], (), ["a"], ("b", "a"), ["a", "a"], ["z", "a"], ["z"], [None], [None, "a"], ["a", NAN], ["a", 1], [["a"]]),
    *([1], [1, 2.0], [2, 3, 9], [True], [False, True], [1, True], [0.5], {"a", "b"}, frozenset("b"), ["\ud800"]),
    *(np.array(["a", "b"], object), np.array([1, 2]), np.array([]), np.zeros((1, 1)), [datetime.date(2024, 1, 1)]),
    *(TIMES[0], TIMES[1], datetime.datetime(1600, 1, 1, 1, 1, 1, 999_999), datetime.date(9999, 12, 31)),
    *(TIMES[0].replace(tzinfo=EAST), np.datetime64("2024-03-02T09"), np.datetime64("1969-12-31"), datetime.time(9)),
]


@pytest.mark.parametrize(("numeric_as", "unknown"), [("bins", "learned"), ("both", "ignore"), ("both", "error")])
@pytest.mark.parametrize("name", FITTED)
def test_every_value_is_encoded_as_in_a_table(name, numeric_as, unknown):
    options = {option: {name: of[name]} for option, of in OPTIONS.items() if name in of}
    multi_value = "mean" if numeric_as == "both" else "one"
    encoder = FieldEncoder(unknown=unknown, numeric_as=numeric_as, multi_value=multi_value, min_count=4, **options)
    encoder.fit({"first": ["a", "b"] * 6, name: FITTED[name], "last": np.arange(12.0)})
    rows = RowEncoder(encoder)
    for value in VALUES:
        row = {name: value, "first": "b", "last": 3.25}
        if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) and name not in rows.listed:
            with pytest.raises(InputError, match="a row must hold one value per column"):
                rows.encode(row)
            continue
        assert without_zeros(answer(rows.encode, row)) == answer(by_table(encoder), row), repr(value)


def test_usual_rows_are_looked_up(monkeypatch):
    encoder = FieldEncoder(multi_value="mean", min_count=1, **OPTIONS).fit(FITTED)
    table = encoder.transform(FITTED)
    rows = RowEncoder(encoder)
    monkeypatch.setattr(FieldEncoder, "transform", None)
    for row in range(12):
        features, values = rows.encode({name: column[row] for name, column in FITTED.items()})
        own = slice(table.indptr[row], table.indptr[row + 1])
        assert features == table.indices[own].tolist()
        assert values == table.values[own].tolist()


@pytest.mark.parametrize("multi_value", ["one", "mean"])
def test_a_scorer_gives_the_bits_of_the_table(multi_value, tmp_path):
    encoder = FieldEncoder(multi_value=multi_value, min_count=1, **OPTIONS)
    model = fwfm_gpu.train(encoder.fit_transform(FITTED), np.arange(12) % 2, epochs=2, n_factors=3, progress=False)
    model.save(tmp_path / "model.fwfm")
    loaded = fwfm_gpu.load(tmp_path / "model.fwfm")
    want = model.decision_function(FITTED).tolist()
    assert loaded.decision_function(FITTED).tolist() == want
    for scorer in model.scorer(), loaded.scorer():
        assert [scorer.score({name: column[row] for name, column in FITTED.items()}) for row in range(12)] == want
