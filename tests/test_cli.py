"""The door of the command line: help, exit codes, signals, completion."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldMatrix, cli_commands, cli_data, epochs
from fwfm_gpu.backends import get_backend
from fwfm_gpu.cli import main
from fwfm_gpu.cli_commands import COMMANDS
from fwfm_gpu.cli_output import EXIT_CODES
from fwfm_gpu.interruption import Interruption, terminable
from fwfm_gpu.io import read_libffm, write_libffm

ENDLESS = ["--epochs", "50000", "--device", "numpy"]  # far more than run; each has its learning rate worked out first


def start(*arguments: str, before: Path | None = None, **keywords) -> subprocess.Popen:
    """``fwfm-gpu`` in a process of its own, with the same package."""
    home = str(Path(fwfm_gpu.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": home if before is None else f"{before}{os.pathsep}{home}",
    }
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", "fwfm_gpu.cli", *arguments], env=environment, **{**streams, **keywords}
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Some rows in a libffm file."""
    path, rng = tmp_path_factory.mktemp("rows") / "rows.ffm", np.random.default_rng(0)
    write_libffm(path, FieldMatrix.from_ids(rng.integers(0, 9, (500, 4)), [9] * 4), rng.integers(0, 2, 500))
    return str(path)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"] if command is None else [command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    if command is None:
        assert EXIT_CODES in text
        assert all(f"    {name} " in text for name in COMMANDS)
    else:
        assert f"usage: fwfm-gpu {command}" in text
        examples = re.findall(r"^  (fwfm-gpu .*)", text, re.MULTILINE)
        assert not examples or examples[0].startswith(f"fwfm-gpu {command} ")


def test_no_help_is_empty():
    def actions(parser):
        for action in parser._actions:
            yield action
            for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
                yield from actions(inner)

    assert all(
        action.help
        for action in actions(cli_commands.make_parser())
        if action.dest != "command" and action.metavar != "COMMAND"
    )


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"fwfm-gpu {fwfm_gpu.__version__}\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (fwfm_gpu.errors.InputError("no rows."), 2, "fwfm-gpu: no rows.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "fwfm-gpu: a.csv: No such file or directory\n"),
        (MemoryError(), 2, "fwfm-gpu: out of memory\n"),
        (KeyboardInterrupt(), 130, "fwfm-gpu: stopped\n"),
        (KeyboardInterrupt("SIGTERM"), 143, "fwfm-gpu: stopped\n"),
        (ZeroDivisionError("oh"), 70, "ZeroDivisionError: oh\nfwfm-gpu: this is a fault in fwfm-gpu"),
    ],
)
def test_every_end_has_its_exit_code(monkeypatch, capsys, error, code, said):
    def fail(parsed):
        raise error

    monkeypatch.setattr(cli_commands.cli_checks, "run_info", fail)
    assert main(["info"]) == code
    assert said in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "code", "cause"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_a_signal_saves_what_was_trained(rows, tmp_path, number, code, cause):
    path = tmp_path / "model.fwfm"
    running = start("train", rows, "--out", str(path), *ENDLESS)
    for line in running.stderr:  # goes on only once it trains
        if "epoch 2/" in line:
            break
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert f"fwfm-gpu: {cause}: training stopped" in err
    assert f"model    {path}" in out
    model = fwfm_gpu.load(path, device="numpy")
    assert len(model.history) >= 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_no_batch_is_begun_after_the_signal(rows, path, monkeypatch):
    engine, queued = type(get_backend("numpy")), []
    advance = engine.advance

    def signalled(self, run, batches):
        queued.append(batches)
        if len(queued) == 5:
            signal.raise_signal(signal.SIGTERM)
        advance(self, run, batches)

    monkeypatch.setattr(engine, "advance", signalled)
    monkeypatch.setattr(epochs, "PROMPT", 1e9)  # twice as many each time, however long they take
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert (
            main(["train", rows, "--out", str(path), "--batch-size", "10", "--epochs", "2", "--device", "numpy"]) == 143
        )
    finally:
        signal.signal(signal.SIGTERM, former)
    assert queued == [1, 2, 4, 8, 16]
    position = fwfm_gpu.load(path, device="numpy").trained.position
    assert (position.epochs, position.batches) == (0, sum(queued))


