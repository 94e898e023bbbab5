"""DHCPv6 messages (RFC 8415) and their options, for clients and servers; relay agents' messages for servers.

A message whose options do not fit into it is no message, and an option whose value cannot be read counts as absent.
Of an option that may come once only, the first is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire.domainname import labels_of, read_names

__all__ = [
    "Association",
    "Fqdn",
    "IaAddress",
    "Message",
    "Relay",
    "Status",
    "duid_of_mac",
    "ia_address",
    "ia_na",
    "ia_status",
    "mac_of_duid",
    "pack_fqdn",
    "pack_option",
    "pack_relayed",
    "pack_status",
    "pack_vendor_class",
    "read_message",
    "read_relayed",
    "write_message",
]

CLIENT_PORT, SERVER_PORT = 546, 547
ALL_SERVERS = bytes.fromhex("ff020000000000000000000000010002")
"""All_DHCP_Relay_Agents_and_Servers, ff02::1:2, to which clients send."""
SITE_SERVERS = bytes.fromhex("ff050000000000000000000000010003")
"""All_DHCP_Servers, ff05::1:3, to which relay agents send."""
FOREVER = 0xFFFFFFFF
"""A lifetime without end, in seconds."""

# Types of messages.
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = 1, 2, 3, 4, 5, 6, 7, 8, 9
RECONFIGURE, INFORMATION_REQUEST, RELAY_FORWARD, RELAY_REPLY = 10, 11, 12, 13

# Codes of options (RFC 8415 section 24 and its registry).
CLIENT_ID, SERVER_ID, IA_NA, IA_TA, IAADDR, ORO, PREFERENCE, ELAPSED_TIME = 1, 2, 3, 4, 5, 6, 7, 8
RELAY_MESSAGE, STATUS_CODE, RAPID_COMMIT, USER_CLASS, VENDOR_CLASS = 9, 13, 14, 15, 16
INTERFACE_ID, DNS_SERVERS, DOMAIN_LIST, IA_PD = 18, 23, 24, 25
INFORMATION_REFRESH_TIME = 32
"""RFC 8415 section 21.23."""
CLIENT_FQDN = 39
"""RFC 4704."""
BOOTFILE_URL, BOOTFILE_PARAMETERS, CLIENT_ARCHITECTURE, NETWORK_INTERFACE = 59, 60, 61, 62
"""RFC 5970."""
CLIENT_LINK_ADDRESS = 79
"""RFC 6939."""
SOL_MAX_RT, INF_MAX_RT = 82, 83
"""RFC 8415 sections 21.24 and 21.25."""

# Codes of statuses (RFC 8415 section 21.13).
SUCCESS, UNSPECIFIED_FAILURE, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, USE_MULTICAST, NO_PREFIX = range(7)

OPTIONS_MAX = 128
"""Options at each level of a message."""
ITEMS_MAX = 128
"""Numbers, or pieces of text, that are read of an option; the rest is ignored."""
HOPS_MAX = 8
"""HOP_COUNT_LIMIT (RFC 8415 section 7.6)."""
DUID_LENGTHS = range(3, 131)
"""Lengths that a DUID may have, with its type (RFC 8415 section 11.1)."""

_OPTION = Struct("!HH")
_ADDRESS = Struct("!16sII")
_TIMES = Struct("!II")
_RELAY = Struct("!BB16s16s")
_DUID_LLT, _DUID_LL = 1, 3
_ETHERNET = 1
_FQDN_SERVER_UPDATES, _FQDN_OVERRIDE = 0x01, 0x02


class Status(NamedTuple):
    """The result of a request."""

    code: int
    text: str


class IaAddress(NamedTuple):
    """An address of an identity association, with its lifetimes in seconds."""

    address: bytes
    preferred: int
    valid: int


class Association(NamedTuple):
    """An identity association: a request for the addresses of one interface, or the answer."""

    code: int
    """:data:`IA_NA`, :data:`IA_TA` or :data:`IA_PD`."""
    iaid: bytes
    """Four bytes by which its client knows it."""
    t1: int = 0
    """Seconds until the client renews."""
    t2: int = 0
    """Seconds until the client asks any server."""
    addresses: tuple[IaAddress, ...] = ()
    """Empty for :data:`IA_PD`, whose prefixes are not read."""
    status: Status | None = None


class Fqdn(NamedTuple):
    """A client's name (RFC 4704)."""

    labels: tuple[str, ...]
    server_updates: bool
    """True if the client asks the server to enter the name in the DNS."""


