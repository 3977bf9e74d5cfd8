"""Categories that were not seen, an encoder's report, how it comes back, and the tables it refuses."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from encoded_tables import ASKED, SEEN, TABLE, make_table, names_of, take

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, MissingStateError, ModelFileError, OptionError


@pytest.fixture
def encoder():
    return FieldEncoder(min_count=1).fit(TABLE)


class TestUnknown:
    @pytest.mark.parametrize(
        ("unknown", "expected"),
        [
            ("learned", [["x rare", "y=c"], ["x rare"], ["x=a"]]),
            ("ignore", [["y=c"], ["x rare"], ["x=a"]]),
        ],
    )
    def test_the_unseen_go_where_it_says_and_what_was_never_trained_contributes_nothing(self, unknown, expected):
        encoder = FieldEncoder(min_count=2, unknown=unknown).fit(SEEN)
        assert names_of(encoder.transform(ASKED)) == expected
        assert [field.unknown_rate for field in encoder.report()] == [1 / 3, 2 / 3]

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"x": ["b", "z"], "y": ["c", "c"]}, "column 'x' must hold values that fit saw.*got 'z' at row 1"),
            ({"x": ["b", "a"], "y": ["c", None]}, "column 'y' must hold values that fit saw.*a missing value at row 1"),
        ],
    )
    def test_error_names_column_row_and_value(self, asked, message):
        encoder = FieldEncoder(min_count=2, unknown="error").fit(SEEN)
        with pytest.raises(InputError, match=message):
            encoder.transform(asked)

    def test_error_covers_numeric_columns_that_missed_nothing(self):
        encoder = FieldEncoder(unknown="error").fit({"x": [1.5, 2.5]})
        assert encoder.transform({"x": [99.0]}).nnz == 1
        with pytest.raises(InputError, match=r"column 'x'.*a missing value at row 1"):
            encoder.transform({"x": [1.5, None]})


class TestReport:
    def test_it_tells_what_fit_saw(self):
        encoder = FieldEncoder(min_count=2, bins=2).fit(TABLE)
        city, age, rooms, _ = encoder.report()
        assert (city.name, city.kind, city.distinct, city.missing, city.rare) == ("city", "categorical", 3, 1, 1)
        assert (city.features, city.unknown_rate, city.note) == (4, None, "")
        assert (age.kind, age.distinct, age.missing, age.rare, age.features) == ("numeric", 4, 1, 0, 3)
        assert rooms.note == "unknown and missing values contribute nothing"
        with pytest.raises(FrozenInstanceError):
            city.rare = 3

    @pytest.mark.parametrize(
        ("unknown", "values", "note"),
        [
            ("learned", ["a", "a", "b", None], ""),
            ("learned", ["a", "a", "b"], "missing values contribute nothing"),
            ("learned", ["a", "a", None], "unknown values contribute nothing"),
            ("ignore", ["a", "a", "b", None], "unknown values contribute nothing"),
            ("error", ["a", "a"], ""),
            ("learned", [1.5, 2.5], "missing values contribute nothing"),
        ],
    )
    def test_it_says_what_contributes_nothing(self, unknown, values, note):
        assert FieldEncoder(min_count=2, unknown=unknown).fit({"x": values}).report()[0].note == note

    def test_it_reads_as_a_table(self):
        encoder = FieldEncoder(min_count=2).fit({"city": ["a", "a", "b"], "age": [1.5, 2.5, None]})
        encoder.transform({"city": ["z", "a"], "age": [1, 2]})
        assert str(encoder.report()).splitlines() == [
            "name  kind         distinct  missing  rare  features  unknown rate  note",
            "city  categorical         2        0     1         2        50.00%  missing values contribute nothing",
            "age   numeric             2        1     0         2         0.00%",
        ]

    def test_a_transform_of_no_rows_has_no_rate(self, encoder):
        encoder.transform({name: [] for name in TABLE})
        assert [field.unknown_rate for field in encoder.report()] == [0.0] * 4


class TestRestore:
    @pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
    def test_a_restored_encoder_transforms_alike(self, numeric_as):
        table = {**make_table(), "big": np.arange(300) % 7 + 2**60, "nul": np.array(["a", "a\0", "é"] * 100, object)}
        encoder = FieldEncoder(["rooms"], ["gain"], numeric_as=numeric_as, unknown="ignore").fit(table)
        arrays, document = encoder.describe()
        restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
        rows, other = restored.transform(table), encoder.transform(table)
        assert rows.fingerprint() == other.fingerprint()
        assert (rows.field_names, rows.feature_names) == (other.field_names, other.feature_names)
        assert restored.report() == encoder.report()
        assert repr(restored) == repr(encoder)

    def test_arrays_are_of_what_a_file_can_hold(self):
        arrays, _ = FieldEncoder().fit(make_table()).describe()
        assert {array.dtype.str for array in arrays.values()} <= {"<f8", "<i8", "|b1", "|O"}
        assert all(array.ndim == 1 for array in arrays.values())
        strings = [array for array in arrays.values() if array.dtype == object]
        assert strings and all(isinstance(item, str) for array in strings for item in array)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda arrays, document: document.update(format=3),
            lambda arrays, document: document.pop("options"),
            lambda arrays, document: document["options"].update(bins=0),
            lambda arrays, document: document["options"].update(colour="red"),
            lambda arrays, document: document["fields"][0].update(kind="other"),
            lambda arrays, document: document["fields"][0].update(family="other"),
            lambda arrays, document: document["fields"][0].update(missing=-1),
            lambda arrays, document: document["fields"][1].update(scale=["a", 1]),
            lambda arrays, document: document.update(fields=[]),
            lambda arrays, document: arrays.pop("0.vocabulary"),
            lambda arrays, document: arrays.update({"0.vocabulary": arrays["0.vocabulary"][::-1]}),
            lambda arrays, document: arrays.update({"0.vocabulary": np.arange(3)}),
            lambda arrays, document: arrays.update({"0.rare": arrays["0.rare"][1:]}),
            lambda arrays, document: arrays.update({"1.points": np.array([2.0, 1.0]), "1.after": np.zeros(2, bool)}),
            lambda arrays, document: arrays.update({"1.after": arrays["1.after"].astype(int)}),
            lambda arrays, document: arrays.update({"1.after": np.zeros(9, bool)}),
            lambda arrays, document: arrays.update({"1.points": arrays["1.points"] * np.nan}),
        ],
    )
    def test_what_describes_no_encoder_is_refused(self, spoil):
        arrays, document = FieldEncoder(bins=2, min_count=1).fit(TABLE).describe()
        FieldEncoder.restore(arrays, document)
        spoil(arrays, document)
        with pytest.raises(ModelFileError, match="an encoder must be described by what describe"):
            FieldEncoder.restore(arrays, document)

    def test_the_refusal_ends_in_one_full_stop(self):
        arrays, document = FieldEncoder(bins=2, min_count=1).fit(TABLE).describe()
        document["options"]["bins"] = 0
        with pytest.raises(ModelFileError) as refused:
            FieldEncoder.restore(arrays, document)
        assert ".." not in str(refused.value)


class TestBadInput:
    def test_a_table_without_columns_says_so(self, encoder):
        with pytest.raises(InputError, match=r"not there\. There are none\."):
            encoder.transform({})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bins": 1}, "bins must be an integer of at least 2, got 1"),
            ({"bins": 2.5}, "bins must be an integer"),
            ({"bins": True}, "bins must be an integer"),
            ({"min_count": 0}, "min_count must be an integer of at least 1"),
            ({"unknown": "drop"}, "unknown must be one of 'learned', 'ignore', 'error', got 'drop'"),
            ({"numeric_as": "log"}, "numeric_as must be one of 'bins', 'value', 'both', got 'log'"),
            ({"categorical": "age"}, "categorical must be a list of column names, got 'age'"),
            ({"numeric": [1]}, "numeric must be a list of column names"),
            ({"categorical": 3}, "categorical must be a list of column names, got 3"),
            ({"unknown": np.array([1, 2])}, "unknown must be one of"),
            ({"numeric_as": ["bins"]}, "numeric_as must be one of"),
            ({"categorical": ["a", "b"], "numeric": ["b"]}, "column 'b' is named in both categorical and numeric"),
        ],
    )
    def test_options_outside_what_is_allowed(self, options, message):
        with pytest.raises(OptionError, match=message):
            FieldEncoder(**options)

    @pytest.mark.parametrize(
        ("table", "error", "message"),
        [
            ({}, InputError, "at least one row and one column to be fitted: got 0 rows, 0 columns"),
            ({"a": [], "b": []}, InputError, "got 0 rows, 2 columns"),
            ({"a": [1, 2], "b": [None, None]}, InputError, "column 'b' must hold at least one value: all are missing"),
            ({"a": np.array([np.nan])}, InputError, "column 'a' must hold at least one value"),
            ({"a": ["x", 1]}, InputTypeError, "column 'a' must hold values of one kind"),
            ({"a": [1.0, np.inf]}, InputError, "column 'a' must be finite: got inf at row 1"),
            ({"a": ["x", []]}, InputTypeError, "column 'a' must hold values of one kind"),
            ({"a": np.array(["2020-01-01"], "M8[D]")}, InputTypeError, "column 'a' holds dates or times"),
            ({"a": np.zeros(2, "m8[s]")}, InputTypeError, "column 'a' .* got timedelta64"),
            ({"a": [1], "b": [1, 2]}, InputError, "'a' has 1 rows, 'b' has 2"),
            ([[1, 2]], InputTypeError, "got list"),
        ],
    )
    def test_tables_that_cannot_be_fitted(self, table, error, message):
        with pytest.raises(error, match=message):
            FieldEncoder().fit(table)

    @pytest.mark.parametrize("option", ["categorical", "numeric"])
    def test_a_named_column_that_is_not_there(self, option):
        with pytest.raises(InputError, match=f"{option} names column 'z', which is not there. There are: 'a', 'b'."):
            FieldEncoder(**{option: ["a", "z"]}).fit({"a": [1], "b": [2]})

    @pytest.mark.parametrize("values", [["x"], [True]])
    def test_a_numeric_column_without_numbers(self, values):
        with pytest.raises(InputTypeError, match="column 'a' is named in numeric, and holds"):
            FieldEncoder(numeric=["a"]).fit({"a": values})

    def test_a_missing_column_is_named(self, encoder):
        table = {name: column for name, column in TABLE.items() if name not in ("age", "member")}
        with pytest.raises(InputError, match=r"'age', 'member' not there\. There are: 'city', 'rooms'\."):
            encoder.transform(table)

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("age", ["old"] * 6, "column 'age' held numbers when the encoder was fitted: got strings, such as 'old'"),
            ("age", [None, True] * 3, "column 'age' held numbers .* got booleans, such as True at row 1"),
            ("city", range(6), "column 'city' held strings .* got integers, such as 0 at row 0"),
            ("rooms", ["1"] * 6, "column 'rooms' held numbers .* got strings"),
            ("member", [0, 1] * 3, "column 'member' held booleans .* got integers"),
        ],
    )
    def test_another_kind_of_values_is_refused_by_name(self, encoder, name, values, message):
        with pytest.raises(InputTypeError, match=message):
            encoder.transform({**TABLE, name: list(values)})

    def test_an_infinite_value_is_refused_by_name(self, encoder):
        with pytest.raises(InputError, match="column 'age' must be finite: got -inf at row 2"):
            encoder.transform({**TABLE, "age": [1.0, 2.0, -np.inf, 3.0, 4.0, 5.0]})

    @pytest.mark.parametrize("nothing", [None, np.nan])
    @pytest.mark.parametrize("name", ["city", "age", "gain", "member"])
    def test_a_column_that_is_all_missing_against_what_fit_saw_is_refused_by_name(self, name, nothing):
        table = make_table()
        encoder = FieldEncoder().fit(table)
        with pytest.raises(InputError, match=f"column '{name}' must hold values: all 300 rows miss it"):
            encoder.transform({**table, name: [nothing] * 300})

    def test_a_frames_column_that_is_all_missing_is_refused_by_name(self):
        pandas = pytest.importorskip("pandas", reason="reads pandas")
        pytest.importorskip("narwhals", reason="reads frames")
        pytest.importorskip("pyarrow", reason="reads frames")
        frame = pandas.DataFrame(make_table())
        encoder = FieldEncoder().fit(frame)
        for nothing in (None, np.nan, pandas.Series(pandas.NA, frame.index, dtype="Int64")):
            with pytest.raises(InputError, match="column 'city' must hold values: all 300 rows miss it"):
                encoder.transform(frame.assign(city=nothing))

    def test_rows_one_by_one_and_columns_that_are_often_empty_are_let_through(self):
        table = {"x": ["a"] + [None] * 99, "y": ["b"] * 100}
        encoder = FieldEncoder(min_count=1).fit(table)
        assert names_of(encoder.transform(take(table, [1, 2, 3]))) == [["x missing", "y=b"]] * 3
        assert names_of(encoder.transform({"x": ["a"], "y": [None]})) == [["x=a"]]

    @pytest.mark.parametrize("verb", ["transform", "get_feature_names_out", "report", "describe", "field_names"])
    def test_before_fit_everything_says_so(self, verb):
        with pytest.raises(MissingStateError, match="not fitted: call fit or fit_transform first"):
            FieldEncoder().transform(TABLE) if verb == "transform" else getattr(FieldEncoder(), verb)()
