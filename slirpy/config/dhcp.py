"""Static leases, routes for guests, and hooks that decide about DHCP requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, NamedTuple, TypeAlias

from slirpy.addresses import ipv4, mac_bytes
from slirpy.config.values import as_text, host_name, is_whole, switch, whole
from slirpy.errors import ConfigError

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
    "complete_route",
    "parse_lease",
    "parse_route",
]

LEASE_TIME_MIN = 2
LEASE_TIME_FOREVER = 0xFFFFFFFF
"""The number of seconds that means "never ends" (RFC 2131 section 3.3)."""
NOT_YOURS = frozenset((0, 50, 51, 52, 53, 54, 55, 57, 61, 82, 97, 255))
"""Options that carry the protocol itself."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}")
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+")


# ---------------------------------------------------------------------------------------- static leases


@dataclass(frozen=True, slots=True)
class StaticLease:
    """An address reserved for one client.

    The client is known by its identifier or by its MAC address, whichever is given; a rule for the identifier goes
    before one for the MAC address.

    Raises:
        ConfigError: neither is given, or something is malformed.
    """

    address: IPv4Address
    mac: bytes | None = None
    """Six bytes."""
    client_id: bytes | None = None
    """The value of option 61, 2 to 255 bytes, its type byte included."""
    hostname: str | None = None
    """Name to send to the client and to register for it. Default: ``Config.hostname``, then the client's own name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", ipv4("static lease:", self.address))
        where = f"static lease of {self.address}:"
        if (self.mac is None) == (self.client_id is None):
            raise ConfigError(f"{where} give either mac or client_id")
        if self.mac is not None:
            object.__setattr__(self, "mac", mac_bytes(where, self.mac))
        if self.client_id is not None and not (
            isinstance(self.client_id, bytes) and 2 <= len(self.client_id) <= 255
        ):
            raise ConfigError(f"{where} a client identifier has 2 to 255 bytes")
        if self.hostname is not None:
            host_name(where, self.hostname)

    def __str__(self) -> str:
        who = f"id:{(self.client_id or b'').hex(':')}" if self.mac is None else self.mac.hex(":")
        return f"{who}={self.address}" + (f",{self.hostname}" if self.hostname else "")


_LEASE_HELP = (
    "write MAC=ADDR[,hostname] or id:IDENTIFIER=ADDR[,hostname], such as 52:54:00:12:34:56=10.0.2.50,web"
)


def parse_lease(rule: str) -> StaticLease:
    """Read ``MAC=ADDR[,hostname]``, or ``id:IDENTIFIER=ADDR[,hostname]`` for a client identifier (option 61).

    An identifier of hexadecimal pairs with colons between them is bytes (``id:01:52:54:00:12:34:56``), anything else
    is the text itself (``id:web-1``). One that only repeats a MAC address (``01:`` and the address) is that address.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("lease", rule)
    who, equals, rest = rule.rpartition("=")
    address, _, hostname = rest.partition(",")
    if not equals or not who or not address:
        raise ConfigError(f'lease "{rule}": malformed; {_LEASE_HELP}')
    mac = client_id = None
    if who.startswith("id:"):
        text = who[3:]
        client_id = bytes.fromhex(text.replace(":", "")) if _HEX.fullmatch(text) else text.encode()
        if len(client_id) == 7 and client_id[0] == 1:
            mac, client_id = client_id[1:], None
    elif _MAC.fullmatch(who):
        mac = bytes.fromhex(who.replace(":", "").replace("-", ""))
    else:
        raise ConfigError(f'lease "{rule}": "{who}" is not a MAC address; {_LEASE_HELP}')
    try:
        return StaticLease(IPv4Address(address), mac, client_id, hostname or None)
    except ConfigError as error:
        raise ConfigError(f'lease "{rule}": {error}') from None
    except ValueError:
        raise ConfigError(f'lease "{rule}": "{address}" is not an IPv4 address; {_LEASE_HELP}') from None


def check_static_leases(leases: Iterable[StaticLease], net: IPv4Network, servers: Container[bytes]) -> None:
    """Reject static leases that contradict each other or the network.

    Raises:
        ConfigError: an address that no guest may have, or an address or a client that occurs twice.
    """
    seen: set[object] = set()
    for lease in leases:
        address = lease.address
        if address not in net or address in (net.network_address, net.broadcast_address):
            raise ConfigError(f'lease "{lease}": {address} is not an address of a host in {net}')
        if address.packed in servers:
            raise ConfigError(f'lease "{lease}": {address} belongs to a virtual server; choose another')
        for what in (address, lease.mac or lease.client_id):
            if what in seen:
                raise ConfigError(f'lease "{lease}": there is another rule for the same client or address')
            seen.add(what)


