"""xLearn: a field-aware machine, which has a vector per feature and field, trained by single rows from a text file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import L2, LEARNING_RATE
from peers_task import Contestant, Task, require

from fwfm_gpu.io import write_libffm

EPOCHS = 5
FIT = """
import json, sys, xlearn
model = xlearn.create_ffm()
model.setTrain("rows.ffm")
model.disableNorm()
model.fit(json.loads(sys.argv[1]), "rows.model")
"""
EPOCH = re.compile(r"%\S*\s+\]\S*\s+\d+\s+\S+\s+(\d+\.\d\d)$", re.MULTILINE)  # progress, number, loss, seconds


def load(task: Task) -> Contestant:
    """Its rows in a file; steps are epochs by its own clock, the first left out.

    Raises
    ------
    MissingError
        It is not installed.
    """
    versions = require("xlearn")
    folder = tempfile.TemporaryDirectory()
    write_libffm(Path(folder.name) / "rows.ffm", *task.draw())

    def train(k: int) -> float:
        times = read_times(fit(folder.name, k, task.threads))[1:]
        return len(times) * task.rows / max(sum(times), 0.01)

    return Contestant(versions, lambda: {f"FFM, k = {k}": {"steps": train(k)} for k in task.ffm_factors})


def fit(folder: str, k: int, threads: int) -> str:
    """What a fit prints: through a process, for it is printed behind Python's back."""
    options = {"task": "binary", "opt": "adagrad", "lr": LEARNING_RATE, "lambda": L2, "k": k, "epoch": EPOCHS}
    command = [sys.executable, "-c", FIT, json.dumps({**options, "nthread": threads, "log": "./log"})]
    environment = {"USER": "nobody", **os.environ}  # it ends its process where there is none
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def read_times(printed: str) -> list[float]:
    """Seconds of each epoch, to a hundredth."""
    return [float(found) for found in EPOCH.findall(printed)]
