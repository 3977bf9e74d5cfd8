"""Rows that are read while they are trained on: the bits of rows in memory, whatever the chunks (numerics 8)."""

from __future__ import annotations

import signal
import weakref

import numpy as np
import pytest
from conftest import DEVICES, make_backend
from encoded_tables import make_table, take
from small_models import bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu import Callback, FieldEncoder, FieldMatrix
from fwfm_gpu.errors import (
    DivergenceError,
    FwfmWarning,
    InputError,
    InputTypeError,
    InterruptedTrainingWarning,
    OptionError,
)

ROWS = 300
CHUNKS = (1, 7, 64, ROWS)


def train(X, y, **options):
    """On the engine that needs no compiler, but where each engine is asked."""
    return train_small(X, y, **{"device": "numpy", **options})


class Chunks:
    """(X, y) or (X, y, weight) in chunks of one length, as often as asked."""

    def __init__(self, rows, y, length, weight=None):
        self.rows, self.y, self.length, self.weight, self.passes = rows, y, length, weight, 0

    def __iter__(self):
        self.passes += 1
        for lo in range(0, len(self.y), self.length):
            own = slice(lo, lo + self.length)
            weight = () if self.weight is None else (self.weight[own],)
            yield self.rows.take(own), self.y[own], *weight


def make_problem(loss="logistic"):
    """Rows with gaps and values other than 1, in some chunks alone."""
    X, y = make_rows(ROWS, loss)
    dense = X.to_csr().toarray()
    dense[100:150, 3] = 0.5
    dense[20] = 0
    return FieldMatrix.from_matrix(dense, X.fields), y


