"""``make gpu-peers``: every form of PyTorch on one problem, one JSON line a case; goes on where it was stopped."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cases import SHAPES, Case, Effort, peer_cases
from .check import ROOT, in_words
from .table import read_lines, slug, write_section
from .worker import Worker, request

LIMIT = 180.0  # seconds of one case
KEY = tuple(Case.__dataclass_fields__)


def find_done(path: Path) -> set[Case]:
    """The cases of a file; a last line that was cut short is taken off, so that the case is measured again."""
    records = read_lines(path)
    if path.exists():
        text = path.read_text("utf-8")
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    return {Case(**{name: record[name] for name in KEY}) for record in records}


def measure_all(cases: Sequence[Case], effort: Effort, path: Path, limit: float = LIMIT) -> None:
    """Append a line for each case that the file does not have, each measured in a process of its own."""
    done = find_done(path)
    for case in cases:
        if case in done:
            continue
        with Worker() as worker:
            record = vars(case) | worker.ask(request("torch", effort, case), limit)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{case}: {in_words(record)}", flush=True)


def describe(effort: Effort) -> dict[str, Any]:
    """The card, or ``{"error": text}`` where there is none, or no PyTorch."""
    with Worker() as worker:
        torch = worker.ask(request("torch_version", effort), LIMIT)
        card = worker.ask(request("card", effort), LIMIT)
    if reason := torch.get("error") or torch["reason"]:
        return {"error": reason}
    return card


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu.peers", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="criteo")
    parser.add_argument("--batch", type=int, default=65536)
    parser.add_argument("--device", default=Effort.device, help='"cuda", "cuda:1", or "numpy" for the processor')
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the figures")
    parser.add_argument("--seconds", type=float, default=Effort.seconds)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every case has its line."""
    options = parse(arguments)
    effort = Effort(options.device, seconds=options.seconds, repeats=options.repeats)
    card = describe(effort)
    if "error" in card:
        print(f"nothing to measure on: {card['error']}")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"gpu-{slug(card['name'])}-peers.jsonl"
    measure_all(peer_cases(options.shape, options.batch), effort, path)
    write_section(options.out)
    print(f"figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
