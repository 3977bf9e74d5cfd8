"""fwfm_gpu: its steps alone, its whole calls, its scorer of single rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases import L2, LEARNING_RATE
from benchmarks.resident import Resident
from peers_clock import latency, rate, seconds
from peers_task import BATCH, EPOCHS, FACTORS, Contestant, Figures, MissingError, Task

import fwfm_gpu
from fwfm_gpu.backends import Backend, get_backend

SINGLE_ROWS = 1000


def load(task: Task) -> Contestant:
    """The engine of ``"ours-cpu"`` or ``"ours-numpy"``, warm.

    Raises
    ------
    MissingError
        No compiled engine is installed.
    """
    device = task.peer.removeprefix("ours-")
    if device == "cpu" and make_engine(task, device).name == "numpy":
        raise MissingError(
            'no compiled engine is installed: device="cpu" is the NumPy engine (pip install fwfm-gpu[cpu])'
        )
    loader = {"train": load_training, "score": load_scoring, "row": load_single_rows}[task.verb]
    repeat = loader(task, device)
    repeat()
    return Contestant({"fwfm_gpu": fwfm_gpu.__version__, "numpy": np.__version__}, repeat)


def make_engine(task: Task, device: str) -> Backend:
    """The engine, on as many threads as the task has."""
    return get_backend(device, n_threads=task.threads)


def load_training(task: Task, device: str) -> Callable[[], Figures]:
    """Steps on resident rows, from the order on the host to the loss; and ``train`` of a SciPy matrix."""
    data, resident = task.draw_matrix(), Resident.load(make_engine(task, device), task.case, task.drawn)

    def train() -> None:
        resident.advance(resident.begin(), resident.batches)

    def repeat() -> Figures:
        whole = seconds(lambda: fit(task, device, data, EPOCHS))
        return {"": {"steps": rate(train, task.rows, task.seconds), "whole call": EPOCHS * task.rows / whole}}

    return repeat


def fit(task: Task, device: str, data: tuple[object, object, object], epochs: int) -> fwfm_gpu.FwFM:
    """``train`` as a user calls it, on (X, y, fields)."""
    X, y, fields = data
    return fwfm_gpu.train(
        X,
        y,
        fields=fields,
        device=device,
        n_threads=task.threads,
        n_factors=FACTORS,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        l2_linear=L2,
        l2_factors=L2,
        progress=False,
    )


def load_scoring(task: Task, device: str) -> Callable[[], Figures]:
    """Scores of resident rows, and ``decision_function`` of a SciPy matrix."""
    X, y, fields = task.draw_matrix()
    trained, backend = fit(task, device, (X, y, fields), 1), make_engine(task, device)
    data, model = backend.load_data(task.draw()[0]), backend.load_model(trained.parameters)

    def repeat() -> Figures:
        resident = rate(lambda: backend.score(model, data), task.rows, task.seconds)
        return {"": {"scores": resident, "whole call": rate(lambda: trained.decision_function(X), task.rows, 0.0)}}

    return repeat


def load_single_rows(task: Task, device: str) -> Callable[[], Figures]:
    """Scores of single rows, each given as feature numbers and values.

    Raises
    ------
    MissingError
        This version has no scorer.
    """
    X, y, fields = task.draw_matrix()
    model = fit(task, device, (X, y, fields), 1)
    if not hasattr(model, "scorer"):
        raise MissingError("this version has no model.scorer()")
    scorer = model.scorer()
    cuts = X.indptr[1 : SINGLE_ROWS + 1]  # the last part is all other rows
    inputs = list(zip(np.split(X.indices, cuts), np.split(X.data, cuts), strict=True))[:SINGLE_ROWS]
    return lambda: {"": latency(lambda row: scorer.score(*row), inputs, task.seconds)}
