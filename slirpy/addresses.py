"""Addresses as callers give them, and as they get them back.

Callers give IP addresses as text, :mod:`ipaddress` objects or bytes in network order, and get :mod:`ipaddress`
objects. They give MAC addresses as text or bytes, and get text. Inside, both are bytes. The functions here convert,
or raise :class:`~slirpy.errors.ConfigError` with the name of the argument, the value given, and what to write
instead.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeAlias

from slirpy.checks import whole
from slirpy.errors import ConfigError

__all__ = [
    "MAC_EXAMPLE",
    "AnyAddress",
    "IPAddress",
    "address_bytes",
    "address_object",
    "host_name",
    "ipv4",
    "ipv6",
    "mac_bytes",
    "port_number",
    "reachable_place",
    "redirect_target",
    "scoped_address",
]

IPAddress: TypeAlias = IPv4Address | IPv6Address
"""An address that callers get."""
AnyAddress: TypeAlias = IPv4Address | IPv6Address | str | bytes
"""An address that callers may give."""
MAC_EXAMPLE = "52:54:00:12:34:56"
_NAME = r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"


def address_object(what: str, value: Any) -> IPAddress:
    """An IP address as an object: from text, such an object, or four or sixteen bytes. The scope of ``fe80::1%eth0``
    is left out.

    Raises:
        ConfigError: not an address in any of these forms.
    """
    if type(value) is IPv4Address:
        return value
    return ip_address(address_bytes(what, value))


def address_bytes(what: str, value: Any) -> bytes:
    """An IP address as four or sixteen bytes: from text, an address object, or such bytes.

    Raises:
        ConfigError: not an address in any of these forms.
    """
    if isinstance(value, bytes | bytearray | memoryview) and len(value) in (4, 16):
        return bytes(value)
    if isinstance(value, str) or hasattr(value, "packed"):
        try:
            return ip_address(str(value)).packed
        except ValueError:
            pass
    raise ConfigError(
        f"{what} {value!r} is not an IP address; give text such as 192.0.2.7, an ipaddress object, or 4 or 16 bytes"
    )


def scoped_address(what: str, value: Any) -> IPAddress:
    """An address for a socket of the host, as an object. A link-local one keeps its interface, its ``scope_id``.

    Raises:
        ConfigError: not an IP address, a link-local one without an interface, or IPv4 written as IPv6.
    """
    address = address_object(what, value)
    if not isinstance(address, IPv6Address):
        return address
    if not isinstance(value, bytes | bytearray | memoryview):
        address = IPv6Address(str(value))  # with its scope
    mapped = address.ipv4_mapped
    if mapped is not None:
        raise ConfigError(f"{what} ::ffff:{mapped} is IPv4 written as IPv6; write {mapped}")
    if address.is_link_local and address.scope_id is None:
        raise ConfigError(
            f"{what} {address} is link-local; write the interface too, for example {address}%eth0"
        )
    return address


def ipv4(what: str, value: Any) -> IPv4Address:
    """An IPv4 address, from text or an object. Numbers and bytes are not addresses here.

    Raises:
        ConfigError: not an address in any of these forms.
    """
    if isinstance(value, IPv4Address):
        return value
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except ValueError:
        pass
    shown = value if isinstance(value, str) else repr(value)
    raise ConfigError(f'{what} "{shown}" is not an IPv4 address, such as 10.0.2.2')


def ipv6(what: str, value: Any) -> IPv6Address:
    """An IPv6 address without a scope, from text or an object.

    Raises:
        ConfigError: not an address in any of these forms.
    """
    try:
        address = IPv6Address(value) if isinstance(value, str) else value
        if isinstance(address, IPv6Address) and address.scope_id is None:
            return address
    except ValueError:
        pass
    shown = value if isinstance(value, str) else repr(value)
    raise ConfigError(f'{what} "{shown}" is not an IPv6 address, such as fec0::2')


def port_number(what: str, value: Any, lowest: int = 0) -> int:
    """A port, from ``lowest`` to 65535.

    Raises:
        ConfigError: not a whole number, or out of range.
    """
    return whole(what, value, lowest, 65535)


def reachable_place(what: str, value: Any) -> tuple[IPAddress, int]:
    """An address to which a flow can lead, and a port, which may be 0.

    Raises:
        ConfigError: not an address and a port, or the address is unspecified or a multicast group.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ConfigError(f'{what} is an address and a port, such as ("192.0.2.7", 80); given was {value!r}')
    address = scoped_address(f"{what}: address", value[0])
    port = port_number(f"{what}: port", value[1])
    if address.is_unspecified or address.is_multicast:
        raise ConfigError(f"{what}: nothing can be led to {address} port {port}")
    return address, port


def host_name(text: str) -> str | None:
    """Return a host's name, in ASCII, in lower case and without a full stop at the end. None if it is no name."""
    import re  # only some programs give names

    name = text.lower().removesuffix(".")
    return None if re.fullmatch(_NAME, name) is None or re.fullmatch(r"[0-9.]+", name) else name


def redirect_target(what: str, value: Any) -> tuple[IPAddress | str, int]:
    """A place as :func:`reachable_place` takes it, or a host's name and a port. The name has a dot in it, or behind
    a single label, and its last label is not a number.

    Raises:
        ConfigError: neither of the two.
    """
    first = value[0] if isinstance(value, tuple | list) and len(value) == 2 else None
    name = host_name(first) if isinstance(first, str) and "." in first else None
    if name is None or name.rpartition(".")[2].isdigit():
        return reachable_place(what, value)
    return name, port_number(f"{what}: port", value[1])


def mac_bytes(what: str, value: object) -> bytes:
    """A MAC address of a network card: six bytes, or text with colons or hyphens.

    Raises:
        ConfigError: anything else, a group address, or all zeros.
    """
    mac: bytes | None = None
    if isinstance(value, bytes | bytearray | memoryview):
        mac = bytes(value)
    elif isinstance(value, str):
        pairs = value.split("-" if "-" in value else ":")
        if len(pairs) == 6 and all(len(pair) == 2 and pair.isascii() and pair.isalnum() for pair in pairs):
            try:
                mac = bytes.fromhex("".join(pairs))
            except ValueError:
                mac = None
    if mac is None or len(mac) != 6:
        raise ConfigError(
            f"{what} {value!r} is not a MAC address; give six bytes, or text such as {MAC_EXAMPLE}"
        )
    if mac[0] & 1 or not any(mac):
        raise ConfigError(
            f"{what} {value!r} is not the MAC address of a network card; give one such as {MAC_EXAMPLE}"
        )
    return mac
