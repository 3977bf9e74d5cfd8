"""Errors and warnings: one voice.

Every message says what was expected, what came, where, and what to do. Each class is also the builtin that a user
would catch, so ``except ValueError`` works without knowing this module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwfm_gpu.model import FwFM

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DeviceMemoryError",
    "DivergenceError",
    "EncodedFileError",
    "FwfmError",
    "FwfmWarning",
    "InputError",
    "InputTypeError",
    "InterruptedTrainingWarning",
    "MissingExtraError",
    "MissingStateError",
    "ModelFileError",
    "OptionError",
    "StreamWarning",
]


class FwfmError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(FwfmError, ValueError):
    """Data that cannot be used: not finite, out of range, of the wrong shape."""


class InputTypeError(FwfmError, TypeError):
    """Data of a kind that is not understood."""


class OptionError(FwfmError, ValueError):
    """An option outside what is allowed; the message lists what is."""


class DeviceError(FwfmError, RuntimeError):
    """A device that was asked for by name and is not there."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has too little memory for what was asked; the process stays usable.

    Attributes
    ----------
    needed, free : int
        Bytes.
    largest_batch : int or None
        The largest ``batch_size`` that would fit, where a smaller one would help.
    """

    def __init__(self, message: str, *, needed: int, free: int, largest_batch: int | None = None) -> None:
        super().__init__(message)
        self.needed = needed
        self.free = free
        self.largest_batch = largest_batch

    def __reduce__(self) -> tuple[Any, ...]:
        """As `DivergenceError`'s."""
        make = partial(type(self), needed=self.needed, free=self.free, largest_batch=self.largest_batch)
        return make, self.args


class MissingExtraError(FwfmError, ImportError, RuntimeError):
    """An optional package is missing, or refuses to be imported; the message says which extra installs it."""


class MissingStateError(FwfmError, RuntimeError):
    """Training cannot go on: the model holds no optimizer state."""


class ModelFileError(FwfmError, ValueError):
    """A file that is not an intact model file of a known version."""


class EncodedFileError(FwfmError, ValueError):
    """A file that is not an intact file of encoded rows, of a known version."""


class CheckpointError(FwfmError, OSError):
    """A directory of checkpoints that cannot be used: the system refuses to write or read there.

    Attributes
    ----------
    model : FwFM or None
        What was reached when a checkpoint could not be written in the midst of training; None before it began.
    errno : int or None
        The system's number, where it gave one.
    """

    def __init__(self, message: str, *, model: FwFM | None = None, errno: int | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        """As `DivergenceError`'s."""
        return partial(type(self), model=self.model, errno=self.errno), self.args


class DivergenceError(FwfmError, RuntimeError):
    """A score or a parameter became infinite or NaN.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    batch : int
        Number of the batch in that epoch, from 1.
    model : FwFM
        The model at the end of the last finite epoch (the start model when there was none).
    """

    def __init__(self, message: str, *, epoch: int, batch: int, model: FwFM) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions forget keyword arguments on their way between processes; a pool would break."""
        return partial(type(self), epoch=self.epoch, batch=self.batch, model=self.model), self.args


class FwfmWarning(UserWarning):
    """Base of every warning of this package."""


class InterruptedTrainingWarning(FwfmWarning):
    """Training was stopped by Ctrl-C (or by SIGTERM inside `interruption.terminable`) and returned early."""


class StreamWarning(FwfmWarning):
    """The saved generator came from another NumPy version: further draws may differ (numerics 8)."""
