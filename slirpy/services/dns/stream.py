"""A guest's TCP connection to the DNS server (RFC 7766): messages, each with its length in front.

A guest may send queries without waiting for answers; the answers go back in the order in which they are found. At
most :data:`QUERIES_MAX` queries are under way or have answers that the guest has not fetched. Beyond that the guest's
bytes are not accepted, so the window of its connection closes. This bounds the memory: that number of answers of 64
KiB, and one message of the guest.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from slirpy.interfaces import Buffer, ServiceNetwork, StreamOwner, Timer
from slirpy.services.dns.lookup import Question
from slirpy.units import SECOND
from slirpy.wire.dns import FORMERR, Query, read_query

__all__ = ["Abandon", "Ask", "DnsStream"]

QUERIES_MAX = 16
IDLE = 30 * SECOND
"""Nanoseconds without a byte in either direction and without a query under way, after which the server ends."""
_INPUT_MAX = 2 + 65_535

Ask: TypeAlias = Callable[[Question], bytes | None]
"""Answers a question; None: :meth:`Question.deliver` is called with the answer, perhaps before this returns."""
Abandon: TypeAlias = Callable[[Question], None]
"""Gives up a question that has not been delivered."""


class _StreamQuestion(Question):
    """A question that came over a connection."""

    __slots__ = ("_stream",)

    def __init__(self, stream: DnsStream, query: Query, guest: bytes, link: object, mac: bytes) -> None:
        super().__init__(query, guest, link, mac=mac)
        self._stream = stream

    def deliver(self, message: bytes) -> None:
        """See :meth:`~slirpy.services.dns.lookup.Question.deliver`."""
        self._stream.answered(self, message)


class DnsStream:
    """The far end of one connection; a :class:`~slirpy.interfaces.StreamPeer`."""

    __slots__ = (
        "_abandon", "_answers", "_ask", "_ended", "_guest", "_input", "_last", "_link", "_mac", "_network", "_owner",
        "_refused", "_shut", "_timer", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        network: ServiceNetwork,
        ask: Ask,
        abandon: Abandon,
        owner: StreamOwner,
        guest: bytes,
        link: object,
        mac: bytes = b"",
    ) -> None:
        """Connect ``owner`` at once. ``guest`` is the address of the guest, and ``link`` the link it is behind."""
        self._network = network
        self._ask = ask
        self._abandon = abandon
        self._guest = guest
        self._link = link
        self._mac = mac
        self._owner: StreamOwner | None = owner
        self._input = bytearray()
        self._answers: deque[bytes] = deque()
        self._waiting: dict[Question, None] = {}  # in order, so that every run ends in the same way
        self._refused = False
        """True if a send was cut short, and the guest waits for room."""
        self._shut = False
        """True if the guest has ended its direction."""
        self._ended = False
        """True if no more queries are read: the remaining answers follow, then the end."""
        self._last = network.now
        self._timer: Timer | None = network.call_at(self._last + IDLE, self._idle)
        owner.connected()

    # ------------------------------------------------------------------------------------ StreamPeer

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes from the guest; see :meth:`slirpy.interfaces.StreamPeer.send`."""
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
            taken += len(view)  # it is discarded after the end, but must not block the guest's FIN
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
            self._signal_room()
        if answers or self._finished:
            self._signal_readable()
        return data

    def shutdown(self) -> None:
        """Note that no queries follow. Those that are under way are still answered."""
        self._shut = True
        if self._finished:
            self._signal_readable()

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
            question, _ = self._waiting.popitem()
            self._abandon(question)
        self._answers.clear()
        self._input.clear()

    # ---------------------------------------------------------------------------------------- inside

    @property
    def _finished(self) -> bool:
        """True if the end of the stream comes next."""
        return (self._shut or self._ended) and not self._answers and not self._waiting

    def _signal_readable(self) -> None:
        if self._owner is not None:
            self._owner.readable()

    def _signal_room(self) -> None:
        if self._refused and self._owner is not None and (self._ended or len(self._input) < _INPUT_MAX):
            self._refused = False
            self._owner.writable()

    def _read(self) -> None:
        """Start the queries that have arrived, as many as may be under way."""
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
            # This is not DNS, so the lengths that follow cannot be trusted either.
            stats.drop_dns_malformed += 1
            self._end()
            return
        if not query.question:
            stats.drop_dns_malformed += 1
            self._put(query.reply(FORMERR))
            return
        question = _StreamQuestion(self, query, self._guest, self._link, self._mac)
        self._waiting[question] = None
        answer = self._ask(question)
        if answer is not None:
            del self._waiting[question]
            self._put(answer)

    def answered(self, question: Question, message: bytes) -> None:
        """Take the answer to a question that was under way."""
        self._waiting.pop(question, None)
        self._last = self._network.now
        self._put(message)

    def _put(self, answer: bytes) -> None:
        self._answers.append(len(answer).to_bytes(2, "big") + answer)
        self._signal_readable()

    def _end(self) -> None:
        self._ended = True
        self._input.clear()
        if self._finished:
            self._signal_readable()

    def _idle(self) -> None:
        """End an idle connection; if the guest does not even react to that, reset it."""
        if self._waiting:
            self._last = self._network.now  # bounded by the timeouts of the lookups
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
