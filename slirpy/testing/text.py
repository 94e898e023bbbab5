"""Parts of the one-line descriptions that pytest prints for objects of a test."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import TypeVar

from slirpy.config.text import with_port
from slirpy.units import SECOND

__all__ = ["counted", "error_name", "never_raises", "seconds", "socket_text"]

_T = TypeVar("_T")


def never_raises(describe: Callable[[_T], str]) -> Callable[[_T], str]:
    """Make a ``__repr__`` that also works for an object whose ``__init__`` has failed, or was never called."""

    @wraps(describe)
    def text(self: _T) -> str:
        try:
            return describe(self)
        except Exception as error:
            return f"<{type(self).__name__}, incomplete: {' '.join(str(error).split())}>"

    return text


def counted(number: int, noun: str) -> str:
    """Format a number of things: ``1 frame``, ``2 frames``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def seconds(time: int) -> str:
    """Format virtual nanoseconds as seconds."""
    return f"{time / SECOND:.6f} s"


def socket_text(address: bytes | None, port: int | None) -> str:
    """Format an address and a port; None stands for any. Bytes of another length are the path of a unix socket."""
    if address is not None and len(address) not in (4, 16):
        return f"unix:{os.fsdecode(address)}" if address else "unix"
    host = "any address" if address is None else ip_address(address)
    return f"{host}, any port" if port is None else with_port(host, port)


def error_name(number: int) -> str:
    """Name an ``errno`` value: ``ECONNRESET``."""
    return errno.errorcode.get(number, f"error {number}")
