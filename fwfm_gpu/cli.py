"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

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
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except BrokenPipeError:  # a reader such as head had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FwfmError, OSError) as error:
        print(f"fwfm-gpu: {error}", file=sys.stderr)
        return 2


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


if __name__ == "__main__":
    sys.exit(main())
