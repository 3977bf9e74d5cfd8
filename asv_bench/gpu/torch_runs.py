"""PyTorch's steps, trained and scored in one of its modes: eager, compiled, replayed from a CUDA graph, or both."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import SHAPES, Case, Effort
from .rows import draw
from .timing import median_rate
from .torch_forms import TAKES_LOCAL_IDS, make_net

RESIDENT_BATCHES = 8
LEARNING_RATE = 0.01

Step = Callable[..., Any]


def describe_torch(device: str) -> dict[str, Any]:
    """Version, and why PyTorch is not compared with, if so."""
    try:
        import torch
    except ImportError as error:
        return {"version": None, "reason": f"PyTorch cannot be imported: {error}"}
    lost = device.startswith("cuda") and not torch.cuda.is_available()
    return {"version": torch.__version__, "reason": "PyTorch finds no GPU" if lost else None}


def measure(case: Case, effort: Effort) -> dict[str, Any]:
    """Figures of a case, by name. What PyTorch raises is left to the caller: it is a result too."""
    import torch

    cuda = effort.device.startswith("cuda")
    device = effort.device if cuda else "cpu"
    start_afresh(device)
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 as ours
    batches = load_batches(case, device)
    shape = SHAPES[case.shape]
    net = make_net(shape.sizes, shape.k, case.form, case.optimizer.endswith("_sparse"), device)
    steps = make_steps(net, case, cuda)
    figures: dict[str, Any] = {}
    for name, step in zip(("train_rows_per_s", "score_rows_per_s"), steps, strict=True):
        figures[name] = median_rate(work(step, batches, cuda), case.batch, effort)
    return figures | {"memory_bytes": torch.cuda.max_memory_reserved() if cuda else None}


def start_afresh(device: str) -> None:
    """Forget what earlier cases compiled and kept."""
    import torch

    gc.collect()
    torch.manual_seed(0)
    torch.compiler.reset()
    if device != "cpu":
        torch.cuda.set_device(torch.device(device).index or 0)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def load_batches(case: Case, device: str) -> list[tuple[Any, Any]]:
    """Batches of ids, (B, F) int64, and targets, (B,) float32, on the device."""
    import torch

    sizes = SHAPES[case.shape].sizes
    ids, y = draw(case.shape, RESIDENT_BATCHES * case.batch)
    starts = np.concatenate(([0], np.cumsum(sizes[:-1])))
    ids = ids + (0 if case.form in TAKES_LOCAL_IDS else starts)
    on_device = (torch.from_numpy(array).to(device) for array in (ids.astype(np.int64), y.astype(np.float32)))
    return list(zip(*(array.split(case.batch) for array in on_device), strict=True))


def make_steps(net: Any, case: Case, cuda: bool) -> tuple[Step, Step]:
    """A training step and a scoring step, functions of ids and targets."""
    import torch

    captured = "graph" in case.mode
    optimizers = make_optimizers(net, case.optimizer, cuda, captured)
    model = torch.compile(net, dynamic=False) if "compile" in case.mode else net

    def train(ids: Any, y: Any) -> None:
        net.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(model(ids), y).backward()
        for optimizer in optimizers:
            optimizer.step()

    def score(ids: Any, y: Any) -> Any:
        with torch.no_grad():
            return model(ids)

    return (Replay(train), Replay(score)) if captured else (train, score)


def make_optimizers(net: Any, name: str, cuda: bool, captured: bool) -> list[Any]:
    """The fastest optimizers of that name that PyTorch has for dense or sparse gradients."""
    import torch

    tables, rest = [net.V.weight, net.w.weight], [net.R, net.w0]
    if name == "adam":
        return [torch.optim.Adam([*tables, *rest], LEARNING_RATE, fused=True, capturable=captured and cuda)]
    if name == "adagrad":
        if captured:
            return [CapturableAdagrad([*tables, *rest])]
        return [torch.optim.Adagrad([*tables, *rest], LEARNING_RATE, foreach=cuda)]
    if name == "adagrad_sparse":
        return [torch.optim.Adagrad(tables, LEARNING_RATE), torch.optim.Adagrad(rest, LEARNING_RATE, foreach=cuda)]
    return [torch.optim.SparseAdam(tables, LEARNING_RATE), torch.optim.Adam(rest, LEARNING_RATE, fused=True)]


class CapturableAdagrad:
    """AdaGrad on dense gradients without PyTorch's count of steps, which lies on the host."""

    def __init__(self, parameters: list[Any]) -> None:
        import torch

        self.parameters = parameters
        self.sums = [torch.zeros_like(parameter) for parameter in parameters]

    def step(self) -> None:
        """One step, a few operations over all parameters."""
        import torch

        with torch.no_grad():
            gradients = [parameter.grad for parameter in self.parameters]
            torch._foreach_addcmul_(self.sums, gradients, gradients)
            roots = torch._foreach_sqrt(self.sums)
            torch._foreach_add_(roots, 1e-10)
            torch._foreach_addcdiv_(self.parameters, gradients, roots, -LEARNING_RATE)


class Replay:
    """A step captured in a CUDA graph at its first call, and replayed on copies of what it is given."""

    def __init__(self, step: Step) -> None:
        self.step, self.graph, self.inputs = step, None, []

    def __call__(self, *batch: Any) -> None:
        if self.graph is None:
            self.capture(batch)
        for kept, new in zip(self.inputs, batch, strict=True):
            kept.copy_(new)
        self.graph.replay()

    def capture(self, batch: tuple[Any, ...]) -> None:
        """Capture, after a few steps on a stream of their own, as PyTorch asks for."""
        import torch

        self.inputs = [tensor.clone() for tensor in batch]
        side, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(self.graph):
            self.step(*self.inputs)


def work(step: Step, batches: list[tuple[Any, Any]], cuda: bool) -> Callable[[int], None]:
    """Batch after batch, so many of them, until all are done."""
    import torch

    turns = itertools.cycle(batches)

    def steps(times: int) -> None:
        for batch in itertools.islice(turns, times):
            step(*batch)
        if cuda:
            torch.cuda.synchronize()

    return steps
