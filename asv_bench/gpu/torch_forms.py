"""The model in PyTorch, in the forms that libraries give it. All compute the same scores; PyTorch is imported late.

Ids are (B, F), e is (B, F, k), R holds one weight per pair of fields a < b.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pairs:
    """The pairs of fields a < b, as lists and as tensors."""

    first: list[int]
    second: list[int]
    flat: Any  # (pairs,) places in a flattened (F, F) matrix
    upper: Any  # (F, F) bool

    @classmethod
    def of(cls, n_fields: int, device: str) -> Pairs:
        """All pairs, in order."""
        import torch

        first, second = zip(*itertools.combinations(range(n_fields), 2), strict=True)
        flat = torch.tensor([a * n_fields + b for a, b in zip(first, second, strict=True)], device=device)
        upper = torch.zeros(n_fields * n_fields, dtype=torch.bool, device=device).index_fill(0, flat, True)
        return cls(list(first), list(second), flat, upper.view(n_fields, n_fields))


def gather_pairs(e: Any, R: Any, pairs: Pairs) -> Any:
    """Both ends of each pair gathered by lists: pytorch-fm."""
    return (e[:, pairs.first] * e[:, pairs.second]).sum(2) @ R


def select_upper(e: Any, R: Any, pairs: Pairs) -> Any:
    """All inner products, the upper triangle by a mask: FuxiCTR."""
    import torch

    return torch.masked_select(torch.bmm(e, e.mT), pairs.upper).view(len(e), -1) @ R


def index_upper(e: Any, R: Any, pairs: Pairs) -> Any:
    """All inner products, the upper triangle by places."""
    import torch

    return torch.bmm(e, e.mT).flatten(1).index_select(1, pairs.flat) @ R


def weigh_products(e: Any, R: Any, pairs: Pairs) -> Any:
    """All inner products times a symmetric matrix of half weights."""
    import torch

    return (torch.bmm(e, e.mT) * halves(R, pairs)).sum((1, 2))


def mix_fields(e: Any, R: Any, pairs: Pairs) -> Any:
    """Fields mixed by that matrix, in one product over the whole batch, then times themselves."""
    import torch

    return (torch.einsum("ab,ibk->iak", halves(R, pairs), e) * e).sum((1, 2))


def add_pairs(e: Any, R: Any, pairs: Pairs) -> Any:
    """One pair at a time: RecBole."""
    total = 0
    for slot, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        total = total + R[slot] * (e[:, a] * e[:, b]).sum(1)
    return total


def halves(R: Any, pairs: Pairs) -> Any:
    """(F, F), symmetric, zero on the diagonal: a pair is met from both ends, each time with half its weight."""
    n_fields = len(pairs.upper)
    upper = R.new_zeros(n_fields * n_fields).index_copy(0, pairs.flat, R / 2).view(n_fields, n_fields)
    return upper + upper.mT


INTERACTIONS: dict[str, Callable[[Any, Any, Pairs], Any]] = {
    "rixwew": gather_pairs,
    "fuxi": select_upper,
    "triu": index_upper,
    "bmm": weigh_products,
    "gemm": mix_fields,
    "loop": add_pairs,
}
TAKES_LOCAL_IDS = {"rixwew"}  # adds the start of each field in every forward pass


def make_net(sizes: tuple[int, ...], k: int, form: str, sparse: bool, device: str) -> Any:
    """A fresh module of ids, (B, F) int64, to scores, (B,) float32; ``sparse`` gradients of its embeddings."""
    import torch

    interact, pairs = INTERACTIONS[form], Pairs.of(len(sizes), device)
    starts = [0, *itertools.accumulate(sizes[:-1])]

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.V = torch.nn.Embedding(sum(sizes), k, sparse=sparse, device=device)
            self.w = torch.nn.Embedding(sum(sizes), 1, sparse=sparse, device=device)
            self.w0 = torch.nn.Parameter(torch.zeros(1, device=device))
            self.R = torch.nn.Parameter(torch.ones(len(pairs.flat), device=device))
            torch.nn.init.normal_(self.V.weight, std=0.01)
            torch.nn.init.zeros_(self.w.weight)

        def forward(self, ids: Any) -> Any:
            if form in TAKES_LOCAL_IDS:
                ids = ids + ids.new_tensor(starts)
            return self.w0 + self.w(ids).sum((1, 2)) + interact(self.V(ids), self.R, pairs)

    return Net()
