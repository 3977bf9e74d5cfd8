"""Tables of every make give the same columns; what is no table is refused."""

from __future__ import annotations

import datetime
import sys
import types

import numpy as np
import pytest

from fwfm_gpu.errors import InputError, InputTypeError, MissingExtraError
from fwfm_gpu.io.tables import open_table

COLUMNS = {
    "city": ["Paris", None, "Rome", "Paris", ""],
    "age": [31, 28, 31, 60, 2**60],
    "visits": [3, None, 1, 2, 2],
    "income": [1.5, None, 2.0, -0.0, 1e300],
    "member": [True, False, True, True, False],
    "agrees": [True, None, False, True, None],
}


def items(column):
    """What stands in each row, None where it is missing."""
    values = column.values.tolist()
    if column.categories is not None:
        values = [column.categories[value] for value in values]
    return [None if lost else value for value, lost in zip(values, column.missing, strict=True)]


def as_pandas(columns):
    return pytest.importorskip("pandas", reason="reads pandas").DataFrame(columns)


def as_pandas_objects(columns):
    return pytest.importorskip("pandas", reason="reads pandas").DataFrame(columns, dtype=object)


def as_pandas_nullable(columns):
    return as_pandas_objects(columns).convert_dtypes()


def as_polars(columns):
    return pytest.importorskip("polars", reason="reads polars").DataFrame(columns)


def as_pyarrow(columns):
    return pytest.importorskip("pyarrow", reason="reads pyarrow").table(columns)


def as_chunks(columns):
    """Three chunks, the first without rows."""
    pa, whole = pytest.importorskip("pyarrow", reason="reads pyarrow"), as_pyarrow(columns)
    return pa.concat_tables([whole.slice(0, 0), whole.slice(0, 2), whole.slice(2)])


def as_batch(columns):
    return as_pyarrow(columns).combine_chunks().to_batches(max_chunksize=None)[0]


def as_narwhals(columns):
    return pytest.importorskip("narwhals", reason="reads frames").from_native(as_polars(columns))


MAKERS = [dict, as_pandas, as_pandas_objects, as_pandas_nullable, as_polars, as_pyarrow, as_chunks]
MAKERS += [as_batch, as_narwhals]
FRAMES = MAKERS[1:]


@pytest.fixture(params=FRAMES, ids=lambda make: make.__name__)
def as_frame(request):
    pytest.importorskip("narwhals", reason="reads frames")
    pytest.importorskip("pyarrow", reason="reads frames")
    return request.param


def test_a_dict_is_read():
    table = open_table(COLUMNS)
    assert (table.names, table.n_rows) == (tuple(COLUMNS), 5)
    assert {name: items(table.read(name)) for name in table.names} == COLUMNS


def test_a_frame_gives_what_a_dict_gives(as_frame):
    table = open_table(as_frame(COLUMNS))
    assert (table.names, table.n_rows) == (tuple(COLUMNS), 5)
    assert {name: items(table.read(name)) for name in table.names} == COLUMNS
    families = {name: table.read(name).family for name in table.names}
    assert families == {name: open_table(COLUMNS).read(name).family for name in COLUMNS}


def test_a_column_without_a_value_is_all_missing(as_frame):
    column = open_table(as_frame({"x": [None, None]})).read("x")
    assert column.missing.tolist() == [True, True]


def test_nan_in_a_frame_is_missing(as_frame):
    assert open_table(as_frame({"x": [np.nan, 2.5]})).read("x").missing.tolist() == [True, False]


@pytest.mark.parametrize("make", [as_pandas, as_pandas_objects])
def test_a_mixture_in_a_frame_is_refused_by_its_row(make):
    pytest.importorskip("narwhals", reason="reads frames")
    table = open_table(make({"x": ["a"] * 200 + [3]}))
    with pytest.raises(InputTypeError, match=r"column 'x' must hold values of one kind: .* row 200 holds int 3"):
        table.read("x")


