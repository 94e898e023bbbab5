"""Paths of unix sockets: their maximum length, replacement of those of dead programs, and removal at the end."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable

__all__ = ["ABSTRACT_MAX", "PATH_MAX", "bind_unix", "inode_of", "is_unix_path", "open_again", "remove_unix"]

opener: Callable[[str, int], int] = os.open
"""Opens files that are read again and again; a sandbox puts in its own."""
read_again: dict[str, None] | None = None
"""The files that :func:`open_again` has opened; None: they are not noted."""

ABSTRACT_MAX = 107
"""Maximum bytes of an abstract name of Linux, without the zero at its beginning."""
PATH_MAX = ABSTRACT_MAX if sys.platform == "linux" else 103
"""Maximum bytes of a path, without the zero at its end; ``sun_path`` of the BSDs and of macOS is smaller."""


_PRIVATE = 0o600


def open_again(path: str, flags: int) -> int:
    """Open a file that a running process may read again, in a sandbox too: an ``opener`` of :func:`open`."""
    if read_again is not None:
        read_again[path] = None
    return opener(path, flags)


def is_unix_path(path: object) -> bool:
    """Report whether a value can be the path of a unix socket here: text of 1 to :data:`PATH_MAX` bytes, none of them
    zero.
    """
    return isinstance(path, str) and "\0" not in path and 1 <= len(os.fsencode(path)) <= PATH_MAX


def bind_unix(sock: socket.socket, path: str) -> None:
    """Bind a socket to a path, for its owner only. An unused socket at that path is replaced.

    Raises:
        FileExistsError: the path exists and is not a socket.
        OSError: it cannot be bound; EADDRINUSE: it is in use.
    """
    try:
        _bind_privately(sock, path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "it exists and is no socket", path) from None
        with socket.socket(sock.family, sock.type) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) != errno.ECONNREFUSED:
                raise  # it has a listener, or cannot be tested
        os.unlink(path)
        _bind_privately(sock, path)


def _bind_privately(sock: socket.socket, path: str) -> None:
    try:
        os.fchmod(sock.fileno(), _PRIVATE)  # Linux gives the path the permissions of the socket
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        sock.bind(path)  # other systems do not, and refuse this
        os.chmod(path, _PRIVATE)


def inode_of(path: str) -> int | None:
    """Return the inode at a path; for :func:`remove_unix`."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def remove_unix(path: str, inode: int | None) -> None:
    """Remove a path, unless another file has replaced it."""
    if inode is not None and inode_of(path) == inode:
        try:
            os.unlink(path)
        except OSError:
            pass
