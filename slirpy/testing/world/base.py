"""The simulated world as its sockets see it: time, addresses, paths, and faults that a test has chosen.

A test sets the routers and the bottleneck of a path, or makes it lead nowhere.
"""

from __future__ import annotations

import abc
import errno
from collections import deque
from collections.abc import Sequence
from random import Random

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.checks import ERRNO_MAX, instance, nanoseconds, switch, whole
from slirpy.config.values import listed
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple
from slirpy.testing.world.clock import SimClock
from slirpy.testing.world.path import DIRECT, Path
from slirpy.testing.world.places import Key, Place, find, key_of
from slirpy.wire.ip import V4, V6
from slirpy.wire.scope import is_loopback

__all__ = ["Call", "Fate", "SimWorld"]


class Fate(NamedTuple):
    """The fate of traffic to a destination that does not arrive."""

    error: int
    """The ``errno`` value; 0: the traffic vanishes."""
    at_once: bool


_NO_ROUTE = Fate(errno.ENETUNREACH, at_once=True)


class Call(NamedTuple):
    """One call of the stack to the outside."""

    time: int
    """Virtual nanoseconds."""
    name: str
    """connect_tcp, listen_tcp, listen_unix, open_udp, bind_udp, send_udp, open_ping, send_ping; of a stream: send,
    shutdown, abort, close."""
    address: bytes
    """Address of the far end, or the one to bind, as the stack gave it: four or sixteen bytes."""
    port: int
    """Port; of ``send_ping`` the sequence number."""
    detail: int | bytes | None
    """Bytes accepted by ``send``; the payload of ``send_udp`` and ``send_ping``."""


