"""Logs of training, read back."""

from __future__ import annotations

import csv
import os
import re
import sys

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import Callback
from fwfm_gpu.errors import InputTypeError, MissingExtraError

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when MLflow is first imported

X = np.random.default_rng(0).integers(0, 2, (40, 4)).astype(float)
y = np.arange(40) % 2


def train(*callbacks, **options):
    given = {"epochs": 3, "progress": False, "device": "numpy", "eval_set": {"valid": (X, y)}, **options}
    return fwfm_gpu.train(X, y, **{"eval_metric": ["auc", "ndcg@10"], **given}, callbacks=callbacks)


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def lines_for(history, names):
    """What the file should hold, each number in full."""
    header = ["epoch", "loss", *names, "seconds", "rows_per_second"]
    numbers = (
        [record.epoch, record.loss, *(record.metrics.get(name, "") for name in names), record.seconds]
        for record in history
    )
    speeds = (record.rows_per_second for record in history)
    return [header, *([*map(str, line), str(speed)] for line, speed in zip(numbers, speeds, strict=True))]


class Look(Callback):
    """Reads the file after each epoch."""

    def __init__(self, path):
        self.path, self.seen = path, []

    def on_epoch(self, status):
        self.seen.append(len(lines_of(self.path)))


class Fail(Callback):
    def on_epoch(self, status):
        raise LookupError("on purpose")


def test_a_csv_file_holds_each_epoch_as_soon_as_it_ends(tmp_path):
    path = tmp_path / "log.csv"
    look = Look(path)
    model = train(fwfm_gpu.CSVLog(path), look)
    assert lines_of(path) == lines_for(model.history, ["valid/auc", "valid/ndcg@10"])
    assert look.seen == [2, 3, 4]


def test_a_csv_file_goes_on_with_training(tmp_path):
    path = tmp_path / "log.csv"
    log = fwfm_gpu.CSVLog(str(path))
    model = train(log)
    before = lines_of(path)
    model.continue_training(X, y, epochs=2, eval_set=(X, y), eval_metric="logloss", callbacks=[log], progress=False)
    assert lines_of(path) == lines_for(model.history, ["valid/auc", "valid/ndcg@10", "logloss"])
    assert [line[:4] for line in lines_of(path)[:4]] == [line[:4] for line in before]
    model.continue_training(X, y, epochs=0, callbacks=[log], progress=False)
    assert len(lines_of(path)) == 6


def test_a_csv_file_of_another_run_is_written_over(tmp_path):
    path = tmp_path / "log.csv"
    train(fwfm_gpu.CSVLog(path))
    model = train(fwfm_gpu.CSVLog(path), epochs=1, eval_set=None, eval_metric="auto")
    assert lines_of(path) == lines_for(model.history, [])


def test_a_csv_file_keeps_what_was_before_a_failure(tmp_path):
    path = tmp_path / "log.csv"
    log = fwfm_gpu.CSVLog(path)
    with pytest.raises(LookupError):
        train(log, Fail())
    assert len(lines_of(path)) == 2
    assert log.file is None


def test_a_csv_file_that_cannot_be_is_refused_before_training(tmp_path):
    look = Look(tmp_path)
    with pytest.raises(FileNotFoundError):
        train(fwfm_gpu.CSVLog(tmp_path / "missing" / "log.csv"), look)
    assert look.seen == []
    with pytest.raises(InputTypeError, match="path must be a str or path-like: got int"):
        fwfm_gpu.CSVLog(3)


def test_tensorboard_shows_each_series(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is missing: nothing writes its files")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = fwfm_gpu.TensorBoardLog(tmp_path / "run")
    model = train(log)
    model.continue_training(X, y, epochs=1, callbacks=[log], progress=False)
    found = EventAccumulator(os.fspath(tmp_path / "run")).Reload()
    assert set(found.Tags()["tensors"]) == {"loss", "valid/auc", "valid/ndcg@10", "rows_per_second"}
    for name in ("valid/auc", "valid/ndcg@10"):
        events = [(event.step, event.tensor_proto.float_val[0]) for event in found.Tensors(name)]
        assert events == [(record.epoch, np.float32(record.metrics[name])) for record in model.history[:3]]
    losses = [(event.step, event.tensor_proto.float_val[0]) for event in found.Tensors("loss")]
    assert losses == [(record.epoch, np.float32(record.loss)) for record in model.history]
    with pytest.raises(InputTypeError, match="folder must be a str or path-like"):
        fwfm_gpu.TensorBoardLog(None)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow with a store of its own below tmp_path."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is missing: nothing keeps its runs")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()


def series_of(mlflow, run, name):
    found = mlflow.MlflowClient().get_metric_history(run, name)
    return sorted((metric.step, metric.value) for metric in found)


def only_run(mlflow):
    [run] = mlflow.search_runs(output_format="list")
    return run


def test_mlflow_keeps_each_series_in_a_run_of_its_own(mlflow):
    model = train(fwfm_gpu.MLflowLog({"n_factors": 8, "optimizer": "adagrad"}))
    run = only_run(mlflow)
    assert (run.info.status, mlflow.active_run()) == ("FINISHED", None)
    assert run.data.params == {"n_factors": "8", "optimizer": "adagrad"}
    assert set(run.data.metrics) == {"loss", "valid/auc", "valid/ndcg_10", "rows_per_second"}
    for name, series in (("valid/auc", "valid/auc"), ("valid/ndcg@10", "valid/ndcg_10")):
        want = [(record.epoch, record.metrics[name]) for record in model.history]
        assert series_of(mlflow, run.info.run_id, series) == want


def test_mlflow_goes_on_in_the_run_that_is_active(mlflow):
    with mlflow.start_run() as run:
        log = fwfm_gpu.MLflowLog()
        model = train(log)
        model.continue_training(X, y, epochs=1, callbacks=[log], progress=False)
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert series_of(mlflow, run.info.run_id, "loss") == [(record.epoch, record.loss) for record in model.history]
    assert only_run(mlflow).info.status == "FINISHED"


def test_mlflow_knows_of_a_failure(mlflow):
    with pytest.raises(LookupError):
        train(fwfm_gpu.MLflowLog(), Fail())
    run = only_run(mlflow)
    assert (run.info.status, mlflow.active_run()) == ("FAILED", None)
    try:
        raise LookupError("handled elsewhere")
    except LookupError:
        train(fwfm_gpu.MLflowLog(), epochs=1)
    statuses = [run.info.status for run in mlflow.search_runs(output_format="list")]
    assert sorted(statuses) == ["FAILED", "FINISHED"]
    with pytest.raises(InputTypeError, match="params must be a mapping"):
        fwfm_gpu.MLflowLog([3])


@pytest.mark.parametrize("door, package", [("TensorBoardLog", "tensorboard.summary"), ("MLflowLog", "mlflow")])
def test_what_is_not_installed_is_asked_for(door, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'fwfm-gpu[logs]'")):
        getattr(fwfm_gpu, door)(tmp_path)


def test_logs_change_no_bit(tmp_path):
    logged, plain = train(fwfm_gpu.CSVLog(tmp_path / "log.csv")), train()
    for one, other in zip(*(model.parameters.arrays().values() for model in (logged, plain)), strict=True):
        assert one.tobytes() == other.tobytes()
