"""Capabilities and attributes of a process (capabilities(7), prctl(2))."""

from __future__ import annotations

import ctypes
import os
from struct import Struct

from slirpy.sandbox.syscalls import c_library, call

__all__ = ["NET_BIND_SERVICE", "drop_bounding_set", "drop_capabilities", "no_new_privileges", "not_dumpable"]

_PR_CAPBSET_DROP, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 24, 4, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_VERSION_3 = 0x20080522
_HEADER = Struct("=Ii")
_SETS = Struct("=IIIIII")  # effective, permitted and inheritable, 32 bits each; then those of higher numbers
_LAST = 63
NET_BIND_SERVICE = 10
"""Number of the capability to bind ports below 1024."""


def _prctl(option: int, argument: int = 0) -> int:
    zero = ctypes.c_ulong(0)
    result: int = c_library().prctl(option, ctypes.c_ulong(argument), zero, zero, zero)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "prctl")
    return result


def no_new_privileges() -> None:
    """Let no program that this process starts have more rights than it has, whatever the program's file says."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """Keep other processes of the user from tracing this one, and its memory out of core files."""
    _prctl(_PR_SET_DUMPABLE, 0)


def drop_bounding_set() -> None:
    """Remove all capabilities from those that a program can gain.

    Needs ``CAP_SETPCAP``; without it nothing changes.
    """
    for number in range(_LAST + 1):
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except PermissionError:
            return
        except OSError:
            break  # the kernel has no more


def drop_capabilities(keep: int | None = None) -> None:
    """Give up all capabilities of this thread for good: the permitted, effective, inheritable and ambient ones.

    Args:
        keep: number of one that stays permitted and effective, if the thread has it.

    Raises:
        OSError: the system refused.
    """
    try:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError:
        pass  # before Linux 4.3 there are none
    kept = 0
    if keep is not None:
        before = ctypes.create_string_buffer(_SETS.size)
        if c_library().capget(_HEADER.pack(_VERSION_3, 0), before) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), "capget")
        kept = _SETS.unpack(before.raw)[1] & 1 << keep
    call("capset", _HEADER.pack(_VERSION_3, 0), _SETS.pack(kept, kept, 0, 0, 0, 0))
