"""Why a row has its score: what the bias, each field and each pair of fields add to it, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.contributions import Pieces, Plan, fill, plan_columns
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.model_names import Names
from fwfm_gpu.parameters import Array, Parameters
from fwfm_gpu.text_table import lined_up, shortened, signed

if TYPE_CHECKING:
    from fwfm_gpu.model import FwFM

__all__ = ["Explanations", "explain", "explain_chunks"]

MOST_BYTES = 2**31  # of one result
SHOWN = 20  # lines of a table
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, eq=False)
class Explanations:
    """What adds up to each score. Arrays are of the dtype of the parameters, read-only; for softmax with a class axis.

    A pair's number is the very one that the score adds where a row holds one feature of either field, else the sum of
    several. Their sum in any order differs from the score by rounding alone: by at most ``2 (N + 1) u A`` for a row,
    where N = z + z (z - 1) / 2 with z nonzeros, u is 2**-24 for float32 and 2**-53 for float64, and A is the sum of the
    absolute values of the bias and of all terms of the row, features and feature pairs each by itself.

    Attributes
    ----------
    bias : () or (C,)
    linear : (rows, F) or (rows, C, F)
        Linear terms, summed by field.
    pairs : (rows, m) or (rows, C, m)
        Pair terms, summed by pair of fields; column j is of the fields ``pair_fields[j]``.
    rest : (rows,) or (rows, C)
        The sum of all pairs without a column; 0 with ``pairs="all"``.
    scores : (rows,) or (rows, C)
        Those of `FwFM.decision_function`, to the bit.
    pair_fields : (m, 2) int64
        The smaller number first.
    rows : FieldMatrix
        What was explained.
    names : Names
        Of fields, features and labels.
    """

    bias: Array
    linear: Array
    pairs: Array
    rest: Array
    scores: Array
    pair_fields: Array
    rows: FieldMatrix = field(repr=False)
    names: Names = field(repr=False)

    def __post_init__(self) -> None:
        for array in (self.bias, self.linear, self.pairs, self.rest, self.scores, self.pair_fields):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the columns of ``linear``."""
        return tuple(self.names.field(p) for p in range(self.names.n_fields))

    @property
    def pair_names(self) -> tuple[str, ...]:
        """The names of the columns of ``pairs``: ``age`` and ``education`` with a multiplication sign between."""
        return tuple(f"{self.names.field(p)} {TIMES} {self.names.field(q)}" for p, q in self.pair_fields.tolist())

    def sums(self) -> Array:
        """Bias, linear terms, pairs and rest added up in float64, shaped like ``scores``."""
        linear, pairs = (np.sum(array, axis=-1, dtype=np.float64) for array in (self.linear, self.pairs))
        added: Array = self.bias.astype(np.float64) + linear + pairs + self.rest
        return added

    def show(self, row: int, n: int = SHOWN, label: Any = None) -> str:
        """One row as a table: the n parts that move its score most, what is left, and their sum.

        Parameters
        ----------
        row : int
            From 0.
        n : int
        label : optional
            For softmax: whose score; that of the predicted label without it.

        Raises
        ------
        InputError
            There is no such row.
        OptionError
            ``n`` is no positive integer; ``label`` is unknown, or the loss is not softmax.
        """
        if not isinstance(row, int | np.integer) or not 0 <= row < len(self):
            raise InputError(f"row must be a number from 0 to {len(self) - 1}: got {row!r}.")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise OptionError(f"n must be a whole number, 1 or above; got {n!r}.")
        at: tuple[int, ...] = (int(row),)
        title = f"row {row}"
        if self.names.labels or label is not None:
            c = int(np.argmax(self.scores[row])) if label is None else self.names.find_label(label)
            at, title = (int(row), c), f"row {row}, label {self.names.labels[c]!r}"
        held = self._held(int(row))
        parts = [(float(value), held[p]) for p, value in enumerate(self.linear[at]) if value]
        pairs = zip(self.pair_fields.tolist(), self.pairs[at], strict=True)
        parts += [(float(value), part_of_pair(held, p, q)) for (p, q), value in pairs if value]
        parts.sort(key=lambda part: -abs(part[0]))
        bias, rest = float(self.bias[at[1:]]), float(self.rest[at])
        left = float(np.sum([value for value, _ in parts[n:]])) + rest
        lines = [(bias, "bias"), *parts[:n]]
        if len(parts) > n or rest:
            lines.append((left, "all others"))
        lines.append((float(self.scores[at]), "score"))
        values = signed(value for value, _ in lines)
        return f"{title}\n" + lined_up(zip(values, (text for _, text in lines), strict=True), right=(0,))

    def __str__(self) -> str:
        if not len(self):
            return "Explanations of no rows"
        found = [
            (float(value), kind, shortened(name))
            for kind, array, names in (("field", self.linear, self.field_names), ("pair", self.pairs, self.pair_names))
            for value, name in zip(mean_size(array), names, strict=True)
            if value
        ]
        found.sort(key=lambda part: -part[0])
        shown = found[:SHOWN]
        title = f"Explanations of {len(self):,} rows: mean |term|"
        values = [text.lstrip("+") for text in signed(value for value, _, _ in shown)]
        cells = [(value, kind, name) for value, (_, kind, name) in zip(values, shown, strict=True)]
        lines = [title, *([lined_up(cells, right=(0,))] if cells else [])]
        return "\n".join([*lines, *([f"... {len(found) - len(shown)} more"] if len(found) > len(shown) else [])])

    def _held(self, row: int) -> list[str]:
        """What a row holds of each field, as text."""
        texts: list[list[str]] = [[] for _ in range(self.names.n_fields)]
        for place in range(int(self.rows.indptr[row]), int(self.rows.indptr[row + 1])):
            i, x = int(self.rows.indices[place]), float(self.rows.values[place])
            p = int(self.rows.fields[i])
            name = self.names.feature(i)
            name = name if self.names.feature_names else f"{self.names.field(p)}: {name}"
            texts[p].append(shortened(name) if x == 1 else f"{shortened(name)} [{x:.4g}]")
        return [" + ".join(text) for text in texts]


