"""Clicks and impressions: the bits of the rows that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.counts import expand, expand_counts
from fwfm_gpu.errors import InputError, InputTypeError, OptionError

X, _ = make_rows()
IMPRESSIONS = np.random.default_rng(0).integers(0, 4, 44)
CLICKS = np.minimum(np.random.default_rng(1).integers(0, 3, 44), IMPRESSIONS)
COUNTS = CLICKS, IMPRESSIONS


def train(X, y=None, **options):
    return train_small(X, y, **{"device": "numpy", **options})


def by_hand():
    """Row numbers, labels and weights."""
    rows = []
    for b in range(44):
        rows += [(b, 1, CLICKS[b])] if CLICKS[b] else []
        rows += [(b, 0, IMPRESSIONS[b] - CLICKS[b])] if IMPRESSIONS[b] > CLICKS[b] else []
    return (np.array(column) for column in zip(*rows, strict=True))


def test_each_row_becomes_up_to_two():
    got = expand_counts(COUNTS, 44)
    assert [array.tolist() for array in got] == [array.tolist() for array in by_hand()]
    assert [array.dtype for array in got] == [np.int64, np.int64, np.float64]
    assert expand_counts(([0.5, 0], [0.5, 0.25]), 2)[2].tolist() == [0.5, 0.25]


def test_nothing_is_copied_where_each_row_stands_for_one():
    assert expand(X, (np.arange(44) % 2, np.ones(44)))[0] is X


@pytest.mark.parametrize(
    "options", [{}, {"validation_fraction": 0.25}, {"class_weight": "balanced"}, {"loss": "logistic"}]
)
def test_counts_are_rows_with_labels_and_weights(options):
    chosen, y, weight = by_hand()
    model, want = train(X, counts=COUNTS, **options), train(X.take(chosen), y, sample_weight=weight, **options)
    assert bits(model) == bits(want)
    assert model.classes.tolist() == [0, 1]
    assert model.trained.data_fingerprint == want.trained.data_fingerprint
    assert [record.metrics for record in model.history] == [record.metrics for record in want.history]


def test_any_matrix_will_do():
    dense = X.to_csr()
    assert bits(train(dense, counts=COUNTS, fields=X.fields)) == bits(train(X, counts=COUNTS))
    assert bits(train(dense.toarray(), counts=COUNTS, fields=X.fields)) == bits(train(X, counts=COUNTS))


def test_training_goes_on_with_counts(path):
    whole = train(X, counts=COUNTS, epochs=3, normalize="l2")
    train(X, counts=COUNTS, epochs=1, normalize="l2").save(path)
    parts = fwfm_gpu.load(path, device="numpy").continue_training(X, counts=COUNTS, epochs=2, progress=False)
    assert bits(parts) == bits(whole)
    chosen, y, weight = by_hand()
    parts.partial_fit(X, counts=COUNTS)
    assert bits(parts) == bits(whole.partial_fit(X.take(chosen), y, sample_weight=weight))


@pytest.mark.parametrize(
    "counts, kind, words",
    [
        (CLICKS, InputTypeError, r"counts must be \(clicks, impressions\)"),
        ((CLICKS,), InputTypeError, r"counts must be \(clicks, impressions\)"),
        ((CLICKS[1:], IMPRESSIONS), InputError, "clicks of counts must hold one number per row: expected 44, got 43"),
        ((CLICKS, IMPRESSIONS[1:]), InputError, "impressions of counts must hold one number per row"),
        ((IMPRESSIONS + 1, IMPRESSIONS), InputError, r"at most the impressions: got .* at row 0"),
        ((-np.ones(44), IMPRESSIONS), InputError, r"clicks must be 0 or above.*got -1\.0"),
        ((np.full(44, np.nan), IMPRESSIONS), InputError, "clicks"),
        ((["1"] * 44, IMPRESSIONS), InputTypeError, "clicks holds strings"),
        ((np.zeros(44), np.zeros(44)), InputError, "must hold an impression"),
        ((IMPRESSIONS, IMPRESSIONS), InputError, "at least two labels"),
    ],
)
def test_counts_that_are_none_are_refused(counts, kind, words):
    with pytest.raises(kind, match=words):
        train(X, counts=counts)


def test_nothing_says_the_same_again():
    for more in ({"y": CLICKS}, {"sample_weight": CLICKS}, {"group": CLICKS}):
        with pytest.raises(OptionError, match="counts= stands for y and sample_weight"):
            train(X, counts=COUNTS, **more)
    for loss in ("softmax", "squared"):
        with pytest.raises(OptionError, match='counts= needs loss="logistic"'):
            train(X, counts=COUNTS, loss=loss)
    with pytest.raises(OptionError, match="counts= stands for y"):
        train(X, counts=COUNTS, epochs=0).partial_fit(X, CLICKS, counts=COUNTS)


def test_a_table_is_encoded_first():
    with pytest.raises(InputTypeError, match="table of named columns"):
        train({"a": np.arange(44)}, counts=COUNTS)
    rows = FieldMatrix.from_ids([[0], [1]], [2])
    assert train(rows, counts=([1, 0], [2, 3])).classes.tolist() == [0, 1]


def test_what_counts_cannot_go_with_is_refused():
    encoder = FieldEncoder()
    for more in ({"label": "a"}, {"weight": "a"}, {"label": "a", "encoder": encoder, "columns": ["q"], "weight": "w"}):
        with pytest.raises(OptionError, match="counts= stands for y and sample_weight, and for label and weight"):
            train(X, counts=COUNTS, **more)
    for more in ({"columns": ["q"]}, {"encoder": encoder}):
        with pytest.raises(OptionError, match="read a table, and counts= holds arrays"):
            train(X, counts=COUNTS, **more)
    model = train(X, counts=COUNTS, epochs=0)
    for more in ({"label": "a"}, {"weight": "a"}, {"group": "a"}):
        with pytest.raises(OptionError, match="counts= stands for y and sample_weight"):
            model.continue_training(X, counts=COUNTS, epochs=1, progress=False, **more)
    with pytest.raises(OptionError, match="columns read a table, and counts= holds arrays"):
        model.continue_training(X, counts=COUNTS, epochs=1, columns=["a"])
    with pytest.raises(OptionError, match="are for tables that hold their label"):
        model.continue_training(X, CLICKS > 0, epochs=1, label="a")
    for source in ("rows.csv", [(X, CLICKS)], lambda: iter([(X, CLICKS)])):
        with pytest.raises(InputTypeError, match="must be the names of two columns of its tables"):
            train(source, counts=COUNTS)
        with pytest.raises(InputTypeError, match="must be the names of two columns of its tables"):
            model.continue_training(source, counts=COUNTS, epochs=1)


def test_names_are_for_tables(tmp_path):
    names, model = ("clicks", "shown"), train(X, counts=COUNTS, epochs=0)
    for call in (train, model.partial_fit):
        with pytest.raises(InputTypeError, match=r"names columns of a table, and X is none \(FieldMatrix\)"):
            call(X, counts=names)
    with pytest.raises(InputTypeError, match="names columns of tables: got tuple for batch 0"):
        train([(X, CLICKS)], counts=names)
    (tmp_path / "rows.ffm").write_text("1 0:0:1\n")
    with pytest.raises(OptionError, match=r"columns and counts are for tables, and .* is libffm"):
        train(tmp_path / "rows.ffm", counts=names)
    with pytest.raises(InputError, match="the column 'shown' that was named"):
        train({"a": CLICKS, "clicks": CLICKS}, counts=names)
    with pytest.raises(OptionError, match="column 'clicks' must have one role"):
        train({"a": CLICKS, "clicks": CLICKS}, counts=("clicks", "clicks"))


def make_log():
    """A table with counts; the first 10 rows were never shown."""
    rng = np.random.default_rng(2)
    table = {"place": rng.choice(["top", "side", "end"], 44), "hour": rng.integers(0, 24, 44)}
    shown = np.where(np.arange(44) < 10, 0, IMPRESSIONS)
    return {**table, "clicks": np.minimum(CLICKS, shown), "shown": shown}


def in_memory(table, **options):
    """Trained on arrays."""
    rows = FieldEncoder().fit_transform({name: table[name] for name in ("place", "hour")})
    return train(rows, counts=(table["clicks"], table["shown"]), **options)


NAMES = "clicks", "shown"


@pytest.mark.parametrize(
    "options", [{}, {"class_weight": "balanced"}, {"validation_fraction": 0.25}, {"shuffle": False}]
)
def test_a_table_names_its_counts(options):
    table = make_log()
    model, want = train(table, counts=NAMES, **options), in_memory(table, **options)
    assert bits(model) == bits(want)
    assert [record.metrics for record in model.history] == [record.metrics for record in want.history]
    assert model.columns.encoder.field_names == ("place", "hour")


@pytest.mark.parametrize("length", [1, 7, 44])
def test_batches_of_tables_name_their_counts(length):
    table = make_log()
    batches = [{name: column[lo : lo + length] for name, column in table.items()} for lo in range(0, 44, length)]
    got = train(batches, counts=NAMES, epochs=1, class_weight="balanced", columns=["place", "hour"])
    assert bits(got) == bits(in_memory(table, epochs=1, class_weight="balanced"))
    assert bits(got.continue_training(batches, counts=NAMES, epochs=2, progress=False)) == bits(
        in_memory(table, epochs=3, class_weight="balanced")
    )
    assert bits(train(batches, counts=NAMES, shuffle_rows=8)) == bits(train([table], counts=NAMES, shuffle_rows=8))


def test_files_name_their_counts(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is missing: CSV files cannot be read")
    table = make_log()
    path = tmp_path / "log.csv"
    path.write_text(
        "\n".join([",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))])
    )
    model = train(path, counts=NAMES)
    assert bits(model) == bits(in_memory(table))
    table["clicks"][20] = 100
    halves = [{name: column[own] for name, column in table.items()} for own in (slice(15), slice(15, None))]
    with pytest.raises(InputError, match=r"got 100(\.0)? of .* at row 20"):
        train(halves, counts=NAMES)


def test_a_table_goes_on_with_its_counts():
    table = make_log()
    model, want = in_memory(table, epochs=1), in_memory(table, epochs=1)
    rows = model.columns.encoder.transform({name: table[name] for name in ("place", "hour")})
    counts = table["clicks"], table["shown"]
    model.continue_training(table, counts=NAMES, epochs=1, progress=False).partial_fit(table, counts=NAMES)
    want.continue_training(rows, counts=counts, epochs=1, progress=False).partial_fit(rows, counts=counts)
    assert bits(model) == bits(want)


def test_something_was_shown():
    table = {**make_log(), "clicks": np.zeros(44), "shown": np.zeros(44)}
    for given in (table, [table]):
        with pytest.raises(InputError, match="counts must hold an impression"):
            train(given, counts=NAMES)