def steady(model):
    """What training reaches, and what it reports, but for times."""
    return bits(model), [(record.epoch, record.loss, record.metrics) for record in model.history]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Each engine behind every door."""
    engine = make_backend(request.param)
    for home in ("training", "stream_training", "continuation", "model"):
        monkeypatch.setattr(f"fwfm_gpu.{home}.get_backend", lambda *asked: engine)
    return request.param


@pytest.mark.parametrize("length", CHUNKS)
@pytest.mark.parametrize("shuffle_rows", [1, 40, 10_000])
def test_unshuffled_rows_equal_those_in_memory(length, shuffle_rows):
    X, y = make_problem()
    options = {"optimizer": "adam", "shuffle": False}
    got = train(Chunks(X, y, length), None, shuffle_rows=shuffle_rows, **options)
    assert steady(got) == steady(train(X, y, **options))


@pytest.mark.parametrize("length", CHUNKS)
def test_one_window_equals_the_shuffle_in_memory(length):
    X, y = make_problem()
    got = train(Chunks(X, y, length), None, shuffle_rows=ROWS)
    assert steady(got) == steady(train(X, y))


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_every_engine_gives_the_same_bits(device, loss):
    X, y = make_problem(loss)
    weight = np.linspace(0, 2, ROWS)
    got = train(Chunks(X, y, 31, weight), None, shuffle_rows=64, loss=loss)
    want = by_hand(X, y, weight, loss)
    assert [a.tobytes() for a in got.parameters.arrays().values()] == [
        a.tobytes() for a in want.parameters.arrays().values()
    ]


def by_hand(X, y, weight, loss):
    """Two epochs of windows of 64 rows in batches of 8, drawn as numerics 8 says and passed through partial_fit."""
    model = train(X, y, epochs=0, loss=loss)
    generator = np.random.default_rng()
    generator.bit_generator.state = model.trained.generator_state
    for _ in range(2):
        order = np.concatenate([lo + generator.permutation(min(64, ROWS - lo)) for lo in range(0, ROWS, 64)])
        model.partial_fit(X.take(order), y[order], sample_weight=weight[order])
    return model


def test_windows_change_the_order():
    X, y = make_problem()
    assert bits(train(Chunks(X, y, 50), None, shuffle_rows=64)) != bits(train(X, y))


def test_a_window_is_of_whole_batches():
    X, y = make_problem()
    assert bits(train(Chunks(X, y, 50), None, shuffle_rows=57)) == bits(train(Chunks(X, y, 50), None, shuffle_rows=64))


@pytest.mark.parametrize("class_weight", ["balanced", {"odd": 3.0}])
def test_class_weights_count_all_rows(class_weight):
    X, y = make_problem()
    y[:100] = "odd"
    weight = np.linspace(0, 2, ROWS)
    weight[:40] = 0  # a chunk of zeros
    options = {"class_weight": class_weight, "shuffle": False}
    got = train(Chunks(X, y, 30, weight), None, **options)
    want = train(X, y, sample_weight=weight, **options)
    assert bits(got) == bits(want)
    assert got.history[-1].loss == pytest.approx(want.history[-1].loss, rel=1e-12)


@pytest.mark.parametrize("length", [13, ROWS])
def test_tables_fit_an_encoder_as_in_memory(length):
    table = make_table(ROWS)
    y = table["member"]
    parts = [{**take(table, slice(lo, lo + length)), "clicked": y[lo : lo + length]} for lo in range(0, ROWS, length)]
    del table["member"]
    got = train(parts, None, label="clicked", columns=list(table), encoder=FieldEncoder(bins=8))
    encoder = FieldEncoder(bins=8).fit(table)
    assert steady(got) == steady(train(encoder.transform(table), y))
    assert got.columns.encoder.get_feature_names_out().tolist() == encoder.get_feature_names_out().tolist()
    assert steady(train({**table, "clicked": y}, None, label="clicked", encoder=encoder)) == steady(got)


def test_a_fitted_encoder_is_used():
    table = make_table(ROWS)
    encoder = FieldEncoder().fit(take(table, slice(0, 200)))
    got = train(lambda: iter([(table, table["member"])]), None, encoder=encoder)
    assert bits(got) == bits(train(encoder.transform(table), table["member"]))


def test_a_sample_is_every_row_of_a_power_of_two():
    table = {"x": np.array([f"{i}" for i in range(100)], object), "y": np.arange(100) % 2}
    parts = [take(table, slice(lo, lo + 9)) for lo in range(0, 100, 9)]
    model = train(parts, None, label="y", encoder=FieldEncoder(min_count=1), fit_rows=13)
    kept = model.columns.encoder.fields[0].vocabulary.tolist()
    assert sorted(map(int, kept)) == list(range(0, 100, 8))  # 13 of them; by 4 there are 25


class CtrlC(Callback):
    def __init__(self, batch):
        self.batch = batch

    def on_batches(self, status):
        if (status.epoch, status.batch) == (2, self.batch):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 30, 37])
def test_training_goes_on_from_any_batch(batch, monkeypatch, path):
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("fwfm_gpu.epochs.PROMPT", 0)
    X, y = make_problem()
    source = Chunks(X, y, 23)
    with pytest.warns(InterruptedTrainingWarning):
        model = train(source, None, shuffle_rows=64, epochs=3, callbacks=[CtrlC(batch)])
    signal.signal(signal.SIGINT, former)
    assert (model.trained.position.epochs, model.trained.position.batches) == (1, batch)
    model.save(path)
    model = fwfm_gpu.load(path).continue_training(source, epochs=2, progress=False)
    assert steady(model) == steady(train(source, None, shuffle_rows=64, epochs=3))


def test_an_epoch_of_other_rows_is_left_out(monkeypatch):
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("fwfm_gpu.epochs.PROMPT", 0)
    X, y = make_problem()
    with pytest.warns(InterruptedTrainingWarning):
        model = train(Chunks(X, y, 23), None, callbacks=[CtrlC(9)])
    signal.signal(signal.SIGINT, former)
    with pytest.warns(FwfmWarning, match="other data"):
        model.continue_training(Chunks(X, y[::-1], 23), epochs=1, progress=False)
    assert model.trained.position.epochs == 2


def test_the_best_epoch_comes_back():
    X, y = make_problem()
    options = {"epochs": 30, "patience": 2, "learning_rate": 0.5, "eval_set": (X.take(slice(0, 50)), y[:50])}
    got = train(Chunks(X, y, 64), None, **options)
    assert steady(got) == steady(train(X, y, **options))
    assert got.best_epoch < len(got.history) < 30


def test_divergence_names_the_batch_of_the_epoch():
    X, y = make_problem("squared")
    y[250] = 1e30
    with pytest.raises(DivergenceError) as caught:
        train(Chunks(X, y, 23), None, shuffle=False, shuffle_rows=64, loss="squared", optimizer="sgd", learning_rate=10)
    with pytest.raises(DivergenceError) as wanted:
        train(X, y, shuffle=False, loss="squared", optimizer="sgd", learning_rate=10)
    assert (caught.value.epoch, caught.value.batch) == (wanted.value.epoch, wanted.value.batch)
    assert bits(caught.value.model) == bits(wanted.value.model)


class Counted(Chunks):
    """Chunks, and how many bytes of them were held at most when the next one was asked for."""

    def __init__(self, *given):
        super().__init__(*given)
        self.held, self.most = 0, 0

    def __iter__(self):
        for rows, y in super().__iter__():
            size = rows.indices.nbytes
            self.held += size
            weakref.finalize(rows.indices.base if rows.indices.base is not None else rows.indices, self.let_go, size)
            self.most = max(self.most, self.held)
            yield rows, y

    def let_go(self, size):
        self.held -= size


def test_chunks_are_let_go():
    X, y = make_rows(6000)
    source = Counted(X, y, 100)
    train(source, None, device="numpy", shuffle_rows=400, epochs=1, batch_size=100)
    assert source.most <= X.indices.nbytes * (400 + 300) / 6000  # a window, and a chunk that is read and encoded


# refusals


class Shrinking(Chunks):
    """Fewer rows, or more, from the third pass on."""

    def __init__(self, rows, y, length, change):
        super().__init__(rows, y, length)
        self.change = change

    def __iter__(self):
        yield from super().__iter__()
        if self.passes == 3 and self.change > 0:
            yield self.rows.take(slice(0, 1)), self.y[:1]
        if self.passes == 1 and self.change < 0:
            self.rows, self.y = self.rows.take(slice(0, 290)), self.y[:290]


@pytest.mark.parametrize("change, words", [(1, "got more"), (-1, "got 290|expected the 300 rows|expected the 290")])
def test_a_source_that_changes_is_refused(change, words):
    X, y = make_problem()
    source = Shrinking(X, y, 50, change)
    if change < 0:
        source.passes = -1
    with pytest.raises(InputError, match=words):
        train(source, None)


def test_a_generator_is_refused_before_it_is_read():
    X, y = make_problem()
    batches = iter(Chunks(X, y, 50))
    with pytest.raises(InputTypeError, match="exhausted after one pass"):
        train(batches, None)
    assert len(list(batches)) == 6


def test_what_needs_rows_in_memory_is_refused():
    X, y = make_problem()
    source = Chunks(X, y, 50)
    with pytest.raises(OptionError, match="validation_fraction must be None"):
        train(source, None, validation_fraction=0.1)
    with pytest.raises(OptionError, match="sample_weight must be None"):
        train(source, None, sample_weight=np.ones(ROWS))
    assert source.passes == 0


@pytest.mark.parametrize(
    "batches, words",
    [
        ([(np.ones((2, 2)), [0, 1]), (np.ones((2, 3)), [0, 1])], "rows 2 to 3, numbered from 2.*expected 2, got 3"),
        ([(np.ones((2, 2)), [0, 1]), (np.ones((2, 2)), ["a", "b"])], "rows 2 to 3.*labels must be of one kind"),
        ([(np.ones((2, 2)), [0, 1]), (np.ones((2, 2)), [0, 1, 0])], "same number of rows: batch 1"),
        ([(np.ones((2, 2)), [0, 1]), (np.ones((2, 2)), [0, 1], [1, 1])], "all batches must have weights, or none"),
        ([(np.ones((2, 2)), [0, 1], [1, 1]), (np.ones((2, 2)), [0, 1], [1, -1])], "must not be negative"),
        ([(np.ones((2, 2)), [0, 0])], "at least two labels"),
        ([(np.ones((2, 2)), [0, 1], [0, 0])], "sum to a finite number above 0"),
        ([(np.ones((0, 2)), [])], "at least one row, got none"),
        ([{"x": ["a", "b"], "y": [0, 1]}, {"x": ["a", "b"]}], "column 'y' that was named"),
    ],
)
def test_batches_that_cannot_be_used_are_named(batches, words):
    with pytest.raises(InputError, match=words):
        train(batches, None, label="y" if isinstance(batches[0], dict) else None)


def test_names_and_rows_that_do_not_go_together():
    X, y = make_problem()
    with pytest.raises(OptionError, match="are for tables that hold their label"):
        train(X, y, label="y")
    with pytest.raises(InputError, match="y must hold one label per row"):
        train(X, None)
    with pytest.raises(InputError, match="y must hold one label per row"):
        train([[0, 1], [1, 0]], None)
    with pytest.raises(OptionError, match="label must name the column"):
        train({"x": ["a", "b"], "y": [0, 1]}, None)
    with pytest.raises(OptionError, match="column 'y' must have one role"):
        train({"x": ["a", "b"], "y": [0, 1]}, None, label="y", columns=["x", "y"])
    with pytest.raises(InputTypeError, match="encoder must be a FieldEncoder"):
        train({"x": ["a", "b"], "y": [0, 1]}, None, label="y", encoder=FieldEncoder)
