"""Vowpal Wabbit: hashed weights of all pairs of features, or its field-aware factors; rows are parsed beforehand."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable

from peers_clock import rate
from peers_task import Contestant, Task, require

ROWS = {"all pairs": 4096, "lrqfa, k = 16": 512}  # the least that are learned from in a row
OPTIONS = "--loss_function logistic -b 24 --quiet "


def load(task: Task) -> Contestant:
    """Two learners, warm.

    Raises
    ------
    MissingError
        It is not installed.
    """
    versions = require("vowpalwabbit")
    rows, y = task.draw()
    fields = string.ascii_letters[: rows.n_fields]
    chosen = {"all pairs": "-q ::", "lrqfa, k = 16": f"--lrqfa {fields}16"}
    ids = rows.indices.reshape(rows.n_rows, -1)
    lines = [
        " ".join(("1" if label else "-1", *(f"|{field} {i}" for field, i in zip(fields, row, strict=True))))
        for label, row in zip(y[: max(ROWS.values())], ids.tolist(), strict=False)
    ]
    learners = {name: make_learner(OPTIONS + options, lines) for name, options in chosen.items()}
    for name, learn in learners.items():
        learn(ROWS[name])
    return Contestant(
        versions,
        lambda: {
            name: {"steps": rate(lambda name=name, learn=learn: learn(ROWS[name]), ROWS[name], task.seconds)}
            for name, learn in learners.items()
        },
    )


def make_learner(options: str, lines: list[str]) -> Callable[[int], None]:
    """A function that learns from the next rows, so many of them."""
    from vowpalwabbit import Workspace

    workspace = Workspace(options)
    examples = itertools.cycle([workspace.parse(line) for line in lines])

    def learn(count: int) -> None:
        for example in itertools.islice(examples, count):
            workspace.learn(example)

    return learn
