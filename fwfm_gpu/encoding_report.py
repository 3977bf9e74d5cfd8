"""What an encoder saw, field by field, as values and as a table to read."""

from __future__ import annotations

from dataclasses import dataclass

from fwfm_gpu.field_choice import Field
from fwfm_gpu.hash_field import Collisions, HashField
from fwfm_gpu.list_field import ListField
from fwfm_gpu.text_table import lined_up

__all__ = ["EncodingReport", "FieldReport", "report_field"]


@dataclass(frozen=True)
class FieldReport:
    """One field.

    Attributes
    ----------
    name : str
    kind : str
        ``"categorical"``, ``"numeric"`` or ``"hashed"``, after ``"multi-valued, "`` or ``"date, "`` where it is such.
    distinct : int
        Distinct values in fit, of a multi-valued column its members'.
    missing : int
        Rows of fit without a value.
    rare : int
        Categories that share the rare feature.
    features : int
    unknown_rate : float or None
        Share of the rows of the last transform that held a value which fit did not see; None before the first.
    note : str
        What contributes nothing; how many hashed values share a bucket.
    values_per_row : float or None
        Distinct members of a row of fit, on average; None where a row has one value.
    collisions : Collisions or None
        Of a hashed column.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    rare: int
    features: int
    unknown_rate: float | None
    note: str
    values_per_row: float | None = None
    collisions: Collisions | None = None


class EncodingReport(list[FieldReport]):
    """The reports of all fields; str() of it is a table."""

    def __str__(self) -> str:
        """Values per row stand in it where a column is multi-valued."""
        several = ("values_per_row",) * any(report.values_per_row is not None for report in self)
        heads = ("name", "kind", "distinct", "missing", "rare", "features", *several, "unknown_rate", "note")
        lines = [[head.replace("_", " ") for head in heads]]
        lines += [[_shown(head, getattr(report, head)) for head in heads] for report in self]
        return lined_up(lines, range(2, len(heads) - 1))


def report_field(field: Field, unknown: str, rate: float | None, n_rows: int) -> FieldReport:
    """The report of one field that fit saw so many rows of; ``unknown`` is the encoder's option."""
    values = field.members if isinstance(field, ListField) else field
    collisions = values.collisions if isinstance(values, HashField) else None
    notes = [note(field, unknown), "" if collisions is None else note_collisions(collisions)]
    return FieldReport(
        field.name,
        field.kind,
        field.distinct,
        field.missing,
        field.n_rare,
        field.n_features,
        rate,
        "; ".join(filter(None, notes)),
        field.n_members / n_rows if isinstance(field, ListField) else None,
        collisions,
    )


def note(field: Field, unknown: str) -> str:
    """Which values contribute nothing, as no feature was trained for them."""
    if unknown == "error":
        return ""
    silent = []
    if field.learns_values and (unknown == "ignore" or not field.has_rare):
        silent.append("unknown")
    if not field.missing:
        silent.append("missing")
    return f"{' and '.join(silent)} values contribute nothing" if silent else ""


def note_collisions(collisions: Collisions) -> str:
    """How many values cannot be told from another one."""
    return (
        f"{collisions.sharing} values share a bucket ({collisions.expected:.3g} by chance), "
        f"{collisions.share:.2%} of all; {collisions.used} buckets used"
    )


def _shown(head: str, cell: str | int | float | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2%}" if head == "unknown_rate" else f"{cell:.2f}" if isinstance(cell, float) else str(cell)
