"""DNS lookups of a :class:`~slirpy.testing.guest.Guest`, over UDP (RFC 1035)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import dnslib

from slirpy.config.values import as_text
from slirpy.errors import ConfigError
from slirpy.reprs import never_raises
from slirpy.testing.guest.host import GuestHost
from slirpy.testing.guest.udp import Message, UdpHost
from slirpy.units import SECOND

__all__ = ["Lookup"]

TIMEOUT = 5 * SECOND  # the default of resolv.conf(5)
TRIES = 2


def _query(name: str, kind: str) -> bytes:
    """Return a query whose identifier is 0.

    Raises:
        ConfigError: DNS has no such type of record, or cannot carry the name.
    """
    if not name or not kind:
        raise ConfigError(f"cannot ask for {name!r}, {kind!r}: give a name and a type of record, such as A")
    try:
        question = dnslib.DNSRecord.question(as_text("name", name), as_text("kind", kind))
        question.header.id = 0
        message: bytes = question.pack()
    except (dnslib.DNSError, UnicodeError) as error:
        raise ConfigError(f"cannot ask for {name!r}, {kind}: {error}") from None
    return message


class Lookup:
    """A query to a DNS server, and its answer."""

    def __init__(self, guest: GuestHost, udp: UdpHost, name: str, kind: str, server: bytes, port: int) -> None:
        self._guest = guest
        self._server = server
        self._port = port
        self._name = name
        query = _query(name, kind)
        self._socket = udp.open(0)
        self._socket.on_message = self._answered
        self._id = guest.random.getrandbits(16)
        self._message = self._id.to_bytes(2, "big") + query[2:]
        self.sent_at = guest.now
        """Nanoseconds."""
        self.done = False
        """True if an answer has arrived, or the last timeout has expired."""
        self.answered_at: int | None = None
        """Nanoseconds; None without an answer."""
        self.rcode: str | None = None
        """Response code such as ``"NOERROR"`` or ``"SERVFAIL"``; None without an answer."""
        self.truncated = False
        """True if the answer was truncated (TC)."""
        self.answers: list[str] = []
        """Data of the answer's records of the requested type, as text."""
        self.message = b""
        """The answer as received."""
        self.on_done: Callable[[], None] | None = None
        """Called when :attr:`done` becomes true."""
        self._kind = kind
        self._ask(TRIES)

    @never_raises
    def __repr__(self) -> str:
        outcome = self.rcode or ("no answer" if self.done else "waiting")
        return f"<Lookup {self._name} {self._kind}: {' '.join((outcome, *self.answers))}>"

    def _ask(self, tries: int) -> None:
        if self.done:
            return
        if not tries:
            self._end()
            return
        self._socket.send(self._message, self._server, self._port)
        self._guest.timers.call_at(self._guest.now + TIMEOUT, lambda: self._ask(tries - 1))

    def _answered(self, message: Message) -> None:
        if (message.address, message.port) != (ip_address(self._server), self._port):
            return
        try:
            answer = dnslib.DNSRecord.parse(message.payload)
        except dnslib.DNSError:
            self._guest.counters.malformed += 1
            return
        if answer.header.id != self._id or not answer.header.qr:
            return
        self.message = message.payload
        self.answered_at = self._guest.now
        self.rcode = dnslib.RCODE[answer.header.rcode]
        self.truncated = bool(answer.header.tc)
        self.answers = [str(record.rdata) for record in answer.rr if dnslib.QTYPE[record.rtype] == self._kind]
        self._end()

    def _end(self) -> None:
        self.done = True
        self._socket.close()
        if self.on_done is not None:
            self.on_done()
