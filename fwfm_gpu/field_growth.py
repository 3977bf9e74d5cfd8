"""Categories that come later: fields with more features, and where the old ones are among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fwfm_gpu.category_field import CategoryField, present_values
from fwfm_gpu.columns import Column
from fwfm_gpu.date_field import DateField
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_choice import Field
from fwfm_gpu.fitted_fields import Fitted
from fwfm_gpu.list_field import ListField
from fwfm_gpu.parameters import Array

__all__ = ["grow_field", "grow_fields"]

Grown = tuple[Field, Array]  # and the new place, in the field, of each feature that it had


def grow_field(field: Field, column: Any, min_count: int) -> Grown:
    """The field with what its column holds beside.

    Parameters
    ----------
    field : of any kind
        Only categories grow.
    column : Column or ListColumn
        As the field takes it.
    min_count : int
        Rows that a category must be in for a feature of its own.
    """
    missing = int(np.count_nonzero(column.missing))
    if isinstance(field, CategoryField):
        return grow_categories(field, _present(column), missing, min_count)
    if isinstance(field, ListField) and isinstance(field.members, CategoryField):
        present = _present(column)
        members, places = grow_categories(field.members, present, missing, min_count)
        return replace(field, members=members, n_members=field.n_members + int(present[1].sum())), places
    if isinstance(field, DateField):
        values, places = grow_field(field.values, column, min_count)
        assert isinstance(values, type(field.values))
        return replace(field, values=values), places
    more = missing if field.missing else 0  # where fit saw none, what is missing has no feature
    places = np.arange(field.n_features)
    if isinstance(field, ListField):
        return replace(field, members=replace(field.members, missing=field.missing + more)), places
    return replace(field, missing=field.missing + more), places


def grow_categories(
    field: CategoryField, present: tuple[Array, Array], missing: int, min_count: int
) -> tuple[CategoryField, Array]:
    """A field of the categories of both, sorted; those that become frequent are rare no longer."""
    values, counts = present
    kind = field.vocabulary.dtype
    if kind == np.int64 and np.any(values != np.floor(values)):
        raise InputError(
            f"column {field.name!r} held whole numbers when the encoder was fitted: got "
            f"{values[values != np.floor(values)][0]}. Fit anew, or round it."
        )
    old, new = field.vocabulary.tolist(), values.astype(kind).tolist()
    rows = dict(zip(new, counts.tolist(), strict=True))
    frequent = {category for category, rare in zip(old, field.rare.tolist(), strict=True) if not rare}
    joined = sorted({*old, *new})
    rare = np.array([c not in frequent and rows.get(c, 0) < min_count for c in joined], bool)
    vocabulary = np.array([*joined, None], object)[:-1] if kind.kind == "O" else np.array(joined, kind)
    grown = replace(
        field,
        vocabulary=vocabulary,
        rare=rare,
        missing=field.missing + missing,
        keeps_rare=field.rare_feature >= 0,
    )
    places = np.full(field.n_features, -1)
    at = {category: i for i, category in enumerate(joined)}
    kept = [at[category] for category in old if category in frequent]
    places[: len(kept)] = grown.features[kept]
    for own in ("rare_feature", "missing_feature"):
        if getattr(field, own) >= 0:
            places[getattr(field, own)] = getattr(grown, own)
    return grown, places


def grow_fields(fitted: Fitted, grown: list[Grown], n_rows: int) -> Fitted:
    """All fields together: features that were there keep their numbers, the others follow.

    Raises
    ------
    InputError
        A new feature would have the name of another, and both would be renamed.
    """
    firsts = np.concatenate(([0], np.cumsum([field.n_features for field, _ in grown])))
    kept = np.concatenate([first + places for first, (_, places) in zip(firsts[:-1], grown, strict=True)])
    n_old, n = len(kept), int(firsts[-1])
    order: Array | None = fitted.order
    if n > n_old or order is not None:
        order = np.full(n, -1, np.int64)
        order[kept] = np.arange(n_old) if fitted.order is None else fitted.order
        order[order < 0] = np.arange(n_old, n)
    more = Fitted.of((field for field, _ in grown), fitted.n_rows + n_rows, order)
    before, after = fitted.empty.feature_names, more.empty.feature_names
    if before is not None and after is not None and after[:n_old] != before:
        i = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        raise InputError(
            f"a new feature must not have the name of another: {before[i]!r} would become {after[i]!r}. Rename the "
            "category or the column."
        )
    return more


def _present(column: Any) -> tuple[Array, Array]:
    """The values of a column and in how many rows each is; none where all are missing."""
    if column.missing.all():
        empty = np.empty(0, object if not isinstance(column, Column) or column.categories is not None else np.float64)
        return empty, np.empty(0, np.int64)
    return present_values(column)
