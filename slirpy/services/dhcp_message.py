"""A client's message, read, and the numbers that DHCP writes things as (RFC 2131, RFC 2132)."""

from __future__ import annotations

import re
from typing import NamedTuple

import dpkt

from slirpy.interfaces import Datagram
from slirpy.services.dhcp_options import read_message

__all__ = ["NOWHERE", "Message", "read_request"]

BOOTREQUEST, BOOTREPLY = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8

SUBNET_MASK, ROUTER, DNS_SERVER, HOSTNAME, DOMAIN, MTU, BROADCAST = 1, 3, 6, 12, 15, 26, 28
REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE, SERVER_ID, REQUEST_LIST = 50, 51, 53, 54, 55
MESSAGE_TEXT, MAX_SIZE, RENEWAL, REBINDING, VENDOR_CLASS, CLIENT_ID = 56, 57, 58, 59, 60, 61
TFTP_SERVER, BOOT_FILE, USER_CLASS, RELAY_AGENT, ARCHITECTURE, CLIENT_UUID = 66, 67, 77, 82, 93, 97
DOMAIN_SEARCH, CLASSLESS_ROUTES = 119, 121

BROADCAST_FLAG = 0x8000
NOWHERE = bytes(4)
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")


class Message(NamedTuple):
    """What a client says."""

    header: dpkt.dhcp.DHCP
    options: dict[int, bytes]
    datagram: Datagram
    mac: bytes
    """Six bytes."""
    client_id: bytes | None
    """None too if it says no more than the MAC address, or is too short (RFC 2132 section 9.14)."""
    hostname: str | None

    @property
    def kind(self) -> int | None:
        """The type of message, 1 to 8; 0: something else; None: BOOTP, which has none."""
        value = self.options.get(MESSAGE_TYPE)
        return value if value is None else value[0] if len(value) == 1 else 0

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
        """The value of an option that is an IPv4 address; None if it is absent, zero or something else."""
        value = self.options.get(option)
        return value if value is not None and len(value) == 4 and value != NOWHERE else None


def read_request(datagram: Datagram) -> Message | None:
    """The message, or None if it is not a request of an Ethernet client."""
    message = read_message(bytes(datagram.payload))
    if message is None:
        return None
    header, options = message
    mac: bytes = header.chaddr[:6]
    if header.op != BOOTREQUEST or header.hrd != 1 or header.hln != 6 or mac[0] & 1 or mac == bytes(6):
        return None
    # What is echoed must fit into one option of ours.
    if any(len(options.get(code, b"")) > 255 for code in (CLIENT_ID, RELAY_AGENT, CLIENT_UUID)):
        return None
    identifier = options.get(CLIENT_ID)
    if identifier is not None and (len(identifier) < 2 or identifier == b"\1" + mac):
        identifier = None
    name = options.get(HOSTNAME, b"").rstrip(b"\0")
    hostname = name.decode("ascii") if _NAME.fullmatch(name) else None
    return Message(header, options, datagram, mac, identifier, hostname)
