"""Ctrl-C between batches, and SIGTERM where a program asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption", "terminable"]


class Interruption:
    """While entered, the first Ctrl-C is remembered instead of raised; a second one raises KeyboardInterrupt.

    Inside `terminable` SIGTERM counts as Ctrl-C, also where Ctrl-C is ignored. Signals reach the main thread alone, so
    elsewhere this does nothing. The former handlers come back on leaving.
    """

    def __init__(self) -> None:
        self.requested = False
        self.cause = ""  # what is told of it
        self.former: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup: it stays so
                self.former[signal.SIGINT] = signal.signal(signal.SIGINT, self.remember)
            if signal.getsignal(signal.SIGTERM) is interrupt:
                self.former[signal.SIGTERM] = signal.signal(signal.SIGTERM, self.remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self.former.items():
            # None: the former handler was not set from Python and cannot be named
            signal.signal(number, signal.SIG_DFL if former is None else former)

    def remember(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        cause = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
        if self.requested:
            raise KeyboardInterrupt(cause)
        self.requested, self.cause = True, cause


@contextmanager
def terminable() -> Iterator[None]:
    """While entered, SIGTERM does what Ctrl-C does: ``fwfm-gpu`` runs its commands in here.

    Training stops after the batch that is under way, writes its checkpoint and returns, warning with
    ``InterruptedTrainingWarning`` that begins with ``SIGTERM``; elsewhere KeyboardInterrupt is raised. A library must
    not take signals from the program that it is in, so ``train`` alone leaves SIGTERM as it is. Outside of the main
    thread this does nothing, and a program that ignores SIGTERM or handles it already keeps doing so.

    Examples
    --------
    >>> import signal
    >>> from fwfm_gpu.interruption import terminable
    >>> with terminable():
    ...     try:
    ...         signal.raise_signal(signal.SIGTERM)
    ...     except KeyboardInterrupt:
    ...         print("stopped")
    stopped
    """
    free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM while nothing trains; what it raises says where it comes from."""
    raise KeyboardInterrupt("SIGTERM")
