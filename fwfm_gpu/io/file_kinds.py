"""What kind of data a file holds: by its first bytes, and for text by its first line."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from fwfm_gpu.errors import InputError

__all__ = ["DataFiles", "find_files"]

LOOKED_AT = 2**16  # bytes
SAFETENSORS = b'{"__metadata__":{"sha256":"'
ENTRY = re.compile(rb"^[^\s:]+:[^\s:]+(:[^\s:]+)?$")
DELIMITERS = b"\t,;|"
TABULAR = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class DataFiles:
    """Files of one kind, in the order in which they are read.

    Attributes
    ----------
    paths : tuple of str
    kind : {"parquet", "csv", "libffm", "libsvm", "encoded"}
    delimiter : str
        Of CSV.
    """

    paths: tuple[str, ...]
    kind: str
    delimiter: str = ","

    @property
    def name(self) -> str:
        """What messages call them."""
        more = len(self.paths) - 1
        return self.paths[0] + (f" and {more} more" if more else "")


def find_files(source: str | os.PathLike[str] | list[str | os.PathLike[str]]) -> DataFiles:
    """The files of a path, of a directory or of a list of these, and their kind.

    Parameters
    ----------
    source : path, or list of paths
        Of a directory all files at any depth, in the order of their names; hidden ones are left out.

    Raises
    ------
    InputError
        No file, a kind that is not known, or files of two kinds.
    OSError
        The system refused.
    """
    listed = source if isinstance(source, list | tuple) else [source]
    paths = [path for entry in listed for path in files_of(Path(os.fsdecode(entry)))]
    if not paths:
        raise InputError(f"expected at least one file of data, got none in {source!r}. Is it the right directory?")
    first = kind_of(paths[0])
    for path in paths[1:]:
        if (other := kind_of(path)) != first:
            raise InputError(
                f"files must be of one kind: {paths[0]} is {first[0]}, {path} is {other[0]}. Pass those of one kind."
            )
    return DataFiles(tuple(map(str, paths)), *first)


def files_of(path: Path) -> list[Path]:
    """The file itself, or what lies in the directory."""
    if not path.is_dir():
        return [path]
    inside = (entry for entry in sorted(path.rglob("*")) if entry.is_file())
    return [entry for entry in inside if not any(part[0] in "._" for part in entry.relative_to(path).parts)]


def kind_of(path: Path) -> tuple[str, str]:
    """The kind of a file, and the delimiter of its columns if it is CSV."""
    with open(path, "rb") as file:
        head = file.read(LOOKED_AT)
    if head.startswith(b"PAR1"):
        return "parquet", ","
    if head[8:].startswith(SAFETENSORS):
        return "encoded", ","
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, LOOKED_AT)
        except zlib.error as error:
            raise InputError(f"{path}: expected intact gzip data, got: {error}. Fetch the file again.") from error
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    lines = head.split(b"\n")
    if suffix.lower() not in TABULAR[:2]:
        for line in lines:
            entries = line.split(b"#")[0].split()[1:]
            if entries and (match := ENTRY.match(entries[0])):
                return "libffm" if match[1] else "libsvm", ","
    counts = {chr(mark): lines[0].count(mark) for mark in DELIMITERS}
    delimiter = max(counts, key=counts.__getitem__)
    if b"\0" not in head and (counts[delimiter] or suffix.lower() in TABULAR[:2]):
        return "csv", delimiter if counts[delimiter] else ","
    raise InputError(
        f"{path}: expected Parquet, CSV with a line of names, libffm or libsvm; got one that "
        f"begins with {head[:20]!r}. Convert it to one of these."
    )
