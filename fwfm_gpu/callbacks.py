"""Hooks into training."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fwfm_gpu.errors import InputTypeError
from fwfm_gpu.history import EpochRecord

__all__ = ["Callback", "Callbacks", "Status"]


@dataclass(frozen=True)
class Status:
    """Where training stands.

    Attributes
    ----------
    epoch, epochs : int
        The epoch that is running, from 1, and the last one planned.
    batch, batches : int
        Mini-batches done of this epoch, and its total.
    history : tuple of EpochRecord
        Finished epochs.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    history: tuple[EpochRecord, ...]


class Callback:
    """Override what is needed. A method that returns True stops training; the model is returned as it then is."""

    def on_begin(self, status: Status) -> bool | None:
        """Before the first batch."""

    def on_batches(self, status: Status) -> bool | None:
        """After some more batches: often enough to show progress, not after each one."""

    def on_epoch(self, status: Status) -> bool | None:
        """After an epoch and its evaluation; the record is the last of ``status.history``."""

    def on_end(self, status: Status) -> bool | None:
        """After the last batch, also when training was stopped or failed."""


class EpochFunction(Callback):
    """A plain function, called after each epoch."""

    def __init__(self, function: Callable[[Status], bool | None]) -> None:
        self.function = function

    def on_epoch(self, status: Status) -> bool | None:
        return self.function(status)


class Callbacks:
    """Several callbacks, each asked every time; any of them may stop training."""

    def __init__(
        self, given: Iterable[Callback | Callable[[Status], bool | None]], first: Iterable[Callback] = ()
    ) -> None:
        if not isinstance(given, Iterable):
            raise InputTypeError(f"callbacks must be a list of callbacks; got {reprlib.repr(given)}. Pass [it].")
        self.members = list(first)
        for member in given:
            if isinstance(member, Callback):
                self.members.append(member)
            elif callable(member) and not isinstance(member, type):
                self.members.append(EpochFunction(member))
            else:
                raise InputTypeError(
                    "callbacks must hold functions of a Status or fwfm_gpu.Callback objects, not classes; "
                    f"got {reprlib.repr(member)}."
                )

    def tell(self, event: str, status: Status) -> bool:
        """Call ``on_<event>`` of every member. Returns whether one wants to stop."""
        answers = [getattr(member, f"on_{event}")(status) for member in self.members]
        return any(answer is not None and bool(answer) for answer in answers)
