"""``python -m tests.cuda_host.verify DIR``: conformance vectors through the CUDA engine, its kernels on this processor.

Prints what ``fwfm-gpu verify`` prints, and exits as it does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fwfm_gpu.errors import DeviceError, FwfmError
from fwfm_gpu.verify import find_vectors, verify_vector

from .device import host_backend
from .loader import compiler

__all__ = ["main"]

PROGRAM = "python -m tests.cuda_host.verify"
tell = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all vectors are equal, 1 when one differs, 2 when the request cannot be carried out."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Check the CUDA engine against vectors, without a GPU.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of *.npz vectors")
    parser.add_argument(
        "--seed", metavar="N", type=read_seed, default=0, help="0: launch order; others: random orders (default: 0)"
    )
    parsed = parser.parse_args(arguments)
    try:
        return verify(parsed.folder, parsed.seed)
    except BrokenPipeError:  # a reader such as head had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FwfmError, OSError) as error:
        tell(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def read_seed(text: str) -> int:
    """A seed of the runner."""
    seed = int(text)
    if not 0 <= seed < 2**31:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**31 - 1}, got {seed}")
    return seed


def verify(folder: Path, seed: int) -> int:
    """One line per vector, then a total."""
    vectors = find_vectors(folder)
    if compiler() is None:
        raise DeviceError("the kernels are compiled by g++; found none on the PATH. Install it.")
    backend = host_backend(seed)
    tell(f"engine: {type(backend).__name__} ({type(backend).__module__}), kernels on the host, seed {seed}")
    failed = 0
    for path in vectors:
        difference = verify_vector(backend, path)
        failed += difference is not None
        tell(f"{path.stem:<28} {'equal' if difference is None else f'DIFFERS  {difference}'}")
    tell(f"{len(vectors) - failed} of {len(vectors)} vectors equal, bit for bit")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
