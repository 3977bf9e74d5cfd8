"""What a model knows of its features, and how it reads rows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.device_arrays import on_device, shape_of
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.parameters import Array
from fwfm_gpu.row_norms import normalize_rows

if TYPE_CHECKING:
    from fwfm_gpu.encoding import FieldEncoder

__all__ = ["Columns"]


@dataclass(frozen=True, eq=False)
class Columns:
    """What a model knows of its features."""

    fields: Array  # (n,) int32
    n_fields: int
    field_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    encoder: FieldEncoder | None = None  # what made them of a table
    normalize: str | None = None  # what is done to rows before anything else sees them: see `row_norms`

    @classmethod
    def of(cls, rows: FieldMatrix, normalize: str | None = None) -> Columns:
        """The columns of some rows."""
        return cls(rows.fields, rows.n_fields, rows.field_names, rows.feature_names, rows.encoder, normalize)

    def read(self, X: Any, dtype: str) -> FieldMatrix:
        """X as rows of these columns, values rounded to T, rows normalized; a table goes through the encoder.

        Raises
        ------
        InputError
            Another number of columns, or other fields.
        """
        if isinstance(X, FieldMatrix):
            rows = X
        elif is_table(X):
            rows = self._read_table(X)
        else:
            rows = self._read_matrix(X)
        if rows.n_features != len(self.fields):
            raise InputError(
                f"X must have the columns that the model was trained on: expected {len(self.fields)}, got "
                f"{rows.n_features}. Build X with the same columns in the same order."
            )
        if not np.array_equal(rows.fields, self.fields):
            column = int(np.argmax(rows.fields != self.fields))
            raise InputError(
                f"X must have the fields that the model was trained on: column {column} is of field "
                f"{self.fields[column]}, and of field {rows.fields[column]} in X. Build X with the same fields."
            )
        for what in ("field_names", "feature_names"):
            self._check_names(what, getattr(rows, what))
        return normalize_rows(rows.rounded(dtype), self.normalize)

    def _check_names(self, what: str, found: tuple[str, ...] | None) -> None:
        """Rows of equal width may still be of another encoder, or in another order."""
        known = getattr(self, what)
        if known is None or found is None or known is found or known == found:
            return
        i = next(i for i, (a, b) in enumerate(zip(known, found, strict=False)) if a != b)
        raise InputError(
            f"X must have the {what} that the model was trained on: expected {known[i]!r} at {what}[{i}], got "
            f"{found[i]!r}. Encode X with the encoder of the training rows, or pass the table itself."
        )

    def _read_table(self, X: Any) -> FieldMatrix:
        """A table through the encoder."""
        if self.encoder is None:
            raise InputTypeError(
                f"X is a table of named columns ({type(X).__name__}), and the model was trained without an encoder. "
                "Pass rows as in training."
            )
        return self.encoder.transform(X)

    def _read_matrix(self, X: Any) -> FieldMatrix:
        """A plain matrix, under these fields and names if it is as wide as they are."""
        try:
            (width,) = shape_of(X)[1:] if on_device(X) else np.shape(X)[1:]
        except ValueError:  # not 2-D, or ragged
            return FieldMatrix.from_matrix(X)
        if width == len(self.fields):
            return FieldMatrix.from_matrix(X, self.fields, feature_names=self.feature_names)
        return FieldMatrix.from_matrix(X, np.zeros(width, np.int32))