def test_categoricals_of_pandas_keep_their_strings_and_say_so():
    pandas = pytest.importorskip("pandas", reason="reads pandas")
    pytest.importorskip("narwhals", reason="reads frames")
    text = pandas.Categorical(["b", None, "a"], categories=["c", "b", "a"])
    numbers = pandas.Categorical([7, 5, 7])
    table = open_table(pandas.DataFrame({"text": text, "numbers": numbers}))
    assert items(table.read("text")) == ["b", None, "a"]
    assert items(table.read("numbers")) == [7, 5, 7]
    assert table.read("text").labelled and table.read("numbers").labelled


def test_categoricals_of_polars_keep_their_strings():
    polars = pytest.importorskip("polars", reason="reads polars")
    pytest.importorskip("narwhals", reason="reads frames")
    frame = polars.DataFrame(
        {
            "c": polars.Series(["b", None, "a"], dtype=polars.Categorical),
            "e": polars.Series(["b", None, "a"], dtype=polars.Enum(["c", "b", "a"])),
        }
    )
    assert [items(open_table(frame).read(name)) for name in "ce"] == [["b", None, "a"]] * 2


def test_a_dictionary_with_doubles_and_nulls_is_read():
    pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
    pytest.importorskip("narwhals", reason="reads frames")
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None, 3]), pa.array(["a", "b", "a", None]))
    column = open_table(pa.table({"x": array})).read("x")
    assert items(column) == ["a", "b", "a", None, None]
    assert column.categories == ["a", "b"]


@pytest.mark.parametrize("kind", ["string_view", "large_string", "decimal128", "float16", "uint64"])
def test_other_kinds_of_arrow_are_read(kind):
    pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
    pytest.importorskip("narwhals", reason="reads frames")
    values = ["1.5", None] if "string" in kind else [None, 2]
    made = pa.decimal128(25, 2) if kind == "decimal128" else getattr(pa, kind)()
    array = pa.array(np.array([2, 2], np.float16)) if kind == "float16" else pa.array(values).cast(made)
    expected = [2.0, 2.0] if kind == "float16" else values
    assert items(open_table(pa.table({"x": array})).read("x")) == expected


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("time32", "Make numbers"),
        ("duration", "Make numbers"),
        ("binary", "Decode"),
        ("list_", "lists of times"),
        ("uint64", "below 2\\*\\*63"),
    ],
)
def test_what_arrow_holds_beside_is_refused_by_name(kind, advice):
    pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
    pytest.importorskip("narwhals", reason="reads frames")
    arguments = {"time32": ["s"], "duration": ["s"], "list_": [pa.date32()]}.get(kind, [])
    value = {"binary": b"a", "list_": [1], "uint64": 2**63}.get(kind, 1)
    table = open_table(pa.table({"x": pa.array([value], getattr(pa, kind)(*arguments))}))
    with pytest.raises((InputTypeError, InputError), match=f"column 'x'.*{advice}"):
        table.read("x")


def test_objects_of_polars_are_refused():
    polars = pytest.importorskip("polars", reason="reads polars")
    pytest.importorskip("narwhals", reason="reads frames")
    table = open_table(polars.DataFrame({"x": polars.Series([object()], dtype=polars.Object)}))
    with pytest.raises(InputTypeError, match=r"column 'x' must hold strings.*got object at row 0\. Convert it first"):
        table.read("x")


REFUSED = [
    ({"a": [1, 2], "b": [1]}, InputError, "'a' has 2 rows, 'b' has 1"),
    ({"a": [1], 3: [1]}, InputTypeError, "column names must be str: got int 3 for column 1"),
    ({"a": np.zeros((2, 2))}, InputError, "column 'a' must be 1-D"),
    ({"a": 1}, InputError, "column 'a' must be 1-D"),
    (np.zeros((2, 2)), InputTypeError, "got ndarray. Name its columns"),
    ([{"a": 1}], InputTypeError, "got list"),
    (None, InputTypeError, "got NoneType"),
]


