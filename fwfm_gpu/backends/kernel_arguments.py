"""Launches whose every argument is checked against the CUDA C source.

CuPy hands on what it is given: a Python int becomes a ``long long``, a float a ``double``, a NumPy array of one element
goes by value (numerics 10). Here a kernel gets exactly the types that its source declares, or nothing is launched. A
wrong argument is a fault of this package, never of its user: a `TypeError`.

A raw kernel is any callable ``raw(grid, block, args, shared_mem=bytes)``. CuPy's take arrays of the device; any other
takes NumPy arrays.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock
from typing import Any

import numpy as np

from fwfm_gpu.cuda_sources import Source, Variant
from fwfm_gpu.parameters import Array

__all__ = ["Launch", "Packed", "Program"]

GRID_LIMITS = (2**31 - 1, 65535, 65535)
BLOCK_LIMITS = (1024, 1024, 64)
MAX_THREADS = 1024  # of a block
SHARED_LIMIT = "max_dynamic_shared_size_bytes"  # CuPy's name; beyond it, 48 KB at first, a launch must ask before
RAISING = Lock()  # that limit: two threads at once could lower it


@dataclass(frozen=True, eq=False)
class Packed:
    """A struct as a kernel takes it, by value.

    Attributes
    ----------
    struct : str
        Its name.
    types : (str, str)
        The dtypes of real and of index_t that its pointers were checked for.
    block : (1,) structured
        The bytes, with C's layout; read-only.
    kept : tuple
        The members as they were given: the arrays live as long as their addresses.
    """

    struct: str
    types: tuple[str, str]
    block: Array
    kept: tuple[object, ...]

    def fits(self, struct: str, types: tuple[str, str], layout: np.dtype[Any]) -> bool:
        """Whether it is this struct; programs of several sources may share it."""
        return (self.struct, self.types, self.block.dtype) == (struct, types, layout)


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel with checked arguments: a call launches it, and does nothing else."""

    raw: Callable[..., object]
    grid: tuple[int, ...]
    block: tuple[int, ...]
    values: tuple[Any, ...]
    shared: int
    kept: tuple[object, ...]

    def __call__(self) -> None:
        self.raw(self.grid, self.block, self.values, shared_mem=self.shared)


