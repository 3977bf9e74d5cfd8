"""Compile ahead: drive the compiled engine through tiny problems, so that later processes read its code from disk.

The very engine that ``device="cpu"`` takes is driven, by the verbs that training and scoring use. Each kernel that it
calls says whether its code was compiled or read, and how long that took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fwfm_gpu.backends import get_backend, import_compiled
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.model import Columns
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.options import Options, check_choice
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.scorer import Scorer

__all__ = ["EVERYTHING", "USUAL", "Choice", "Variant", "Warmed", "code_folder", "warm"]


@dataclass(frozen=True)
class Variant:
    """What code is compiled for.

    Raises
    ------
    OptionError
        A value that ``fwfm_gpu.train`` would refuse too.
    """

    dtype: str
    n_factors: int
    loss: str
    optimizer: str

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, tuple(LOSSES))
        self.options()

    def options(self) -> Options:
        """The same as `train` takes it."""
        named = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Options(**named)

    def __str__(self) -> str:
        return f"{self.dtype}, {self.n_factors} factors, {self.loss}, {self.optimizer}"


@dataclass(frozen=True)
class Choice:
    """Which variants to compile for: all combinations."""

    dtypes: tuple[str, ...]
    n_factors: tuple[int, ...]
    losses: tuple[str, ...]
    optimizers: tuple[str, ...]

    def lists(self) -> tuple[tuple[Any, ...], ...]:
        """In the order of the attributes."""
        return self.dtypes, self.n_factors, self.losses, self.optimizers

    def variants(self) -> Iterator[Variant]:
        """One after the other."""
        for values in product(*self.lists()):
            yield Variant(*values)


USUAL = Choice(("float32",), (8, 16), ("logistic",), ("adagrad",))
# The numbers of factors with code of their own, and one that stands for all others.
EVERYTHING = Choice(("float32", "float64"), (4, 8, 16, 32, 10), tuple(LOSSES), tuple(RULES))

N_FIELDS, FIELD_SIZE = 4, 2
LENGTHS = {"alike": (4, 4, 4), "unlike": (4, 2, 3)}  # nonzeros of each row; rows differ in their fields or do not


@dataclass(frozen=True)
class Warmed:
    """A kernel that is ready now.

    Attributes
    ----------
    variant : Variant
    rows : str
        "alike": one feature of each field in every row. "unlike": any other rows. "single":
        one at a time, by ``FwFM.scorer``.
    kernel : str
    came : str
        "compiled", or "read" from disk.
    seconds : float
        Its first call; that of a kernel's run on a few rows is in it, and does not count.
    """

    variant: Variant
    rows: str
    kernel: str
    came: str
    seconds: float

    def plain(self) -> dict[str, Any]:
        """As plain Python values, on one level."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**vars(own.pop("variant")), **own}


def code_folder() -> Path | None:
    """Where machine code is kept, None when there is no folder that may be written.

    Raises
    ------
    MissingExtraError
        numba is not installed, or cannot be imported.
    """
    import_compiled()
    from fwfm_gpu.backends.compiled import machine
    from fwfm_gpu.backends.compiled_batch import sum_blocks

    kernel: Any = machine(sum_blocks)
    return None if kernel.stats.cache_path is None else Path(kernel.stats.cache_path)


def warm(variants: Iterable[Variant]) -> Iterator[Warmed]:
    """Make the code for some variants ready, kernel by kernel.

    Yields a kernel once its code is there; one that this process has run before is left out.

    Raises
    ------
    MissingExtraError
        numba is not installed, or cannot be imported.
    """
    folder = code_folder()
    scored: set[tuple[Any, ...]] = set()
    for variant, rows in product(variants, LENGTHS):
        problem = Problem.make(variant, rows)
        for trained in train(problem):
            yield Warmed(variant, rows, *trained)
        for known, kernel, call in doors(problem, rows):
            if known not in scored:
                scored.add(known)
                yield Warmed(variant, str(known[-1]), *score(kernel, call, folder))


