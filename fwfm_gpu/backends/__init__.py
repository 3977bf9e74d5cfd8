"""The array layer: one seam, and behind it engines that give the same bits.

``load_data`` and ``load_model`` put things on the device; ``begin``, ``advance``, ``collect`` run one pass over the
rows; ``score`` predicts; ``fetch_model`` brings parameters home. The seam is coarse so that an engine may fuse,
prefetch and overlap what it likes behind it.
"""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from fwfm_gpu.device_arrays import on_device, out_of_reach
from fwfm_gpu.device_matrix import DeviceMatrix
from fwfm_gpu.errors import DeviceError, FwfmWarning, MissingExtraError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array, OptimizerState, Parameters
from fwfm_gpu.recipe import Recipe

__all__ = ["Backend", "Collected", "fetch_array", "fingerprint_rows", "get_backend", "get_host_backend"]
__all__ += ["import_compiled", "send_array"]


@dataclass(frozen=True)
class Collected:
    """What a run has done so far.

    Attributes
    ----------
    loss : float
        Sum of weighted losses over the rows of the batches done, on top of what `Backend.begin` was given. Reported;
        steers nothing (numerics 4).
    batches : int
        Mini-batches finished.
    first_bad : int or None
        First batch, from 0, whose scores or new parameters were not finite. Its coordinate stage and all that would
        follow did nothing.
    """

    loss: float
    batches: int
    first_bad: int | None


class Backend(Protocol):
    """The seam. What the engine keeps resident (data, model, run) is its own affair, hence ``Any``."""

    name: str

    def load_data(self, rows: FieldMatrix, y: Array | None = None, weight: Array | None = None) -> Any:
        """Rows with values of T, targets (rows,) float64 and weights (rows,) float64, resident on the device."""

    def load_model(
        self, parameters: Parameters, state: OptimizerState | None = None, recipe: Recipe | None = None
    ) -> Any:
        """A resident copy. Without a recipe it only scores; with one, a missing state starts fresh (numerics 7)."""

    def begin(self, model: Any, data: Any, order: Array, loss: float = 0.0, learning_rate: float | None = None) -> Any:
        """A run: one pass over ``order``, (visits,) row numbers; the rest of one, when ``loss`` was summed before it.

        A batch's loss is added to what was there, so that a pause changes no digit of the sum. The learning rate is
        that of all its batches (numerics 7); None: the recipe's. The model keeps its recipe.
        """

    def advance(self, run: Any, batches: int) -> None:
        """Queue at most so many of the next mini-batches (numerics 3 to 7); need not wait for them."""

    def collect(self, run: Any) -> Collected:
        """Wait for what is queued."""

    def score(self, model: Any, data: Any) -> Array:
        """Raw scores, (rows, C) of T."""

    def copy_model(self, model: Any) -> Any:
        """A snapshot that stays on the device."""

    def grow_model(self, model: Any, fields: Array, V: Array) -> Any:
        """The model with new features behind the old: their fields (new,) and factors (C, new, k)."""

    def fetch_model(self, model: Any) -> tuple[Parameters, OptimizerState | None]:
        """Copies on the host."""


def get_backend(device: str = "auto", device_memory: int | None = None, n_threads: int | None = None) -> Backend:
    """The engine for a device.

    Parameters
    ----------
    device : str
        ``"numpy"``: the reference, always there. ``"cpu"``: the fastest engine on the processor that is installed.
        ``"cuda"`` or ``"cuda:1"``: an NVIDIA GPU. ``"auto"``: CUDA when a GPU answers, else ``"cpu"``; and where numba
        is installed and cannot be imported, ``"numpy"``, with a warning that says why.
    device_memory : int, optional
        Bytes of a GPU's memory that may be used; rows that do not fit are streamed. Without it, all that is free.
    n_threads : int, optional
        Threads of the compiled engine. Without it ``FWFM_NUM_THREADS``, or one per core. Never changes a bit.

    Raises
    ------
    DeviceError
        The device is named and not there: never a silent fallback.
    MissingExtraError
        A CUDA device is named, and CuPy is not installed. Or ``"cpu"`` is, and numba is installed and cannot be
        imported.
    OptionError
        The name is not known. Or the compiled engine is meant, and n_threads, or without it ``FWFM_NUM_THREADS``, is
        not a positive integer.
    """
    named = device if isinstance(device, str) else ""
    if re.fullmatch(r"cuda(:\d+)?", named):
        try:
            return make_cuda(int(named.partition(":")[2] or 0), device_memory)
        except (DeviceError, MissingExtraError) as error:
            raise type(error)(
                f"device={device!r} cannot be used: {error} "
                'Or pass device="auto" or "numpy": the model will be the same to the bit.'
            ) from error
    if named == "auto" and find_spec("cupy") is not None:
        with suppress(DeviceError, MissingExtraError):
            return make_cuda(0, device_memory)
    if named in ("auto", "cpu", "numpy"):
        return get_host_backend(named, n_threads)
    raise OptionError(f'device must be "auto", "cpu", "numpy", "cuda" or "cuda:N"; got {device!r}.')


