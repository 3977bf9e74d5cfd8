"""Compiles the CUDA C sources for the host and calls their kernels as CuPy would.

The text is the one that NVRTC gets; ``shim.h`` before it supplies the language, ``fibers.cpp`` the blocks and threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import math
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.cuda_sources import Source, Variant, read_source

__all__ = ["HostKernel", "HostLoader", "compiler", "sanitizer_environment"]

HERE = Path(__file__).parent
INCLUDED = ("shim.h", "fibers.cpp")

FLAGS = (
    "-std=c++17",
    "-O1",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fPIC",
    "-fvisibility=hidden",
    "-DFWFM_HOST",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover", "-g")
SANITIZER_LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so")  # the last for AddressSanitizer's own look-ups

MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # along x, y, z
MOST_THREADS = (1024, 1024, 64)
BLOCK_THREADS = 1024
SHARED_BYTES = 48 * 1024  # what a kernel may ask for unless it opts in to more

LAUNCH_BOUNDS = re.compile(r"__launch_bounds__\(([^,)]*)[^)]*\)\s+(\w+)\(")


class Launch(ctypes.Structure):
    """``fwfm_host::Launch`` of shim.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_ulonglong),
        ("seed", ctypes.c_ulonglong),
    )


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel."""

    name: str
    dtype: np.dtype[Any] | None  # None: a pointer

    @property
    def size(self) -> int:
        """Bytes of the value that the kernel gets."""
        return 8 if self.dtype is None else self.dtype.itemsize

    def hold(self, value: object) -> np.ndarray:
        """The array whose data are the value that the kernel gets."""
        if self.dtype is None:
            if value is None:
                return np.zeros(1, np.uint64)
            if isinstance(value, np.ndarray) and value.dtype.names is None:
                return np.array([value.ctypes.data], np.uint64)
            raise self.fault("an array or None for a pointer", value)
        if self.dtype.names is not None:
            if isinstance(value, np.ndarray) and value.dtype == self.dtype and value.size == 1:
                return value
            raise self.fault(f"an array of shape (1,) that holds the struct {self.dtype}", value)
        if isinstance(value, np.generic) and value.dtype == self.dtype:
            return np.array([value])
        raise self.fault(f"a NumPy scalar of {self.dtype}", value)

    def fault(self, expected: str, value: object) -> RuntimeError:
        dtype = getattr(value, "dtype", None)
        kind = type(value).__name__ + (f" of {dtype}" if dtype is not None else "")
        return RuntimeError(f"argument {self.name}: expected {expected}, got {kind}")


@dataclass
class HostKernel:
    """One kernel of a source, called as ``cupy.RawKernel`` is.

    Attributes
    ----------
    max_dynamic_shared_size_bytes : int
        More than that no launch may ask for; to be raised first, as on a GPU.
    """

    name: str  # "rows.cu: score"
    parameters: tuple[Parameter, ...]
    function: Any  # its launcher
    seeds: Iterator[int]  # one for each launch
    max_dynamic_shared_size_bytes: int = SHARED_BYTES

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        """Run every thread of every block.

        Parameters
        ----------
        grid, block : tuple of 1 to 3 int
            Blocks of the launch and threads of a block, along x, y, z.
        args : tuple
            An array or None where the kernel takes a pointer, a structured array of shape (1,) where it takes a struct,
            a NumPy scalar where it takes a number.
        shared_mem : int
            Bytes of dynamic shared memory.

        Raises
        ------
        RuntimeError
            The arguments do not fit the kernel, the shape is none that a GPU takes, or threads of a block did not meet
            at a barrier.
        """
        try:
            self.launch(grid, block, args, shared_mem)
        except RuntimeError as error:
            raise RuntimeError(f"{self.name}: {error}") from None

    def launch(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int) -> None:
        grid, block = check_shape("grid", grid, MOST_BLOCKS), check_shape("block", block, MOST_THREADS)
        if math.prod(block) > BLOCK_THREADS:
            raise RuntimeError(f"expected at most {BLOCK_THREADS} threads a block, got {math.prod(block)}")
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes:
            raise RuntimeError(
                f"expected at most {self.max_dynamic_shared_size_bytes} bytes of shared memory, got {shared_mem}: "
                "raise max_dynamic_shared_size_bytes first"
            )
        if len(args) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise RuntimeError(f"expected {len(self.parameters)} arguments ({names}), got {len(args)}")
        held = [parameter.hold(value) for parameter, value in zip(self.parameters, args, strict=True)]
        values = (ctypes.c_void_p * len(held))(*(array.ctypes.data for array in held))
        launch = Launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared_mem, next(self.seeds))
        fault = self.function(ctypes.byref(launch), values)
        if fault is not None:
            raise RuntimeError(fault.decode())


def check_shape(what: str, shape: tuple[int, ...], most: tuple[int, ...]) -> tuple[int, ...]:
    """The shape along x, y, z."""
    if not 1 <= len(shape) <= 3 or not all(1 <= n <= limit for n, limit in zip(shape, most, strict=False)):
        raise RuntimeError(f"expected a {what} of 1 to {most} along x, y, z, got {shape}")
    return (*shape, 1, 1)[:3]


@dataclass
class HostLoader:
    """Kernels by source and variant, compiled once.

    Parameters
    ----------
    seed : int
        0 runs blocks and threads in launch order; any other draws a random order of the blocks and, after every
        barrier, of the threads. Loaders of one seed run the same launches in the same orders.
    sanitize : bool
        Compile with AddressSanitizer and UndefinedBehaviorSanitizer: a finding ends the process. The process must have
        started in a `sanitizer_environment`.
    folder : Path, optional
        Where the sources lie; without it, where `fwfm_gpu.cuda_sources.source_folder` finds them.

    Raises
    ------
    RuntimeError
        There is no g++, or the sanitizers are not in this process.
    """

    seed: int = 0
    sanitize: bool = False
    folder: Path | None = None
    loaded: dict[tuple[str, Variant], dict[str, HostKernel]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        # Launches differ in their orders, too; 0 stays 0.
        self.seeds = itertools.count(self.seed << 32) if self.seed else itertools.repeat(0)
        if compiler() is None:
            raise RuntimeError("expected g++ on the PATH, found none: install it")
        if self.sanitize and "libasan" not in os.environ.get("LD_PRELOAD", ""):
            raise RuntimeError("expected a process that began in sanitizer_environment(): start another one with it")

    def __call__(self, source_name: str, variant: Variant) -> dict[str, HostKernel]:
        """The kernels of a source, by name.

        Raises
        ------
        RuntimeError
            The source does not compile: the message is the compiler's.
        """
        key = (source_name, variant)
        if key not in self.loaded:
            self.loaded[key] = self.load(read_source(source_name, self.folder), variant)
        return self.loaded[key]

    def load(self, source: Source, variant: Variant) -> dict[str, HostKernel]:
        parameters = read_parameters(source, variant)
        flags = (*FLAGS, *(SANITIZERS if self.sanitize else ()))
        fibers = compile_text('#include "fibers.cpp"\n', "fibers", (*flags, "-c"))
        text = f'#include "shim.h"\n{source.text}{write_launchers(source, parameters, variant)}'
        options = (*flags, "-shared", *variant.defines, str(fibers))
        library = ctypes.CDLL(str(compile_text(text, Path(source.name).stem, options)))
        kernels = {}
        for name in source.kernels:
            function = library[f"launch_{name}"]
            function.restype = ctypes.c_char_p
            kernels[name] = HostKernel(f"{source.name}: {name}", parameters[name], function, self.seeds)
        return kernels


def read_parameters(source: Source, variant: Variant) -> dict[str, tuple[Parameter, ...]]:
    """The parameters of each kernel, as its signature says."""

    def read_dtype(c_type: str, is_pointer: bool) -> np.dtype[Any] | None:
        if is_pointer:
            return None
        return source.layout(c_type, variant) if c_type in source.structs else variant.dtype(c_type)

    return {
        kernel: tuple(Parameter(name, read_dtype(c_type, is_pointer)) for name, c_type, is_pointer in parameters)
        for kernel, parameters in source.kernels.items()
    }


def write_launchers(source: Source, parameters: dict[str, tuple[Parameter, ...]], variant: Variant) -> str:
    """What follows the source: launchers, and the compiler's word that it lays arguments out as we do."""
    bounds = {kernel: most for most, kernel in LAUNCH_BOUNDS.findall(source.text)}
    lines = ['#line 1 "launchers"']
    for struct in find_structs(source):
        layout = source.layout(struct, variant)
        lines.append(f"static_assert(sizeof({struct}) == {layout.itemsize});")
        lines += [f"static_assert(offsetof({struct}, {m}) == {layout.fields[m][1]});" for m in layout.names]
    for kernel, values in parameters.items():
        sizes = ", ".join(str(value.size) for value in values)
        lines.append(f"static_assert(fwfm_host::takes<{sizes}>({kernel}));")
        lines.append(f"FWFM_LAUNCHER({kernel}, {bounds.get(kernel, BLOCK_THREADS)})")
    return "\n".join(lines) + "\n"


