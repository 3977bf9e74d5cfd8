"""The engines that benchmarks are parametrised by."""

from __future__ import annotations

from fwfm_gpu.backends import Backend, get_backend
from fwfm_gpu.errors import DeviceError, MissingExtraError

BACKENDS = ["numpy", "cpu", "cuda"]
ONE_THREAD = "cpu, one thread"
WITH_THREADS = ["numpy", ONE_THREAD, "cpu", "cuda"]  # "cpu" is on all cores


def get_engine(name: str) -> Backend:
    """The engine of a device, or the compiled one on a single thread."""
    return get_backend("cpu", n_threads=1) if name == ONE_THREAD else get_backend(name)


def is_installed(name: str) -> bool:
    """Whether an engine of its own answers to this name.

    NumPy's always does, so whatever it raises is a failure. "cpu" is the NumPy engine once more where no compiled one
    is installed: that counts as not installed.
    """
    if name == "numpy":
        return True
    try:
        return get_engine(name).name != "numpy"
    except (DeviceError, MissingExtraError):
        return False


def require(name: str) -> Backend:
    """The engine, for the ``setup`` of a benchmark.

    Raises
    ------
    NotImplementedError
        It is not installed: asv then skips the benchmark.
    """
    if not is_installed(name):
        raise NotImplementedError(f"no engine {name!r} is installed")
    return get_engine(name)
