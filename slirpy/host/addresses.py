"""Addresses as slirpy has them (bytes) and as :mod:`socket` wants them (text)."""

from __future__ import annotations

import socket

__all__ = ["family_of", "name_of", "place_of"]


def family_of(address: bytes) -> socket.AddressFamily:
    """The family of an address of four or sixteen bytes."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def name_of(address: bytes, port: int) -> tuple[str, int]:
    """An address and port for :mod:`socket`. Always numeric, so that no resolver is ever asked."""
    return socket.inet_ntop(family_of(address), address), port


def place_of(name: tuple[str, int]) -> tuple[bytes, int]:
    """An address and port from what :mod:`socket` gives; a zone, flow label and scope are left out."""
    host = name[0]
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), name[1]
    return socket.inet_aton(host), name[1]
