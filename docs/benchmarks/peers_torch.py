"""PyTorch on the processor: the model in the forms that libraries give it. Each is tried, the fastest are measured."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.cases import LEARNING_RATE
from gpu.torch_forms import INTERACTIONS, TAKES_LOCAL_IDS, make_net
from peers_clock import latency, rate
from peers_task import BATCH, FACTORS, SIZES, Contestant, Task, require

FORMS = tuple(form for form in INTERACTIONS if form != "loop")  # 741 pairs one by one are never the fastest
MODES = ("eager", "compiled")
OPTIMIZERS = ("AdaGrad", "fused AdaGrad", "sparse AdaGrad")
SCORED = (256, BATCH)  # rows scored at once: few stay in the cache
TRIES = 3  # the best counts: the machine may be disturbed
KEPT = 2  # of each mode and batch
SINGLE_ROWS = 1000

Step = Callable[[Any, Any], Any]
Batches = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Variant:
    """One way to do the work."""

    form: str
    mode: str
    batch: int
    optimizer: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.form, self.mode, self.optimizer, f"batch {self.batch:,}")))

    @property
    def sparse(self) -> bool:
        return self.optimizer.startswith("sparse")


def load(task: Task) -> Contestant:
    """The fastest variants, warm.

    Raises
    ------
    MissingError
        PyTorch is not installed.
    """
    versions = require("torch")
    import torch

    torch.set_num_threads(task.threads)
    check_forms(task)
    fastest = choose(try_all(task))
    torch.compiler.reset()
    repeats = {str(variant): load_variant(task, variant) for variant in fastest}
    return Contestant(versions, lambda: {name: repeat(task.seconds) for name, repeat in repeats.items()})


def variants(task: Task) -> list[Variant]:
    """What is tried: gradients that are sparse are for eager mode alone."""
    batches = {"train": (BATCH,), "score": SCORED, "row": (1,)}[task.verb]
    optimizers = OPTIMIZERS if task.verb == "train" else ("",)
    forms, modes = (("gemm",), ("eager",)) if task.quick else (FORMS, MODES)
    every = [Variant(*choice) for choice in itertools.product(forms, modes, batches, optimizers)]
    return [variant for variant in every if variant.mode == "eager" or not variant.sparse]


def check_forms(task: Task) -> None:
    """All forms give the same scores, but for rounding."""
    import torch

    nets = [make_net(SIZES[task.shape], FACTORS, form, False, "cpu") for form in FORMS]
    torch.nn.init.normal_(nets[0].V.weight)
    scores = []
    for form, net in zip(FORMS, nets, strict=True):
        net.load_state_dict(nets[0].state_dict())
        scores.append(make_scoring(net, net)(load_batches(task, form, 64, 1)[0][0], None))
        torch.testing.assert_close(scores[-1], scores[0], rtol=1e-3, atol=1e-2)


def try_all(task: Task) -> dict[Variant, float]:
    """What each variant takes; one that PyTorch cannot run is left out, and standard error says why."""
    import torch

    taken = {}
    for variant in variants(task):
        torch.compiler.reset()
        try:
            repeat = load_variant(task, variant)
            taken[variant] = min(cost(repeat(0.0)) for _ in range(TRIES))
        except Exception as error:  # whatever its compiler raises: the other variants go on
            print(f"torch {variant}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    return taken


def cost(figures: dict[str, float]) -> float:
    """What is less for the faster: microseconds of single rows, or seconds per row."""
    return figures["p50"] if "p50" in figures else 1 / max(figures.values())


def choose(taken: dict[Variant, float]) -> list[Variant]:
    """The fastest of each mode and batch."""
    kept: dict[tuple[str, int], list[Variant]] = {}
    for variant in sorted(taken, key=taken.__getitem__):
        kept.setdefault((variant.mode, variant.batch), []).append(variant)
    return [variant for group in kept.values() for variant in group[:KEPT]]


def load_variant(task: Task, variant: Variant) -> Callable[[float], dict[str, float]]:
    """A function of least seconds to figures, warm."""
    import torch

    torch.manual_seed(0)
    net = make_net(SIZES[task.shape], FACTORS, variant.form, variant.sparse, "cpu")
    model = torch.compile(net, dynamic=False) if variant.mode == "compiled" else net
    if task.verb == "row":
        return load_single_rows(task, variant, net, model)
    step = make_training(net, model, variant.optimizer) if task.verb == "train" else make_scoring(net, model)
    batches = load_batches(task, variant.form, variant.batch, task.rows // variant.batch)
    run(step, batches[:2])
    measure = "steps" if task.verb == "train" else "scores"
    return lambda least: {measure: rate(lambda: run(step, batches), task.rows, least)}


def load_batches(task: Task, form: str, size: int, count: int) -> Batches:
    """Ids, (size, F) int64, and targets, (size,) float32, cut beforehand: in no epoch are rows shuffled."""
    import torch

    rows, y = task.draw()
    sizes = SIZES[task.shape]
    ids = rows.indices.reshape(-1, len(sizes)).astype(np.int64)
    if form in TAKES_LOCAL_IDS:
        ids -= np.concatenate(([0], np.cumsum(sizes[:-1])))
    cut = (torch.from_numpy(array[: size * count]).split(size) for array in (ids, y.astype(np.float32)))
    return list(zip(*cut, strict=True))


def make_training(net: Any, model: Any, optimizer: str) -> Step:
    """A training step without a penalty: PyTorch's would decay what a batch does not touch."""
    import torch

    tables, rest = [net.V.weight, net.w.weight], [net.R, net.w0]
    if optimizer.startswith("sparse"):
        optimizers = [torch.optim.Adagrad(tables, LEARNING_RATE), torch.optim.Adagrad(rest, LEARNING_RATE)]
    else:
        fused = optimizer.startswith("fused") or None
        optimizers = [torch.optim.Adagrad([*tables, *rest], LEARNING_RATE, fused=fused)]

    def train(ids: Any, y: Any) -> None:
        net.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(model(ids), y).backward()
        for one in optimizers:
            one.step()

    return train


def make_scoring(net: Any, model: Any) -> Step:
    """A scoring step."""
    import torch

    net.eval()

    def score(ids: Any, y: Any) -> Any:
        with torch.inference_mode():
            return model(ids)

    return score


def load_single_rows(task: Task, variant: Variant, net: Any, model: Any) -> Callable[[float], dict[str, float]]:
    """Scores of batches of one row, made beforehand, as Python numbers."""
    score = make_scoring(net, model)
    inputs = [ids for ids, _ in load_batches(task, variant.form, 1, SINGLE_ROWS)]
    latency(lambda ids: score(ids, None).item(), inputs[:10], 0.0)
    return lambda least: latency(lambda ids: score(ids, None).item(), inputs, least)


def run(step: Step, batches: Batches) -> None:
    """One pass."""
    for batch in batches:
        step(*batch)
