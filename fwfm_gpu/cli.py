"""The door of the command line: minds signals from the first moment, calls a command, turns its end into an exit code.

It imports next to nothing, so that Ctrl-C ends it in one line also while the commands, and NumPy, are still imported.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from fwfm_gpu.cli_output import DONE, FAULT, INTERRUPTED, REFUSED, TERMINATED, say
from fwfm_gpu.errors import FwfmError
from fwfm_gpu.interruption import raise_again, stop_asked, terminable

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """``fwfm-gpu``. Returns the exit code; ``fwfm-gpu --help`` lists them.

    Raises
    ------
    SystemExit
        As argparse does: 2 for a wrong command line, 0 after ``--help`` and ``--version``.
    """
    with terminable(remember=True):
        try:
            from fwfm_gpu.cli_commands import (
                make_parser,
            )  # NumPy and all that commands need: not before signals are minded

            parsed = make_parser().parse_args(arguments)
            code = int(parsed.run(parsed))
            if code == DONE:
                raise_again()
            return code
        except BrokenPipeError:  # a reader such as head had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except (KeyboardInterrupt, Exception) as error:
            return ended_by(error)


def ended_by(error: BaseException) -> int:
    """The exit code, and what is said. Whatever is raised after a signal is its doing: an import that it broke off."""
    cause = stop_asked() or ("SIGTERM" if error.args == ("SIGTERM",) else "Ctrl-C")
    if isinstance(error, KeyboardInterrupt) or stop_asked():
        say("fwfm-gpu: stopped", to=sys.stderr)
        exec("")  # Python forgets the one that an exec let through, or it would end by a signal instead of this code
        return TERMINATED if cause == "SIGTERM" else INTERRUPTED
    if isinstance(error, FwfmError | OSError | MemoryError):
        say(f"fwfm-gpu: {explained(error)}", to=sys.stderr)
        return REFUSED
    traceback.print_exception(error)
    say("fwfm-gpu: this is a fault in fwfm-gpu; please report it with the lines above", to=sys.stderr)
    return FAULT


def explained(error: BaseException) -> str:
    """What went wrong, in the words of the command line; the system's own errors without their numbers."""
    if (
        isinstance(error, OSError)
        and error.strerror
        and error.filename is not None
        and not isinstance(error, FwfmError)
    ):
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    from fwfm_gpu.cli_words import in_flags  # imports NumPy

    return in_flags(str(error)) or "out of memory"


if __name__ == "__main__":
    sys.exit(main())
