"""The comparison with other libraries: its statistics and tables, what it says of what is missing, and a small run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
if not (FOLDER / "peers.py").exists() or not (ROOT / "asv_bench").is_dir():
    pytest.skip("docs/benchmarks/peers.py or asv_bench is not here: part of a checkout", allow_module_level=True)


def import_modules() -> SimpleNamespace:
    """Those of the comparison that need no other library; ``sys.path`` stays what it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), str(ROOT / "asv_bench"), *sys.path])
        nouns = ("clock", "libffm", "table", "task", "torch", "worker", "xlearn")
        names = ["peers", *(f"peers_{noun}" for noun in nouns)]
        return SimpleNamespace(**{name.removeprefix("peers_"): importlib.import_module(name) for name in names})


bench = import_modules()
Entry = bench.table.Entry
TRAIN, TRAIN_2, _, TRAIN_FRAPPE, ROW = bench.task.WORKS
CPU = Entry("ours-cpu", "", "steps", 1, [300.0, 100.0, 200.0])
NUMPY = Entry("ours-numpy", "", "steps", 1, [50.0, 40.0, 60.0])
MODERN = Entry("modern-fm", "batch 1,024", "steps", 1, [80.0, 90.0, 20.0])
WHOLE = Entry("modern-fm", "batch 1,024", "whole call", 1, [70.0])


def test_the_spread_is_median_least_and_most():
    assert CPU.spread == (200.0, 100.0, 300.0)
    assert Entry("torch", "", "steps", 1, [4.0, 1.0]).spread == (2.5, 1.0, 4.0)


def test_a_ratio_says_how_many_times_as_fast_ours_is():
    assert bench.table.ratio(MODERN, CPU) == 200.0 / 80.0
    assert bench.table.ratio(CPU, CPU) == 1.0
    slow, fast = Entry("torch", "", "p50", 1, [60.0]), Entry("ours-cpu", "", "p50", 1, [5.0])
    assert bench.table.ratio(slow, fast) == 12.0
    assert bench.table.ratio(MODERN, None) is None


def test_the_reference_is_the_fastest_engine_of_the_same_measure_on_all_cores():
    find = bench.table.find_reference
    assert find(MODERN, [MODERN, NUMPY, CPU], 1) is CPU
    assert find(MODERN, [MODERN, NUMPY], 1) is NUMPY
    assert find(WHOLE, [MODERN, NUMPY, CPU, WHOLE], 1) is None
    on_two = Entry("ours-cpu", "", "steps", 2, [390.0])
    assert find(CPU, [CPU, on_two], 2) is on_two
    assert find(CPU, [CPU], 2) is None


def test_a_table_goes_from_fast_to_slow():
    lines = bench.table.table(TRAIN, [MODERN, WHOLE, NUMPY, CPU]).split("\n")
    assert lines[0] == "### Training: criteo, 39 fields, 208,230 features, k = 16, one core"
    assert lines[2] == "| peer | measure | median, rows/s | least | most | ours is so many times as fast |"
    assert lines[4:] == [
        "| ours-cpu | steps | 200 | 100 | 300 | 1.00 |",
        "| modern-fm: batch 1,024 | steps | 80 | 20 | 90 | 2.50 |",
        "| ours-numpy | steps | 50 | 40 | 60 | 4.00 |",
        "| modern-fm: batch 1,024 | whole call | 70 | 70 | 70 |  |",
        "",
    ]


def test_a_table_of_single_rows_goes_from_fast_to_slow_too():
    entries = [Entry("torch", "gemm", "p50", 1, [70.25]), Entry("ours-cpu", "", "p50", 1, [5.0])]
    lines = bench.table.table(ROW, entries).split("\n")
    assert "median, microseconds" in lines[2]
    assert lines[4:6] == ["| ours-cpu | p50 | 5 | 5 | 5 | 1.00 |", "| torch: gemm | p50 | 70.2 | 70.2 | 70.2 | 14.05 |"]


def test_a_table_tells_cores_apart():
    entries = [CPU, Entry("ours-cpu", "", "steps", 2, [390.0])]
    lines = bench.table.table(TRAIN_2, entries).split("\n")
    assert lines[4:6] == [
        "| ours-cpu | steps | 390 | 390 | 390 | 1.00 |",
        "| ours-cpu (1 of 2 cores) | steps | 200 | 100 | 300 | 1.95 |",
    ]


def test_repeats_are_collected_by_variant_measure_and_cores():
    task, entries = bench.task.Task("torch", "train", "criteo", 2), {}
    for rate in (5.0, 7.0):
        bench.peers.collect(task, {"gemm": {"steps": rate}, "bmm": {"steps": 1.0}}, entries)
    assert [entry.repeats for entry in entries.values()] == [[5.0, 7.0], [1.0, 1.0]]
    assert {entry.threads for entry in entries.values()} == {2}


def test_every_work_has_its_peers():
    assert len({work.name for work in bench.task.WORKS}) == len(bench.task.WORKS)
    assert {peer for work in bench.task.WORKS for peer in work.peers} == set(bench.task.EVERYONE)
    assert all((FOLDER / f"{module}.py").exists() for module in bench.task.MODULES.values())


