"""Any lists, hashed values and dates: what plain Python makes of them, and the same as single rows and restored."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis", reason="draws the tables")

from encoded_tables import names_of  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fwfm_gpu.encoding import FieldEncoder  # noqa: E402
from fwfm_gpu.row_encoder import RowEncoder  # noqa: E402

WORDS = st.text("ab|é", min_size=1, max_size=2).filter(lambda word: "|" not in word)
INTEGERS = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
CHOICES = st.fixed_dictionaries(
    {
        "min_count": st.integers(1, 3),
        "unknown": st.sampled_from(["learned", "ignore"]),
        "multi_value": st.sampled_from(["one", "mean"]),
    }
)


def lists_of(members):
    return st.lists(st.none() | st.lists(members, max_size=4), min_size=1, max_size=12).filter(any)


def hash_of(text, n_buckets, seed):
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") % n_buckets


class Reference:
    """A multi-valued column, row by row."""

    def __init__(self, lists, min_count, unknown, multi_value):
        self.seen = Counter(member for row in lists for member in set(row or ()))
        self.min_count, self.unknown, self.mean = min_count, unknown, multi_value == "mean"
        self.names = [f"x={member}" for member in sorted(self.seen) if self.seen[member] >= min_count]
        self.names += ["x rare"] * any(count < min_count for count in self.seen.values())
        self.names += ["x missing"] * any(not row for row in lists)

    def name(self, member):
        if self.seen[member] >= self.min_count:
            return f"x={member}"
        return "x rare" if self.seen[member] or self.unknown == "learned" else None

    def encode(self, row):
        found = {self.name(member) for member in row or ()} or {"x missing"}
        found = sorted(found & set(self.names), key=self.names.index)
        return [(name, 1 / len(found)) if self.mean and len(found) > 1 else name for name in found]


@settings(deadline=None, max_examples=25)
@given(st.data(), st.sampled_from([WORDS, INTEGERS]), CHOICES)
def test_lists_are_those_of_plain_python(data, members, options):
    fitted, asked = data.draw(lists_of(members)), data.draw(lists_of(members))
    encoder, reference = FieldEncoder(**options).fit({"x": fitted}), Reference(fitted, **options)
    assert list(encoder.get_feature_names_out()) == reference.names
    for lists in fitted, asked:
        rows = encoder.transform({"x": lists})
        assert names_of(rows) == [reference.encode(row) for row in lists]
        assert rows.to_csr().has_canonical_format
    arrays, document = encoder.describe()
    restored = FieldEncoder.restore(arrays, json.loads(json.dumps(document)))
    assert restored.transform({"x": asked}).fingerprint() == encoder.transform({"x": asked}).fingerprint()


@settings(deadline=None, max_examples=25)
@given(lists_of(WORDS), CHOICES)
def test_a_separator_gives_what_lists_give(lists, options):
    cut, plain = FieldEncoder(multi={"x": "|"}, **options), FieldEncoder(**options)
    joined = [None if row is None else "|".join(row) for row in lists]
    assert cut.fit_transform({"x": joined}).fingerprint() == plain.fit_transform({"x": lists}).fingerprint()
    assert cut.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    assert cut.report()[0] == plain.report()[0]


VALUES = st.sampled_from([(st.text(max_size=3), str), (INTEGERS, str), (st.booleans(), lambda b: str(b).lower())])


@settings(deadline=None, max_examples=25)
@given(st.data(), VALUES, st.integers(1, 20), st.integers(0, 2**64 - 1))
def test_hashes_and_their_collisions_are_those_of_plain_python(data, kind, n_buckets, seed):
    members, text = kind
    values = data.draw(st.lists(st.none() | members, min_size=1, max_size=30).filter(lambda v: set(v) != {None}))
    encoder = FieldEncoder(hashed={"x": n_buckets}, hash_seed=seed)
    rows = encoder.fit_transform({"x": np.array([*values, None], object)[:-1]})
    buckets = {value: hash_of(text(value), n_buckets, seed) for value in values if value is not None}
    assert rows.indices.tolist() == [n_buckets if value is None else buckets[value] for value in values]
    held = Counter(buckets.values())
    shared = {value for value, bucket in buckets.items() if held[bucket] > 1}
    found = encoder.report()[0].collisions
    assert (found.values, found.used, found.sharing) == (len(buckets), len(held), len(shared))
    assert (found.cells, found.shared_cells) == (sum(v is not None for v in values), sum(v in shared for v in values))


TIMES = st.datetimes(datetime.datetime(1, 1, 1)) | st.dates()
TABLES = st.integers(2, 12).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "tags": st.lists(st.none() | st.lists(WORDS, max_size=3), min_size=rows, max_size=rows).filter(any),
            "age": st.lists(st.floats(-1e9, 1e9), min_size=rows, max_size=rows),
            "ids": st.lists(st.lists(INTEGERS, max_size=3), min_size=rows, max_size=rows).filter(any),
            "time": st.lists(st.none() | TIMES, min_size=rows, max_size=rows).filter(any),
            "user": st.lists(st.none() | st.text(max_size=2), min_size=rows, max_size=rows).filter(
                lambda values: any(value is not None for value in values)
            ),
        }
    )
)


@settings(deadline=None, max_examples=15)
@given(TABLES, CHOICES, st.sampled_from(["bins", "value", "both"]))
def test_tables_of_all_kinds_row_by_row(table, options, numeric_as):
    dates = {"time": ("hour", "weekday", "day", "month", "year", "is_weekend")}
    encoder = FieldEncoder(hashed={"ids": 5, "user": 9}, dates=dates, numeric_as=numeric_as, **options)
    rows = encoder.fit_transform(table)
    assert rows.to_csr().has_canonical_format
    assert (rows.values != 0).all()
    single = RowEncoder(encoder)
    for row in range(len(rows)):
        own = slice(rows.indptr[row], rows.indptr[row + 1])
        found, values = single.encode({name: column[row] for name, column in table.items()})
        cells = [(int(f), 1.0 if values is None else float(values[i])) for i, f in enumerate(found)]
        assert [cell for cell in cells if cell[1]] == list(
            zip(rows.indices[own].tolist(), rows.values[own].tolist(), strict=True)
        )
        part = encoder.transform({name: column[row : row + 1] for name, column in table.items()})
        assert part.fingerprint() == rows.take([row]).fingerprint()
