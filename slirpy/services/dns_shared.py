"""Guests that ask the same at the same time wait for one answer.

It saves queries; and who wants to forge an answer, and may ask as a guest, does not get many tries at once for one
name (RFC 5452 section 5, the birthday attack).
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.services.dns_message import Query
from slirpy.services.dns_upstream import Answer, Done, Pending

__all__ = ["SharedQueries"]

Make = Callable[[Done], Pending]
"""Makes what asks the world outside."""


class _Shared:
    """What several wait for."""

    __slots__ = ("asked", "key", "members", "started")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.asked: Pending | None = None
        self.members: dict[_Member, None] = {}
        self.started = False


class _Member:
    """Who waits; a :class:`~slirpy.services.dns_upstream.Pending`."""

    __slots__ = ("_done", "_shared", "_table", "query")

    def __init__(self, table: SharedQueries, shared: _Shared, query: Query, done: Done) -> None:
        self._table = table
        self._shared = shared
        self._done = done
        self.query = query

    def start(self) -> None:
        """See :meth:`~slirpy.services.dns_upstream.Pending.start`."""
        shared = self._shared
        if not shared.started and shared.asked is not None:
            shared.started = True
            shared.asked.start()

    def cancel(self) -> None:
        """See :meth:`~slirpy.services.dns_upstream.Pending.cancel`."""
        self._table.leave(self._shared, self)

    def tell(self, answer: Answer | None) -> None:
        """The outcome is here."""
        if answer is not None:
            answer = Answer(self.query.mine(answer.message), answer.records)
        self._done(self, answer)


class SharedQueries:
    """The queries that are under way."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, _Shared] = {}

    def __len__(self) -> int:
        """How many there are, each counted once."""
        return len(self._under_way)

    def join(self, key: bytes, query: Query, done: Done, make: Make) -> tuple[Pending, bool]:
        """Wait for an answer, with others if they wait for the same.

        Args:
            key: equal for queries that have the same answer.
            query: the query.
            done: told of the outcome.
            make: makes what asks, unless somebody has asked already.

        Returns:
            What to start, and whether it is new.
        """
        shared = self._under_way.get(key)
        new = shared is None
        if shared is None:
            shared = self._under_way[key] = _Shared(key)
            there = shared
            shared.asked = make(lambda _, answer: self._tell(there, answer))
        member = _Member(self, shared, query, done)
        shared.members[member] = None
        return member, new

    def leave(self, shared: _Shared, member: _Member) -> None:
        """Somebody does not wait any more."""
        if shared.members.pop(member, self) is None and not shared.members:
            self._under_way.pop(shared.key, None)
            if shared.asked is not None:
                shared.asked.cancel()
                shared.asked = None

    def _tell(self, shared: _Shared, answer: Answer | None) -> None:
        self._under_way.pop(shared.key, None)
        members, shared.members = shared.members, {}
        shared.asked = None
        for member in members:
            member.tell(answer)
