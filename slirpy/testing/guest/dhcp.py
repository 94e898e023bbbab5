"""The DHCP client of a :class:`~slirpy.testing.guest.Guest` (RFC 2131, section 4.4; options of RFC 2132)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from struct import Struct

from slirpy.core.timers import Alarm
from slirpy.records import NamedTuple
from slirpy.reprs import never_raises
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.udp import Message, UdpHost
from slirpy.testing.recent import Recent
from slirpy.units import SECOND
from slirpy.wire import ethernet, ipv4, udp

__all__ = ["DhcpClient", "DhcpLease", "DhcpMessage"]

FIRST_RETRY = 4 * SECOND
LAST_RETRY = 64 * SECOND
_NOWHERE, _EVERYWHERE = bytes(4), b"\xff" * 4
_HEADER = Struct("!BBBBIHH4s4s4s4s16s192xI")
_COOKIE = 0x63825363
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
_WANTED = bytes((1, 3, 6, 12, 15, 26, 28, 51, 54, 58, 59, 119))


class DhcpLease(NamedTuple):
    """The lease granted by an ACK."""

    address: IPv4Address
    prefix: int
    """Length of the network's prefix."""
    router: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    server: IPv4Address
    mtu: int | None
    seconds: int
    granted_at: int
    """Nanoseconds."""
    options: Mapping[int, bytes]
    """All options, as received."""


class DhcpMessage(NamedTuple):
    """A message from the server."""

    kind: int
    """2 OFFER, 5 ACK, 6 NAK."""
    address: bytes
    """``yiaddr``."""
    options: dict[int, bytes]


