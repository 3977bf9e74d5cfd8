"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except FwfmError as error:
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


if __name__ == "__main__":
    sys.exit(main())
