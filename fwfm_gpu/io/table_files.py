"""Tables in files: CSV and other delimited text, Parquet, Arrow; read whole or in chunks, through pyarrow.

A table is a ``pyarrow.Table``, which a FieldEncoder reads as it is.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from fwfm_gpu.errors import InputError, MissingExtraError, OptionError
from fwfm_gpu.io.source import name_of

__all__ = ["Dialect", "TableFile", "open_table_file", "write_parquet"]

Source = str | os.PathLike[str] | BinaryIO

BLOCK_BYTES = 2**24  # of text at once; no line may be longer
ROWS_AT_ONCE = 2**16
KINDS = {"strings": "string", "numbers": "float64", "integers": "int64", "booleans": "bool_"}
POSITION = re.compile(r"(?:CSV parse error: )?Row #(\d+): ")
CONVERSION = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?")


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written.

    Attributes
    ----------
    delimiter : str, optional
        One character; None is a tab in a file named ``.tsv``, else a comma.
    names : tuple of str, optional
        Of the columns, where the file does not begin with them.
    header : bool
        Whether it does. Without header and names the columns are f0, f1, ...
    missing : tuple of str, optional
        What stands for a missing value beside the empty cell; None is NA, NaN, null and their like.
    encoding : str
    kinds : mapping of column to "strings", "numbers", "integers" or "booleans"
        What the other columns hold is inferred.
    """

    delimiter: str | None = None
    names: tuple[str, ...] | None = None
    header: bool = True
    missing: tuple[str, ...] | None = None
    encoding: str = "utf8"
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter.encode()) != 1:
            raise OptionError(f"delimiter must be one ASCII character, got {self.delimiter!r}.")


class TableFile:
    """A file that holds a table. ``names`` are those of its columns.

    Made by `open_table_file`. A column that is asked for and not there is left out: whoever needs it says so.
    """

    names: tuple[str, ...]

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = name_of(source)

    def read(self, columns: Collection[str] | None = None) -> Any:
        """The whole table, or these columns of it, in the order of the file."""
        raise NotImplementedError

    def iterate(self, columns: Collection[str] | None = None) -> Iterator[Any]:
        """The same, some rows at a time: memory does not grow with the file."""
        raise NotImplementedError

    def kept(self, columns: Collection[str] | None) -> list[str]:
        """Those of the columns that are there."""
        return [name for name in self.names if columns is None or name in columns]

    def check_names(self) -> None:
        """Columns are known by name."""
        twice = [name for name, times in Counter(self.names).items() if times > 1]
        if twice:
            raise InputError(
                f"{self.name}: column names must differ: {twice[0]!r} names {self.names.count(twice[0])} columns. "
                "Rename them in the file."
            )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What pyarrow refuses, in our words."""
        import pyarrow

        try:
            yield
        except pyarrow.ArrowInvalid as error:
            raise InputError(self.explained(str(error))) from error
        except (pyarrow.ArrowNotImplementedError, LookupError, UnicodeError) as error:
            raise InputError(f"{self.name}: {error}.") from error

    def explained(self, message: str) -> str:
        """The file, what is wrong, and what to do."""
        return f"{self.name}: {message.strip().rstrip('.')}."


class DelimitedFile(TableFile):
    """CSV and its relatives. Quoted cells may hold delimiters and line ends."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        import pyarrow.csv

        super().__init__(source)
        self.dialect = dialect
        self.start = None if isinstance(source, (str, os.PathLike)) else source.tell()
        with self.translated():
            self.names = tuple(pyarrow.csv.open_csv(self.fresh(), **self.options(None, kinds=False)).schema.names)
        self.check_names()

    def read(self, columns: Collection[str] | None = None) -> Any:
        import pyarrow.csv

        with self.translated():
            return self.decoded(pyarrow.csv.read_csv(self.fresh(), **self.options(columns)))

    def iterate(self, columns: Collection[str] | None = None) -> Iterator[Any]:
        import pyarrow.csv

        with self.translated():
            for batch in pyarrow.csv.open_csv(self.fresh(), **self.options(columns)):
                yield self.decoded(pyarrow.Table.from_batches([batch]))

    def decoded(self, table: Any) -> Any:
        """The table, whose text is text: pyarrow leaves what is not in the encoding as bytes."""
        for name, kind in zip(table.column_names, table.schema.types, strict=True):
            if _pyarrow().types.is_binary(kind):
                raise InputError(
                    f"{self.name}: column {name!r} must be in the encoding {self.dialect.encoding!r}, and is not. "
                    "Say in which it is, such as latin-1."
                )
        return table

    def fresh(self) -> Any:
        """The file from its start."""
        if isinstance(self.source, (str, os.PathLike)):
            return os.fspath(self.source)
        self.source.seek(self.start or 0)
        return self.source

    def options(self, columns: Collection[str] | None, *, kinds: bool = True, threads: bool = True) -> dict[str, Any]:
        """What pyarrow calls the dialect."""
        import pyarrow.csv as csv

        dialect, told = self.dialect, self.dialect.kinds if kinds else {}
        delimiter = dialect.delimiter or ("\t" if re.search(r"\.tsv(\.\w+)?$", self.name) else ",")
        convert = csv.ConvertOptions(
            column_types={name: getattr(_pyarrow(), KINDS[kind])() for name, kind in told.items()},
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        )
        if columns is not None:
            convert.include_columns = self.kept(columns)
        if dialect.missing is not None:
            convert.null_values = ["", *dialect.missing]
        return {
            "read_options": csv.ReadOptions(
                block_size=BLOCK_BYTES,
                encoding=dialect.encoding,
                column_names=list(dialect.names) if dialect.names else None,
                autogenerate_column_names=not (dialect.header or dialect.names),
                use_threads=threads,
            ),
            "parse_options": csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            "convert_options": convert,
        }

    def explained(self, message: str) -> str:
        """Where it is, which pyarrow says only where it reads in one thread; and what to do."""
        if "CSV parse error" in message and not POSITION.match(message):
            message = self.placed(message)
        if found := POSITION.match(message):
            return f"{self.name}, row {found[1]}: {message[found.end() :].rstrip('.')}. Correct the row."
        if found := CONVERSION.match(message):
            number = int(found[1])
            column = repr(self.names[number]) if hasattr(self, "names") and number < len(self.names) else f"{number}"
            where = f", row {found[2]}" if found[2] else ""
            what = message[found.end() :].replace("CSV conversion error to ", "expected values of type ")
            advice = "Say in which encoding the file is, such as latin-1" if "UTF8" in message else "Correct it"
            return f"{self.name}{where}, column {column}: {what.rstrip('.')}. {advice}."
        if "Empty CSV file" in message:
            return f"{self.name}: expected a line of column names and rows, got an empty file."
        if "straddling" in message:
            return (
                f"{self.name}: a row of more than {BLOCK_BYTES} bytes: is a quotation mark left open, or is it no text?"
            )
        return super().explained(message)

    def placed(self, message: str) -> str:
        """The same message with the number of the row."""
        import pyarrow
        import pyarrow.csv

        try:
            pyarrow.csv.read_csv(self.fresh(), **self.options(None, threads=False))
        except pyarrow.ArrowInvalid as error:
            return str(error)
        return message


