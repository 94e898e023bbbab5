"""Systems differ: ``@pytest.mark.needs("fork")`` skips a test on one that lacks it, with a reason.

A module whose tests all need the same begins with ``pytestmark = pytest.mark.needs(...)``; one that cannot even be
imported without it calls :func:`skip_module` before its imports.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys

import pytest

from slirpy import __compiled__
from slirpy.winapi import library

__all__ = ["LACKING", "WINDOWS", "WINE", "reason", "require", "skip_module"]

WINDOWS = sys.platform == "win32"


WINE = WINDOWS and hasattr(library("ntdll"), "wine_get_version")
"""True if a Windows Python runs under Wine, which is not Windows in all respects."""

_THERE = {
    "linux": (sys.platform == "linux", "needs Linux"),
    "posix": (
        os.name == "posix",
        "needs a system of the POSIX family: its signals, descriptors and permissions",
    ),
    "fork": (hasattr(os, "fork"), "needs os.fork"),
    "unix sockets": (hasattr(socket, "AF_UNIX"), "needs Unix sockets, which Python does not have on Windows"),
    "descriptors": (os.name == "posix", "needs descriptors other than sockets in select()"),
    "signals": (hasattr(signal, "pthread_kill"), "needs the signals of POSIX"),
    "a shell": (shutil.which("sh") is not None and os.name == "posix", "needs a POSIX shell and its programs"),
    "epoll or kqueue": (
        hasattr(select, "epoll") or hasattr(select, "kqueue"),
        "needs one descriptor that stands for all others",
    ),
    "named pipes": (hasattr(os, "mkfifo"), "needs named pipes in the file system"),
    "permissions": (os.name == "posix", "needs POSIX permissions of files"),
    "a terminal": (hasattr(os, "openpty"), "needs pseudo-terminals"),
    "error queues": (sys.platform == "linux", "needs Linux's error queues of sockets"),
    "ping sockets": (sys.platform in ("linux", "darwin"), "needs sockets for ICMP echo"),
    "interpreted": (not __compiled__, "needs interpreted modules"),
    "resets": (not WINE, "Wine ends a connection with a FIN where Windows resets it"),
    "real windows": (not WINE, "Wine differs from Windows here"),
}

LACKING = {name: why for name, (there, why) in _THERE.items() if not there}
"""Things that are missing here, each with the reason that a skipped test shows."""


def reason(*needs: str, detail: str = "") -> str:
    """Reason to skip a test that needs all of this; empty if everything is there."""
    for name in needs:
        assert name in _THERE, f"{name!r} is none of {', '.join(_THERE)}"
    lacking = [LACKING[name] for name in needs if name in LACKING]
    return f"{', '.join(lacking)}{': ' if detail else ''}{detail}" if lacking else ""


def require(*needs: str, detail: str = "") -> None:
    """Skip the test that calls this, unless everything is there."""
    if why := reason(*needs, detail=detail):
        pytest.skip(why)


def skip_module(*needs: str) -> None:
    """Skip the module that calls this, before it imports what is not there."""
    if why := reason(*needs):
        pytest.skip(why, allow_module_level=True)
