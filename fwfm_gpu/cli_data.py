"""Files of examples as the command line names them: options, formats, and rows for training and for a model."""

from __future__ import annotations

import io
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fwfm_gpu.cli_encoded import iterate_encoded, read_encoded
from fwfm_gpu.cli_encoder import encoder_for, fitted_encoder, kinds_asked, kinds_of
from fwfm_gpu.cli_flags import Flag, Several, add_flags, flags_of, given_flags, list_of_words, path_argument
from fwfm_gpu.columns import Column
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import FwfmError, InputError, InputTypeError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.interruption import raise_again
from fwfm_gpu.io.file_kinds import find_files
from fwfm_gpu.io.row_files import RowFormat, iterate_known_rows, read_known_rows, read_row_file
from fwfm_gpu.io.table_files import Dialect, TableFile, open_table_file
from fwfm_gpu.io.tables import open_table
from fwfm_gpu.list_columns import ListColumn
from fwfm_gpu.model import FwFM
from fwfm_gpu.parameters import Array

__all__ = ["Examples", "add_data", "add_encoding", "add_parsing", "add_roles", "form_of"]
__all__ += ["iterate_examples", "learn_encoder", "open_stream", "read_examples", "read_like", "rows_of"]

FORMS = {
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "ffm": "libffm",
    "libffm": "libffm",
    "svm": "libsvm",
    "libsvm": "libsvm",
    "svmlight": "libsvm",
}
PACKED = re.compile(r"\.(gz|bz2|zst|lz4)$")
TABLES = ("csv", "parquet", "arrow")


@dataclass(frozen=True)
class Examples:
    """Rows of a file.

    Attributes
    ----------
    X : table, or FieldMatrix
    y : (rows,) array, or None where no label is asked for
    weight, group : (rows,) arrays, optional
    kept : dict of column to list
        What is copied to the output.
    unknown : int
        Entries that the model does not know.
    """

    X: Any
    y: Any = None
    weight: Array | None = None
    group: Array | None = None
    kept: dict[str, list[Any]] | None = None
    unknown: int = 0


def add_data(parser: Any, what: str = "CSV, Parquet, Arrow, libffm or libsvm; - is CSV on standard input") -> None:
    """The file."""
    path_argument(parser, "data", metavar="DATA", help=what)


def add_roles(parser: Any, label: str = "the column that is to be predicted") -> Any:
    """Which column is what."""
    group = parser.add_argument_group("columns")
    group.add_argument("--label", metavar="COLUMN", help=f"{label}; libffm and libsvm files have it in front")
    group.add_argument("--weight", metavar="COLUMN", help="the weight of each row")
    group.add_argument(
        "--group", metavar="COLUMN", help="the user, query or page view of each row, for gauc, ndcg@10 and their like"
    )
    return group


def add_parsing(parser: Any) -> None:
    """How a file is to be read."""
    group = parser.add_argument_group("reading")
    choices = tuple(dict.fromkeys(FORMS.values()))
    group.add_argument("--format", choices=choices, help="default: by the name of the file, else by its start")
    group.add_argument("--delimiter", metavar="C", help="between cells of CSV (default: what its first line has)")
    group.add_argument(
        "--names", action=Several, type=list_of_words, help="columns of CSV that does not begin with their names"
    )
    group.add_argument("--no-header", action="store_true", help="CSV without names: columns are f0, f1, ...")
    group.add_argument(
        "--missing",
        type=lambda text: text.split(","),
        metavar="TEXTS",
        help='what stands for a missing value in CSV, as "?" (default: NA, NaN, null and their like; empty always)',
    )
    group.add_argument("--encoding", default="utf8", help="of CSV (default: utf8)")
    group.add_argument(
        "--shared-ids",
        choices=("error", "split"),
        default="error",
        help="libffm: a feature under two fields is an error, or one feature for each (default: error)",
    )
    group.add_argument(
        "--zero-based",
        choices=("auto", "yes", "no"),
        default="auto",
        help="libsvm: whether the first feature is 0 (default: auto)",
    )
    path_argument(
        group, "--fields", metavar="FILE", help="libsvm: text with the field of each feature (default: each its own)"
    )


def add_encoding(parser: Any, group: Any, more: Mapping[str, Flag] = MappingProxyType({})) -> None:
    """Which columns, and how they become features; more flags on that are the command's own."""
    group.add_argument("--columns", action=Several, type=list_of_words, help="only these columns (default: all others)")
    group.add_argument("--drop", action=Several, type=list_of_words, metavar="COLUMNS", help="all columns but these")
    add_flags(parser.add_argument_group("encoding of columns"), [*flags_of(FieldEncoder).values(), *more.values()])


