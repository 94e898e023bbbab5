"""One DNS question on its way through the resolvers: the decisions, without sockets and without a clock.

A :class:`Resolution` decides which server to ask next and how long to wait. Its owner sends, and reports the
results::

    request = resolution.next(now)               # send it, then wait until resolution.deadline
    resolution.on_message(request, message, now)
    resolution.on_error(request, now)
    resolution.on_timeout(now)

After one of the last three either ``done`` is true and ``answer`` is final, or ``ready`` is true and it is time to
call ``next`` again, or nothing changes and the owner continues to wait.

The servers are asked in the order of :mod:`slirpy.services.dns.servers`: the next one after a second, or at once if
one refuses or replies that it cannot answer. Every server that was asked may still answer, so a slow one is not lost.
After all of them a second round begins, with two seconds for each. No question fails within its first five seconds
as long as a server may still answer it.

Each request has a random identifier; with a random port, which comes from its separate socket, a forger has to guess
32 bits (RFC 5452). With ``mix_case`` the letters of the name get random case, which a server repeats: one more bit
for each letter.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slirpy.records import NamedTuple
from slirpy.services.dns.servers import PATIENCE, Server, Servers
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire.dns import NOTIMP, REFUSED, SERVFAIL, TRUNCATED, Query, Records, records_of

__all__ = ["Answer", "Request", "Resolution"]

ROUNDS = 2
ENOUGH = 5 * SECOND
"""Minimum time, in nanoseconds, to wait for an answer."""
_UNABLE = frozenset((SERVFAIL, NOTIMP, REFUSED))
"""Response codes after which another server may do better."""


class Answer(NamedTuple):
    """The outcome of a question."""

    message: bytes
    """To be sent, with a new identifier, to each guest that asked."""
    records: Records | None = None
    """Records of the answer; None if only the header counts, and then it is not cached."""


class Request:
    """A question as it goes to one server. Times are monotonic nanoseconds.

    Attributes:
        server: the server.
        message: the query in wire format.
        sent_at: when it was sent first.
        over: whether it has been answered, has failed or was given up.
    """

    __slots__ = ("_identifier", "_query", "_question", "message", "over", "sent_at", "server")

    def __init__(self, server: Server, query: Query, question: bytes | None, identifier: int, now: int) -> None:
        self._identifier = identifier
        self._query = query
        self._question = question
        self.message = query.upstream(identifier, question or query.question)
        self.over = False
        self.sent_at = now
        self.server = server

    def answered_by(self, message: bytes) -> bool:
        """Report whether a message is an answer to this request."""
        return self._query.answered_by(message, self._identifier, self._question)


class Resolution:
    """The state of one question; see the module's text.

    Args:
        query: the question, as a guest asked it.
        servers: the servers to ask, and their history.
        stats: the counters.
        random: source of identifiers and cases.
        now: monotonic nanoseconds, as everywhere here.
        wake: called when ``ready`` becomes true because of another resolution: the server that this one waits for has
            failed. Call :meth:`next` later, not within the call.
        mix_case: whether the name is sent in random case.

    Attributes:
        query: the question.
        done: whether ``answer`` is final.
        answer: the outcome; None if there is none.
        ready: whether it is time to call :meth:`next`.
        deadline: the time for :meth:`on_timeout`.
    """

    __slots__ = (
        "_current", "_fallback", "_plan", "_question", "_random", "_requests", "_servers", "_started", "_stats",
        "_turn", "_wake", "answer", "deadline", "done", "query", "ready",
    )  # fmt: skip

    def __init__(
        self,
        query: Query,
        servers: Servers,
        stats: Stats,
        random: Random,
        now: int,
        wake: Callable[[], None],
        *,
        mix_case: bool,
    ) -> None:
        self.query = query
        self.done = False
        self.answer: Answer | None = None
        self.ready = True
        self.deadline = 0
        self._servers = servers
        self._stats = stats
        self._random = random
        self._wake = wake
        self._started = now
        self._plan = servers.plan(now)
        self._turn = 0  # counts on in the second round
        self._requests: dict[Server, Request] = {}
        self._current: Server | None = None  # the server whose turn it is
        self._fallback: Answer | None = None
        self._question = _mixed(query.question, random) if mix_case else None

    def next(self, now: int) -> Request | None:
        """The request to send now, for the first time or again; None if there is none.

        Without a request the resolution is ``done``, or the answers to earlier requests are awaited until
        ``deadline``.
        """
        self.ready = False
        self.leave()
        plan = self._plan
        while self._turn < ROUNDS * len(plan):
            again, index = divmod(self._turn, len(plan))
            if again and self._fallback is not None:
                break
            server = plan[index]
            request = self._requests.get(server)
            if request is not None and request.over:
                self._turn += 1
                continue  # it could not be asked, or has refused
            if self._turn:
                self._stats.dns_retries += 1
            self._turn += 1
            if request is None:
                identifier = self._random.getrandbits(16)
                request = self._requests[server] = Request(server, self.query, self._question, identifier, now)
            self._current = server
            server.wait(self._skip, now)
            self.deadline = now + PATIENCE * (1 + again)
            return request
        if self._fallback is None and self._may_be_answered():
            self.deadline = self._started + ENOUGH
        else:
            self._finish(self._fallback)
        return None

    def on_message(self, request: Request, message: bytes, now: int) -> None:
        """Take an answer; :meth:`Request.answered_by` is true for it."""
        request.over = True
        request.server.heard(now, request.sent_at)
        records = records_of(self.query, message)
        if records is not None:
            answer = Answer(message, records)
        elif message[2] & TRUNCATED:
            # Some servers cut through a record when they truncate. Only the fact that they did matters.
            answer = Answer(self.query.truncated())
        else:
            self._stats.drop_dns_bad_answer += 1
            self._after(request)
            return
        if message[3] & 0x0F in _UNABLE:
            if self._fallback is None:
                self._fallback = answer
            if self._turn < len(self._plan) or self._may_be_answered():
                self._after(request)
                return
            answer = self._fallback
        self._finish(answer)

    def on_error(self, request: Request, now: int, *, sent: bool = True) -> None:
        """Note that a server has refused a request, or with ``sent=False`` that it could not be sent at all."""
        request.over = True
        self._after(request)
        if sent:
            if request.server is self._current:
                self.leave()  # first, or the failure would wake this resolution
            self._servers.failed(request.server, now)

    def on_timeout(self, now: int) -> None:
        """Note that ``deadline`` has passed."""
        server = self._current
        if server is None:
            self._finish(self._fallback)
            return
        self.leave()  # first, or the failure would wake this resolution
        if server.silent_since(self._requests[server].sent_at):
            self._servers.failed(server, now)
        self.ready = True

    def leave(self) -> None:
        """Wait for no server any more. To be called when the resolution is given up."""
        server = self._current
        if server is not None:
            self._current = None
            server.leave(self._skip)

    def _skip(self) -> None:
        """Do not wait for the current server, which has failed, if there is another one."""
        if self._turn < len(self._plan):
            self.ready = True
            self._wake()

    def _after(self, request: Request) -> None:
        """Go on when a request is over without an answer to the question."""
        if request.server is self._current or (self._current is None and not self._may_be_answered()):
            self.ready = True

    def _may_be_answered(self) -> bool:
        return any(not request.over for request in self._requests.values())

    def _finish(self, answer: Answer | None) -> None:
        self.leave()
        self.ready = False
        self.done = True
        self.answer = answer


def _mixed(question: bytes, random: Random) -> bytes:
    """The question with the letters of the name in random case."""
    bits = random.getrandbits(len(question))
    name = bytearray(question[:-4])
    for at, byte in enumerate(name):
        if 0x41 <= byte & 0xDF <= 0x5A:  # length bytes are below the letters
            name[at] = byte & 0xDF | (bits >> at & 1) << 5
    return bytes(name) + question[-4:]
