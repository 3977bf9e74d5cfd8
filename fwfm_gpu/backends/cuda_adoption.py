"""Rows that lie on the device already: opened where they are, checked there, and copied only where they must change.

Model floats never pass through the array module, whose own kernels flush subnormals: they are looked at and rounded by
``cuda/data.cu``, and moved as the integers of their bits.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from fwfm_gpu.backends.cuda_device import Device
from fwfm_gpu.backends.kernel_arguments import Packed, Program
from fwfm_gpu.cuda_sources import Variant, read_source
from fwfm_gpu.device_arrays import Csr, Dense, Ids
from fwfm_gpu.device_matrix import DeviceMatrix
from fwfm_gpu.errors import InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix, hash_rows, ones
from fwfm_gpu.matrix_reader import check_ids, check_indptr, check_range, index_dtype, refuse_value, starts
from fwfm_gpu.parameters import Array

__all__ = ["Placed", "fetch_array", "fingerprint_rows", "place_rows", "send_array"]

NOWHERE = 2**63 - 1  # as in data.cu
ROWS_TOGETHER = 8  # rows of a thread block
MOST_BLOCKS = 4096  # of a check: each of its threads ends in atomics
BITS = {4: "uint32", 8: "uint64"}  # integers as wide as a float


@dataclass(frozen=True)
class Placed:
    """CSR rows on the device, and where they start on the host too."""

    indptr: Any  # (rows + 1,) int64
    indices: Any  # (nnz,) int32 or int64
    values: Any  # (nnz,) float32 or float64; None when every value is 1
    real: str  # dtype of the values
    starts: Array  # (rows + 1,) int64, on the host

    @property
    def n_rows(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Array:
        """Nonzeros of each row, (rows,) int64, on the host."""
        return np.diff(self.starts)

    def row_of(self, p: int) -> int:
        """The row of a nonzero."""
        return int(np.searchsorted(self.starts, p, side="right")) - 1


def place_rows(device: Device, rows: FieldMatrix) -> Placed:
    """Canonical rows on the device: copied from the host, or those that lie there, checked.

    Raises
    ------
    InputError, InputTypeError
        Rows on the device that `FieldMatrix.from_matrix` would refuse on the host, in the same words.
    """
    if not isinstance(rows, DeviceMatrix):
        return upload(device, rows)
    source = rows.source
    if isinstance(source, Ids):
        placed = open_ids(device, source, rows)
    elif isinstance(source, Dense):
        placed = settle_values(device, open_dense(device, source), rows)
    else:
        placed = open_csr(device, source)
        ascending = check_columns(device, placed, rows.n_features)
        placed = (
            settle_values(device, placed, rows) if ascending else upload(device, make_canonical(device, placed, rows))
        )
    placed = placed if rows.selected is None else gather(device, placed, rows.selected)
    return normalize_rows(device, placed) if rows.unit_rows else placed


def upload(device: Device, rows: FieldMatrix) -> Placed:
    """Rows of the host, each array copied once."""
    indptr, indices = device.to_device(rows.indptr), device.to_device(rows.indices)
    values = None if rows.all_ones else device.to_device(rows.values)
    return Placed(indptr, indices, values, str(rows.values.dtype), rows.indptr)


# ---- opening


def open_array(device: Device, what: str, array: Any) -> Any:
    """The caller's array as one of the device's array module, without a copy."""
    try:
        return device.adopt(array)
    except (BufferError, TypeError, ValueError) as error:
        kind = type(array).__name__
        raise InputTypeError(f"{what} must be an array that {device.name} can open, got {kind}: {error}") from error


def open_integers(device: Device, what: str, array: Any) -> Any:
    """Indices or starts, contiguous; a copy where they are not, or are of a dtype that kernels do not take."""
    opened = open_array(device, what, array)
    if opened.dtype.kind not in "iu":
        raise InputTypeError(f"{what} must be integers, got {opened.dtype}.")
    dtype = opened.dtype if opened.dtype in (np.int32, np.int64) else np.dtype(np.int64)
    return device.xp.ascontiguousarray(opened, dtype)


def open_values(device: Device, array: Any) -> Any:
    """Values as float32 where that is exact for their dtype, else as float64; a copy where they are neither already."""
    opened = open_array(device, "X", array)
    if opened.dtype.kind not in "biuf":
        raise InputTypeError(f"X must hold real numbers, got {opened.dtype}. Encode anything else as columns first.")
    real = np.dtype(np.float32 if np.can_cast(opened.dtype, np.float32) else np.float64)
    if opened.dtype != real:  # no integer or short float is a subnormal of these
        return device.xp.ascontiguousarray(opened, real)
    return device.xp.ascontiguousarray(bits(opened)).view(real)


def bits(values: Any) -> Any:
    """The same memory as integers."""
    return values.view(BITS[values.dtype.itemsize])


def open_csr(device: Device, source: Csr) -> Placed:
    """The three arrays, their structure checked but for the columns."""
    opened = open_integers(device, "indptr", source.indptr)
    indices = open_integers(device, "indices", source.indices)
    values = None if source.data is None else open_values(device, source.data)
    shapes = indices.shape, indices.shape if values is None else values.shape
    begins = check_indptr(device.to_host(opened), source.shape[0], shapes)
    if source.shape[1] > np.iinfo(indices.dtype).max:
        indices = indices.astype(np.int64)
    real = "float32" if values is None else str(values.dtype)
    return Placed(opened.astype(np.int64, copy=False), indices, values, real, begins)


def open_dense(device: Device, source: Dense) -> Placed:
    """A dense matrix as rows that hold every column."""
    xp, (n_rows, n) = device.xp, source.shape
    values = open_values(device, source.array).reshape(-1)
    begins = np.arange(n_rows + 1, dtype=np.int64) * n
    indices = xp.tile(xp.arange(n, dtype=index_dtype(n)), n_rows)
    return Placed(device.to_device(begins), indices, values, str(values.dtype), begins)


def open_ids(device: Device, source: Ids, matrix: DeviceMatrix) -> Placed:
    """Ids as columns; their values are 1."""
    ids, (n_rows, n), width = open_integers(device, "ids", source.array), source.shape, len(source.sizes)
    if n_rows:
        least, most = device.to_host(ids.min(axis=0)), device.to_host(ids.max(axis=0))
        if (least < 0).any() or (most >= source.sizes).any():
            sizes = device.to_device(source.sizes)
            row = int(device.xp.argmax(((ids < 0) | (ids >= sizes)).any(axis=1)))
            check_ids(device.to_host(ids[row : row + 1]), source.sizes, matrix.field_names, row)
    offsets = starts(source.sizes)[:-1].astype(index_dtype(n))
    indices = ids.astype(offsets.dtype)
    indices += device.to_device(offsets)
    begins = np.arange(n_rows + 1, dtype=np.int64) * width
    return Placed(device.to_device(begins), indices.reshape(-1), None, matrix.dtype or "float32", begins)


# ---- checking


class Checks:
    """The kernels of data.cu over some rows."""

    def __init__(self, device: Device, rows: Placed) -> None:
        variant = Variant(rows.real, str(rows.indices.dtype))
        self.device, self.rows = device, rows
        self.program = Program(read_source("data.cu"), variant, device.load("data.cu", variant))

    def packed(self) -> Packed:
        """``Rows`` of arguments.cuh."""
        arrays = {"indptr": self.rows.indptr, "indices": self.rows.indices, "values": self.rows.values}
        members = [name for name, _, _ in self.program.source.structs["Rows"]]
        return self.program.struct("Rows", **{**dict.fromkeys(members), **arrays})

    def over_rows(self, kernel: str, count: int, *arguments: object) -> None:
        """Launch a kernel whose blocks take rows."""
        threads = min(256, self.device.most_threads)
        block = max(1, threads // ROWS_TOGETHER), min(ROWS_TOGETHER, threads)
        self.program.launch(kernel, self.grid(count, block[1]), block, arguments)

    def over_values(self, kernel: str, count: int, *arguments: object) -> None:
        """Launch a kernel whose threads take values."""
        threads = min(256, self.device.most_threads)
        self.program.launch(kernel, self.grid(count, threads), (threads,), arguments)

    def grid(self, count: int, each: int) -> tuple[int]:
        """Blocks for so many rows or values."""
        return (max(1, min(-(-count // each), self.device.most_blocks, MOST_BLOCKS)),)

    def first(self, kinds: int) -> Any:
        """Where a check leaves the first place of each kind."""
        return self.device.to_device(np.full(kinds, NOWHERE))

    def look(self) -> tuple[int, int, int]:
        """The first value that is not finite, that is 0, that is not 1; NOWHERE where there is none."""
        first, nnz = self.first(3), len(self.rows.values)
        self.over_values("check_values", nnz, self.rows.values, nnz, first)
        not_finite, zero, not_one = self.device.to_host(first).tolist()
        return not_finite, zero, not_one


def check_columns(device: Device, rows: Placed, n_features: int) -> bool:
    """Whether columns ascend in every row; one that is not there is refused."""
    checks = Checks(device, rows)
    first = checks.first(2)
    checks.over_rows("check_columns", rows.n_rows, checks.packed(), rows.n_rows, n_features, first)
    outside, falling = device.to_host(first).tolist()
    if outside != NOWHERE:
        column = device.to_host(rows.indices[outside : outside + 1])
        check_range(column, n_features, lambda _: f"indices[{outside}] (row {rows.row_of(outside)})")
    return bool(falling == NOWHERE)


def settle_values(device: Device, rows: Placed, matrix: DeviceMatrix) -> Placed:
    """Values finite, of T, without zeros; none at all when each of them is 1 (numerics 1)."""
    T = rows.real if matrix.dtype is None else matrix.dtype
    if rows.values is None:
        return replace(rows, real=T)
    found = Checks(device, rows).look()
    refuse_first(device, rows, matrix, found[0], "X must be finite, also after duplicates are summed")
    if rows.real != T and found[2] != NOWHERE:
        given, rows = rows, round_values(device, rows, T)
        found = Checks(device, rows).look()
        refuse_first(device, given, matrix, found[0], f"X must fit {T}")
    if found[1] != NOWHERE:
        rows = drop_zeros(device, rows)
        found = Checks(device, rows).look()
    return replace(rows, values=None, real=T) if found[2] == NOWHERE else rows


def refuse_first(device: Device, rows: Placed, matrix: DeviceMatrix, p: int, expected: str) -> None:
    """Raise for the value at p, if there is one."""
    if p != NOWHERE:
        column, value = (device.to_host(array[p : p + 1])[0].item() for array in (rows.indices, rows.values))
        refuse_value(expected, value, (rows.row_of(p), column), matrix.feature_names)


# ---- making over


def round_values(device: Device, rows: Placed, T: str) -> Placed:
    """The same rows with values of the other dtype, rounded once."""
    rounded = device.xp.empty(len(rows.values), T)
    narrow, wide = (rounded, None) if T == "float32" else (None, rounded)
    Checks(device, rows).over_values("round_values", len(rounded), rows.values, len(rounded), narrow, wide)
    return replace(rows, values=rounded, real=T)


def normalize_rows(device: Device, rows: Placed) -> Placed:
    """The rows, each divided by its length (numerics 1)."""
    values, checks = device.xp.empty(len(rows.indices), rows.real), Checks(device, rows)
    checks.over_values("normalize_rows", rows.n_rows, checks.packed(), rows.n_rows, values)
    shortened = replace(rows, values=values)
    _, zero, not_one = Checks(device, shortened).look()
    if zero != NOWHERE:
        shortened = drop_zeros(device, shortened)
    return replace(shortened, values=None) if not_one == NOWHERE else shortened


def drop_zeros(device: Device, rows: Placed) -> Placed:
    """The rows without values of 0 and -0."""
    xp, held = device.xp, bits(rows.values)
    kept = xp.flatnonzero(held << 1)  # without the sign, the highest bit
    indptr = xp.searchsorted(kept, rows.indptr).astype(np.int64, copy=False)
    values = held[kept].view(rows.real)
    return Placed(indptr, rows.indices[kept], values, rows.real, device.to_host(indptr))


def make_canonical(device: Device, rows: Placed, matrix: DeviceMatrix) -> FieldMatrix:
    """Rows on the host, sorted, duplicates summed in stored order (numerics 1)."""
    values = np.ones(len(rows.indices), np.float32) if rows.values is None else device.to_host(rows.values)
    fetched = values, device.to_host(rows.indices), rows.starts
    canonical = FieldMatrix.from_matrix(
        sparse.csr_array(fetched, shape=(rows.n_rows, matrix.n_features)),
        matrix.fields,
        field_names=matrix.field_names,
        feature_names=matrix.feature_names,
    )
    return canonical if matrix.dtype is None else canonical.rounded(matrix.dtype)


def gather(device: Device, rows: Placed, selected: Array) -> Placed:
    """Some of the rows, copied on the device."""
    begins = starts(rows.lengths[selected])
    nnz, indptr = int(begins[-1]), device.to_device(begins)
    indices = device.xp.empty(nnz, rows.indices.dtype)
    values = None if rows.values is None else device.xp.empty(nnz, rows.real)
    checks, order = Checks(device, rows), device.to_device(selected)
    checks.over_rows("gather_rows", len(selected), checks.packed(), order, len(selected), indptr, indices, values)
    return Placed(indptr, indices, values, rows.real, begins)


# ---- what crosses the seam besides rows


def fetch_array(device: Device, what: str, array: Any) -> Array:
    """A copy on the host of an array that lies on a device."""
    with device.current():
        return device.to_host(open_array(device, what, array))


def send_array(device: Device, array: Array, matrix: DeviceMatrix) -> Any:
    """A copy of numbers in the library of the matrix's own arrays, by DLPack; where it has none, of the engine's."""
    like = matrix.source.arrays[-1]
    module: Any = sys.modules.get(type(like).__module__.partition(".")[0])
    namespace = like.__array_namespace__() if hasattr(like, "__array_namespace__") else module
    with device.current():
        sent = device.to_device(array)
        device.wait()  # the caller's own queue knows nothing of ours
        return namespace.from_dlpack(sent) if hasattr(namespace, "from_dlpack") else sent


def fingerprint_rows(device: Device, matrix: DeviceMatrix) -> str:
    """`FieldMatrix.fingerprint` of the rows as they would be on the host, fetched piece by piece."""
    with device.current():
        rows = place_rows(device, matrix)
        values = ones(len(rows.indices), rows.real) if rows.values is None else rows.values
        arrays = rows.starts, rows.indices, values, matrix.fields
        return hash_rows(matrix.n_fields, arrays, lambda part: fetch_part(device, part))


def fetch_part(device: Device, part: Any) -> Array:
    """A piece of an array, wherever it lies."""
    return part if isinstance(part, np.ndarray) else device.to_host(part)
