"""Training that goes on: ``FwFM.continue_training`` and ``FwFM.partial_fit``."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from fwfm_gpu.backends import get_backend
from fwfm_gpu.counts import expand, named_columns
from fwfm_gpu.epochs import diverged
from fwfm_gpu.errors import FwfmWarning, MissingStateError, OptionError
from fwfm_gpu.history import Position
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import encode_targets
from fwfm_gpu.model import FwFM, Trained
from fwfm_gpu.options import check_integer
from fwfm_gpu.problem import Problem, Settled, fingerprint, hold_out, make_problem, training_part
from fwfm_gpu.stream_sources import Roles, is_source
from fwfm_gpu.stream_training import (
    Reading,
    go_on_with_stream,
    nothing,
    read_table,
    refuse_beside_counts,
    refuse_roles,
)
from fwfm_gpu.training import Given, fetch_targets, run_loop, warn_of_streams

__all__ = ["pass_once", "resume"]


def resume(
    model: FwFM, X: Any, y: Any, epochs: int, given: Given, names: tuple[Any, Any, Any] = (None, None, None)
) -> FwFM:
    """``FwFM.continue_training``: the model is changed when all went well, or stopped by Ctrl-C.

    The names are those of label, weight and columns of tables.
    """
    check_integer("epochs", epochs, 0)
    reading = read_names(model, X, y, given, names)
    if is_source(X, y):
        return resume_stream(model, X, epochs, given, reading)
    X, y, given = read_again(model, X, y, given, reading)
    backend = get_backend(model.device, model.options.device_memory, model.options.n_threads)
    y, given = fetch_targets(backend, y, given)
    settled, problem = reopen(model, X, y, given)
    start_point = where_it_stands(model, settled, fingerprint(problem, backend))
    trained_on, held = hold_out(settled.options, problem.rows.n_rows, np.random.default_rng(settled.options.seed))
    session = (backend, settled, training_part(problem, trained_on), held)
    return adopt(model, run_loop(session, start_point, epochs, given))


def read_names(model: FwFM, X: Any, y: Any, given: Given, names: tuple[Any, Any, Any]) -> Reading:
    """How X is read: label, weight and columns are names, and counts may be."""
    label, weight, columns = names
    if given.counts is not None:
        passed = {"label": label, "weight": weight, "columns": columns}
        refuse_beside_counts(model.loss, {"X": X, "y": y, **passed, **vars(given)})
    roles = Roles(label, weight, given.group_column, columns, named_columns(given.counts))
    return Reading.of(roles, model.columns.encoder)


def read_again(model: FwFM, X: Any, y: Any, given: Given, reading: Reading) -> tuple[Any, Any, Given]:
    """Rows in memory with y and weights, whether these are given, or counts are, or a table holds them."""
    if given.counts is not None and reading.roles.counts is None:
        rows, y, weight = expand(model.columns.read(X, model.options.dtype), given.counts)
        return rows, y, replace(given, sample_weight=weight)
    if y is None and is_table(X):
        X, y, own_weight, own_group = read_table(X, reading)
        return X, y, given.with_columns(own_weight, own_group, model.options)
    refuse_roles(X, reading.roles)
    return X, y, given


def resume_stream(model: FwFM, X: Any, epochs: int, given: Given, reading: Reading) -> FwFM:
    """`resume` on a source."""
    settled = settle_again(model, given)
    passes, print_of_data = go_on_with_stream(model, X, settled, given, reading)
    start_point = where_it_stands(model, settled, print_of_data)
    session = (passes.backend, settled, *nothing(settled))
    return adopt(model, run_loop(session, start_point, epochs, given, passes))


def adopt(model: FwFM, done: FwFM) -> FwFM:
    """The model, changed into what training on has made."""
    model.options, model.device, model.trained = done.options, done.device, done.trained
    return model


def where_it_stands(model: FwFM, settled: Settled, print_of_data: str) -> Trained:
    """Where training goes on, given what the data are."""
    trained = model.trained
    if trained.position.batches and print_of_data != trained.data_fingerprint:
        warnings.warn(
            f"epoch {trained.position.epochs + 1} was interrupted on other data: its rest is left out.",
            FwfmWarning,
            stacklevel=4,
        )
        trained = replace(trained, position=Position(trained.position.epochs))
    warn_of_streams(trained, settled.options)
    return replace(trained, data_fingerprint=print_of_data)


def settle_again(model: FwFM, given: Given) -> Settled:
    """What a model that can be trained on knows.

    Raises
    ------
    MissingStateError
        It has no optimizer state.
    """
    if model.optimizer_state is None:
        raise MissingStateError(
            "training on needs the optimizer state, and this model has none: it was saved with optimizer_state=False. "
            "Load a file that holds it, or train anew."
        )
    options = replace(model.options, device=model.device)
    if given.eval_metric is not None:
        options = replace(options, eval_metric=given.eval_metric)
    if given.schedule is not None:
        options = replace(options, schedule=given.schedule)
    return Settled(options, model.loss, model.labels, model.columns)


def reopen(model: FwFM, X: Any, y: Any, given: Given) -> tuple[Settled, Problem]:
    """More data for a model that can be trained on."""
    settled = settle_again(model, given)
    rows = model.columns.read(X, settled.options.dtype)
    targets, _ = encode_targets(y, model.loss, model.labels)
    return settled, make_problem(settled, rows, targets, given.sample_weight)


def pass_once(model: FwFM, X: Any, y: Any, given: Given, names: tuple[Any, Any, Any] = (None, None, None)) -> FwFM:
    """``FwFM.partial_fit``: the rows in the order given; the model is changed when all went well."""
    if model.options.class_weight == "balanced":
        raise OptionError(
            'partial_fit cannot balance classes that it sees in parts: class_weight="balanced" would weigh each call '
            "anew. Train with a mapping of label to weight."
        )
    backend = get_backend(model.device, model.options.device_memory, model.options.n_threads)
    X, y, given = read_again(model, X, y, given, read_names(model, X, y, given, names))
    y, given = fetch_targets(backend, y, given)
    settled, problem = reopen(model, X, y, given)
    trained, recipe = model.trained, settled.options.recipe(settled.loss)
    began = time.perf_counter()
    resident = backend.load_model(trained.parameters, trained.optimizer_state, recipe)
    run = backend.begin(resident, backend.load_data(problem.rows, problem.y, problem.weight), problem.visited)
    backend.advance(run, -(-len(problem.visited) // recipe.batch_size))
    collected = backend.collect(run)
    position = Position(trained.position.epochs)
    if collected.first_bad is not None:
        raise diverged(replace(position, batches=collected.first_bad), model)
    parameters, state = backend.fetch_model(resident)
    if trained.position.batches:
        warnings.warn(
            f"epoch {position.epochs + 1} was interrupted, and a pass begins elsewhere: its rest is left out.",
            FwfmWarning,
            stacklevel=3,
        )
    model.trained = replace(
        trained,
        parameters=parameters,
        optimizer_state=state,
        position=position,
        seconds=trained.seconds + time.perf_counter() - began,
        data_fingerprint=fingerprint(problem, backend),
        best=None,
    )
    return model