def get_host_backend(device: str = "auto", n_threads: int | None = None) -> Backend:
    """As `get_backend` of ``"auto"``, ``"cpu"`` or ``"numpy"``, and never a GPU."""
    from fwfm_gpu.backends.numpy_backend import NumPyBackend

    if device == "numpy" or find_spec("numba") is None:
        return NumPyBackend()
    try:
        compiled = import_compiled()
    except MissingExtraError as error:
        if device == "cpu":
            raise
        warnings.warn(f'device="auto" takes the NumPy engine, which is slower: {error}', FwfmWarning, stacklevel=3)
        return NumPyBackend()
    engine: Backend = compiled(n_threads)
    return engine


def import_compiled() -> Any:
    """The class of the compiled engine.

    Raises
    ------
    MissingExtraError
        numba is not installed; or it cannot be imported, as where NumPy is newer than it knows.
    """
    if find_spec("numba") is None:
        raise MissingExtraError(
            'the compiled engine of device="cpu" needs numba, which is not installed. '
            "Install fwfm-gpu[cpu]: pip install 'fwfm-gpu[cpu]'."
        )
    try:
        from fwfm_gpu.backends.compiled_backend import CompiledBackend
    except ImportError as error:
        raise MissingExtraError(
            f'the compiled engine of device="cpu" needs numba, which is installed and cannot be imported: {error} '
            "Install versions that fit each other: pip install --upgrade 'fwfm-gpu[cpu]'. "
            'Or pass device="numpy": the model will be the same to the bit.'
        ) from error
    return CompiledBackend


def make_cuda(number: int, device_memory: int | None) -> Backend:
    """The CUDA engine on one GPU."""
    from fwfm_gpu.backends.cuda import CudaBackend, CupyDevice

    return CudaBackend(CupyDevice(number, device_memory))


def fetch_array(backend: Backend, what: str, array: Any) -> Any:
    """A copy on the host of an array that lies on a device; anything else as it is.

    Raises
    ------
    InputTypeError
        It lies on a device, and the engine has none; or it cannot be opened.
    """
    if not on_device(array):
        return array
    from fwfm_gpu.backends import cuda_adoption

    return cuda_adoption.fetch_array(device_of(backend, what, array), what, array)


def send_array(backend: Backend, array: Array, rows: FieldMatrix) -> Any:
    """Numbers that were made of rows, to where the rows lie: in the library of their own arrays."""
    if not isinstance(rows, DeviceMatrix) or array.dtype.kind not in "biuf":
        return array
    from fwfm_gpu.backends import cuda_adoption

    return cuda_adoption.send_array(device_of(backend, "X", rows), array, rows)


def fingerprint_rows(backend: Backend, rows: FieldMatrix) -> str:
    """`FieldMatrix.fingerprint`, the same wherever the rows lie."""
    if not isinstance(rows, DeviceMatrix):
        return rows.fingerprint()
    from fwfm_gpu.backends import cuda_adoption

    return cuda_adoption.fingerprint_rows(device_of(backend, "X", rows), rows)


def device_of(backend: Backend, what: str, array: Any) -> Any:
    """The device of the CUDA engine; no other engine has one."""
    if (device := getattr(backend, "device", None)) is None:
        raise out_of_reach(what, array)
    return device
