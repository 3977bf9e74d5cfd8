"""Arrays that say they lie on a GPU. `HostDevice.adopt` looks inside; whatever else would read them fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["CudaArray", "CupyxMatrix", "DlpackArray", "FakeArray", "TorchCsr"]


class FakeArray:
    """Knows its shape and dtype, and nothing else."""

    def __init__(self, inside: np.ndarray) -> None:
        self.inside = inside
        self.shape, self.dtype = inside.shape, inside.dtype

    def __array__(self, *given: Any, **named: Any) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __len__(self) -> int:
        raise TypeError("nobody may count these")

    __iter__ = __getitem__ = __len__


class CudaArray(FakeArray):
    """Offers ``__cuda_array_interface__``."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.inside.ctypes.data, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "version": 3}


class DlpackArray(FakeArray):
    """Offers DLPack alone, and a library that reads it."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **named: Any) -> Any:
        raise AssertionError("only the device opens it")

    def __array_namespace__(self) -> SimpleNamespace:
        return SimpleNamespace(from_dlpack=DlpackArray)


class CupyxMatrix:
    """A sparse matrix whose arrays are of a device."""

    def __init__(self, arrays: tuple[Any, Any, Any], shape: tuple[int, int], kind: str = "csr") -> None:
        self.indptr, self.indices, self.data = arrays
        self.shape, self.format = shape, kind


class TorchCsr:
    """A sparse tensor."""

    def __init__(self, arrays: tuple[Any, Any, Any], shape: tuple[int, int], layout: str = "sparse_csr") -> None:
        self.arrays, self.shape, self.layout = arrays, shape, f"torch.{layout}"

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def crow_indices(self) -> Any:
        return self.arrays[0]

    def col_indices(self) -> Any:
        return self.arrays[1]

    def values(self) -> Any:
        return self.arrays[2]
