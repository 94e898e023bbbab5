"""Output files: only files that slirpy itself has written are ever replaced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeAlias

from slirpy.errors import LinkError
from slirpy.errortext import strerror

__all__ = ["IsOurs", "check_own", "create_new", "open_own"]

IsOurs: TypeAlias = Callable[[bytes], bool]
"""True if a file that begins with these bytes, 1024 at most, was written by slirpy."""

_HEAD = 1024


def open_own(
    path: str | os.PathLike[str],
    is_ours: IsOurs,
    *,
    new: bool = False,
    lock: Callable[[int], object] | None = None,
) -> int:
    """Open a file to write it from its beginning, or a device; returns the descriptor.

    A new file is readable and writable by its owner only.

    Args:
        path: the file.
        is_ours: recognizes content that may be replaced.
        new: replace nothing: there must be nothing of this name.
        lock: called with the descriptor before anything is replaced; an exception leaves the file as it is.

    Raises:
        FileExistsError: the file has other content, or exists and must not.
        OSError: the file cannot be opened, or what ``lock`` raises.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else 0)
    for name in ("O_CLOEXEC", "O_BINARY", "O_NOCTTY"):
        flags |= getattr(os, name, 0)
    fd = os.open(path, flags, 0o600)  # it contains what guests sent and received
    try:
        replace = _has_content(path, os.fstat(fd), is_ours)
        if lock is not None:
            lock(fd)
        if replace:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_own(path: str | os.PathLike[str], is_ours: IsOurs) -> None:
    """Check that a file may be replaced: it is absent, empty, or was written by slirpy.

    Raises:
        FileExistsError: it has other content, or is not a file.
        OSError: it cannot be read.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(errno.EEXIST, "it is not a file", os.fspath(path))
    _has_content(path, status, is_ours)


def _has_content(path: str | os.PathLike[str], status: os.stat_result, is_ours: IsOurs) -> bool:
    """Report whether there is content to replace.

    Raises:
        FileExistsError: there is, and it must not be replaced.
    """
    if stat.S_ISBLK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "it is a disk", os.fspath(path))
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    with open(path, "rb", buffering=0) as file:
        if not is_ours(file.read(_HEAD)):
            raise FileExistsError(errno.EEXIST, "it has content that slirpy did not write", os.fspath(path))
    return True


def create_new(option: str, path: str | os.PathLike[str]) -> int:
    """Create a file for what is written at the end, or open an empty one; returns the descriptor.

    It is created at once, so that a mistake shows early, and a sandbox that begins later does not matter.

    Args:
        option: the name of the option, for messages.
        path: the file.

    Raises:
        LinkError: it has content, is not a file, or cannot be had.
    """
    flags = os.O_WRONLY | os.O_CREAT
    for name in ("O_CLOEXEC", "O_BINARY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    try:
        fd = os.open(path, flags, 0o600)  # it contains what guests sent and received
    except OSError as error:
        why = strerror(error.errno or 0).lower()
        raise LinkError(
            f'{option} "{path}": cannot be written: {why}; name a file in a folder of yours'
        ) from None
    status = os.fstat(fd)
    if status.st_size or not stat.S_ISREG(status.st_mode):
        os.close(fd)
        what = "has content" if status.st_size else "is not a file"
        raise LinkError(f'{option} "{path}" {what}, and is left alone; name another file, or remove this one')
    return fd
