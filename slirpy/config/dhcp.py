"""Static leases, routes for guests, and hooks that decide about DHCP requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Literal, TypeAlias

from slirpy.addresses import AnyAddress, IPAddress, address_object, ipv4, mac_bytes
from slirpy.checks import is_whole, switch, whole
from slirpy.config.values import as_text, host_name
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = [
    "LEASE_TIME_FOREVER",
    "LEASE_TIME_MIN",
    "BootFile",
    "DhcpAnswer",
    "DhcpRequest",
    "GuestRoute",
    "LeasePolicy",
    "StaticLease",
    "check_static_leases",
    "check_text",
    "encoded_search",
    "parse_lease",
    "parse_route",
]

LEASE_TIME_MIN = 2
LEASE_TIME_FOREVER = 0xFFFFFFFF
"""The number of seconds that means "never ends" (RFC 2131 section 3.3)."""
NOT_YOURS = frozenset((0, 50, 51, 52, 53, 54, 55, 57, 61, 82, 97, 255))
"""Options that carry the protocol itself."""
NOT_YOURS6 = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 18, 19, 20, 25, 26, 39))
"""Options of DHCPv6 that carry the protocol itself."""

_MAC = r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}"
_HEX = r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+"


# ---------------------------------------------------------------------------------------- static leases


@dataclass(frozen=True, slots=True, init=False)
class StaticLease:
    """An address reserved for one client.

    The client is known by its identifier or by its MAC address, whichever is given; a rule for the identifier goes
    before one for the MAC address.

    Raises:
        ConfigError: neither is given, or something is malformed.
    """

    address: IPAddress
    """An IPv4 or an IPv6 address of the network; a guest that has both has one static lease for each."""
    mac: str | None
    """Such as ``"52:54:00:12:34:56"``; may be given as six bytes."""
    client_id: bytes | None
    """The value of option 61, 2 to 255 bytes, its type byte included; with an IPv6 address the client's DUID."""
    hostname: str | None
    """Name to send to the client and to register for it. Default: ``Config.hostname``, then the client's own name."""

    def __init__(
        self,
        address: AnyAddress,
        mac: str | bytes | None = None,
        client_id: bytes | None = None,
        hostname: str | None = None,
    ) -> None:
        address = address_object("static lease: address", address)
        where = f"static lease of {address}:"
        if (mac is None) == (client_id is None):
            raise ConfigError(f"{where} give either mac or client_id")
        if client_id is not None and not (isinstance(client_id, bytes) and 2 <= len(client_id) <= 255):
            raise ConfigError(f"{where} a client identifier has 2 to 255 bytes")
        put = object.__setattr__
        put(self, "address", address)
        put(self, "mac", None if mac is None else mac_bytes(where, mac).hex(":"))
        put(self, "client_id", client_id)
        put(self, "hostname", None if hostname is None else host_name(where, hostname))

    @property
    def client(self) -> bytes:
        """The client's identifier, or else the six bytes of its MAC address."""
        return self.client_id or mac_bytes("mac", self.mac)

    def __str__(self) -> str:
        who = f"id:{(self.client_id or b'').hex(':')}" if self.mac is None else self.mac
        return f"{who}={self.address}" + (f",{self.hostname}" if self.hostname else "")


_LEASE_HELP = (
    "write MAC=ADDR[,hostname] or id:IDENTIFIER=ADDR[,hostname], such as 52:54:00:12:34:56=10.0.2.50,web"
)