class Program:
    """The kernels of one compiled source.

    Parameters
    ----------
    source : Source
        What was compiled.
    variant : Variant
        For which types.
    raw : mapping
        Each of the source's kernels by name.

    Raises
    ------
    TypeError
        A kernel is missing.
    """

    def __init__(self, source: Source, variant: Variant, raw: Mapping[str, Callable[..., object]]) -> None:
        check_names(source.name, source.kernels, [name for name in raw if name in source.kernels])
        self.source = source
        self.variant = variant
        self.raw = raw
        self.layout = cache(partial(source.layout, variant=variant))  # of a struct, by name
        self.on_device = any(type(kernel).__module__.partition(".")[0] == "cupy" for kernel in raw.values())

    def struct(self, name: str, /, **members: object) -> Packed:
        """A struct of the source from its members, each named once.

        Parameters
        ----------
        name : str
            The struct's name in the source.
        **members
            Arrays or None for pointers, `Packed` for structs, numbers for numbers. A float must be of T already, or the
            same number in T: hyper-parameters are rounded once (numerics 2), and not here.

        Raises
        ------
        TypeError
            Naming struct and member, what was expected and what came.
        """
        if name not in self.source.structs:
            raise fault(self.source.name, "a struct", f"one of {', '.join(self.source.structs)}", repr(name))
        declared = self.source.structs[name]
        place = f"{self.source.name}, struct {name}"
        check_names(place, [member for member, _, _ in declared], members)
        block = np.zeros(1, self.layout(name))
        for parameter in declared:
            member, _, is_pointer = parameter
            value = self.check(place, parameter, members[member])
            block[member] = self.address(members[member]) if is_pointer else value
        block.flags.writeable = False
        return Packed(name, self.types, block, tuple(members.values()))

    def bind(
        self, name: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[object, ...], shared: int = 0
    ) -> Launch:
        """Check a launch once, to be called many times.

        Parameters
        ----------
        name : str
            The kernel's.
        grid, block : tuple of one to three int
            Blocks, and threads of a block.
        args : tuple
            In the order of the kernel's parameters; kinds as in `struct`.
        shared : int
            Bytes of dynamic shared memory of a block.

        Raises
        ------
        TypeError
            Naming kernel and parameter, what was expected and what came.
        """
        if name not in self.source.kernels:
            raise fault(self.source.name, "a kernel", f"one of {', '.join(self.source.kernels)}", repr(name))
        parameters = self.source.kernels[name]
        place = f"{self.source.name}, kernel {name}"
        if len(args) != len(parameters):
            raise fault(place, "args", f"{len(parameters)} ({', '.join(p[0] for p in parameters)})", str(len(args)))
        grid = check_sizes(place, "grid", grid, GRID_LIMITS)
        block = check_sizes(place, "block", block, BLOCK_LIMITS)
        if math.prod(block) > MAX_THREADS:
            raise fault(place, "block", f"at most {MAX_THREADS} threads", str(block))
        if not (isinstance(shared, int) and shared >= 0):
            raise fault(place, "shared", "bytes as an int, 0 or more", describe(shared))
        values = tuple(self.check(place, *pair) for pair in zip(parameters, args, strict=True))
        raw = self.raw[name]
        with RAISING:
            if shared > getattr(raw, SHARED_LIMIT, shared):
                setattr(raw, SHARED_LIMIT, shared)
        return Launch(raw, grid, block, values, shared, args)

    def launch(
        self, name: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[object, ...], shared: int = 0
    ) -> None:
        """Check and launch once: see `bind`."""
        self.bind(name, grid, block, args, shared)()

    @property
    def types(self) -> tuple[str, str]:
        """The dtypes of real and of index_t."""
        return self.variant.real, self.variant.index

    def check(self, place: str, parameter: tuple[str, str, bool], value: object) -> Any:
        """What the raw kernel is given: the array or None for a pointer, (1,) for a struct, a NumPy scalar."""
        name, c_type, is_pointer = parameter
        is_struct = c_type in self.source.structs
        dtype = self.layout(c_type) if is_struct else self.variant.dtype(c_type)
        if is_pointer:
            if not self.is_array(value, dtype):
                library = "CuPy" if self.on_device else "NumPy"
                raise fault(place, name, f"a C-contiguous {library} array of {dtype}, or None", describe(value))
            # CuPy takes None for an argument that has no place at all, which a launch cannot read; a 0 has one.
            return np.uint64(0) if value is None and self.on_device else value
        if is_struct:
            if isinstance(value, Packed) and value.fits(c_type, self.types, dtype):
                return value.block
            raise fault(place, name, f"struct {c_type} for {', '.join(self.types)}", describe(value))
        number = convert(value, dtype)
        if number is None:
            raise fault(place, name, f"a number that {dtype} holds exactly", describe(value))
        return number

    def is_array(self, value: Any, dtype: np.dtype[Any]) -> bool:
        """Whether a pointer may be made of the value."""
        return value is None or (
            self.address(value) is not None and value.dtype == dtype and bool(value.flags.c_contiguous)
        )

    def address(self, array: Any) -> int | None:
        """Where an array of this program's kind begins, 0 for None; None for anything else."""
        if array is None:
            return 0
        if self.on_device:
            return getattr(getattr(array, "data", None), "ptr", None)
        return array.ctypes.data if isinstance(array, np.ndarray) else None


def convert(value: object, dtype: np.dtype[Any]) -> Any:
    """The number as a scalar of the dtype, None when that would be another number."""
    if not isinstance(value, int | float | np.integer | np.floating):
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    if dtype.kind == "i" and not isinstance(plain, int):
        return None
    try:
        with np.errstate(over="ignore"):  # compared below
            number = dtype.type(plain)
    except OverflowError:
        return None
    same = number.item() == plain or (plain != plain and number != number)
    return number if same else None


def check_names(place: str, expected: Iterable[str], got: Iterable[str]) -> None:
    """Each name once, no other."""
    if set(expected) != set(got):
        raise fault(place, "names", ", ".join(expected), ", ".join(got) or "none")


def check_sizes(place: str, what: str, sizes: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a grid or block, as three plain ints."""
    wanted = f"a tuple of one to three int from 1 to {limits}"
    if not (isinstance(sizes, tuple) and 1 <= len(sizes) <= 3):
        raise fault(place, what, wanted, describe(sizes))
    try:
        plain = (*map(operator.index, sizes), 1, 1)[:3]
    except TypeError:
        raise fault(place, what, wanted, describe(sizes)) from None
    if not all(1 <= size <= limit for size, limit in zip(plain, limits, strict=True)):
        raise fault(place, what, wanted, describe(sizes))
    return plain


def describe(value: Any) -> str:
    """What came, in a few words."""
    if isinstance(value, Packed):
        return f"struct {value.struct} for {', '.join(value.types)}, {value.block.itemsize} bytes"
    if hasattr(value, "dtype") and not isinstance(value, np.generic):
        library = type(value).__module__.partition(".")[0]
        strided = "" if value.flags.c_contiguous else ", not C-contiguous"
        return f"a {library} array of {value.dtype}, shape {value.shape}{strided}"
    return f"{value!r:.80} ({type(value).__name__})"


def fault(place: str, name: str, expected: str, got: str) -> TypeError:
    """The error of a wrong argument."""
    return TypeError(
        f"{place}, {name}: expected {expected}; got {got}. This is a fault in fwfm_gpu, not in its use: report it."
    )
