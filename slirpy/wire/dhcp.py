"""DHCP and BOOTP messages (RFC 951, RFC 2131, RFC 2132): the numbers, reading and writing.

dpkt reads and writes the fixed fields. Options are read and written here, because dpkt does not know long options,
which are split into pieces (RFC 3396), nor options that continue in the ``file`` and ``sname`` fields (option
overload, RFC 2132 section 9.3), and because it raises an exception when an option is cut short.

Reading is liberal: embedded clients and boot ROMs send truncated messages and duplicate options. Whatever can be
read is used, and the rest is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from slirpy.interfaces import Datagram
from slirpy.records import NamedTuple
from slirpy.wire.domainname import labels_of

if TYPE_CHECKING:
    import dpkt

__all__ = [
    "Message",
    "classless_routes",
    "read_message",
    "read_request",
    "reply_header",
    "search_list",
    "write_message",
]

SERVER_PORT, CLIENT_PORT = 67, 68
BOOTREQUEST, BOOTREPLY = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8
BROADCAST_FLAG = 0x8000
UNSPECIFIED = bytes(4)
"""The address 0.0.0.0."""

# Codes of options.
PAD, END = 0, 255
SUBNET_MASK, ROUTER, DNS_SERVER, HOSTNAME, DOMAIN, MTU, BROADCAST = 1, 3, 6, 12, 15, 26, 28
VENDOR_OPTIONS, REQUESTED_ADDRESS, LEASE_TIME, OVERLOAD, MESSAGE_TYPE = 43, 50, 51, 52, 53
SERVER_ID, REQUEST_LIST, MESSAGE_TEXT, MAX_SIZE, RENEWAL, REBINDING = 54, 55, 56, 57, 58, 59
VENDOR_CLASS, CLIENT_ID, TFTP_SERVER, BOOT_FILE, USER_CLASS, RELAY_AGENT = 60, 61, 66, 67, 77, 82
ARCHITECTURE, CLIENT_UUID, DOMAIN_SEARCH, CLASSLESS_ROUTES = 93, 97, 119, 121

MESSAGE_MIN = 300
"""The least length of a BOOTP message (RFC 951, RFC 1542 section 2.1); some clients drop shorter ones."""
FILE_SIZE = 128
"""Bytes of the ``file`` field; a name in it ends with a zero byte."""
SNAME_SIZE = 64
"""Bytes of the ``sname`` field; a name in it ends with a zero byte."""
_BOOTP = 236
"""Bytes of the BOOTP fields, up to and including ``file``."""
_FIXED = 240
"""Bytes before the options: the BOOTP fields and the magic number."""
_CHADDR = slice(28, 44)
_ETHERNETS = (0, 1, 6)
"""Hardware types with addresses of six bytes: Ethernet, IEEE 802, and zero, which some clients send."""
_BOOT_TEXTS = frozenset((17, 18, TFTP_SERVER, BOOT_FILE, 209, 210))
"""Options that old boot ROMs read as text up to a zero byte."""
_PIECE = 255
"""The most bytes of one option; a longer value is split (RFC 3396)."""
_HOSTNAME = rb"[A-Za-z0-9._-]{1,255}"
_EMPTY = memoryview(b"")


class Message(NamedTuple):
    """A client's message."""

    header: dpkt.dhcp.DHCP
    options: dict[int, bytes]
    datagram: Datagram
    """The datagram that carried the message, without its payload."""
    mac: bytes
    """Six bytes: ``chaddr`` if that is the address of an Ethernet card, else the source of the frame."""
    client_id: bytes | None
    """Option 61; None if it only repeats the MAC address, or is not of 2 to 255 bytes (RFC 2132 section 9.14)."""
    hostname: str | None
    size: int
    """Bytes of the message."""

    @property
    def kind(self) -> int | None:
        """The message type (option 53), 1 to 8 or an unknown one; None for BOOTP."""
        value = self.options.get(MESSAGE_TYPE)
        return value[0] if value else None

    @property
    def ciaddr(self) -> bytes:
        """The address that the client already has, four bytes; zero if it has none."""
        ciaddr: int = self.header.ciaddr
        return ciaddr.to_bytes(4, "big")

    @property
    def firmware(self) -> bool:
        """True if the client is boot firmware, not the operating system that it boots."""
        return self.options.get(VENDOR_CLASS, b"").startswith((b"PXEClient", b"HTTPClient"))

    def address(self, option: int) -> bytes | None:
        """The IPv4 address that an option starts with; None if it is absent, zero or too short."""
        value = self.options.get(option, b"")[:4]
        return value if len(value) == 4 and value != UNSPECIFIED else None

    @property
    def relay(self) -> bytes | None:
        """The address of the relay agent that forwarded the message, four bytes; None if it came directly.

        Relay agents send from port 67. A client sends from port 68, and its ``giaddr`` is ignored.
        """
        giaddr: int = self.header.giaddr
        return giaddr.to_bytes(4, "big") if giaddr and self.datagram.source_port == SERVER_PORT else None


def read_request(datagram: Datagram) -> Message | None:
    """Read a client's message; None if it is not a request, or not from a single station.

    The hardware type is not required to be Ethernet: the message came in an Ethernet frame, so an Ethernet card sent
    it, whatever the client claims. If ``chaddr`` cannot be that card's address, the frame's source is used.
    """
    message = read_message(bytes(datagram.payload))
    if message is None:
        return None
    header, options = message
    mac: bytes = header.chaddr[:6]
    if header.hrd not in _ETHERNETS or header.hln != 6 or mac[0] & 1 or mac == bytes(6):
        mac = datagram.mac
    if header.op != BOOTREQUEST or mac[0] & 1 or mac == bytes(6):
        return None
    identifier = options.get(CLIENT_ID)
    if identifier is not None and (not 2 <= len(identifier) <= 255 or identifier == b"\1" + mac):
        identifier = None
    name = options.get(HOSTNAME, b"").rstrip(b"\0")
    hostname = name.decode("ascii") if re.fullmatch(_HOSTNAME, name) else None
    size = len(datagram.payload)
    # The reply may be delayed, and the payload's buffer is valid during this call only.
    return Message(header, options, datagram._replace(payload=_EMPTY), mac, identifier, hostname, size)


