"""Guests of slirpy.testing on one hub, without a stack, in virtual time; and the frames of a router made by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slirpy.testing import Guest
from slirpy.wire import ethernet, icmpv6, ipv6, ndp
from slirpy.wire.ndpoption import NdpOption

MS = 1_000_000
SECOND = 1_000 * MS
ROUTER = bytes.fromhex("fe800000000000000000000000000002")
ROUTER_MAC = bytes.fromhex("525600000002")


class Hub:
    """Carries each frame to all others at once."""

    def __init__(self) -> None:
        self.now = 0
        self.guests: list[Guest] = []
        self.frames: list[bytes] = []
        """Every frame that was sent."""
        self._queue: list[tuple[Guest | None, bytes]] = []
        self.hear: Callable[[bytes], object] = lambda frame: None
        """Called with each frame of a guest: for a router."""

    def guest(self, number: int = 1) -> Guest:
        """Plug in a guest."""

        def send(frame: bytes) -> None:
            self.put(frame, guest)

        mac = bytes((0x52, 0x54, 0, 0, 0, number))
        guest = Guest(send, random=Random(number), now=self.now, mac=mac)
        self.guests.append(guest)
        return guest

    def put(self, frame: bytes, sender: Guest | None = None) -> None:
        """Put a frame on the wire."""
        self.frames.append(frame)
        self._queue.append((sender, frame))

    def settle(self) -> None:
        """Deliver everything."""
        while self._queue:
            sender, frame = self._queue.pop(0)
            for guest in self.guests:
                if guest is not sender:
                    guest.input(frame, self.now)
            if sender is not None:
                self.hear(frame)

    def run(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        end = self.now + int(seconds * SECOND)
        while True:
            self.settle()
            due = [deadline for guest in self.guests if (deadline := guest.deadline()) is not None]
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            for guest in self.guests:
                guest.advance(self.now)
        self.now = end
        for guest in self.guests:
            guest.advance(end)
        self.settle()

    def advertise(
        self,
        *options: NdpOption,
        lifetime: int = 1800,
        router: bytes = ROUTER,
        managed: bool = False,
        other: bool = False,
        hop_limit: int = 64,
    ) -> None:
        """Send a router advertisement to all nodes."""
        message = ndp.router_advertisement(
            router,
            ipv6.ALL_NODES,
            ROUTER_MAC,
            lifetime=lifetime,
            managed=managed,
            other=other,
            hop_limit=hop_limit,
            options=options,
        )
        self.put(icmp_frame(router, ipv6.ALL_NODES, message))
        self.settle()


def icmp_frame(
    source: bytes,
    destination: bytes,
    message: bytes,
    *,
    mac: bytes | None = None,
    hop_limit: int = ndp.HOP_LIMIT,
) -> bytes:
    """A frame of the router with an ICMPv6 message."""
    packet = ipv6.build(source, destination, ipv6.ICMPV6, len(message), hop_limit) + message
    to = mac or ipv6.multicast_mac(destination)
    return to + ROUTER_MAC + ethernet.TYPE_IPV6.to_bytes(2, "big") + packet


def icmp_of(frame: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Source, destination and ICMPv6 message of a frame; None if it is something else."""
    header = ipv6.parse(frame[14:]) if frame[12:14] == b"\x86\xdd" else None
    if header is None or header.protocol != ipv6.ICMPV6:
        return None
    message = frame[14 + ipv6.HEADER_LENGTH :]
    assert icmpv6.checksum_ok(header.source, header.destination, message)
    return header.source, header.destination, message
