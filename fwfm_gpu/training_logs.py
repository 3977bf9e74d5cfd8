"""Logs of training: what each epoch measured, in a file or for a viewer."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, TextIO

from fwfm_gpu.callbacks import Callback, Status
from fwfm_gpu.errors import InputTypeError, MissingExtraError
from fwfm_gpu.history import EpochRecord

__all__ = ["CSVLog", "MLflowLog", "TensorBoardLog"]


class CSVLog(Callback):
    """One line per epoch in a CSV file: epoch, loss, each series of metrics, seconds, rows_per_second.

    Every line is on its way to the disk when its epoch ends. The file holds the epochs of the model's history, those of
    before included where training goes on; a former file of that name is written over.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    OSError
        The file cannot be written; raised before the first batch.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        if not isinstance(path, str | PathLike):
            raise InputTypeError(f"path must be a str or path-like: got {type(path).__name__}.")
        self.path = fspath(path)
        self.file: TextIO | None = None

    def on_begin(self, status: Status) -> None:
        self._begin_anew(status)

    def on_epoch(self, status: Status) -> None:
        if self.file is None or columns_of(status) != self.columns:
            self._begin_anew(status)  # a metric that was not known before
        else:
            self._write(status.history[-1])

    def on_end(self, status: Status) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def _begin_anew(self, status: Status) -> None:
        """The header and all epochs so far."""
        self.on_end(status)
        self.columns = columns_of(status)
        self.file = open(self.path, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed at the end
        self._write_line("epoch", "loss", *self.columns, "seconds", "rows_per_second")
        for record in status.history:
            self._write(record)

    def _write(self, record: EpochRecord) -> None:
        metrics = [record.metrics.get(name, "") for name in self.columns]
        self._write_line(record.epoch, record.loss, *metrics, record.seconds, record.rows_per_second)

    def _write_line(self, *cells: object) -> None:
        assert self.file is not None
        csv.writer(self.file, lineterminator="\n").writerow(cells)
        self.file.flush()


def columns_of(status: Status) -> list[str]:
    """The series of metrics of all epochs, in order of appearance."""
    return list(dict.fromkeys(name for record in status.history for name in record.metrics))


def numbers_of(record: EpochRecord) -> dict[str, float]:
    """What an epoch measured, by name."""
    return {"loss": record.loss, **record.metrics, "rows_per_second": record.rows_per_second}


class TensorBoardLog(Callback):
    """Scalars for TensorBoard, one per epoch and series; series of several eval sets are grouped by set.

    Parameters
    ----------
    folder : str or path-like
        Made where it is missing. ``tensorboard --logdir`` shows it, and beside it the folders of other runs.

    Raises
    ------
    MissingExtraError
        tensorboard is not installed: the extra ``logs``. TensorFlow is not needed.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise MissingExtraError("TensorBoardLog needs tensorboard: pip install 'fwfm-gpu[logs]'.") from error
        if not isinstance(folder, str | PathLike):
            raise InputTypeError(f"folder must be a str or path-like: got {type(folder).__name__}.")
        self.folder, self.make_writer = fspath(folder), Writer
        self.writer: Any = None

    def on_begin(self, status: Status) -> None:
        self.writer = self.make_writer(self.folder)

    def on_epoch(self, status: Status) -> None:
        record = status.history[-1]
        for name, value in numbers_of(record).items():
            self.writer.add_scalar(name, value, step=record.epoch)
        self.writer.flush()

    def on_end(self, status: Status) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class MLflowLog(Callback):
    """Metrics of each epoch in the active MLflow run, or in one of its own that ends with training.

    Where runs are kept is MLflow's to say: ``mlflow.set_tracking_uri``, ``mlflow.set_experiment``. What MLflow does not
    allow in the name of a metric becomes an underscore: ``ndcg@10`` is ``ndcg_10``.

    Parameters
    ----------
    params : mapping of str to anything, optional
        Logged when training begins: the options that were passed to ``train``, say.

    Raises
    ------
    MissingExtraError
        MLflow is not installed: the extra ``logs``.
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise MissingExtraError("MLflowLog needs MLflow: pip install 'fwfm-gpu[logs]'.") from error
        if params is not None and not isinstance(params, Mapping):
            raise InputTypeError(f"params must be a mapping of names to values: got {type(params).__name__}.")
        self.mlflow, self.params = mlflow, dict(params or {})
        self.own_run = False

    def on_begin(self, status: Status) -> None:
        self.outer_error = sys.exc_info()[1]
        self.own_run = self.mlflow.active_run() is None
        if self.own_run:
            self.mlflow.start_run()
        if self.params:
            self.mlflow.log_params(self.params)

    def on_epoch(self, status: Status) -> None:
        record = status.history[-1]
        allowed = {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in numbers_of(record).items()}
        self.mlflow.log_metrics(allowed, step=record.epoch)

    def on_end(self, status: Status) -> None:
        if self.own_run:
            error = sys.exc_info()[1]  # the end comes also after a failure
            self.mlflow.end_run("FINISHED" if error is self.outer_error else "FAILED")
            self.own_run = False
