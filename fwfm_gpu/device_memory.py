"""How much memory of a GPU a training run will take, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwfm_gpu.backends.cuda_memory import Bounds, Budget, Shape, make_sizes, model_bytes, work_bytes
from fwfm_gpu.errors import OptionError
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.options import check_integer

__all__ = ["MemoryEstimate", "estimate_memory"]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device, by what they are for.

    Attributes
    ----------
    rows : int
        Rows, targets, weights and the order of an epoch. Rows that do not fit are streamed.
    model : int
        Parameters and optimizer state.
    snapshots : int
        Copies of the model: the last finite epoch, its successor while that is made, and the best one where there is
        early stopping.
    work : int
        What a mini-batch works in.
    """

    rows: int
    model: int
    snapshots: int
    work: int

    @property
    def total(self) -> int:
        return self.rows + self.model + self.snapshots + self.work

    def __str__(self) -> str:
        parts = {"rows": self.rows, "model": self.model, "snapshots": self.snapshots, "work": self.work}
        return "\n".join(f"{name:<10}{size / 1e6:>14,.1f} MB" for name, size in {**parts, "total": self.total}.items())


def estimate_memory(
    rows: int,
    nnz: int,
    n_features: int,
    n_factors: int = 8,
    *,
    n_fields: int,
    n_classes: int = 1,
    longest_row: int | None = None,
    shares_fields: bool = False,
    all_ones: bool = False,
    sample_weight: bool = False,
    batch_size: int = 1024,
    optimizer: str = "adagrad",
    field_weights: str = "learn",
    dtype: str = "float32",
    early_stopping: bool = False,
) -> MemoryEstimate:
    """The memory that ``train(..., device="cuda")`` takes on the GPU, worked out from sizes alone.

    The allocator rounds and keeps some more, so leave a tenth. Rows to evaluate on take as much again for each, and are
    not counted. No GPU is needed to ask.

    Parameters
    ----------
    rows, nnz : int
        Those of X, with what ``validation_fraction`` holds out, and their nonzeros.
    n_features, n_factors, n_fields, n_classes : int
        Of the model; ``n_classes`` is 1 but for softmax.
    longest_row : int, optional
        Nonzeros of the longest row; without it rows are taken to be equally long, with the same fields.
    shares_fields : bool
        Whether a row has several features of one field: the order of its fields is then kept as well.
    all_ones : bool
        Whether every value is 1, as in one-hot data: values then take no memory.
    sample_weight, early_stopping : bool
        Whether there are weights, of rows or of classes; whether a best epoch is kept.
    batch_size, optimizer, field_weights, dtype
        As in ``train``.

    Returns
    -------
    MemoryEstimate

    Raises
    ------
    OptionError
        A size that is no whole number in its range, or a name that is not known.
    """
    rows, n_features, n_fields, n_classes, batch_size = whole_numbers(
        1, rows=rows, n_features=n_features, n_fields=n_fields, n_classes=n_classes, batch_size=batch_size
    )
    nnz, n_factors, longest = whole_numbers(
        0, nnz=nnz, n_factors=n_factors, longest_row=0 if longest_row is None else longest_row
    )
    if dtype not in ("float32", "float64") or optimizer not in RULES or field_weights not in ("learn", "ones"):
        raise OptionError(
            f"dtype must be 'float32' or 'float64', optimizer one of {', '.join(RULES)}, field_weights 'learn' or "
            f"'ones'; got {dtype!r}, {optimizer!r}, {field_weights!r}."
        )
    index = "int32" if n_features <= 2**31 - 1 else "int64"
    shape = Shape(n_features, n_fields, n_factors, n_classes, dtype, index, field_weights == "learn" and n_factors > 0)
    size, average = min(batch_size, rows), -(-nnz // rows)
    alike = longest_row is None and not shares_fields
    bounds = Bounds(size, average * size, max(average, longest), alike)
    rule = RULES[optimizer]
    model = model_bytes(shape, len(rule.moments), rule.counts)
    item = np.dtype(index).itemsize + (0 if all_ones else shape.itemsize) + 4 * shares_fields
    resident = nnz * item + rows * (24 + 8 * sample_weight) + 4 * n_features
    return MemoryEstimate(
        rows=resident,
        model=model,
        snapshots=model * (2 + early_stopping),
        work=work_bytes(shape, make_sizes(shape, Budget(), bounds)),
    )


def whole_numbers(least: int, **sizes: int) -> tuple[int, ...]:
    """The sizes as plain ints, which never overflow, each at least so much."""
    for name, size in sizes.items():
        check_integer(name, size, least)
    return tuple(int(size) for size in sizes.values())
