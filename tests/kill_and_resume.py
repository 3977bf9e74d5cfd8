"""Kill training again and again, and see that it ends with the bytes of a training that nobody killed.

    python tests/kill_and_resume.py --kills 10000

A process that has everything imported forks children which train with ``checkpoint=`` and ``resume=`` naming one
directory. They end by SIGKILL: first at each step of a write in turn, before and after every call that changes the
disk and with half of a file written, then at random instants. After every kill each finished checkpoint must be whole,
and none may be of an earlier batch than the one before. When a child gets to the end, the SHA-256 of all that it
reached must be that of an undisturbed training. The suite runs 200 kills (test_checkpoints_killed.py).
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # not there under PYTHONSAFEPATH

from small_models import RULES, make_rows, train

import fwfm_gpu
from fwfm_gpu import model_file

ROWS = make_rows()
SCHEDULE = [  # how a training differs from the next
    {"optimizer": rule, "checkpoint_every": every, **more}
    for (every, more), rule in itertools.product(
        [(1, {"validation_fraction": 0.2, "patience": 2}), (4, {}), (None, {})], RULES
    )
]


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    steps: int = 0  # kills at a chosen step of a write, not counted above
    torn: int = 0  # kills in the midst of a write
    early: int = 0  # kills before the first checkpoint of a training
    finished: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.steps} kills at the steps of writes, {self.kills} at random, {self.torn} in the midst of a write, "
            f"{self.early} before a first checkpoint; "
            f"{self.finished} trainings got to the end; {len(self.faults)} faults"
        )


def run(options, directory=None):
    """One training, undisturbed or with checkpoints."""
    kept = {"checkpoint": directory, "resume": directory} if directory else {}
    every = options["checkpoint_every"] if directory else None
    return train(*ROWS, **{"epochs": 3, **options, "checkpoint_every": every}, **kept)


def fork(work):
    """The number of a child process that does some work and ends with 0."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def look(directory, tally):
    """Batches done by the newest checkpoint, -1 without one; a fault for each that is not whole."""
    done = -1
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.endswith(".fwfm"):
            try:
                position = fwfm_gpu.load(os.path.join(directory, name)).trained.position
                done = position.epochs * 1000 + position.batches
            except fwfm_gpu.FwfmError as error:
                tally.faults.append(str(error))
        elif not name.endswith(".tmp"):
            tally.faults.append(f"{name} is there")
    return done


def kill_one_training(options, want, tally, kills, spread, chance):
    """One training, killed until it gets to the end or there were kills enough."""
    home = tempfile.mkdtemp()
    directory, done = os.path.join(home, "checkpoints"), -1
    try:
        while tally.kills < kills:
            child = fork(lambda: run(options, directory))
            time.sleep(chance.uniform(0, spread))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if not os.WIFSIGNALED(status):
                break
            before, done = done, look(directory, tally)
            tally.kills += 1
            tally.early += done < 0
            tally.torn += os.path.isdir(directory) and any(name.endswith(".tmp") for name in os.listdir(directory))
            if done < before:
                tally.faults.append(f"{options}: stood at {before}, then at {done}")
        else:
            return
        if os.WEXITSTATUS(status):
            tally.faults.append(f"{options}: training failed")
        elif run(options, directory).fingerprint(history=True) != want:
            tally.faults.append(f"{options}: other bytes")
        tally.finished += 1
    finally:
        shutil.rmtree(home)


def die_at(step):
    """Let this process kill itself at a step of those that change the disk, counted from 1."""
    steps = itertools.count(1)

    def tick():
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepwise(function):
        def call(*given, **named):
            tick()
            result = function(*given, **named)
            tick()
            return result

        return call

    def write_half_first(file, *given):
        whole = io.BytesIO()
        write_content(whole, *given)
        content = whole.getvalue()
        for half in (content[: len(content) // 2], content[len(content) // 2 :]):
            file.write(half)
            file.flush()
            tick()

    write_content = model_file.write_content
    model_file.write_content = write_half_first
    for name in ("makedirs", "open", "fsync", "replace", "unlink"):
        setattr(os, name, stepwise(getattr(os, name)))


def kill_at_every_step(tally):
    """A training of four batches, killed at the first step of its writes, then another at the second, and so on."""
    options = {"epochs": 2, "batch_size": 22, "checkpoint_every": 1, "device": "numpy"}
    want = run(options).fingerprint(history=True)
    for step in itertools.count(1):
        with tempfile.TemporaryDirectory() as home:
            directory = os.path.join(home, "checkpoints")
            child = fork(lambda: (die_at(step), run(options, directory)))  # noqa: B023 the child has it at once
            status = os.waitpid(child, 0)[1]
            if not os.WIFSIGNALED(status):
                return
            tally.steps += 1
            look(directory, tally)
            if run(options, directory).fingerprint(history=True) != want:
                tally.faults.append(f"killed at step {step}: other bytes")


def kill_and_resume(kills, device="numpy", seed=0):
    """Training after training until so many kills."""
    tally, chance = Tally(), random.Random(seed)
    if device == "numpy":
        kill_at_every_step(tally)
    schedule = [{**options, "device": device, "n_threads": 2} for options in SCHEDULE]
    wanted = [run(options).fingerprint(history=True) for options in schedule]
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        run(schedule[0], directory)
        spread = time.perf_counter() - began
    for options, want in itertools.cycle(zip(schedule, wanted, strict=True)):
        if tally.kills >= kills or tally.faults:
            return tally
        kill_one_training(options, want, tally, kills, spread, chance)


def main():
    """Exit 1 when something was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--device", default="numpy")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    tally = kill_and_resume(given.kills, given.device, given.seed)
    sys.stdout.write(f"{tally}; {time.perf_counter() - began:.0f} s on {given.device}\n")
    sys.stderr.writelines(f"{fault}\n" for fault in tally.faults)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
