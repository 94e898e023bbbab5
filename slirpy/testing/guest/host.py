"""Base of a guest's protocols: its card, the time, and its outgoing frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.core.timers import Timers

__all__ = ["DEFAULT_MAC", "GuestCounters", "GuestHost", "packed"]

DEFAULT_MAC = bytes.fromhex("525400123456")
"""The MAC address that QEMU gives to its first network card."""


@dataclass(slots=True)
class GuestCounters:
    """Counters of a guest. Frames "in" arrive at the guest."""

    frames_in: int = 0
    frames_out: int = 0
    bad_checksum: int = 0
    """Packets dropped for a wrong checksum of IPv4, TCP, UDP, ICMP or ICMPv6."""
    malformed: int = 0
    """Frames that could not be parsed."""
    foreign: int = 0
    """Frames and packets addressed to another host."""
    unhandled: int = 0
    """Packets that no protocol of this guest handles."""
    unreachable: int = 0
    """Packets dropped because the next hop's MAC address was not found, or because there is no route."""


class GuestHost:
    """One network card and its outgoing frames.

    Args:
        send: called with each frame (``bytes``, without check sequence) that the guest sends.
        random: source of ports, sequence numbers and identifiers.
        now: nanoseconds of a monotonic clock.
        mac: six bytes.
        mtu: largest IP packet in bytes.
        hostname: sent to the DHCP server; empty: none.
    """

    def __init__(
        self, send: Callable[[bytes], object], random: Random, now: int, mac: bytes, mtu: int, hostname: str
    ) -> None:
        self.random = random
        self.now = now
        """The latest time given, in nanoseconds."""
        self.mac = mac
        self.mtu = mtu
        self.hostname = hostname
        self.counters = GuestCounters()
        self.timers = self.make_timers()
        self._send = send
        self._sending = False
        self._out: deque[bytes] = deque()

    def make_timers(self) -> Timers:
        """Return the guest's timers."""
        return Timers()

    def send_frame(self, mac: bytes, kind: int, payload: bytes) -> None:
        """Queue a frame for the next :meth:`flush`."""
        self._out.append(b"".join((mac, self.mac, kind.to_bytes(2, "big"), payload)))

    def flush(self) -> None:
        """Send everything that is due. Called after anything becomes due; harmless when repeated."""
        if self._sending:
            return
        self._sending = True
        out = self._out
        try:
            while self._serve() or out:
                while out:
                    self.counters.frames_out += 1
                    self._send(out.popleft())
        finally:
            self._sending = False

    def undeliverable(self, packet: bytes) -> None:
        """Report a packet whose next hop was not found to its sender."""

    def _serve(self) -> bool:
        """Let the protocols queue their output; False if there was none."""
        return False


def packed(address: AnyAddress) -> bytes:
    """Return the four or sixteen bytes of an address.

    Raises:
        ConfigError: it is not an IP address.
    """
    return address_bytes("address", address)
