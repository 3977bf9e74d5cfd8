"""How strongly a model uses each pair of fields: its weight R, and how far the pair moves scores of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.errors import InputError
from fwfm_gpu.field_pairs import pair_strengths, pair_weights
from fwfm_gpu.model_names import Names
from fwfm_gpu.parameters import Array
from fwfm_gpu.text_table import lined_up, shortened, signed
from fwfm_gpu.training_marks import trained_pairs

if TYPE_CHECKING:
    from fwfm_gpu.model import FwFM

__all__ = ["FieldStrengths", "field_strengths"]

SHOWN = 40  # lines of a table


@dataclass(frozen=True, eq=False)
class FieldStrengths:
    """What a model makes of each pair of fields; str() of it is a table, the strongest pair first.

    Attributes
    ----------
    field_names : tuple of F str
        ``field 3`` where the model knows no names.
    weights : (F, F) float64
        R, symmetric; for several classes the mean of ``|R|`` over them.
    trained : (F, F) bool
        Whether training met the pair in a row; the weight of another one is still the 1 that it started with.
    strengths : (F, F) float64 or None
        The mean over rows of ``|R_pq <v_i, v_j> x_i x_j|``, summed over a row's feature pairs of the two fields, the
        mean over classes; NaN where no row holds such a pair. None without rows.
    rows : int
        Rows that the strengths are from: all, or a fixed random sample of them; 0 without rows.
    """

    field_names: tuple[str, ...]
    weights: Array
    trained: Array
    strengths: Array | None
    rows: int

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of fields in the order of their strength, of equal ones the smaller numbers first.

        Without rows by ``|R|``, those that training met.
        """
        if self.strengths is None:
            value = np.where(self.trained, np.abs(self.weights), np.nan)
        else:
            value = self.strengths
        p, q = np.triu_indices(len(value))
        order = np.argsort(-value[p, q], kind="stable")
        return [(int(p[at]), int(q[at])) for at in order if np.isfinite(value[p[at], q[at]])]

    def __str__(self) -> str:
        pairs = self.pairs()
        if not pairs:
            return "no pair of fields was trained" if self.strengths is None else "no row holds a pair of fields"
        shown = pairs[:SHOWN]
        heads = ["", "fields", "", "R", *([] if self.strengths is None else ["strength"])]
        columns = [
            [str(place + 1) for place in range(len(shown))],
            [shortened(self.field_names[p]) for p, _ in shown],
            [shortened(self.field_names[q]) for _, q in shown],
            signed(self.weights[pair] for pair in shown),
        ]
        if self.strengths is not None:
            columns.append([text.lstrip("+") for text in signed(self.strengths[pair] for pair in shown)])
        table = lined_up([heads, *zip(*columns, strict=True)], right=(0, 3, 4))
        return table if len(shown) == len(pairs) else f"{table}\n... {len(pairs) - len(shown)} more"


def field_strengths(model: FwFM, X: Any = None) -> FieldStrengths:
    """The weight R of each pair of fields and, with rows, how far the pair moves their scores on average.

    R alone is no strength: small factors undo a large R.

    Parameters
    ----------
    X : optional
        Rows, as for `decision_function`, on the host. Of many a fixed random sample of up to 20,000 is looked at.

    Returns
    -------
    FieldStrengths
        With plain arrays; str() of it is a table.

    Raises
    ------
    InputError
        X has no rows, or other columns than in training.
    InputTypeError
        X lies on a GPU.
    """
    names = Names.of(model)
    strengths, sampled = None, 0
    if X is not None:
        rows = model.columns.read(X, str(model.parameters.dtype))
        if rows.n_rows == 0:
            raise InputError("X must have at least one row to take a mean of: it has none. Leave X out for R alone.")
        strengths, sampled = pair_strengths(model.parameters, rows, np.ones(rows.n_rows))
    return FieldStrengths(
        field_names=tuple(names.field(p) for p in range(names.n_fields)),
        weights=pair_weights(model.parameters),
        trained=trained_pairs(model),
        strengths=strengths,
        rows=sampled,
    )
