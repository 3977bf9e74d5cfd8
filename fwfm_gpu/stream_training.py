"""Training on rows that are read while they are trained on, and on tables that hold their own label."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.backends import get_backend
from fwfm_gpu.counts import named_columns, take_chosen
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.table_parts import names_of
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import Labels, choose_loss, encode_targets, refuse_count
from fwfm_gpu.matrix_reader import refuse_lazy
from fwfm_gpu.model import Trained
from fwfm_gpu.options import Options, check_integer
from fwfm_gpu.parameters import Array
from fwfm_gpu.problem import Problem, Settled
from fwfm_gpu.starts import start_parameters, start_state
from fwfm_gpu.stream_passes import StreamPasses
from fwfm_gpu.stream_sources import Roles, is_source, open_source, split_table
from fwfm_gpu.stream_survey import MOST_LABELS, Survey, is_fitted, take_survey

if TYPE_CHECKING:
    from fwfm_gpu.model import FwFM
    from fwfm_gpu.training import Given

__all__ = [
    "Reading",
    "go_on_with_stream",
    "read_table",
    "refuse_beside_counts",
    "refuse_roles",
    "refuse_table",
    "settle",
    "start_stream",
]

FIT_ROWS = 1_000_000
TWICE = ("y", "sample_weight", "label", "weight", "group")  # beside counts


@dataclass(frozen=True)
class Reading:
    """How a source or a table is read."""

    roles: Roles
    encoder: FieldEncoder | None = None
    fit_rows: int = FIT_ROWS
    fields: Any = None

    @classmethod
    def of(cls, roles: Roles, encoder: Any, fit_rows: int = FIT_ROWS, fields: Any = None) -> Reading:
        """From the keywords of ``train``, checked."""
        for role in ("label", "weight", "group"):
            name = getattr(roles, role)
            if name is not None and not isinstance(name, str):
                raise OptionError(f"{role} must be the name of a column of the source; got {type(name).__name__}.")
        if isinstance(roles.columns, str):
            raise OptionError(f"columns must be a list of column names, got {roles.columns!r}.")
        if encoder is not None and not isinstance(encoder, FieldEncoder):
            raise InputTypeError(f"encoder must be a FieldEncoder, fitted or not: got {type(encoder).__name__}.")
        check_integer("fit_rows", fit_rows, 1)
        columns = None if roles.columns is None else tuple(roles.columns)
        return cls(replace(roles, columns=columns), encoder, fit_rows, fields)


def start_stream(X: Any, options: Options, given: Given, reading: Reading) -> FwFM:
    """A new model, trained on a source."""
    from fwfm_gpu.training import run_loop

    refuse_in_streams(options, given)
    backend = get_backend(options.device, options.device_memory, options.n_threads)
    source = open_source(X, reading.roles, reading.fields)
    survey = take_survey(source, reading.encoder, reading.fit_rows)
    if reading.encoder is not None and (survey.columns.encoder is None or source.survey is not None):
        raise OptionError(f"encoder is for tables, and {source.name} gives rows that are encoded: leave it out.")
    settled = settle(options, survey)
    passes = StreamPasses(backend, source, settled, survey)
    generator = np.random.default_rng(options.seed)
    parameters = start_parameters(settled, generator)
    state = start_state(options.recipe(settled.loss), parameters)
    drawn = dict(generator.bit_generator.state)
    point = Trained(parameters, state, drawn, data_fingerprint=fingerprint(survey, passes))
    return run_loop((backend, settled, *nothing(settled)), point, options.epochs, given, passes)


def go_on_with_stream(
    model: FwFM, X: Any, settled: Settled, given: Given, reading: Reading
) -> tuple[StreamPasses, str]:
    """The passes of a model that goes on, and the fingerprint of their rows."""
    refuse_in_streams(settled.options, given)
    backend = get_backend(model.device, settled.options.device_memory, settled.options.n_threads)
    source = open_source(X, reading.roles, reading.fields)
    survey = take_survey(source, model.columns.encoder, reading.fit_rows)
    passes = StreamPasses(backend, source, settled, survey)
    return passes, fingerprint(survey, passes)


def nothing(settled: Settled) -> tuple[Problem, Array]:
    """No rows in memory, and none held out."""
    columns, none = settled.columns, np.zeros(0, np.int64)
    rows = FieldMatrix(np.zeros(1, np.int64), none, np.zeros(0), columns.fields, columns.n_fields)
    return Problem(rows, np.zeros(0), None, none), none


def refuse_in_streams(options: Options, given: Given) -> None:
    """What needs rows in memory.

    Raises
    ------
    OptionError
        validation_fraction, sample_weight.
    """
    if options.validation_fraction is not None:
        raise OptionError(
            "validation_fraction must be None for rows that are read from a source: rows that are held out have to lie "
            "in memory. Pass them as eval_set=(X, y)."
        )
    if given.sample_weight is not None:
        raise OptionError(
            "sample_weight must be None for rows that are read from a source: name their column, weight='...', or give "
            "batches (X, y, weight)."
        )


def settle(options: Options, survey: Survey) -> Settled:
    """The loss and the labels of what a first pass found."""
    loss = choose_loss(survey.labels, options.loss)
    columns = replace(survey.columns, normalize=options.normalize)
    if loss == "squared":
        encode_targets(survey.labels[:1], loss)  # strings are refused
        return Settled(options, loss, None, columns)
    if not survey.complete:
        raise InputError(
            f"the source holds more than {MOST_LABELS} distinct labels. Pass loss='squared' if they are numbers."
        )
    labels = Labels(survey.labels)
    refuse_count(labels, loss)
    return Settled(options, loss, labels, columns)


def fingerprint(survey: Survey, passes: StreamPasses) -> str:
    """Labels, weights and the length of a window: what tells whether an epoch may go on in the middle."""
    return f"{survey.fingerprint} {passes.window}"


def read_table(X: Any, reading: Reading) -> tuple[Any, Any, Any, Any]:
    """A table in memory by its roles: rows of an encoder, then label, weight and group."""
    chunk = split_table(X, reading.roles, (0, 0), reading.roles.features(names_of(X)))
    encoder = FieldEncoder() if reading.encoder is None else reading.encoder
    if not is_fitted(encoder):
        encoder = copy.copy(encoder).fit(chunk.X)  # the caller's own stays as it is
    if chunk.chosen is not None and not len(chunk):
        raise InputError("counts must hold an impression: those of all rows are 0.")
    return take_chosen(encoder.transform(chunk.X), chunk.chosen), chunk.y, chunk.weight, chunk.group


def refuse_beside_counts(loss: str, passed: Mapping[str, Any]) -> None:
    """What says the same thing again, or goes with no clicks, or with no arrays.

    Parameters
    ----------
    loss : str
    passed : mapping of str
        The keywords of the caller, X and counts among them.

    Raises
    ------
    OptionError
        y, sample_weight, label, weight or group beside counts; columns or an encoder beside arrays; or a loss without
        two labels.
    InputTypeError
        Arrays with rows that are read from a source, or names where X is no table.
    """
    X, counts = passed["X"], passed["counts"]
    named = named_columns(counts) is not None
    twice = [name for name in TWICE if passed.get(name) is not None]
    if twice:
        raise OptionError(
            f"counts= stands for y and sample_weight, and for label and weight, and goes with no group: got "
            f"{', '.join(twice)} beside it. Pass either counts alone, or those."
        )
    reads = [name for name in ("columns", "encoder") if passed.get(name) is not None]
    if reads and not named:
        raise OptionError(
            f"{' and '.join(reads)} read a table, and counts= holds arrays, not names of its columns: name both, "
            'counts=("clicks", "impressions"), or pass the rows of an encoder.'
        )
    if not named and is_source(X, None):
        raise InputTypeError(
            "counts of rows that are read from a source must be the names of two columns of its tables, "
            'counts=("clicks", "impressions"): got arrays.'
        )
    if named and not (is_source(X, None) or is_table(X)):
        raise InputTypeError(
            f"counts=({counts[0]!r}, {counts[1]!r}) names columns of a table, and X is none ({type(X).__name__}): pass "
            "the table, or two arrays."
        )
    if loss not in ("auto", "logistic"):
        raise OptionError(f'counts= needs loss="logistic" (or "auto"): clicks are one of two labels; got {loss!r}.')


def refuse_roles(X: Any, roles: Roles, encoder: Any = None) -> None:
    """Columns of a table are named, and X is none, or does not hold its label.

    Raises
    ------
    OptionError
        Always, where any is.
    InputTypeError
        X is a frame whose rows are not in memory.
    """
    refuse_lazy(X)
    if roles.given or encoder is not None:
        raise OptionError(
            "label, weight, columns, encoder, and names in group or counts are for tables that hold their label, and "
            "for sources: with y, pass encoder.fit_transform(X) as X, and sample_weight and group as arrays."
        )


def refuse_table(X: Any) -> None:
    """A table without its label has to be encoded first."""
    if is_table(X):
        raise InputTypeError(
            f"X is a table of named columns ({type(X).__name__}): pass FieldEncoder().fit_transform(X), so that the "
            "model keeps the encoder and reads such tables; or a plain array of its numbers."
        )
