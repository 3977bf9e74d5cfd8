"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import FwfmError
from fwfm_gpu.verify import find_vectors, verify_vector
from fwfm_gpu.version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """``fwfm-gpu``: 0 when all went well, 1 when a check failed, 2 when the request cannot be carried out."""
    parser = argparse.ArgumentParser(prog="fwfm-gpu", description="Field-weighted Factorization Machines.")
    parser.add_argument("--version", action="version", version=f"fwfm-gpu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="check an engine against conformance vectors, bit for bit",
        description="Drive an engine through conformance vectors and compare every bit. Exit 1 when one differs.",
    )
    verify.add_argument("--vectors", metavar="DIR", help="folder of *.npz vectors (default: those in the package)")
    verify.add_argument("--device", default="auto", help="auto, cpu, numpy, cuda or cuda:N (default: auto)")
    verify.set_defaults(run=run_verify)
    demo = commands.add_parser(
        "demo",
        help="train on the Adult data that comes along, and write a report",
        description="Train a linear model, a factorization machine and an FwFM on UCI Adult, from raw columns; print a "
        "table of test figures; write a report.",
    )
    demo.add_argument("--device", default="auto", help="auto, cpu, numpy, cuda or cuda:N (default: auto)")
    demo.add_argument("--report", metavar="FILE", default="fwfm-report.html", help="default: fwfm-report.html")
    demo.set_defaults(run=run_demo)
    info = commands.add_parser("info", help="versions, engines, devices, and what is missing for what")
    info.set_defaults(run=run_info)
    add_warmup(commands)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except BrokenPipeError:  # a reader such as head had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FwfmError, OSError) as error:
        print(f"fwfm-gpu: {error}", file=sys.stderr)
        return 2


def add_warmup(commands: Any) -> None:
    """The options of ``fwfm-gpu warmup``; one that is not given has no value."""
    warmup = commands.add_parser(
        "warmup",
        help='compile ahead what device="cpu" would compile when first called',
        description="Compile the kernels of the compiled engine, or read them where they are kept, for all "
        "combinations of the options. Several values go with commas, or with the option repeated.",
    )
    for name, kind, shown, usual in (
        ("--dtype", str, "DTYPE", "float32"),
        ("--n-factors", int, "K", "8,16; 4, 8, 16 and 32 have code of their own, any other number serves all others"),
        ("--loss", str, "LOSS", "logistic"),
        ("--optimizer", str, "RULE", "adagrad"),
    ):
        warmup.add_argument(name, action="extend", type=partial(split, kind), metavar=shown, help=f"default: {usual}")
    warmup.add_argument("--all", action="store_true", help="all that is not named (hundreds of kernels)")
    warmup.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    warmup.set_defaults(run=run_warmup)


def split(kind: Callable[[str], Any], text: str) -> list[Any]:
    """What stands between commas."""
    return [kind(part.strip()) for part in text.split(",")]


def run_verify(parsed: argparse.Namespace) -> int:
    """One line per vector, then a total."""
    backend, vectors = get_backend(parsed.device), find_vectors(parsed.vectors)
    print(f"engine: {type(backend).__name__} ({type(backend).__module__})")
    failed = 0
    for path in vectors:
        difference = verify_vector(backend, path)
        failed += difference is not None
        print(f"{path.stem:<28} {'equal' if difference is None else f'DIFFERS  {difference}'}", flush=True)
    print(f"{len(vectors) - failed} of {len(vectors)} vectors equal, bit for bit")
    return 1 if failed else 0


def run_demo(parsed: argparse.Namespace) -> int:
    """Progress, a table, and where the report is."""
    from fwfm_gpu import demo  # reads frames and draws: not for every command

    with log_lines():
        done = demo.run_demo(parsed.report, device=parsed.device, tell=partial(print, flush=True))
    print(f"\n{demo.Line.HEAD}")
    for line in done.lines:
        print(line)
    print(f"\nreport: {done.page}")
    return 0


@contextmanager
def log_lines() -> Iterator[None]:
    """Print this package's log lines, which is where progress goes off a terminal."""
    logger, handler = logging.getLogger("fwfm_gpu"), logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    former = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(former)


def run_info(parsed: argparse.Namespace) -> int:
    """What ``describe_installation`` says."""
    from fwfm_gpu.info import describe_installation

    for line in describe_installation():
        print(line)
    return 0


def run_warmup(parsed: argparse.Namespace) -> int:
    """A line per kernel, below its variant; then a total."""
    from fwfm_gpu.warmup import EVERYTHING, USUAL, Choice, Warmed, code_folder, warm

    rest = EVERYTHING if parsed.all else USUAL
    named = (parsed.dtype, parsed.n_factors, parsed.loss, parsed.optimizer)
    choice = Choice(*(tuple(given or other) for given, other in zip(named, rest.lists(), strict=True)))
    variants, folder, begun = list(choice.variants()), code_folder(), perf_counter()
    say = partial(print, flush=True, file=sys.stderr if parsed.json else sys.stdout)
    say(f"code: {folder or 'not kept, since numba finds no folder that may be written; NUMBA_CACHE_DIR names one'}")
    told: list[Warmed] = []
    for one in warm(variants):
        if not told or told[-1].variant != one.variant:
            say(one.variant)
        say(f"  {one.rows:<8}{one.kernel:<20}{one.came:<10}{one.seconds:6.2f} s")
        told.append(one)
    seconds, compiled = perf_counter() - begun, sum(one.came == "compiled" for one in told)
    say(f"{len(told)} kernels ready, {compiled} of them compiled now, in {seconds:.1f} s")
    if parsed.json:
        kernels = [one.plain() for one in told]
        print(json.dumps({"folder": folder and str(folder), "seconds": seconds, "kernels": kernels}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