@pytest.mark.parametrize(("table", "error", "message"), REFUSED, ids=lambda x: repr(x)[:30])
def test_what_is_no_table_is_refused(table, error, message):
    with pytest.raises(error) as refused:
        open_table(table)
    assert message in str(refused.value)


def test_doubled_names_are_refused():
    pandas = pytest.importorskip("pandas", reason="makes such frames")
    pa = pytest.importorskip("pyarrow", reason="makes such tables")
    pytest.importorskip("narwhals", reason="reads frames")
    for table in (pandas.DataFrame([[1, 2, 3]], columns=["b", "a", "a"]), pa.table([[1], [2]], names=["a", "a"])):
        with pytest.raises(InputError, match="column names must differ: 'a' names 2 columns"):
            open_table(table)


def test_a_column_may_bear_the_name_of_an_attribute(as_frame):
    table = open_table(as_frame({"column_names": ["a"], "columns": ["b"], "shape": ["c"]}))
    assert [items(table.read(name)) for name in table.names] == [["a"], ["b"], ["c"]]


def test_names_of_pandas_that_are_no_strings_are_refused():
    pandas = pytest.importorskip("pandas", reason="makes such frames")
    pytest.importorskip("narwhals", reason="reads frames")
    with pytest.raises(InputTypeError, match="column names must be str: got int 0 for column 0"):
        open_table(pandas.DataFrame([[1, 2]]))


def test_a_lazy_frame_is_refused_with_advice():
    polars = pytest.importorskip("polars", reason="makes such frames")
    pytest.importorskip("narwhals", reason="reads frames")
    with pytest.raises(InputTypeError, match=r"got LazyFrame. Call collect\(\) on it first"):
        open_table(polars.DataFrame({"a": [1]}).lazy())


def test_a_series_is_no_table():
    pandas = pytest.importorskip("pandas", reason="makes it")
    with pytest.raises(InputTypeError, match="got Series"):
        open_table(pandas.Series([1]))


def test_a_frame_without_its_extra_says_what_to_install(monkeypatch):
    frame = as_pandas({"a": [1]})
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"DataFrame needs narwhals: pip install 'fwfm-gpu\[data\]'"):
        open_table(frame)


def test_reading_leaves_the_frame_as_it_was():
    pandas = pytest.importorskip("pandas", reason="reads pandas")
    pytest.importorskip("narwhals", reason="reads frames")
    frame = as_pandas(COLUMNS)
    before = frame.copy(deep=True)
    table = open_table(frame)
    for name in table.names:
        table.read(name)
    pandas.testing.assert_frame_equal(frame, before)


LISTS = {"tags": [["a", "b"], None, [], ["b", None]], "ids": [[3, 1], [2], None, []]}


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_lists_are_read_from_every_make(make):
    if make is not dict:
        pytest.importorskip("narwhals", reason="reads frames")
        pytest.importorskip("pyarrow", reason="reads frames")
    table = open_table(make(LISTS))
    tags, ids = table.read("tags"), table.read("ids")
    assert [[tags.members_of(row).value(i) for i in range(n)] for row, n in enumerate([2, 0, 0, 1])] == [
        ["'a'", "'b'"],
        [],
        [],
        ["'b'"],
    ]
    assert (tags.family, ids.family) == ("lists of strings", "lists of numbers")
    assert tags.missing.tolist() == [False, True, True, False]
    assert ids.members.values.tolist() == [3, 1, 2]
    assert ids.starts.tolist() == [0, 2, 3, 3, 3]


@pytest.mark.parametrize("kind", ["list_", "large_list", "fixed", "list_view", "dictionary", "sliced"])
def test_lists_of_arrow_of_every_kind(kind):
    pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
    pytest.importorskip("narwhals", reason="reads frames")
    made = {
        "fixed": lambda: pa.list_(pa.string(), 2),
        "dictionary": lambda: pa.list_(pa.dictionary(pa.int8(), pa.string())),
        "sliced": lambda: pa.list_(pa.string()),
    }.get(kind, lambda: getattr(pa, kind)(pa.string()))()
    array = pa.array([["a", "b"], None, ["c", None], ["d", "a"]], made)
    array = array.slice(1) if kind == "sliced" else array
    column = open_table(pa.table({"x": array})).read("x")
    shown = [column.value(row) for row in range(len(array))]
    assert shown == ["['a', 'b']", "a missing value", "['c']", "['d', 'a']"][4 - len(array) :]


