"""DHCPv6 messages (RFC 8415), of clients and of servers."""

from __future__ import annotations

from hypothesis import strategies as st

from slirpy.addresses import AnyAddress, address_bytes, mac_bytes
from slirpy.errors import ConfigError
from slirpy.testing.strategies.building import Addresses, Kind, Made, check_kind
from slirpy.testing.strategies.dhcp import Sender
from slirpy.testing.strategies.names import labels
from slirpy.testing.strategies.neighbors import addresses6
from slirpy.testing.strategies.transport import udp_between
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import pack_option
from slirpy.wire.domainname import pack_names

__all__ = ["KNOWN_OPTIONS", "dhcp6_frames", "dhcp6_messages", "relays"]

KNOWN_OPTIONS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 18, 25, 39, 60, 61, 62, 79)
"""Codes of options that servers read, or may be expected to."""

_CLIENT = (
    dhcp6.SOLICIT, dhcp6.REQUEST, dhcp6.CONFIRM, dhcp6.RENEW, dhcp6.REBIND, dhcp6.RELEASE, dhcp6.DECLINE,
    dhcp6.INFORMATION_REQUEST,
)  # fmt: skip
_SERVER = (dhcp6.ADVERTISE, dhcp6.REPLY)
_TO_ONE_SERVER = frozenset((dhcp6.REQUEST, dhcp6.RENEW, dhcp6.RELEASE, dhcp6.DECLINE))
_HINTED = frozenset((dhcp6.CONFIRM, dhcp6.RENEW, dhcp6.REBIND, dhcp6.RELEASE, dhcp6.DECLINE))
_FLAWS = (
    "cut short", "option beyond the end", "no client", "identifier too short", "another server", "unknown type",
    "association cut short",
)  # fmt: skip

_words = st.integers(0, 0xFFFF).map(lambda number: number.to_bytes(2, "big"))
_client_extras = st.one_of(
    st.lists(_words, min_size=1, max_size=6).map(lambda codes: pack_option(dhcp6.ORO, b"".join(codes))),
    _words.map(lambda time: pack_option(dhcp6.ELAPSED_TIME, time)),
    st.just(pack_option(dhcp6.RAPID_COMMIT, b"")),
    labels.map(
        lambda name: pack_option(dhcp6.CLIENT_FQDN, b"\1" + bytes((len(name),)) + name.encode() + b"\0")
    ),
    st.just(pack_option(dhcp6.VENDOR_CLASS, dhcp6.pack_vendor_class(343, b"PXEClient"))),
    st.just(pack_option(dhcp6.CLIENT_ARCHITECTURE, b"\0\7")),
)
_server_extras = st.one_of(
    st.lists(addresses6, min_size=1, max_size=2).map(
        lambda servers: pack_option(dhcp6.DNS_SERVERS, b"".join(servers))
    ),
    labels.map(lambda name: pack_option(dhcp6.DOMAIN_LIST, pack_names([name]))),
    st.integers(0, 255).map(lambda value: pack_option(dhcp6.PREFERENCE, bytes((value,)))),
)


def _several(options: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.lists(options, max_size=4, unique_by=lambda option: option[:2])


_CLIENT_EXTRAS, _SERVER_EXTRAS = _several(_client_extras), _several(_server_extras)
relays = st.builds(
    dhcp6.Relay,
    st.integers(0, 255),
    addresses6,
    addresses6,
    st.none() | st.binary(max_size=40),
    st.none() | st.just(bytes.fromhex("525400123456")),
)
"""Relay agents that forward a message."""


def dhcp6_messages(
    kind: Kind = "valid",
    *,
    sender: Sender = "client",
    mac: str = "52:54:00:12:34:56",
    address: AnyAddress = "fec0::15",
    server: bytes | None = None,
) -> st.SearchStrategy[bytes]:
    """Make DHCPv6 messages: payloads of UDP, without relay agents.

    The simplest example is a SOLICIT for one address, or an ADVERTISE.

    Args:
        kind: ``"near"``: a message that is cut short, without or with a wrong identifier, or of an unknown type.
        sender: which party sends them.
        mac: the client's address, of which its identifier is made (DUID-LL).
        address: the address that messages are about.
        server: the server's identifier (DUID), 3 to 130 bytes; None: one of the address 52:56:00:00:00:02.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    check_kind(kind)
    if sender not in ("client", "server"):
        raise ConfigError(f'sender {sender!r} is not "client" or "server"')
    client = dhcp6.duid_of_mac(mac_bytes("mac", mac))
    about = address_bytes("address", address)
    if len(about) != 16:
        raise ConfigError(f"address {address!r} must be an IPv6 address")
    by = dhcp6.duid_of_mac(bytes.fromhex("525600000002")) if server is None else server
    if not isinstance(by, bytes) or len(by) not in dhcp6.DUID_LENGTHS:
        raise ConfigError("server must be 3 to 130 bytes, or None")
    if kind == "garbage":
        return st.binary(max_size=300)
    return _messages(sender, client, about, by, near=kind == "near")


@st.composite
def _messages(
    draw: st.DrawFn, sender: Sender, client: bytes, address: bytes, server: bytes, *, near: bool
) -> bytes:
    flaw = draw(st.sampled_from(_FLAWS)) if near else ""
    number = draw(st.sampled_from(_CLIENT if sender == "client" else _SERVER))
    transaction, iaid = draw(st.binary(min_size=3, max_size=3)), draw(st.binary(min_size=4, max_size=4))
    if flaw == "identifier too short":
        client = client[: draw(st.integers(0, 2))]
    elif flaw == "another server":
        server = server[:-1] + bytes((server[-1] ^ 1,))
    options = [] if flaw == "no client" else [pack_option(dhcp6.CLIENT_ID, client)]
    if sender == "server" or number in _TO_ONE_SERVER:
        options.append(pack_option(dhcp6.SERVER_ID, server))
    if number != dhcp6.INFORMATION_REQUEST:
        times = (0, 0) if sender == "client" else (1000, 2000)
        inside = [dhcp6.ia_address(address, *times)] if sender == "server" or number in _HINTED else []
        association = dhcp6.ia_na(iaid, 0, 0, *inside)
        if flaw == "association cut short":
            association = pack_option(dhcp6.IA_NA, association[4 : 4 + draw(st.integers(0, 11))])
        options.append(association)
    extras = _CLIENT_EXTRAS if sender == "client" else _SERVER_EXTRAS
    options += draw(extras)
    if flaw == "unknown type":
        number = draw(st.sampled_from((0, 14, 100, 255)))
    message = dhcp6.write_message(number, transaction, options)
    if flaw == "cut short":
        return message[: draw(st.integers(0, 3))]
    if flaw == "option beyond the end":
        return message + bytes((0, draw(st.integers(1, 255)), 0, draw(st.integers(1, 255))))
    return message


def dhcp6_frames(ends: Addresses, kind: Kind) -> st.SearchStrategy[Made]:
    """Put a client's messages into frames to all servers, and a server's into frames to the client."""
    if ends.from_server:
        mac, about, destination = ends.destination_mac, ends.destination6, ends.destination_local
        where = dhcp6.SERVER_PORT, dhcp6.CLIENT_PORT
    else:
        mac, about, destination = ends.source_mac, ends.source6, dhcp6.ALL_SERVERS
        where = dhcp6.CLIENT_PORT, dhcp6.SERVER_PORT
    sender: Sender = "server" if ends.from_server else "client"
    messages = dhcp6_messages(kind, sender=sender, mac=mac.hex(":"), address=about)
    source = ends.source_local
    return messages.map(lambda message: udp_between(ends, source, where[0], destination, where[1], message))
