"""libffm: a field-aware machine, trained by ``ffm-train`` on single rows; scored through its shared library.

Its makefile builds the program; ``g++ -O3 -march=native -DUSESSE -shared -fPIC ffm.cpp timer.cpp -o libffm.so`` builds
the library, which is found where the loader looks for it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.cases import L2, LEARNING_RATE
from peers_clock import latency, rate
from peers_task import SIZES, Contestant, Figures, MissingError, Task

from fwfm_gpu.io import write_libffm

EPOCHS = 9  # many: it prints tenths of a second
PREDICT = ("ffm_predict", "_ZN3ffm11ffm_predictEPNS_8ffm_nodeES1_RNS_9ffm_modelE")  # older versions, newer ones
SINGLE_ROWS = 1000
NODE = np.dtype([("f", np.int32), ("j", np.int32), ("v", np.float32)])


class Model(ctypes.Structure):
    """Its model: n features, m fields, k factors, weights (n, m, k) of float32."""

    _fields_ = (
        ("n", ctypes.c_int),
        ("m", ctypes.c_int),
        ("k", ctypes.c_int),
        ("W", ctypes.c_void_p),
        ("normalization", ctypes.c_bool),
    )


def load(task: Task) -> Contestant:
    """What trains or scores.

    Raises
    ------
    MissingError
        Neither the program nor the library is found.
    """
    return Contestant({"libffm": "unknown"}, load_training(task) if task.verb == "train" else load_scoring(task))


def load_training(task: Task) -> Callable[[], Figures]:
    """Epochs of ``ffm-train`` by its own clock, the first left out."""
    if (program := shutil.which("ffm-train")) is None:
        raise MissingError("no ffm-train on the PATH (build libffm)")
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "rows.ffm"
    write_libffm(path, *task.draw())

    def train(k: int) -> float:
        options = {"-k": k, "-t": EPOCHS, "-s": task.threads, "-r": LEARNING_RATE, "-l": L2}
        words = [str(word) for option in options.items() for word in option]
        command = [program, *words, path.name, "rows.model"]
        printed = subprocess.run(command, cwd=folder.name, capture_output=True, text=True, check=True).stdout
        times = read_times(printed)
        return (len(times) - 1) * task.rows / (times[-1] - times[0])

    return lambda: {f"FFM, k = {k}": {"steps": train(k)} for k in task.ffm_factors}


def read_times(printed: str) -> list[float]:
    """Seconds since the start, one per epoch, from the table that ``ffm-train`` prints.

    Raises
    ------
    MissingError
        There is no such table: versions before 1.20 print no times.
    """
    lines = [line.split() for line in printed.split("\n")]
    if not any(words[:1] == ["iter"] and words[-1] == "tr_time" for words in lines):
        raise MissingError("this ffm-train prints no times (build a newer libffm)")
    return [float(words[-1]) for words in lines if words and words[0].isdigit()]


def load_scoring(task: Task) -> Callable[[], Figures]:
    """``ffm_predict`` of row after row on random weights, called from Python."""
    name = ctypes.util.find_library("ffm") or "libffm.so"
    try:
        library: Any = ctypes.CDLL(name)
    except OSError as error:
        raise MissingError(f"no shared library libffm ({error})") from error
    predict = next(getattr(library, symbol) for symbol in PREDICT if hasattr(library, symbol))
    predict.restype, predict.argtypes = ctypes.c_float, (ctypes.c_void_p,) * 3
    rows, _ = task.draw()
    z = len(SIZES[task.shape])
    nodes = np.empty(rows.n_rows * z, NODE)
    nodes["f"], nodes["j"], nodes["v"] = rows.fields[rows.indices], rows.indices, 1
    starts = range(nodes.ctypes.data, nodes.ctypes.data + nodes.nbytes, z * NODE.itemsize)
    repeats = {f"FFM, k = {k}": make_scoring(task, predict, (nodes, starts), k) for k in task.ffm_factors}
    return lambda: {name: repeat() for name, repeat in repeats.items()}


def make_scoring(task: Task, predict: Any, data: tuple[Any, range], k: int) -> Callable[[], dict[str, float]]:
    """A repeat at so many factors; the rows are (nodes, address of each row)."""
    nodes, starts = data
    n, m = sum(SIZES[task.shape]), len(SIZES[task.shape])
    W = np.random.default_rng(0).random(n * m * k * 2 + 4, np.float32)  # twice as much: older versions train in it
    aligned = W.ctypes.data + -W.ctypes.data % 16
    model = Model(n, m, k, aligned, False)
    address, size = ctypes.addressof(model), m * NODE.itemsize

    def score(start: int) -> float:
        assert W is not None and nodes is not None and model is not None  # they live as long as this
        return predict(start, start + size, address)

    def score_all() -> None:
        for start in starts:
            predict(start, start + size, address)

    if task.verb == "row":
        return lambda: latency(score, starts[:SINGLE_ROWS], task.seconds)
    return lambda: {"scores": rate(score_all, task.rows, task.seconds)} if W is not None else {}
