"""Encoded files: what was converted comes back bit for bit, and nothing that was damaged is trained on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from encoded_tables import make_table, take
from model_bytes import seal
from small_models import bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu import FieldEncoder, FieldMatrix, convert
from fwfm_gpu.encoded_file import open_encoded
from fwfm_gpu.errors import EncodedFileError, InputError, InputTypeError, ModelFileError, OptionError

ROWS = 300
FEATURES = ("city", "age", "gain", "rooms")


def train(X, y, **options):
    """On the engine that needs no compiler."""
    return train_small(X, y, **{"device": "numpy", **options})


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Several blocks in a small file."""
    monkeypatch.setattr("fwfm_gpu.encoded_file.BLOCK_ROWS", 64)
    monkeypatch.setattr("fwfm_gpu.encoded_file_writing.BLOCK_ROWS", 64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.fwfm"


def batches(X, y, length, weight=None):
    own = [slice(lo, lo + length) for lo in range(0, len(y), length)]
    return [(X.take(part), y[part], *(() if weight is None else (weight[part],))) for part in own]


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_encoded_file_trains_as_what_it_was_made_of(path, loss, weighted):
    X, y = make_rows(ROWS, loss)
    weight = np.linspace(0, 2, ROWS) if weighted else None
    done = convert(batches(X, y, 47, weight), path)
    assert (done.rows, done.features, done.fields, done.values, done.bytes) == (
        ROWS, X.n_features, 3, X.nnz, path.stat().st_size,
    )  # fmt: skip
    options = {"loss": loss, "shuffle_rows": 48}
    assert bits(train(path, None, **options)) == bits(train(batches(X, y, 100, weight), None, **options))
    assert bits(train(path, None, loss=loss)) == bits(train(X, y, loss=loss, sample_weight=weight))


def test_values_that_begin_in_the_middle(path):
    dense = make_rows(ROWS)[0].to_csr().toarray()
    dense[150:, 2] *= 1 / 3
    dense[3] = 0
    X, y = FieldMatrix.from_matrix(dense), make_rows(ROWS)[1]
    convert(batches(X, y, 50), path)
    assert "values" in open_encoded(path).arrays
    assert bits(train(path, None)) == bits(train(X, y))


def test_chunks_change_no_byte(path):
    X, y = make_rows(ROWS)
    contents = []
    for length in (7, 64, ROWS):
        convert(batches(X, y, length), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] == contents[2]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_table_keeps_its_encoder_names_labels_and_groups(path, tmp_path):
    table = make_table(ROWS)
    table["answer"] = np.where(table.pop("member"), "yes", "no").astype(object)
    table["user"] = np.arange(ROWS) // 7
    convert(table, path, label="answer", group="user", encoder=FieldEncoder(bins=8))
    model = train(path, None)
    features = {name: table[name] for name in FEATURES}
    want = train(FieldEncoder(bins=8).fit_transform(features), table["answer"])
    assert bits(model) == bits(want)
    assert model.classes.tolist() == ["no", "yes"]
    model.save(tmp_path / "model.fwfm")
    scores = fwfm_gpu.load(tmp_path / "model.fwfm").decision_function(features)
    assert scores.tobytes() == want.decision_function(features).tobytes()
    groups = np.concatenate([chunk.group for chunk in open_encoded(path).chunks()])
    np.testing.assert_array_equal(groups, table["user"])


@pytest.mark.parametrize("length", [1, 64, ROWS])
def test_ids_of_groups_may_be_strings(path, length):
    X, y = make_rows(ROWS)
    ids = np.array(["zoe", "ann", "bob"])[np.random.default_rng(0).integers(0, 3, ROWS)]
    ids[:3] = "bob", "zoe", "bob"
    lows = range(0, ROWS, length)
    own = [slice(low, low + length) for low in lows]
    convert([(X.take(part), y[part], np.ones(len(y[part])), ids[part]) for part in own], path)
    groups = np.concatenate([chunk.group for chunk in open_encoded(path).chunks()])
    assert groups.tolist() == [["bob", "zoe", "ann"].index(name) for name in ids]


def test_training_goes_on_where_its_source_began(path):
    table = make_table(ROWS)
    model = train(table, None, label="member", epochs=1)
    convert(table, path, label="member", encoder=model.columns.encoder)
    model.continue_training(path, epochs=1, progress=False)
    assert bits(model) == bits(train(table, None, label="member"))


def test_it_may_be_skipped_into(path):
    X, y = make_rows(ROWS)
    convert(batches(X, y, 50), path)
    starts = [chunk.start for chunk in open_encoded(path).chunks(after=130)]
    assert starts == [128, 192, 256]


def test_any_safetensors_reader_understands_it(path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is the oracle")
    X, y = make_rows(ROWS)
    convert(batches(X, y, 50), path)
    arrays = safetensors.load_file(path)
    np.testing.assert_array_equal(arrays["indptr"], X.indptr)
    np.testing.assert_array_equal(arrays["indices"], X.indices)
    np.testing.assert_array_equal(np.array(["even", "odd"])[arrays["y"]], y)


# refusals


@pytest.fixture
def content(path):
    """The bytes of a file."""
    X, y = make_rows(ROWS)
    convert(batches(X, y, 50, np.linspace(0, 2, ROWS)), path)
    return path.read_bytes()


def test_every_damaged_byte_is_found(path, content):
    for place in [*range(0, 3000, 7), *range(3000, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises((EncodedFileError, InputError)):
            train(path, None, epochs=1)


def test_every_length_is_found(path, content):
    for length in [0, 5, 40, 99, 500, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises((EncodedFileError, InputError)):
            train(path, None)
    path.write_bytes(content + b"\0")
    with pytest.raises(EncodedFileError, match="expected an intact file that convert wrote"):
        train(path, None)


def test_a_damaged_row_is_named(path, content):
    place = len(content) - 4 * 3 * 100  # the indices of the last 100 rows
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    with pytest.raises(EncodedFileError, match=r"rows.fwfm'.*damaged in rows 192 to 255: its SHA-256"):
        train(path, None)


def test_a_forged_row_is_no_row(path, content, monkeypatch):
    """A digest can be computed by anyone; an index beyond the features must not reach an engine."""
    source = open_encoded(path)
    indices = np.array(source.arrays["indices"])
    indices[5] = 10**6
    forged = replace(source, arrays={**source.arrays, "indices": indices})
    monkeypatch.setattr("fwfm_gpu.encoded_file.block_digest", lambda own: forged.arrays["blocks"][0].tobytes())
    with pytest.raises(EncodedFileError, match="its arrays are no rows"):
        next(forged.chunks())


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_a_newer_version_says_so(path, content):
    header, data = header_of(content)
    document = json.loads(header["__metadata__"]["fwfm_gpu_rows"])
    header["__metadata__"]["fwfm_gpu_rows"] = json.dumps({**document, "format_version": 2})
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(seal(len(text).to_bytes(8, "little") + text + data))
    with pytest.raises(EncodedFileError, match="format version 2: upgrade to read it"):
        train(path, None)


def test_files_of_other_kinds_are_told_apart(path, tmp_path, content):
    X, y = make_rows(ROWS)
    other = tmp_path / "model.fwfm"
    train(X, y).save(other)
    with pytest.raises(EncodedFileError, match="found a model or another safetensors file"):
        train(other, None)
    with pytest.raises(ModelFileError, match="not a model file: train on it"):
        fwfm_gpu.load(path)
    with pytest.raises(InputError, match="an encoded file is passed alone"):
        train([path, path], None)
    with pytest.raises(OptionError, match="says itself what is what"):
        train(path, None, label="clicked")
    with pytest.raises(OptionError, match="gives rows that are encoded: leave it out"):
        train(path, None, encoder=FieldEncoder())


def test_a_failure_leaves_the_former_file(path, content):
    X, y = make_rows(ROWS)

    def broken():
        yield X.take(slice(0, 200)), y[:200]
        if len(passes) > 1:
            raise RuntimeError("the disk is gone")
        passes.append(1)

    passes = [1]
    with pytest.raises(RuntimeError, match="the disk is gone"):
        convert(broken, path)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    ids = np.arange(ROWS)
    batches = [(X, y, np.ones(ROWS), ids), (X, y, np.ones(ROWS), ids.astype(str))]
    with pytest.raises(InputTypeError, match="ids of groups must be of one kind: they were integers, and are strings"):
        convert(batches, path)
    table = take(make_table(ROWS), slice(0, 200))
    with pytest.raises(InputError, match="'click' that was named"):
        convert(table, path, label="click")
