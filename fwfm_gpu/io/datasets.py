"""Parquet and CSV files as tables of some rows at a time, in bounded memory, through pyarrow's scanner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fwfm_gpu.errors import InputError, MissingExtraError
from fwfm_gpu.io.file_kinds import DataFiles

__all__ = ["Dataset"]

CSV_BLOCK = 2**24  # bytes; the first one tells the types of the columns
AHEAD = 1  # batches and files that are read before they are asked for


@dataclass(frozen=True)
class Dataset:
    """The columns of Parquet or CSV files, those of one file after those of another.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    InputError
        A file that is not intact, or lacks a column that the first one has.
    """

    files: DataFiles

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns."""
        names = list(self.opened.schema.names)
        with readable(self.files.name):
            for fragment in self.opened.get_fragments():
                lost = [name for name in names if name not in fragment.physical_schema.names]
                if lost:
                    raise InputError(
                        f"{fragment.path}: expected the columns of {self.files.paths[0]}, got none called {lost[0]!r}. "
                        "Pass files of the same columns."
                    )
        return names

    @cached_property
    def opened(self) -> Any:
        """The pyarrow dataset."""
        try:
            import pyarrow.csv
            import pyarrow.dataset
        except ImportError as error:
            raise MissingExtraError(
                f"{self.files.kind} files need pyarrow: pip install 'fwfm-gpu[data]'. Or pass libffm files, or an "
                "iterable of batches, which need NumPy alone."
            ) from error
        kind: Any = "parquet"
        if self.files.kind == "csv":
            parsing = pyarrow.csv.ParseOptions(delimiter=self.files.delimiter)
            reading = pyarrow.csv.ReadOptions(block_size=CSV_BLOCK)
            kind = pyarrow.dataset.CsvFileFormat(parse_options=parsing, read_options=reading)
        with readable(self.files.name):
            return pyarrow.dataset.dataset(list(self.files.paths), format=kind)

    def tables(self, columns: list[str], rows: int) -> Iterator[Any]:
        """pyarrow tables of these columns, of about so many rows, in the order of the files.

        Raises
        ------
        InputError
            A file cannot be read, or holds other types than the first one.
        """
        import pyarrow
        import pyarrow.dataset

        options: dict[str, Any] = {}
        if self.files.kind == "parquet":  # else a whole row group is fetched at once
            options["fragment_scan_options"] = pyarrow.dataset.ParquetFragmentScanOptions(
                use_buffered_stream=True, pre_buffer=False
            )
        with readable(self.files.name):
            scanner = self.opened.scanner(
                columns=columns, batch_size=rows, batch_readahead=AHEAD, fragment_readahead=AHEAD, **options
            )
            for batch in scanner.to_batches():
                if batch.num_rows:
                    yield pyarrow.Table.from_batches([batch])


@contextmanager
def readable(name: str) -> Iterator[None]:
    """pyarrow's errors in our voice."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
        raise InputError(
            f"{name}: expected a file that pyarrow can read, with one type per column; of CSV the first "
            f"{CSV_BLOCK >> 20} MiB tell it. Got: {error}. Mend the file, or write it as Parquet."
        ) from error
