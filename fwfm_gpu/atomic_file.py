"""Write a file in one step: the former one stays whole until the new one is complete and on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from fwfm_gpu.errors import InputError

__all__ = ["replace_file"]

NO_DIRECTORY_SYNC = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOTSUP, errno.EPERM}


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a new file beside the target, which takes its name at the end.

    A symbolic link is followed; the mode of a former file is kept.

    Raises
    ------
    InputError
        A device, pipe or socket is there.
    OSError
        The system refused. After any error the former file is as it was and no other file is left.
    """
    target = os.path.realpath(os.fsdecode(path))
    mode = former_mode(target)
    temporary = f"{target}.{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=0o666 if mode is None else mode)) as file:
            if mode is not None:
                os.chmod(temporary, mode)  # what the umask took away
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:  # Ctrl-C as well
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = target  # the name that the caller knows
        raise
    sync_directory(os.path.dirname(target))


def former_mode(target: str) -> int | None:
    """The permissions of the file to be replaced, None when there is no such file."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(mode):
        raise InputError(f"path must be that of a regular file: {target} is a device, pipe or socket. Choose another.")
    return stat.S_IMODE(mode)


def sync_directory(directory: str) -> None:
    """Make the new name durable, where the system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
