"""A process that measures on request, so that what hangs, crashes or spoils the device costs one case only."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .cases import Case, Effort

PACKAGE = Path(__file__).parent
ERROR_LENGTH = 300


class Worker:
    """Starts its process at the first request, and a fresh one after each request that failed."""

    command = (sys.executable, "-m", f"{PACKAGE.name}.worker")

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        """The answer within ``limit`` seconds, else ``{"error": text}``."""
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.start()
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: reading will tell
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        line = self.process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
        else:
            answer = {"error": self.last_words() if ready else f"not done in {limit:.0f} s"}
        if "error" in answer:
            self.stop()
        return answer

    def start(self) -> None:
        """A new process, in a session of its own: PyTorch starts more of them."""
        paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115, stop closes it
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=environment,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End the process and all that it started."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.stderr.close()
        self.process = None

    def last_words(self) -> str:
        """How a process that ended without an answer ended."""
        assert self.process is not None
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "")
        return f"the process ended with {self.process.wait()}: {said}"[:ERROR_LENGTH]


def request(kind: str, effort: Effort, case: Case | None = None) -> dict[str, Any]:
    """What a worker understands: a case of an engine, or ``"card"``, ``"versions"``, ``"torch_version"``."""
    return {"kind": kind, "effort": vars(effort), "case": None if case is None else vars(case)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; what it raises is the answer, too."""
    effort, case = Effort(**request["effort"]), request["case"]
    try:
        return act(request["kind"], effort, None if case is None else Case(**case))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:ERROR_LENGTH]}


def act(kind: str, effort: Effort, case: Case | None) -> dict[str, Any]:
    """A case, or a description of the device or of what is installed."""
    from . import atomics, card, ours, torch_runs

    if case is not None:
        return {"ours": ours, "atomics": atomics, "torch": torch_runs}[kind].measure(case, effort)
    describe = {
        "card": card.describe_card,
        "versions": card.describe_versions,
        "torch_version": torch_runs.describe_torch,
    }
    return describe[kind](effort.device)


def serve() -> None:
    """Answer line by line; whatever else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
