"""Names of hosts and services as programs resolve them: ``getaddrinfo`` and ``getnameinfo`` in a network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.wellknown import ANY, LOOPBACK, MAPPED

__all__ = ["AddressInfo", "asks_a_server", "getaddrinfo", "getnameinfo", "packed", "sockaddr", "text_of"]

AddressInfo = tuple[int, int, int, str, Any]
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
# Numbers, since the operators of flags of an enumeration are slow.
_PASSIVE, _CANONNAME, _V4MAPPED = int(socket.AI_PASSIVE), int(socket.AI_CANONNAME), int(socket.AI_V4MAPPED)
_NUMERICHOST = int(socket.AI_NUMERICHOST)
_TYPES = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.SOCK_RAW, 0),
)
_SERVICES = {
    "domain": 53, "ftp": 21, "http": 80, "https": 443, "imap": 143, "imaps": 993, "mqtt": 1883, "ntp": 123,
    "pop3": 110, "redis": 6379, "smtp": 25, "ssh": 22, "submission": 587, "telnet": 23, "tftp": 69,
}  # fmt: skip
"""Ports of services. That table of the system differs between machines."""


@lru_cache(4096)
def _text(address: bytes) -> str:
    if address[:12] == MAPPED:
        return f"::ffff:{ip_address(address[12:])}"  # Python 3.11 would write it in hexadecimal
    return str(ip_address(address))


def sockaddr(address: bytes, port: int) -> tuple[Any, ...]:
    """Return a socket's address: a pair for IPv4, ``(text, port, 0, 0)`` for IPv6."""
    text = _text(address)
    return (text, port) if len(address) == 4 else (text, port, 0, 0)


@lru_cache(4096)
def packed(text: str, family: int) -> bytes | None:
    """Return an address of a family as bytes; None: it is a name, or of the other family."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if family == socket.AF_INET6 and address.version == 4:
        return IPv6Address(f"::ffff:{text}").packed
    return None if family == socket.AF_INET and address.version == 6 else address.packed


def _port(service: Any) -> int:
    if service is None:
        return 0
    if isinstance(service, bytes):
        service = service.decode("ascii", "replace")
    if isinstance(service, str):
        if service.isascii() and service.isdigit():
            service = int(service)
        elif service in _SERVICES:
            service = _SERVICES[service]
        else:
            raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")
    return int(service) & 0xFFFF


@lru_cache(64)
def _kinds(kind: int, proto: int) -> list[tuple[int, int]]:
    """Return the types of sockets that an address can have, each with its protocol."""
    return [
        (each, number) for each, number in _TYPES if kind in (0, each) and (proto in (0, number) or not number)
    ]


def _addresses(
    host: Host, name: Any, flags: int, resolve: Callable[[str], list[bytes] | None] | None
) -> list[bytes] | None:
    """Return the addresses of a name, in their order; None: nobody answers."""
    if not name:
        return list((ANY if flags & _PASSIVE else LOOPBACK).values())
    name = text_of(name)
    literal = packed(name, 0)
    if literal is not None:
        return [literal]
    if flags & _NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return host.net.resolve(name) if resolve is None else resolve(name)


def text_of(name: str | bytes) -> str:
    """Return a name as text; what is no ASCII cannot be a name."""
    return name.decode("ascii", "replace") if isinstance(name, bytes) else name


def asks_a_server(host: Host, name: Any, flags: int = 0) -> bool:
    """Report whether a host asks a DNS server for a name, which takes its time."""
    if not host.stack.dns or not name or flags & _NUMERICHOST:
        return False
    return packed(text_of(name), 0) is None


def getaddrinfo(
    host: Host,
    name: Any,
    service: Any,
    family: int = 0,
    kind: int = 0,
    proto: int = 0,
    flags: int = 0,
    resolve: Callable[[str], list[bytes] | None] | None = None,
) -> list[AddressInfo]:
    """Return addresses as :func:`socket.getaddrinfo` does, IPv4 first.

    Args:
        host: the host that asks.
        name: a name of the network, an address, or None: the unspecified addresses with AI_PASSIVE, otherwise those
            of the loopback.
        service: a port, or the name of a service.
        resolve: function that finds the addresses of a name, or None if nobody answers; None: the network's table.

    Raises:
        socket.gaierror: there is no such name, no address of that family, or nobody who answers.
    """
    port, flags = _port(service), int(flags)
    if name is None and service is None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if family not in (0, socket.AF_INET, socket.AF_INET6):
        raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
    kinds = _kinds(int(kind), int(proto))
    if not kinds:
        raise socket.gaierror(socket.EAI_SOCKTYPE, "ai_socktype not supported")
    found = _addresses(host, name, flags, resolve)
    if found is None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    suitable = [each for each in found if family in (0, _FAMILY[len(each)])]
    if not suitable and family == socket.AF_INET6 and flags & _V4MAPPED:
        suitable = [MAPPED + each for each in found]
    if not suitable:
        literal = isinstance(name, str) and packed(name, 0) is not None
        number = socket.EAI_ADDRFAMILY if literal and hasattr(socket, "EAI_ADDRFAMILY") else socket.EAI_NONAME
        text = "Address family for hostname not supported" if literal else "Name or service not known"
        raise socket.gaierror(number, text)
    canonical = name if flags & _CANONNAME and isinstance(name, str) else ""
    return [
        (_FAMILY[len(address)], each, proto or number, canonical, sockaddr(address, port))
        for address in suitable
        for each, number in kinds
    ]


def getnameinfo(host: Host, address: Any, flags: int = 0) -> tuple[str, str]:
    """Return the name and the service of a socket's address, as :func:`socket.getnameinfo` does.

    Raises:
        socket.gaierror: not an address; or it has no name, and NI_NAMEREQD is set.
    """
    raw = packed(address[0], 0) if isinstance(address[0], str) else None
    if raw is None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    number = int(address[1])
    service = next((name for name, port in _SERVICES.items() if port == number), str(number))
    if flags & socket.NI_NUMERICSERV:
        service = str(number)
    if not flags & socket.NI_NUMERICHOST:
        for each in host.net.hosts.values():
            if raw in each.packed_addresses or (each is host and ip_address(raw).is_loopback):
                return (each.name if raw in each.packed_addresses else "localhost"), service
        if flags & socket.NI_NAMEREQD:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return str(ip_address(raw)), service