class SimWorld(SimClock, abc.ABC):
    """The part of :class:`~slirpy.testing.world.host.SimHost` that its sockets depend on.

    Args:
        random: the source of ports and of random faults.
        latency_ns: one-way latency of everything.
        addresses: the host's own IPv4 and IPv6 addresses, in addition to its loopback.
    """

    def __init__(self, random: Random, latency_ns: int, addresses: tuple[bytes, bytes]) -> None:
        super().__init__()
        instance("random", random, Random, "a random.Random")
        self.random = random
        self._own_addresses = addresses
        self.calls: list[Call] = []
        """Every call of the stack, in order. May be cleared."""
        self.short_sends = 0.0
        """Probability, 0 to 1, that a ``send`` of the stack accepts fewer bytes than there is room for."""
        self.short_recvs = 0.0
        """Probability, 0 to 1, that a ``recv`` of the stack returns fewer bytes than it could."""
        self.send_limits: deque[int] = deque()
        """Maximum bytes accepted by the next sends of the stack, one entry per call; 0 refuses one."""
        self.udp_errors: deque[int] = deque()
        """Results of the next UDP sends of the stack, one entry per call; 0 lets one pass."""
        self.latency_ns = latency_ns  # checked by the property
        self._fates: dict[Key, Fate] = {}
        self._pingable: set[bytes | None] = set()
        self._paths: dict[bytes, Path] = {}
        self.ipv4 = True
        """True if the host has a route to IPv4 addresses other than its loopback; traffic to them fails with
        ENETUNREACH at once if not.
        """
        self.ipv6 = True
        """True if it has one to IPv6 addresses."""

    @property
    def latency_ns(self) -> int:
        """One-way latency of everything, in nanoseconds."""
        return self._latency_ns

    @latency_ns.setter
    def latency_ns(self, latency_ns: int) -> None:
        self._latency_ns = nanoseconds("latency_ns", latency_ns)

    # ----------------------------------------------------------------------- the paths, for tests

    def answer_ping(self, address: AnyAddress | None = None) -> None:
        """Make an address of the outside world answer echo requests; None: every address.

        Raises:
            ConfigError: ``address`` is not an IP address.
        """
        self._pingable.add(key_of(address, None)[0])

    def path(self, address: AnyAddress | None, hops: Sequence[AnyAddress] = (), mtu: int = 65535) -> None:
        """Put routers between the host and an address; None: all addresses (of the routers' family) without another
        path.

        Args:
            hops: the routers' addresses, the nearest first. Each decrements the time to live.
            mtu: of the link behind the last of them, which refuses longer packets that must not be fragmented.

        Raises:
            ConfigError: not an IP address, addresses of different families, or an MTU that the family does not allow.
        """
        where = key_of(address, None)[0]
        routers = tuple(address_bytes("hop", hop) for hop in listed("hops", hops))
        sizes = {len(each) for each in (where, *routers) if each is not None}
        if len(sizes) > 1:
            raise ConfigError("the address and the routers of a path are of one family; call path() for each")
        path = Path(routers, whole("mtu", mtu, V6.least_mtu if 16 in sizes else V4.least_mtu, 65535))
        for size in sizes or (4, 16):
            self._paths[where or bytes(size)] = path

    def black_hole(self, address: AnyAddress | None = None, port: int | None = None) -> None:
        """Make all traffic to a destination vanish, without an answer. None stands for any.

        Raises:
            ConfigError: an invalid address or port.
        """
        self._fates[key_of(address, port)] = Fate(0, at_once=False)

    def unreachable(
        self,
        address: AnyAddress | None = None,
        port: int | None = None,
        error: int = errno.EHOSTUNREACH,
        at_once: bool = False,
    ) -> None:
        """Make all traffic to a destination fail with ``error``, after a round trip or within the call itself.

        Raises:
            ConfigError: an invalid address or port, ``error`` is not an ``errno`` value, or ``at_once`` not a switch.
        """
        self._fates[key_of(address, port)] = Fate(
            whole("error", error, 1, ERRNO_MAX), switch("at_once", at_once)
        )

    def reachable(self, address: AnyAddress | None = None, port: int | None = None) -> None:
        """Undo :meth:`black_hole` or :meth:`unreachable` with the same arguments.

        Raises:
            ConfigError: an invalid address or port.
        """
        self._fates.pop(key_of(address, port), None)

    # ---------------------------------------------------------- for the streams and sockets of the world

    def record(self, name: str, far: Place, detail: int | bytes | None = None) -> None:
        """Record a call of the stack."""
        self.calls.append(Call(self._now, name, *far, detail))

    def limit_send(self, room: int) -> int:
        """Return how much of ``room`` a send of the stack uses."""
        if self.send_limits:
            return min(room, self.send_limits.popleft())
        if self.short_sends and room and self.random.random() < self.short_sends:
            return self.random.randrange(room)
        return room

    def limit_recv(self, limit: int) -> int:
        """Return the maximum that a recv of the stack returns, at least 1."""
        if self.short_recvs and self.random.random() < self.short_recvs:
            return self.random.randint(1, limit)
        return limit

    def scripted_udp_error(self) -> int:
        """Return the scripted error for the next UDP send of the stack, or 0."""
        return self.udp_errors.popleft() if self.udp_errors else 0

    def source_for(self, destination: bytes) -> bytes:
        """Return the host's address towards a destination."""
        if is_loopback(destination):
            return destination
        return self._own_addresses[len(destination) == 16]

    def is_own(self, address: bytes) -> bool:
        """Report whether an address is one of the host's."""
        return is_loopback(address) or address in self._own_addresses

    @abc.abstractmethod
    def released(self, item: object) -> None:
        """Forget a closed stream or socket."""

    # ---------------------------------------------------------------------------------- for SimHost

    def _path(self, address: bytes) -> Path:
        return self._paths.get(address) or self._paths.get(bytes(len(address))) or DIRECT

    def _fate(self, address: bytes, port: int) -> Fate | None:
        if not (self.ipv4 if len(address) == 4 else self.ipv6) and not is_loopback(address):
            return _NO_ROUTE
        return find(self._fates, address, port)
