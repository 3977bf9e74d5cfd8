"""Parts of dates and times as fields: against Python's own calendar, in the wall time of their zone."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from encoded_tables import names_of

from fwfm_gpu.columns import read_column
from fwfm_gpu.date_columns import PARTS, part_of, read_part
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError, OptionError
from fwfm_gpu.row_encoder import RowEncoder

HOUR = dt.timedelta(hours=1)
TIMES = [dt.datetime(2024, 2, 29, 23, 59, 59, 999_999), None, dt.datetime(2024, 3, 2), dt.datetime(1969, 12, 31, 1)]


def draw_times(count=500):
    """Moments of a thousand years, before 1970 too."""
    seconds = np.random.default_rng(0).integers(-(2**34), 2**34, count)
    return [dt.datetime(1970, 1, 1) + dt.timedelta(seconds=int(s), microseconds=999_999) for s in seconds]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("make", [list, lambda times: np.array(times, "M8[us]"), lambda times: np.array(times, object)])
def test_parts_are_those_of_the_calendar(part, make):
    times = draw_times()
    want = {
        "hour": [time.hour for time in times],
        "weekday": [time.isoweekday() - 1 for time in times],
        "is_weekend": [time.strftime("%w") in "06" for time in times],
        "day": [time.day for time in times],
        "month": [time.month for time in times],
        "year": [time.year for time in times],
    }[part]
    column = read_part(read_column("time", make(times)), part)
    assert column.name == f"time.{part}"
    assert column.values.tolist() == want
    assert [part_of(time, part) for time in times] == want


@pytest.mark.parametrize("unit", ["D", "h", "m", "s", "ms", "us", "ns"])
def test_any_resolution_is_rounded_down(unit):
    times = np.array(["2024-02-29T23:59:59.9", "1969-12-31T22:59:59.9", "NaT"], f"M8[{unit}]")
    hours = read_part(read_column("time", times), "hour")
    assert hours.values.tolist()[:2] == ([0, 0] if unit == "D" else [23, 22])
    assert hours.missing.tolist() == [False, False, True]


def test_each_part_is_a_field_where_the_column_stands():
    table = {"a": ["x"] * 4, "time": TIMES, "b": ["y"] * 4}
    encoder = FieldEncoder(dates={"time": ("weekday", "hour", "is_weekend")}, min_count=1)
    rows = encoder.fit_transform(table)
    assert rows.field_names == ("a", "time.weekday", "time.hour", "time.is_weekend", "b")
    assert encoder.column_names == ("a", "time", "b")
    assert names_of(rows) == [
        ["a=x", "time.weekday=3", "time.hour=23", "time.is_weekend=False", "b=y"],
        ["a=x", "time.weekday missing", "time.hour missing", "time.is_weekend missing", "b=y"],
        ["a=x", "time.weekday=5", "time.hour=0", "time.is_weekend=True", "b=y"],
        ["a=x", "time.weekday=2", "time.hour=1", "time.is_weekend=False", "b=y"],
    ]
    assert [field.kind for field in encoder.report()][1:4] == ["date, categorical"] * 3


@pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
def test_the_year_is_a_number(numeric_as):
    encoder = FieldEncoder(dates={"time": ["year"]}, numeric_as=numeric_as, min_count=1, bins=2)
    plain = FieldEncoder(numeric=["time.year"], numeric_as=numeric_as, min_count=1, bins=2)
    rows, want = encoder.fit_transform({"time": TIMES}), plain.fit_transform({"time.year": [2024, None, 2024, 1969]})
    assert rows.fingerprint() == want.fingerprint()
    assert rows.feature_names == want.feature_names
    assert encoder.report()[0].kind == "date, numeric"


def test_times_are_read_as_they_stand_in_their_zone():
    noon = dt.datetime(2024, 7, 1, 12)
    zones = [None, dt.UTC, dt.timezone(HOUR * -5), dt.timezone(HOUR * 9, "Tokyo")]
    values = [noon.replace(tzinfo=zone) for zone in zones]
    assert read_part(read_column("time", values), "hour").values.tolist() == [12] * 4


def test_unseen_parts_go_where_unknown_says():
    fit, asked = {"time": TIMES[2:]}, {"time": [dt.datetime(2024, 3, 2, 5), None]}
    encoder = FieldEncoder(dates={"time": "hour"}, min_count=1).fit(fit)
    assert encoder.transform(asked).nnz == 0
    assert encoder.report()[0].unknown_rate == 1.0
    encoder = FieldEncoder(dates={"time": ["hour"]}, min_count=1, unknown="error").fit(fit)
    with pytest.raises(InputError, match=r"column 'time' must hold values that fit saw.*got 5 at row 0"):
        encoder.transform(asked)


def test_a_restored_encoder_transforms_alike():
    table = {"time": TIMES, "day": np.array(TIMES, "M8[D]")}
    encoder = FieldEncoder(dates={"time": ("hour", "year"), "day": ("weekday", "month")}, min_count=1).fit(table)
    arrays, document = encoder.describe()
    assert document["format"] == 2
    restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
    assert restored.transform(table).fingerprint() == encoder.transform(table).fingerprint()
    assert restored.get_feature_names_out().tolist() == encoder.get_feature_names_out().tolist()
    assert repr(restored) == repr(encoder)


@pytest.mark.parametrize(
    "spoil", [{"part": "minute"}, {"column": "day"}, {"part": "month"}, {"of": {"kind": "hashed"}}]
)
def test_what_describes_no_encoder_is_refused(spoil):
    arrays, document = FieldEncoder(dates={"time": ["hour"]}, min_count=1).fit({"time": TIMES}).describe()
    document["fields"][0].update(spoil)
    with pytest.raises(ModelFileError, match="an encoder must be described by what describe"):
        FieldEncoder.restore(arrays, document)


@pytest.mark.parametrize("values", [np.array(TIMES, "M8[s]"), TIMES, [dt.date(2024, 1, 1)]])
def test_dates_that_no_option_asks_for_are_refused_with_advice(values):
    with pytest.raises(
        InputTypeError, match=r"column 'x' holds dates or times.*FieldEncoder\(dates={'x': \('hour', 'we"
    ):
        FieldEncoder().fit({"x": values})


@pytest.mark.parametrize("values", [["2024-01-01"], [1], [["a"]]])
def test_what_is_no_date_is_refused(values):
    with pytest.raises(InputTypeError, match="column 'x' is named in dates, and holds"):
        FieldEncoder(dates={"x": ["hour"]}).fit({"x": values})


@pytest.mark.parametrize("values", [[1], [True], [["a"]]])
def test_what_can_be_no_date_is_refused_later_too(values):
    encoder = FieldEncoder(dates={"x": ["hour"]}).fit({"x": [dt.date(2024, 1, 1)]})
    with pytest.raises(InputTypeError, match="column 'x' held times when the encoder was fitted: got"):
        encoder.transform({"x": values})


def test_a_field_that_another_column_is_called_is_refused():
    with pytest.raises(InputError, match=r"fields must differ in name: 2 are called 'x\.hour'\. Rename a column"):
        FieldEncoder(dates={"x": ["hour"]}).fit({"x": [dt.date(2024, 1, 1)], "x.hour": [3]})


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["x"], "dates must name the parts of each column"),
        ({"x": 3}, r"dates\['x'\] must list parts, each once, such as .*: got 3"),
        ({"x": []}, r"dates\['x'\] must list parts"),
        ({"x": ["hour", "hour"]}, r"dates\['x'\] must list parts, each once"),
        ({"x": ["minute"]}, r"a part of dates\['x'\] must be one of 'hour', 'weekday', .*, got 'minute'"),
        ({1: ["hour"]}, "dates must be a list of column names"),
    ],
)
def test_options_outside_what_is_allowed(dates, message):
    with pytest.raises(OptionError, match=message):
        FieldEncoder(dates=dates)


def test_strings_are_read_where_dates_were_learned():
    times = [*draw_times(200), None, dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)]
    encoder = FieldEncoder(dates={"time": list(PARTS)}, min_count=1).fit({"time": times})
    want = encoder.transform({"time": times}).fingerprint()
    for write in (
        lambda time: time.isoformat(),
        lambda time: time.isoformat(" ", "seconds"),
        lambda time: time.isoformat() + "Z",
        lambda time: time.isoformat() + "-05:30",
        lambda time: f"{time.isoformat()}+0100",
    ):
        written = [None if time is None else write(time) for time in times]
        assert encoder.transform({"time": written}).fingerprint() == want
        scorer = RowEncoder(encoder)
        for time, text in zip(times, written, strict=True):
            assert scorer.encode({"time": text}) == scorer.encode({"time": time})
    days = [time.date() for time in times if time]
    assert (
        encoder.transform({"time": [day.isoformat() for day in days]}).fingerprint()
        == encoder.transform({"time": days}).fingerprint()
    )


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-02-30", "2024-13-01", "01/02/2024", "2024-01-01T25:00", "2024-1-1"]
)
def test_strings_that_are_no_dates_are_refused(text):
    encoder = FieldEncoder(dates={"x": ["hour", "day"]}).fit({"x": [dt.date(2024, 1, 1)]})
    with pytest.raises(InputError, match=rf"strings of it must be ISO 8601, .*: got {text!r} at row 1"):
        encoder.transform({"x": ["2024-01-01", text]})
    with pytest.raises(InputError, match=rf"strings of it must be ISO 8601, .*: got {text!r} at row 0"):
        RowEncoder(encoder).encode({"x": text})
