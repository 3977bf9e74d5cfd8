"""Our engines against other libraries that train factorization machines on a processor, in one run.

    python docs/benchmarks/peers.py [--quick] [--json FILE]

Each peer works in a process of its own, pinned to its cores, and holds the same rows; rounds go from peer to peer, so
that what disturbs the machine disturbs them all. What is not installed is left out, and a line says so.

Measures: "steps" are mini-batches on rows that are loaded already; "whole call" is what a user calls, on a SciPy
matrix, and trains three epochs; "scores" are of loaded rows; "p50" and "p99" are of single rows, one call each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "asv_bench"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu.worker import Worker
from peers_table import Entry, table
from peers_task import EVERYONE, WORKS, Task, Work

LOAD_LIMIT, REPEAT_LIMIT = 900.0, 300.0  # seconds


class Process(Worker):
    """Where one peer works."""

    command = (sys.executable, str(Path(__file__).resolve().with_name("peers_worker.py")))


@dataclass
class Report:
    """What a run has found so far."""

    rounds: int
    quick: bool
    versions: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    works: dict[str, list[Entry]] = field(default_factory=dict)

    def skip(self, text: str) -> None:
        """Keep and print why something is left out."""
        self.skipped.append(text)
        print(f"skipped: {text}", flush=True)

    def document(self) -> dict[str, Any]:
        """All of it, and the machine, for JSON."""
        works = {name: [asdict(entry) for entry in entries] for name, entries in self.works.items()}
        measured = datetime.now(UTC).date().isoformat()
        return {"measured": measured, "machine": describe_machine(), **asdict(self), "works": works}


def describe_machine() -> dict[str, str | int]:
    """Processor, cores that may be used, system and Python: neither paths nor names of hosts."""
    lines = Path("/proc/cpuinfo").read_text().split("\n") if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": count_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compare(work: Work, peers: Sequence[str], report: Report) -> list[Entry]:
    """Load peer after peer, then rounds of one repeat each. An entry for each variant and measure."""
    threads = [(peer, work.threads) for peer in work.peers] + [(peer, 1) for peer in work.alone]
    tasks = [Task(peer, work.verb, work.shape, many, report.quick) for peer, many in threads if peer in peers]
    entries: dict[tuple[str, ...], Entry] = {}
    with ExitStack() as stack:
        contestants = {task: stack.enter_context(Process()) for task in tasks}
        for task, process in list(contestants.items()):
            if not load(task, process, work, report):
                del contestants[task]
        for _ in range(report.rounds):
            for task, process in list(contestants.items()):
                reply = process.ask({}, REPEAT_LIMIT)
                if "error" in reply:
                    report.skip(f"{work.name}, {task.peer}: {reply['error']}")
                    del contestants[task]
                collect(task, reply.get("figures", {}), entries)
    return list(entries.values())


def load(task: Task, process: Process, work: Work, report: Report) -> bool:
    """Whether the peer can do it."""
    reply = process.ask(asdict(task), LOAD_LIMIT)
    if "error" in reply:
        report.skip(f"{work.name}, {task.peer}: {reply['error']}")
        return False
    report.versions |= reply["versions"]
    return True


def collect(task: Task, figures: dict[str, dict[str, float]], entries: dict[tuple[str, ...], Entry]) -> None:
    """Add one repeat."""
    for variant, measures in figures.items():
        for measure, value in measures.items():
            key = (task.peer, variant, measure, str(task.threads))
            entries.setdefault(key, Entry(task.peer, variant, measure, task.threads)).repeats.append(value)


def measure(works: Sequence[Work], peers: Sequence[str], report: Report) -> None:
    """Table after table."""
    for work in works:
        if work.threads > count_cores():
            report.skip(f"{work.name}: {work.threads} cores are needed, {count_cores()} may be used")
        elif entries := compare(work, peers, report):
            report.works[work.name] = entries
            print(f"\n{table(work, entries)}", flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, one round: to see that everything runs")
    parser.add_argument("--rounds", type=int, help="repeats of each peer (default: 5, with --quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here, too")
    parser.add_argument("--works", nargs="+", choices=[work.name for work in WORKS], help="only these")
    parser.add_argument("--peers", nargs="+", choices=EVERYONE, default=EVERYONE, help="only these")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when something was measured."""
    options = parse(arguments)
    report = Report(options.rounds or (1 if options.quick else 5), options.quick)
    measure([work for work in WORKS if work.name in (options.works or [work.name])], options.peers, report)
    machine = describe_machine()
    print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    print(", ".join(map(str, machine.values())) + f"; medians of {report.rounds} repeats, taken in turns")
    if options.json is not None:
        options.json.write_text(json.dumps(report.document(), indent=1) + "\n", encoding="utf-8")
    return 0 if report.works else 1


if __name__ == "__main__":
    sys.exit(main())
