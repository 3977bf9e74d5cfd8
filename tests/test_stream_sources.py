"""Files as sources: every kind, in pieces, gives what the whole table gives."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from encoded_tables import make_table
from small_models import bits, make_rows
from small_models import train as train_small

from fwfm_gpu import FieldEncoder
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.io.file_kinds import find_files
from fwfm_gpu.io.libffm import scan_libffm, write_libffm
from fwfm_gpu.io.libsvm import write_libsvm

ROWS = 300
FEATURES = ("city", "age", "gain", "rooms")


def train(X, y, **options):
    """On the engine that needs no compiler."""
    return train_small(X, y, **{"device": "numpy", **options})


@pytest.fixture
def table():
    """Features, and what is to be predicted."""
    table = make_table(ROWS)
    table["clicked"] = table.pop("member").astype(np.int64)
    table["weight"] = np.linspace(0.5, 2, ROWS)
    return table


@pytest.fixture
def want(table):
    """The model of the table in memory."""
    X = FieldEncoder().fit_transform({name: table[name] for name in FEATURES})
    return bits(train(X, table["clicked"], sample_weight=table["weight"]))


def write_parquet(folder, table):
    """Two files of several row groups."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    import pyarrow

    whole = pyarrow.table(table)
    folder.mkdir()
    parquet.write_table(whole.slice(0, 130), folder / "part-0.parquet", row_group_size=50)
    parquet.write_table(whole.slice(130), folder / "part-1.parquet", row_group_size=40)
    (folder / "_SUCCESS").touch()
    return folder


def write_csv(path, table, delimiter=","):
    """Missing values are empty."""
    lines = [delimiter.join(table)]
    for row in zip(*(column.tolist() for column in table.values()), strict=True):
        lines.append(delimiter.join("" if value is None or value != value else str(value) for value in row))
    text = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_parquet_files_equal_the_table(tmp_path, table, want, monkeypatch):
    folder = write_parquet(tmp_path / "clicks", table)
    for rows in (7, 64, 1000):
        monkeypatch.setattr("fwfm_gpu.stream_sources.CHUNK_ROWS", rows)
        for source in (folder, str(folder), sorted(folder.glob("*.parquet"))):
            assert bits(train(source, None, label="clicked", weight="weight")) == want


def test_a_first_pass_with_an_encoder_reads_no_features(tmp_path, table, want):
    folder = write_parquet(tmp_path / "clicks", table)
    encoder = FieldEncoder().fit({name: table[name] for name in FEATURES})
    asked = []
    from fwfm_gpu.io.datasets import Dataset

    tables = Dataset.tables

    def noted(self, columns, rows):
        asked.append(columns)
        return tables(self, columns, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "tables", noted)
        model = train(folder, None, label="clicked", weight="weight", encoder=encoder)
    assert bits(model) == want
    assert asked[1] == ["clicked", "weight"]  # the look at the first rows comes before


@pytest.mark.parametrize("name, delimiter", [("a.csv", ","), ("a.tsv", "\t"), ("a.csv.gz", ","), ("a.csv", ";")])
def test_csv_files_equal_the_table(tmp_path, table, want, name, delimiter):
    pytest.importorskip("pyarrow.csv", reason="CSV needs pyarrow")
    table["city"] = np.array([city or "nowhere" for city in table["city"]], object)  # an empty text is a text
    X = FieldEncoder().fit_transform({name: table[name] for name in FEATURES})
    got = train(write_csv(tmp_path / name, table, delimiter), None, label="clicked", weight="weight")
    assert bits(got) == bits(train(X, table["clicked"], sample_weight=table["weight"]))


@pytest.mark.parametrize("kind", ["libffm", "libsvm"])
def test_text_files_equal_their_rows(tmp_path, kind):
    X, y = make_rows(ROWS)
    y = (y == "odd").astype(float)
    write = write_libffm if kind == "libffm" else write_libsvm
    paths = [tmp_path / "a.txt", tmp_path / "b.txt.gz"]
    for path, own in zip(paths, (slice(0, 130), slice(130, ROWS)), strict=True):
        write(path, X.take(own), y[own])
    fields = X.fields if kind == "libsvm" else None
    assert bits(train(paths, None, fields=fields)) == bits(train(X, y))
    assert find_files(tmp_path).kind == kind
    if kind == "libffm":
        assert scan_libffm(*paths).empty.n_features == X.n_features


def test_training_goes_on_with_a_path(tmp_path, table):
    folder = write_parquet(tmp_path / "clicks", table)
    model = train(folder, None, label="clicked", columns=FEATURES, epochs=1)
    model.continue_training(folder, epochs=1, label="clicked", progress=False)
    assert bits(model) == bits(train(folder, None, label="clicked", columns=FEATURES))


def test_files_that_cannot_be_used_are_named(tmp_path, table):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="at least one file of data"):
        train(tmp_path / "empty", None)
    with pytest.raises(FileNotFoundError):
        train(tmp_path / "nowhere", None)
    strange, rows = tmp_path / "strange.bin", tmp_path / "rows.ffm"
    strange.write_bytes(b"\x00\x01\x02")
    with pytest.raises(InputError, match=r"strange.bin: expected Parquet, CSV.*x00"):
        train(strange, None)
    rows.write_text("1 0:1:1\n0 1:2:1\n")
    with pytest.raises(OptionError, match="is libffm, which says itself what is what"):
        train(rows, None, label="clicked")
    csv = write_csv(tmp_path / "a.csv", table)
    with pytest.raises(InputError, match="files must be of one kind"):
        train([rows, csv], None)
    pytest.importorskip("pyarrow", reason="CSV and Parquet need pyarrow")
    with pytest.raises(OptionError, match=r"label must name the column.*'city', 'age'"):
        train(csv, None)
    with pytest.raises(InputError, match="column 'click' that was named"):
        train(csv, None, label="click")
    folder = write_parquet(tmp_path / "clicks", table)
    (folder / "part-0.parquet").write_bytes((folder / "part-0.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="that pyarrow can read"):
        train(folder, None, label="clicked")


def test_a_column_that_a_later_file_lacks_is_named(tmp_path, table):
    folder = write_parquet(tmp_path / "clicks", table)
    import pyarrow.parquet

    del table["gain"]
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "part-2.parquet")
    with pytest.raises(InputError, match=r"part-2.parquet: expected the columns of.*'gain'"):
        train(folder, None, label="clicked")
