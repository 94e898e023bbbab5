"""Names of destinations: the answers that guests got from the DNS server, and the addresses to which the names
resolve now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from slirpy.config.dnsrecord import name_from_wire, name_to_wire
from slirpy.core.pins import Pin, Pins
from slirpy.core.translation import Translation
from slirpy.interfaces import FlowRequest, ServiceNetwork
from slirpy.services.dns.lookup import Question
from slirpy.wire.dns import TRUNCATED, Query, read_query
from slirpy.wire.dnsanswer import addresses_in

__all__ = ["OwnQuestion", "PinnedNames"]

A, AAAA = 1, 28
_KINDS = {4: A, 16: AAAA}
_HEADER = b"\0\0\1\0\0\1\0\0\0\0\0\1"
"""One question, with the wish for recursion and an OPT record."""
_OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
"""EDNS of version 0 for answers of up to 1232 bytes."""


class OwnQuestion(Question):
    """A question of slirpy itself, on behalf of a guest: what does a name resolve to now?

    It is asked over UDP, and again over TCP if the answer is cut short.
    """

    __slots__ = ("_ask", "done")

    def __init__(self, query: Query, request: FlowRequest, ask: Asking, done: Callable[[], object]) -> None:
        super().__init__(query, request.source_bytes, request.link, mac=request.mac_bytes)
        self.tcp = False
        self._ask = ask
        self.done: Callable[[], object] | None = done

    def deliver(self, message: bytes) -> None:
        """See :meth:`~slirpy.services.dns.lookup.Question.deliver`."""
        if message[2] & TRUNCATED and not self.tcp and self.done is not None:
            self.tcp = True
            self.other, self.outside = None, self.query
            self._ask(self)
            return
        done, self.done = self.done, None
        if done is not None:
            done()


Asking: TypeAlias = Callable[[OwnQuestion], object]


class PinnedNames:
    """The names of destinations; a :class:`~slirpy.nat.namesource.NameSource`.

    Args:
        pins: the table.
        network: gives the time.
        translation: addresses that stand for hosts of the other family.
    """

    def __init__(self, pins: Pins, network: ServiceNetwork, translation: Translation) -> None:
        self._pins = pins
        self._network = network
        self._translation = translation
        self._server: tuple[Asking, Asking] | None = None

    def ask_of(self, ask: Asking, give_up: Asking) -> None:
        """Resolve names by a server from now on.

        Args:
            ask: finds an answer to a question, and delivers it now or later.
            give_up: ends the search for it.
        """
        self._server = ask, give_up

    def answered(self, question: Question, message: bytes) -> tuple[bytes, ...]:
        """Record the addresses in an answer that a guest gets. Returns those that the name may open."""
        query = question.query
        if not question.mac or query.qtype not in (A, AAAA):
            return ()
        found = []
        for address, ttl in addresses_in(query, message):
            host = self._translation.host(address)
            if host != b"":
                found.append((host or address, ttl))
        length = 4 if query.qtype == A else 16
        if any(len(address) != length for address, _ in found):  # they stand for hosts of the other family
            length = 20 - length
        return self._pins.note(
            _link_of(question.link),
            question.mac,
            name_from_wire(query.name),
            length,
            found,
            self._network.now,
            trusted=question.trusted,
        )

    def names(self, request: FlowRequest) -> tuple[str, ...]:
        """Return the names that a destination stands for."""
        if not request.mac_bytes:
            return ()
        return self._pins.names(request.link, request.mac_bytes, request.destination_bytes, self._network.now)

    def unpinned(self, request: FlowRequest) -> tuple[str, ...]:
        """Return the names whose answers contained a destination that they may not open."""
        if not request.mac_bytes:
            return ()
        return self._pins.unpinned(
            request.link, request.mac_bytes, request.destination_bytes, self._network.now
        )

    def may_open(self, address: bytes) -> bool:
        """Report whether an answer from outside may open an address."""
        return self._pins.may_open(address)

    def current(self, request: FlowRequest, name: str) -> list[bytes]:
        """Return the addresses of a name now; see :meth:`slirpy.nat.namesource.NameSource.current`."""
        length = len(request.destination_bytes)
        return self._pins.current(request.link, request.mac_bytes, name, length, self._network.now)

    def resolve(
        self, request: FlowRequest, name: str, done: Callable[[list[bytes]], object]
    ) -> Callable[[], object] | None:
        """Ask for the addresses of a name; see :meth:`slirpy.nat.namesource.NameSource.resolve`."""
        if self._server is None:
            done([])
            return None
        ask, cancel = self._server
        # A guest that knows hosts of the other family by addresses of its own asks for those.
        length = len(request.destination_bytes)
        if length != len(request.source_bytes) and self._translation.seen(request.destination_bytes):
            length = len(request.source_bytes)
        try:
            wire = name_to_wire(name)
        except ValueError:
            done([])
            return None
        query = read_query(_HEADER + wire + _KINDS[length].to_bytes(2, "big") + b"\0\1" + _OPT)
        if query is None:
            done([])
            return None
        question = OwnQuestion(query, request, ask, lambda: done(self.current(request, name)))
        ask(question)
        if question.done is None:
            return None

        def give_up() -> None:
            question.done = None
            cancel(question)

        return give_up

    def use(self, request: FlowRequest, name: str) -> Pin | None:
        """Keep the pin of a name for a flow."""
        return self._pins.use(request.link, request.mac_bytes, name, request.destination_bytes)

    def release(self, pin: Pin) -> None:
        """End the use of a pin."""
        self._pins.release(pin, self._network.now)

    def lost(self, link: object) -> None:
        """Keep the pins of guests behind a link that is detached, for their MAC addresses."""
        self._pins.lost(link)


def _link_of(link: object) -> object:
    """The link of a port, or the link itself."""
    return getattr(link, "link", link)
