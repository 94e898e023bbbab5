"""Addresses as tests write and read them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

__all__ = ["Address", "IpAddress", "SocketAddress"]

IpAddress: TypeAlias = IPv4Address | IPv6Address
"""An address of either family, as an object."""

Address: TypeAlias = str | bytes | IPv4Address | IPv6Address
"""An IP address as a test may write it: text, an object, or four or sixteen bytes."""

SocketAddress: TypeAlias = tuple[IPv4Address | IPv6Address, int]
"""An address and a port, as a test reads them."""
