"""What is measured: works, the rows that they are done on, and what a process is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from benchmarks.cases import CRITEO, FRAPPE, Case, Drawn, draw, make_rows

from fwfm_gpu import FieldMatrix

FACTORS, BATCH = 16, 8192
SIZES = {"criteo": CRITEO, "frappe": FRAPPE}
ROWS = {"criteo": 1 << 16, "frappe": 1 << 18}
EPOCHS = 3  # of a whole call

OURS = ("ours-cpu", "ours-numpy")
MODULES = {  # where each peer is measured
    "ours-cpu": "peers_ours",
    "ours-numpy": "peers_ours",
    "modern-fm": "peers_modern",
    "torch": "peers_torch",
    "libffm": "peers_libffm",
    "xlearn": "peers_xlearn",
    "vw": "peers_vw",
}

Figures = dict[str, dict[str, float]]  # variant -> measure -> rows/s or microseconds


class MissingError(Exception):
    """What is to be measured is not installed, or does not do this work; the text says so."""


@dataclass(frozen=True)
class Work:
    """One table: the same work by several peers, each on so many cores."""

    name: str
    verb: str  # "train", "score" or "row"
    shape: str
    threads: int
    peers: tuple[str, ...]
    alone: tuple[str, ...] = ()  # peers that are also measured on one core

    @property
    def title(self) -> str:
        """What is done, on how many cores."""
        verb = {"train": "Training", "score": "Scoring", "row": "One row at a time"}[self.verb]
        sizes = SIZES[self.shape]
        cores = "one core" if self.threads == 1 else f"{self.threads} cores"
        return f"{verb}: {self.shape}, {len(sizes)} fields, {sum(sizes):,} features, k = {FACTORS}, {cores}"


EVERYONE = tuple(MODULES)
WORKS = (
    Work("train", "train", "criteo", 1, EVERYONE),
    Work("train-2", "train", "criteo", 2, ("ours-cpu", "torch", "libffm", "xlearn"), alone=("ours-cpu",)),
    Work("score", "score", "criteo", 1, (*OURS, "modern-fm", "torch", "libffm")),
    Work("train-frappe", "train", "frappe", 1, EVERYONE),
    Work("row", "row", "criteo", 1, (*OURS, "modern-fm", "torch", "libffm")),
)


@dataclass(frozen=True)
class Task:
    """What one process measures."""

    peer: str
    verb: str
    shape: str
    threads: int
    quick: bool = False

    @property
    def seconds(self) -> float:
        """How long one repeat lasts at least; it always is whole passes."""
        return 0.0 if self.quick else 0.5

    @property
    def rows(self) -> int:
        return BATCH if self.quick else ROWS[self.shape]

    @property
    def case(self) -> Case:
        return Case(SIZES[self.shape], FACTORS, BATCH)

    @property
    def ffm_factors(self) -> tuple[int, ...]:
        """k of field-aware machines: ours, and their usual one; their models are 39 times as large."""
        return (4,) if self.quick else (FACTORS, 4)

    @property
    def drawn(self) -> Drawn:
        """The ids of the rows, and their targets: for all peers the same, and for reading only."""
        return draw_once(self.case, self.rows)

    def draw(self) -> tuple[FieldMatrix, np.ndarray]:
        """The rows, all ones, and targets, (rows,) float64 of 0 and 1."""
        return make_rows(self.case, self.drawn), self.drawn["y"]

    def draw_matrix(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """The rows as users have them: X, a SciPy matrix; y; and fields, (n,) int32."""
        rows, y = self.draw()
        return rows.to_csr(), y, rows.fields


draw_once = cache(draw)


def require(package: str) -> dict[str, str]:
    """The version of a package, by its name.

    Raises
    ------
    MissingError
        It is not installed.
    """
    try:
        return {package: version(package)}
    except PackageNotFoundError as error:
        raise MissingError(f"{package} is not installed (pip install {package})") from error


@dataclass(frozen=True)
class Contestant:
    """A peer that is warm."""

    versions: dict[str, str]
    repeat: Callable[[], Figures]
