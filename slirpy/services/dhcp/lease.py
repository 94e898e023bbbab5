"""Leases and their clients."""

from __future__ import annotations

import enum
from ipaddress import ip_address

from slirpy.addresses import IPAddress
from slirpy.units import SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass, field
else:
    from dataclasses import dataclass, field

__all__ = ["FOREVER", "Client", "Lease", "LeaseInfo", "LeaseState"]

FOREVER = (1 << 63) - 1
"""``Lease.expires`` of a lease that never expires."""


class LeaseState(enum.Enum):
    """The state of a lease."""

    OFFERED = "offered"
    """Held for a minute, until the client requests it."""
    BOUND = "bound"
    """Acknowledged, for the lease time."""
    RELEASED = "released"
    """Given back by its client, and remembered in case the client returns."""
    DECLINED = "declined"
    """Found in use by another machine, either by the client (RFC 2131 section 4.4.4) or by slirpy; not leased to
    anybody for ten minutes."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that asks for a lease."""

    mac: bytes
    client_id: bytes | None = None
    """Option 61 of DHCPv4, or the DUID."""
    hostname: str | None = None
    firmware: bool = False
    fixed: bytes | None = None
    """The only address that it may have, set by a static lease or the lease policy."""
    link: object = field(default=None, compare=False)
    """The link that it is behind; None if the program asks on its behalf."""
    frame_mac: bytes = field(default=b"", compare=False)
    """The source of its frame, which a bond or a bridge may have changed; empty if there was no frame."""
    iaid: bytes = b""
    """The client's identifier of the interface that asks (RFC 8415 section 12); empty with DHCPv4."""

    @property
    def macs(self) -> tuple[bytes, bytes]:
        """The MAC addresses that the client may send from."""
        return self.mac, self.frame_mac

    @property
    def identity(self) -> bytes | None:
        """Identifier of the client and of its interface; None if it sent none."""
        return None if self.client_id is None else self.client_id + self.iaid


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A snapshot of one lease."""

    address: IPAddress
    mac: str
    """Such as ``"52:54:00:12:34:56"``. For a declined address, the client that declined it or the machine that was
    found there."""
    client_id: bytes | None
    """Option 61, unless the client sent none or only its MAC address."""
    hostname: str | None
    """The name assigned to the client, else its option 12: ASCII letters, digits, ``-_.``"""
    state: LeaseState
    expires: float | None
    """Seconds until it expires; None: never."""
    idle: float | None
    """Seconds since its client last requested it; None if that was before the program started."""
    reserved: bool
    """Bound for as long as the program runs, by :meth:`slirpy.Slirp.reserve`, whether or not the guest uses DHCP."""


@dataclass(slots=True)
class Lease:
    """An address and its client, as the table keeps them."""

    address: bytes
    """Four bytes, or sixteen."""
    mac: bytes
    """Six bytes. For a declined address, the client that declined it or the machine that was found there."""
    client_id: bytes | None
    """Option 61, unless the client sent none or only its MAC address; with DHCPv6 the DUID."""
    hostname: str | None
    """The name assigned to the client, else its own (option 12, or 39 of DHCPv6): ASCII letters, digits, ``-_.``"""
    expires: int
    """Monotonic nanoseconds."""
    state: LeaseState
    firmware: bool = False
    """True if boot firmware was the last to request it (see ``index.py``)."""
    seconds: int = 0
    """The lease time last granted, in seconds; 4294967295 is for ever."""
    reserved: bool = False
    """Bound for as long as the program runs, by :meth:`slirpy.Slirp.reserve`, whether or not the guest uses DHCP."""
    heard: int | None = None
    """Time of the client's last request, in monotonic nanoseconds; None if that was before the program started."""
    iaid: bytes = b""
    """See :class:`Client`."""

    @property
    def identity(self) -> bytes | None:
        """See :class:`Client`."""
        return None if self.client_id is None else self.client_id + self.iaid

    def holds(self, now: int) -> bool:
        """Report whether it is bound, and has not expired."""
        return self.state is LeaseState.BOUND and self.expires > now

    def info(self, now: int) -> LeaseInfo:
        """A snapshot of the lease."""
        return LeaseInfo(
            ip_address(self.address),
            self.mac.hex(":"),
            self.client_id,
            self.hostname,
            self.state,
            None if self.expires == FOREVER else (self.expires - now) / SECOND,
            None if self.heard is None else (now - self.heard) / SECOND,
            self.reserved,
        )

    def is_held_by_another(self, client: Client, now: int) -> bool:
        """Report whether the lease is offered or bound, and another MAC address was the last to request it."""
        return (
            self.mac != client.mac
            and self.expires > now
            and self.state in (LeaseState.OFFERED, LeaseState.BOUND)
        )
