"""modern-fm: the FwFM of a Rust package, which trains on one core and computes in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cases import L2, LEARNING_RATE
from peers_clock import latency, rate, seconds
from peers_task import BATCH, EPOCHS, FACTORS, Contestant, Figures, Task, require

BATCHES = (1024, BATCH)
DTYPES = ("float64", "float32")  # what it keeps parameters in; float32, its default, is widened in every call
SINGLE_ROWS = 100


def load(task: Task) -> Contestant:
    """The estimator, warm.

    Raises
    ------
    MissingError
        It is not installed.
    """
    versions = require("modern-fm")
    repeat = {"train": load_training, "score": load_scoring, "row": load_single_rows}[task.verb](task)
    if not task.quick:
        repeat()
    return Contestant(versions, repeat)


def make_estimator(batch: int, epochs: int, dtype: str = DTYPES[0]) -> Any:
    """An estimator of our mathematics: logistic loss, AdaGrad, the same penalties and learning rate."""
    from modern_fm import FwFMClassifier

    return FwFMClassifier(
        n_factors=FACTORS,
        optimizer="adagrad",
        learning_rate=LEARNING_RATE,
        l2_linear=L2,
        l2_factors=L2,
        max_iter=epochs,
        batch_size=batch,
        dtype=dtype,
        random_state=0,
        n_jobs=1,
    )


def load_training(task: Task) -> Callable[[], Figures]:
    """``fit``; its steps are the time of several epochs less that of one, so that data conversion is left out."""
    X, y, fields = task.draw_matrix()

    def repeat() -> Figures:
        figures = {}
        for batch in BATCHES:
            one, all_epochs = (
                seconds(lambda epochs=epochs, batch=batch: make_estimator(batch, epochs).fit(X, y, fields))
                for epochs in (1, EPOCHS)
            )
            steps = (EPOCHS - 1) * task.rows / (all_epochs - one)
            figures[f"batch {batch:,}"] = {"steps": steps, "whole call": EPOCHS * task.rows / all_epochs}
        return figures

    return repeat


def fit_models(task: Task) -> tuple[Any, dict[str, Any]]:
    """The rows as a matrix, and a model of each dtype."""
    X, y, fields = task.draw_matrix()
    return X, {f"{dtype} model": make_estimator(BATCH, 1, dtype).fit(X, y, fields) for dtype in DTYPES}


def load_scoring(task: Task) -> Callable[[], Figures]:
    """``decision_function``: there is no way to score without converting the rows."""
    X, models = fit_models(task)
    return lambda: {
        name: {"whole call": rate(lambda model=model: model.decision_function(X), task.rows, task.seconds)}
        for name, model in models.items()
    }


def load_single_rows(task: Task) -> Callable[[], Figures]:
    """``decision_function`` of matrices of one row, made beforehand."""
    X, models = fit_models(task)
    inputs = [X[i : i + 1] for i in range(SINGLE_ROWS)]
    return lambda: {name: latency(model.decision_function, inputs, task.seconds) for name, model in models.items()}
