"""What commands share in speaking: results on standard output, all else on standard error, and how they end."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from fwfm_gpu.errors import FwfmWarning, InterruptedTrainingWarning

__all__ = ["DONE", "EXIT_CODES", "FAILED", "FAULT", "INTERRUPTED", "REFUSED", "TERMINATED"]
__all__ += ["Remarks", "add_json", "file_size", "log_lines", "print_json", "print_lines", "say"]

DONE, FAILED, REFUSED, FAULT, INTERRUPTED, TERMINATED = 0, 1, 2, 70, 130, 143
EXIT_CODES = """\
exit codes:
  0    done
  1    a check failed: a vector that differs, a metric below what was asked for
  2    the request cannot be carried out: bad usage, bad data, a missing file or package
  70   a fault in fwfm-gpu itself, with a traceback
  130  stopped by Ctrl-C; what was trained is saved
  143  stopped by SIGTERM; likewise"""


def say(text: str = "", *, to: TextIO | None = None) -> None:
    """A line of the result, at once."""
    print(text, file=to or sys.stdout, flush=True)


def print_lines(pairs: Mapping[str, str]) -> None:
    """``name   text`` in two columns."""
    width = max(map(len, pairs), default=0)
    for name, text in pairs.items():
        say(f"{name:<{width}}  {text}")


def print_json(value: Any) -> None:
    """One JSON object in one line."""
    say(json.dumps(value, default=plain, allow_nan=False) if finite(value) else json.dumps(without_nan(value)))


def plain(value: Any) -> Any:
    """What JSON does not know as what it does."""
    import numpy as np  # not before signals are minded

    if isinstance(value, np.ndarray | np.generic):
        return without_nan(value.tolist())
    return str(value)


def finite(value: Any) -> bool:
    """Whether JSON can hold all of the numbers."""
    try:
        json.dumps(value, default=plain, allow_nan=False)
    except ValueError:
        return False
    return True


def without_nan(value: Any) -> Any:
    """null in place of what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else plain(value)


def add_json(parser: Any, what: str = "print one JSON object instead of lines") -> None:
    """The option that every command has which prints a result."""
    parser.add_argument("--json", action="store_true", help=what)


def file_size(path: str | os.PathLike[str]) -> str:
    """``1.2 MB``."""
    size = float(os.path.getsize(path))
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("a size has a unit")


@contextmanager
def log_lines(to: TextIO | None = None) -> Iterator[None]:
    """Print this package's log lines, which is where progress goes off a terminal."""
    logger, handler = logging.getLogger("fwfm_gpu"), logging.StreamHandler(to or sys.stdout)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    former = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(former)


class Remarks:
    """While entered, warnings of this package are lines on standard error, and interruptions are remembered.

    Attributes
    ----------
    ended : int or None
        INTERRUPTED or TERMINATED once training was stopped by a signal.
    """

    ended: int | None = None

    def __enter__(self) -> Remarks:
        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter("always", FwfmWarning)
        warnings.showwarning = self.show
        return self

    def __exit__(self, *error: Any) -> None:
        self.caught.__exit__(*error)

    def show(self, message: Any, category: type[Warning], *place: Any, **keywords: Any) -> None:
        """One warning."""
        if issubclass(category, InterruptedTrainingWarning):
            self.ended = TERMINATED if str(message).startswith("SIGTERM") else INTERRUPTED
        from fwfm_gpu.cli_words import in_flags  # not before signals are minded

        said = in_flags(str(message)) if issubclass(category, FwfmWarning) else f"{category.__name__}: {message}"
        say(f"fwfm-gpu: {said}", to=sys.stderr)
