"""What fields, features and labels of a model are called; where it knows no name, a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.errors import InputError, OptionError

if TYPE_CHECKING:
    from fwfm_gpu.encoding import FieldEncoder
    from fwfm_gpu.model import FwFM

__all__ = ["Names"]


class NamesOnDemand(Sequence[str]):
    """The names of an encoder's features, made one by one: buckets of a hash are too many to keep."""

    def __init__(self, encoder: FieldEncoder) -> None:
        self.encoder = encoder

    def __len__(self) -> int:
        return self.encoder.n_features

    def __getitem__(self, i: Any) -> Any:
        return self.encoder.name_features([i])[0]


@dataclass(frozen=True)
class Names:
    """Names by number."""

    n_fields: int
    field_names: tuple[str, ...] | None
    feature_names: Sequence[str] | None
    labels: tuple[Any, ...]  # of softmax, one per class; else none

    @classmethod
    def of(cls, model: FwFM) -> Names:
        """Those that a model knows."""
        columns = model.columns
        labels = tuple(model.classes.tolist()) if model.loss == "softmax" and model.classes is not None else ()
        names: Sequence[str] | None = columns.feature_names
        if names is None and columns.encoder is not None:
            names = NamesOnDemand(columns.encoder)
        return cls(columns.n_fields, columns.field_names, names, labels)

    def field(self, p: int) -> str:
        """A field."""
        return self.field_names[p] if self.field_names else f"field {p}"

    def feature(self, i: int) -> str:
        """A feature."""
        return self.feature_names[i] if self.feature_names else f"feature {i}"

    def find_field(self, field: Any) -> int:
        """The number of a field that is given by its name or number.

        Raises
        ------
        InputError
            There is no such field.
        """
        if isinstance(field, str) and field in (self.field_names or ()):
            return (self.field_names or ()).index(field)
        whole = isinstance(field, int | np.integer) and not isinstance(field, bool)
        if whole and 0 <= field < self.n_fields:
            return int(field)
        known = ", ".join(map(repr, self.field_names[:20])) if self.field_names else "no field has a name"
        raise InputError(
            f"fields must name fields of the model, or number them from 0 to {self.n_fields - 1}: got {field!r}. "
            f"There are: {known}{', ...' if len(self.field_names or ()) > 20 else ''}."
        )

    def find_label(self, label: Any) -> int:
        """The class of a label.

        Raises
        ------
        OptionError
            The model has no such label, or no classes of its own for labels.
        """
        if not self.labels:
            raise OptionError(f"label is for softmax alone, where each label has a model of its own: got {label!r}.")
        for c, known in enumerate(self.labels):
            if known == label:
                return c
        raise OptionError(
            f"label must be one of the model's: got {label!r}. There are: {', '.join(map(repr, self.labels[:20]))}"
            f"{', ...' if len(self.labels) > 20 else ''}."
        )
