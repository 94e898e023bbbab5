"""A guest's TCP connection to the DNS server (RFC 7766): messages with a length before each.

Queries may come without waiting for answers, and answers go back in the order in which they are found. At most
:data:`QUERIES_MAX` are under way or waiting to be fetched; beyond it the guest's bytes are not taken, so that the
connection's window closes. That bounds the memory: so many answers of 64 KiB, and one message of the guest.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from slirpy.interfaces import Buffer, ServiceNetwork, StreamOwner, Timer
from slirpy.services.dns_message import FORMERR, SERVFAIL, Query, read_query
from slirpy.services.dns_upstream import Answer, Done, Pending
from slirpy.units import SECOND

__all__ = ["Asker", "DnsStream"]

QUERIES_MAX = 16
IDLE = 30 * SECOND
"""Nanoseconds without a byte in either direction and without a query under way, after which we end."""
_INPUT_MAX = 2 + 65_535


class Asker(Protocol):
    """Who forwards the queries, and bounds their number over all connections."""

    def ask(self, query: Query, guest: bytes, link: object, done: Done) -> bytes | Pending | None:
        """The answer, or what brings it, to be started by the caller; None beyond the bound."""
        ...

    def forget(self, pending: Pending) -> None:
        """It is done or cancelled."""
        ...


class DnsStream:
    """The far end of one connection; a :class:`~slirpy.interfaces.StreamPeer`."""

    __slots__ = (
        "_answers",
        "_asker",
        "_ended",
        "_guest",
        "_input",
        "_last",
        "_link",
        "_network",
        "_owner",
        "_refused",
        "_shut",
        "_timer",
        "_waiting",
    )

    def __init__(
        self, network: ServiceNetwork, asker: Asker, owner: StreamOwner, guest: bytes, link: object
    ) -> None:
        """Tells ``owner`` at once that it is connected; ``guest`` is the address of who asks, behind ``link``."""
        self._network = network
        self._guest = guest
        self._link = link
        self._asker = asker
        self._owner: StreamOwner | None = owner
        self._input = bytearray()
        self._answers: deque[bytes] = deque()
        self._waiting: dict[Pending, None] = {}  # in order, so that it ends the same in every run
        self._refused = False
        """A send was short, so the guest waits to hear of room."""
        self._shut = False
        """The guest has ended its direction."""
        self._ended = False
        """No more queries are read: the rest of the answers, then the end."""
        self._last = network.now
        self._timer: Timer | None = network.call_at(self._last + IDLE, self._idle)
        owner.connected()

    # ------------------------------------------------------------------------------------ StreamPeer

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes of the guest; see :meth:`slirpy.interfaces.StreamPeer.send`."""
        self._last = self._network.now
        taken = 0
        for buffer in buffers:
            view = memoryview(buffer)
            while view and not self._ended and self._owner is not None:
                room = _INPUT_MAX - len(self._input)
                if room == 0:
                    self._refused = True
                    return taken
                part = view[:room]
                self._input += part
                taken += len(part)
                view = view[len(part) :]
                self._read()
            taken += len(view)  # after the end nobody reads it, but it must not block the guest's FIN
        return taken

    def recv(self, limit: int) -> bytes | None:
        """Bytes for the guest; see :meth:`slirpy.interfaces.StreamPeer.recv`."""
        answers = self._answers
        if not answers:
            return b"" if self._finished else None
        self._last = self._network.now
        data = answers.popleft()
        if len(data) > limit:
            answers.appendleft(data[limit:])
            data = data[:limit]
        else:
            self._read()  # there is room for another query
            self._tell_room()
        if answers or self._finished:
            self._tell_readable()
        return data

    def shutdown(self) -> None:
        """No queries follow; what was asked is still answered."""
        self._shut = True
        if self._finished:
            self._tell_readable()

    def abort(self) -> None:
        """Release everything."""
        self.close()

    def close(self) -> None:
        """Release everything."""
        self._owner = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            pending, _ = self._waiting.popitem()
            pending.cancel()
            self._asker.forget(pending)
        self._answers.clear()
        self._input.clear()

    # ---------------------------------------------------------------------------------------- inside

    @property
    def _finished(self) -> bool:
        """Whether the end comes next."""
        return (self._shut or self._ended) and not self._answers and not self._waiting

    def _tell_readable(self) -> None:
        if self._owner is not None:
            self._owner.readable()

    def _tell_room(self) -> None:
        if self._refused and self._owner is not None and (self._ended or len(self._input) < _INPUT_MAX):
            self._refused = False
            self._owner.writable()

    def _read(self) -> None:
        """Start the queries that are there, as many as may be under way."""
        while not self._ended and len(self._waiting) + len(self._answers) < QUERIES_MAX:
            if len(self._input) < 2:
                return
            end = 2 + int.from_bytes(self._input[:2], "big")
            if len(self._input) < end:
                return
            message = bytes(self._input[2:end])
            del self._input[:end]
            self._query(message)

    def _query(self, message: bytes) -> None:
        stats = self._network.stats
        stats.dns_queries += 1
        query = read_query(message)
        if query is None:
            # Not DNS, so the lengths that follow cannot be trusted either.
            stats.drop_dns_malformed += 1
            self._end()
            return
        if query.malformed:
            stats.drop_dns_malformed += 1
            self._put(query.reply(FORMERR))
            return
        answer = self._asker.ask(query, self._guest, self._link, self._answered)
        if answer is None:
            stats.drop_dns_limit += 1
            answer = query.reply(SERVFAIL)
        if isinstance(answer, bytes):
            self._put(answer)
            return
        self._waiting[answer] = None
        answer.start()

    def _answered(self, pending: Pending, answer: Answer | None) -> None:
        self._waiting.pop(pending, None)
        self._asker.forget(pending)
        if answer is None:
            self._network.stats.dns_servfail += 1
            message = pending.query.reply(SERVFAIL)
        else:
            self._network.stats.dns_answers += 1
            message = answer.message
        self._last = self._network.now
        self._put(message)

    def _put(self, answer: bytes) -> None:
        self._answers.append(len(answer).to_bytes(2, "big") + answer)
        self._tell_readable()

    def _end(self) -> None:
        self._ended = True
        self._input.clear()
        if self._finished:
            self._tell_readable()

    def _idle(self) -> None:
        """Nothing may have happened for a while. Then we end, and if the guest does nothing even so, we break."""
        if self._waiting:
            self._last = self._network.now  # bounded by its own time-outs
        elif self._network.now - self._last >= IDLE:
            if self._ended or self._answers:
                owner = self._owner
                self.close()
                if owner is not None:
                    owner.failed(errno.ETIMEDOUT)
                return
            self._last = self._network.now
            self._end()
        if self._owner is not None:
            self._timer = self._network.call_at(self._last + IDLE, self._idle)
