"""Lookup of flows and services by address and port."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from slirpy.core.flows import History
from slirpy.core.paths import ServicePath, UdpPath
from slirpy.core.ports import free_port
from slirpy.interfaces import Service, StreamService
from slirpy.wire.ip import flow_key

if TYPE_CHECKING:
    from slirpy.core.tcpflow import TcpFlow

__all__ = ["HISTORY", "FlowTables"]

HISTORY: Final = 256
"""Number of ended flows that are still listed."""


class FlowTables:
    """The tables of one stack. The NAT writes the first two, the services the last three.

    Attributes:
        tcp_flows: guests' connections by flow key.
        udp_paths: UDP flows with a fast path, by flow key.
        closed_flows: the last flows that ended, the latest last.
        services: services for datagrams, by one of our addresses and a port.
        conversations: the same, for datagrams from one guest's address and port only.
        stream_services: services for guests' TCP connections, by address and port; None stands for any.
    """

    __slots__ = (
        "_random", "closed_flows", "conversations", "services", "stream_services", "tcp_flows", "udp_paths",
    )  # fmt: skip

    def __init__(self, random: Random) -> None:
        self._random = random
        self.tcp_flows: dict[bytes, TcpFlow] = {}
        self.udp_paths: dict[bytes, UdpPath | ServicePath] = {}
        self.closed_flows = History(HISTORY)
        self.services: dict[tuple[bytes, int], Service] = {}
        self.conversations: dict[tuple[bytes, int, bytes, int], Service] = {}
        self.stream_services: dict[tuple[bytes | None, int | None], StreamService] = {}

    def bind(self, addresses: Sequence[bytes], port: int, service: Service) -> None:
        """Let ``service`` answer datagrams to a port of some addresses of the virtual network."""
        for address in addresses:
            self.services[address, port] = service

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""

        def is_taken(port: int) -> bool:
            key = address, port, guest, guest_port
            # The guest's earlier datagrams to such a port were for another destination.
            return (
                (address, port) in self.services
                or key in self.conversations
                or _path_key(*key) in self.udp_paths
            )

        port = free_port(self._random, 49152, is_taken)
        self.conversations[address, port, guest, guest_port] = service
        return port

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        del self.conversations[address, port, guest, guest_port]
        self.udp_paths.pop(_path_key(address, port, guest, guest_port), None)

    def stream_service(self, address: bytes, port: int) -> StreamService | None:
        """Find the service for TCP connections to an address and port; the most specific entry wins."""
        services = self.stream_services
        if not services:
            return None
        for key in ((address, port), (address, None), (None, port), (None, None)):
            if key in services:
                return services[key]
        return None


def _path_key(address: bytes, port: int, guest: bytes, guest_port: int) -> bytes:
    """Flow key of a guest's datagrams to one of our ports."""
    return flow_key(guest, guest_port, address, port)