def test_a_signal_while_nothing_trains(tmp_path):
    folder = tmp_path / "fifo"
    os.mkfifo(folder)  # reading waits for a writer
    running = start("train", str(folder), "--format", "libffm", "--out", str(tmp_path / "m"), *ENDLESS)
    with open(folder, "wb") as writer:  # it opened the other end
        writer.write(b"1 0:0:1\n")
        writer.flush()
        running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (143, "fwfm-gpu: stopped\n")
    assert not (tmp_path / "m").exists()


STOPS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("becomes", [None, AttributeError("partially initialized module"), ImportError("no numpy")])
def test_a_signal_that_a_reader_swallows_stops_all_the_same(rows, path, monkeypatch, capsys, number, code, becomes):
    def read(*given):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        if becomes is not None:
            raise becomes
        return read_libffm(given[0])

    monkeypatch.setattr(cli_data, "read_row_file", read)
    before = [signal.getsignal(each) for each, _ in STOPS]
    assert main(["train", rows, "--out", str(path), *ENDLESS]) == code
    assert capsys.readouterr().err == "fwfm-gpu: stopped\n"
    assert not path.exists()
    assert [signal.getsignal(each) for each, _ in STOPS] == before


def test_a_swallowed_signal_of_a_former_call_is_forgotten(monkeypatch, capsys):
    def swallow(parsed):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(cli_commands.cli_checks, "run_info", swallow)
        assert main(["info"]) == 130
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "fwfm-gpu: stopped\n"


def test_nothing_is_trained_after_a_swallowed_signal():
    with terminable(remember=True):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"), Interruption():
            raise AssertionError("training began")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_while_the_commands_are_imported(tmp_path):
    (tmp_path / "numpy.py").write_text("import os, signal\nexec('os.kill(os.getpid(), signal.SIGINT)')\n", "utf8")
    running = start("info", before=tmp_path)
    assert running.communicate(timeout=60) == ("", "fwfm-gpu: stopped\n")
    assert running.returncode == 130


@pytest.mark.parametrize("arguments", [["info"], ["train", "--help"]])
def test_a_reader_that_had_enough_is_no_error(arguments):
    running = start(*arguments)
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(timeout=60) == 0


@pytest.mark.parametrize("command", ["train", "convert", "tune", "predict", "encode"])
def test_what_is_read_is_never_written_over(rows, tmp_path, command, capsys):
    copy, other = tmp_path / "rows.ffm", tmp_path / "same.ffm"
    copy.write_bytes(Path(rows).read_bytes())
    other.symlink_to(copy)
    model = ["no.fwfm"] if command == "predict" else []
    assert main([command, *model, str(copy), "--out", str(other)]) == 2
    assert "that is the file that is read" in capsys.readouterr().err
    assert copy.read_bytes() == Path(rows).read_bytes()


def test_a_model_is_not_written_over_by_its_predictions(rows, path, capsys):
    path.write_bytes(b"a model")
    assert main(["predict", str(path), rows, "--out", str(path)]) == 2
    assert path.read_bytes() == b"a model"


@pytest.mark.parametrize("arguments", [["--vers"], ["train", "a.csv", "--out", "m", "--epoch", "3"]])
def test_options_are_not_abbreviated(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_lists_of_columns_add_up():
    def parse(line):
        return cli_commands.make_parser().parse_args(line.split())

    assert parse("train a --out m --drop a --drop b --columns c --columns d,e").drop == ["a", "b"]
    assert parse("predict m a --keep a --keep b,c").keep == ["a", "b", "c"]
    assert parse("tune a --metric auc --metric ece").metric == ["auc", "ece"]
    assert parse("tune a").metric == "auto"


def test_a_wrong_command_line_is_told_shortly(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "a.csv"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "usage: fwfm-gpu train DATA --label COLUMN --out MODEL [options]\n"
        "fwfm-gpu train: error: the following arguments are required: --out\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell, capsys):
    pytest.importorskip("shtab", reason="shells are completed by shtab: fwfm-gpu[completion]")
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", shell])
    assert stopped.value.code == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("fwfm-gpu", "train", "learning-rate", "predict"))


def test_completion_without_shtab(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", "bash"])
    assert stopped.value.code == 2
    assert "--print-completion needs shtab: pip install 'fwfm-gpu[completion]'" in capsys.readouterr().err
