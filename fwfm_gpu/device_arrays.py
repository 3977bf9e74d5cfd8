"""Arrays of other libraries that lie on a GPU: known by what they offer, never opened here, and no library imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fwfm_gpu.errors import InputTypeError

__all__ = ["Csr", "Dense", "Ids", "Source", "find_source", "on_device", "out_of_reach", "shape_of"]

CUDA_KINDS = (2, 13)  # DLPack's numbers: memory of a GPU, and memory that a GPU shares with the host

Shape = tuple[int, ...]


def on_device(array: Any) -> bool:
    """Whether it is an array in the memory of a GPU: by DLPack, else by ``__cuda_array_interface__``."""
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) in CUDA_KINDS
    return hasattr(array, "__cuda_array_interface__")


def shape_of(array: Any) -> Shape:
    """The shape of an array, on the host or on a device."""
    shape = array.shape if hasattr(array, "shape") else array.__cuda_array_interface__["shape"]
    return tuple(int(length) for length in shape)


def out_of_reach(what: str, array: Any) -> InputTypeError:
    """The error for an array that lies on a device, met by what works on the host."""
    return InputTypeError(
        f"{what} lies on a device ({type(array).__name__}), and only the CUDA engine opens it there: pass "
        f"device='cuda', or copy {what} to the host."
    )


@dataclass(frozen=True, eq=False)
class Csr:
    """The arrays of CSR rows, all on the host or all on a device."""

    indptr: Any  # (rows + 1,) integers
    indices: Any  # (nnz,) integers
    data: Any  # (nnz,) real numbers; on a device None when every value is 1
    shape: Shape

    format = "csr"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Those that are there."""
        return tuple(array for array in (self.indptr, self.indices, self.data) if array is not None)


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense matrix on a device."""

    array: Any  # (rows, n) real numbers

    @property
    def shape(self) -> Shape:
        return shape_of(self.array)

    @property
    def arrays(self) -> tuple[Any, ...]:
        return (self.array,)


@dataclass(frozen=True, eq=False)
class Ids:
    """One feature per field and row, on a device: see `FieldMatrix.from_ids`."""

    array: Any  # (rows, F) integers
    sizes: Any  # (F,) integers, on the host
    shape: Shape  # (rows, n)

    @property
    def arrays(self) -> tuple[Any, ...]:
        return (self.array,)


Source = Csr | Dense | Ids


def find_source(X: Any) -> Csr | Dense | None:
    """The unopened arrays of a matrix on a device; None when X lies on the host.

    Raises
    ------
    InputTypeError
        A sparse matrix of a format other than CSR, or CSR arrays of which only some lie on a device.
    """
    if isinstance(X, Csr):
        return check_together(X)
    kind, layout = getattr(X, "format", None), str(getattr(X, "layout", ""))
    if isinstance(kind, str) and on_device(getattr(X, "data", None)):  # cupyx
        if kind == "csr":
            return Csr(X.indptr, X.indices, X.data, shape_of(X))
        raise InputTypeError(f"X must be in CSR format on a device, got {kind} ({type(X).__name__}). Pass X.tocsr().")
    if not on_device(X):
        return None
    if layout == "torch.sparse_csr":
        return Csr(X.crow_indices(), X.col_indices(), X.values(), shape_of(X))
    if layout.startswith("torch.sparse"):
        raise InputTypeError(f"X must be in CSR format on a device, got {layout}. Pass X.to_sparse_csr().")
    return Dense(X)


def check_together(rows: Csr) -> Csr | None:
    """The rows if they lie on a device, None if they lie on the host."""
    where = [on_device(array) for array in rows.arrays]
    if any(where) and not all(where):
        raise InputTypeError(
            "indptr, indices and values must lie together, on the host or on a device: got some of each. Copy them."
        )
    return rows if any(where) else None
