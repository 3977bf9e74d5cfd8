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
from fwfm_gpu import FieldMatrix, cli
from fwfm_gpu.cli import COMMANDS, main
from fwfm_gpu.cli_output import EXIT_CODES
from fwfm_gpu.io import write_libffm

ENDLESS = ["--epochs", "1000000", "--device", "numpy"]


def start(*arguments: str, **keywords) -> subprocess.Popen:
    """``fwfm-gpu`` in a process of its own, with the same package."""
    home = str(Path(fwfm_gpu.__file__).parents[1])
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": home}
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
        action.help for action in actions(cli.make_parser()) if action.dest != "command" and action.metavar != "COMMAND"
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

    monkeypatch.setattr(cli.cli_checks, "run_info", fail)
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


@pytest.mark.parametrize("arguments", [["info"], ["train", "--help"]])
def test_a_reader_that_had_enough_is_no_error(arguments):
    running = start(*arguments)
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(timeout=60) == 0


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
