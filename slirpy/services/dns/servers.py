"""The resolvers on the host's side: which there are, how they are doing, and the order in which to ask them.

Resolvers are asked in the order of the configuration or of resolv.conf, which may be deliberate. A server that fails
is moved to the end for a while; then one query at a time tries it again. A server fails when

- it refuses, which the system reports at once;
- it has been silent for :data:`PATIENCE` since a query was sent to it. A server that has answered other queries in
  the meantime is only slow with this name;
- it has been silent for a fraction of that while many queries wait for it. At thousands of queries a second the death
  of a server is thus noticed before too many queries are waiting.

Queries that wait for a server when it fails go on to the next one at once. If its answer arrives after all, they
still use it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

from slirpy import paths
from slirpy.config import Config
from slirpy.config.resolver import Resolver
from slirpy.interfaces import ServiceNetwork
from slirpy.stats import Stats
from slirpy.units import MS, SECOND

__all__ = ["PATIENCE", "ResolverList", "Server", "Servers", "Waiter", "read_resolv_conf"]

RESOLV_CONF = "/etc/resolv.conf"
SERVERS_MAX = 8
PATIENCE = 1 * SECOND
"""Nanoseconds after which the next server is asked too."""
CROWD = 8
"""Number of waiting queries from which silence counts sooner."""
SILENCE = 200 * MS
"""Nanoseconds of silence towards a crowd, or eight times the usual delay if that is longer."""
PENALTY = 10 * SECOND
PENALTY_MAX = 60 * SECOND
_CHECK = SECOND
"""Nanoseconds between two checks of resolv.conf."""
_FILE_SIZE_MAX = 65_536

Waiter: TypeAlias = Callable[[], None]
"""Identifies a query that waits for a server. Called when the server has failed; must close nothing within that."""


class Server:
    """One resolver. All times are monotonic nanoseconds."""

    __slots__ = ("_heard", "_penalty", "_trial", "_usual", "failing_until", "is_own", "resolver", "waiting")

    def __init__(self, resolver: Resolver, is_own: bool = False) -> None:
        self.resolver = resolver
        self.is_own = is_own
        """True if it has our own address; see :class:`Servers`."""
        self.failing_until: int | None = None
        """The server is asked last until then, and by one query at a time after that. None: it works."""
        self.waiting: dict[Waiter, int] = {}
        """The queries that wait for it, and since when, oldest first."""
        self._heard: int | None = None
        self._usual = 0
        self._penalty = PENALTY
        self._trial: Waiter | None = None

    def wait(self, waiter: Waiter, now: int) -> None:
        """Add a query that is being sent."""
        self.waiting[waiter] = now
        if self.failing_until is not None and self._trial is None:
            self._trial = waiter

    def leave(self, waiter: Waiter) -> None:
        """Remove a query that no longer depends on this server alone."""
        self.waiting.pop(waiter, None)
        if self._trial is not None and self._trial == waiter:
            self._trial = None

    def heard(self, now: int, since: int) -> None:
        """Note an answer to a query that was sent at ``since``."""
        self._heard = now
        self._usual += (now - since - self._usual) // 8 if self._usual else now - since
        self.failing_until = None
        self._penalty = PENALTY

    def silent_since(self, since: int) -> bool:
        """Report whether nothing has come from it since then."""
        return self._heard is None or self._heard <= since

    def dead(self, now: int) -> bool:
        """Report whether many queries wait for it without success."""
        if self.failing_until is not None or len(self.waiting) < CROWD:
            return False
        since = max(next(iter(self.waiting.values())), self._heard or 0)
        return now - since > min(max(SILENCE, 8 * self._usual), PATIENCE)

    def fail(self, now: int) -> bool:
        """Note a failure. Returns whether the server worked until now."""
        worked = self.failing_until is None
        if self.failing_until is not None and now < self.failing_until:
            return False
        self.failing_until = now + self._penalty
        self._penalty = min(2 * self._penalty, PENALTY_MAX)
        return worked

    def usable(self, now: int) -> bool:
        """Report whether it may be asked in its turn."""
        return self.failing_until is None or (now >= self.failing_until and self._trial is None)


class Servers:
    """All resolvers that may be asked over one transport.

    One of them may have our own address. On a host that is itself behind a network like ours this is a server of the
    host's; but if the host routes our network, it is ourselves, and a query that we send there comes back to us.

    Args:
        stats: the counters.
        own: our address.
    """

    def __init__(self, stats: Stats, own: Resolver | None = None) -> None:
        self._stats = stats
        self._own = own
        self._returning: dict[bytes, Callable[[], None]] = {}
        self._servers: tuple[Server, ...] = ()

    def update(self, resolvers: Sequence[Resolver]) -> None:
        """Use these from now on, the first :data:`SERVERS_MAX`. Servers that stay keep their history."""
        known = {server.resolver: server for server in self._servers}
        each = list(dict.fromkeys(resolvers))[:SERVERS_MAX]
        self._servers = tuple(known.get(item) or Server(item, item == self._own) for item in each)

    def plan(self, now: int) -> Sequence[Server]:
        """The servers in the order in which to ask them."""
        servers = self._servers
        if len(servers) < 2:
            return servers
        failing = False
        for server in servers:
            if len(server.waiting) >= CROWD and server.dead(now):
                self.failed(server, now)
            failing = failing or server.failing_until is not None
        if not failing:
            return servers
        # The sort is stable, so the order is otherwise unchanged.
        return sorted(servers, key=lambda server: not server.usable(now))

    def failed(self, server: Server, now: int) -> None:
        """Note that a server has failed, and send the queries that wait for it on to the next one."""
        if server.fail(now):
            self._stats.dns_servers_failed += 1
            for waiter in list(server.waiting):
                waiter()

    def watch(self, message: bytes, came_back: Callable[[], None]) -> None:
        """Call ``came_back`` if a message reaches us that is about to go to our own address."""
        self._returning[message] = came_back

    def unwatch(self, message: bytes) -> None:
        """End what :meth:`watch` began."""
        self._returning.pop(message, None)

    def returned(self, message: bytes) -> bool:
        """Report whether a message that seems to come from a guest is one that we sent ourselves and that came
        back.
        """
        came_back = self._returning.pop(message, None)
        if came_back is None:
            return False
        self._stats.drop_dns_loop += 1
        came_back()
        return True


class ResolverList:
    """The resolvers of the configuration, or those of the host's resolv.conf.

    Args:
        config: names the resolvers, or leaves them to the file.
        network: provides the time.
        path: the file, which is read again when it changes.
    """

    def __init__(self, config: Config, network: ServiceNetwork, path: str = RESOLV_CONF) -> None:
        self._network = network
        self._path = path
        self._fixed = config.resolvers is not None
        self._resolvers: tuple[Resolver, ...] = tuple(config.resolvers or ())
        self._next_check = 0
        self._seen: tuple[int, int, int, int] | None = None

    def current(self) -> Sequence[Resolver]:
        """The resolvers in order, possibly none. The same object as before unless they may have changed."""
        if not self._fixed and self._network.now >= self._next_check:
            self._next_check = self._network.now + _CHECK
            self._check()
        return self._resolvers

    def _check(self) -> None:
        try:
            # Through a link: the file is often a link to one that is replaced.
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino, status.st_dev, status.st_size)
            if seen == self._seen:
                return
            with open(self._path, "rb", opener=paths.open_again) as file:
                text = file.read(_FILE_SIZE_MAX).decode("utf-8", "replace")
        except OSError:
            self._seen = None
            self._resolvers = ()
            return
        self._seen = seen
        self._resolvers = tuple(read_resolv_conf(text))


def read_resolv_conf(text: str) -> list[Resolver]:
    """The resolvers of the ``nameserver`` lines, in order and without duplicates.

    Lines without a valid address are skipped. The scope of a link-local IPv6 address is kept; on any other address it
    is meaningless, and is removed.
    """
    found: dict[Resolver, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        host, _, scope = words[1].partition("%")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        local = address.version == 6 and address.is_link_local
        found[Resolver(address, scope=scope if local else "")] = None
    return list(found)
