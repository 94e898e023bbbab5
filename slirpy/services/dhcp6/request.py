"""A client's message, with what the static leases and the lease policy decided about it.

**The identity of a client** is its DUID, and the number (IAID) that it gives to each of its interfaces. A DUID says
nothing about the card that is in use, so the MAC address, by which people know a guest, is taken from where it can be
trusted: the frame of a client that asks directly, what a relay agent saw (RFC 6939), and only then the DUID.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Literal

from slirpy.config import Config
from slirpy.config.dhcp import DhcpRequest
from slirpy.interfaces import Datagram
from slirpy.records import NamedTuple
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.services.dhcp.rules import Ruling, rule_on
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import Association, Message, Relay, mac_of_duid, read_relayed

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["Decision", "Exchange", "decide", "read_exchange"]

_LABEL = r"[A-Za-z0-9_-]{1,63}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A client's message, and the way back to it."""

    message: Message
    relays: Sequence[Relay]
    """The relay agents that forwarded it, the nearest to us first."""
    datagram: Datagram
    """The datagram that carried the message, without its payload."""
    duid: bytes
    """Empty if the client sent none, which only a request for information may do."""
    mac: bytes

    @property
    def associations(self) -> list[Association]:
        """The associations for addresses, one for each of the client's interfaces."""
        return [each for each in self.message.associations if each.code == dhcp6.IA_NA]

    @property
    def others(self) -> list[Association]:
        """The associations for temporary addresses and for prefixes, of which there are none to give."""
        return [each for each in self.message.associations if each.code != dhcp6.IA_NA]

    @property
    def hostname(self) -> str | None:
        """The first label of the client's name, if it is a host name."""
        fqdn = self.message.fqdn
        return fqdn.labels[0] if fqdn is not None and re.fullmatch(_LABEL, fqdn.labels[0]) else None

    @property
    def firmware(self) -> bool:
        """True if the client is boot firmware, not the operating system that it boots."""
        return self.vendor_class.startswith((b"PXEClient", b"HTTPClient"))

    @property
    def vendor_class(self) -> bytes:
        """The first vendor class; empty if there is none."""
        return next(iter(self.message.vendor_classes), b"")

    def client(self, association: Association, hostname: str | None, fixed: bytes | None) -> Client:
        """The client that asks for an association."""
        return Client(
            self.mac,
            self.duid,
            hostname,
            self.firmware,
            fixed,
            self.datagram.link,
            b"" if self.relays else self.datagram.mac,
            association.iaid,
        )


def read_exchange(datagram: Datagram) -> Exchange | None:
    """Read a client's message; None if it is none, or not from a single station."""
    found = read_relayed(datagram.payload)
    if found is None:
        return None
    message, relays = found
    duid = message.client_id or b""
    mac = datagram.mac
    if relays:
        mac = relays[-1].mac or mac_of_duid(duid) or mac
    if mac[0] & 1 or mac == bytes(6) or not any(datagram.source):
        return None
    return Exchange(message, relays, datagram._replace(payload=memoryview(b"")), duid, mac)


class Decision(NamedTuple):
    """A client's request, and what was decided about it."""

    request: DhcpRequest
    ruling: Ruling


def decide(
    config: Config,
    table: LeaseTable,
    exchange: Exchange,
    kind: Literal["discover", "request", "inform"],
    now: int,
) -> Decision:
    """Apply the static leases and the lease policy.

    Raises:
        ConfigError: the policy returned something other than a DhcpAnswer or None.
    """
    message = exchange.message
    hints = [hint.address for each in exchange.associations for hint in each.addresses]
    request = DhcpRequest(
        kind,
        exchange.mac.hex(":"),
        exchange.duid or None,
        exchange.hostname,
        exchange.vendor_class,
        next(iter(message.user_classes), b""),
        next(iter(message.architectures), None),
        IPv6Address(hints[0]) if hints else None,
        {code: values[0] for code, values in message.options.items()},
        version=6,
    )
    client = Client(exchange.mac, exchange.duid or None)
    return Decision(request, rule_on(config, table, request, client, now))
