"""The header of the PROXY protocol, version 2 (HAProxy's ``proxy-protocol.txt``, section 2.2)."""

from __future__ import annotations

__all__ = ["build"]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PROXY = 0x21
_TCP4, _TCP6 = 0x11, 0x21
_MAPPED = bytes(10) + b"\xff\xff"
_AUTHORITY = 2


def build(source: tuple[bytes, int], destination: tuple[bytes, int], name: str = "") -> bytes:
    """The header of a TCP connection.

    Args:
        source: address, four or sixteen bytes, and port of the client.
        destination: address and port to which it connected. If the families differ, the IPv4 address is mapped.
        name: the host name that it asked for, if it is known.
    """
    addresses = [source[0], destination[0]]
    kind = _TCP4
    if max(map(len, addresses)) == 16:
        kind = _TCP6
        addresses = [address if len(address) == 16 else _MAPPED + address for address in addresses]
    body = b"".join(addresses) + source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    if name:
        authority = name.encode("ascii")
        body += bytes((_AUTHORITY,)) + len(authority).to_bytes(2, "big") + authority
    return _SIGNATURE + bytes((_PROXY, kind)) + len(body).to_bytes(2, "big") + body