class ColumnarFile(TableFile):
    """Parquet or Arrow (Feather) files, one or a folder of them."""

    def __init__(self, source: Source, form: str) -> None:
        super().__init__(source)
        import pyarrow.dataset

        if not isinstance(source, (str, os.PathLike)):
            raise InputError(f"{self.name}: a {form} file must be given by its path, a stream cannot be read twice.")
        with self.translated():
            self.dataset = pyarrow.dataset.dataset(os.fspath(source), format="ipc" if form == "arrow" else form)
        self.names = tuple(self.dataset.schema.names)
        self.check_names()

    def read(self, columns: Collection[str] | None = None) -> Any:
        with self.translated():
            return self.dataset.to_table(columns=self.kept(columns))

    def iterate(self, columns: Collection[str] | None = None) -> Iterator[Any]:
        import pyarrow

        with self.translated():
            for batch in self.dataset.to_batches(columns=self.kept(columns), batch_size=ROWS_AT_ONCE):
                if batch.num_rows:
                    yield pyarrow.Table.from_batches([batch])


def open_table_file(source: Source, form: str, dialect: Dialect | None = None) -> TableFile:
    """Look at a file's columns without reading its rows.

    Parameters
    ----------
    source : str, path-like, or for delimited text a seekable binary file
        Text may be packed by gzip or another packer that its name tells.
    form : {"csv", "parquet", "arrow"}
    dialect : Dialect, optional
        Of delimited text.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    InputError
        It is no such file, or two columns have one name.
    OSError
        The system refused.
    """
    _pyarrow()
    if isinstance(source, (str, os.PathLike)):
        os.stat(source)  # the system's own words for what is not there
    if form == "csv":
        return DelimitedFile(source, dialect or Dialect())
    return ColumnarFile(source, form)


def write_parquet(file: BinaryIO, parts: Iterator[Mapping[str, Any]]) -> None:
    """Write dicts of columns, all alike, one below the other; the first one says what the columns hold."""
    pyarrow = _pyarrow()
    import pyarrow.parquet as parquet

    writer = None
    try:
        for columns in parts:
            table = pyarrow.table(dict(columns))
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _pyarrow() -> Any:
    """pyarrow, or the error that says how to get it."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError(
            "CSV, Parquet and Arrow files are read by pyarrow, which is not installed: pip install 'fwfm-gpu[data]'. "
            "libffm and libsvm files need NumPy alone."
        ) from error
    return pyarrow
