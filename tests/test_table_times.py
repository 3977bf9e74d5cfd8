"""Which columns hold times, found in as few rows as tell."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from fwfm_gpu.io.table_times import find_times

pa = pytest.importorskip("pyarrow", reason="the tables are pyarrow's: fwfm-gpu[data]")
pytest.importorskip("narwhals", reason="columns are read through narwhals: fwfm-gpu[data]")

NOON, MIDNIGHT = datetime(1960, 5, 1, 12), datetime(2024, 5, 1)
COLUMNS = {
    "n": [1, 2, 3, 4],
    "text": ["2024-05-01"] * 4,
    "day": [date(2024, 5, 1)] * 4,
    "early": [NOON, MIDNIGHT, None, MIDNIGHT],
    "late": [None, MIDNIGHT, MIDNIGHT, NOON],
    "never": [MIDNIGHT, MIDNIGHT, None, None],
    "list": [[NOON]] * 4,
}


def test_whole_and_in_parts_and_no_more_of_them_than_needed():
    whole, parts = pa.table(COLUMNS), []

    def read(names, step=1):
        for i in range(0, 4, step):
            parts.append((i, sorted(names)))
            yield whole.select([name for name in whole.column_names if name in names]).slice(i, step)

    want = {"day": False, "early": True, "late": True, "never": False}
    assert find_times(whole.column_names, read) == want
    assert parts == [(0, sorted(whole.column_names)), *((i, ["early", "late", "never"]) for i in range(4))]
    assert find_times(whole.column_names, lambda names: read(names, 4)) == want
    parts.clear()
    assert find_times(["early", "n", "day"], read) == {"day": False, "early": True}
    assert parts == [(0, ["day", "early", "n"]), (0, ["early"])]
    assert find_times(["day"], lambda names: iter([])) == {}


def test_the_time_of_day_is_that_of_the_zone():
    for zone, timed in (("Europe/Oslo", False), ("UTC", True)):
        table = pa.table({"t": pa.array([1714514400], pa.timestamp("s", zone))})  # midnight in Oslo, 22:00 in UTC
        assert find_times(["t"], lambda names, table=table: [table]) == {"t": timed}
