"""What the simulated world has beside its inhabitants: a clock with the events that are due, and ways between places.

A test says what lies on a way (routers, a bottleneck), or that it leads nowhere.
"""

from __future__ import annotations

import errno
import heapq
import itertools
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, TypeAlias, TypeVar

from slirpy.errors import StateError
from slirpy.host.simpath import DIRECT, Path
from slirpy.rules.values import address_bytes, moment, nanoseconds, whole

__all__ = ["Address", "Fate", "Key", "SimWorld", "find", "is_loopback", "place"]

Address: TypeAlias = str | bytes | IPv4Address | IPv6Address
"""An IP address as text, as four or sixteen bytes, or as an object."""

Key: TypeAlias = tuple[bytes | None, int | None]
"""An address and a port; None stands for any."""
_T = TypeVar("_T")


class Fate(NamedTuple):
    """What becomes of traffic to a destination, in place of arriving."""

    error: int
    """0: it vanishes."""
    at_once: bool


class SimWorld:
    """The part of :class:`~slirpy.host.sim.SimHost` that knows nothing of sockets."""

    def __init__(self, latency_ns: int) -> None:
        self.latency_ns = latency_ns  # checked by the property
        self._now = 0
        self._sequence = itertools.count()
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._fates: dict[Key, Fate] = {}
        self._pingable: set[bytes | None] = set()
        self._paths: dict[bytes | None, Path] = {}

    # ------------------------------------------------------------------------------------------ time

    @property
    def latency_ns(self) -> int:
        """What anything takes one way, in nanoseconds."""
        return self._latency_ns

    @latency_ns.setter
    def latency_ns(self, latency_ns: int) -> None:
        self._latency_ns = nanoseconds("latency_ns", latency_ns)

    @property
    def now(self) -> int:
        """Virtual nanoseconds: the time of the event that is being carried out, else of the last advance."""
        return self._now

    def deadline(self) -> int | None:
        """When the next event is due; None while there is none."""
        return self._events[0][0] if self._events else None

    def advance(self, now: int) -> None:
        """Let time pass and carry out what is due.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
            StateError: ``now`` is earlier than before.
        """
        if type(now) is not int:
            now = moment("now", now)
        if now < self._now:
            raise StateError(f"advance({now}): time is at {self._now} already and does not go back")
        events = self._events
        while events and events[0][0] <= now:
            when, _, call, args = heapq.heappop(events)
            self._now = max(when, self._now)
            call(*args)
        self._now = now

    def schedule(self, when: int, call: Callable[..., None], *args: Any) -> None:
        """Carry out ``call(*args)`` at ``when``: for programs that do something later.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds.
        """
        if type(when) is not int:
            when = moment("when", when)
        heapq.heappush(self._events, (when, next(self._sequence), call, args))

    # ------------------------------------------------------------------------- the ways, for tests

    def answer_ping(self, address: Address | None = None) -> None:
        """Let an address of the outside world answer echo requests; None: every one.

        Raises:
            ConfigError: ``address`` is not an IP address.
        """
        self._pingable.add(place(address, None)[0])

    def path(self, address: Address | None, hops: Sequence[Address] = (), mtu: int = 65535) -> None:
        """Put routers between the host and an address, None: all that have no path of their own.

        Args:
            hops: the routers' addresses, the nearest first. Each takes one off the time to live.
            mtu: of the link behind the last of them; what is longer and may not be fragmented is refused there.

        Raises:
            ConfigError: what is not an IP address.
        """
        routers = tuple(address_bytes("hop", hop) for hop in hops)
        self._paths[place(address, None)[0]] = Path(routers, whole("mtu", mtu, 68, 65535))

    def black_hole(self, address: Address | None = None, port: int | None = None) -> None:
        """Let everything to a destination vanish, without an answer. None stands for any.

        Raises:
            ConfigError: an address or a port that cannot be.
        """
        self._fates[place(address, port)] = Fate(0, at_once=False)

    def unreachable(
        self,
        address: Address | None = None,
        port: int | None = None,
        error: int = errno.EHOSTUNREACH,
        at_once: bool = False,
    ) -> None:
        """Let everything to a destination fail with ``error``, after a round trip or within the call itself.

        Raises:
            ConfigError: an address or a port that cannot be.
        """
        self._fates[place(address, port)] = Fate(error, at_once)

    def reachable(self, address: Address | None = None, port: int | None = None) -> None:
        """Take back :meth:`black_hole` or :meth:`unreachable` with the same arguments.

        Raises:
            ConfigError: an address or a port that cannot be.
        """
        self._fates.pop(place(address, port), None)

    # ---------------------------------------------------------------------------------- for SimHost

    def _path(self, address: bytes) -> Path:
        return self._paths.get(address) or self._paths.get(None) or DIRECT

    def _fate(self, address: bytes, port: int) -> Fate | None:
        return find(self._fates, address, port)


def place(address: Address | None, port: int | None) -> Key:
    """A place as a test names it, None for any, with the address as bytes.

    Raises:
        ConfigError: an address or a port that cannot be.
    """
    return (
        None if address is None else address_bytes("address", address),
        None if port is None else whole("port", port, 0, 65535),
    )


def is_loopback(address: bytes) -> bool:
    """Whether an address of either family is the host's loopback."""
    return address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\1"


def find(table: dict[Key, _T], address: bytes, port: int) -> _T | None:
    """The most special entry for a destination."""
    anywhere = bytes(len(address))
    keys: tuple[Key, ...] = (
        (address, port), (anywhere, port), (address, None), (None, port), (None, None),
    )  # fmt: skip
    for key in keys:
        if key in table:
            return table[key]
    return None
