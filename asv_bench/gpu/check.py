"""``make gpu-check``: the tests that need a GPU, then the benchmark; figures as JSON and as a table of the page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cases import BATCHES, SHAPES, Case, Effort, Rates, beside_atomics, check_cases, score_floor, train_floor
from .table import report_text, slug, write_section
from .worker import Worker, request

ROOT = Path(__file__).parents[2]
SCHEMA = 1
TESTS_LIMIT = 240.0  # seconds
LIMITS = {"ours": 45.0, "atomics": 45.0, "torch": 75.0}  # seconds of one case: drawing rows and compiling count
LEAST = 3.0  # seconds under which no case is begun
OUT_OF_TIME = "not run: time"
NO_GPU = "not run: atomics need a GPU"


class Budget:
    """Seconds that are left."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds = time.monotonic(), seconds

    def spent(self) -> float:
        return time.monotonic() - self.began

    def left(self) -> float:
        return self.seconds - self.spent()


@dataclass(frozen=True)
class Bench:
    """What measures, how long, and where the figures go."""

    effort: Effort
    budget: Budget
    workers: dict[str, Worker]
    folder: Path

    def describe(self) -> dict[str, Any]:
        """A report without figures; ``card`` holds an error where no card answers."""
        ask = {
            "card": ("ours", "card"),
            "versions": ("ours", "versions"),
            "torch": ("torch", "torch_version"),
        }
        report: dict[str, Any] = {"schema": SCHEMA, "measured": datetime.now(UTC).date().isoformat()}
        for name, (engine, kind) in ask.items():
            report[name] = self.workers[engine].ask(request(kind, self.effort), LIMITS[engine])
        if "error" in report["torch"]:
            report["torch"] = {"version": None, "reason": report["torch"]["error"]}
        return report | {"effort": vars(self.effort), "cases": []}

    def measure(self, case: Case, card: dict[str, Any]) -> dict[str, Any]:
        """A case with its figures, or with an error."""
        if self.budget.left() < LEAST:
            return {**vars(case), "error": OUT_OF_TIME}
        if case.engine == "atomics" and not self.effort.device.startswith("cuda"):
            return {**vars(case), "error": NO_GPU}
        limit = min(LIMITS[case.engine], self.budget.left())
        figures = self.workers[case.engine].ask(request(case.engine, self.effort, case), limit)
        record = vars(case) | figures
        return record | shares(case, record, card) if case.engine == "ours" and "error" not in record else record

    def save(self, report: dict[str, Any]) -> Path:
        """Write what there is; a run that is stopped leaves it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"gpu-{slug(report['card']['name'])}.json"
        report["seconds"] = round(self.budget.spent(), 1)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return path


def shares(case: Case, record: dict[str, Any], card: dict[str, Any]) -> dict[str, float | None]:
    """The floors in microseconds, and the share of the time taken that they are; None where the rates are not known."""
    if card["operations_per_s"] is None:
        return dict.fromkeys(("train_floor_us", "train_share", "score_floor_us", "score_share"))
    rates = Rates(card["operations_per_s"], card["copy_bytes_per_s"])
    found: dict[str, float | None] = {}
    for name, floor in (("train", train_floor(case, rates)), ("score", score_floor(case, rates))):
        found[f"{name}_floor_us"] = round(floor * 1e6, 2)
        found[f"{name}_share"] = round(floor * record[f"{name}_rows_per_s"] / case.batch, 4)
    return found


def run_tests(limit: float) -> dict[str, Any]:
    """Run the tests that need a GPU, none of them skipped. Counts, and ``ok``."""
    environment = {**os.environ, "FWFM_REQUIRE_GPU": "1"}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--continue-on-collection-errors"]
        command += ["-p", "no:cacheprovider", f"--junitxml={results}"]
        began = time.monotonic()
        try:
            ended = subprocess.run(command, cwd=ROOT, env=environment, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"the tests were stopped after {limit:.0f} s")
            ended = -1
        counts = count_tests(results)
    return {"ok": ended == 0, **counts, "seconds": round(time.monotonic() - began, 1)}


def count_tests(results: Path) -> dict[str, int]:
    """Numbers of tests in a JUnit file; zeros where there is none."""
    suite = ElementTree.parse(results).getroot().find("testsuite") if results.exists() else None
    if suite is None:
        return {"passed": 0, "failed": 0, "skipped": 0}
    total, failures, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return {"passed": total - failures - errors - skipped, "failed": failures + errors, "skipped": skipped}


def run_benchmark(bench: Bench, cases: Sequence[Case], tests: dict[str, Any] | None) -> dict[str, Any] | None:
    """Measure case after case and keep the report on disk. None where no card answers."""
    report = bench.describe() | {"tests": tests}
    if "error" in report["card"]:
        print(f"no card to measure on: {report['card']['error']}")
        return None
    for case in cases:
        if case.engine == "torch" and report["torch"]["reason"]:
            continue
        record = bench.measure(case, report["card"])
        print(f"{case}: {in_words(record)}", flush=True)
        report["cases"].append(record)
        bench.save(report)
    return report


def in_words(record: dict[str, Any]) -> str:
    """The figures of a case in a line."""
    if "error" in record:
        return str(record["error"])
    figures = {"training": record["train_rows_per_s"], "scoring": record.get("score_rows_per_s")}
    return ", ".join(f"{name} {rate:,} rows/s" for name, rate in figures.items() if rate is not None)


def succeeded(report: dict[str, Any] | None) -> bool:
    """Whether all tests passed and our engine failed in no case; running out of time is no failure."""
    if report is None or (report["tests"] is not None and not report["tests"]["ok"]):
        return False
    return all(case.get("error", OUT_OF_TIME) == OUT_OF_TIME for case in report["cases"] if case["engine"] == "ours")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu.check", description=__doc__)
    parser.add_argument("--device", default=Effort.device, help='"cuda", "cuda:1", or "numpy" to try the program')
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the figures")
    parser.add_argument("--budget", type=float, default=470, help="seconds for everything")
    parser.add_argument("--no-tests", action="store_true", help="only the benchmark")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["criteo", "frappe"])
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    for name in ("rows", "seconds", "repeats"):
        default = getattr(Effort, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything went well."""
    options = parse(arguments)
    budget = Budget(options.budget)
    tests = None if options.no_tests else run_tests(min(TESTS_LIMIT, budget.left()))
    effort = Effort(options.device, options.rows, options.seconds, options.repeats)
    cases = beside_atomics(check_cases(options.shapes, options.batches))
    with Worker() as ours, Worker() as torch:
        bench = Bench(effort, budget, {"ours": ours, "atomics": ours, "torch": torch}, options.out)
        report = run_benchmark(bench, cases, tests)
        if report is not None:
            print(f"\n{report_text(report)}\nfigures: {bench.save(report)}")
            print("page: " + ("written" if write_section(options.out) else f"none beside {options.out}"))
    if tests is not None and not tests["ok"]:
        print("the tests FAILED: see above")
    return 0 if succeeded(report) else 1


if __name__ == "__main__":
    sys.exit(main())
