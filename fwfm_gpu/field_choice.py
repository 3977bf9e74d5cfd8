"""Which kind of field a column becomes, and how a field comes back from its description."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fwfm_gpu.category_field import CategoryField, count_members, count_values, fit_categories, present_values
from fwfm_gpu.columns import Column
from fwfm_gpu.date_columns import NUMERIC_PARTS, read_part
from fwfm_gpu.date_field import DateField
from fwfm_gpu.encoder_options import EncoderOptions
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.hash_field import HashField, fit_hash
from fwfm_gpu.list_columns import ListColumn, split_strings
from fwfm_gpu.list_field import ListField
from fwfm_gpu.number_field import NumberField, check_exact, fit_numbers
from fwfm_gpu.parameters import Array

__all__ = ["Field", "fit_fields", "restore_field"]

Field = CategoryField | NumberField | HashField | ListField | DateField

MOST_INTEGER_CATEGORIES = 50  # distinct values; beyond them a column of integers is numeric


def fit_fields(column: Column | ListColumn, options: EncoderOptions) -> list[Field]:
    """The field, or of a date the fields, that a column becomes.

    Raises
    ------
    InputTypeError
        If the column holds something else than an option says, or dates that no option asks for.
    InputError
        If it is all missing, or as `FieldEncoder.fit` says.
    """
    name = column.name
    if column.missing.all():
        raise InputError(f"column {name!r} must hold at least one value: all are missing. Drop the column.")
    if name in (options.dates or {}):
        if isinstance(column, ListColumn) or column.kind != "times":
            raise InputTypeError(
                f"column {name!r} is named in dates, and holds {column.kind}. Convert it to dates or times, or leave "
                "it out of dates."
            )
        return _fit_dates(column, options)
    if isinstance(column, ListColumn) or name in (options.multi or {}):
        return [_fit_lists(column, options)]
    if column.kind == "times":
        raise InputTypeError(
            f"column {name!r} holds dates or times, which are encoded where an option asks for parts of them. Name "
            f"those that matter, as in FieldEncoder(dates={{{name!r}: ('hour', 'weekday')}}), or leave the column out."
        )
    if name in (options.hashed or {}):
        return [_fit_hash(column, count_values(column), options)]
    if name in (options.numeric or ()) and column.family != "numbers":
        raise InputTypeError(
            f"column {name!r} is named in numeric, and holds {column.kind}. Convert it to numbers, or name it in "
            "categorical."
        )
    present = present_values(column)
    if _is_numeric(column, len(present[0]), options):
        if name not in (options.numeric or ()):
            check_exact(column, present[0])
        return [fit_numbers(column, present, options.numeric_as, options.bins, options.min_count)]
    return [fit_categories(column, present, options.min_count)]


def restore_field(arrays: dict[str, Array], document: dict[str, Any]) -> Field:
    """The field that its `arrays` and `document` described; ValueError, KeyError or TypeError if they are no such."""
    if document["kind"] == "multi-valued":
        return ListField.restore(restore_field(arrays, document["of"]), document)
    if document["kind"] == "date":
        return DateField.restore(restore_field(arrays, document["of"]), document)
    kinds: dict[str, type[CategoryField | NumberField | HashField]]
    kinds = {"categorical": CategoryField, "numeric": NumberField, "hashed": HashField}
    return kinds[document["kind"]].restore(arrays, document)


def _is_numeric(column: Column, distinct: int, options: EncoderOptions) -> bool:
    if column.name in (options.categorical or ()) or column.family != "numbers":
        return False
    if column.name in (options.numeric or ()):
        return True
    return not column.labelled and (column.kind == "floats" or distinct > MOST_INTEGER_CATEGORIES)


def _fit_hash(column: Column, present: tuple[Array, Array], options: EncoderOptions) -> HashField:
    return fit_hash(column, present, (options.hashed or {})[column.name], options.hash_seed)


def _fit_dates(column: Column, options: EncoderOptions) -> list[Field]:
    fields: list[Field] = []
    for part in (options.dates or {})[column.name]:
        own = read_part(column, part)
        present = present_values(own)
        values: CategoryField | NumberField
        if part in NUMERIC_PARTS:
            values = fit_numbers(own, present, options.numeric_as, options.bins, options.min_count)
        else:
            values = fit_categories(own, present, options.min_count)
        fields.append(DateField(column.name, part, values))
    return fields


def _fit_lists(column: Column | ListColumn, options: EncoderOptions) -> ListField:
    name, separator = column.name, (options.multi or {}).get(column.name)
    for option in ("categorical", "numeric"):
        if name in (getattr(options, option) or ()):
            raise InputTypeError(
                f"column {name!r} is named in {option}, and holds lists. Leave it out there: a column of lists is "
                "multi-valued."
            )
    if isinstance(column, Column):
        if separator is None or column.kind != "strings":
            raise InputTypeError(
                f"column {name!r} is named in multi, and holds {column.kind}: lists are expected, or strings and their "
                f"separator, as in multi={{{name!r}: '|'}}."
            )
        column = split_strings(column, separator)
        if column.missing.all():
            raise InputError(f"column {name!r} must hold at least one value: all are missing. Drop the column.")
    members = replace(column.members, name=name)
    if members.kind == "floats" and name not in (options.multi or {}) and name not in (options.hashed or {}):
        raise InputTypeError(
            f"column {name!r} holds lists of floats: members are categories, and floats seldom are. Name the column in "
            "multi where they are; make a column of each where they are vectors."
        )
    own: CategoryField | HashField
    if name in (options.hashed or {}):
        counts = count_members(column)
        own = _fit_hash(members, counts, options)
    else:
        counts = present_values(column)
        own = fit_categories(members, counts, options.min_count)
    own = replace(own, missing=int(np.count_nonzero(column.missing)))
    mean = options.multi_value if isinstance(options.multi_value, str) else options.multi_value.get(name, "one")
    return ListField(own, separator, mean == "mean", int(counts[1].sum()))
