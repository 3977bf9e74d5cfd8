"""Any table: canonical rows, the same whatever the order, in chunks, and after a restore."""

from __future__ import annotations

import json

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis", reason="draws the tables")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fwfm_gpu.encoding import FieldEncoder  # noqa: E402
from fwfm_gpu.field_matrix import FieldMatrix  # noqa: E402

TEXT = st.none() | st.text(max_size=3)
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
FLOATS = st.none() | st.floats(allow_infinity=False, min_value=-1e300, max_value=1e300) | st.integers(0, 3).map(float)
BOOLEANS = st.none() | st.booleans()
OPTIONS = st.fixed_dictionaries(
    {
        "bins": st.integers(2, 8),
        "min_count": st.integers(1, 4),
        "unknown": st.sampled_from(["learned", "ignore", "error"]),
        "numeric_as": st.sampled_from(["bins", "both"]),
    }
)


@st.composite
def tables(draw):
    """One to four columns of one kind each, none all missing."""
    rows = draw(st.integers(1, 30))
    table = {}
    for i, kind in enumerate(
        draw(st.lists(st.sampled_from([TEXT, INTEGERS, FLOATS, BOOLEANS]), min_size=1, max_size=4))
    ):
        column = draw(st.lists(kind, min_size=rows, max_size=rows))
        if all(value is None or value != value for value in column):
            column[0] = draw(kind.filter(lambda value: value is not None and value == value))
        table[f"c{i}"] = np.array([*column, None], dtype=object)[:-1]
    return table


def take(table, order):
    return {name: column[order] for name, column in table.items()}


@settings(deadline=None)
@given(tables(), OPTIONS)
def test_rows_are_canonical_and_every_field_of_a_row_has_a_feature(table, options):
    rows = FieldEncoder(**options).fit_transform(table)
    again = FieldMatrix.from_matrix(rows.to_csr(), rows.fields, field_names=rows.field_names)
    np.testing.assert_array_equal(again.indices, rows.indices)
    np.testing.assert_array_equal(again.values, rows.values)
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        assert set(rows.fields[rows.indices[start:end]].tolist()) == set(range(len(table)))


@settings(deadline=None)
@given(tables(), OPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table, options, random):
    order = list(range(len(table["c0"])))
    random.shuffle(order)
    rows = FieldEncoder(**options).fit_transform(table)
    shuffled = FieldEncoder(**options).fit_transform(take(table, order))
    assert shuffled.feature_names == rows.feature_names
    assert shuffled.fingerprint() == rows.take(order).fingerprint()


@settings(deadline=None)
@given(tables(), OPTIONS, st.integers(0, 29))
def test_a_restored_encoder_gives_a_single_row_of_the_whole(table, options, row):
    row %= len(table["c0"])
    encoder = FieldEncoder(**options).fit(table)
    arrays, document = encoder.describe()
    restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
    assert restored.transform(take(table, [row])).fingerprint() == encoder.transform(table).take([row]).fingerprint()
