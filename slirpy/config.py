"""Configuration: given once, checked once, frozen.

Names are those of QEMU's ``-netdev user``; :meth:`Config.from_qemu` reads its option strings. Inside slirpy
addresses are ``bytes``; the properties that end in ``_address`` give them so.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from slirpy.errors import ConfigError, ForwardError
from slirpy.interfaces import Policy

__all__ = ["Config", "HostForward", "Resolver", "parse_hostfwd", "parse_resolver"]

MTU_MIN = 68  # RFC 791: every link carries 68 bytes
MTU_MAX = 65521  # 65535 less the Ethernet header, as QEMU has it


@dataclass(frozen=True, slots=True)
class HostForward:
    """A port of the host that leads to a guest."""

    protocol: str
    """``"tcp"`` or ``"udp"``."""
    host_address: IPv4Address
    host_port: int
    """0 to 65535; 0 takes a free port."""
    guest_address: IPv4Address | None
    """None: the address of the first lease, else ``dhcpstart``."""
    guest_port: int

    def __str__(self) -> str:
        guest = self.guest_address or ""
        return f"{self.protocol}:{self.host_address}:{self.host_port}-{guest}:{self.guest_port}"


@dataclass(frozen=True, slots=True)
class Resolver:
    """A DNS server of the host's side."""

    address: bytes
    """Four or sixteen bytes."""
    port: int = 53

    def __str__(self) -> str:
        host = ipaddress.ip_address(self.address)
        return f"[{host}]:{self.port}" if host.version == 6 else f"{host}:{self.port}"


_HOSTFWD = re.compile(
    r"(?P<protocol>[^:]*):(?P<host>[^:]*):(?P<hport>[^:\-]*)-(?P<guest>[^:]*):(?P<gport>[^:]*)\Z"
)
_HOSTFWD_HELP = "write [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, such as tcp:127.0.0.1:8080-:80"


def parse_hostfwd(rule: str) -> HostForward:
    """Read a rule ``[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport``.

    An empty protocol is tcp. An empty host address is 127.0.0.1 (QEMU listens on every interface there;
    ask for ``0.0.0.0`` to have that). Host port 0 takes a free one.

    Raises:
        ForwardError: the rule cannot be read; the text names the part.
    """
    match = _HOSTFWD.match(rule)
    if match is None:
        raise ForwardError(f'hostfwd "{rule}": malformed; {_HOSTFWD_HELP}')
    protocol = match["protocol"] or "tcp"
    if protocol not in ("tcp", "udp"):
        raise ForwardError(f'hostfwd "{rule}": protocol "{protocol}" is neither tcp nor udp; {_HOSTFWD_HELP}')
    return HostForward(
        protocol,
        _rule_address(rule, "host address", match["host"]) or IPv4Address("127.0.0.1"),
        _rule_port(rule, "host port", match["hport"], lowest=0),
        _rule_address(rule, "guest address", match["guest"]),
        _rule_port(rule, "guest port", match["gport"], lowest=1),
    )


def _rule_address(rule: str, what: str, text: str) -> IPv4Address | None:
    if not text:
        return None
    try:
        return IPv4Address(text)
    except ValueError:
        raise ForwardError(f'hostfwd "{rule}": {what} "{text}" is not an IPv4 address') from None


def _rule_port(rule: str, what: str, text: str, lowest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= 65535):
        raise ForwardError(f'hostfwd "{rule}": {what} "{text}" is not a number from {lowest} to 65535')
    return int(text)


def parse_resolver(text: str) -> Resolver:
    """Read ``ADDR``, ``ADDR:PORT``, or ``[ADDR6]:PORT``.

    Raises:
        ConfigError: it is none of them.
    """
    host, port = text, "53"
    if bracketed := re.fullmatch(r"\[([^]]*)\](?::(.*))?", text):
        host, port = bracketed[1], bracketed[2] or "53"
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
        number = int(port)
        if not 1 <= number <= 65535:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f'resolver "{text}" is not ADDR[:PORT]; write for example 127.0.0.53 or 127.0.0.1:5353'
        ) from None
    return Resolver(address.packed, number)


def _ipv4(what: str, text: str | IPv4Address) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ConfigError(f'{what} "{text}" is not an IPv4 address, such as 10.0.2.2') from None