# ----------------------------------------------------------------------------------------------- routes


class GuestRoute(NamedTuple):
    """A route sent to guests in option 121 (RFC 3442)."""

    network: IPv4Network
    gateway: IPv4Address | None = None
    """Next hop. None: slirpy's own gateway; 0.0.0.0: the destination is on the same link."""

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


def complete_route(route: GuestRoute) -> GuestRoute:
    """Convert the parts of a route, which may be text, to addresses.

    Raises:
        ConfigError: a part cannot be read.
    """
    network, gateway = route
    try:
        if not isinstance(network, str | IPv4Network):
            raise ValueError(f"{network!r} is not a network")
        return GuestRoute(IPv4Network(network), None if gateway is None else ipv4("its gateway", gateway))
    except ValueError as error:
        raise ConfigError(f'route "{network}": {error}; {_ROUTE_HELP}') from None


# --------------------------------------------------------------------------------------------- decisions


class DhcpRequest(NamedTuple):
    """A client's request for a lease, or for parameters only."""

    kind: Literal["discover", "request", "inform", "bootp"]
    mac: bytes
    """Six bytes."""
    client_id: bytes | None
    """Option 61; None if the client sent none, or one that only repeats its MAC address."""
    hostname: str | None
    """Option 12: ASCII letters, digits, ``-``, ``_`` and ``.``"""
    vendor_class: bytes
    """Option 60, such as ``b"PXEClient:Arch:00007:UNDI:003001"``; empty if there is none."""
    user_class: bytes
    """Option 77 as received, such as ``b"iPXE"``; empty if there is none."""
    architecture: int | None
    """Option 93, first value (RFC 4578): 0 is BIOS; 7 and 9 UEFI on x86-64; 16 the same by HTTP; 11 UEFI on ARM64."""
    requested: IPv4Address | None
    """Address that the client requests or already has."""
    options: Mapping[int, bytes]
    """All options as received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpAnswer:
    """A policy's answer to a client. Fields that are left out keep the values that slirpy would send anyway.

    Raises:
        ConfigError: a value that DHCP cannot carry.
    """

    refuse: bool = False
    """Refuse the client: a DISCOVER gets no answer, a REQUEST gets a NAK."""
    address: IPv4Address | None = None
    """The only address that the client may get. It gets none while another client holds this one."""
    hostname: str | None = None
    lease_time: int | None = None
    """Seconds, 2 to 4294967295. The maximum means that the lease never ends."""
    bootfile: str | None = None
    """Path or URL; empty: none."""
    tftp_server_name: str | None = None
    """Name or address; empty: none."""
    options: Mapping[int, bytes | None] = field(default_factory=dict)
    """Further options by code, which replace slirpy's own. None omits an option."""

    def __post_init__(self) -> None:
        switch("refuse", self.refuse)
        if self.address is not None:
            object.__setattr__(self, "address", ipv4("address", self.address))
        if self.lease_time is not None:
            whole(
                "lease_time", self.lease_time, LEASE_TIME_MIN, LEASE_TIME_FOREVER, " of seconds",
                top=" (which means for ever)",
            )  # fmt: skip
        if self.hostname:
            host_name("hostname", self.hostname)
        check_text("bootfile", self.bootfile)
        check_text("tftp_server_name", self.tftp_server_name)
        for code, value in self.options.items():
            if not is_whole(code) or not 0 < code < 255 or code in NOT_YOURS:
                raise ConfigError(
                    f"option {code!r} cannot be set: it is not from 1 to 254, or it carries the protocol itself"
                )
            if value is not None and not isinstance(value, bytes):
                raise ConfigError(f"option {code}: {value!r} is neither bytes nor None")


LeasePolicy: TypeAlias = Callable[[DhcpRequest], DhcpAnswer | None]
"""Called for each DISCOVER, REQUEST, INFORM and BOOTP request. None: answer as if there were no policy."""

BootFile: TypeAlias = Callable[[DhcpRequest], str | None]
"""Chooses a boot file, by the client's architecture for example."""


def check_text(what: str, text: str | None) -> None:
    """Reject text that does not fit into one option.

    Raises:
        ConfigError: not printable ASCII, or longer than 255 bytes.
    """
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"{what} {text!r} is not text")
    if text and (not text.isascii() or not text.isprintable() or len(text) > 255):
        raise ConfigError(f'{what} "{text}": DHCP carries at most 255 ASCII characters')
