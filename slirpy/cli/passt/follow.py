"""Ports that follow listeners: ``auto`` of pasta.

Once a second, the tables of sockets of both namespaces are read. A port on which somebody listens on one side is
opened on the other, and closed there when the listener has gone. Our own sockets, which are in these tables as well,
are left out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable

from slirpy.cli.passt.ports import PortSpec

__all__ = ["FOLLOWED_MAX", "Follower", "listening_ports"]

FOLLOWED_MAX = 1024
"""Largest number of ports that one option follows."""
_SIZE_MAX = 1 << 22
_TCP_LISTEN, _UDP_BOUND = b"0A", b"07"

Opener = Callable[[int], bool]


class Follower:
    """The ports of one option.

    Args:
        spec: its specification, whose exclusions hold.
        start: opens a port, and returns whether that was possible.
        stop: closes it.
    """

    def __init__(self, spec: PortSpec, start: Opener, stop: Callable[[int], object]) -> None:
        self._spec = spec
        self._start = start
        self._stop = stop
        self.open: set[int] = set()
        """Ports that are open."""
        self._failed: set[int] = set()

    def follow(self, wanted: Iterable[int]) -> None:
        """Open the ports that are new, and close those that have gone. One that cannot be opened is not tried again
        for as long as it stays.
        """
        ports = {port for port in wanted if not self._spec.excludes(port)}
        for port in self.open - ports:
            self._stop(port)
        self.open &= ports
        self._failed &= ports
        for port in sorted(ports - self.open - self._failed)[: FOLLOWED_MAX - len(self.open)]:
            (self.open if self._start(port) else self._failed).add(port)


def listening_ports(tables: Iterable[int], kind: socket.SocketKind, clients: tuple[int, int]) -> set[int]:
    """The ports in tables of sockets on which somebody listens.

    Args:
        tables: descriptors of files in /proc/net.
        kind: of the sockets in them.
        clients: first and last port that the system chooses for clients. Those of UDP are left out: most of them are
            no servers'.
    """
    wanted = _TCP_LISTEN if kind == socket.SOCK_STREAM else _UDP_BOUND
    ports = set()
    for table in tables:
        for line in _read(table).splitlines()[1:]:
            words = line.split(None, 4)
            if len(words) == 5 and words[3] == wanted:
                ports.add(int(words[1].rpartition(b":")[2], 16))
    ports.discard(0)
    if kind == socket.SOCK_DGRAM:
        low, high = clients
        ports = {port for port in ports if not low <= port <= high}
    return ports


def _read(table: int) -> bytes:
    """Read a table anew; the beginning of one that is huge, where the listeners are."""
    parts, size = [], 0
    try:
        os.lseek(table, 0, os.SEEK_SET)
        while size < _SIZE_MAX and (part := os.read(table, 1 << 16)):
            parts.append(part)
            size += len(part)
    except OSError:
        pass  # its namespace is going
    return b"".join(parts)
