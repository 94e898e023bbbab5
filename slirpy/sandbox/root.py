"""A root folder of a process's own, with nothing but what the process may open (mount_namespaces(7)).

Landlock refuses files; here they do not exist. Each path is mounted from the old root folder, read-only unless it may
be written to, into an empty file system, which becomes the root folder. Symbolic links on the way to a path are made
again. The mounts belong to a new mount namespace, so nobody else sees them, and they end with the process.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable

from slirpy.sandbox.arguments import descriptor, paths
from slirpy.sandbox.syscalls import call

__all__ = ["PrivateRoot"]

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 0x20, 0x1000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY = b"".join(number.to_bytes(8, "little") for number in (1, 0, 0, 0))
"""``struct mount_attr`` with ``MOUNT_ATTR_RDONLY``, on the little-endian machines whose system calls are known."""
_BASE = "/tmp"
"""A folder that every system has, over which the new root folder is mounted until it is one."""
_OLD = "/old-root"
_LINKS_MAX = 40
"""Symbolic links on the way to a file, as the kernel allows."""


class PrivateRoot:
    """A root folder to enter.

    Args:
        folders: folders that it contains whole, to read; the sandbox may still refuse files in them.
        user: descriptor of a user namespace to enter if this process may not mount file systems itself, which is
            duplicated; None: there is none.

    Raises:
        ConfigError: no list of paths, or no open descriptor.
    """

    def __init__(self, folders: Iterable[str], user: int | None = None) -> None:
        self._folders = tuple(paths("folders", folders))
        self._user = None if user is None else descriptor("user", user)

    def __repr__(self) -> str:
        return f"<PrivateRoot with {', '.join(self._folders) or 'no folder'}>"

    def enter(self, readable: Iterable[str], writable: Iterable[str]) -> None:
        """Enter it, for good. This process has one thread.

        Args:
            readable: paths to open for reading. A path that does not exist is left out.
            writable: paths to write to, or folders in which to create or remove files.

        Raises:
            OSError: the system refused; the old root folder stays.
        """
        shown = dict.fromkeys((*self._folders, *readable), True) | dict.fromkeys(writable, False)
        wanted = {os.path.abspath(path): read_only for path, read_only in shown.items()}
        try:
            call("unshare", _CLONE_NEWNS)
        except PermissionError:
            if self._user is None:
                raise
            call("setns", self._user, _CLONE_NEWUSER)
            call("unshare", _CLONE_NEWNS)
        if self._user is not None:
            os.close(self._user)
            self._user = None
        _mount("none", "/", _MS_REC | _MS_PRIVATE)
        _mount("tmpfs", _BASE, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "tmpfs", "size=64k,nr_inodes=1k,mode=755")
        os.mkdir(_BASE + _OLD)
        call("pivot_root", _bytes(_BASE), _bytes(_BASE + _OLD))
        os.chdir("/")
        places = {_resolve(path): read_only for path, read_only in wanted.items()}
        for path, read_only in sorted(places.items()):  # folders come before what is in them
            try:
                _show(path, read_only)
            except OSError:
                pass  # it does not exist, or may not be shown
        call("umount2", _bytes(_OLD), _MNT_DETACH)
        os.rmdir(_OLD)
        _mount("none", "/", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def _resolve(path: str) -> str:
    """Make the symbolic links on the way to a path in the new root folder, too.

    Returns:
        The path without them; a path that does not exist if there are too many.
    """
    left, found, links = deque(path.split("/")), "/", 0
    while left:
        part = left.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            found = os.path.dirname(found)
            continue
        step = os.path.join(found, part)
        try:
            target = os.readlink(_OLD + step)
        except OSError:  # no link, or nothing
            found = step
            continue
        links += 1
        if links > _LINKS_MAX:
            return step
        if not os.path.lexists(step):
            os.makedirs(found, exist_ok=True)
            os.symlink(target, step)
        if target.startswith("/"):
            found = "/"
        left.extendleft(reversed(target.split("/")))
    return found


def _show(path: str, read_only: bool) -> None:
    """Mount a path of the old root folder, unless a folder that is shown contains it."""
    old = _OLD + path
    is_folder = stat.S_ISDIR(os.stat(old).st_mode)
    if os.path.exists(path):
        if read_only and os.path.samefile(path, old):
            return
    elif is_folder:
        os.makedirs(path)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _mount(old, path, _MS_BIND | _MS_REC)
    if read_only:
        call("mount_setattr", _AT_FDCWD, _bytes(path), _AT_RECURSIVE, _READ_ONLY, len(_READ_ONLY))


def _mount(source: str, target: str, flags: int, kind: str = "", data: str = "") -> None:
    call("mount", _bytes(source), _bytes(target), _bytes(kind), flags, _bytes(data))


def _bytes(text: str) -> bytes:
    return os.fsencode(text) + b"\0"
