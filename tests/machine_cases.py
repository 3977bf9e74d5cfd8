"""Functions run by Python and as machine code, side by side, on lanes of any number and dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from engine_data import bits

from fwfm_gpu.backends import compiled


def in_python(function: Any, **constants: Any) -> Any:
    """A function as it stands, run by Python, under the names that ``machine`` would bind."""
    names = function.__globals__
    used = {name: constants.get(name, names[name]) for name in function.__code__.co_names if name in names}
    for name, value in used.items():
        if isinstance(value, FunctionType) and value.__module__.startswith("fwfm_gpu."):
            used[name] = in_python(value, **constants)
    return FunctionType(function.__code__, names | used, function.__name__, function.__defaults__)


@dataclass(frozen=True)
class Case:
    """So many lanes of a dtype."""

    lanes: int
    dtype: Any

    def numbers(self, *sizes: int, seed: int = 0) -> np.ndarray:
        """Numbers of both signs; floats with zeros, infinities, NaN and subnormals among them."""
        generator = np.random.default_rng(seed)
        if self.dtype is np.int64:
            return generator.integers(-9, 9, sizes)
        odd = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, np.finfo(self.dtype).smallest_subnormal]
        common = generator.random(sizes) < 0.6
        return np.where(common, generator.normal(size=sizes), generator.choice(odd, sizes)).astype(self.dtype)

    def check(self, function: Callable[..., Any], *arguments: Any, **constants: Any) -> None:
        """Machine code answers the same as Python, and leaves the same in the arrays that it is given."""
        constants |= {"LANES": self.lanes}
        want, got = ([a.copy() if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2))
        with np.errstate(all="ignore"):
            answer = in_python(function, **constants)(*want)
        assert compiled.machine(function, **constants)(*got) == answer
        for left, wanted in zip(got, want, strict=True):
            if isinstance(wanted, np.ndarray):
                np.testing.assert_array_equal(plain_bits(left), plain_bits(wanted))


def plain_bits(array: np.ndarray) -> np.ndarray:
    """Bits, where every NaN is the same one (numerics 2)."""
    return bits(array if array.dtype.kind == "i" else np.where(np.isnan(array), array.dtype.type(np.nan), array))


def cases(*dtypes: Any) -> Any:
    found = [Case(count, dtype) for count in (8, 16) for dtype in dtypes]
    return pytest.mark.parametrize("case", found, ids=lambda case: f"{case.lanes} {case.dtype.__name__}")
