"""Addresses of the host, and the ports on which this network itself listens there, to which no guest may connect.

A guest that reached a forward through the gateway would be led back into the network, to another guest or to itself,
past all that keeps guests apart, and under the gateway's address. At the port of :meth:`slirpy.Slirp.serve` it could
plug in more guests, and make loops.
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.config.embedded import embedded_ipv4
from slirpy.wire.scope import is_loopback

__all__ = ["OwnAddresses", "OwnPorts"]


class OwnAddresses:
    """Reports whether an address is one of the host's own, or one by which a translator or a tunnel may lead to it.

    Args:
        is_own: reports whether an address is one of the host's own.
    """

    __slots__ = ("_is_own",)

    def __init__(self, is_own: Callable[[bytes], bool]) -> None:
        self._is_own = is_own

    def __call__(self, address: bytes) -> bool:
        if self._is_own(address):
            return True
        if len(address) == 4:
            return False
        return any(self._is_own(number.to_bytes(4, "big")) for number in embedded_ipv4(address))


class OwnPorts:
    """Addresses and ports, each as often as it was added."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], list[bytes]] = {}

    def add(self, protocol: int, address: bytes, port: int) -> None:
        """Note that something listens at an address, or at the wildcard of its family, and a port."""
        self._places.setdefault((protocol, port), []).append(address)

    def remove(self, protocol: int, address: bytes, port: int) -> None:
        """Note that it does not listen there any more."""
        same = self._places[protocol, port]
        same.remove(address)
        if not same:
            del self._places[protocol, port]

    def leads_to(self, protocol: int, address: bytes, port: int, is_own: Callable[[bytes], bool]) -> bool:
        """Report whether a flow to an address and a port would end at one of them.

        ``is_own`` reports whether an address is one of the host's. A wildcard of IPv6 may hear IPv4, too.
        """
        places = self._places.get((protocol, port))
        if places is None:
            return False
        if address in places:
            return True
        wild = any(not any(place) and len(place) >= len(address) for place in places)
        return wild and (is_loopback(address) or is_own(address))
