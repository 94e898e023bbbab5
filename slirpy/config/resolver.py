"""DNS servers reachable from the host, as users write them."""

from __future__ import annotations

import ipaddress

from slirpy.addresses import AnyAddress, IPAddress, address_object, port_number
from slirpy.config.text import PORT_MAX, decimal, split_port, with_port
from slirpy.config.values import as_text
from slirpy.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["Resolver", "parse_resolver"]


@dataclass(frozen=True, slots=True, init=False)
class Resolver:
    """A DNS server reachable from the host.

    Raises:
        ConfigError: an invalid address or port.
    """

    address: IPAddress
    """Given as text, an :mod:`ipaddress` object, or four or sixteen bytes."""
    port: int
    scope: str
    """Name or number of the interface of a link-local IPv6 address; else empty."""

    def __init__(self, address: AnyAddress, port: int = 53, scope: str = "") -> None:
        put = object.__setattr__
        put(self, "address", address_object("resolver", address))
        put(self, "port", port_number("resolver: port", port, 1))
        as_text("resolver: scope", scope)
        if not scope and not isinstance(address, bytes | bytearray | memoryview):
            scope = str(address).partition("%")[2]
        put(self, "scope", scope)

    def __str__(self) -> str:
        scope = f"%{self.scope}" if self.scope else ""
        return with_port(f"{self.address}{scope}", self.port)


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
    return Resolver(address, number, scope)
