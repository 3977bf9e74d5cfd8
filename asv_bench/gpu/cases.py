"""What is measured, in the order of its importance, and the time below which no card can go."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.optimizers import RULES

ZIPF = 1.1  # exponent: ids are as uneven as in logs of clicks
CAP = 200_000  # ids of one field; what is rarer shares them, as hashing does

CRITEO = (  # thirteen binned numbers, then the numbers of categories in the 26 columns of the Kaggle set
    *((64,) * 13),
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
FRAPPE = (957, 4082, 7, 7, 2, 3, 2, 9, 80, 233)


@dataclass(frozen=True)
class Shape:
    """Rows of one feature in each field, its value 1."""

    sizes: tuple[int, ...]  # features of each field
    k: int


SHAPES = {
    "criteo": Shape(tuple(min(size, CAP) for size in CRITEO), 16),
    "frappe": Shape(FRAPPE, 10),
    "tiny": Shape((50, 20, 7, 3, 2), 4),
}
BATCHES = (65536, 16384, 4096)
OPTIMIZERS = ("adagrad", "adam")
AGAINST_ATOMICS = (65536, 4096)  # batches at which ordered sums are compared with atomics
STRONGEST = ("gemm", "bmm")  # forms of PyTorch that are measured beside ours
FORMS = (*STRONGEST, "triu", "fuxi", "rixwew", "loop")
MODES = ("compile_graph", "graph", "compile", "eager")


@dataclass(frozen=True)
class Case:
    """One thing to measure, training and scoring: our engine, or a form of PyTorch in one of its modes.

    Training alone is measured of our engine with atomics.
    """

    engine: str  # "ours", "atomics", "torch"
    shape: str
    batch: int
    optimizer: str
    form: str = ""
    mode: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.engine, self.form, self.mode, self.shape, str(self.batch), self.optimizer)))


@dataclass(frozen=True)
class Effort:
    """Where a case runs, and how long."""

    device: str = "cuda"  # or "numpy": PyTorch then runs on the processor
    rows: int = 1 << 22  # resident for our engine
    seconds: float = 0.3  # of one repeat, at least
    repeats: int = 5


def check_cases(shapes: Sequence[str], batches: Sequence[int]) -> list[Case]:
    """The cases of ``make gpu-check``: when time runs out, what is missing is the end of this list."""
    largest, smaller = max(batches), sorted(set(batches) - {max(batches)}, reverse=True)
    first, *others = itertools.product(OPTIMIZERS, shapes)
    ours = [Case("ours", shape, largest, optimizer) for optimizer in OPTIMIZERS for shape in shapes]
    ours_smaller = [
        Case("ours", shape, batch, optimizer)
        for optimizer, batch, shape in itertools.product(OPTIMIZERS, smaller, shapes)
    ]
    beside = [torch_cases(shape, largest, optimizer) for optimizer, shape in (first, *others)]
    kept = len(shapes)  # AdaGrad at the largest batch comes first
    return [*ours[:kept], *beside[0], *ours[kept:], *ours_smaller, *itertools.chain(*beside[1:])]


def beside_atomics(cases: Sequence[Case]) -> list[Case]:
    """Right after each of our cases at the batches that matter, the same with atomics."""
    return [
        beside
        for case in cases
        for beside in (case, replace(case, engine="atomics"))
        if beside is case or (case.engine == "ours" and case.batch in AGAINST_ATOMICS)
    ]


def torch_cases(shape: str, batch: int, optimizer: str) -> list[Case]:
    """PyTorch's strongest forms in every mode."""
    return [Case("torch", shape, batch, optimizer, form, mode) for form, mode in itertools.product(STRONGEST, MODES)]


def peer_cases(shape: str, batch: int) -> list[Case]:
    """The cases of ``make gpu-peers``: every form, with dense and with sparse gradients.

    Left out is what cannot be: sparse gradients are sorted and counted, and a masked selection is sized, on the host,
    so neither can be captured; a sum of pairs one by one is some thousand operations, too many to compile.
    """
    optimizers = (*OPTIMIZERS, *(f"{optimizer}_sparse" for optimizer in OPTIMIZERS))
    cases = [Case("torch", shape, batch, *rest) for rest in itertools.product(optimizers, FORMS, MODES)]
    return [case for case in cases if case.mode == "eager" or not refuses(case)]


def refuses(case: Case) -> bool:
    """Whether a form runs eagerly alone."""
    sized_on_host = case.form == "fuxi" and "graph" in case.mode
    return sized_on_host or case.optimizer.endswith("_sparse") or case.form == "loop"


@dataclass(frozen=True)
class Rates:
    """What a card can do in a second."""

    operations: float  # float32 additions or multiplications, none of them fused
    bytes: float  # read and written, together, as a copy on the device does


def train_floor(case: Case, rates: Rates, shape: Shape | None = None) -> float:
    """Seconds of one training step below which a card cannot go, by arithmetic and bytes of its three stages.

    Of each stage the slower of the two counts; the stages wait for one another, so they add up. With z nonzeros a row,
    P = z (z - 1) / 2 pairs, B rows, U features touched, and s arrays of state, in float32:

    ===========  ===================================================  ==============================================
    stage        operations                                           bytes
    ===========  ===================================================  ==============================================
    plan         none                                                 B z 8: ids read, their new order written
    rows         B P (6 k + 8): 2 k the dot, 4 the score, 2 c,        B z 4 (1 + k + 1): ids read, gV and gw written
                 1 q, 1 gR, and 2 k for each end of gV
    coordinates  B z (k + 1): the batch sum                           B z 4 (1 + k + 1): order, gV and gw read;
                                                                      U 8 (k + 1) (1 + s): V, w and state, both ways
    ===========  ===================================================  ==============================================

    V is gathered from the card's cache, R and its sums stay on chip: neither counts. U is `touched`.

    Parameters
    ----------
    case : Case
        Of ``engine="ours"``; its optimizer says how much state there is.
    rates : Rates
    shape : Shape, optional
        Instead of the one that the case names.
    """
    shape = SHAPES[case.shape] if shape is None else shape
    B, z, k = case.batch, len(shape.sizes), shape.k
    pairs, gradients = z * (z - 1) / 2, B * z * 4 * (1 + k + 1)
    update = touched(shape, B) * 8 * (k + 1) * (1 + len(RULES[case.optimizer].moments))
    stages = [(0, B * z * 8), (B * pairs * (6 * k + 8), gradients), (B * z * (k + 1), gradients + update)]
    return sum(max(operations / rates.operations, size / rates.bytes) for operations, size in stages)


def score_floor(case: Case, rates: Rates, shape: Shape | None = None) -> float:
    """Seconds of scoring a batch: B (P (2 k + 4) + 2 z) operations, B 4 (z + 1) bytes of ids and scores."""
    shape = SHAPES[case.shape] if shape is None else shape
    z = len(shape.sizes)
    operations = case.batch * (z * (z - 1) / 2 * (2 * shape.k + 4) + 2 * z)
    return max(operations / rates.operations, case.batch * 4 * (z + 1) / rates.bytes)


def touched(shape: Shape, batch: int) -> float:
    """How many features a batch is expected to hold."""
    return float(sum(np.sum(1 - (1 - zipf(size)) ** batch) for size in shape.sizes))


def zipf(size: int) -> Any:
    """Probabilities of ids, the most frequent first, (size,) float64."""
    p = np.arange(1, size + 1) ** -ZIPF
    return p / np.sum(p)
