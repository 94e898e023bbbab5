"""DHCP messages (RFC 2131), of clients and of servers."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Literal, TypeAlias, get_args

from hypothesis import strategies as st

from slirpy.addresses import AnyAddress, address_bytes, mac_bytes
from slirpy.config.values import listed
from slirpy.errors import ConfigError
from slirpy.testing.strategies.building import Addresses, Kind, Made, check_kind
from slirpy.testing.strategies.names import labels
from slirpy.testing.strategies.transport import udp_between
from slirpy.wire import dhcp

__all__ = ["Sender", "dhcp_frames", "dhcp_messages", "dhcp_options"]

Sender: TypeAlias = Literal["client", "server"]
_FIXED = Struct("!BBBBIHH4s4s4s4s16s64s128sI")
_COOKIE = 0x63825363
_NONE = bytes(4)
_NOWHERE = "10.0.2.15"
_CLIENT = (dhcp.DISCOVER, dhcp.REQUEST, dhcp.INFORM, dhcp.RELEASE, dhcp.DECLINE)
_SERVER = (dhcp.OFFER, dhcp.ACK, dhcp.NAK)

addresses = st.integers(1, 254).map(lambda number: bytes((10, 0, 2, number)))


def _extras(sender: Sender) -> list[st.SearchStrategy[tuple[int, bytes]]]:
    """Options that the parties may add."""

    def option(code: int, values: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[int, bytes]]:
        return st.tuples(st.just(code), values)

    name = labels.map(str.encode)
    if sender == "client":
        return [
            option(dhcp.HOSTNAME, name),
            option(dhcp.REQUEST_LIST, st.lists(st.integers(1, 254), min_size=1, max_size=30).map(bytes)),
            option(dhcp.MAX_SIZE, st.integers(576, 1500).map(lambda size: size.to_bytes(2, "big"))),
            option(dhcp.CLIENT_ID, st.binary(min_size=2, max_size=20)),
            option(dhcp.VENDOR_CLASS, st.sampled_from((b"PXEClient:Arch:00007:UNDI:003001", b"udhcp 1.36"))),
            option(dhcp.ARCHITECTURE, st.sampled_from((b"\0\0", b"\0\7"))),
            option(dhcp.CLIENT_UUID, st.binary(min_size=16, max_size=16).map(lambda uuid: b"\0" + uuid)),
            option(dhcp.LEASE_TIME, st.integers(2, 0xFFFFFFFF).map(lambda time: time.to_bytes(4, "big"))),
        ]
    return [
        option(dhcp.SUBNET_MASK, st.just(b"\xff\xff\xff\0")),
        option(dhcp.ROUTER, addresses),
        option(dhcp.DNS_SERVER, st.lists(addresses, min_size=1, max_size=3).map(b"".join)),
        option(dhcp.DOMAIN, name),
        option(dhcp.MTU, st.integers(576, 9000).map(lambda size: size.to_bytes(2, "big"))),
        option(dhcp.BOOT_FILE, name),
    ]


_OPTIONS = {
    sender: st.lists(st.one_of(_extras(sender)), max_size=8, unique_by=lambda option: option[0])
    for sender in get_args(Sender)
}


def dhcp_options(sender: Sender = "client") -> st.SearchStrategy[list[tuple[int, bytes]]]:
    """Make lists of options as such a party adds them, each of them once."""
    return _OPTIONS[sender]


def dhcp_messages(
    kind: Kind = "valid",
    *,
    sender: Sender = "client",
    macs: Sequence[str] = ("52:54:00:12:34:56",),
    address: AnyAddress = _NOWHERE,
    server: AnyAddress = "10.0.2.2",
) -> st.SearchStrategy[bytes]:
    """Make DHCP messages: payloads of UDP.

    The simplest example is a DISCOVER without options, or an OFFER.

    Args:
        kind: ``"near"``: a message of another sender's opcode, without the magic number, cut short, or with an
            option that is empty, doubled or reaches beyond the end, or with any options.
        sender: which party sends them.
        macs: addresses of the clients.
        address: the address that messages are about.
        server: address of the server, which clients name.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    check_kind(kind)
    if sender not in ("client", "server"):
        raise ConfigError(f'sender {sender!r} is not "client" or "server"')
    clients = tuple(mac_bytes("macs", mac) for mac in listed("macs", macs))
    if not clients:
        raise ConfigError("macs is empty; name at least one client")
    about, by = address_bytes("address", address), address_bytes("server", server)
    if len(about) != 4 or len(by) != 4:
        raise ConfigError(f"address {address!r} and server {server!r} must be IPv4 addresses")
    if kind == "garbage":
        return st.binary(max_size=600)
    return _messages(sender, clients, about, by, near=kind == "near")


