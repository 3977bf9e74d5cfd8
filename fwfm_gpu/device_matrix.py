"""Rows that lie on a GPU, as the rest of the package meets them: shape, fields and names, and arrays left unopened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fwfm_gpu.device_arrays import Source, out_of_reach
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import row_numbers, value_dtype
from fwfm_gpu.parameters import Array

__all__ = ["DeviceMatrix"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceMatrix(FieldMatrix):
    """A FieldMatrix whose rows lie on a GPU. Only the CUDA engine opens them, as it loads them, and checks them there.

    `FieldMatrix.from_matrix`, `from_csr` and `from_ids` make one of arrays on a device. Canonical CSR rows with values
    of T are used where they lie: do not change them while they are. What was to be done to the rows is remembered until
    then. On the host there is no ``indptr``, ``indices`` and ``values``: asking for them is an InputTypeError.

    Attributes
    ----------
    source : Csr, Dense or Ids
        The caller's arrays.
    dtype : str, optional
        T, once `rounded` asked for it.
    selected : (m,) int64, optional
        The rows that `take` chose, in order; None: all.
    """

    indptr: Array = field(init=False)
    indices: Array = field(init=False)
    values: Array = field(init=False)
    source: Source
    dtype: str | None = None
    selected: Array | None = None

    def __post_init__(self) -> None:
        fields = self.fields.view()
        fields.setflags(write=False)
        object.__setattr__(self, "fields", fields)

    def __getattr__(self, name: str) -> Any:
        """Whoever needs the arrays on the host is told where they are."""
        if name in ("indptr", "indices", "values"):
            raise out_of_reach("X", self.source.arrays[-1])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def n_rows(self) -> int:
        return self.source.shape[0] if self.selected is None else len(self.selected)

    def __repr__(self) -> str:
        rows, n = self.shape
        return f"DeviceMatrix({rows} x {n}, {self.n_fields} fields)"

    def rounded(self, dtype: Any) -> DeviceMatrix:
        """As in `FieldMatrix`, when the rows are loaded."""
        return replace(self, dtype=str(value_dtype(dtype)))

    def take(self, rows: Any) -> DeviceMatrix:
        """As in `FieldMatrix`, when the rows are loaded: on the device."""
        chosen = row_numbers(rows, self.n_rows)
        return replace(self, selected=chosen if self.selected is None else np.asarray(self.selected)[chosen])
