"""The table of the GPU check's figures, and the page that it stands in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from gpu_package import CASES, H200, PAGE, TORCH, Case, gpu

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "benchmarks"


def record(case: Case, train: int, score: int, **more) -> dict:
    return {**vars(case), "train_rows_per_s": train, "score_rows_per_s": score, "memory_bytes": 2_500_000_000, **more}


def made_up_report() -> dict:
    shares = {"train_floor_us": 200.0, "train_share": 0.456, "score_floor_us": 52.0, "score_share": 0.25}
    kernels = {"plan": {"sort": 20.0, "heads": 1.5}, "rows": {"row_gradient": 300.0}, "other": {"memset": 0.25}}
    ours = record(CASES[0], 100_000_000, 300_000_000, **shares, kernels_us=kernels, kernels_reason=None)
    gemm, bmm = (replace(CASES[1], form=form, mode="graph") for form in ("gemm", "bmm"))
    lost = {**vars(replace(gemm, mode="compile")), "error": "RuntimeError: a | b"}
    cases = [ours, record(gemm, 25_000_000, 80_000_000), record(bmm, 20_000_000, 120_000_000), lost]
    return {
        "schema": 1,
        "measured": "2026-01-02",
        "card": H200,
        "versions": {"fwfm_gpu": "0.1.0", "cupy": "14.2"},
        "torch": {"version": "2.11", "reason": None},
        "tests": {"ok": True, "passed": 57, "failed": 0, "skipped": 2, "seconds": 9.0},
        "effort": {},
        "seconds": 400.0,
        "cases": cases,
    }


def test_the_table_of_a_report():
    text = gpu.table.report_text(made_up_report())
    assert text.startswith("### NVIDIA H200\n")
    row = "| criteo | 16 | 65,536 | adagrad | 100,000,000 | 46% | 4.0 | 300,000,000 | 25% | 2.5 | 2.50 GB |"
    assert row in text.split("\n")
    best = "| criteo | 65,536 | adagrad | 25,000,000 | gemm, CUDA graph | 120,000,000 | bmm, CUDA graph |"
    assert best in text.split("\n")
    assert "| criteo | 65,536 | adagrad | 21.5 | 300.0 | 0.0 | 0.2 | 655.4 |" in text.split("\n")
    assert "- torch criteo 65,536 adagrad gemm, compiled: RuntimeError: a / b\n" in text
    assert "33.5 T float32 operations a second, none fused; copies move 4.30 TB/s." in text
    assert "Tests: 57 passed, 0 failed, 2 skipped." in text
    assert "fwfm_gpu 0.1.0, cupy 14.2, PyTorch 2.11." in text


def test_every_table_is_whole():
    tables = [line for line in gpu.table.report_text(made_up_report()).split("\n") if line.startswith("|")]
    widths = {}
    for line in tables:
        widths.setdefault(line.count("|"), []).append(line)
    assert {width: len(lines) for width, lines in widths.items()} == {12: 3, 8: 3, 9: 3}


def test_a_written_page_is_written_the_same_again(tmp_path):
    folder, page = tmp_path / "figures", tmp_path / "figures.md"
    folder.mkdir()
    page.write_text(PAGE)
    assert gpu.table.write_section(folder)
    assert gpu.table.NOT_MEASURED in page.read_text()
    (folder / "gpu-nvidia-h200.json").write_text(json.dumps(made_up_report()))
    (folder / "gpu-nvidia-h200-peers.jsonl").write_text(json.dumps(record(TORCH, 7, 8)) + "\n")
    assert gpu.table.write_section(folder)
    once = page.read_text()
    assert gpu.table.NOT_MEASURED not in once
    assert "| tiny | 64 | adagrad | gemm, eager | 7 | 8 | 2.50 GB |" in once
    assert once.startswith("# Figures\n") and once.endswith("\n\n## More\n")
    assert gpu.table.write_section(folder)
    assert page.read_text() == once


@pytest.mark.parametrize("text", [None, "# no markers\n", f"{gpu.table.BEGIN}\n"])
def test_a_page_without_markers_is_left(tmp_path, text):
    page = tmp_path / "figures.md"
    if text is not None:
        page.write_text(text)
    assert not gpu.table.write_section(tmp_path / "figures")
    assert (page.read_text() if page.exists() else None) == text


@pytest.mark.skipif(not FOLDER.with_suffix(".md").exists(), reason="docs/benchmarks.md is not here: part of a checkout")
def test_the_page_says_what_the_figures_say():
    text = FOLDER.with_suffix(".md").read_text("utf-8")
    section = text.partition(gpu.table.BEGIN)[2].partition(gpu.table.END)[0]
    assert section == "\n" + gpu.table.make_section(FOLDER)


def test_a_cards_name_is_part_of_a_file_name():
    assert gpu.table.slug("NVIDIA H200") == "nvidia-h200"
    assert gpu.table.slug("NVIDIA GeForce RTX 4090 (TM)") == "nvidia-geforce-rtx-4090-tm"
