"""New sockets of programs."""

from __future__ import annotations

import socket

from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.socketapi.datagramend import DatagramEnd
from slirpy.testing.sim.socketapi.ends import End
from slirpy.testing.sim.socketapi.streamend import StreamEnd

__all__ = ["open_end"]

_FLAG_BITS = getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def open_end(host: Host, family: int, kind: int) -> End:
    """Return a new open socket.

    Raises:
        EscapeError: a kind of socket that is not simulated.
    """
    family = socket.AF_INET if family == -1 else family
    kind = socket.SOCK_STREAM if kind == -1 else kind & ~_FLAG_BITS
    if family in _FAMILIES and kind == socket.SOCK_STREAM:
        return StreamEnd(host, family)
    if family in _FAMILIES and kind == socket.SOCK_DGRAM:
        return DatagramEnd(host, family)
    raise escaped(
        f"a socket of family {family!r} and type {kind!r} is not simulated; use AF_INET or AF_INET6 with SOCK_STREAM"
        " or SOCK_DGRAM, or socketpair()"
    )
