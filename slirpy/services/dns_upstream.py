"""One DNS query on its way through the host's resolvers, over UDP or over TCP.

The servers are asked in the order of :mod:`slirpy.services.dns_servers`: the next one after a second, or at once if
one refuses or says that it cannot tell. The answer of each that was asked counts, so a slow one is not lost. After
all of them the round begins again, with two seconds each; nobody is given up within five seconds.

Each server is asked from a socket of its own, which gives it a random port, and with a random identifier, so that a
forged answer has 32 bits to guess (RFC 5452). With ``mix`` the letters of the name get a random case, which a
server repeats: one more bit for each letter.

What the host reports is only noted, and acted on at the next flush: sockets are then never closed inside of
their own callbacks, and a host that reports before its call has returned needs no care.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from slirpy.interfaces import HostNetwork, ServiceNetwork, Timer
from slirpy.services.dns_attempt import Attempt, TcpAttempt, UdpAttempt
from slirpy.services.dns_cache import records_of
from slirpy.services.dns_message import NOTIMP, REFUSED, SERVFAIL, Query
from slirpy.services.dns_servers import PATIENCE, Server, Servers
from slirpy.services.dns_wire import Records
from slirpy.units import SECOND

__all__ = ["Answer", "Done", "Forwarded", "Pending"]

ROUNDS = 2
ENOUGH = 5 * SECOND
"""Nanoseconds for which an answer is awaited at least."""
_UNABLE = frozenset((SERVFAIL, NOTIMP, REFUSED))
"""Response codes after which another server may do better."""
_TRUNCATED = 0x02


class Answer:
    """An answer from outside, under the guest's identifier."""

    __slots__ = ("message", "records")

    def __init__(self, message: bytes, records: Records | None) -> None:
        self.message = message
        self.records = records
        """None if it is one of which only the header counts."""


class Pending(Protocol):
    """A query to which the answer comes later."""

    query: Query

    def start(self) -> None:
        """Begin. The outcome may be told within this call."""
        ...

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        ...


Done: TypeAlias = Callable[[Pending, Answer | None], None]
"""Called once with the answer, or None if there is none to be had."""


