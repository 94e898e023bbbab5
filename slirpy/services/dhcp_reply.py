"""A reply to a client: what is in it, and where it goes."""

from __future__ import annotations

import dpkt

from slirpy.rules.dhcp import LEASE_TIME_FOREVER
from slirpy.services import dhcp_message as m
from slirpy.services.dhcp_message import Message
from slirpy.services.dhcp_options import MESSAGE_MIN, write_message
from slirpy.services.dhcp_parameters import FILE_SIZE, SNAME_SIZE, Told

__all__ = ["build_nak", "build_reply"]

IP_UDP_HEADERS = 28
SIZE_MIN = 576
"""What every client takes, with IP and UDP header (RFC 2131 section 2)."""


def build_reply(
    message: Message, kind: int | None, server: bytes, address: bytes, told: Told, seconds: int | None, mtu: int
) -> bytes:
    """An OFFER or ACK (RFC 2131 table 3), or with None as ``kind`` a reply of BOOTP.

    Args:
        server: our address.
        address: the client's to be.
        seconds: of the lease; None if there is none.
    """
    header = _header(message)
    header.ciaddr = 0 if kind == m.OFFER else message.header.ciaddr
    header.yiaddr = int.from_bytes(address, "big")
    header.siaddr = int.from_bytes(told.next_server, "big")
    if len(told.boot_file) < FILE_SIZE:
        header.file = told.boot_file
    if len(told.server_name) < SNAME_SIZE:
        header.sname = told.server_name
    if kind is None:
        # A client that sends more than the least takes more, too.
        size = min(max(message.size, MESSAGE_MIN), SIZE_MIN - IP_UDP_HEADERS)
        return write_message(header, told.options, size, overload=False)
    options = _first(message, kind, server)
    if seconds is not None:
        times = [(m.LEASE_TIME, seconds)]
        if seconds != LEASE_TIME_FOREVER:
            times += [(m.RENEWAL, seconds // 2), (m.REBINDING, seconds * 7 // 8)]
        given = {code for code, _ in told.options}
        options += [(code, value.to_bytes(4, "big")) for code, value in times if code not in given]
    # What the client asked for comes first, in its order; the rest may follow (RFC 2131 section 4.3.1), for
    # the sake of clients that take the MTU without asking for it.
    wanted = message.options.get(m.REQUEST_LIST, b"")
    order = {code: index for index, code in reversed(list(enumerate(wanted)))}
    options += sorted(told.options, key=lambda option: order.get(option[0], 256))
    # Option 57 counts IP and UDP header too.
    takes = int.from_bytes(message.options.get(m.MAX_SIZE, b"")[:2], "big")
    return write_message(header, options, min(max(takes, SIZE_MIN), max(mtu, SIZE_MIN)) - IP_UDP_HEADERS)


def build_nak(message: Message, server: bytes, why: bytes) -> bytes:
    """A NAK that says why, in at most 255 bytes."""
    options = [*_first(message, m.NAK, server), (m.MESSAGE_TEXT, why)]
    return write_message(_header(message), options, SIZE_MIN - IP_UDP_HEADERS)


def _header(message: Message) -> dpkt.dhcp.DHCP:
    asked = message.header
    return dpkt.dhcp.DHCP(
        op=m.BOOTREPLY,
        hrd=asked.hrd,
        hln=asked.hln,
        xid=asked.xid,
        flags=asked.flags,
        giaddr=asked.giaddr,
        chaddr=asked.chaddr,
        opts=(),
    )


def _first(message: Message, kind: int, server: bytes) -> list[tuple[int, bytes]]:
    """What each reply begins with, and what it gives back (RFC 6842, RFC 3046 section 2.2, RFC 4578 section 2.3)."""
    echoed = (m.CLIENT_ID, m.CLIENT_UUID, m.RELAY_AGENT)
    return [
        (m.MESSAGE_TYPE, bytes((kind,))),
        (m.SERVER_ID, server),
        *((code, message.options[code]) for code in echoed if code in message.options),
    ]
