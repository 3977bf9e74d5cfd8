"""Ctrl-C between batches, and SIGTERM where a program asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption", "raise_again", "stop_asked", "terminable"]

REMEMBERED: list[str] = []  # the cause of each signal raised inside of terminable(remember=True)


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
            raise_again()
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup: it stays so
                self.former[signal.SIGINT] = signal.signal(signal.SIGINT, self.remember)
            if signal.getsignal(signal.SIGTERM) in (interrupt, interrupt_and_remember):
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
            if interrupt_and_remember in self.former.values():
                REMEMBERED.append(cause)
            raise KeyboardInterrupt(cause)
        self.requested, self.cause = True, cause


@contextmanager
def terminable(remember: bool = False) -> Iterator[None]:
    """While entered, SIGTERM does what Ctrl-C does: ``fwfm-gpu`` runs its commands in here.

    Training stops after the batch that is under way, writes its checkpoint and returns, warning with
    ``InterruptedTrainingWarning`` that begins with ``SIGTERM``; elsewhere KeyboardInterrupt is raised. A library must
    not take signals from the program that it is in, so ``train`` alone leaves SIGTERM as it is. Outside of the main
    thread this does nothing, and a program that ignores SIGTERM or handles it already keeps doing so.

    Parameters
    ----------
    remember : bool
        Remember signals besides, Ctrl-C too, since code in between may swallow an exception: a reader in C, an import
        under ``try``. `raise_again` raises what was swallowed, and training does not begin. For a program that ends
        with what it does in here.

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
    handler = interrupt_and_remember if remember else interrupt
    taken = {signal.SIGTERM: signal.SIG_DFL} | ({signal.SIGINT: signal.default_int_handler} if remember else {})
    here = threading.current_thread() is threading.main_thread()
    free = {number: usual for number, usual in taken.items() if here and signal.getsignal(number) is usual}
    REMEMBERED.clear()
    for number in free:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, usual in free.items():
            signal.signal(number, usual)
        REMEMBERED.clear()


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM while nothing trains; what it raises says where it comes from."""
    raise KeyboardInterrupt("SIGTERM" if number == signal.SIGTERM else "Ctrl-C")


def interrupt_and_remember(number: int, frame: FrameType | None) -> None:
    """The same, when what it raises may be swallowed."""
    REMEMBERED.append("SIGTERM" if number == signal.SIGTERM else "Ctrl-C")
    interrupt(number, frame)


def stop_asked() -> str:
    """The cause of the first signal that was remembered, empty without any."""
    return REMEMBERED[0] if REMEMBERED else ""


def raise_again() -> None:
    """KeyboardInterrupt, when a signal was remembered: the station of a long command where it cannot be swallowed."""
    if REMEMBERED:
        raise KeyboardInterrupt(REMEMBERED[0])