def form_of(path: str, given: str | None) -> str:
    """The format: as given, by the name, or by the first bytes."""
    if given:
        return given
    if path == "-":
        return "csv"
    if os.path.isdir(path):
        kinds = {FORMS.get(file.suffix[1:].lower()) for file in Path(path).iterdir() if file.is_file()}
        return "arrow" if "arrow" in kinds and "parquet" not in kinds else "parquet"
    known = FORMS.get(PACKED.sub("", path.lower()).rpartition(".")[2])
    return known or find_files(path).kind


def source_of(path: str) -> Any:
    """A path, or what standard input holds."""
    return io.BytesIO(sys.stdin.buffer.read()) if path == "-" else path


def dialect_of(parsed: Namespace, path: str, kinds: dict[str, str] | None = None) -> Dialect:
    """How CSV is written."""
    delimiter = codepoint(parsed.delimiter)
    if delimiter is None and path != "-" and PACKED.sub("", path.lower()).endswith((".csv", ".txt", ".data")):
        delimiter = found_delimiter(path)
    return Dialect(
        delimiter=delimiter,
        names=tuple(parsed.names) if parsed.names else None,
        header=not parsed.no_header,
        missing=None if parsed.missing is None else tuple(parsed.missing),
        encoding=parsed.encoding,
        kinds=kinds or {},
    )


def found_delimiter(path: str) -> str | None:
    """What separates the names in the first line."""
    try:
        return find_files(path).delimiter
    except FwfmError:  # a single column, or packed otherwise
        return None


def codepoint(text: str | None) -> str | None:
    r"""A character; \t as it is typed in a shell."""
    return {"\\t": "\t", "tab": "\t"}.get(text, text) if text else None


def row_format(parsed: Namespace, form: str) -> RowFormat:
    """How libffm or libsvm is to be read."""
    fields = None
    if parsed.fields:
        try:
            fields = np.loadtxt(parsed.fields, dtype=np.int64, ndmin=1).ravel()
        except ValueError as error:
            raise InputError(f"{parsed.fields}: expected a whole number for each feature: {error}.") from error
    zero_based = parsed.zero_based if parsed.zero_based == "auto" else parsed.zero_based == "yes"
    return RowFormat(form, parsed.shared_ids, zero_based, fields)


def read_examples(parsed: Namespace, path: str, like: FieldEncoder | None = None) -> Examples:
    """A whole file for training.

    Parameters
    ----------
    parsed : what `add_data`, `add_roles` and `add_parsing` declared
    path : str
    like : FieldEncoder, optional
        Fitted: columns are read as it knows them.

    Raises
    ------
    OptionError
        A column is needed that is not named or not there.
    """
    form = form_of(path, parsed.format)
    if form not in TABLES:
        refuse_columns(parsed, path, form)
        if form == "encoded":
            whole = read_encoded(path)
            return Examples(whole.rows, whole.y, whole.weight, whole.group)
        rows, y = read_row_file(source_of(path), row_format(parsed, form))
        return Examples(rows, as_labels(y))
    kinds = kinds_asked(parsed) if like is None else kinds_of(like)
    file = open_table_file(source_of(path), form, dialect_of(parsed, path, kinds))
    roles = {role: getattr(parsed, role, None) for role in ("label", "weight", "group")}
    features = feature_columns(parsed, file, roles)
    table = file.read({*features, *(name for name in roles.values() if name)})
    parts = vectors(file.name, table, roles)
    X = table.select([name for name in table.column_names if name in set(features)])
    return Examples(X, parts["label"], parts["weight"], parts["group"])


def learn_encoder(parsed: Namespace, table: Any) -> FieldEncoder:
    """An encoder with the options given, fitted to what `read_examples` read."""
    return encoder_for(parsed, table.column_names, lambda names: [table.select(list(names))]).fit(table)


@dataclass(frozen=True)
class TableBatches:
    """The columns of a file in parts, from its start whenever it is iterated over."""

    file: TableFile
    columns: set[str]

    def __iter__(self) -> Iterator[Any]:
        for table in self.file.iterate(self.columns):
            raise_again()
            yield table


