"""What an encoder saw, field by field, as values and as a table to read."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from fwfm_gpu.category_field import CategoryField
from fwfm_gpu.number_field import NumberField

__all__ = ["EncodingReport", "FieldReport", "report_field"]


@dataclass(frozen=True)
class FieldReport:
    """One field.

    Attributes
    ----------
    name : str
    kind : str
        ``"categorical"`` or ``"numeric"``.
    distinct : int
        Distinct values in fit.
    missing : int
        Rows of fit without a value.
    rare : int
        Categories that share the rare feature.
    features : int
    unknown_rate : float or None
        Share of the rows of the last transform whose value fit did not see; None before the first.
    note : str
        What contributes nothing.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    rare: int
    features: int
    unknown_rate: float | None
    note: str


class EncodingReport(list[FieldReport]):
    """The reports of all fields; str() of it is a table."""

    def __str__(self) -> str:
        heads = [field.name.replace("_", " ") for field in fields(FieldReport)]
        lines = [heads, *([_shown(cell) for cell in astuple(report)] for report in self)]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if 2 <= i < len(heads) - 1 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def report_field(field: CategoryField | NumberField, unknown: str, rate: float | None) -> FieldReport:
    """The report of one field; ``unknown`` is the encoder's option."""
    return FieldReport(
        field.name,
        field.kind,
        field.distinct,
        field.missing,
        field.n_rare,
        field.n_features,
        rate,
        note(field, unknown),
    )


def note(field: CategoryField | NumberField, unknown: str) -> str:
    """Which values contribute nothing, as no feature was trained for them."""
    if unknown == "error":
        return ""
    silent = []
    if field.kind == "categorical" and (unknown == "ignore" or not field.n_rare):
        silent.append("unknown")
    if not field.missing:
        silent.append("missing")
    return f"{' and '.join(silent)} values contribute nothing" if silent else ""


def _shown(cell: str | int | float | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2%}" if isinstance(cell, float) else str(cell)
