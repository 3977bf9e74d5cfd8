"""Remarks on columns: ids that were taken as numbers, lists in one cell, a column without a name."""

from __future__ import annotations

import pytest

from fwfm_gpu import FieldEncoder
from fwfm_gpu.cli import main
from fwfm_gpu.cli_remarks import remark_columns

pytest.importorskip("narwhals", reason="an encoder reads tables through narwhals: fwfm-gpu[data]")
pa = pytest.importorskip("pyarrow", reason="tables in files are read by pyarrow: fwfm-gpu[data]")

ROWS = 1200
TAGS = ["news", "sport", "music", "film"]
COLUMNS = {
    "user_id": [10_000 + i % 60 for i in range(ROWS)],
    "visit": list(range(ROWS)),
    "age": [18 + i % 70 for i in range(ROWS)],
    "price": [i / 7 for i in range(ROWS)],
    "tags": ["|".join(TAGS[j] for j in range(4) if i >> j & 1) for i in range(ROWS)],
    "city": [["Oslo, N", "Bergen, N", "Wien"][i % 3] for i in range(ROWS)],
}


def remarks(capsys, *names: str, **options) -> list[str]:
    table = pa.table({name: COLUMNS.get(name, COLUMNS["age"]) for name in names})
    remark_columns(table, FieldEncoder(**options).fit(table))
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_ids_taken_as_numbers(capsys):
    (line,) = remarks(capsys, "user_id", "visit", "age", "price")
    assert line.startswith("fwfm-gpu: 'user_id', 'visit' hold many different integers, taken as numbers")
    assert "--categorical user_id,visit or --hashed user_id,visit, else --numeric user_id,visit" in line


def test_lists_in_one_cell(capsys):
    (line,) = remarks(capsys, "tags", "city", "age")
    assert line.startswith("fwfm-gpu: 'tags' seems to hold several values in a cell") and "--multi 'tags=|'" in line


def test_a_column_without_a_name(capsys):
    (line,) = remarks(capsys, "", "age")
    assert "a column without a name" in line


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("visit", {"numeric": ["visit"]}),
        ("visit", {"categorical": ["visit"]}),
        ("visit", {"hashed": ["visit"]}),
        ("tags", {"multi": {"tags": "|"}}),
        ("tags", {"categorical": ["tags"]}),
        ("age", {}),
        ("city", {}),
    ],
)
def test_what_was_asked_for_or_is_plain_is_not_remarked_on(capsys, name, options):
    assert remarks(capsys, name, **options) == []


def test_train_remarks(tmp_path, path, capsys):
    lines = ["visit,clicked", *(f"{i},{i % 2}" for i in range(ROWS))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    given = ["train", str(tmp_path / "a.csv"), "--label", "clicked", "--out", str(path)]
    assert main([*given, "--device", "numpy", "--epochs", "1"]) == 0
    assert "'visit' holds many different integers" in capsys.readouterr().err
