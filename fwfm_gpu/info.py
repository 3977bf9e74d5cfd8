"""What is installed here, which engines answer, and what is missing for what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.cuda import describe_devices
from fwfm_gpu.backends.kernels import cache_folder, describe_compiler
from fwfm_gpu.backends.threads import VARIABLE, choose_threads
from fwfm_gpu.errors import FwfmError
from fwfm_gpu.version import __version__
from fwfm_gpu.warmup import code_folder

__all__ = ["describe_installation"]

DEVICES = ("numpy", "cpu", "cuda", "auto")
EXTRAS = {  # extra: (distributions, what they are for)
    "cpu": (("numba",), "the compiled engine on the processor"),
    "cuda12": (("cupy-cuda12x",), "the CUDA engine with a driver for CUDA 12"),
    "cuda13": (("cupy-cuda13x",), "the CUDA engine with a driver for CUDA 13"),
    "sklearn": (("scikit-learn",), "FwFMClassifier and FwFMRegressor; a peer in the demo"),
    "data": (("narwhals", "pyarrow"), "pandas, polars and pyarrow tables"),
    "plots": (("matplotlib",), "reports"),
    "progress": (("tqdm",), "a progress bar"),
    "tune": (("optuna",), "the search for options"),
    "logs": (("tensorboard", "mlflow-skinny"), "training logs for TensorBoard and MLflow"),
    "completion": (("shtab",), "completion of commands in the shell"),
}


def describe_installation() -> Iterator[str]:
    """Lines of plain text. It works without a GPU: what is missing is said where it is missing."""
    yield f"fwfm_gpu   {__version__}  ({Path(__file__).parent})"
    yield f"Python     {platform.python_version()} ({platform.python_implementation()}), {platform.platform()}"
    yield f"NumPy      {version('numpy')}"
    yield f"SciPy      {version('scipy')}"
    yield f"processor  {platform.machine()}, {os.cpu_count()} cores"
    yield ""
    yield "engines"
    for device in DEVICES:
        yield f"  {device:<9}{describe_device(device)}"
    yield ""
    yield "compiled engine"
    for line in describe_compiled():
        yield f"  {line}"
    yield ""
    yield "CUDA"
    for line in describe_cuda():
        yield f"  {line}"
    yield ""
    yield f"caches     {cache_folder()}  (CUDA kernels; FWFM_GPU_CACHE names another folder)"
    yield ""
    yield "extras     pip install 'fwfm-gpu[NAME]'"
    for extra, (distributions, purpose) in EXTRAS.items():
        found = [f"{name} {version(name)}" for name in distributions if version(name)]
        lacking = [name for name in distributions if not version(name)]
        state = ", ".join(found) + (f"{'; ' if found else ''}missing {', '.join(lacking)}" if lacking else "")
        yield f"  {extra:<11}{state:<44}{purpose}"


def describe_compiled() -> Iterator[str]:
    """numba's version, lanes, threads, and where machine code is kept; or what is missing."""
    try:
        folder = code_folder()
    except (FwfmError, ImportError) as error:
        yield f"no: {error}"
        return
    from fwfm_gpu.backends.compiled import widest_lanes

    yield f"numba      {version('numba')}, {widest_lanes()} float32 side by side"
    try:
        named = os.environ.get(VARIABLE, "").strip()
        source = f"of {VARIABLE}" if named else f"one per core; {VARIABLE} names another number"
        yield f"threads    {choose_threads(None)}  ({source})"
    except FwfmError as error:
        yield f"threads    no: {error}"
    if folder is None:
        yield "code       not kept: numba finds no folder that may be written; NUMBA_CACHE_DIR names one"
    else:
        yield f"code       {folder}  (fwfm-gpu warmup compiles ahead; NUMBA_CACHE_DIR names another folder)"


def describe_cuda() -> Iterator[str]:
    """Versions of driver, runtime and compiler, and each GPU; or what is missing."""
    try:
        yield from describe_devices()
    except FwfmError as error:
        yield f"no: {error}"
    try:
        yield describe_compiler()
    except FwfmError as error:
        yield f"compiler no: {error}"


def describe_device(device: str) -> str:
    """The engine that answers, or why none does."""
    try:
        return type(get_backend(device)).__name__
    except (FwfmError, ImportError) as error:  # a numba or CuPy that is there and cannot be imported
        return f"no: {error}"


def version(distribution: str) -> str | None:
    """The installed version, None when it is not there."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
