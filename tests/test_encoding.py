"""Tables become rows: what is learned from them, and what they become."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from encoded_tables import TABLE, make_table, names_of, take

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError


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
