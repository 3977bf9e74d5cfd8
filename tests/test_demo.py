"""The demo: the data that comes along, and its figures."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fwfm_gpu import demo
from fwfm_gpu.backends import get_backend
from fwfm_gpu.cli import main


@pytest.mark.parametrize(("part", "rows", "rich"), [("train", 32561, 7841), ("test", 16281, 3846)])
def test_adult_is_whole(part, rows, rich):
    table, y = demo.read_adult(part)
    assert len(table) == 14
    assert all(len(column) == rows for column in table.values())
    assert sorted(set(y)) == ["<=50K", ">50K"]
    assert np.count_nonzero(y == ">50K") == rich
    assert sum(value is None for value in table["occupation"]) == {"train": 1843, "test": 966}[part]


def test_the_data_is_credited():
    assert "CC BY 4.0" in demo.CREDIT
    assert "CC BY 4.0" in (demo.DATA / "README.md").read_text(encoding="utf-8")


def test_the_defaults_reach_what_the_readme_says(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the demo writes a report: fwfm-gpu[plots]")
    page = tmp_path / "page.html"
    assert main(["demo", "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    assert demo.CREDIT in printed
    assert f"engine: {demo.ENGINES[get_backend().name]}\n" in printed
    lines = {line[:36].strip(): line[36:].split() for line in printed.splitlines() if line[36:44].strip()[:2] == "0."}
    assert list(lines)[:3] == ["linear model", "factorization machine", "FwFM"]
    auc, logloss = map(float, lines["FwFM"][:2])
    assert auc >= 0.924
    assert logloss <= 0.284
    assert auc > float(lines["linear model"][0])
    assert f"report: {page}" in printed
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_files_are_the_same_wherever_they_are_made():
    for part in ("train", "test"):
        content = (demo.DATA / f"adult-{part}.csv.gz").read_bytes()
        assert content[4:8] == bytes(4)  # no time of writing
        assert gzip.decompress(content).startswith(b"age,workclass,fnlwgt,")


def test_a_report_that_cannot_be_written_is_refused_first(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="the demo writes a report: fwfm-gpu[plots]")
    monkeypatch.setattr(demo, "train", None)
    assert main(["demo", "--report", str(tmp_path / "nowhere" / "page.html")]) == 2
    assert "nowhere" in capsys.readouterr().err