def test_lists_of_polars_arrays():
    polars = pytest.importorskip("polars", reason="reads polars")
    pytest.importorskip("narwhals", reason="reads frames")
    pytest.importorskip("pyarrow", reason="reads frames")
    series = polars.Series([[1, 2], None, [3, 4]], dtype=polars.Array(polars.Int64, 2))
    assert open_table(polars.DataFrame({"x": series})).read("x").members.values.tolist() == [1, 2, 3, 4]


NOON = datetime.datetime(2024, 7, 1, 12, 30)
ZONES = {
    "none": None,
    "utc": datetime.UTC,
    "offset": datetime.timezone(datetime.timedelta(hours=-5, minutes=-30)),
}


@pytest.mark.parametrize("zone", [*ZONES, "Europe/Zurich"])
@pytest.mark.parametrize("make", [dict, as_pandas, as_pandas_objects, as_pandas_nullable, as_polars, as_pyarrow])
def test_times_are_read_in_the_wall_time_of_their_zone(make, zone):
    if make is not dict:
        pytest.importorskip("narwhals", reason="reads frames")
        pytest.importorskip("pyarrow", reason="reads frames")
    if zone == "Europe/Zurich":
        zoneinfo = pytest.importorskip("zoneinfo", reason="knows zones")
        try:
            zone = zoneinfo.ZoneInfo(zone)
        except zoneinfo.ZoneInfoNotFoundError:
            pytest.skip("no time zones on this machine")
    else:
        zone = ZONES[zone]
        if make is as_polars and zone is ZONES["offset"]:
            pytest.skip("polars knows no offsets")
    column = open_table(make({"x": [NOON.replace(tzinfo=zone), None]})).read("x")
    assert column.kind == "times"
    assert (column.value(0), column.missing.tolist()) == ("2024-07-01T12:30:00", [False, True])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "date32", "date64"])
def test_times_of_arrow_of_every_unit(unit):
    pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
    pytest.importorskip("narwhals", reason="reads frames")
    kind = getattr(pa, unit)() if unit.startswith("date") else pa.timestamp(unit)
    days = [datetime.date(1969, 12, 31), None, datetime.date(2024, 2, 29)]
    column = open_table(pa.table({"x": pa.array(days).cast(kind)})).read("x")
    assert [column.value(row) for row in range(3)] == ["1969-12-31T00:00:00", "a missing value", "2024-02-29T00:00:00"]


def test_a_frame_that_calls_its_strings_objects_is_read_through_arrow_if_it_is_of_cudf(monkeypatch):
    """A stand-in for cuDF, which needs a GPU: of a column it gives nothing but a pyarrow array."""
    pandas = pytest.importorskip("pandas", reason="stands in")
    pa = pytest.importorskip("pyarrow", reason="reads frames")
    pytest.importorskip("narwhals", reason="reads frames")

    class Series(pandas.Series):
        def to_arrow(self):
            return pa.array(self.tolist(), from_pandas=True)

        def to_numpy(self, *args, **options):
            raise AssertionError("cuDF refuses strings with missing values here")

        _constructor = property(lambda self: Series)

    class DataFrame(pandas.DataFrame):
        _constructor_sliced = property(lambda self: Series)
        _constructor = property(lambda self: DataFrame)

    cudf = types.ModuleType("cudf")
    cudf.DataFrame, cudf.Series, cudf.Index, cudf.__version__ = DataFrame, Series, pandas.RangeIndex, "25.10"
    monkeypatch.setitem(sys.modules, "cudf", cudf)
    column = open_table(DataFrame({"x": ["a", None, "b"]}, dtype=object)).read("x")
    assert items(column) == ["a", None, "b"]
