"""Machine code for plain Python functions, by numba: it, and the instructions of three modules, are all that know it.

``machine(function, K=16)`` compiles a function with some of its global names bound to constants. What it calls is
compiled with it: the formulas of losses.py, optimizers.py and numerics.py as they stand, and the operations of
lanes.py, to which this module gives instructions on whole registers. ``fastmath`` stays off, so that no operation is
fused or reordered (numerics 2); the GIL is released; the code is kept on disk.

numba would run old code from disk after an edit in another file. Therefore the name under which code is kept holds a
hash of all sources that may be compiled into it, and every constant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature

from fwfm_gpu import losses, numerics, optimizers
from fwfm_gpu.backends.compiled_operations import operations

__all__ = ["machine", "widest_lanes"]

# Division by 0 as in NumPy; no counting of references, since kernels make no arrays.
OPTIONS = {"fastmath": False, "boundscheck": False, "error_model": "numpy", "_nrt": False}
BUILTINS = {"min": min, "max": max}  # of two integers: one instruction here, a function of its own in numba
COMPILED_FILES = ("compiled*.py", "lanes.py")


@cache
def hash_sources() -> str:
    """A name for the text of everything that is compiled."""
    digest = hashlib.sha256(numba.__version__.encode())
    here = Path(__file__).parent
    files = [path for pattern in COMPILED_FILES for path in sorted(here.glob(pattern))]
    for path in (*files, *(Path(str(module.__file__)) for module in (losses, numerics, optimizers))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def widest_lanes() -> int:
    """How many float32 go side by side on this processor."""
    return 16 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 8


class CodeCache(FunctionCache):
    """Code on disk. A disk that cannot be read or written is no error: then the code is compiled anew."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except OSError:
            return None
        except Exception:  # a damaged file
            with suppress(OSError):
                self.flush()
            return None
        # Processes that compile for several types at once may leave one's code under another's name.
        return found if found is None or found.signature.args == normalize_signature(sig)[0] else None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except Exception:
            self.disable()


class Part(JITCodeLibrary):
    """Code that only machine code calls: LLVM works on it with its callers, and not before."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    @property
    def codegen(self) -> Any:
        return NoEnvironment(self._codegen)


class NoEnvironment:
    """numba's generator of code, less the place for objects that exceptions carry: a part is nowhere by itself."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Kernels raise nothing."""


class PartCompiler(Compiler):
    """Compiles a function to a `Part`."""

    def define_pipelines(self) -> Any:
        state = self.state
        state.library = Part(state.targetctx.codegen(), state.func_id.func_qualname)
        return super().define_pipelines()


@cache
def machine(function: Callable[..., Any], **constants: Any) -> Callable[..., Any]:
    """The function as machine code, compiled when first called with arguments of new types.

    Parameters
    ----------
    function : a plain function of the package
    constants
        What its global names, and those of all it calls, are bound to: numbers, or functions to call instead.
    """
    bound = bind(function, {"LANES": widest_lanes()} | constants)
    compiled = numba.njit(bound, nogil=True, no_cfunc_wrapper=True, **OPTIONS)
    with suppress(RuntimeError):  # numba finds no folder that it may write
        compiled._cache = CodeCache(bound)
    return compiled


def bind(function: Any, constants: dict[str, Any]) -> FunctionType:
    """A function of the same code whose globals are the constants and compiled functions, named after the former."""
    used = {name: constants[name] for name in sorted(used_names(function, frozenset(constants.items())))}
    names = {name: constants.get(name, value) for name, value in globals_of(function).items()}
    bound = FunctionType(
        function.__code__,
        function.__globals__ | {name: translate(value, constants) for name, value in names.items()},
        function.__name__,
        function.__defaults__,
    )
    known = [f"{name}={getattr(value, '__name__', value)}" for name, value in used.items()]
    bound.__qualname__ = "-".join((function.__name__, *known, hash_sources()))
    bound.__module__ = function.__module__
    return bound


def globals_of(function: Any) -> dict[str, Any]:
    """The global names that a function uses, ``min`` and ``max`` among them, and what they stand for."""
    known = BUILTINS | function.__globals__
    return {name: known[name] for name in function.__code__.co_names if name in known}


@cache
def used_names(function: Any, constants: frozenset[tuple[str, Any]]) -> frozenset[str]:
    """Which of the constants a function, or anything that it calls, uses."""
    bound, found = dict(constants), set()
    for name, value in globals_of(function).items():
        value = bound.get(name, value)
        found |= {name} & bound.keys()
        if is_ours(value):
            found |= {"LANES"} if value in operations(bound["LANES"]) else used_names(value, constants)
    return frozenset(found)


def is_ours(value: Any) -> bool:
    """Whether this is a plain function of the package."""
    return isinstance(value, FunctionType) and value.__module__.startswith("fwfm_gpu.")


def translate(value: Any, constants: dict[str, Any]) -> Any:
    """What a global name stands for in machine code: functions of the package are compiled, with the same constants."""
    if isinstance(value, Hashable) and value in (known := operations(constants["LANES"])):
        return known[value]
    if not is_ours(value):
        return value
    used = used_names(value, frozenset(constants.items()))
    return callee(value, tuple((name, constants[name]) for name in sorted({*used, "LANES"})))


@cache
def callee(function: Any, constants: tuple[tuple[str, Any], ...]) -> Any:
    """A function that only machine code calls: compiled once for all its callers, without a door from Python."""
    inline = "always" if hasattr(function, "inlined") else "never"
    part = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": PartCompiler}
    return numba.njit(bind(function, dict(constants)), inline=inline, **part, **OPTIONS)
