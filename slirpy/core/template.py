"""Single datagrams between two ports, such as the answers of one server, whose constant headers are kept."""

from __future__ import annotations

from typing import Final

from slirpy.core.neighbor import Neighbors
from slirpy.core.network import Network
from slirpy.interfaces import Frame
from slirpy.wire import ethernet, udp
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import layout_of
from slirpy.wire.ipv4 import UDP

__all__ = ["CONSTANT_WORDS", "TTL", "UDP_CSUM_OFFSET", "DatagramTemplate"]

TTL: Final = 64
CONSTANT_WORDS: Final = 0x4500 + (TTL << 8 | UDP)
"""Sum of the constant words of an IPv4 header."""
UDP_CSUM_OFFSET: Final = 6
"""Offset of the checksum in a UDP header."""
_new_frame: Final = tuple.__new__  # takes a third of the time of Frame(...), which counts for every frame


class DatagramTemplate:
    """Sender of datagrams from one address and port to one of a guest, of the same family."""

    __slots__ = ("_addresses", "_base", "_destination", "_front", "_layout", "_least", "_middle", "_neighbors",
                 "_network", "_ports", "_sum")  # fmt: skip

    def __init__(
        self, network: Network, neighbors: Neighbors, source: tuple[bytes, int], destination: tuple[bytes, int]
    ) -> None:
        self._network, self._neighbors = network, neighbors
        self._destination = destination[0]
        self._ports = source[1], destination[1]
        self._addresses = source[0] + destination[0]
        layout = self._layout = layout_of(source[0])
        self._front = network.mac_for(source[0]) + layout.front
        self._middle = layout.middle(UDP, TTL)
        self._sum = ones_sum(self._addresses) + UDP
        self._base = ones_sum(self._addresses) + CONSTANT_WORDS
        self._least = ethernet.MIN_LENGTH - layout.transport_at - udp.HEADER_LENGTH

    def send(self, payload: bytes) -> bool:
        """Send one datagram. Where it takes more than these headers (padding, fragments, or a question for the
        guest), do nothing and return False.
        """
        neighbor, layout = self._neighbors.get(self._destination), self._layout
        port, mac = neighbor.port, neighbor.mac
        size = len(payload)
        length = udp.HEADER_LENGTH + size
        total = layout.header_in_total + length
        end = layout.transport_at + length
        if (
            port is None
            or mac is None
            or neighbor.path_mtu
            or size < self._least
            or end > port.mtu + ethernet.HEADER_LENGTH
            or self._network.now - neighbor.seen > neighbor.fresh
        ):
            return False
        source_port, destination_port = self._ports
        checksum = self._sum + length  # of the pseudo-header
        if port.checksum_offload:
            start, offset = layout.transport_at, UDP_CSUM_OFFSET
            checksum %= 65535
        else:
            start = offset = 0
            # Zero would mean "no checksum"; 0xFFFF is sent instead (RFC 768).
            checksum = (
                -(checksum + source_port + destination_port + length + ones_sum(payload)) % 65535 or 0xFFFF
            )
        header = layout.datagram_out.pack(
            mac + self._front, total, self._middle, -(self._base + total) % 65535 if layout.has_header_sum else b"",
            self._addresses, source_port, destination_port, length, checksum,
        )  # fmt: skip
        port.push(_new_frame(Frame, ((header, payload), 0, start, offset)), end)
        return True
