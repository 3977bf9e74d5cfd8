"""What ``import fwfm_gpu`` adds to importing numpy and scipy.sparse, and what the first use of ``train`` then adds."""

from __future__ import annotations

import subprocess
import sys

REPEATS = 9
PROGRAM = """
import time, numpy, scipy.sparse
began = time.perf_counter()
import fwfm_gpu
{use}
print(time.perf_counter() - began)
"""


def fastest(use: str) -> float:
    """Seconds in the fastest of some fresh interpreters, whose files the system has cached by then."""
    command = [sys.executable, "-c", PROGRAM.format(use=use)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(REPEATS)]
    return round(min(map(float, runs)), 4)


def track_import_seconds() -> float:
    """The package alone: its public names are imported when first used."""
    return fastest("")


def track_import_and_train_seconds() -> float:
    """All that training needs."""
    return fastest("fwfm_gpu.train")


track_import_seconds.unit = "s"
track_import_and_train_seconds.unit = "s"
