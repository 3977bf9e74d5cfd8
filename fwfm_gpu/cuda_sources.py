"""The CUDA C sources: where they lie, one file joined with what it includes, and the arguments its kernels take.

Structs and signatures are read from the sources themselves, so that what a launch is checked against can never be
another thing than what was compiled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.errors import DeviceError

__all__ = ["COMPILED_K", "Source", "Variant", "read_source", "source_folder"]

COMPILED_K = (4, 8, 10, 16, 32, 64, 128)  # numbers of factors that kernels are compiled for; others go at run time

INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*")
STRUCT = re.compile(r"(?<!>\n)^struct (\w+)\s*\{(.*?)^\};", re.MULTILINE | re.DOTALL)
KERNEL = re.compile(r'^extern "C" __global__ void (?:\w+\([^)]*\)\s+)?(\w+)\(([^)]*)\)', re.MULTILINE)
CONSTANT = re.compile(r"^constexpr int (\w+) = (\d+);", re.MULTILINE)
DECLARATION = re.compile(r"(?:const )?([\w ]+?)(?: ?(\*) ?(?:__restrict__ )?| )(\w+)")
NUMBERS = {"int": "int32", "long long": "int64", "float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Variant:
    """What a source is compiled for."""

    real: str = "float32"  # T
    index: str = "int32"  # of features
    k: int = -1  # factors as a constant; -1: known at run time

    @property
    def defines(self) -> tuple[str, ...]:
        """The macros; all begin with FWFM_, so that none meets a name in a compiler's own headers."""
        c_names = {number: name for name, number in NUMBERS.items()}
        return (
            f"-DFWFM_REAL={c_names[self.real]}",
            f"-DFWFM_INDEX={c_names[self.index].replace(' ', '_')}",
            f"-DFWFM_K={self.k}",
        )

    def dtype(self, c_type: str) -> np.dtype[Any]:
        """The dtype of a C type's name."""
        return np.dtype({"real": self.real, "index_t": self.index}.get(c_type) or NUMBERS[c_type])


@dataclass(frozen=True)
class Source:
    """One translation unit: a ``.cu`` file with what it includes, as text."""

    name: str
    text: str

    @cached_property
    def structs(self) -> dict[str, list[tuple[str, str, bool]]]:
        """Members of each struct without functions: name, C type, whether it is a pointer."""
        found = STRUCT.findall(COMMENT.sub("", self.text))
        return {name: parse(body.split(";")) for name, body in found if "(" not in body}

    @cached_property
    def kernels(self) -> dict[str, list[tuple[str, str, bool]]]:
        """Parameters of each kernel: name, C type, whether it is a pointer."""
        return {name: parse(text.split(",")) for name, text in KERNEL.findall(COMMENT.sub("", self.text))}

    @cached_property
    def constants(self) -> dict[str, int]:
        """The whole numbers that the source names: a launch goes by the same."""
        return {name: int(value) for name, value in CONSTANT.findall(self.text)}

    def layout(self, struct: str, variant: Variant) -> np.dtype[Any]:
        """The struct as a NumPy dtype with C's alignment; pointers are uint64."""
        members: list[tuple[str, Any]] = []
        for name, c_type, is_pointer in self.structs[struct]:
            if is_pointer:
                members.append((name, np.uint64))
            elif c_type in self.structs:
                members.append((name, self.layout(c_type, variant)))
            else:
                members.append((name, variant.dtype(c_type)))
        return np.dtype(members, align=True)


def parse(declarations: list[str]) -> list[tuple[str, str, bool]]:
    """Name, C type and whether it is a pointer, of each member or parameter; what is not understood is an error."""
    found = []
    for words in filter(None, map(str.split, declarations)):
        declaration = DECLARATION.fullmatch(" ".join(words))
        if declaration is None:
            raise DeviceError(
                f"a CUDA C source declares {' '.join(words)!r}: expected one type and one name, such as "
                "'const real* values'. Write it so, or a launch cannot be checked."
            )
        found.append((declaration[3], declaration[1], bool(declaration[2])))
    return found


def source_folder() -> Path:
    """The folder of the CUDA C sources.

    An editable install copies the sources once and the copy goes stale, so the checkout's own ``cuda/`` wins. In
    site-packages a neighbour named ``cuda`` belongs to somebody else: only beside a ``pyproject.toml`` is it ours.

    Raises
    ------
    DeviceError
        When neither folder is there.
    """
    package = Path(__file__).parent
    checkout, packaged = package.parent / "cuda", package / "cuda"
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    if packaged.is_dir():
        return packaged
    raise DeviceError(
        f"the CUDA C sources are missing: expected the folder {packaged} (or {checkout} in a checkout), found neither. "
        "Reinstall fwfm-gpu: its wheel ships them."
    )


@lru_cache(maxsize=16)
def read_source(name: str, folder: Path | None = None) -> Source:
    """A file with its includes joined in place, each once.

    ``#line`` before each part makes a compiler's message point at our file. Joining is needed as well as nice: a cache
    that hashes the text would not see a change in a file that is included.

    Parameters
    ----------
    name : str
        ``"rows.cu"``.
    folder : Path, optional
        Where the sources lie; without it, where `source_folder` finds them.
    """
    folder = source_folder() if folder is None else folder
    return Source(name, join(folder, name, set()))


def join(folder: Path, name: str, joined: set[str]) -> str:
    """The text of a file; includes that are in ``joined`` already leave nothing."""
    joined.add(name)
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate((folder / name).read_text("utf-8").splitlines(), 1):
        include = INCLUDE.match(line)
        if include is None:
            lines.append(line)
        else:
            if include[1] not in joined:
                lines.append(join(folder, include[1], joined).rstrip("\n"))
            lines.append(f'#line {number + 1} "{name}"')
    return "\n".join(lines) + "\n"
