"""The DNS server of the virtual network: local names, a cache, and everything else from outside.

Messages from outside pass through unchanged except for their identifier. The server speaks for itself only when no
resolver answers: a guest that gets SERVFAIL goes on at once, and one that gets nothing waits for many seconds.

A lookup in progress occupies a socket of the host for a few seconds. The number of lookups is limited, in total and
for each guest. A query beyond the limit is dropped, and the guest asks again: the lookups in progress are closer to
their answers, and end soon. Questions that can be answered at once are always answered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from slirpy.config import Config
from slirpy.config.dnsrecord import name_from_wire
from slirpy.config.resolver import Resolver
from slirpy.core.translation import Translation
from slirpy.fair import Tally
from slirpy.interfaces import (
    Datagram,
    Events,
    HostNetwork,
    Policy,
    ServiceNetwork,
    StreamOwner,
    StreamPeer,
)
from slirpy.records import NamedTuple
from slirpy.services.dns.cache import DnsCache
from slirpy.services.dns.filter import OutsideFilter
from slirpy.services.dns.local import GuestNames, LocalNames, with_alias
from slirpy.services.dns.lookup import ForwardedLookup, Lookup, Question
from slirpy.services.dns.pinning import OwnQuestion, PinnedNames
from slirpy.services.dns.resolution import Answer
from slirpy.services.dns.servers import RESOLV_CONF, ResolverList, Servers
from slirpy.services.dns.stream import DnsStream
from slirpy.services.dns.synthesis import Synthesis
from slirpy.services.dns.system import SystemLookup, may_look_up
from slirpy.wire.dns import FORMERR, NOTIMP, SERVFAIL, Query, make_query, read_query, records_of
from slirpy.wire.dnsanswer import HTTPS, SVCB, without_ech

__all__ = ["DnsService"]

PORT = 53
_LENGTH_MAX = 65_535
"""Bytes of a message over TCP."""
_DEFAULT = () if sys.platform == "win32" else (Resolver("127.0.0.1"),)
"""The resolvers if resolv.conf is missing or names none, as resolv.conf(5) says. Windows has no such file."""
QUERIES_MAX = 1024
"""Queries in progress over UDP."""
QUERIES_OF_GUEST_MAX = 512
"""Queries in progress over UDP of one guest address; for links see :class:`Quota`."""
TCP_QUERIES_MAX = 512
"""Queries in progress over TCP."""
TCP_QUERIES_OF_GUEST_MAX = 128
"""Queries in progress over TCP of one guest address."""


class Quota:
    """Limits what guests have in progress.

    A newcomer finds room whatever the others do: a link may hold three times as many as it leaves free, which is
    three quarters of what the other links do not hold.

    Args:
        total: maximum for all guests together.
        each: maximum for one address; a guest can have several.
    """

    __slots__ = ("_each", "_of_guest", "_of_link", "_taken", "_total")

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken = 0
        self._of_link: Tally[object] = Tally()
        self._of_guest: Tally[tuple[object, bytes]] = Tally()

    def __len__(self) -> int:
        """The number of addresses that have something in progress."""
        return len(self._of_guest)

    def acquire(self, link: object, guest: bytes) -> bool:
        """Count one more for an address behind a link. Returns False if it may not have that."""
        of_guest, of_link = self._of_guest.number((link, guest)), self._of_link.number(link)
        if of_link >= 3 * (self._total - self._taken) or of_guest >= self._each:
            return False
        self._taken += 1
        self._of_link.change(link, 1)
        self._of_guest.change((link, guest), 1)
        return True

    def release(self, link: object, guest: bytes) -> None:
        """Count one less."""
        self._taken -= 1
        self._of_link.change(link, -1)
        self._of_guest.change((link, guest), -1)

    def clear(self) -> None:
        """Release everything."""
        self._taken = 0
        self._of_link, self._of_guest = Tally(), Tally()


class _Transport(NamedTuple):
    """UDP or TCP. A server may answer over one of them and not over the other, so each has its own history."""

    servers: Servers
    quota: Quota


class _DatagramQuestion(Question):
    """A question that came over UDP."""

    __slots__ = ("_address", "_link", "_network", "_port")

    def __init__(self, network: ServiceNetwork, datagram: Datagram, query: Query) -> None:
        self.query = self.outside = query
        self.guest = datagram.source
        self.link = self._link = datagram.link
        self.tcp = False
        self.alias = self.lookup = self.other = None
        self.empty = b""
        self._address = datagram.destination
        self.mac = datagram.mac
        self.trusted = False
        self._network = network
        self._port = datagram.source_port
        self.key = self.guest, self._port, query.message[:2], query.question

    def deliver(self, message: bytes) -> None:
        """See :meth:`~slirpy.services.dns.lookup.Question.deliver`."""
        network = self._network
        if len(message) > self.query.udp_size:
            message = self.query.truncated()
            network.stats.dns_truncated += 1
        network.send_datagram(
            self._address, PORT, self.guest, self._port, message, mac=self.mac, link=self._link
        )


def _no_events() -> Events | None:
    return None


class DnsService:
    """A :class:`~slirpy.interfaces.Service` for UDP port 53, and :meth:`stream` for TCP port 53.

    Args:
        config: the options of DNS.
        network: where the guests are.
        host: where the resolvers are.
        resolv_conf: the file that names the resolvers, unless ``config.resolvers`` does.
        guests: knows the names of guests; None: they have none.
        translation: addresses that stand for hosts of the other family; None: as ``config`` says.
        names: hears of the addresses in answers to guests; None: nobody does.
        policy: returns the policy in force; None: that of ``config``.
        events: returns the sink of events, if there is one.
    """

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        host: HostNetwork,
        resolv_conf: str = RESOLV_CONF,
        guests: GuestNames | None = None,
        translation: Translation | None = None,
        names: PinnedNames | None = None,
        policy: Callable[[], Policy | None] | None = None,
        events: Callable[[], Events | None] = _no_events,
    ) -> None:
        self._names = names
        self._events = events
        self._filter = OutsideFilter(config, network.stats, policy or (lambda: config.policy))
        self._config = config
        self._network = network
        self._host = host
        self._resolver_list = ResolverList(config, network, resolv_conf)
        self._resolvers: Sequence[Resolver] = ()
        own = Resolver(config.dns_address, PORT)
        self._udp = _Transport(Servers(network.stats, own), Quota(QUERIES_MAX, QUERIES_OF_GUEST_MAX))
        self._tcp = _Transport(Servers(network.stats, own), Quota(TCP_QUERIES_MAX, TCP_QUERIES_OF_GUEST_MAX))
        translation = Translation(config) if translation is None else translation
        self._synthesis = Synthesis(translation)
        self.local = LocalNames(config, guests, translation)
        """The names that are answered here."""
        self._cache = DnsCache(config.dns_cache, network.stats)
        self._lookups: dict[bytes, Lookup] = {}
        self._asked: set[object] = set()  # keys of the questions over UDP that wait

    def close(self) -> None:
        """Give up all lookups and release their sockets."""
        for lookup in self._lookups.values():
            for question in lookup.questions:
                question.lookup = None
            lookup.cancel()
        self._lookups.clear()
        self._asked.clear()
        self._udp.quota.clear()
        self._tcp.quota.clear()
        self._cache.clear()

    # ------------------------------------------------------------------------------------------- in

    def datagram(self, datagram: Datagram) -> None:
        """Take a query from a guest, and answer it now or later."""
        stats = self._network.stats
        stats.dns_queries += 1
        query = read_query(bytes(datagram.payload))
        if query is None:
            stats.drop_dns_malformed += 1
            return
        question = _DatagramQuestion(self._network, datagram, query)
        if not query.question:
            stats.drop_dns_malformed += 1
            question.deliver(query.reply(FORMERR))
            return
        if question.key in self._asked:
            return  # the guest is impatient; its first query will be answered
        if self._udp.servers.returned(query.message):
            return
        message = self._ask(question)
        if message is not None:
            question.deliver(self._noted(question, message))

    def ask_for(self, question: OwnQuestion) -> None:
        """Answer a question of slirpy itself, now or later."""
        message = self._ask(question)
        if message is not None:
            question.deliver(self._noted(question, message))

    def give_up(self, question: OwnQuestion) -> None:
        """Stop looking for the answer to a question of slirpy itself."""
        self._abandon(question)

    def _noted(self, question: Question, message: bytes) -> bytes:
        """Record which addresses an answer gives to a guest, just before the guest gets it."""
        addresses = () if self._names is None else self._names.answered(question, message)
        query = question.query
        if query.qtype in (HTTPS, SVCB) and self._filter.by_name and not question.trusted:
            plain = without_ech(query, message)
            if plain is not message:
                self._network.stats.dns_ech_removed += 1
                message = query.reply(0) if plain is None else plain
        events = self._events()
        if events is not None and not isinstance(question, OwnQuestion):
            events.dns_answer(
                question.guest,
                question.link,
                question.mac,
                name_from_wire(query.name),
                query.qtype,
                message[3] & 0x0F,
                addresses,
            )
        return message

    def _tell_query(self, question: Question, outcome: str) -> None:
        events = self._events()
        if events is not None and not isinstance(question, OwnQuestion):
            query = question.query
            name = name_from_wire(query.name)
            events.dns_query(question.guest, question.link, question.mac, name, query.qtype, outcome)

    def stream(
        self, owner: StreamOwner, guest: bytes = bytes(4), link: object = None, mac: bytes = b""
    ) -> StreamPeer:
        """The far end of a guest's connection to port 53. ``owner`` is connected before this returns."""
        return DnsStream(self._network, self._ask_by_tcp, self._abandon, owner, guest, link, mac)

    def _ask_by_tcp(self, question: Question) -> bytes | None:
        if self._tcp.servers.returned(question.query.message):
            return question.query.reply(SERVFAIL)
        message = self._ask(question)
        return None if message is None else self._noted(question, message)

    # ------------------------------------------------------------------------------------------- ask

    def _ask(self, question: Question) -> bytes | None:
        """The answer to a question, if it is known; None: it is delivered later, or dropped."""
        query, network = question.query, self._network
        events = self._events()
        if events is not None and not events.ready:
            return query.reply(SERVFAIL)
        try:
            said = self.local.answer(query, question.guest)
        except Exception as error:  # of the program's function: raised where it does no harm
            network.call_at(network.now, partial(_throw, error))
            said = query.reply(SERVFAIL)
        if isinstance(said, bytes):
            network.stats.dns_local += 1
            question.trusted = not self.local.is_of_guest(query.name)
            self._tell_query(question, "local")
            return said
        if said is not None:
            question.alias = said
            question.outside = make_query(query, said.target)
        refusal = self._filter.refusal(question.outside, query.name, question.link, question.mac, network.now)
        self._tell_query(question, refusal[1] if refusal else "forwarded")
        if refusal is not None:
            return query.reply(refusal[0])
        message = self._ask_outside(question)
        if message is not None and self._asks_other(question, message):
            message = self._ask_outside(question)
        if message is None or (question.alias is None and question.other is None):
            return message
        return self._final(question, Answer(message))

    def _asks_other(self, question: Question, message: bytes) -> bool:
        """Report whether the other family's addresses should be asked for, since an answer has none of the
        guest's.
        """
        if question.other is None:
            question.other = self._synthesis.other_question(question.outside, message)
            if question.other is not None:
                question.empty = question.outside.readdressed(message)
                self._network.stats.dns_translated += 1
                return True
        return False

    def _ask_outside(self, question: Question) -> bytes | None:
        """The answer to a question for a name that is not local; None as above."""
        network, query = self._network, question.other or question.outside
        resolvers = self._resolver_list.current()
        unknown = not resolvers and self._config.resolvers is None
        if unknown:
            resolvers = _DEFAULT
        if resolvers is not self._resolvers:
            self._update(resolvers)
        cached = self._cache.get(query, network.now)
        if cached is not None:
            network.stats.dns_cache_hits += 1
            return cached
        by_system = self._config.dns_mode == "system" or (unknown and self._config.dns_mode == "auto")
        default = None
        if by_system and not may_look_up(query):
            if not resolvers:
                return query.reply(NOTIMP)
            by_system = False
            if unknown:
                default = Answer(query.reply(NOTIMP))
        key = (b"\1" if question.tcp else b"\0") + query.share_key
        lookup = self._lookups.get(key)
        if lookup is not None:
            network.stats.dns_joined += 1
            self._join(question, lookup)
            return None
        transport = self._tcp if question.tcp else self._udp
        if by_system:
            lookup = SystemLookup(key, query, self._finished, network, self._host)
        else:
            lookup = ForwardedLookup(
                key,
                query,
                self._finished,
                network,
                self._host,
                transport.servers,
                tcp=question.tcp,
                mix_case=self._config.dns_mix_case,
            )
        lookup.default = default
        if self._join(question, lookup):
            self._lookups[key] = lookup
            lookup.start()
        return None

    def _update(self, resolvers: Sequence[Resolver]) -> None:
        """Use these resolvers. A cached answer may be wrong if others are asked."""
        if tuple(resolvers) != tuple(self._resolvers):
            self._udp.servers.update(resolvers)
            self._tcp.servers.update(resolvers)
            self._cache.clear()
        self._resolvers = resolvers

    def _join(self, question: Question, lookup: Lookup) -> bool:
        """Let a question wait for a lookup. Beyond the limit it is dropped, or refused if it came over TCP."""
        transport = self._tcp if question.tcp else self._udp
        if not transport.quota.acquire(question.link, question.guest):
            self._network.stats.drop_dns_limit += 1
            if question.tcp:
                question.deliver(question.query.reply(SERVFAIL))
            return False
        question.lookup = lookup
        lookup.questions[question] = None
        if question.key is not None:
            self._asked.add(question.key)
        return True

    def _abandon(self, question: Question) -> None:
        """Give up a question, and its lookup if no other question waits for it."""
        lookup, question.lookup = question.lookup, None
        if lookup is None:
            return
        transport = self._tcp if question.tcp else self._udp
        transport.quota.release(question.link, question.guest)
        del lookup.questions[question]
        if not lookup.questions:
            del self._lookups[lookup.key]
            lookup.cancel()

    # ------------------------------------------------------------------------------------------- out

    def _finished(self, lookup: Lookup, answer: Answer | None) -> None:
        """Cache the outcome of a lookup, and deliver it."""
        del self._lookups[lookup.key]
        if answer is None:
            answer = lookup.default
        elif answer.records is not None:
            message = self._synthesis.without_mapped(lookup.query, answer.message)
            if message is not answer.message:
                answer = Answer(message, records_of(lookup.query, message))
            if answer.records is not None:
                self._cache.put(lookup.query, answer.message, answer.records, self._network.now)
        for question in lookup.questions:
            question.lookup = None
        for question in lookup.questions:
            transport = self._tcp if question.tcp else self._udp
            transport.quota.release(question.link, question.guest)
            self._asked.discard(question.key)
            answer_of_question = answer
            # No answer is a failure of the server (RFC 6147, section 5.1.3), which does not end the search.
            if self._asks_other(
                question, question.outside.reply(SERVFAIL) if answer is None else answer.message
            ):
                other = self._ask_outside(question)
                if other is None:
                    continue
                answer_of_question = Answer(other)
            question.deliver(self._noted(question, self._final(question, answer_of_question)))

    def _final(self, question: Question, answer: Answer | None) -> bytes:
        """The answer to a guest's question, made from the one from outside."""
        message = None
        if answer is not None and question.other is not None:
            room = _LENGTH_MAX if question.tcp else question.query.udp_size
            message = self._synthesis.answer(question.outside, question.empty, answer.message, room)
        elif answer is not None:
            message = question.outside.readdressed(answer.message)
        if message is not None and question.alias is not None:
            message = with_alias(question.query, question.alias, message)
        if message is None:
            self._network.stats.dns_servfail += 1
            return question.query.reply(SERVFAIL)
        self._network.stats.dns_answers += 1
        return message


def _throw(error: Exception) -> NoReturn:
    raise error
