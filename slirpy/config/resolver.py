"""DNS servers reachable from the host, as users write them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from slirpy.addresses import address_bytes
from slirpy.config.text import PORT_MAX, decimal, split_port, with_port
from slirpy.config.values import as_text, whole
from slirpy.errors import ConfigError

__all__ = ["Resolver", "parse_resolver"]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A DNS server reachable from the host.

    Raises:
        ConfigError: an address or a port that cannot be.
    """

    address: bytes
    """Four or sixteen bytes. Text and address objects are accepted and converted."""
    port: int = 53
    scope: str = ""
    """Name or number of the interface of a link-local IPv6 address; else empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_bytes("resolver", self.address))
        whole("resolver: port", self.port, 1, PORT_MAX)

    def __str__(self) -> str:
        host = ipaddress.ip_address(self.address)
        scope = f"%{self.scope}" if self.scope else ""
        return with_port(f"{host}{scope}", self.port)


def parse_resolver(text: str) -> Resolver:
    """Read ``ADDR``, ``ADDR:PORT``, or ``[ADDR6]:PORT``; a link-local IPv6 address with its interface, ``ADDR6%IF``.

    Raises:
        ConfigError: not in any of these forms.
    """
    as_text("resolver", text)
    host, port = split_port(text) or (text, None)
    host, _, scope = host.partition("%")
    number = 53 if port is None else decimal(port, 1, PORT_MAX)
    try:
        address = ipaddress.ip_address(host)
        if number is None:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f'resolver "{text}" is not ADDR[:PORT]; write for example 127.0.0.53 or 127.0.0.1:5353'
        ) from None
    if address.version == 4 or not address.is_link_local:
        scope = ""  # the exception's own text adds nothing
    elif not scope:
        raise ConfigError(
            f'resolver "{text}" is a link-local address; write the interface too, for example {host}%eth0'
        )
    return Resolver(address.packed, number, scope)