class Message(NamedTuple):
    """A message between client and server."""

    kind: int
    transaction: bytes
    """Three bytes, which the answer repeats."""
    options: Mapping[int, Sequence[bytes]]
    """Values by code, in the order of the message."""

    def first(self, code: int) -> bytes | None:
        """The first option with a code; None if there is none."""
        values = self.options.get(code)
        return values[0] if values else None

    @property
    def client_id(self) -> bytes | None:
        """The client's DUID; None if it is absent or too long."""
        return _duid(self.first(CLIENT_ID))

    @property
    def server_id(self) -> bytes | None:
        """The server's DUID; None if it is absent or too long."""
        return _duid(self.first(SERVER_ID))

    @property
    def associations(self) -> tuple[Association, ...]:
        """The identity associations of all kinds that can be read."""
        found = (
            _read_association(code, value)
            for code in (IA_NA, IA_TA, IA_PD)
            for value in self.options.get(code, ())
        )
        return tuple(association for association in found if association is not None)

    @property
    def requested(self) -> frozenset[int] | None:
        """Codes of the options that the client asks for; None if it does not say."""
        value = self.first(ORO)
        return None if value is None else frozenset(_numbers(value))

    @property
    def status(self) -> Status | None:
        """The status of the whole message."""
        return _read_status(self.first(STATUS_CODE))

    @property
    def preference(self) -> int:
        """Preference of a server, 0 to 255."""
        value = self.first(PREFERENCE)
        return value[0] if value else 0

    @property
    def dns_servers(self) -> tuple[bytes, ...]:
        """Addresses of DNS servers."""
        value = self.first(DNS_SERVERS) or b""
        return tuple(value[at : at + 16] for at in range(0, len(value) - 15, 16))

    @property
    def domains(self) -> tuple[str, ...]:
        """The DNS search list."""
        return read_names(self.first(DOMAIN_LIST) or b"") or ()

    @property
    def user_classes(self) -> tuple[bytes, ...]:
        """The classes that a client says it belongs to."""
        return _pieces(self.first(USER_CLASS) or b"")

    @property
    def vendor_classes(self) -> tuple[bytes, ...]:
        """The vendor's descriptions of a client, of whatever enterprise."""
        return tuple(piece for value in self.options.get(VENDOR_CLASS, ()) for piece in _pieces(value[4:]))

    @property
    def architectures(self) -> tuple[int, ...]:
        """Numbers of the client's architecture (RFC 5970 section 3.3), the best first."""
        return _numbers(self.first(CLIENT_ARCHITECTURE) or b"")

    @property
    def fqdn(self) -> Fqdn | None:
        """The client's name."""
        value = self.first(CLIENT_FQDN)
        if not value:
            return None
        names = read_names(value[1:] + b"\0")  # a name that is not complete has no end
        if not names:
            return None
        return Fqdn(tuple(names[0].split(".")), bool(value[0] & _FQDN_SERVER_UPDATES))


class Relay(NamedTuple):
    """A relay agent that forwarded a message, with all that its answer must repeat."""

    hops: int
    link: bytes
    """An address of the link that the client is on; unspecified: see ``peer``."""
    peer: bytes
    """The client, or the next relay agent towards it."""
    interface: bytes | None
    """Interface-Id option, if there is one."""
    mac: bytes | None
    """The client's MAC address as the relay agent saw it (RFC 6939)."""


