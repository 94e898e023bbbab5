"""Source address and interface of outbound sockets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from slirpy.addresses import address_bytes
from slirpy.config.values import as_text
from slirpy.errors import ConfigError

__all__ = ["Outbound", "parse_outbound"]

_NAME_MAX = 15  # IFNAMSIZ on every system that has it, less the NUL
_HELP = "write an address of this host, the name of an interface, or both: 192.0.2.1,eth0"


@dataclass(frozen=True, slots=True)
class Outbound:
    """The source of outbound traffic. Traffic to the host's loopback is not affected."""

    address: bytes | None = None
    """IPv4 source address, four bytes; None: the system chooses."""
    address6: bytes | None = None
    """IPv6 source address, sixteen bytes; None: the system chooses."""
    interface: str | None = None
    """Interface for packets in both directions; None: as the system routes them."""

    def __post_init__(self) -> None:
        for name, size in (("address", 4), ("address6", 16)):
            if (given := getattr(self, name)) is not None:
                address = address_bytes(f"outbound: {name}", given)
                if len(address) != size:
                    raise ConfigError(f"outbound: {name} {given!r} has {len(address)} bytes, and not {size}")
                object.__setattr__(self, name, address)
        if self.interface is not None and not (isinstance(self.interface, str) and self.interface):
            raise ConfigError(
                f"outbound: interface {self.interface!r} is not the name of an interface, such as eth0"
            )

    def source(self, size: int) -> bytes | None:
        """The source address for destinations of ``size`` bytes."""
        return self.address if size == 4 else self.address6

    def __str__(self) -> str:
        addresses = [str(ip_address(a)) for a in (self.address, self.address6) if a is not None]
        return ",".join(addresses + ([self.interface] if self.interface else []))


def parse_outbound(text: str) -> Outbound:
    """Read ``ADDRESS``, ``INTERFACE``, or several with commas: one IPv4 address, one IPv6 address, one interface.

    Raises:
        ConfigError: none of these. Whether this host has them is checked when the network starts.
    """
    as_text("outbound", text)
    parts: dict[str, bytes | str] = {}
    for part in text.split(","):
        kind, value = _part(text, part.strip())
        if kind in parts:
            raise ConfigError(f'outbound "{text}": "{part}" is one {kind} too many; {_HELP}')
        parts[kind] = value
    four, six, name = parts.get("IPv4 address"), parts.get("IPv6 address"), parts.get("interface")
    return Outbound(
        four if isinstance(four, bytes) else None,
        six if isinstance(six, bytes) else None,
        name if isinstance(name, str) else None,
    )


def _part(text: str, part: str) -> tuple[str, bytes | str]:
    try:
        address = ip_address(part)
    except ValueError:
        if not re.fullmatch(rf"[^\s/:,]{{1,{_NAME_MAX}}}", part) or re.fullmatch(r"[0-9.]+", part):
            raise ConfigError(f'outbound "{text}": "{part}" is no address and no interface; {_HELP}') from None
        return "interface", part
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ConfigError(f'outbound "{text}": nothing goes out from {address}; {_HELP}')
    return f"IPv{address.version} address", address.packed
