"""The GPU check without a GPU: the worker, the budget, the report, all of it on NumPy, and the peers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gpu_package import CASES, H200, OURS, PAGE, TINY, Case, Effort, gpu

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "benchmarks"


# ---- the worker


@pytest.fixture
def worker():
    """A worker, stopped at the end."""
    with gpu.worker.Worker() as worker:
        yield worker


def test_a_worker_measures(worker):
    record = worker.ask(gpu.worker.request("ours", TINY, OURS), 60)
    assert record["train_rows_per_s"] > 0 and record["score_rows_per_s"] > 0
    assert record["memory_bytes"] is None
    assert (record["kernels_us"], record["kernels_reason"]) == (None, "no GPU was asked for")


def test_what_goes_wrong_is_an_answer_and_the_next_request_is_answered(worker):
    wrong = worker.ask(gpu.worker.request("ours", replace(TINY, device="tpu"), OURS), 60)
    assert wrong["error"].startswith("OptionError: device must be")
    late = worker.ask(gpu.worker.request("ours", replace(TINY, rows=200_000), OURS), 0)
    assert late == {"error": "not done in 0 s"}
    assert worker.ask(gpu.worker.request("card", TINY), 60)["name"] == "numpy"


def test_a_process_that_was_killed_is_replaced(worker):
    asked = gpu.worker.request("card", TINY)
    worker.ask(asked, 60)
    worker.process.kill()
    worker.process.wait()
    assert worker.ask(asked, 60)["name"] == "numpy"


def test_a_process_that_ends_says_how(worker):
    worker.command = [sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit('no driver\\n')"]
    assert worker.ask(gpu.worker.request("card", TINY), 60) == {"error": "the process ended with 1: no driver"}


def test_what_is_printed_is_no_answer(worker):
    noisy = "import gpu.worker as w; w.act = lambda *a: print('noise') or {'fine': 1}; w.serve()"
    worker.command = [sys.executable, "-c", noisy]
    assert worker.ask(gpu.worker.request("card", TINY), 60) == {"fine": 1}


# ---- the run


class Pretender:
    """A worker that answers at once, and lets time pass."""

    def __init__(self, budget=None, cost: float = 0.0, card=H200, torch=None) -> None:
        self.budget, self.cost, self.asked = budget, cost, []
        self.about = {"card": card, "versions": {"fwfm_gpu": "0"}}
        self.about["torch_version"] = torch or {"version": "2", "reason": None}

    def ask(self, request, limit):
        if request["kind"] in self.about:
            return self.about[request["kind"]]
        self.asked.append((request["case"], limit))
        self.budget.began -= self.cost
        return {"train_rows_per_s": 50_000_000, "score_rows_per_s": 100_000_000, "memory_bytes": 5}


def make_bench(folder, seconds: float, cost: float = 0.0, **about):
    """A bench whose cases cost so many seconds each."""
    budget = gpu.check.Budget(seconds)
    pretender = Pretender(budget, cost, **about)
    return pretender, gpu.check.Bench(Effort(), budget, {"ours": pretender, "torch": pretender}, folder)


def test_the_budget_ends_the_list_and_every_case_has_a_record(tmp_path):
    pretender, bench = make_bench(tmp_path, 100, cost=40)
    report = gpu.check.run_benchmark(bench, CASES, None)
    assert [case.get("error") for case in report["cases"]] == [None] * 3 + ["not run: time"] * 2
    limits = [limit for _, limit in pretender.asked]
    assert limits == pytest.approx([45, 60, 20], abs=1)  # of ours, what is left, what is left
    assert gpu.check.succeeded(report)


def test_floors_and_shares_are_of_the_card(tmp_path):
    _, bench = make_bench(tmp_path, 100)
    ours, beside = gpu.check.run_benchmark(bench, CASES[:2], None)["cases"]
    assert ours["train_floor_us"] == pytest.approx(207.44, abs=0.01)
    assert ours["train_share"] == pytest.approx(207.44e-6 * 50e6 / 65536, abs=1e-4)
    assert ours["score_share"] == pytest.approx(ours["score_floor_us"] * 1e-6 * 100e6 / 65536, abs=1e-4)
    assert "train_floor_us" not in beside


def test_without_torch_only_ours_is_measured(tmp_path):
    reason = "PyTorch cannot be imported: no torch"
    _, bench = make_bench(tmp_path, 100, torch={"version": None, "reason": reason})
    report = gpu.check.run_benchmark(bench, CASES, None)
    assert [case["engine"] for case in report["cases"]] == ["ours"]
    assert f"Nothing to compare with: {reason}." in gpu.table.report_text(report)


def test_without_a_card_nothing_is_written(tmp_path, capsys):
    _, bench = make_bench(tmp_path, 100, card={"error": "DeviceError: none"})
    assert gpu.check.run_benchmark(bench, CASES, None) is None
    assert "no card to measure on: DeviceError: none" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert not gpu.check.succeeded(None)


@pytest.mark.parametrize(
    ("tests", "errors", "good"),
    [
        (None, [None, "RuntimeError: no graph"], True),  # a form of PyTorch may fail
        ({"ok": True}, ["not run: time", None], True),
        ({"ok": False}, [None, None], False),
        ({"ok": True}, ["DeviceError: lost", None], False),
    ],
)
def test_success(tests, errors, good):
    engines = zip(("ours", "torch"), errors, strict=True)
    records = [{"engine": engine} | ({"error": error} if error else {}) for engine, error in engines]
    assert gpu.check.succeeded({"tests": tests, "cases": records}) == good


GPU_TESTS = """
import os, pytest
pytestmark = pytest.mark.gpu
def test_required(): assert os.environ["FWFM_REQUIRE_GPU"] == "1"
def test_fails(): assert False
@pytest.mark.skip(reason="late")
def test_skips(): pass
"""


def test_tests_are_counted(tmp_path, monkeypatch):
    (tmp_path / "test_a.py").write_text(GPU_TESTS)
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: a GPU\n")
    monkeypatch.setattr(gpu.check, "ROOT", tmp_path)
    counts = gpu.check.run_tests(60)
    assert counts.pop("seconds") > 0
    assert counts == {"ok": False, "passed": 1, "failed": 2, "skipped": 1}


def test_tests_that_take_too_long_are_stopped(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_a.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(gpu.check, "ROOT", tmp_path)
    counts = gpu.check.run_tests(0.5)
    assert (counts["ok"], counts["passed"]) == (False, 0)
    assert "stopped after" in capsys.readouterr().out


# ---- from end to end


OPTIONS = ["--device=numpy", "--shapes=tiny", "--batches", "64", "32", "--rows=200", "--seconds=0", "--repeats=1"]


@pytest.mark.parametrize("ok", [True, False])
def test_the_whole_check_on_numpy(tmp_path, monkeypatch, capsys, ok):
    tests = {"ok": ok, "passed": 3, "failed": 0 if ok else 1, "skipped": 1, "seconds": 1.0}
    monkeypatch.setattr(gpu.check, "run_tests", lambda limit: tests)
    monkeypatch.setattr(gpu.check, "check_cases", ours_alone)
    (tmp_path / "figures.md").write_text(PAGE)
    assert gpu.check.main([*OPTIONS, "--out", str(tmp_path / "figures")]) == (0 if ok else 1)
    report = json.loads((tmp_path / "figures" / "gpu-numpy.json").read_text())
    assert_schema(report)
    measured = [(case["batch"], case["optimizer"]) for case in report["cases"]]
    assert measured == [(64, "adagrad"), (64, "adam"), (32, "adagrad"), (32, "adam")]
    page = (tmp_path / "figures.md").read_text()
    assert page.startswith("# Figures\n") and page.endswith("## More\n")
    assert "| tiny | 4 | 32 | adam |" in page and "old" not in page
    printed = capsys.readouterr().out
    assert "ours tiny 64 adagrad: training " in printed and "| tiny | 4 | 64 | adagrad |" in printed
    assert ("the tests FAILED" in printed) is not ok


def ours_alone(*asked):
    """The cases that need no PyTorch: the rest would take minutes where it is installed."""
    return [case for case in gpu.cases.check_cases(*asked) if case.engine == "ours"]


def assert_schema(report: dict) -> None:
    """What a report must hold for the table, and for whoever reads it later."""
    assert report["schema"] == 1
    assert set(report) == {
        *("schema", "measured", "card", "versions", "torch", "effort", "tests", "seconds", "cases"),
    }
    assert {"name", "operations_per_s", "copy_bytes_per_s"} <= set(report["card"])
    assert {"fwfm_gpu", "python", "numpy", "scipy"} <= set(report["versions"])
    assert set(report["torch"]) == {"version", "reason"}
    assert set(report["effort"]) == {"device", "rows", "seconds", "repeats"}
    identity = {"engine", "shape", "batch", "optimizer", "form", "mode"}
    figures = {"train_rows_per_s", "score_rows_per_s", "memory_bytes"}
    ours = {"train_floor_us", "train_share", "score_floor_us", "score_share", "kernels_us", "kernels_reason"}
    for case in report["cases"]:
        assert set(case) in (identity | {"error"}, identity | figures | (ours if case["engine"] == "ours" else set()))


# ---- peers


@pytest.fixture
def measured(monkeypatch):
    """The cases that peers measure, by workers that only note them down."""
    cases = []

    class Note(Pretender):
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def ask(self, request, limit):
            cases.append((Case(**request["case"]), limit))
            return {"error": "RuntimeError: refused"} if request["case"]["mode"] == "graph" else {"train_rows_per_s": 1}

    monkeypatch.setattr(gpu.peers, "Worker", Note)
    monkeypatch.setattr(gpu.peers, "in_words", str)
    return cases


def test_peers_go_on_where_they_were_stopped(tmp_path, measured):
    path, cases = tmp_path / "peers.jsonl", gpu.cases.peer_cases("tiny", 64)[:4]
    gpu.peers.measure_all(cases[:2], TINY, path, 7)
    assert measured == [(case, 7) for case in cases[:2]]
    whole = path.read_text()
    path.write_text(whole + json.dumps(vars(cases[2]))[:-9])  # cut short
    measured.clear()
    gpu.peers.measure_all(cases, TINY, path, 7)
    assert [case for case, _ in measured] == cases[2:]  # one that failed is not tried again
    assert path.read_text().startswith(whole)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["mode"] for record in records] == [case.mode for case in cases]
    assert records[1]["error"] == "RuntimeError: refused"
    measured.clear()
    gpu.peers.measure_all(cases, TINY, path, 7)
    assert not measured


def test_peers_without_torch_measure_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu.peers, "describe", lambda effort: {"error": "PyTorch finds no GPU"})
    assert gpu.peers.main(["--out", str(tmp_path / "figures")]) == 1
    assert "nothing to measure on: PyTorch finds no GPU" in capsys.readouterr().out
    assert not (tmp_path / "figures").exists()


# ---- make


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["gpu-check", "OUT=there"], 'py -m gpu.check --out "there"'),
        (["gpu-peers", "SHAPE=frappe", "BATCH=4096"], "py -m gpu.peers --shape frappe --batch 4096 --out"),
    ],
)
def test_make_needs_no_environment_of_ours(words, command):
    done = subprocess.run(
        ["make", "-n", "PYTHON=py", *words], cwd=TESTS.parent, capture_output=True, text=True, check=True
    )
    assert command in done.stdout
    assert ".venv" not in done.stdout and "pip" not in done.stdout