class DhcpClient:
    """Obtains an address, renews it in time, and releases it.

    Attributes:
        state: ``INIT``, ``SELECTING``, ``REQUESTING``, ``BOUND``, ``RENEWING`` or ``REBINDING``.
        lease: the last granted lease that is still valid.
        received: the newest 10,000 messages from the server, in order. May be cleared.
    """

    def __init__(self, guest: IpHost, udp: UdpHost) -> None:
        self._guest = guest
        self._socket = udp.open(68)
        self._socket.on_message = self._input
        self._alarm = Alarm(guest.timers, self._due)
        self._xid = 0
        self._retry = FIRST_RETRY
        self._offer: DhcpMessage | None = None
        self.state = "INIT"
        self.lease: DhcpLease | None = None
        self.received: Recent[DhcpMessage] = Recent()
        self.on_bound: Callable[[], None] | None = None
        """Called when a lease was granted, also for a renewal."""

    @never_raises
    def __repr__(self) -> str:
        return f"<DhcpClient {self.state}: {'no lease' if self.lease is None else self.lease.address}>"

    @property
    def bound(self) -> bool:
        """True if the guest has an address from this client."""
        return self.lease is not None

    # ------------------------------------------------------------------------------------- for the user

    def start(self) -> None:
        """Send DISCOVER, unless there is a lease or an attempt in progress."""
        if self.state == "INIT":
            self._begin("SELECTING")

    def renew(self) -> None:
        """Renew the lease now; ``lease.granted_at`` shows when it was granted. Does nothing without a lease."""
        if self.lease is not None:
            self._begin("RENEWING")
            self._guest.flush()

    def release(self) -> None:
        """Release the address (section 4.4.6). Harmless without one."""
        lease = self.lease
        if lease is not None:
            self._xid = self._guest.random.getrandbits(32)
            options = {54: lease.server.packed}
            self._send(RELEASE, options, ciaddr=lease.address.packed, destination=lease.server.packed)
            self._forget()
            self._guest.flush()

    # ------------------------------------------------------------------------------------------ inside

    def _forget(self) -> None:
        self.lease = self._offer = None
        self.state = "INIT"
        self._alarm.set(None)
        self._guest.unconfigure()

    def _begin(self, state: str) -> None:
        self.state = state
        self._xid = self._guest.random.getrandbits(32)
        self._retry = FIRST_RETRY
        self._ask()

    def _ask(self) -> None:
        """Send the message of the current state, and retry without an answer (section 4.1)."""
        guest, lease, offer = self._guest, self.lease, self._offer
        options = {55: _WANTED}
        if guest.hostname:
            options[12] = guest.hostname.encode("ascii")
        if self.state == "SELECTING":
            self._send(DISCOVER, options)
        elif self.state == "REQUESTING" and offer is not None:
            chosen = {50: offer.address, 54: offer.options[54]}
            self._send(REQUEST, chosen | options)
        elif lease is not None:
            to = lease.server.packed if self.state == "RENEWING" else _EVERYWHERE
            self._send(REQUEST, options, ciaddr=lease.address.packed, destination=to)
        again = guest.now + self._retry + guest.random.randrange(-SECOND, SECOND)
        if lease is not None:
            limit = self._time(lease, 59, 7) if self.state == "RENEWING" else lease.seconds * SECOND
            again = min(again, lease.granted_at + limit)
        self._alarm.set(again)
        self._retry = min(2 * self._retry, LAST_RETRY)

    def _due(self) -> None:
        """Handle a retry, or a deadline of the lease."""
        lease = self.lease
        if lease is None:
            if self.state == "REQUESTING" and self._retry == LAST_RETRY:
                self._begin("SELECTING")  # the server that made the offer has gone
            else:
                self._ask()
            return
        age = self._guest.now - lease.granted_at
        if age >= lease.seconds * SECOND:
            self._forget()
            self._begin("SELECTING")
        elif self.state == "BOUND":
            self._begin("RENEWING")
        elif self.state == "RENEWING" and age >= self._time(lease, 59, 7):
            self._begin("REBINDING")
        else:
            self._ask()

    @staticmethod
    def _time(lease: DhcpLease, option: int, eighths: int) -> int:
        """Return T1 or T2 in nanoseconds after the grant: the server's value, or the RFC's fraction of the lease."""
        value = lease.options.get(option)
        return int.from_bytes(value, "big") * SECOND if value else lease.seconds * SECOND * eighths // 8

    def _send(
        self,
        kind: int,
        options: dict[int, bytes],
        *,
        ciaddr: bytes = _NOWHERE,
        destination: bytes = _EVERYWHERE,
    ) -> None:
        guest = self._guest
        message = bytearray(
            _HEADER.pack(
                1, 1, 6, 0, self._xid, 0, 0, ciaddr, _NOWHERE, _NOWHERE, _NOWHERE, guest.mac, _COOKIE
            )
        )  # fmt: skip
        for code, value in ({53: bytes((kind,))} | options).items():
            message += bytes((code, len(value))) + value
        message.append(255)
        payload = bytes(message.ljust(300, b"\0"))  # RFC 1542, section 2.1: the size of BOOTP messages
        datagram = udp.build(ciaddr, 68, destination, 67, payload) + payload
        packet = ipv4.build(ciaddr, destination, ipv4.UDP, len(datagram)) + datagram
        if destination == _EVERYWHERE:
            guest.send_frame(ethernet.BROADCAST, ethernet.TYPE_IPV4, packet)
        else:
            guest.send_packet(destination, packet)

    def _input(self, datagram: Message) -> None:
        message = _parse(datagram.payload, self._xid, self._guest.mac)
        if message is None:
            self._guest.counters.malformed += 1
            return
        self.received.append(message)
        if message.kind == OFFER and self.state == "SELECTING" and 54 in message.options:
            self._offer = message
            self.state = "REQUESTING"
            self._retry = FIRST_RETRY
            self._ask()
        elif message.kind == ACK and self.state in ("REQUESTING", "RENEWING", "REBINDING"):
            self._bind(message)
        elif message.kind == NAK and self.state in ("REQUESTING", "RENEWING", "REBINDING"):
            self._forget()
            self._begin("SELECTING")

    def _bind(self, message: DhcpMessage) -> None:
        guest, options = self._guest, message.options
        mtu = int.from_bytes(options[26], "big") if 26 in options else None
        servers = options.get(6, b"")
        self.lease = lease = DhcpLease(
            address=IPv4Address(message.address),
            prefix=int.from_bytes(options.get(1, b"\xff" * 4), "big").bit_count(),
            router=IPv4Address(options[3][:4]) if 3 in options else None,
            dns=tuple(IPv4Address(servers[at : at + 4]) for at in range(0, len(servers), 4)),
            server=IPv4Address(options.get(54, b"\xff" * 4)),
            mtu=mtu,
            seconds=int.from_bytes(options.get(51, b"\xff" * 4), "big"),
            granted_at=guest.now,
            options=options,
        )
        guest.configure(lease.address, lease.prefix, lease.router, lease.dns[0] if lease.dns else None)
        if mtu is not None:
            guest.mtu = min(guest.mtu, mtu)
        self.state = "BOUND"
        self._alarm.set(guest.now + self._time(lease, 58, 4))
        if self.on_bound is not None:
            self.on_bound()


def _parse(payload: bytes, xid: int, mac: bytes) -> DhcpMessage | None:
    """Parse a reply to ``xid``; None if it is anything else."""
    if len(payload) < _HEADER.size:
        return None
    op, _, _, _, got, _, _, _, yiaddr, _, _, chaddr, cookie = _HEADER.unpack_from(payload)
    if (op, got, cookie, chaddr[:6]) != (2, xid, _COOKIE, mac):
        return None
    options: dict[int, bytes] = {}
    at = _HEADER.size
    while at + 1 < len(payload) and payload[at] != 255:
        if payload[at] == 0:
            at += 1
            continue
        code, length = payload[at], payload[at + 1]
        options[code] = options.get(code, b"") + payload[at + 2 : at + 2 + length]
        at += 2 + length
    kind = options.get(53, b"")
    return DhcpMessage(kind[0], yiaddr, options) if len(kind) == 1 else None
