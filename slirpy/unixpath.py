"""The path of a unix socket that is listened on: taken over from who left it, and removed at the end."""

from __future__ import annotations

import errno
import os
import socket
import stat

__all__ = ["bind_unix", "inode_of", "remove_unix"]


def bind_unix(sock: socket.socket, path: str) -> None:
    """Bind a socket to a path. A socket there that nobody uses any more is replaced.

    Raises:
        FileExistsError: something is there that is no socket.
        OSError: it cannot be bound; EADDRINUSE: somebody uses it.
    """
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "it exists and is no socket", path) from None
        with socket.socket(sock.family, sock.type) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) != errno.ECONNREFUSED:
                raise  # somebody listens, or what is there is not ours to judge
        os.unlink(path)
        sock.bind(path)


def inode_of(path: str) -> int | None:
    """What a path leads to now; for :func:`remove_unix`."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def remove_unix(path: str, inode: int | None) -> None:
    """Remove a path, unless something else took its place."""
    if inode is not None and inode_of(path) == inode:
        try:
            os.unlink(path)
        except OSError:
            pass
