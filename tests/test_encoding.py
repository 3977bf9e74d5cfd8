"""Tables to rows: what fit decides, what transform gives, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, MissingStateError, ModelFileError, OptionError

TABLE = {
    "city": ["Rome", "Paris", "Rome", None, "Oslo", "Paris"],
    "age": [31.0, 28.0, np.nan, 60.0, 31.0, 45.0],
    "rooms": [3, 1, 2, 2, 3, 1],
    "member": [True, False, True, True, False, True],
}
SEEN = {"x": ["a", "a", "b"], "y": ["c", "c", "c"]}  # only x has a rare category
ASKED = {"x": ["z", "b", "a"], "y": ["c", "z", None]}


def make_table(rows=300, seed=0):
    """Columns of every kind, with skew, rare categories and missing values."""
    rng = np.random.default_rng(seed)
    city = rng.choice(np.array([f"city {i}" for i in range(40)], dtype=object), rows, p=1 / 2 ** np.r_[1:40, 39])
    city[rng.random(rows) < 0.1] = None
    age = rng.normal(40, 10, rows).round(1)
    age[rng.random(rows) < 0.1] = np.nan
    gain = np.where(rng.random(rows) < 0.8, 0, rng.integers(1, 10_000, rows))
    return {"city": city, "age": age, "gain": gain, "rooms": rng.integers(1, 6, rows), "member": rng.random(rows) < 0.5}


def take(table, rows):
    return {name: np.asarray(column)[rows] for name, column in table.items()}


def names_of(rows):
    """Per row its features by name, with the value where it is not 1."""
    names, table = rows.feature_names, []
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        cells = zip(rows.indices[start:end].tolist(), rows.values[start:end].tolist(), strict=True)
        table.append([names[i] if value == 1 else (names[i], value) for i, value in cells])
    return table


@pytest.fixture
def encoder():
    return FieldEncoder(min_count=1).fit(TABLE)


class TestFit:
    def test_every_column_is_a_field_and_every_feature_has_a_name(self):
        rows = FieldEncoder(min_count=2, bins=2).fit_transform(TABLE)
        assert rows.field_names == tuple(TABLE)
        assert rows.feature_names == (
            *("city=Paris", "city=Rome", "city rare", "city missing"),
            *("age < 45", "age >= 45", "age missing"),
            *("rooms=1", "rooms=2", "rooms=3"),
            *("member=False", "member=True"),
        )
        assert rows.fields.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
        assert names_of(rows)[2:5] == [
            ["city=Rome", "age missing", "rooms=2", "member=True"],
            ["city missing", "age >= 45", "rooms=2", "member=True"],
            ["city rare", "age < 45", "rooms=3", "member=False"],
        ]
        assert rows.all_ones

    @pytest.mark.parametrize(
        ("column", "kind"),
        [
            (np.arange(50) % 50, "categorical"),
            (np.arange(51), "numeric"),
            (np.arange(51).astype(str), "categorical"),
            (np.array([0.0, 1.0]), "numeric"),
            ([True, False], "categorical"),
            ([1, None], "categorical"),
        ],
    )
    def test_left_to_itself_a_column_is_what_its_values_say(self, column, kind):
        assert FieldEncoder().fit({"x": column}).report()[0].kind == kind

    def test_names_decide_where_they_are_given(self):
        table = {"a": [1.0, 2.0], "b": [1, 2], "c": [3, 4]}
        report = FieldEncoder(categorical=["a"], numeric=["b"]).fit(table).report()
        assert [field.kind for field in report] == ["categorical", "numeric", "categorical"]

    def test_what_a_frame_calls_categorical_is(self):
        pandas = pytest.importorskip("pandas", reason="has such columns")
        pytest.importorskip("narwhals", reason="reads frames")
        pytest.importorskip("pyarrow", reason="reads frames")
        frame = pandas.DataFrame({"x": pandas.Categorical(np.arange(60))})
        assert FieldEncoder().fit(frame).report()[0].kind == "categorical"
        assert FieldEncoder(numeric=["x"]).fit(frame).report()[0].kind == "numeric"

    @pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
    def test_the_order_of_rows_does_not_matter(self, numeric_as):
        table, order = make_table(), np.random.default_rng(1).permutation(300)
        encoder = FieldEncoder(numeric_as=numeric_as)
        rows, shuffled = encoder.fit_transform(table), encoder.fit_transform(take(table, order))
        assert shuffled.feature_names == rows.feature_names
        assert shuffled.fingerprint() == rows.take(order).fingerprint()

    def test_skew_leaves_bins_for_the_rest(self):
        rows = FieldEncoder(bins=8, min_count=1).fit_transform({"gain": np.r_[np.zeros(900), 1.0:101.0]})
        counts = dict(zip(rows.feature_names, np.bincount(rows.indices).tolist(), strict=True))
        assert counts.pop("gain <= 0") == 900
        assert len(counts) == 8 and set(counts.values()) <= {12, 13}

    @pytest.mark.parametrize("sign", [1, -1])
    def test_integers_that_would_be_rounded_are_refused_unless_named(self, sign):
        table = {"i": sign * (np.arange(100) + 2**60)}
        with pytest.raises(InputError, match=r"column 'i' must hold integers up to 2\*\*53.*at row 0.*identifiers"):
            FieldEncoder(min_count=1).fit(table)
        assert FieldEncoder(["i"], min_count=1).fit(table).report()[0].features == 100
        assert FieldEncoder(min_count=1).fit({"i": table["i"][:50]}).report()[0].kind == "categorical"
        assert FieldEncoder(min_count=1).fit({"i": sign * (2**53 - np.arange(100))}).report()[0].kind == "numeric"

    @pytest.mark.parametrize("numeric_as", ["bins", "value", "both"])
    def test_named_integers_that_round_to_one_number_are_one(self, numeric_as):
        table = {"i": np.arange(2000) + 2**60}  # float64 holds every 256th
        encoder = FieldEncoder(numeric=["i"], min_count=1, numeric_as=numeric_as)
        rows = encoder.fit_transform(table)
        assert encoder.report()[0].distinct == len(np.unique(table["i"].astype(np.float64)))
        assert len(set(rows.feature_names)) == rows.n_features
        again = FieldEncoder.restore(*encoder.describe()).transform(table)
        assert again.indices.tobytes() == rows.indices.tobytes()
        assert again.values.tobytes() == rows.values.tobytes()

    @pytest.mark.parametrize(
        ("table", "names"),
        [
            ({"a": ["x=y", "z"], "a=x": ["y", "w"]}, ("'a'=x=y", "a=z", "a=x=w", "'a=x'=y")),
            ({"a": ["x"], "'a'": ["x"]}, ("a=x", "'a'=x")),
            ({"'a'": ["x=y"], "a": ["x=y"], "a=x": ["y"]}, ("\"'a'\"=x=y", "'a'=x=y", "'a=x'=y")),
        ],
    )
    def test_names_that_collide_quote_their_column(self, table, names):
        assert set(FieldEncoder(min_count=1).fit_transform(table).feature_names) == set(names)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(
        ("numeric_as", "low"),
        [("bins", 0.0), ("value", 0.0), ("both", 0.0), ("bins", -np.finfo(float).max)],
    )
    def test_the_largest_numbers_give_no_warning(self, numeric_as, low):
        table = {"x": [low, 1.0, 2.0, *[np.finfo(float).max] * 3]}
        encoder = FieldEncoder(min_count=1, numeric_as=numeric_as).fit(table)
        FieldEncoder.restore(*encoder.describe()).transform(table)

    def test_fit_again_forgets_and_leaves_earlier_rows_their_encoder(self, encoder):
        rows = encoder.transform(TABLE)
        encoder.fit({"x": ["a"]})
        assert encoder.field_names == ("x",)
        assert rows.encoder.transform(TABLE).fingerprint() == rows.fingerprint()

    def test_a_failed_fit_leaves_the_encoder_as_it_was(self, encoder):
        with pytest.raises(InputError):
            encoder.fit({"x": [None]})
        assert encoder.field_names == tuple(TABLE)


class TestNumericAs:
    def test_value_standardises(self):
        rows = FieldEncoder(numeric_as="value").fit_transform({"x": [1.0, 3.0, np.nan]})
        assert names_of(rows) == [[("x (standardised)", -1.0)], ["x (standardised)"], ["x missing"]]
        assert rows.values.dtype == np.float64

    def test_a_standardised_zero_is_dropped(self):
        rows = FieldEncoder(numeric_as="value").fit_transform({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "a"]})
        assert names_of(rows)[1] == ["y rare"]
        assert rows.nnz == 5

    def test_both_share_a_field(self):
        rows = FieldEncoder(numeric_as="both", bins=2, min_count=1).fit_transform(
            {"x": [1.0, 3.0, None], "y": [1, 1, 1]}
        )
        assert names_of(rows) == [
            ["x < 3", ("x (standardised)", -1.0), "y=1"],
            ["x >= 3", "x (standardised)", "y=1"],
            ["x missing", "y=1"],
        ]
        assert rows.fields.tolist() == [0, 0, 0, 0, 1]

    def test_a_constant_contributes_its_bin_and_no_value(self):
        rows = FieldEncoder(numeric_as="both").fit_transform({"x": [2.5, 2.5]})
        assert names_of(rows) == [["x any"], ["x any"]]

    def test_a_value_that_overflows_is_refused(self):
        encoder = FieldEncoder(numeric_as="value").fit({"x": [0.0, 1e-300]})
        with pytest.raises(InputError, match=r"column 'x' must be finite after .*: got 1e\+300 at row 1"):
            encoder.transform({"x": [0.0, 1e300]})


class TestTransform:
    def test_rows_are_canonical_and_carry_names_and_encoder(self):
        rows = FieldEncoder(numeric_as="both").fit_transform(make_table())
        matrix = rows.to_csr()
        assert matrix.has_canonical_format and (matrix.data != 0).all()
        assert rows.indices.max() < rows.n_features
        for made in (rows.rounded("float32"), rows.take([3, 1])):
            assert made.encoder is rows.encoder

    def test_the_encoder_is_no_part_of_the_fingerprint(self, encoder):
        rows, other = encoder.transform(TABLE), FieldEncoder(min_count=1).fit_transform(TABLE)
        assert rows.encoder is not other.encoder
        assert rows.fingerprint() == other.fingerprint()

    @pytest.mark.parametrize("numeric_as", ["bins", "both"])
    def test_chunks_give_the_rows_of_the_whole(self, numeric_as):
        table = make_table()
        encoder = FieldEncoder(numeric_as=numeric_as)
        whole = encoder.fit_transform(table)
        for start in range(0, 300, 70):
            part = np.arange(start, min(start + 70, 300))
            assert encoder.transform(take(table, part)).fingerprint() == whole.take(part).fingerprint()

    def test_frames_give_what_dicts_give(self):
        pandas = pytest.importorskip("pandas", reason="reads pandas")
        polars = pytest.importorskip("polars", reason="reads polars")
        pa = pytest.importorskip("pyarrow", reason="reads pyarrow")
        pytest.importorskip("narwhals", reason="reads frames")
        table = make_table()
        frames = [table, pandas.DataFrame(table), polars.DataFrame(table, nan_to_null=True), pa.table(table)]
        made = [FieldEncoder(numeric_as="both").fit_transform(frame) for frame in frames]
        assert len({rows.fingerprint() for rows in made}) == 1
        assert len({rows.feature_names for rows in made}) == 1
        crossed = made[0].encoder.transform(frames[2])
        assert crossed.fingerprint() == made[0].fingerprint()

    def test_columns_may_come_in_any_order_beside_others(self, encoder):
        table = {"label": [b"?"] * 6, **dict(reversed(TABLE.items()))}
        assert encoder.transform(table).fingerprint() == encoder.transform(TABLE).fingerprint()

    def test_no_rows_give_no_rows(self, encoder):
        rows = encoder.transform({name: [] for name in TABLE})
        assert rows.shape == (0, len(encoder.get_feature_names_out()))

    def test_numbers_beyond_the_fit_fall_into_the_outermost_bins(self):
        encoder = FieldEncoder(bins=4, min_count=1).fit({"x": np.arange(100.0)})
        assert names_of(encoder.transform({"x": [-1e9, 1e9]})) == [["x < 25"], ["x >= 75"]]

    def test_integers_may_come_as_floats_and_floats_as_integers(self):
        encoder = FieldEncoder(min_count=1).fit({"a": [1, 2], "b": [1.0, 2.0]})
        expected = encoder.transform({"a": [1, 2], "b": [2.0, 1.0]})
        assert encoder.transform({"a": [1.0, 2.0], "b": [2, 1]}).fingerprint() == expected.fingerprint()

    def test_the_callers_table_stays_as_it_was(self):
        table = make_table()
        before = {name: column.copy() for name, column in table.items()}
        FieldEncoder(numeric_as="both").fit_transform(table)
        for name, column in table.items():
            np.testing.assert_array_equal(column, before[name])


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
            lambda arrays, document: document.update(format=2),
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
            ({"a": np.array(["2020-01-01"], "M8[D]")}, InputTypeError, "column 'a'.*Dates and times"),
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


def test_feature_names_out_are_those_of_the_rows(encoder):
    names = encoder.get_feature_names_out()
    assert names.dtype == object
    assert tuple(names) == encoder.transform(TABLE).feature_names


def test_a_dict_needs_numpy_and_scipy_alone():
    script = (
        "import sys; from fwfm_gpu.encoding import FieldEncoder\n"
        "FieldEncoder().fit_transform({'a': ['x', None], 'b': [1.5, 2.5]})\n"
        "print(*({'pandas', 'polars', 'pyarrow', 'narwhals'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