def parse_lease(rule: str) -> StaticLease:
    """Read ``MAC=ADDR[,hostname]``, or ``id:IDENTIFIER=ADDR[,hostname]`` for a client identifier (option 61).

    With an IPv6 address the identifier is a DUID. One of hexadecimal pairs with colons between them is bytes
    (``id:01:52:54:00:12:34:56``), anything else is the text itself (``id:web-1``). A client identifier that only
    repeats a MAC address (``01:`` and the address) is that address.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("lease", rule)
    who, equals, rest = rule.rpartition("=")
    text, _, hostname = rest.partition(",")
    if not equals or not who or not text:
        raise ConfigError(f'lease "{rule}": malformed; {_LEASE_HELP}')
    try:
        address = ip_address(text)
    except ValueError:
        raise ConfigError(f'lease "{rule}": "{text}" is not an IP address; {_LEASE_HELP}') from None
    mac = client_id = None
    if who.startswith("id:"):
        name = who[3:]
        client_id = bytes.fromhex(name.replace(":", "")) if re.fullmatch(_HEX, name) else name.encode()
        if address.version == 4 and len(client_id) == 7 and client_id[0] == 1:
            mac, client_id = client_id[1:], None
    elif re.fullmatch(_MAC, who):
        mac = bytes.fromhex(who.replace(":", "").replace("-", ""))
    else:
        raise ConfigError(f'lease "{rule}": "{who}" is not a MAC address; {_LEASE_HELP}')
    try:
        return StaticLease(address, mac, client_id, hostname or None)
    except ConfigError as error:
        raise ConfigError(f'lease "{rule}": {error}') from None


def check_static_leases(
    leases: Iterable[StaticLease], net: IPv4Network, net6: IPv6Network, servers: Container[bytes]
) -> None:
    """Reject static leases that contradict each other or the networks.

    Raises:
        ConfigError: an address that no guest may have, or an address or a client that occurs twice.
    """
    seen: set[object] = set()
    for lease in leases:
        address = lease.address
        taken: tuple[IPAddress, ...] = (net6.network_address,)
        if address.version == 4:
            taken = (net.network_address, net.broadcast_address)
        if address in taken or not (address in net or address in net6):
            where = net if address.version == 4 else net6
            raise ConfigError(f'lease "{lease}": {address} is not an address of a host in {where}')
        if address.packed in servers:
            raise ConfigError(f'lease "{lease}": {address} belongs to a virtual server; choose another')
        for what in (address, (address.version, lease.client)):
            if what in seen:
                raise ConfigError(f'lease "{lease}": there is another rule for the same client or address')
            seen.add(what)


# ----------------------------------------------------------------------------------------------- routes


@dataclass(frozen=True, slots=True, init=False)
class GuestRoute:
    """A route sent to guests in option 121 (RFC 3442).

    Raises:
        ConfigError: not an IPv4 network, or not an IPv4 address.
    """

    network: IPv4Network
    gateway: IPv4Address | None
    """Next hop. None: slirpy's own gateway; 0.0.0.0: the destination is on the same link."""

    def __init__(self, network: IPv4Network | str, gateway: IPv4Address | str | None = None) -> None:
        put = object.__setattr__
        try:
            if not isinstance(network, str | IPv4Network):
                raise ValueError(f"{network!r} is not a network")
            put(self, "network", IPv4Network(network))
            put(self, "gateway", None if gateway is None else ipv4("its gateway", gateway))
        except ValueError as error:
            raise ConfigError(f'route "{network}": {error}; {_ROUTE_HELP}') from None

    def __str__(self) -> str:
        return str(self.network) + (f"={self.gateway}" if self.gateway is not None else "")


_ROUTE_HELP = "write CIDR[=GATEWAY], such as 192.0.2.0/24=10.0.2.9"


def parse_route(rule: str) -> GuestRoute:
    """Read ``CIDR[=GATEWAY]``.

    Raises:
        ConfigError: the rule cannot be read.
    """
    as_text("route", rule)
    network, equals, gateway = rule.partition("=")
    try:
        return GuestRoute(IPv4Network(network), IPv4Address(gateway) if equals else None)
    except ValueError as error:
        raise ConfigError(f'route "{rule}": {error}; {_ROUTE_HELP}') from None


# --------------------------------------------------------------------------------------------- decisions


class DhcpRequest(NamedTuple):
    """A client's request for a lease, or for parameters only."""

    kind: Literal["discover", "request", "inform", "bootp"]
    """With DHCPv6 ``discover`` is a SOLICIT, ``request`` a RENEW or REBIND too, ``inform`` asks for information."""
    mac: str
    """Such as ``"52:54:00:12:34:56"``."""
    client_id: bytes | None
    """Option 61; None if the client sent none, or one that only repeats its MAC address. With DHCPv6 the DUID."""
    hostname: str | None
    """Option 12: ASCII letters, digits, ``-``, ``_`` and ``.`` With DHCPv6 the first label of the client's name."""
    vendor_class: bytes
    """Option 60, such as ``b"PXEClient:Arch:00007:UNDI:003001"``; empty if there is none. With DHCPv6 the same text
    from option 16."""
    user_class: bytes
    """Option 77 as received, such as ``b"iPXE"``; empty if there is none. With DHCPv6 the first of option 15."""
    architecture: int | None
    """Option 93, first value (RFC 4578): 0 is BIOS; 7 and 9 UEFI on x86-64; 16 the same by HTTP; 11 UEFI on ARM64.
    With DHCPv6 option 61, which has the same numbers."""
    requested: IPAddress | None
    """Address that the client requests or already has."""
    options: Mapping[int, bytes]
    """All options as received; with DHCPv6 the first of each kind. The two protocols number them differently."""
    version: int = 4
    """4 for DHCP, 6 for DHCPv6."""


