"""The peak memory of ``train`` beyond rows, parameters and state, which anyone would have to keep."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.parameters import Array

from .cases import CASES, draw
from .engines import require

ROWS = 1_000_000
WARM_ROWS = 10_000
PEAK = Path("/proc/self/clear_refs")  # writing 5 makes the system forget the peak so far
FELT = 50_000_000  # bytes that are far from what a process gains by chance


class TrainingMemory:
    """One epoch of the criteo case, in a process of its own, which only reads rows that were drawn elsewhere."""

    params = (["cpu"],)
    param_names = ("backend",)
    unit = "bytes"

    def setup(self, backend: str) -> None:
        require(backend)
        forget_peak()
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "ids.npy")
        np.save(self.path, draw(CASES["criteo"], ROWS)["ids"])

    def teardown(self, backend: str) -> None:
        self.folder.cleanup()

    def track_bytes_beyond_what_is_kept(self, backend: str) -> int:
        home = Path(__file__).parents[1]
        command = [sys.executable, "-m", __name__, backend, self.path]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=search(home))
        return int(found.stdout)


def search(home: Path) -> dict[str, str]:
    """The environment, with a folder more to import from."""
    paths = filter(None, (str(home), os.environ.get("PYTHONPATH")))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def measure(backend: str, path: str) -> int:
    """Bytes. Code is loaded and compiled before, on a model too small to leave memory that could be used again."""
    ids = np.load(path)
    small = FieldMatrix.from_ids(ids[:WARM_ROWS] % 2, (2,) * ids.shape[1])
    train(backend, small, ids[:WARM_ROWS, 0] % 2)
    rows, y = FieldMatrix.from_ids(ids, CASES["criteo"].sizes), ids[:, 0] % 2
    del ids
    forget_peak()
    before = read_memory("VmRSS")
    model = train(backend, rows, y)
    return read_memory("VmHWM") - before - count_bytes(model)


def count_bytes(model: fwfm_gpu.FwFM) -> int:
    """Parameters and state."""
    assert model.optimizer_state is not None
    held = [model.parameters, *model.optimizer_state.moments.values()]
    return sum(array.nbytes for part in held for array in part.arrays().values())


def train(backend: str, rows: FieldMatrix, y: Array) -> fwfm_gpu.FwFM:
    """One epoch."""
    case = CASES["criteo"]
    options = {"n_factors": case.n_factors, "batch_size": case.batch_size, "epochs": 1}
    return fwfm_gpu.train(rows, y, device=backend, progress=False, **options)


def forget_peak() -> None:
    """Let the peak start at what is in use now.

    Raises
    ------
    NotImplementedError
        Where a system has no way to do so, or takes the request and goes on as before, as some sandboxes do.
    """
    if not PEAK.exists():
        raise NotImplementedError(f"{PEAK} is not here: Linux alone tells the peak of a part of a process")
    np.ones(FELT, np.uint8)
    PEAK.write_text("5", encoding="ascii")
    if read_memory("VmHWM") - read_memory("VmRSS") >= FELT // 2:
        raise NotImplementedError(f"{PEAK} was written to and the peak stays: this system does not forget it")


def read_memory(name: str) -> int:
    """Bytes of this process, as the system calls them: ``VmRSS`` now, ``VmHWM`` at the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    print(measure(*sys.argv[1:]))