def open_stream(parsed: Namespace, path: str) -> tuple[Any, dict[str, Any]]:
    """A file to be read while it is trained on or converted: the source, and what to say of its columns."""
    form, like = form_of(path, parsed.format), getattr(parsed, "like", None)
    if form not in TABLES:
        refuse_columns(parsed, path, form)
        if hasattr(parsed, "fit_rows"):
            raise OptionError(f"{path}: --fit-rows is for CSV, Parquet and Arrow, and this is {form}. Leave it out.")
        if like:
            raise OptionError(f"{path}: --like is for CSV, Parquet and Arrow, and this is {form}. Leave it out.")
        if parsed.shared_ids != "error" or parsed.zero_based != "auto":
            raise OptionError("--shared-ids and --zero-based are for rows that are read at once, not for streams.")
        fields = row_format(parsed, form).fields
        return path, {} if fields is None else {"fields": fields}
    if path == "-":
        raise OptionError("standard input cannot be read more than once: write it to a file first.")
    fitted = fitted_encoder(like) if like else None
    if like and hasattr(parsed, "fit_rows"):
        raise OptionError("--fit-rows is for columns that are learned, and --like takes those of another file.")
    kinds = kinds_asked(parsed) | dict.fromkeys(getattr(parsed, "numeric", ()), "numbers")
    kinds = kinds if fitted is None else kinds_of(fitted)
    file = open_table_file(path, form, dialect_of(parsed, path, kinds))
    roles = {role: getattr(parsed, role, None) for role in ("label", "weight", "group")}
    features = feature_columns(parsed, file, roles) if fitted is None else known_columns(file, fitted, roles)
    named = {name for name in roles.values() if name}
    encoder = encoder_for(parsed, features, file.iterate) if fitted is None else fitted
    told = {role: name for role, name in roles.items() if name} | {"columns": features, "encoder": encoder}
    return TableBatches(file, {*features, *named}), told | given_flags(parsed, ("fit_rows",))


def known_columns(file: TableFile, encoder: FieldEncoder, roles: dict[str, str | None]) -> list[str]:
    """The columns that an encoder knows; all that are needed are there."""
    if "label" in roles and roles["label"] is None:
        raise OptionError(f"{file.name}: which column is to be predicted? Say --label COLUMN.")
    for name in [*encoder.column_names, *(name for name in roles.values() if name)]:
        if name not in file.names:
            raise InputError(f"{file.name}: there is no column {name!r}. There are: {', '.join(file.names[:30])}.")
    return list(encoder.column_names)


def read_like(parsed: Namespace, path: str, rows: Any) -> Examples:
    """Another whole file, its rows in the columns of others (FieldMatrix or Columns); the unknown is left out."""
    form = form_of(path, parsed.format)
    if form == "encoded":
        whole = read_encoded(path, rows)
        return Examples(whole.rows, whole.y, whole.weight, whole.group)
    if form in TABLES and rows.encoder is None:
        raise InputError(f"{path}: {parsed.data} holds rows without an encoder, so a table cannot be read like it.")
    if form not in TABLES:
        found, y, unknown = read_known_rows(source_of(path), form, rows)
        return Examples(found, as_labels(y), unknown=unknown)
    examples = read_examples(parsed, path, rows.encoder)
    return replace(examples, X=rows.encoder.transform(examples.X))


def refuse_columns(parsed: Namespace, path: str, form: str) -> None:
    """Options that name columns, where there are none, unless a table beside the file has them."""
    valid, test = getattr(parsed, "valid", None), getattr(parsed, "test", None)
    beside = [other for other in [*(valid if isinstance(valid, list) else [valid]), test] if other]
    beside = [other for other in beside if form_of(other, parsed.format) in TABLES]
    for name in ("label", "weight", "group", "columns", "drop"):
        if getattr(parsed, name, None) and not (beside and name in ("label", "weight", "group")):
            if form == "encoded":
                raise OptionError(
                    f"{path}: --{name} names a column, and a converted file has none: it holds what convert was told. "
                    "Leave it out."
                )
            raise OptionError(
                f"{path}: --{name} names a column, and {form} has none: its labels stand in front. Leave it out, or "
                "say --format."
            )


