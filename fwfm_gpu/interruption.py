"""Ctrl-C between batches."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption"]


class Interruption:
    """While entered, the first Ctrl-C is remembered instead of raised; a second one raises KeyboardInterrupt.

    Signals reach the main thread alone, so elsewhere this does nothing. The former handler comes back on leaving.
    """

    def __init__(self) -> None:
        self.requested = False
        self.former: Any = None
        self.installed = False

    def __enter__(self) -> Interruption:
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as under nohup: it stays so
        if threading.current_thread() is threading.main_thread() and not ignored:
            self.former = signal.signal(signal.SIGINT, self.remember)
            self.installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.installed:
            # None: the former handler was not set from Python and cannot be named
            signal.signal(signal.SIGINT, signal.SIG_DFL if self.former is None else self.former)

    def remember(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
