"""Multi-valued columns: what their rows become, against a plain reference, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from encoded_tables import names_of

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError, OptionError

TAGS = {"tags": [["a", "b"], ["b", "a", "b"], [], None, ["b", None], ["c"]]}


def encode(table, **options):
    return names_of(FieldEncoder(**{"min_count": 1} | options).fit_transform(table))


class TestRows:
    def test_each_member_is_a_feature_of_the_row_once(self):
        assert encode(TAGS) == [
            ["tags=a", "tags=b"],
            ["tags=a", "tags=b"],
            ["tags missing"],
            ["tags missing"],
            ["tags=b"],
            ["tags=c"],
        ]

    def test_the_mean_divides_by_the_features_of_the_row(self):
        rows = FieldEncoder(min_count=1, multi_value="mean").fit_transform(
            {"x": [[1, 2, 3, 3], [], [4]], "y": [1, 1, 1]}
        )
        third = 1 / 3
        assert names_of(rows) == [
            [("x=1", third), ("x=2", third), ("x=3", third), "y=1"],
            ["x missing", "y=1"],
            ["x=4", "y=1"],
        ]
        assert rows.values.dtype == np.float64
        assert rows.rounded("float32").values[0] == np.float32(1) / np.float32(3)

    def test_multi_value_may_be_given_by_column(self):
        rows = encode({"x": [["a", "b"]], "y": [["a", "b"]]}, multi_value={"x": "mean"})
        assert rows == [[("x=a", 0.5), ("x=b", 0.5), "y=a", "y=b"]]

    def test_without_means_all_values_are_one(self):
        assert FieldEncoder(min_count=1).fit_transform(TAGS).all_ones

    def test_strings_are_cut_at_the_separator_and_nothing_else(self):
        table = {"x": ["b|a", "a||a", "", None, " a|b ", "|"]}
        assert encode(table, multi={"x": "|"}) == [
            ["x=a", "x=b"],
            ["x=a"],
            ["x missing"],
            ["x missing"],
            ["x= a", "x=b "],
            ["x missing"],
        ]
        assert encode({"x": ["a, b", "b"]}, multi={"x": ", "}) == [["x=a", "x=b"], ["x=b"]]

    def test_where_strings_were_cut_lists_do_as_well(self):
        encoder = FieldEncoder(multi={"x": "|"}, min_count=1).fit({"x": ["a|b", "c", ""]})
        rows = encoder.transform({"x": [["b", "a"], ("c",), []]})
        assert rows.fingerprint() == encoder.transform({"x": ["a|b", "c", ""]}).fingerprint()

    @pytest.mark.parametrize("make", [list, tuple, set, frozenset, lambda tags: np.array(tags, object)])
    def test_a_list_may_be_of_any_kind(self, make):
        table = {"x": [make(["a", "b"]), make([]), None, make(["a"])]}
        assert encode(table) == [["x=a", "x=b"], ["x missing"], ["x missing"], ["x=a"]]

    def test_members_may_be_numbers_or_booleans(self):
        assert encode({"x": [[3, 1], [2**60 + 1]]}) == [["x=1", "x=3"], [f"x={2**60 + 1}"]]
        assert encode({"x": [[True], [True, False]]}) == [["x=True"], ["x=False", "x=True"]]
        assert encode({"x": [[0.5, -0.0], [0.0]]}, multi=["x"]) == [["x=0.0", "x=0.5"], ["x=0.0"]]
        arrays = [np.array([3, 1], np.int8), np.array([2], np.int8), np.array([], np.int8)]
        assert encode({"x": arrays}) == [["x=1", "x=3"], ["x=2"], ["x missing"]]

    def test_it_stands_between_other_fields(self):
        table = {"a": ["p", None], "x": [["s", "t"], ["t"]], "b": [1.5, 2.5], "y": [[], [1]], "c": ["q", "q"]}
        rows = FieldEncoder(min_count=1, bins=2, numeric_as="both").fit_transform(table)
        assert names_of(rows) == [
            ["a=p", "x=s", "x=t", "b < 2.5", ("b (standardised)", -1.0), "y missing", "c=q"],
            ["a missing", "x=t", "b >= 2.5", "b (standardised)", "y=1", "c=q"],
        ]
        assert rows.to_csr().has_canonical_format

    def test_lists_alone_and_no_rows(self):
        encoder = FieldEncoder(min_count=1).fit({"x": [["a"]], "y": [["b"]]})
        assert encoder.transform({"x": [], "y": []}).shape == (0, 2)
        assert names_of(encoder.transform({"x": [["a"]], "y": [["b"]]})) == [["x=a", "y=b"]]
        mixed = FieldEncoder(min_count=1).fit({"x": [["a"]], "y": ["b"]})
        assert mixed.transform({"x": [], "y": []}).shape == (0, 2)


class TestUnknown:
    FIT: ClassVar = {"x": [["a", "b"], ["a", "c"], ["a", "a"], ["d", "b"]]}  # c and d are in one row each

    def test_members_in_few_rows_are_rare_however_often_a_row_lists_them(self):
        table = {"x": [["a", "a", "a"], ["b"], ["b"]]}
        assert encode(table, min_count=2) == [["x rare"], ["x=b"], ["x=b"]]

    @pytest.mark.parametrize(
        ("unknown", "expected"),
        [
            ("learned", [["x=a", "x rare"], ["x rare"], ["x=b", "x rare"], []]),
            ("ignore", [["x=a"], [], ["x=b", "x rare"], []]),
        ],
    )
    def test_the_unseen_go_where_it_says_once(self, unknown, expected):
        encoder = FieldEncoder(min_count=2, unknown=unknown).fit(self.FIT)
        rows = encoder.transform({"x": [["a", "y", "z"], ["z"], ["b", "c", "d"], []]})
        assert names_of(rows) == expected
        assert encoder.report()[0].unknown_rate == 3 / 4  # fit saw no row without members

    def test_what_shares_a_feature_counts_once_in_the_mean(self):
        encoder = FieldEncoder(min_count=2, multi_value="mean").fit(self.FIT)
        assert names_of(encoder.transform({"x": [["b", "c", "d", "z"]]})) == [[("x=b", 0.5), ("x rare", 0.5)]]

    def test_an_error_names_the_member_and_its_row(self):
        encoder = FieldEncoder(min_count=1, unknown="error").fit(self.FIT)
        with pytest.raises(InputError, match=r"column 'x' must hold values that fit saw.*got 'z' at row 1"):
            encoder.transform({"x": [["a"], ["b", "z"]]})
        with pytest.raises(InputError, match="got a missing value at row 1"):
            encoder.transform({"x": [["a"], []]})

    def test_it_can_be_hashed_too(self):
        encoder = FieldEncoder(hashed={"x": 1000}, unknown="error").fit({"x": [["a", "b", "a"], ["a"], []]})
        report = encoder.report()[0]
        assert (report.kind, report.distinct, report.missing) == ("multi-valued, hashed", 2, 1)
        assert (report.collisions.cells, report.values_per_row) == (3, 1.0)
        single = FieldEncoder(hashed={"x": 1000}).fit({"x": ["a", "b", "new", None]})
        a, b, new, nothing = names_of(single.transform({"x": ["a", "b", "new", None]}))
        assert names_of(encoder.transform({"x": [["b", "a"], ["new"], []]})) == [
            sorted(a + b, key=number),
            new,
            nothing,
        ]

    def test_members_of_one_bucket_are_one_feature(self):
        encoder = FieldEncoder(hashed={"x": 1}, multi={"x": "|"}, multi_value="mean").fit({"x": ["a|b|c"]})
        assert names_of(encoder.transform({"x": ["a|b", "d"]})) == [["x#0"], ["x#0"]]


def number(name):
    return int(name.split("#")[1])


class TestReference:
    def test_many_rows_are_those_of_plain_python(self):
        random, options = np.random.default_rng(3), {"min_count": 35, "multi_value": "mean"}
        lists = [random.choice(30, random.integers(0, 6)).tolist() for _ in range(400)]
        seen = Counter(member for row in lists for member in set(row))
        names = [f"x={m}" for m in sorted(seen) if seen[m] > 34] + ["x rare", "x missing"]

        def expected(row):
            found = {f"x={m}" if seen[m] > 34 else "x rare" for m in row} or {"x missing"}
            return [name if len(found) == 1 else (name, 1 / len(found)) for name in sorted(found, key=names.index)]

        rows = FieldEncoder(**options).fit_transform({"x": lists})
        assert list(rows.feature_names) == names
        assert names_of(rows) == [expected(row) for row in lists]
        cut = FieldEncoder(**options, multi={"x": "|"}).fit({"x": ["|".join(map(str, row)) for row in lists]})
        assert len(cut.get_feature_names_out()) == len(names)

    def test_chunks_give_the_rows_of_the_whole(self):
        table = {"x": ["a|b", "c", "", "a|z", None] * 20, "y": [[1], [2, 3], [], [1], [3]] * 20, "z": np.arange(100.0)}
        encoder = FieldEncoder(multi={"x": "|"}, multi_value={"y": "mean"}, min_count=1)
        whole = encoder.fit_transform(table)
        for start in range(0, 100, 33):
            part = {name: column[start : start + 33] for name, column in table.items()}
            rows = np.arange(start, min(start + 33, 100))
            assert encoder.transform(part).fingerprint() == whole.take(rows).fingerprint()


class TestDescription:
    def test_a_restored_encoder_transforms_alike(self):
        table = {"x": ["a|b", "", "c"], "y": [[1, 2], [3], None], "z": [["u"], ["v"], ["u", "v"]]}
        encoder = FieldEncoder(multi={"x": "|"}, hashed={"z": 9}, multi_value={"y": "mean"}, min_count=1).fit(table)
        arrays, document = encoder.describe()
        assert document["format"] == 2
        restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
        assert restored.transform(table).fingerprint() == encoder.transform(table).fingerprint()
        assert restored.transform(table).feature_names == encoder.transform(table).feature_names
        assert restored.report() == encoder.report()

    def test_what_former_versions_understand_keeps_the_former_format(self):
        _, document = FieldEncoder(min_count=1).fit({"x": ["a"], "y": [1.5]}).describe()
        assert document["format"] == 1
        assert list(document["options"]) == ["categorical", "numeric", "bins", "min_count", "unknown", "numeric_as"]
        _, document = FieldEncoder(min_count=1).fit({"x": [["a"]]}).describe()
        assert document["format"] == 2

    @pytest.mark.parametrize(
        "spoil",
        [
            {"separator": ""},
            {"separator": 3},
            {"mean": 1},
            {"n_members": -1},
            {"of": {"kind": "numeric"}},
            {"kind": "list"},
        ],
    )
    def test_what_describes_no_encoder_is_refused(self, spoil):
        arrays, document = FieldEncoder(min_count=1).fit({"x": [["a"]]}).describe()
        document["fields"][0].update(spoil)
        with pytest.raises(ModelFileError, match="an encoder must be described by what describe"):
            FieldEncoder.restore(arrays, document)


class TestReport:
    def test_it_tells_members_and_values_per_row(self):
        encoder = FieldEncoder(min_count=2).fit(TAGS | {"y": ["a"] * 6})
        tags, y = encoder.report()
        assert (tags.kind, tags.distinct, tags.missing, tags.rare) == ("multi-valued, categorical", 3, 2, 1)
        assert (tags.values_per_row, y.values_per_row) == (6 / 6, None)
        assert str(encoder.report()).splitlines()[0].split("  ")[-6:] == [
            *("missing", "rare", "features", "values per row", "unknown rate", "note")
        ]


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "options", "error", "message"),
        [
            ([[], None], {}, InputError, "column 'x' must hold at least one value: all are missing"),
            (["", "|"], {"multi": {"x": "|"}}, InputError, "column 'x' must hold at least one value: all are missing"),
            ([[0.5, 1.5]], {}, InputTypeError, "column 'x' holds lists of floats"),
            (
                ["a|b"],
                {"multi": ["x"]},
                InputTypeError,
                "named in multi, and holds strings: lists are expected, or .* sep",
            ),
            ([1, 2], {"multi": {"x": "|"}}, InputTypeError, "named in multi, and holds integers"),
            ([["a"]], {"categorical": ["x"]}, InputTypeError, "named in categorical, and holds lists"),
            ([[1]], {"numeric": ["x"]}, InputTypeError, "named in numeric, and holds lists"),
            ([["a"], ["\ud800"]], {}, InputError, "column 'x' must hold valid Unicode"),
        ],
    )
    def test_columns_that_cannot_be_fitted(self, values, options, error, message):
        with pytest.raises(error, match=message):
            FieldEncoder(**options).fit({"x": values})

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["a"], "held lists of strings when the encoder was fitted: got strings, such as 'a' at row 0"),
            ([[1]], r"held lists of strings .*: got lists, such as \[1\] at row 0"),
        ],
    )
    def test_another_kind_of_values_is_refused_by_name(self, values, message):
        with pytest.raises(InputTypeError, match=f"column 'x' {message}"):
            FieldEncoder().fit({"x": [["a"]]}).transform({"x": values})

    @pytest.mark.parametrize("nothing", [[[]] * 30, [None] * 30])
    @pytest.mark.parametrize("values", [["a"] * 30, [1.5] * 30, [["a"]] * 30, [True] * 30])
    def test_a_column_that_is_all_missing_is_refused_or_let_through_whatever_it_holds(self, values, nothing):
        encoder = FieldEncoder(dates={}).fit({"x": values})
        with pytest.raises(InputError, match="column 'x' must hold values: all 30 rows miss it"):
            encoder.transform({"x": nothing})
        assert encoder.transform({"x": nothing[:1]}).nnz == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"multi": "x"}, "multi must be a list of column names, got 'x'"),
            ({"multi": {"x": ""}}, r"multi\['x'\] must be a separator, or None for lists: got ''"),
            ({"multi": {"x": 1}}, r"multi\['x'\] must be a separator"),
            ({"multi_value": "sum"}, "multi_value must be one of 'one', 'mean', got 'sum'"),
            ({"multi_value": {"x": "sum"}}, r"multi_value\['x'\] must be one of"),
            ({"multi": ["x"], "numeric": ["x"]}, "column 'x' is named in both numeric and multi"),
            ({"multi": ["x"], "dates": {"x": ["hour"]}}, "column 'x' is named in both multi and dates"),
        ],
    )
    def test_options_outside_what_is_allowed(self, options, message):
        with pytest.raises(OptionError, match=message):
            FieldEncoder(**options)