def feature_columns(parsed: Namespace, file: TableFile, roles: dict[str, str | None]) -> list[str]:
    """The columns to learn from."""
    there = f"There are: {', '.join(file.names[:30])}{', ...' if len(file.names) > 30 else ''}."
    if roles["label"] is None:
        raise OptionError(f"{file.name}: which column is to be predicted? Say --label COLUMN. {there}")
    named = [*(parsed.columns or ()), *(parsed.drop or ()), *(name for name in roles.values() if name)]
    for name in named:
        if name not in file.names:
            raise InputError(f"{file.name}: there is no column {name!r}. {there}")
    others = [name for name in file.names if name not in roles.values() and name not in (parsed.drop or ())]
    features = [name for name in others if parsed.columns is None or name in parsed.columns]
    if not features:
        raise OptionError(f"{file.name}: no column is left to learn from. {there}")
    return features


def vectors(file: str, table: Any, roles: dict[str, str | None]) -> dict[str, Any]:
    """The column of each role, None where it has none."""
    return {role: None if name is None else vector(file, table, name, role) for role, name in roles.items()}


def vector(file: str, table: Any, name: str, role: str) -> Array:
    """A column that must be whole, as an array."""
    column = open_table(table).read(name)
    if isinstance(column, ListColumn):
        raise InputTypeError(f"{file}: column {name!r} is the {role}, and holds lists: one value per row is expected.")
    if column.missing.any():
        row = int(np.argmax(column.missing))
        raise InputError(
            f"{file}: column {name!r} is the {role}, and is missing at row {row} (rows count from 0). Drop such rows."
        )
    return values_of(column)


def values_of(column: Column) -> Array:
    """Values as they came; strings as strings."""
    if column.categories is None:
        return column.values
    return np.array([*column.categories, None], object)[:-1][column.values].astype(str)


def as_labels(y: Array) -> Array:
    """Two whole numbers as integers, so that labels read 0 and 1 and not 0.0 and 1.0."""
    return y.astype(np.int64) if np.array_equal(y, np.trunc(y)) and len(np.unique(y)) == 2 else y


def iterate_examples(parsed: Namespace, model: FwFM, keep: list[str] | None = None) -> Iterator[Examples]:
    """A file for a model, some rows at a time.

    Raises
    ------
    InputError
        It does not hold what the model was trained on.
    """
    form, encoder = form_of(parsed.data, parsed.format), model.columns.encoder
    if form not in TABLES:
        refuse_columns(parsed, parsed.data, form)
        if form == "encoded":
            if keep:
                raise OptionError(f"{parsed.data}: --keep copies columns, and a converted file has none. Leave it out.")
            for chunk in iterate_encoded(parsed.data, model.columns):
                yield Examples(chunk.X, chunk.y, chunk.weight, chunk.group)
            return
        if encoder is not None:
            raise InputError(
                f"{parsed.data}: the model was trained on a table with the columns {', '.join(encoder.column_names)}, "
                f"and this is {form}. Pass a CSV or Parquet file with these columns."
            )
        for rows, y, unknown in iterate_known_rows(source_of(parsed.data), form, model.columns):
            raise_again()
            yield Examples(rows, y, unknown=unknown)
        return
    if encoder is None:
        raise InputError(
            f"{parsed.data}: the model was trained on rows without an encoder, so it cannot read a table. Pass libffm "
            "or libsvm rows, as in training."
        )
    roles = {role: getattr(parsed, role, None) for role in ("label", "weight", "group")}
    kinds = dict.fromkeys(keep or (), "strings") | kinds_of(encoder) | label_kind(model, roles["label"])
    kinds |= {roles["weight"]: "numbers"} if roles["weight"] else {}
    file = open_table_file(source_of(parsed.data), form, dialect_of(parsed, parsed.data, kinds))
    known_columns(file, encoder, {name: name for name in (*roles.values(), *(keep or ())) if name})
    for table in file.iterate({*encoder.column_names, *(name for name in roles.values() if name), *(keep or ())}):
        raise_again()
        parts = vectors(file.name, table, roles)
        kept = {name: [as_written(value) for value in table.column(name).to_pylist()] for name in keep or ()}
        yield Examples(table, parts["label"], parts["weight"], parts["group"], kept)


def as_written(value: Any) -> Any:
    """Whole numbers without a point, which a column that is read as numbers would give them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def label_kind(model: FwFM, label: str | None) -> dict[str, str]:
    """How the label has to be read."""
    if label is None:
        return {}
    kind = "f" if model.classes is None else model.classes.dtype.kind
    return {label: {"U": "strings", "i": "integers", "u": "integers", "b": "booleans"}.get(kind, "numbers")}


def rows_of(X: Any) -> int:
    """How many rows there are."""
    return int(X.n_rows) if isinstance(X, FieldMatrix) else len(X)
