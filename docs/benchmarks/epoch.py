"""Where one epoch of ``train`` spends its time: steps, and all that is not a step.

    python docs/benchmarks/epoch.py [--quick] [--rows N] [--device cpu] [--threads N]

The Criteo-like shape as a SciPy matrix: 39 fields, k = 16, AdaGrad, batch 8,192, shuffled, one epoch a call, an
evaluation set of a twentieth of the rows, one callback. A part's time is what passes inside it and in no other part.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "asv_bench"))

from benchmarks.cases import CASES, draw, make_rows

import fwfm_gpu
from fwfm_gpu import evaluation, training
from fwfm_gpu.backends import get_backend
from fwfm_gpu.callbacks import Callbacks
from fwfm_gpu.epochs import Loop
from fwfm_gpu.passes import MemoryPasses

CASE = CASES["criteo"]
ROWS, QUICK_ROWS = 1_000_000, 20_000
REPEATS = 5
REST = "everything else"

Data = tuple[Any, Any, Any]  # rows to train on, rows to evaluate on, fields


@dataclass(frozen=True)
class Part:
    """What is timed under one name."""

    name: str
    each_epoch: bool
    places: tuple[tuple[Any, str], ...]  # owner and name of what is called
    is_step: bool = False


def list_parts(engine: type) -> tuple[Part, ...]:
    """The parts of a call, in about the order in which they come."""
    reading = ((training.FieldMatrix, "from_matrix"), (training.FieldMatrix, "rounded"))
    targets = ((training, "choose_loss"), (training, "encode_targets"), (evaluation, "encode_targets"))
    checking = (*targets, (training, "make_problem"), (training, "make_evaluations"))
    return (
        Part("check and read X", False, reading),
        Part("check and read y", False, checking),
        Part("fingerprint of the data", False, ((training, "fingerprint"),)),
        Part("start parameters and state", False, ((training, "start_parameters"), (training, "start_state"))),
        Part("load_data", False, ((engine, "load_data"),)),
        Part("load_model", False, ((engine, "load_model"),)),
        Part("copy_model: where the epoch was entered", True, ((Loop, "here"),)),
        Part("permutation of the rows", True, ((MemoryPasses, "draw_order"),)),
        Part("begin", True, ((engine, "begin"),)),
        Part("steps: advance, collect", True, ((engine, "advance"), (engine, "collect")), is_step=True),
        Part("evaluation: scores, metrics", True, ((Loop, "evaluate"),)),
        Part("callbacks", True, ((Callbacks, "tell"),)),
        Part("history, the loop itself", True, ((Loop, "run_epoch"), (Loop, "tell"))),
        Part("fetch_model", False, ((Loop, "snapshot"),)),
        Part(REST, False, ()),
    )


@dataclass
class Clock:
    """Seconds of each part; time inside an inner part is no time of the outer one."""

    now: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    since: float = 0.0

    def turn(self) -> None:
        """Credit the innermost part with what has passed."""
        now = self.now()
        if self.open:
            self.seconds[self.open[-1]] = self.seconds.get(self.open[-1], 0.0) + now - self.since
        self.since = now

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, timed."""

        @wraps(work)
        def run(*arguments: Any, **options: Any) -> Any:
            self.turn()
            self.open.append(name)
            try:
                return work(*arguments, **options)
            finally:
                self.turn()
                self.open.pop()

        return run


def time_parts(parts: Sequence[Part], work: Callable[[], object], clock: Clock) -> dict[str, float]:
    """Seconds of each part while some work is done, by a clock that starts at 0."""
    with ExitStack() as stack:
        for part in parts:
            for owner, name in part.places:
                stack.enter_context(mock.patch.object(owner, name, clock.timed(part.name, getattr(owner, name))))
        clock.timed(REST, work)()
    return {part.name: clock.seconds.get(part.name, 0.0) for part in parts}


def table(parts: Sequence[Part], seconds: dict[str, float]) -> str:
    """Markdown: each part, and what lies outside the steps, in hundredths of an epoch."""
    epoch = sum(seconds[part.name] for part in parts if part.each_epoch)
    lines = ["| part | when | ms | % of an epoch |", "|---|---|---|---|"]
    for part in parts:
        took, when = seconds[part.name], "each epoch" if part.each_epoch else "once a call"
        lines.append(f"| {part.name} | {when} | {1000 * took:,.1f} | {100 * took / epoch:.1f} |")
    for when, each_epoch in (("each epoch", True), ("once a call", False)):
        took = sum(seconds[part.name] for part in parts if part.each_epoch == each_epoch and not part.is_step)
        lines.append(f"| **outside the steps** | {when} | {1000 * took:,.1f} | {100 * took / epoch:.1f} |")
    return "\n".join(lines)


def make_data(rows: int) -> Data:
    """Rows as users have them: a SciPy matrix and integers."""
    drawn = draw(CASE, rows)
    matrix, y = make_rows(CASE, drawn), drawn["y"].astype(int)
    held = max(rows // 20, 2)
    return (matrix.to_csr(), y), (matrix.take(slice(held)).to_csr(), y[:held]), matrix.fields


def train(data: Data, device: str, threads: int | None) -> fwfm_gpu.FwFM:
    """One epoch."""
    (X, y), eval_set, fields = data
    return fwfm_gpu.train(
        X,
        y,
        fields=fields,
        device=device,
        n_threads=threads,
        n_factors=CASE.n_factors,
        epochs=1,
        batch_size=CASE.batch_size,
        eval_set=eval_set,
        callbacks=[lambda status: None],
        progress=False,
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, one repeat: to see that everything runs")
    parser.add_argument("--rows", type=int, help=f"(default: {ROWS:,}, with --quick {QUICK_ROWS:,})")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of the compiled engine (default: all cores)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parse(arguments)
    rows, repeats = options.rows or (QUICK_ROWS if options.quick else ROWS), 1 if options.quick else REPEATS
    engine = get_backend(options.device, n_threads=options.threads)
    parts, data = list_parts(type(engine)), make_data(rows)
    once = partial(train, data, options.device, options.threads)
    once()  # compiles, where there is something to compile
    runs = [time_parts(parts, once, Clock()) for _ in range(repeats)]
    seconds = {part.name: statistics.median(run[part.name] for run in runs) for part in parts}
    print(f"engine {engine.name}, {rows:,} rows, one epoch a call, medians of {repeats} calls\n")
    print(table(parts, seconds))


if __name__ == "__main__":
    main()