@dataclass(frozen=True, slots=True, init=False)
class DhcpAnswer:
    """A policy's answer to a client. Fields that are left out keep the values that slirpy would send anyway.

    Raises:
        ConfigError: a value that DHCP cannot carry.
    """

    refuse: bool
    """Refuse the client: a DISCOVER or SOLICIT gets no answer, a REQUEST gets a NAK, with DHCPv6 a status."""
    address: IPAddress | None
    """The only address that the client may get. It gets none while another client holds this one. An address of the
    other IP family decides nothing."""
    hostname: str | None
    """Name of the client; empty: none."""
    lease_time: int | None
    """Seconds, 2 to 4294967295. The maximum means that the lease never ends."""
    bootfile: str | None
    """Path or URL; empty: none."""
    tftp_server_name: str | None
    """Name or address; empty: none."""
    options: Mapping[int, bytes | None]
    """Further options of DHCP by code, which replace slirpy's own. None omits an option."""
    options6: Mapping[int, bytes | None]
    """Further options of DHCPv6."""

    def __init__(
        self,
        *,
        refuse: bool = False,
        address: AnyAddress | None = None,
        hostname: str | None = None,
        lease_time: int | None = None,
        bootfile: str | None = None,
        tftp_server_name: str | None = None,
        options: Mapping[int, bytes | None] | None = None,
        options6: Mapping[int, bytes | None] | None = None,
    ) -> None:
        if lease_time is not None:
            whole(
                "lease_time", lease_time, LEASE_TIME_MIN, LEASE_TIME_FOREVER, " of seconds",
                top=" (which means for ever)",
            )  # fmt: skip
        if hostname is not None and as_text("hostname", hostname):
            host_name("hostname", hostname)
        check_text("bootfile", bootfile)
        check_text("tftp_server_name", tftp_server_name)
        put = object.__setattr__
        put(self, "refuse", switch("refuse", refuse))
        put(self, "address", None if address is None else address_object("address", address))
        put(self, "hostname", hostname)
        put(self, "lease_time", lease_time)
        put(self, "bootfile", bootfile)
        put(self, "tftp_server_name", tftp_server_name)
        put(self, "options", _checked_options(options, 254, NOT_YOURS))
        put(self, "options6", _checked_options(options6, 65535, NOT_YOURS6))


def _checked_options(
    options: Mapping[int, bytes | None] | None, most: int, reserved: Container[int]
) -> Mapping[int, bytes | None]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"options are given by code, such as {{42: b'...'}}; given was {options!r}")
    for code, value in options.items():
        if not is_whole(code) or not 0 < code <= most or code in reserved:
            raise ConfigError(
                f"option {code!r} cannot be set: it is not from 1 to {most}, or it carries the protocol itself"
            )
        if value is not None and not isinstance(value, bytes):
            raise ConfigError(f"option {code}: {value!r} is neither bytes nor None")
    return options


LeasePolicy: TypeAlias = Callable[[DhcpRequest], DhcpAnswer | None]
"""Called for each DISCOVER, REQUEST, INFORM and BOOTP request. None: answer as if there were no policy."""

BootFile: TypeAlias = Callable[[DhcpRequest], str | None]
"""Chooses a boot file, by the client's architecture for example."""


def encoded_search(encode: Callable[[Sequence[str]], bytes], domains: Sequence[str]) -> bytes:
    """Encode the search list.

    Raises:
        ConfigError: DHCP cannot carry it.
    """
    try:
        return encode(domains)
    except ValueError as error:
        raise ConfigError(
            f"dnssearch {error}: a domain name has ASCII labels of 1 to 63 bytes, and 255 in all"
        ) from None


def check_text(what: str, text: str | None) -> None:
    """Reject text that does not fit into one option.

    Raises:
        ConfigError: not printable ASCII, or longer than 255 bytes.
    """
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"{what} {text!r} is not text")
    if text and (not text.isascii() or not text.isprintable() or len(text) > 255):
        raise ConfigError(f'{what} "{text}": DHCP carries at most 255 ASCII characters')
