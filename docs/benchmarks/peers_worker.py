"""The process of one peer: pinned to its cores, and told its number of threads before any library is loaded."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

THREADS = ("FWFM", "OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
ERROR_LENGTH = 300


def confine(threads: int) -> None:
    """As many cores as threads, the last ones: interrupts prefer the first."""
    os.environ |= {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def load(request: dict[str, Any]) -> Any:
    """The contestant of a task."""
    confine(request["threads"])
    peers_task = importlib.import_module("peers_task")
    task = peers_task.Task(**request)
    return importlib.import_module(peers_task.MODULES[task.peer]).load(task)


def answer(request: dict[str, Any], contestant: Any) -> tuple[dict[str, Any], Any]:
    """To a task: versions, and the contestant. To ``{}``: figures of one repeat. What is raised is an answer, too."""
    try:
        if not request:
            return {"figures": contestant.repeat()}, contestant
        contestant = load(request)
        return {"versions": contestant.versions}, contestant
    except Exception as error:
        kind = "" if type(error).__name__ == "MissingError" else f"{type(error).__name__}: "
        return {"error": f"{kind}{' '.join(str(error).split())}"[:ERROR_LENGTH]}, None


def serve() -> None:
    """Answer line by line; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contestant = None
    for line in sys.stdin:
        reply, contestant = answer(json.loads(line), contestant)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
