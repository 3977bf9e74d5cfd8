"""Commands about the package itself: ``verify``, ``warmup``, ``info``, ``demo``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Any

from fwfm_gpu.backends import get_backend
from fwfm_gpu.cli_flags import path_argument
from fwfm_gpu.cli_output import DONE, FAILED, add_json, log_lines, print_json, say
from fwfm_gpu.verify import find_vectors, verify_vector

__all__ = ["add_demo", "add_info", "add_verify", "add_warmup"]

DEVICE = "auto, cpu, numpy, cuda or cuda:N (default: auto)"


def add_verify(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu verify``."""
    path_argument(parser, "--vectors", metavar="DIR", help="folder of *.npz vectors (default: those in the package)")
    parser.add_argument("--device", default="auto", help=DEVICE)
    add_json(parser)
    parser.set_defaults(run=run_verify)


def run_verify(parsed: Namespace) -> int:
    """One line per vector, then a total."""
    backend, vectors = get_backend(parsed.device), find_vectors(parsed.vectors)
    engine = f"{type(backend).__name__} ({type(backend).__module__})"
    tell = (lambda line: None) if parsed.json else say
    tell(f"engine: {engine}")
    differences = {}
    for path in vectors:
        difference = verify_vector(backend, path)
        differences[path.stem] = None if difference is None else str(difference)
        tell(f"{path.stem:<28} {'equal' if difference is None else f'DIFFERS  {difference}'}")
    failed = sum(difference is not None for difference in differences.values())
    tell(f"{len(vectors) - failed} of {len(vectors)} vectors equal, bit for bit")
    if parsed.json:
        print_json({"engine": engine, "vectors": len(vectors), "failed": failed, "differences": differences})
    return FAILED if failed else DONE


def add_demo(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu demo``."""
    parser.add_argument("--device", default="auto", help=DEVICE)
    path_argument(parser, "--report", metavar="FILE", default="fwfm-report.html", help="default: fwfm-report.html")
    add_json(parser)
    parser.set_defaults(run=run_demo)


def run_demo(parsed: Namespace) -> int:
    """Progress, a table, and where the report is."""
    from fwfm_gpu import demo  # reads frames and draws: not for every command

    to = sys.stderr if parsed.json else sys.stdout
    with log_lines(to):
        done = demo.run_demo(parsed.report, device=parsed.device, tell=partial(say, to=to))
    if parsed.json:
        print_json({"lines": [asdict(line) for line in done.lines], "report": str(done.page)})
        return DONE
    say(f"\n{demo.Line.HEAD}")
    for line in done.lines:
        say(str(line))
    say(f"\nreport: {done.page}")
    return DONE


def add_info(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu info``."""
    add_json(parser, "print the lines as one JSON object, by section")
    parser.set_defaults(run=run_info)


def run_info(parsed: Namespace) -> int:
    """What ``describe_installation`` says."""
    from fwfm_gpu.info import describe_installation

    lines = list(describe_installation())
    if parsed.json:
        print_json(sections(lines))
        return DONE
    for line in lines:
        say(line)
    return DONE


def sections(lines: list[str]) -> dict[str, Any]:
    """``name   text`` as pairs; indented lines below their heading, as pairs where they are."""
    found: dict[str, Any] = {}
    below: dict[str, list[str]] = {}
    name = ""
    for line in filter(None, lines):
        if line.startswith(" "):
            below[name].append(line.strip())
            continue
        name, _, text = line.partition("  ")
        if not text and name.split()[0] in ("Python", "NumPy", "processor"):
            name, _, text = name.partition(" ")
        found[name], below[name] = text.strip(), []
    for name, inner in below.items():
        if inner and all("  " in line for line in inner):
            found[name] = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in inner}
        elif inner:
            found[name] = inner
    return found


def add_warmup(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu warmup``; one that is not given has no value."""
    for name, kind, shown, usual in (
        ("--dtype", str, "DTYPE", "float32"),
        ("--n-factors", int, "K", "8,16; 4, 8, 16 and 32 have code of their own, any other number serves all others"),
        ("--loss", str, "LOSS", "logistic"),
        ("--optimizer", str, "RULE", "adagrad"),
    ):
        parser.add_argument(name, action="extend", type=partial(split, kind), metavar=shown, help=f"default: {usual}")
    parser.add_argument("--all", action="store_true", help="all that is not named (hundreds of kernels)")
    add_json(parser)
    parser.set_defaults(run=run_warmup)


def split(kind: Callable[[str], Any], text: str) -> list[Any]:
    """What stands between commas."""
    return [kind(part.strip()) for part in text.split(",")]


def run_warmup(parsed: Namespace) -> int:
    """A line per kernel, below its variant; then a total."""
    from fwfm_gpu.warmup import EVERYTHING, USUAL, Choice, Warmed, code_folder, warm

    rest = EVERYTHING if parsed.all else USUAL
    named = (parsed.dtype, parsed.n_factors, parsed.loss, parsed.optimizer)
    choice = Choice(*(tuple(given or other) for given, other in zip(named, rest.lists(), strict=True)))
    variants, folder, begun = list(choice.variants()), code_folder(), perf_counter()
    tell = partial(say, to=sys.stderr if parsed.json else sys.stdout)
    tell(f"code: {folder or 'not kept, since numba finds no folder that may be written; NUMBA_CACHE_DIR names one'}")
    told: list[Warmed] = []
    for one in warm(variants):
        if not told or told[-1].variant != one.variant:
            tell(str(one.variant))
        tell(f"  {one.rows:<8}{one.kernel:<20}{one.came:<10}{one.seconds:6.2f} s")
        told.append(one)
    seconds, compiled = perf_counter() - begun, sum(one.came == "compiled" for one in told)
    tell(f"{len(told)} kernels ready, {compiled} of them compiled now, in {seconds:.1f} s")
    if parsed.json:
        kernels = [one.plain() for one in told]
        print_json({"folder": folder and str(folder), "seconds": seconds, "kernels": kernels})
    return DONE
