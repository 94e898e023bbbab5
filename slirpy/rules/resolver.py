"""DNS servers of the host's side, as people write them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from slirpy.errors import ConfigError
from slirpy.rules.values import address_bytes, whole

__all__ = ["Resolver", "parse_resolver"]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A DNS server of the host's side.

    Raises:
        ConfigError: an address or a port that cannot be.
    """

    address: bytes
    """Four or sixteen bytes. Text and address objects are taken too, and become bytes."""
    port: int = 53

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_bytes("resolver", self.address))
        whole("resolver: port", self.port, 1, 65535)

    def __str__(self) -> str:
        host = ipaddress.ip_address(self.address)
        return f"[{host}]:{self.port}" if host.version == 6 else f"{host}:{self.port}"


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