@dataclass(frozen=True)
class Problem:
    """A few rows, and a model to begin with."""

    matrix: FieldMatrix
    start: Parameters
    variant: Variant

    @classmethod
    def make(cls, variant: Variant, rows: str) -> Problem:
        """Two mini-batches of rows that are alike or not."""
        lengths, T = np.tile(LENGTHS[rows], 2), np.dtype(variant.dtype)
        indices = np.concatenate([np.arange(length) * FIELD_SIZE for length in lengths])
        matrix = FieldMatrix(
            np.append(0, np.cumsum(lengths)),
            indices.astype(np.int32),
            np.full(len(indices), 1000, T),
            np.repeat(np.arange(N_FIELDS, dtype=np.int32), FIELD_SIZE),
            N_FIELDS,
        )
        C, n, k = (3 if variant.loss == "softmax" else 1), N_FIELDS * FIELD_SIZE, variant.n_factors
        sizes = {"w0": (C,), "w": (C, n), "V": (C, n, k), "R": (C, N_FIELDS, N_FIELDS)}
        return cls(matrix, Parameters(**{name: np.zeros(size, T) for name, size in sizes.items()}), variant)


def train(problem: Problem) -> Iterator[tuple[str, str, float]]:
    """Two mini-batches: one that is stepped, and one whose step is taken back, since it is not finite."""
    rows, recipe = problem.matrix.shape[0], problem.variant.options().recipe(problem.variant.loss)
    y, weight = np.zeros(rows), np.ones(rows)
    y[-1], weight[-1] = 1, np.finfo(problem.start.dtype).max
    backend = get_backend("cpu", n_threads=1)  # code for several threads is the same
    data, model = backend.load_data(problem.matrix, y, weight), backend.load_model(problem.start, None, recipe)
    watched: list[Watched] = []
    for order in np.split(np.arange(rows), 2):
        run: Any = backend.begin(model, data, order)
        kernels = run.stepper.kernels
        own = [Watched(getattr(kernels, entry.name)) for entry in fields(kernels)]
        run.stepper.kernels, watched = type(kernels)(*own), watched + own
        with np.errstate(all="ignore"):
            backend.advance(run, 1)
    for one in watched:
        if one.came:
            yield one.kernel.__name__, one.came, one.seconds


@dataclass
class Watched:
    """A kernel that says how its code came."""

    kernel: Any
    came: str = ""
    seconds: float = 0.0

    def __call__(self, *arguments: Any) -> Any:
        read, compiled = self.count()
        begun = perf_counter()
        answer = self.kernel(*arguments)
        seconds = perf_counter() - begun
        if self.count() != (read, compiled):
            self.came = "compiled" if self.count()[1] > compiled else "read"
            self.seconds += seconds
        return answer

    def count(self) -> tuple[int, int]:
        """How often code was read, and compiled."""
        return sum(self.kernel.stats.cache_hits.values()), sum(self.kernel.stats.cache_misses.values())


def doors(problem: Problem, rows: str) -> Iterator[tuple[tuple[Any, ...], str, Callable[[], Any]]]:
    """What scores: all that its code depends on, its kernel, and a call of it."""
    start, matrix, backend = problem.start, problem.matrix, get_backend("cpu", n_threads=1)
    data, model = backend.load_data(matrix), backend.load_model(start)
    yield (start.dtype, start.n_factors, start.n_classes > 1, rows), "score_blocks", lambda: backend.score(model, data)
    scorer = partial(Scorer, start, Columns.of(matrix), problem.variant.loss, "cpu")
    yield (start.dtype, "single"), "score_one", scorer


def score(kernel: str, call: Callable[[], Any], folder: Path | None) -> tuple[str, str, float]:
    """Score; code that was compiled is a file that was not there before."""
    before = kept_files(folder)
    begun = perf_counter()
    call()
    seconds = perf_counter() - begun
    compiled = folder is None or kept_files(folder) != before
    return kernel, "compiled" if compiled else "read", seconds


def kept_files(folder: Path | None) -> set[str]:
    """The names of the files of code."""
    return set() if folder is None else {path.name for path in folder.glob("*.nbc")}
