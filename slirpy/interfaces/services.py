"""The seams of services, which answer inside the virtual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

from slirpy.interfaces.basics import Buffer, Timer
from slirpy.interfaces.hosts import StreamOwner, StreamPeer
from slirpy.interfaces.links import LinkSink
from slirpy.interfaces.policies import FlowRequest
from slirpy.records import NamedTuple, Protocol
from slirpy.stats import Stats

__all__ = ["Datagram", "Service", "ServiceNetwork", "StreamService"]


class Datagram(NamedTuple):
    """A UDP datagram from a guest to an address of the virtual network."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    payload: memoryview
    """Payload, valid during the call only."""
    mac: bytes
    """Source MAC address."""
    link: LinkSink
    """The link on which it arrived; pass it to ``send_datagram`` with ``mac``."""


class Service(Protocol):
    """Answers datagrams that guests send to a (address, port) of the virtual network."""

    def datagram(self, datagram: Datagram) -> None:
        """Take one datagram; answers go through :meth:`ServiceNetwork.send_datagram`, now or later."""


class ServiceNetwork(Protocol):
    """Facilities of the virtual network for services."""

    @property
    def now(self) -> int:
        """Monotonic nanoseconds of the current batch."""

    @property
    def random(self) -> Random:
        """The only source of randomness."""

    @property
    def stats(self) -> Stats: ...

    def send_datagram(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payload: Buffer,
        *,
        mac: bytes | None = None,
        link: LinkSink | None = None,
    ) -> None:
        """Send a UDP datagram to a guest, fragmented if necessary.

        With ``mac`` (broadcast is six 0xFF) and ``link`` the neighbour table is not used.
        """

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``."""

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        """Send several UDP datagrams to a guest. A link may accept them as one large frame.

        The payloads must stay unchanged until the network's next flush has returned.
        """

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        """Reserve a port, 49152 to 65535, of a virtual address for a conversation with one port of one guest.

        Datagrams from other senders to that port are handled as if it were not reserved: most ports of the gateway
        lead to the host.
        """

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        """Release a port reserved by :meth:`open_port`."""


StreamService: TypeAlias = Callable[[StreamOwner, FlowRequest], StreamPeer]
"""Makes the far end of a guest's TCP connection to an address and port of the virtual network.

It reports to the owner that the far end is connected or has failed, now or later; until then the guest's SYN waits.
"""
