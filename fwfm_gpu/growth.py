"""New features behind those that a model has: ``FwFM.grow`` (numerics 8, growing)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.matrix_columns import check_fields, count_fields, read_names
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_columns import Columns
from fwfm_gpu.parameters import Array

__all__ = ["grow"]

NAMES = ("field_names", "feature_names")


def grow(model: FwFM, fields: Any, feature_names: Any = None, field_names: Any = None) -> FwFM:
    """``FwFM.grow``: the model is changed when all went well."""
    old = model.columns
    if is_table(fields):
        raise InputTypeError(
            f"a model grows by rows or by bare fields: got a table ({type(fields).__name__}). Pass "
            "encoder.transform(table) after encoder.partial_fit(table)."
        )
    if isinstance(fields, FieldMatrix):
        columns = continued(old, Columns.of(fields, old.normalize))
    else:
        columns = extended(old, fields, {"feature_names": feature_names, "field_names": field_names})
    new = columns.fields[len(old.fields) :]
    trained, options = model.trained, replace(model.options, device=model.device)
    backend = get_backend(options.device, options.device_memory, options.n_threads)
    recipe = None if trained.optimizer_state is None else options.recipe(model.loss)
    resident = backend.load_model(trained.parameters, trained.optimizer_state, recipe)
    grown = backend.grow_model(resident, new, new_factors(model, len(new)))
    parameters, state = backend.fetch_model(grown)
    # Rows of the former columns fit the grown parameters, not the other way round: parameters come first.
    model.trained = replace(trained, parameters=parameters, optimizer_state=state, best=None)
    model.columns = columns
    return model


def new_factors(model: FwFM, count: int) -> Array:
    """The factors of new features, (C, count, k) of T, from a generator of their own."""
    p = model.parameters
    generator = np.random.default_rng([model.options.seed, p.n_features, count])
    return generator.normal(0, model.options.init_scale, (p.n_classes, count, p.n_factors)).astype(p.dtype)


def continued(old: Columns, new: Columns) -> Columns:
    """The columns of wider rows, whose first are those of the model.

    Raises
    ------
    InputError
        They are not.
    """
    n = len(old.fields)
    if len(new.fields) < n:
        raise InputError(
            f"rows to grow by must begin with the columns of the model: expected at least {n}, got {len(new.fields)}."
        )
    if not np.array_equal(new.fields[:n], old.fields):
        column = int(np.argmax(new.fields[:n] != old.fields))
        raise InputError(
            f"rows to grow by must begin with the columns of the model: column {column} is of field "
            f"{old.fields[column]}, and of field {new.fields[column]} in them. New features stand behind the old ones."
        )
    for what in NAMES:
        known, found = getattr(old, what), getattr(new, what)
        if known is not None and found is not None and found[: len(known)] != known:
            i = next(i for i, (a, b) in enumerate(zip(known, found, strict=False)) if a != b)
            raise InputError(
                f"rows to grow by must begin with the {what} of the model: expected {known[i]!r} at {what}[{i}], got "
                f"{found[i]!r}. Encode them with an encoder that grew by partial_fit."
            )
    return new


def extended(old: Columns, fields: Any, names: dict[str, Any]) -> Columns:
    """The model's columns and some more.

    Raises
    ------
    InputError
        The model has an encoder, which makes its columns; fields that are not whole numbers from 0; or names that are
        not as many as needed.
    """
    if old.encoder is not None:
        raise InputError(
            "a model with an encoder grows by rows: got bare fields. Pass encoder.transform(table) after "
            "encoder.partial_fit(table)."
        )
    new = np.zeros(0, old.fields.dtype)
    if np.size(fields):
        new, _ = check_fields(fields, len(np.atleast_1d(fields)), None)
    n_fields = max(old.n_fields, int(new.max(initial=-1)) + 1)
    count_fields(n_fields, None)
    field_names = join_names("field_names", old.field_names, names["field_names"], n_fields - old.n_fields)
    feature_names = join_names("feature_names", old.feature_names, names["feature_names"], len(new))
    joined = np.concatenate((old.fields, new))
    return replace(old, fields=joined, n_fields=n_fields, field_names=field_names, feature_names=feature_names)


def join_names(what: str, known: tuple[str, ...] | None, given: Any, count: int) -> tuple[str, ...] | None:
    """The names of what was there and of what is new: of all or of none."""
    if known is None:
        if given is not None:
            raise InputError(f"{what} must be left out, since the model has none: got {given!r}.")
        return None
    return known + (read_names(what, () if given is None else given, count) or ())
