"""Parts of the one-line descriptions that pytest prints for objects of a test."""

from __future__ import annotations

import os
from ipaddress import ip_address

from slirpy.config.text import with_port
from slirpy.errortext import errno_name
from slirpy.units import SECOND

__all__ = ["error_name", "seconds", "shortened", "socket_text"]

_LONGEST = 32
"""Bytes of data that are shown."""


def shortened(value: object) -> str:
    """Format a value; of long data only the beginning."""
    return repr(value) if not isinstance(value, bytes) or len(value) <= _LONGEST else f"{value[:_LONGEST]!r}..."


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
    return errno_name(number)
