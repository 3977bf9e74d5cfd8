"""Training that is killed by SIGKILL, at each step of a write and at random, ends with the bytes of one that is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "kill_and_resume.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is neither fork nor SIGKILL there")


def kill(kills, device):
    """What the program counted; it forks, so it is a process of its own, which has one thread."""
    command = [sys.executable, str(PROGRAM), "--kills", str(kills), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [int(number) for number in re.findall(r"(\d+) (?:kills|at random|in the midst|trainings)", done.stdout)]


def test_two_hundred_kills():
    steps, kills, torn, finished = kill(200, "numpy")
    assert kills == 200
    assert steps > 40  # a write has a dozen
    assert torn > 10
    assert finished > 10


def test_the_compiled_engine_is_killed_too():
    pytest.importorskip("numba", reason="numba is missing: there is no compiled engine")
    assert kill(10, "cpu")[1] == 10