def test_the_fastest_forms_of_each_mode_and_batch_are_kept():
    make = bench.torch.Variant
    taken = {make("gemm", "eager", 256): 3.0, make("bmm", "eager", 256): 1.0, make("triu", "eager", 256): 2.0}
    taken |= {make("gemm", "compiled", 256): 9.0, make("gemm", "eager", 8192): 8.0}
    kept = {(v.form, v.mode, v.batch) for v in bench.torch.choose(taken)}
    fast = {("bmm", "eager", 256), ("triu", "eager", 256)}
    assert kept == fast | {("gemm", "compiled", 256), ("gemm", "eager", 8192)}
    assert bench.torch.cost({"steps": 4.0}) == 0.25
    assert bench.torch.cost({"p50": 20.0, "p99": 90.0}) == 20.0


def test_sparse_gradients_are_tried_in_eager_mode_alone():
    tried = bench.torch.variants(bench.task.Task("torch", "train", "criteo", 1))
    assert {v.form for v in tried} == {"rixwew", "fuxi", "triu", "bmm", "gemm"}
    assert {v.mode for v in tried if v.sparse} == {"eager"}
    assert {v.mode for v in tried if not v.sparse} == {"eager", "compiled"}
    assert {v.batch for v in tried} == {8192}


def test_rates_count_whole_passes():
    passes = []
    assert bench.clock.rate(lambda: passes.append(1), 10, 0.0) > 0
    assert len(passes) == 1
    bench.clock.rate(lambda: passes.append(1), 10, 0.01)
    assert len(passes) > 2


def test_latency_takes_every_input():
    seen = []
    figures = bench.clock.latency(seen.append, [1, 2, 3], 0.0)
    assert seen == [1, 2, 3]
    assert 0 < figures["p50"] <= figures["p99"]


def test_times_of_ffm_train_are_read():
    printed = "iter   tr_logloss      tr_time\n   1      0.69315          0.3\n   2      0.69000          0.7\n"
    assert bench.libffm.read_times("First check\n" + printed) == [0.3, 0.7]
    with pytest.raises(bench.task.MissingError, match="prints no times"):
        bench.libffm.read_times("iter   tr_logloss\n   0      0.69315\n")


def test_times_of_xlearn_are_read():
    row = "\x1b[32m[ \x1b[0m  {0}%\x1b[32m      ]\x1b[0m     {1}            0.732607                {2}\n"
    printed = row.format(50, 1, "0.02") + row.format(100, 2, "1.25") + "[------------] Time cost: 0.06 (sec)\n"
    assert bench.xlearn.read_times(printed) == [0.02, 1.25]


@pytest.mark.parametrize("error, text", [("MissingError", "not here"), ("ValueError", "ValueError: not here")])
def test_a_worker_says_why_it_cannot(monkeypatch, error, text):
    def fail(request):
        raise {"MissingError": bench.task.MissingError, "ValueError": ValueError}[error]("not\n here")

    monkeypatch.setattr(bench.worker, "load", fail)
    assert bench.worker.answer({"peer": "torch"}, None) == ({"error": text}, None)


def test_what_is_not_installed_is_skipped_with_a_line(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert bench.peers.main(["--quick", "--works", "train-frappe", "--peers", "libffm"]) == 1
    printed = capsys.readouterr().out
    assert "skipped: train-frappe, libffm: no ffm-train on the PATH (build libffm)\n" in printed


def test_a_work_for_more_cores_than_there_are_is_skipped(monkeypatch, capsys):
    monkeypatch.setattr(bench.peers, "count_cores", lambda: 1)
    bench.peers.measure([TRAIN_2], ["ours-cpu"], bench.peers.Report(rounds=1, quick=True))
    assert capsys.readouterr().out == "skipped: train-2: 2 cores are needed, 1 may be used\n"


def test_a_peer_that_fails_later_leaves_what_it_showed(monkeypatch, capsys):
    replies = [{"versions": {"torch": "1"}}, {"figures": {"gemm": {"steps": 5.0}}}, {"error": "lost"}]
    monkeypatch.setattr(bench.peers.Process, "ask", lambda self, request, limit: replies.pop(0))
    report = bench.peers.Report(rounds=3, quick=True)
    (entry,) = bench.peers.compare(TRAIN, ["torch"], report)
    assert entry.repeats == [5.0]
    assert report.skipped == ["train, torch: lost"]
    assert report.versions == {"torch": "1"}


def test_a_small_run(tmp_path, capsys):
    path = tmp_path / "figures.json"
    given = ["--quick", "--works", "train-frappe", "--peers", "ours-numpy", "--rounds", "2", "--json", str(path)]
    assert bench.peers.main(given) == 0
    printed, text = capsys.readouterr().out, path.read_text()
    assert f"### {TRAIN_FRAPPE.title}\n" in printed
    assert "| ours-numpy | steps | " in printed and "| ours-numpy | whole call | " in printed
    assert "fwfm_gpu " in printed and "medians of 2 repeats" in printed
    document = json.loads(text)
    assert set(document["machine"]) == {"processor", "cores", "system", "python"}
    assert str(ROOT) not in text and str(tmp_path) not in text
    steps = next(entry for entry in document["works"]["train-frappe"] if entry["measure"] == "steps")
    assert len(steps["repeats"]) == 2 and min(steps["repeats"]) > 0


def test_modules_are_short():
    for path in FOLDER.glob("peers*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 420, path.name