def find_structs(source: Source) -> list[str]:
    """The structs that kernels take by value, and those inside them."""
    found: set[str] = set()
    members = list(itertools.chain.from_iterable(source.kernels.values()))
    while members:
        _, c_type, is_pointer = members.pop()
        if c_type in source.structs and not is_pointer and c_type not in found:
            found.add(c_type)
            members += source.structs[c_type]
    return sorted(found)


def compiler() -> str | None:
    """The path of g++, None where there is none."""
    return shutil.which("g++")


@cache
def compiler_version() -> str:
    """What tells one g++ from another."""
    return run_compiler("--version")


def run_compiler(*options: str, text: str = "") -> str:
    """What g++ printed. It runs without the sanitizers that are preloaded here.

    Raises
    ------
    RuntimeError
        It failed: the message is its own.
    """
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"LC_ALL": "C"}
    done = subprocess.run([compiler(), *options], input=text, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"g++ failed:\n{done.stderr}")
    return done.stdout


def compile_text(text: str, name: str, options: tuple[str, ...]) -> Path:
    """The object or library of a text, from the cache where it lies there.

    A file that is there is whole: it is compiled under another name, which is then replaced.
    """
    parts = (text, *options, compiler_version(), *((HERE / name).read_text("utf-8") for name in INCLUDED))
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    path = open_cache() / f"{name}-{digest}{'.o' if '-c' in options else '.so'}"
    if not path.exists():
        unfinished = path.with_suffix(f".{secrets.token_hex(8)}")
        # The text comes first, then what is linked to it.
        inputs = ("-x", "c++", "-", "-x", "none")
        try:
            run_compiler(f"-I{HERE}", "-o", str(unfinished), *inputs, *options, text=text)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def open_cache() -> Path:
    """The user's own cache folder.

    Raises
    ------
    RuntimeError
        Something else is there, or others may write to it: what is loaded from it could be theirs.
    """
    folder = Path(tempfile.gettempdir()) / f"fwfm-gpu-cuda-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise RuntimeError(f"expected {folder} to be a folder of mode 0700 and yours, found another: remove it")
    return folder


def sanitizer_environment() -> dict[str, str]:
    """The environment variables with which a process must start that loads a sanitised build.

    Raises
    ------
    RuntimeError
        g++ or its sanitizers are missing.
    """
    if compiler() is None:
        raise RuntimeError("expected g++ on the PATH, found none: install it")
    libraries = [run_compiler(f"-print-file-name={name}").strip() for name in SANITIZER_LIBRARIES]
    missing = [path for path in libraries if not os.path.isabs(path)]
    if missing:
        raise RuntimeError(f"expected g++ to bring {' and '.join(missing)}, found none: install its sanitizers")
    return {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
