"""Severity of an attempt: how much its destination matters, wherever a rule or a log has room for a few lines only.

A guest that reaches for the metadata service of a cloud wants its host's credentials; one that tries a closed port
somewhere on the Internet is probably a program with an old configuration. Budgets are kept by class, so that
no number of attempts of one class hides those of another.
"""

from __future__ import annotations

import enum
from ipaddress import ip_network

from slirpy.config.embedded import embedded_ipv4
from slirpy.config.special import WORDS

__all__ = ["Severity", "severity"]


class Severity(enum.StrEnum):
    """Classes of destinations, the most severe first."""

    METADATA = "metadata"
    """A metadata service of a cloud; see the word ``metadata`` of rules."""
    HOST = "host"
    """The host itself, by the gateway's address or by a loopback address."""
    PRIVATE = "private"
    """A private or link-local address: the host's own networks."""
    OTHER = "other"


_LOCAL = ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128")


def _networks(*texts: str) -> tuple[tuple[int, int, int], ...]:
    """Length of an address in bytes, right shift, and the remaining prefix."""
    found = []
    for network in map(ip_network, texts):
        shift = network.max_prefixlen - network.prefixlen
        found.append((network.max_prefixlen // 8, shift, int(network.network_address) >> shift))
    return tuple(found)


_CLASSES = (
    (Severity.METADATA, _networks(*WORDS["metadata"])),
    (Severity.HOST, _networks(*_LOCAL)),
    (Severity.PRIVATE, _networks(*WORDS["private"], *WORDS["link-local"])),
)


def severity(address: bytes, host: bool = False) -> Severity:
    """The class of a destination.

    An IPv6 address that leads to an IPv4 host, through a translator or a tunnel, counts as that host.

    Args:
        address: four or sixteen bytes.
        host: whether the flow leads to the host's loopback.
    """
    numbers = [(len(address), int.from_bytes(address, "big"))]
    if len(address) == 16:
        numbers += ((4, number) for number in embedded_ipv4(address))
    for found, networks in _CLASSES:
        for length, number in numbers:
            # ::1 looks like an IPv4-compatible address of 0.0.0.0/8, which is the host as well.
            if any(size == length and number >> shift == prefix for size, shift, prefix in networks):
                return found
        if host and found is Severity.HOST:
            return found
    return Severity.OTHER
