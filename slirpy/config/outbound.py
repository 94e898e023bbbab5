"""Source address and interface of outbound sockets."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from slirpy.addresses import AnyAddress, IPAddress, address_object
from slirpy.checks import is_whole, switch
from slirpy.config.values import as_text
from slirpy.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["Outbound", "parse_outbound"]

_NAME_MAX = 15  # IFNAMSIZ on every system that has it, less the NUL
_HELP = "write an address of this host, the name of an interface, or both: 192.0.2.1,eth0"


@dataclass(frozen=True, slots=True, init=False)
class Outbound:
    """The source of outbound traffic. Traffic to the host's loopback is not affected, unless ``loopback`` is set.

    Addresses may be given as text, :mod:`ipaddress` objects, or bytes.

    Raises:
        ConfigError: an address of the other IP version, or a value that is no address or no interface's name.
    """

    address: IPv4Address | None
    """IPv4 source address; None: the system chooses."""
    address6: IPv6Address | None
    """IPv6 source address; None: the system chooses."""
    interface: str | None
    """Interface for packets in both directions; None: as the system routes them."""
    loopback: bool
    """True if traffic to the host's loopback has the source address too, as with libslirp."""

    def __init__(
        self,
        address: AnyAddress | None = None,
        address6: AnyAddress | None = None,
        interface: str | None = None,
        *,
        loopback: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "loopback", switch("outbound: loopback", loopback))
        put(self, "address", None if address is None else _of_version("address", address, 4))
        put(self, "address6", None if address6 is None else _of_version("address6", address6, 6))
        if interface is not None and not (isinstance(interface, str) and interface):
            raise ConfigError(
                f"outbound: interface {interface!r} is not the name of an interface, such as eth0"
            )
        put(self, "interface", interface)

    def source(self, size: int) -> bytes | None:
        """Return the source address for destinations of ``size`` bytes, 4 or 16.

        Raises:
            ConfigError: no family has addresses of this size.
        """
        if not is_whole(size) or size not in (4, 16):
            raise ConfigError(f"size {size!r} is not the size of an address; give 4 or 16")
        address = self.address if size == 4 else self.address6
        return None if address is None else address.packed

    def __str__(self) -> str:
        return ",".join(str(part) for part in (self.address, self.address6, self.interface) if part is not None)


def _of_version(name: str, given: AnyAddress, version: int) -> IPAddress:
    address = address_object(f"outbound: {name}", given)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None:
        raise ConfigError(f"outbound: {name} {given!r} is IPv4 written as IPv6; give address={str(mapped)!r}")
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ConfigError(f"outbound: nothing beyond the link goes out from {name} {given!r}")
    if address.version != version:
        raise ConfigError(
            f"outbound: {name} {given!r} is an IPv{address.version} address; give one of IPv{version}"
        )
    return address


def parse_outbound(text: str) -> Outbound:
    """Read ``ADDRESS``, ``INTERFACE``, or several with commas: one IPv4 address, one IPv6 address, one interface.

    Raises:
        ConfigError: none of these. Whether this host has them is checked when the network starts.
    """
    as_text("outbound", text)
    parts: dict[str, IPAddress | str] = {}
    for part in text.split(","):
        kind, value = _part(text, part.strip())
        if kind in parts:
            raise ConfigError(f'outbound "{text}": "{part}" is one {kind} too many; {_HELP}')
        parts[kind] = value
    four, six, name = parts.get("IPv4 address"), parts.get("IPv6 address"), parts.get("interface")
    return Outbound(four, six, str(name) if name is not None else None)


def _part(text: str, part: str) -> tuple[str, IPAddress | str]:
    try:
        address = ip_address(part)
    except ValueError:
        if not re.fullmatch(rf"[^\s/:,]{{1,{_NAME_MAX}}}", part) or re.fullmatch(r"[0-9.]+", part):
            raise ConfigError(f'outbound "{text}": "{part}" is no address and no interface; {_HELP}') from None
        return "interface", part
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ConfigError(
            f'outbound "{text}": write {address.ipv4_mapped}, since {address} is IPv4 written as IPv6'
        )
    if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
        raise ConfigError(f'outbound "{text}": nothing goes out from {address}; {_HELP}')
    return f"IPv{address.version} address", address