class Forwarded:
    """A :class:`Pending` that is answered by a server."""

    __slots__ = (
        "_acting", "_attempts", "_current", "_done", "_fallback", "_host", "_hurried", "_network", "_next",
        "_plan", "_question", "_servers", "_started", "_tcp", "_timer", "query",
    )  # fmt: skip

    def __init__(
        self,
        network: ServiceNetwork,
        host: HostNetwork,
        servers: Servers,
        query: Query,
        done: Done,
        *,
        tcp: bool = False,
        mix: bool = False,
    ) -> None:
        """``done`` may be called by :meth:`start` already."""
        self._network = network
        self._host = host
        self._servers = servers
        self._plan = servers.plan(network.now)
        self._next = 0
        """How many turns there were; the second round counts on."""
        self._attempts: dict[Server, Attempt] = {}
        self._current: Server | None = None
        """Whose turn it is."""
        self._started = network.now
        self._fallback: Answer | None = None
        self._timer: Timer | None = None
        self._acting: Timer | None = None
        self._hurried = False
        self._done: Done | None = done
        self._tcp = tcp
        self._question = _mixed(query.question, network) if mix and not query.malformed else None
        self.query = query

    # ------------------------------------------------------------------------------------- Pending

    def start(self) -> None:
        """Ask the first server that can be asked."""
        self._advance()

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._done = None
        self._stop()

    # ------------------------------------------------------------------------------ for its attempts

    def note(self) -> None:
        """Something happened: look at it at the next flush."""
        if self._acting is None and self._done is not None:
            self._acting = self._network.call_at(self._network.now, self._act)

    def hurry(self) -> None:
        """See :class:`~slirpy.services.dns_servers.Waiter`."""
        if self._next < len(self._plan):
            self._hurried = True
            self.note()

    def matches(self, message: bytes, identifier: int) -> bool:
        """Whether a message answers what was sent under an identifier."""
        return self.query.answered_by(message, identifier, self._question)

    # ---------------------------------------------------------------------------------------- inside

    def _advance(self) -> None:
        """It is the turn of the next server."""
        network, plan = self._network, self._plan
        self._leave()
        while self._next < ROUNDS * len(plan):
            again, index = divmod(self._next, len(plan))
            if again and self._fallback is not None:
                break
            server = plan[index]
            attempt = self._attempts.get(server)
            if again and (attempt is None or attempt.over):
                self._next += 1
                continue  # it could not be asked, or has refused
            if self._next:
                network.stats.dns_retries += 1
            self._next += 1
            if attempt is None:
                attempt = self._attempt(server)
                sent = attempt.open()
            else:
                sent = attempt.repeat()
            if sent:
                self._current = server
                server.wait(self, network.now)
                patience = PATIENCE * (1 + again)
                self._timer = network.call_at(network.now + patience, self._late)
                return
            attempt.close()
        self._await()

    def _attempt(self, server: Server) -> Attempt:
        network = self._network
        identifier = network.random.getrandbits(16)
        message = self.query.upstream(identifier, self._question or self.query.question)
        kind = TcpAttempt if self._tcp else UdpAttempt
        attempt = self._attempts[server] = kind(self, self._host, server, identifier, message, network)
        self._servers.sending(server, message, attempt.fail)
        return attempt

    def _await(self) -> None:
        """All turns are over. Who was asked may still answer, unless somebody has already, or time is up."""
        live = any(not attempt.over for attempt in self._attempts.values())
        if live and self._fallback is None:
            self._timer = self._network.call_at(self._started + ENOUGH, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self._finish(self._fallback)

    def _late(self) -> None:
        """The present server has had its time."""
        self._timer = None
        server = self._current
        self._leave()  # first, or we were told to hurry
        if server is not None and server.silent_since(self._attempts[server].sent_at):
            self._servers.failed(server, self._network.now)
        self._advance()

    def _act(self) -> None:
        """Look at what was noted."""
        self._acting = None
        forward, self._hurried = self._hurried, False
        for server, attempt in [item for item in self._attempts.items() if not item[1].over]:
            message = attempt.look()
            if message is not None:
                server.heard(self._network.now, attempt.sent_at)
                attempt.close()
                if self._take(message):
                    return
            elif attempt.over:
                attempt.close()
                self._servers.failed(server, self._network.now)
            else:
                continue
            forward = forward or server is self._current
        if forward or (self._current is None and all(item.over for item in self._attempts.values())):
            self._advance()

    def _take(self, message: bytes) -> bool:
        """Use an answer; False if another server should be heard."""
        records = records_of(self.query, message)
        if records is None:
            if not message[2] & _TRUNCATED:
                self._network.stats.drop_dns_bad_answer += 1
                return False
            # Some cut a record in two when they truncate. What counts is that they did.
            answer = Answer(self.query.truncated(), None)
        else:
            answer = Answer(self.query.mine(message), records)
        if message[3] & 0x0F in _UNABLE:
            if self._fallback is None:
                self._fallback = answer
            if self._next < len(self._plan) or any(not attempt.over for attempt in self._attempts.values()):
                return False
            answer = self._fallback
        self._finish(answer)
        return True

    def _finish(self, answer: Answer | None) -> None:
        done, self._done = self._done, None
        self._stop()
        if done is not None:
            done(self, answer)

    def _leave(self) -> None:
        """It is nobody's turn."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._current is not None:
            self._current.leave(self)
            self._current = None

    def _stop(self) -> None:
        self._leave()
        if self._acting is not None:
            self._acting.cancel()
            self._acting = None
        for attempt in self._attempts.values():
            attempt.close()
            self._servers.finished(attempt.message)


def _mixed(question: bytes, network: ServiceNetwork) -> bytes:
    """The question with letters of the name in upper and lower case by chance."""
    bits = network.random.getrandbits(len(question))
    name = bytearray(question[:-4])
    for at, byte in enumerate(name):
        if 0x41 <= byte & 0xDF <= 0x5A:  # lengths of labels are below the letters
            name[at] = byte & 0xDF | (bits >> at & 1) << 5
    return bytes(name) + question[-4:]
