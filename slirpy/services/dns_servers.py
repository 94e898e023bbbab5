"""How the resolvers of the host's side do, and in which order they are asked.

They are asked in their order, since who wrote them down may have meant it. A server that fails is asked last for a
while; then one query at a time tries it again. What counts as failing:

- it refuses, which the system tells at once;
- it has said nothing since a query was sent to it :data:`PATIENCE` ago. A server that has answered others meanwhile
  is slow with this name only;
- it has said nothing for a fraction of that while many wait for it. So at thousands of queries a second a server's
  death is noticed before the queries that wait are too many.

Those who wait for a server that fails go on to the next at once, and still take its answer should it come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from slirpy.rules.resolver import Resolver
from slirpy.stats import Stats
from slirpy.units import MS, SECOND

__all__ = ["PATIENCE", "Server", "Servers", "Waiter"]

SERVERS_MAX = 8
PATIENCE = 1 * SECOND
"""Nanoseconds after which the next server is asked too."""
CROWD = 8
SILENCE = 200 * MS
"""Nanoseconds without a word to a crowd, or eight times what it usually takes if that is longer."""
PENALTY = 10 * SECOND
PENALTY_MAX = 60 * SECOND


class Waiter(Protocol):
    """Who waits for a server."""

    def hurry(self) -> None:
        """It has failed: do not wait any longer if there is another one. Nothing may be closed within this."""
        ...


class Server:
    """One resolver. All times are monotonic nanoseconds."""

    __slots__ = ("_heard", "_penalty", "_trying", "_usual", "failing_until", "resolver", "waiting")

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.failing_until: int | None = None
        """Until then it is asked last, and after that by one query at a time; None: it does well."""
        self.waiting: dict[Waiter, int] = {}
        """Who waits for it, and since when, the oldest first."""
        self._heard: int | None = None
        self._usual = 0
        self._penalty = PENALTY
        self._trying = False

    def wait(self, waiter: Waiter, now: int) -> None:
        """A query was sent."""
        self.waiting[waiter] = now
        self._trying = self.failing_until is not None

    def leave(self, waiter: Waiter) -> None:
        """Nobody waits any more for the answer to it, or only besides."""
        if self.waiting.pop(waiter, None) is not None:
            self._trying = False

    def heard(self, now: int, since: int) -> None:
        """It has answered a query that was sent at ``since``."""
        self._heard = now
        self._usual += (now - since - self._usual) // 8 if self._usual else now - since
        self.failing_until = None
        self._penalty = PENALTY

    def silent_since(self, since: int) -> bool:
        """Whether it has said nothing since then."""
        return self._heard is None or self._heard <= since

    def dead(self, now: int) -> bool:
        """Whether many wait for it in vain."""
        if self.failing_until is not None or len(self.waiting) < CROWD:
            return False
        since = max(next(iter(self.waiting.values())), self._heard or 0)
        return now - since > min(max(SILENCE, 8 * self._usual), PATIENCE)

    def fail(self, now: int) -> bool:
        """It has failed; whether that is news."""
        news = self.failing_until is None
        if not news and self.failing_until is not None and now < self.failing_until:
            return False
        self.failing_until = now + self._penalty
        self._penalty = min(2 * self._penalty, PENALTY_MAX)
        return news

    def usable(self, now: int) -> bool:
        """Whether it may be asked in its turn."""
        return self.failing_until is None or (now >= self.failing_until and not self._trying)


class Servers:
    """All that may be asked.

    One of them may have our own address. That is a server of the host's, if the host is behind a network like ours;
    but with our network routed on the host it is ourselves, and a query to it comes back.

    Args:
        own: our address.
    """

    def __init__(self, stats: Stats, own: Resolver | None = None) -> None:
        self._stats = stats
        self._own = own
        self._returning: dict[bytes, Callable[[], None]] = {}
        self._resolvers: Sequence[Resolver] = ()
        self._servers: tuple[Server, ...] = ()

    def update(self, resolvers: Sequence[Resolver]) -> bool:
        """Use these from now on, the first :data:`SERVERS_MAX`; whether they are other ones than before."""
        if resolvers is self._resolvers or tuple(resolvers) == tuple(self._resolvers):
            return False
        known = {server.resolver: server for server in self._servers}
        self._resolvers = resolvers
        each = list(dict.fromkeys(resolvers))[:SERVERS_MAX]
        self._servers = tuple(known.get(item) or Server(item) for item in each)
        return True

    def plan(self, now: int) -> list[Server]:
        """In which order to ask."""
        servers = self._servers
        if len(servers) < 2:
            return list(servers)
        for server in servers:
            if server.dead(now):
                self.failed(server, now)
        return sorted(servers, key=lambda server: not server.usable(now))  # which keeps their order otherwise

    def failed(self, server: Server, now: int) -> None:
        """A server has failed: who waits for it goes on to the next."""
        if server.fail(now):
            self._stats.dns_servers_failed += 1
            for waiter in list(server.waiting):
                waiter.hurry()

    def sending(self, server: Server, message: bytes, came_back: Callable[[], None]) -> None:
        """A message is about to go to a server; ``came_back`` is called if it reaches us."""
        if server.resolver == self._own:
            self._returning[message] = came_back

    def finished(self, message: bytes) -> None:
        """A message has its answer, or nobody waits for that any more."""
        self._returning.pop(message, None)

    def returned(self, message: bytes) -> bool:
        """Whether a message that a guest seems to have sent is one of ours that came back."""
        came_back = self._returning.pop(message, None)
        if came_back is None:
            return False
        self._stats.drop_dns_loop += 1
        came_back()
        return True
