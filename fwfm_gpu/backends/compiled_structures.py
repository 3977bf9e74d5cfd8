"""Structures for numba: named tuples that a kernel takes as one address.

A kernel works with some eighty arrays, and so does much of what it calls. As values they would make up most of its
code, and most of the time that it takes to compile. So they are laid out in memory once: of an array its address and
its sizes, 8 bytes each; of a number 8 bytes that begin with it; a named tuple inside another one after the other.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, lower_getattr_generic, models, register_model, unbox

from fwfm_gpu.backends.compiled_types import INT64, Table, among

__all__ = ["Packed"]

WORD = 8  # bytes


class Structure(types.Type):
    """numba's name for a named tuple in memory."""

    def __init__(self, name: str, members: dict[str, tuple[Any, int]]) -> None:
        self.members = members  # name -> type, and where it begins, in words
        text = ", ".join(f"{member}: {kind} at {at}" for member, (kind, at) in members.items())
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]  # every symbol holds the name, so it is short
        super().__init__(name=f"{name}-{digest}")


register_model(Structure)(models.OpaqueModel)


class Packed:
    """A named tuple, and where it lies in memory for kernels. Its arrays live as long as it does.

    Parameters
    ----------
    value
        A named tuple of C-contiguous arrays, numbers and other such named tuples.
    """

    def __init__(self, value: Any) -> None:
        words: list[int] = []
        self.value = value
        self._numba_type_ = lay_out(value, words)
        self.words = np.array(words, np.int64)
        self.address = self.words.ctypes.data


def lay_out(value: Any, words: list[int]) -> Any:
    """Append the words of a value. Returns its type."""
    if isinstance(value, tuple):
        first, places, kinds = len(words), [], []
        for member in value:
            places.append(len(words) - first)
            kinds.append(lay_out(member, words))
        return structure_of(type(value), tuple(kinds), tuple(places))
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        words += [value.ctypes.data, *value.shape]
        return table_of(value.dtype, value.ndim)
    number = np.asarray(value)
    words.append(int.from_bytes(number.tobytes().ljust(WORD, b"\0"), sys.byteorder, signed=True))
    return from_dtype(number.dtype)


@cache
def structure_of(kind: Any, members: tuple[Any, ...], places: tuple[int, ...]) -> Structure:
    """The type of a named tuple: its members' types, and where each begins."""
    return Structure(kind.__name__, dict(zip(kind._fields, zip(members, places, strict=True), strict=True)))


@cache
def table_of(dtype: Any, ndim: int) -> Table:
    """The type of an array."""
    assert dtype.kind in "if"  # of others memory and registers differ
    return Table(from_dtype(dtype), ndim)


@unbox(Structure)
def unbox_structure(structure: Any, packed: Any, c: Any) -> Any:
    """The address."""
    number = c.pyapi.object_getattr_string(packed, "address")
    address = c.pyapi.long_as_longlong(number)
    c.pyapi.decref(number)
    return NativeValue(c.builder.inttoptr(address, c.context.get_value_type(structure)))


@infer_getattr
class Members(AttributeTemplate):
    """What a structure holds."""

    key = Structure

    def generic_resolve(self, structure: Structure, name: str) -> Any:
        return structure.members[name][0] if name in structure.members else None


@lower_getattr_generic(Structure)
def get_member(context: Any, builder: Any, structure: Any, value: Any, name: str) -> Any:
    kind, at = structure.members[name]

    def word(number: int, content: Any) -> Any:
        return builder.bitcast(builder.gep(value, [INT64(WORD * (at + number))]), content.as_pointer())

    def read(number: int, content: Any) -> Any:
        return among(builder, "structures", builder.load(word(number, content)))

    if isinstance(kind, Structure):
        return word(0, ir.IntType(8))
    if not isinstance(kind, Table):
        return context.data_model_manager[kind].from_data(builder, read(0, context.get_data_type(kind)))
    table = cgutils.create_struct_proxy(kind)(context, builder)
    table.data = read(0, context.get_value_type(types.CPointer(kind.dtype)))
    table.shape = cgutils.pack_array(builder, [read(1 + axis, INT64) for axis in range(kind.ndim)])
    return table._getvalue()
