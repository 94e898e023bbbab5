"""The sockets of hosts as a table, in the manner of netstat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from slirpy.config.text import with_port
from slirpy.ladder.numbering import Place
from slirpy.records import NamedTuple
from slirpy.testing.sim.connections import TraceConnection
from slirpy.testing.sim.stack import HostStack
from slirpy.units import MS

__all__ = ["SocketInfo", "netstat", "repetitions", "sockets_of"]

_HEADINGS = ("host", "proto", "local", "remote", "state", "recv-q", "send-q", "again", "rtt")
_NUMBERS = {"recv-q", "send-q", "again", "rtt"}


class SocketInfo(NamedTuple):
    """A socket of a host.

    Attributes:
        protocol: ``"tcp"`` or ``"udp"``.
        local: address and port, ``*`` for any.
        remote: likewise.
        state: of a TCP connection, such as ``"ESTABLISHED"``; empty for UDP.
        recv_q: bytes received that the program has not read.
        send_q: bytes sent that the peer has not acknowledged.
        retransmits: number of segments that this end has sent again, tail loss probes among them.
        rtt: smoothed round-trip time in nanoseconds; None: not measured.
    """

    protocol: str
    local: str
    remote: str
    state: str = ""
    recv_q: int = 0
    send_q: int = 0
    retransmits: int = 0
    rtt: int | None = None


def _place(address: bytes, port: int) -> str:
    if any(address):
        return with_port(ip_address(address), port)
    return f"*:{port}" if port else "*:*"


def repetitions(connections: Iterable[TraceConnection]) -> dict[tuple[Place, Place], int]:
    """Return how many segments each end of the connections has sent again, by its address and port and the other's.

    Of several connections between the same ports, the last one counts.
    """
    found: dict[tuple[Place, Place], int] = {}
    for each in connections:
        client, server = each.places
        for from_client, places in ((True, (client, server)), (False, (server, client))):
            found[places] = sum(
                passage.shown.again for passage in each.passages if passage.from_client is from_client
            )
    return found


def sockets_of(stack: HostStack, again: Mapping[tuple[Place, Place], int]) -> list[SocketInfo]:
    """List the sockets of a host: listening ones, then connections, then those of UDP.

    Args:
        stack: of the host.
        again: see :func:`repetitions`.
    """
    found = [
        SocketInfo("tcp", _place(*listener.address), "*:*", "LISTEN")
        for listeners in stack.tcp.listeners.values()
        for listener in listeners
    ]
    for stream in stack.tcp.streams.values():
        conn = stream.conn
        found.append(
            SocketInfo(
                "tcp",
                _place(*stream.local),
                _place(*stream.remote),
                conn.state.value,
                conn.rcv_pending,
                conn.snd_buf.length,
                again.get((stream.local, stream.remote), 0),
                conn.rtt.srtt or None,
            )
        )
    for datagrams in stack.udp_sockets.datagrams.values():
        for each in datagrams:
            remote = "*:*" if each.remote is None else _place(*each.remote)
            found.append(SocketInfo("udp", _place(*each.address), remote))
    return found


def netstat(hosts: Mapping[str, Iterable[SocketInfo]]) -> str:
    """Return a table of the sockets of hosts; a line says so if there are none.

    Args:
        hosts: for each name of a host its sockets.
    """
    rows = [
        (
            name,
            each.protocol,
            each.local,
            each.remote,
            each.state,
            str(each.recv_q),
            str(each.send_q),
            str(each.retransmits) if each.protocol == "tcp" and each.state != "LISTEN" else "",
            "" if each.rtt is None else f"{each.rtt / MS:.1f} ms",
        )
        for name, sockets in hosts.items()
        for each in sockets
    ]
    if not rows:
        return "no sockets"
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if heading in _NUMBERS else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in (_HEADINGS, *rows)
    )
