"""What a lease is, and who has one."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = ["FOREVER", "Client", "Lease", "LeaseState"]

FOREVER = (1 << 63) - 1
"""``Lease.expires`` of a lease that does not expire."""


class LeaseState(enum.Enum):
    """What an address in the table is."""

    OFFERED = "offered"
    """Held for a client that has not asked for it yet: a minute."""
    BOUND = "bound"
    """Acknowledged: for as long as the client was told."""
    RELEASED = "released"
    """Given back; kept for its client's return only."""
    DECLINED = "declined"
    """It was found in use by somebody else, by its client (RFC 2131 section 4.4.4) or by us: nobody gets it for ten
    minutes."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks."""

    mac: bytes
    client_id: bytes | None = None
    hostname: str | None = None
    firmware: bool = False
    fixed: bytes | None = None
    """The only address that it may have, if a rule or the lease policy says so; four bytes."""
    link: object = field(default=None, compare=False)
    """Which it is behind; None: it is the program that asks."""
    frame_mac: bytes = field(default=b"", compare=False)
    """The MAC address that its frame came from, which a bond or a bridge may have changed; empty: no frame did."""

    @property
    def macs(self) -> tuple[bytes, bytes]:
        """From where it may be heard."""
        return self.mac, self.frame_mac


@dataclass(slots=True)
class Lease:
    """An address and who has it."""

    address: bytes
    """Four bytes."""
    mac: bytes
    """Six bytes; of a declined address, of the client that declined it, or that was found there."""
    client_id: bytes | None
    """Option 61, unless the client sent none or just its MAC address."""
    hostname: str | None
    """What the client was told to be called, else option 12 as it sent it: ASCII letters, digits, ``-_.``"""
    expires: int
    """Monotonic nanoseconds."""
    state: LeaseState
    firmware: bool = False
    """It was a boot firmware that asked last (see the theory in ``lease_index.py``)."""
    seconds: int = 0
    """For how long it was given the last time; 4294967295: for ever."""
    reserved: bool = False
    """Bound for as long as the program runs, by :meth:`slirpy.Slirp.lease`, whether or not DHCP was spoken."""
    heard: int | None = None
    """When its client last asked for it, in monotonic nanoseconds; None: in another run of the program."""

    def is_held_by_another(self, client: Client, now: int) -> bool:
        """Whether it holds, and was last asked for from another MAC address."""
        return (
            self.mac != client.mac
            and self.expires > now
            and self.state in (LeaseState.OFFERED, LeaseState.BOUND)
        )
