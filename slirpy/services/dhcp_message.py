"""A client's message, read, and the numbers that DHCP writes things as (RFC 2131, RFC 2132)."""

from __future__ import annotations

import re
from typing import NamedTuple

import dpkt

from slirpy.interfaces import Datagram
from slirpy.services.dhcp_options import read_message

__all__ = ["NOWHERE", "Message", "read_request"]

SERVER_PORT, CLIENT_PORT = 67, 68
BOOTREQUEST, BOOTREPLY = 1, 2
ETHERNETS = (0, 1, 6)
"""Hardware types whose addresses have six bytes: Ethernet, IEEE 802, and none given."""
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8

SUBNET_MASK, ROUTER, DNS_SERVER, HOSTNAME, DOMAIN, MTU, BROADCAST = 1, 3, 6, 12, 15, 26, 28
REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE, SERVER_ID, REQUEST_LIST = 50, 51, 53, 54, 55
MESSAGE_TEXT, MAX_SIZE, RENEWAL, REBINDING, VENDOR_CLASS, CLIENT_ID = 56, 57, 58, 59, 60, 61
TFTP_SERVER, BOOT_FILE, USER_CLASS, RELAY_AGENT, ARCHITECTURE, CLIENT_UUID = 66, 67, 77, 82, 93, 97
VENDOR_OPTIONS, DOMAIN_SEARCH, CLASSLESS_ROUTES = 43, 119, 121

BROADCAST_FLAG = 0x8000
NOWHERE = bytes(4)
_NOTHING = memoryview(b"")
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")


class Message(NamedTuple):
    """What a client says."""

    header: dpkt.dhcp.DHCP
    options: dict[int, bytes]
    datagram: Datagram
    mac: bytes
    """Six bytes: the hardware address that the client names, if it is that of an Ethernet card, else its frame's."""
    client_id: bytes | None
    """None too if it says no more than the MAC address, or is too short (RFC 2132 section 9.14) or too long."""
    hostname: str | None
    size: int
    """Bytes of the message."""

    @property
    def kind(self) -> int | None:
        """The type of message, 1 to 8 or something else; None: BOOTP, which has none."""
        value = self.options.get(MESSAGE_TYPE)
        return value[0] if value else None

    @property
    def ciaddr(self) -> bytes:
        """The address that the client has already; zero if none."""
        ciaddr: int = self.header.ciaddr
        return ciaddr.to_bytes(4, "big")

    @property
    def firmware(self) -> bool:
        """Whether a boot firmware asks, not the system that it boots."""
        return self.options.get(VENDOR_CLASS, b"").startswith((b"PXEClient", b"HTTPClient"))

    def address(self, option: int) -> bytes | None:
        """The IPv4 address that an option begins with; None if it is absent, zero or too short."""
        value = self.options.get(option, b"")[:4]
        return value if len(value) == 4 and value != NOWHERE else None

    @property
    def relay(self) -> bytes | None:
        """The address of the relay agent that the message came through, four bytes; None if it came directly.

        A client's own message comes from port 68, and what stands in ``giaddr`` then means nothing.
        """
        giaddr: int = self.header.giaddr
        return giaddr.to_bytes(4, "big") if giaddr and self.datagram.source_port == SERVER_PORT else None


def read_request(datagram: Datagram) -> Message | None:
    """The message, or None if it is no request, or nobody's.

    The hardware type does not matter: what has come in an Ethernet frame has come from an Ethernet card, whatever the
    client believes. Where it does not name the address of that card, its frame does.
    """
    message = read_message(bytes(datagram.payload))
    if message is None:
        return None
    header, options = message
    mac: bytes = header.chaddr[:6]
    if header.hrd not in ETHERNETS or header.hln != 6 or mac[0] & 1 or mac == bytes(6):
        mac = datagram.mac
    if header.op != BOOTREQUEST or mac[0] & 1 or mac == bytes(6):
        return None
    identifier = options.get(CLIENT_ID)
    if identifier is not None and (not 2 <= len(identifier) <= 255 or identifier == b"\1" + mac):
        identifier = None
    name = options.get(HOSTNAME, b"").rstrip(b"\0")
    hostname = name.decode("ascii") if _NAME.fullmatch(name) else None
    size = len(datagram.payload)
    # An answer may have to wait, and the buffer does not last.
    return Message(header, options, datagram._replace(payload=_NOTHING), mac, identifier, hostname, size)
