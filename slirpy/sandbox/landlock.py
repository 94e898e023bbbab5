"""Landlock (landlock(7)): rules for the files that a process may open, and a wall around what it may signal.

Only what is opened from now on is checked; open descriptors stay usable. Each version of the kernel's interface (the
ABI) handles more: 2 renaming between folders, 3 truncation, 5 ``ioctl`` of devices, 6 abstract sockets and signals.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from struct import Struct

from slirpy.sandbox.syscalls import call

__all__ = ["BIND", "READ", "REMOVE", "WRITE", "WRITE_FILE", "abi", "restrict"]

_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1, 2

# struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped; its size grew with the ABI.
_ATTRIBUTES = Struct("=QQQ")
_SIZES = ((6, 24), (4, 16), (1, 8))
_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
"""Number of rights on files, by the least ABI."""
_RULE = Struct("=Qi")

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 5
_MAKE_REG, _MAKE_SOCK, _TRUNCATE = 1 << 8, 1 << 9, 1 << 14
_ON_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15

READ = _READ_FILE | _READ_DIR
"""Read files and list folders."""
WRITE_FILE = _READ_FILE | _WRITE_FILE | _TRUNCATE
"""Write to a file that exists."""
WRITE = READ | WRITE_FILE | _MAKE_REG | _REMOVE_FILE
"""Also create, replace and remove files of a folder."""
REMOVE = _REMOVE_FILE
"""Remove files of a folder, such as the path of a Unix socket."""
BIND = REMOVE | _MAKE_SOCK
"""Also create Unix sockets in a folder."""


def abi() -> int:
    """Return the version of the kernel's interface.

    Raises:
        OSError: there is none: ``ENOSYS`` before Linux 5.13, ``EOPNOTSUPP`` if it was turned off at boot.
    """
    return call("landlock_create_ruleset", 0, 0, _CREATE_VERSION)


def restrict(rules: Mapping[str, int], *, signals: bool = False) -> int:
    """Restrict the calling thread, and the threads and processes that it starts, to these files.

    Args:
        rules: from each path, a file or a folder with all that is in it, to what may be done with it, such as
            :data:`READ`. A path that does not exist is left out.
        signals: whether processes that are not restricted in the same way may still be signalled.

    Returns:
        The ABI.

    Raises:
        OSError: the system refused.
    """
    version = abi()
    handled = (1 << _of(_RIGHTS, version)) - 1
    scoped = _SCOPE_ABSTRACT_SOCKET | (0 if signals else _SCOPE_SIGNAL)
    size = _of(_SIZES, version)
    attributes = _ATTRIBUTES.pack(handled, 0, scoped if version >= 6 else 0)[:size]
    ruleset = call("landlock_create_ruleset", attributes, size, 0)
    try:
        for path, rights in rules.items():
            _allow(ruleset, path, rights & handled)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _of(table: Iterable[tuple[int, int]], version: int) -> int:
    return next(value for least, value in table if version >= least)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not for this user
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        if rights:
            call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, _RULE.pack(rights, place), 0)
    finally:
        os.close(place)