_anything = st.lists(
    st.tuples(
        st.sampled_from((12, 50, 52, 53, 54, 55, 57, 60, 61, 0, 255, 82, 119)) | st.integers(0, 255),
        st.binary(max_size=20) | st.integers(0, 9).map(lambda value: bytes((value,))) | addresses,
    ),
    max_size=8,
)
"""Options of any codes and values; those that servers read are frequent."""


@st.composite
def _messages(
    draw: st.DrawFn, sender: Sender, clients: tuple[bytes, ...], address: bytes, server: bytes, *, near: bool
) -> bytes:
    flaw = draw(st.sampled_from(_FLAWS)) if near else ""
    number = draw(st.sampled_from(_CLIENT if sender == "client" else _SERVER))
    options: list[tuple[int, bytes]] = [(dhcp.MESSAGE_TYPE, bytes((number,)))]
    ciaddr = yiaddr = _NONE
    # All is drawn always, so that no message is simpler than another for want of a field.
    known, time = draw(st.booleans()), draw(st.integers(2, 86_400))
    if sender == "client":
        if number in (dhcp.RELEASE, dhcp.INFORM) or (number == dhcp.REQUEST and known):
            ciaddr = address
        elif number != dhcp.DISCOVER or known:
            options.append((dhcp.REQUESTED_ADDRESS, address))
        if number in (dhcp.RELEASE, dhcp.DECLINE) or (number == dhcp.REQUEST and not known):
            options.append((dhcp.SERVER_ID, server))
    else:
        options.append((dhcp.SERVER_ID, server))
        if number != dhcp.NAK:
            yiaddr = address
            options.append((dhcp.LEASE_TIME, time.to_bytes(4, "big")))
    options += draw(dhcp_options(sender))
    return _packed(draw, sender, flaw, draw(st.sampled_from(clients)), (ciaddr, yiaddr), options)


def _packed(
    draw: st.DrawFn,
    sender: Sender,
    flaw: str,
    mac: bytes,
    addresses: tuple[bytes, bytes],
    options: list[tuple[int, bytes]],
) -> bytes:
    operation = dhcp.BOOTREQUEST if sender == "client" else dhcp.BOOTREPLY
    cookie = _COOKIE
    if flaw == "opcode":
        operation = draw(st.sampled_from((3 - operation, 0, 3, 255)))
    elif flaw == "magic number":
        cookie ^= draw(st.integers(1, 0xFFFFFFFF))
    elif flaw == "other options":
        options = draw(_anything)
    elif flaw == "empty option":
        at = draw(st.integers(0, len(options) - 1))
        options[at] = (options[at][0], b"")
    elif flaw == "doubled option":
        options.append((draw(st.sampled_from(options))[0], draw(st.binary(min_size=1, max_size=8))))
    flags = draw(st.sampled_from((0, dhcp.BROADCAST_FLAG)))
    header = _FIXED.pack(
        operation, 1, 6, 0, draw(st.integers(0, 0xFFFFFFFF)), draw(st.sampled_from((0, 3))), flags,
        *addresses, _NONE, _NONE, mac, b"", b"", cookie,
    )  # fmt: skip
    packed = [bytes((code, len(value))) + value for code, value in options]
    message = header + b"".join(packed)
    if flaw == "option beyond the end":
        return message + bytes((draw(st.integers(1, 254)), draw(st.integers(1, 255))))
    if flaw == "cut short":
        return message[: draw(st.integers(0, 235))]
    return (message + bytes((dhcp.END,))).ljust(dhcp.MESSAGE_MIN, b"\0")


_FLAWS = (
    "opcode",
    "other options",
    "cut short",
    "magic number",
    "empty option",
    "doubled option",
    "option beyond the end",
)


def dhcp_frames(ends: Addresses, kind: Kind) -> st.SearchStrategy[Made]:
    """Put a client's messages into frames to all stations, and a server's into frames to the client."""
    if ends.from_server:
        mac, client, server = ends.destination_mac, ends.destination4, ends.source4
        source, destination = ends.source4, ends.destination4
        where = dhcp.SERVER_PORT, dhcp.CLIENT_PORT
    else:
        mac, client, server = ends.source_mac, ends.source4, ends.destination4
        source, destination = _NONE, b"\xff" * 4
        where = dhcp.CLIENT_PORT, dhcp.SERVER_PORT
    sender: Sender = "server" if ends.from_server else "client"
    messages = dhcp_messages(kind, sender=sender, macs=(mac.hex(":"),), address=client, server=server)
    return messages.map(lambda message: udp_between(ends, source, where[0], destination, where[1], message))