def read_message(payload: bytes) -> tuple[dpkt.dhcp.DHCP, dict[int, bytes]] | None:
    """Read the fixed fields and the options by code; None if the fixed fields are incomplete.

    A BOOTP message without the magic number of RFC 1497 has no options. An option that extends beyond its field is
    ignored.
    """
    import dpkt  # 200 modules, a tenth of the program's start, for those who get a message

    if len(payload) < _BOOTP:
        return None
    header = dpkt.dhcp.DHCP(payload[:_FIXED].ljust(_FIXED, b"\0"))
    header.chaddr = payload[_CHADDR]  # in full, whatever hlen says: the reply returns it unchanged
    options: dict[int, bytes] = {}
    if header.magic != dpkt.dhcp.DHCP_MAGIC:
        return header, options
    _read_area(payload[_FIXED:], options)
    overload = options.get(OVERLOAD, b"\0")[:1]
    # RFC 3396 section 5: the pieces of an option are joined in the order options, file, sname.
    if overload in (b"\1", b"\3"):
        _read_area(header.file, options)
    if overload in (b"\2", b"\3"):
        _read_area(header.sname, options)
    return header, options


def _read_area(area: bytes, options: dict[int, bytes]) -> None:
    """Add the options of one field, joining values of equal codes.

    If a short value repeats exactly, the option was sent twice: only a piece of 255 bytes is continued by another
    (RFC 3396 section 6).
    """
    at = 0
    while at < len(area):
        code = area[at]
        if code == PAD:
            at += 1
            continue
        if code == END:
            break
        end = at + 2 + area[at + 1] if at + 1 < len(area) else at + 2
        if end > len(area):
            break
        value = area[at + 2 : end]
        if value != options.get(code) or len(value) == _PIECE:
            options[code] = options.get(code, b"") + value
        at = end


def reply_header(request: Message) -> dpkt.dhcp.DHCP:
    """Return the fixed fields of a reply, including those copied from the request (RFC 2131 table 3)."""
    import dpkt

    header = request.header
    return dpkt.dhcp.DHCP(
        op=BOOTREPLY,
        hrd=header.hrd,
        hln=header.hln,
        xid=header.xid,
        flags=header.flags,
        giaddr=header.giaddr,
        chaddr=header.chaddr,
        opts=(),
    )


def write_message(
    header: dpkt.dhcp.DHCP, options: Iterable[tuple[int, bytes]], limit: int, *, overload: bool = True
) -> bytes:
    """Write a message of at least 300 and at most ``limit`` bytes; ``limit`` is 300 or more.

    Options that do not fit continue in the ``file`` field if the header has no boot file, then in ``sname`` if that
    is empty or option 66 repeats it. Options that do not fit there either are left out, so pass the important ones
    first. A pad option follows each text that boot ROMs read up to a zero byte regardless of its length.

    With ``overload`` False both fields are left alone: a BOOTP client does not know option 52, and would mistake the
    options for a boot file name.
    """
    # Each area keeps a byte for its end option, and the first one three for option 52.
    options = list(options)
    needed = header.sname.strip(b"\0") and TFTP_SERVER not in (code for code, _ in options)
    file_room = 0 if header.file.strip(b"\0") else FILE_SIZE - 1
    room = [limit - _FIXED - 1 - 3, file_room, 0 if needed else SNAME_SIZE - 1]
    if not overload:
        room = [limit - _FIXED - 1, 0, 0]
    areas = [bytearray(), bytearray(), bytearray()]
    for code, value in options:
        pieces = b"".join(
            bytes((code, len(piece))) + piece
            for piece in (value[i : i + _PIECE] for i in range(0, max(len(value), 1), _PIECE))
        )
        if code in _BOOT_TEXTS:
            pieces += bytes((PAD,))
        # All pieces of an option go into one area, so that any client joins them in the right order.
        for index, area in enumerate(areas):
            if len(area) + len(pieces) <= room[index]:
                area += pieces
                break
    main, in_file, in_sname = areas
    if in_file or in_sname:
        main += bytes((OVERLOAD, 1, (1 if in_file else 0) | (2 if in_sname else 0)))
    if in_file:
        header.file = bytes(in_file) + bytes((END,))
    if in_sname:
        header.sname = bytes(in_sname) + bytes((END,))
    message: bytes = header.pack_hdr() + bytes(main) + bytes((END,))
    return message.ljust(MESSAGE_MIN, b"\0")


def search_list(names: Iterable[str]) -> bytes:
    """Return the value of option 119: domain names, compressed within the option (RFC 3397 section 2).

    Raises:
        ValueError: see :func:`~slirpy.wire.domainname.labels_of`.
    """
    from dnslib import DNSLabel
    from dnslib.label import DNSBuffer

    buffer = DNSBuffer()
    for name in names:
        buffer.encode_name(DNSLabel(labels_of(name)))
    return bytes(buffer.data)


def classless_routes(gateways: Mapping[IPv4Network, bytes]) -> bytes:
    """Return the value of option 121 (RFC 3442): the gateway of each network, four bytes."""
    out = b""
    for network, gateway in gateways.items():
        significant = -(-network.prefixlen // 8)
        out += bytes((network.prefixlen,)) + network.network_address.packed[:significant] + gateway
    return out
