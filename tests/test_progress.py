"""Progress: a bar, log lines, or silence."""

from __future__ import annotations

import io
import logging
import re
import sys
from importlib import util

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.errors import MissingExtraError, OptionError

X = np.random.default_rng(0).integers(0, 2, (20, 4)).astype(float)
y = np.arange(20) % 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(progress, **options):
    """Two epochs of three batches."""
    return fwfm_gpu.train(X, y, **{"batch_size": 8, "epochs": 2, "progress": progress, **options})


@pytest.fixture
def tqdm():
    return pytest.importorskip("tqdm", reason="tqdm is not installed: there is no bar")


@pytest.fixture
def without_tqdm(monkeypatch):
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "tqdm" else found(name, *rest))


@pytest.fixture
def open_terminal(monkeypatch):
    """Put a terminal in the place of standard error, from inside a test: pytest has its own while it sets one up."""

    def replace_stderr():
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace_stderr


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "fwfm_gpu")
    return lambda: [(record.name, record.levelname, record.getMessage()) for record in caplog.records]


def test_a_bar_that_is_asked_for_needs_tqdm(without_tqdm):
    with pytest.raises(MissingExtraError, match=r"needs tqdm: pip install 'fwfm-gpu\[progress\]'"):
        train(True)


def test_auto_off_a_terminal_logs_a_line_per_epoch(lines, capsys):
    train("auto", eval_set=(X, y), eval_metric=["auc", "logloss"])
    assert len(lines()) == 2
    for epoch, (name, level, text) in enumerate(lines(), 1):
        assert (name, level) == ("fwfm_gpu", "INFO")
        assert re.fullmatch(
            rf"epoch {epoch}/2  loss 0\.\d{{4}}  auc [01]\.\d{{4}}  logloss 0\.\d{{4}}  \d+\.\d s  [\d,]+ rows/s", text
        )
    assert capsys.readouterr() == ("", "")


def test_log_lines_tell_the_record(lines):
    model = train("auto")
    assert [f"loss {record.loss:.4f}" in text for record, (*_, text) in zip(model.history, lines(), strict=True)]


def test_auto_on_a_terminal_without_tqdm_logs(without_tqdm, open_terminal, lines):
    terminal = open_terminal()
    train("auto")
    assert len(lines()) == 2
    assert terminal.getvalue() == ""


def test_auto_without_any_stderr_logs(monkeypatch, lines):
    monkeypatch.setattr(sys, "stderr", None)
    train("auto")
    assert len(lines()) == 2


@pytest.mark.parametrize("progress", [False, "auto"])
def test_nothing_is_printed(progress, capsys):
    model = train(progress, eval_set=(X, y), patience=1)
    model.predict(X)
    model.partial_fit(X, y)
    model.continue_training(X, y, eval_set=(X, y), epochs=1, progress=progress)
    assert capsys.readouterr() == ("", "")


def test_false_logs_nothing(lines, open_terminal):
    terminal = open_terminal()
    train(False)
    assert lines() == []
    assert terminal.getvalue() == ""


@pytest.mark.usefixtures("tqdm")
@pytest.mark.parametrize("progress", [True, "auto"])
def test_a_bar_on_a_terminal(progress, open_terminal, lines, capsys):
    terminal = open_terminal()
    model = train(progress, eval_set=(X, y))
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown
    assert "0/6" in shown
    last = shown.split("\r")[-1]
    assert "epoch 2/2" in last
    assert "6/6" in last
    assert f"loss {model.history[-1].loss:.4f}  logloss {model.history[-1].metrics['logloss']:.4f}" in last
    assert shown.endswith("\n")
    assert lines() == []
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("tqdm")
def test_a_bar_off_a_terminal_where_it_is_asked_for(capsys):
    train(True)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.usefixtures("tqdm")
def test_a_bar_of_training_that_goes_on_counts_its_own_batches(open_terminal):
    terminal = open_terminal()
    train(False).continue_training(X, y, epochs=1, progress=True)
    last = terminal.getvalue().split("\r")[-1]
    assert "epoch 3/3" in last
    assert "| 3/3 [" in last


@pytest.mark.usefixtures("tqdm")
def test_the_bar_is_closed_after_a_failure(open_terminal):
    terminal = open_terminal()

    def fail(status):
        raise LookupError("on purpose")

    with pytest.raises(LookupError) as caught:
        train(True, callbacks=[fail])
    assert terminal.getvalue().endswith("\n"), caught  # which keeps the bar alive: left open, it would close itself


@pytest.mark.usefixtures("tqdm")
def test_progress_changes_no_bit(open_terminal):
    open_terminal()
    assert train(True).parameters.V.tobytes() == train(False).parameters.V.tobytes()


@pytest.mark.parametrize("wrong", ["bar", "", None, 1, 0, "Auto"])
def test_anything_else_is_refused(wrong):
    with pytest.raises(OptionError, match='progress must be True, False or "auto"; got'):
        train(wrong)


def test_the_logger_is_left_to_the_application():
    logger = logging.getLogger("fwfm_gpu")
    assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    assert logger.level == logging.NOTSET
    assert logger.propagate
