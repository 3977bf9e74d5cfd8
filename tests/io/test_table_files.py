"""Tables in files: what is inferred, what is told, and what a bad file's error says."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest

from fwfm_gpu import FieldEncoder
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.io import table_files
from fwfm_gpu.io.table_files import Dialect, open_table_file, write_parquet

pa = pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")
pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")

TEXT = """\
city,age,rich,note
Oslo,31,true,"a ""quoted"", cell
over two lines"
,NA,false,
Bergen,7,true,x
"""
WANTED = {
    "city": ["Oslo", None, "Bergen"],
    "age": [31, None, 7],
    "rich": [True, False, True],
    "note": ['a "quoted", cell\nover two lines', None, "x"],
}


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    return path


def test_kinds_are_inferred_and_cells_may_be_quoted_or_missing(csv):
    file = open_table_file(csv, "csv")
    assert file.names == ("city", "age", "rich", "note")
    assert file.read().to_pydict() == WANTED
    assert file.read({"rich", "age", "nothing"}).to_pydict() == {name: WANTED[name] for name in ("age", "rich")}


def test_parts_make_up_the_whole(csv, monkeypatch):
    rows = "".join(f"c{i % 7},{i},{'true' if i % 2 else 'false'},\n" for i in range(2000))
    csv.write_text("city,age,rich,note\n" + rows)
    monkeypatch.setattr(table_files, "BLOCK_BYTES", 4096)
    file = open_table_file(csv, "csv", Dialect(kinds={"age": "numbers", "note": "strings"}))
    parts = list(file.iterate())
    assert len(parts) > 3
    assert pa.concat_tables(parts).to_pydict() == file.read().to_pydict()


@pytest.mark.parametrize(
    ("name", "text", "dialect"),
    [
        ("t.tsv", "a\tb\n1\tx\n", Dialect()),
        ("t.csv", "a;b\n1;x\n", Dialect(delimiter=";")),
        ("t.csv", "1,x\n", Dialect(names=("a", "b"))),
        ("t.csv", "\ufeffa,b\n1,x\n", Dialect()),
    ],
)
def test_dialects(tmp_path, name, text, dialect):
    path = tmp_path / name
    path.write_text(text, encoding="utf8")
    assert open_table_file(path, "csv", dialect).read().to_pydict() == {"a": [1], "b": ["x"]}
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode("utf8")))
    assert open_table_file(packed, "csv", dialect).read().to_pydict() == {"a": [1], "b": ["x"]}


def test_without_names_columns_are_numbered(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,x\n")
    assert open_table_file(path, "csv", Dialect(header=False)).names == ("f0", "f1")


def test_what_stands_for_a_missing_value_can_be_said(csv):
    csv.write_text("a,b\n?,NA\n,x\n")
    read = open_table_file(csv, "csv", Dialect(missing=("?",))).read().to_pydict()
    assert read == {"a": [None, None], "b": ["NA", "x"]}


def test_other_encodings(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("city\nTromsø\n".encode("latin-1"))
    for kinds in ({}, {"city": "strings"}):
        file = open_table_file(path, "csv", Dialect(kinds=kinds))
        for read in (file.read, lambda: list(file.iterate())):  # noqa: B023
            with pytest.raises(InputError, match=r"t\.csv.*column 'city'.*such as latin-1"):
                read()
    with pytest.raises(InputError, match="unknown encoding: utf-99"):
        open_table_file(path, "csv", Dialect(encoding="utf-99"))
    assert open_table_file(path, "csv", Dialect(encoding="latin-1")).read().to_pydict() == {"city": ["Tromsø"]}


def test_a_stream_is_read_more_than_once():
    file = open_table_file(io.BytesIO(TEXT.encode()), "csv")
    assert file.read().to_pydict() == file.read().to_pydict() == WANTED


@pytest.mark.parametrize(
    ("text", "dialect", "message"),
    [
        ("a,b\n1,2\n3\n", Dialect(), r"t\.csv, row 3: Expected 2 columns, got 1: 3\. Correct the row\."),
        ("a,b\n1,2\nx,4\n", Dialect(kinds={"a": "numbers"}), r"t\.csv.*column 'a': .*'x'.*Correct it\."),
        ("a,a\n1,2\n", Dialect(), r"column names must differ: 'a' names 2 columns"),
        ("", Dialect(), "got an empty file"),
    ],
)
def test_bad_files_are_named(csv, text, dialect, message):
    csv.write_text(text)
    with pytest.raises(InputError, match=message):
        open_table_file(csv, "csv", dialect).read()
    with pytest.raises(InputError, match=message):
        list(open_table_file(csv, "csv", dialect).iterate())


def test_a_long_delimiter_is_refused():
    with pytest.raises(OptionError, match="delimiter must be one ASCII character, got '::'"):
        Dialect(delimiter="::")


def test_what_is_not_there(tmp_path):
    for form in ("csv", "parquet"):
        with pytest.raises(FileNotFoundError):
            open_table_file(tmp_path / "nowhere", form)
    path = tmp_path / "t.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"t\.parquet: "):
        open_table_file(path, "parquet")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columnar_files_and_folders(tmp_path, form):
    import pyarrow.feather
    import pyarrow.parquet

    tables = [pa.table({"a": [1, 2], "b": ["x", None]}), pa.table({"a": [3], "b": ["y"]})]
    write = pyarrow.parquet.write_table if form == "parquet" else pyarrow.feather.write_feather
    for i, table in enumerate(tables):
        write(table, str(tmp_path / f"part-{i}.{form}"))
    file = open_table_file(tmp_path, form)
    assert file.read().to_pydict() == {"a": [1, 2, 3], "b": ["x", None, "y"]}
    assert file.read(["b"]).to_pydict() == {"b": ["x", None, "y"]}
    assert pa.concat_tables(file.iterate()).to_pydict() == file.read().to_pydict()
    assert open_table_file(tmp_path / f"part-1.{form}", form).read().num_rows == 1


def test_what_is_read_is_what_an_encoder_takes(csv):
    rows = FieldEncoder(min_count=1).fit_transform(open_table_file(csv, "csv").read(["city", "age"]))
    assert rows.field_names == ("city", "age")


def test_parquet_of_parts(tmp_path):
    path = tmp_path / "t.parquet"
    with open(path, "wb") as file:
        write_parquet(file, iter([{"a": np.array([1, 2]), "b": ["x", "y"]}, {"a": np.array([3]), "b": ["z"]}]))
    assert open_table_file(path, "parquet").read().to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