# ------------------------------------------------------------------------------------------------ reading


def read_message(payload: Buffer) -> Message | None:
    """Read a message between client and server; None if it is none, or a relay agent's."""
    if len(payload) < 4 or payload[0] in (RELAY_FORWARD, RELAY_REPLY):
        return None
    options = _read_options(bytes(payload[4:]))
    return None if options is None else Message(payload[0], bytes(payload[1:4]), options)


def read_relayed(payload: Buffer) -> tuple[Message, tuple[Relay, ...]] | None:
    """Read a message as a server receives it.

    Returns:
        The client's message and the relay agents that forwarded it, the nearest to the server first; None if it
        cannot be read, or has passed through more than :data:`HOPS_MAX` of them.
    """
    relays: list[Relay] = []
    data = bytes(payload)
    while len(data) >= _RELAY.size and data[0] == RELAY_FORWARD:
        if len(relays) == HOPS_MAX:
            return None
        _, hops, link, peer = _RELAY.unpack_from(data)
        options = _read_options(data[_RELAY.size :])
        if options is None or RELAY_MESSAGE not in options:
            return None
        interface = options.get(INTERFACE_ID, [None])[0]
        relays.append(Relay(hops, link, peer, interface, _mac(options.get(CLIENT_LINK_ADDRESS, [b""])[0])))
        data = options[RELAY_MESSAGE][0]
    message = read_message(data)
    return None if message is None else (message, tuple(relays))


def _read_options(area: bytes) -> dict[int, list[bytes]] | None:
    found: dict[int, list[bytes]] = {}
    at, end = 0, len(area)
    for _ in range(OPTIONS_MAX):
        if at == end:
            break
        if end - at < _OPTION.size:
            return None
        code, length = _OPTION.unpack_from(area, at)
        at += _OPTION.size
        if length > end - at:
            return None
        found.setdefault(code, []).append(area[at : at + length])
        at += length
    return found if at == end else None


def _read_association(code: int, value: bytes) -> Association | None:
    head = 4 if code == IA_TA else 12
    options = _read_options(value[head:])
    if len(value) < head or options is None:
        return None
    t1, t2 = (0, 0) if code == IA_TA else _TIMES.unpack_from(value, 4)
    addresses = tuple(
        IaAddress(*_ADDRESS.unpack_from(item)) for item in options.get(IAADDR, ()) if len(item) >= _ADDRESS.size
    )
    return Association(code, value[:4], t1, t2, addresses, _read_status(options.get(STATUS_CODE, [b""])[0]))


def _read_status(value: bytes | None) -> Status | None:
    if value is None or len(value) < 2:
        return None
    return Status(int.from_bytes(value[:2], "big"), value[2:].decode("utf-8", "replace"))


def _duid(value: bytes | None) -> bytes | None:
    return value if value is not None and len(value) in DUID_LENGTHS else None


def _numbers(value: bytes) -> tuple[int, ...]:
    end = min(len(value) - 1, 2 * ITEMS_MAX)
    return tuple(int.from_bytes(value[at : at + 2], "big") for at in range(0, end, 2))


def _pieces(value: bytes) -> tuple[bytes, ...]:
    """Split a value into pieces, each of which has its length before it."""
    pieces: list[bytes] = []
    at = 0
    while at + 2 <= len(value) and len(pieces) < ITEMS_MAX:
        start = at + 2
        at = start + int.from_bytes(value[at:start], "big")
        if at > len(value):
            return ()
        pieces.append(value[start:at])
    return tuple(pieces)


def mac_of_duid(duid: bytes) -> bytes | None:
    """The MAC address of which a DUID is made (RFC 8415 sections 11.2 and 11.4); None if it is made otherwise.

    It is that of one of the client's cards, not necessarily of the one that asks.
    """
    kind = int.from_bytes(duid[:2], "big")
    if kind == _DUID_LLT:
        return _mac(duid[2:4] + duid[8:])
    return _mac(duid[2:]) if kind == _DUID_LL else None


