"""A part of a date or time, such as its hour, as a field of its own: ``time.hour``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fwfm_gpu.category_field import CategoryField
from fwfm_gpu.columns import Column
from fwfm_gpu.date_columns import PARTS, read_part
from fwfm_gpu.field_kind import Encoded, FieldKind
from fwfm_gpu.number_field import NumberField
from fwfm_gpu.parameters import Array

__all__ = ["DateField"]


@dataclass(frozen=True, eq=False)
class DateField(FieldKind):
    """One part of a column of dates or times.

    Attributes
    ----------
    source : str
        The column.
    part : str
        One of `PARTS`.
    values : CategoryField or NumberField
        What the part is, as a column of its own.
    """

    source: str
    part: str
    values: CategoryField | NumberField
    format: ClassVar[int] = 2
    family: ClassVar[str] = "times"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.values.name

    @property
    def kind(self) -> str:
        return f"date, {self.values.kind}"

    @property
    def learns_values(self) -> bool:
        return self.values.learns_values

    @property
    def has_rare(self) -> bool:
        return self.values.has_rare

    @property
    def column(self) -> str:
        return self.source

    @property
    def weighted(self) -> bool:
        return self.values.weighted

    @property
    def n_slots(self) -> int:
        return self.values.n_slots

    @property
    def distinct(self) -> int:
        return self.values.distinct

    @property
    def missing(self) -> int:
        return self.values.missing

    @property
    def n_rare(self) -> int:
        return self.values.n_rare

    @property
    def n_features(self) -> int:
        return self.values.n_features

    def feature_names(self) -> list[str]:
        """Those of the part: ``time.hour=13``."""
        return self.values.feature_names()

    def accepts(self, column: Any) -> bool:
        """Whether the column holds what fit saw."""
        return bool(column.family == self.family)

    def prepare(self, column: Any) -> Column:
        """The part alone."""
        return read_part(super().prepare(column), self.part)

    def encode(self, column: Column, unknown: str) -> Encoded:
        """The features of each row."""
        return self.values.encode(column, unknown)

    def arrays(self) -> dict[str, Array]:
        """What a file keeps as arrays."""
        return self.values.arrays()

    def document(self) -> dict[str, Any]:
        """What a file keeps as JSON."""
        return {"kind": "date", "column": self.source, "part": self.part, "of": self.values.document()}

    @classmethod
    def restore(cls, values: Any, document: dict[str, Any]) -> DateField:
        """The field of such values that `document` described; ValueError or KeyError if it is no such."""
        source, part = str(document["column"]), document["part"]
        if part not in PARTS or not isinstance(values, (CategoryField, NumberField)):
            raise ValueError("parts of a field that do not fit together")
        if values.name != f"{source}.{part}":
            raise ValueError(f"a field {values.name!r} of part {part!r} of column {source!r}")
        return cls(source, part, values)