@dataclass(frozen=True)
class Config:
    """The virtual network: its addresses, what it tells guests, and what it lets through.

    All arguments have defaults that work. Text is accepted where an address or a rule is wanted.

    Raises:
        ConfigError: a value that cannot be used; the text says what is allowed.
        ForwardError: a rule in ``hostfwd`` that cannot be read.
    """

    net: IPv4Network = field(default_factory=lambda: IPv4Network("10.0.2.0/24"))
    """The virtual network, ``/4`` to ``/30``. Host bits are ignored, as QEMU ignores them."""
    host: IPv4Address | None = None
    """The gateway, alias of the host's loopback. Default: the second address (10.0.2.2)."""
    dns: IPv4Address | None = None
    """The virtual DNS server. Default: the third address (10.0.2.3); in a /30 the gateway's own."""
    dhcpstart: IPv4Address | None = None
    """The first address that DHCP gives out. Default: the 15th (10.0.2.15), or the first that is free."""
    mtu: int = 1500
    """Largest IP packet in bytes on the guest's network, 68 to 65521; told to guests by DHCP."""
    hostname: str | None = None
    """Name that DHCP gives to guests."""
    domainname: str | None = None
    """Domain that DHCP gives to guests."""
    dnssearch: Sequence[str] = ()
    """DNS search list that DHCP gives to guests."""
    hostfwd: Sequence[HostForward] = ()
    """Ports of the host that lead to guests; rules as :func:`parse_hostfwd` reads them, or parsed."""
    resolvers: Sequence[Resolver] | None = None
    """DNS servers to forward to, ``ADDR[:PORT]`` each. Default: those of the host's resolv.conf."""
    host_loopback: bool = True
    """Whether the gateway's address leads to the host's 127.0.0.1."""
    policy: Policy | None = None
    """Asked once for each new flow; None allows all."""

    def __post_init__(self) -> None:
        put = self._put
        put("net", self._network(self.net))
        put("host", self._inside("host", self.host, 2))
        if self.dns is None and self.net.prefixlen == 30:
            put("dns", self.host)  # the other of the two addresses is the guest's
        put("dns", self._inside("dns", self.dns, 3))
        put("dhcpstart", self._inside("dhcpstart", self.dhcpstart, 15))
        if self.dhcpstart in (self.host, self.dns):
            raise ConfigError(
                f"dhcpstart {self.dhcpstart} is the {'host' if self.dhcpstart == self.host else 'dns'}"
                " address; choose another"
            )
        if not isinstance(self.mtu, int) or not MTU_MIN <= self.mtu <= MTU_MAX:
            raise ConfigError(f"mtu {self.mtu!r} is not a number from {MTU_MIN} to {MTU_MAX}")
        put("dnssearch", tuple(_sequence("dnssearch", self.dnssearch)))
        rules: Iterable[HostForward | str] = _sequence("hostfwd", self.hostfwd)
        put("hostfwd", tuple(parse_hostfwd(r) if isinstance(r, str) else r for r in rules))
        if self.resolvers is not None:
            texts: Iterable[Resolver | str] = _sequence("resolvers", self.resolvers)
            put("resolvers", tuple(parse_resolver(t) if isinstance(t, str) else t for t in texts))

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @staticmethod
    def _network(value: IPv4Network | str) -> IPv4Network:
        try:
            net = IPv4Network(value, strict=False)
        except ValueError:
            raise ConfigError(f'net "{value}" is not an IPv4 network; write for example 10.0.2.0/24') from None
        if not 4 <= net.prefixlen <= 30:
            raise ConfigError(
                f"net {net}: the prefix must be from /4 to /30, so that it holds guests and servers"
            )
        if net.is_loopback or net.is_multicast:
            raise ConfigError(f"net {net} is a loopback or multicast network; choose one such as 10.0.2.0/24")
        return net

    def _inside(self, what: str, value: IPv4Address | str | None, offset: int) -> IPv4Address:
        """``value`` as an address of the network that a host may have, or the default at ``offset``."""
        net = self.net
        if value is None:
            return self._default(offset)
        address = _ipv4(what, value)
        if address not in net or address in (net.network_address, net.broadcast_address):
            raise ConfigError(
                f"{what} {address} is not an address of {net}; choose one from {net[1]} to {net[-2]}"
            )
        return address

    def _default(self, offset: int) -> IPv4Address:
        """The address at ``offset``; in a network too small for that, the first that is still free."""
        net = self.net
        taken = (self.host, self.dns)
        if offset < net.num_addresses - 1 and net[offset] not in taken:
            return net[offset]
        for address in net.hosts():
            if address not in taken:
                return address
        raise ConfigError(f"net {net} has no room for gateway, DNS server and a guest; use a larger one")

    # ------------------------------------------------------------------------ addresses as bytes

    @cached_property
    def network_address(self) -> bytes:
        """First address of the network, four bytes."""
        return self.net.network_address.packed

    @cached_property
    def netmask(self) -> bytes:
        """The network mask, four bytes."""
        return self.net.netmask.packed

    @cached_property
    def broadcast_address(self) -> bytes:
        """The network's directed broadcast address, four bytes."""
        return self.net.broadcast_address.packed

    @cached_property
    def gateway_address(self) -> bytes:
        """The gateway, four bytes."""
        assert self.host is not None
        return self.host.packed

    @cached_property
    def dns_address(self) -> bytes:
        """The DNS server, four bytes."""
        assert self.dns is not None
        return self.dns.packed

    @cached_property
    def dhcpstart_address(self) -> bytes:
        """The first address of the DHCP pool, four bytes."""
        assert self.dhcpstart is not None
        return self.dhcpstart.packed

    def contains(self, address: bytes) -> bool:
        """Whether four bytes are an address of the virtual network."""
        mask = int.from_bytes(self.netmask, "big")
        return int.from_bytes(address, "big") & mask == int.from_bytes(self.network_address, "big")

    # ------------------------------------------------------------------------ QEMU's option strings

    @classmethod
    def from_qemu(cls, options: str, **more: Any) -> Config:
        """Read the options of QEMU's ``-netdev user,...``, with or without the leading ``user``.

        Args:
            options: for example ``"user,net=10.0.2.0/24,dhcpstart=10.0.2.50,hostfwd=tcp::2222-:22"``. A comma
                inside a value is written twice, as in QEMU.
            more: further arguments of :class:`Config`, which QEMU has no words for.

        Raises:
            ConfigError: an unknown key (the nearest is named), one that is not built yet, or a bad value.
            ForwardError: a malformed ``hostfwd``.
        """
        given: dict[str, Any] = dict(more)
        repeated: dict[str, list[str]] = {"hostfwd": [], "dnssearch": []}
        for number, item in enumerate(_split_qemu(options)):
            key, equals, value = item.partition("=")
            if not equals and number == 0 and key == "user":
                continue
            if key in ("id", "ipv6") and (key == "id" or value == "off"):
                continue  # a name for QEMU's own use; and what we do anyway
            if key == "ipv4" and value == "on":
                continue
            if key in repeated:
                repeated[key].append(value)
            elif key in _QEMU_KEYS:
                given[key] = value
            elif key in _QEMU_NOT_YET:
                raise ConfigError(f'"{item}": the option {key} is known but not built yet; leave it out')
            else:
                near = difflib.get_close_matches(key, [*_QEMU_KEYS, *repeated, *_QEMU_NOT_YET], 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_QEMU_KEYS)}"
                raise ConfigError(f'"{item}": unknown option "{key}"{hint}')
        given.update({key: values for key, values in repeated.items() if values})
        return cls(**given)


_QEMU_KEYS = ("net", "host", "dns", "dhcpstart", "hostname", "domainname")
_QEMU_NOT_YET = (
    "restrict", "tftp", "tftp-server-name", "bootfile", "smb", "smbserver", "guestfwd", "ipv4", "ipv6",
    "ipv6-net", "ipv6-host", "ipv6-prefix", "ipv6-prefixlen", "ipv6-dns",
)  # fmt: skip


def _split_qemu(options: str) -> list[str]:
    """Split at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in options.replace(",,", "\0").split(",") if part]


def _sequence(what: str, value: Any) -> Any:
    """A lone string where several are wanted is a common slip, and would fall apart into its letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{what} must be a list, such as {what}=[...]; given was {value!r}")
    return value