def _mac(value: bytes) -> bytes | None:
    """The MAC address after a hardware type."""
    mac = value[2:]
    if value[:2] != _ETHERNET.to_bytes(2, "big") or len(mac) != 6 or mac[0] & 1 or not any(mac):
        return None
    return mac


# ------------------------------------------------------------------------------------------------ writing


def duid_of_mac(mac: bytes) -> bytes:
    """A DUID that is made of a MAC address (DUID-LL, RFC 8415 section 11.4)."""
    return _DUID_LL.to_bytes(2, "big") + _ETHERNET.to_bytes(2, "big") + mac


def pack_option(code: int, value: bytes) -> bytes:
    """Encode an option.

    Raises:
        ValueError: the value has more than 65535 bytes.
    """
    if len(value) > 0xFFFF:
        raise ValueError(f"option {code}: {len(value)} bytes do not fit")
    return _OPTION.pack(code, len(value)) + value


def pack_status(code: int, text: str = "") -> bytes:
    """Encode a status, as a whole option."""
    return pack_option(STATUS_CODE, code.to_bytes(2, "big") + text.encode())


def ia_address(address: bytes, preferred: int, valid: int) -> bytes:
    """Encode an address with its lifetimes in seconds, as a whole option."""
    return pack_option(IAADDR, _ADDRESS.pack(address, preferred, valid))


def ia_na(iaid: bytes, t1: int = 0, t2: int = 0, *options: bytes) -> bytes:
    """Encode an identity association for addresses, as a whole option, with the options that it contains."""
    return pack_option(IA_NA, iaid + _TIMES.pack(t1, t2) + b"".join(options))


def ia_status(association: Association, code: int, text: str = "") -> bytes:
    """Encode an association of any kind that contains nothing but a status, as a whole option."""
    times = b"" if association.code == IA_TA else bytes(_TIMES.size)
    return pack_option(association.code, association.iaid + times + pack_status(code, text))


def pack_fqdn(labels: Sequence[str], *, override: bool = False) -> bytes:
    """Encode a client's name as the server enters it in the DNS, as a whole option (RFC 4704 section 6).

    Args:
        labels: of the whole name.
        override: The client did not ask for it.

    Raises:
        ValueError: DNS cannot carry the name.
    """
    flags = _FQDN_SERVER_UPDATES | (_FQDN_OVERRIDE if override else 0)
    name = b"".join(bytes((len(label),)) + label for label in labels_of(".".join(labels)))
    return pack_option(CLIENT_FQDN, bytes((flags,)) + name + b"\0")


def write_message(kind: int, transaction: bytes, options: Iterable[bytes]) -> bytes:
    """Put a message together.

    Args:
        transaction: three bytes.
        options: whole options, in the order in which they are sent.
    """
    return bytes((kind,)) + transaction + b"".join(options)


def pack_vendor_class(enterprise: int, data: bytes) -> bytes:
    """Build the value of a Vendor Class option with one class, as ``enterprise`` has defined it (RFC 8415 section
    21.16).
    """
    return enterprise.to_bytes(4, "big") + len(data).to_bytes(2, "big") + data


def pack_relayed(relays: Sequence[Relay], message: bytes) -> bytes:
    """Wrap a server's answer for the relay agents that forwarded the request (RFC 8415 section 19.3).

    Args:
        relays: as :func:`read_relayed` returned them; none: the message stays as it is.
    """
    for relay in reversed(relays):
        interface = b"" if relay.interface is None else pack_option(INTERFACE_ID, relay.interface)
        head = _RELAY.pack(RELAY_REPLY, relay.hops, relay.link, relay.peer)
        message = head + interface + pack_option(RELAY_MESSAGE, message)
    return message