def part_of_pair(held: list[str], p: int, q: int) -> str:
    """A pair of fields in a row, by what the row holds of them."""
    return f"{held[p]} {TIMES} {held[q]}" if p != q else f"pairs within {held[p]}"


def mean_size(array: Array) -> Array:
    """The mean of absolute values over all axes but the last."""
    flat = array.reshape(array.size // max(1, array.shape[-1]), array.shape[-1])
    added = np.zeros(array.shape[-1])
    for start in range(0, len(flat), 2**12):
        added += np.sum(np.abs(flat[start : start + 2**12]), axis=0, dtype=np.float64)
    means: Array = added / max(1, len(flat))
    return means


def explain(model: FwFM, X: Any, *, pairs: str | int = "all") -> Explanations:
    """What the bias, each field and each pair of fields add to the score of each row, exactly.

    Parameters
    ----------
    X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n), or a table
        As for `decision_function`, on the host.
    pairs : "all" or int
        ``"all"``: a column for every pair of fields that the rows may hold. A number: for the so many pairs with the
        largest mean ``|term|`` over a fixed random sample of up to 20,000 rows, the largest first; the sum of all other
        pairs is in ``rest``. With 0 all of them are.

    Returns
    -------
    Explanations
        Of ``(F + m + 2) C`` numbers per row. str() of it is a table of the means, ``show(row)`` one of a row.

    Raises
    ------
    InputError
        X has other columns than in training; or the result would take more than 2 GiB: ask for fewer pairs, or use
        `explain_chunks`.
    OptionError
        ``pairs`` is something else.
    InputTypeError
        X lies on a GPU.

    Notes
    -----
    Beyond the result some megabytes are used. Terms are calculated on the host, in the order and with the roundings of
    the score (numerics 3).
    """
    parameters, rows, plan = prepare(model, X, pairs)
    size = rows.n_rows * bytes_per_row(parameters, plan)
    if size > MOST_BYTES:
        raise InputError(
            f"the terms of {rows.n_rows:,} rows and {len(plan.pairs):,} pairs of fields take {size / 2**30:.1f} GiB, "
            f"more than {MOST_BYTES / 2**30:g}: pass pairs=20 or the like, or take explain_chunks."
        )
    return explain_rows(model, parameters, rows, plan)


def explain_chunks(
    model: FwFM, X: Any, *, pairs: str | int = "all", chunk_rows: int | None = None
) -> Iterator[Explanations]:
    """`explain` for any number of rows, some at a time: all parts have the same columns.

    Parameters
    ----------
    X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n), or a table
        As for `explain`; checked now, not with the first part.
    pairs : "all" or int
        As for `explain`: chosen once, for all parts.
    chunk_rows : int, optional
        Rows in each part but the last; as many as take 256 MiB without it.

    Yields
    ------
    Explanations
        In the order of the rows.

    Raises
    ------
    InputError
        X has other columns than in training.
    OptionError
        ``pairs`` or ``chunk_rows`` is something else.
    InputTypeError
        X lies on a GPU.
    """
    if chunk_rows is not None and (isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or chunk_rows < 1):
        raise OptionError(f"chunk_rows must be a whole number, 1 or above; got {chunk_rows!r}.")
    parameters, rows, plan = prepare(model, X, pairs)
    step = chunk_rows or max(1, MOST_BYTES // 8 // bytes_per_row(parameters, plan))
    return (
        explain_rows(model, parameters, rows.take(slice(start, start + step)), plan)
        for start in range(0, rows.n_rows, step)
    )


def prepare(model: FwFM, X: Any, pairs: str | int) -> tuple[Parameters, FieldMatrix, Plan]:
    """Parameters of one moment, rows of the model's columns, and the columns of the result."""
    whole = isinstance(pairs, int | np.integer) and not isinstance(pairs, bool) and pairs >= 0
    if not whole and not (isinstance(pairs, str) and pairs == "all"):
        raise OptionError(f'pairs must be "all" or a whole number, 0 or above; got {pairs!r}.')
    parameters = model.parameters
    rows = model.columns.read(X, str(parameters.dtype))
    most = int(pairs) if whole and rows.n_rows else None
    return parameters, rows, plan_columns(parameters, rows, most)


def bytes_per_row(parameters: Parameters, plan: Plan) -> int:
    """What a row takes in the result."""
    numbers = parameters.n_fields + len(plan.pairs) + 2
    return numbers * parameters.n_classes * parameters.dtype.itemsize


def explain_rows(model: FwFM, parameters: Parameters, rows: FieldMatrix, plan: Plan) -> Explanations:
    """All terms of some rows."""
    pieces = Pieces.zeros(rows.n_rows, parameters, len(plan.pairs))
    fill(pieces, parameters, rows, plan)
    by_class = slice(None) if model.loss == "softmax" else 0
    return Explanations(
        bias=np.array(parameters.w0[by_class]),
        linear=pieces.linear[:, by_class],
        pairs=pieces.pairs[:, by_class],
        rest=pieces.rest[:, by_class],
        scores=pieces.scores[:, by_class],
        pair_fields=plan.pairs,
        rows=rows,
        names=Names.of(model),
    )
