"""The DNS server of the virtual network. It answers local names itself, and the rest from its cache, or from outside.

Messages from outside pass through as they are, under another identifier. Only where no resolver answers the server
speaks for itself, since a guest that gets no answer waits for many seconds, and a guest that gets SERVFAIL does not.

A query in progress costs a socket of the host for a few seconds. Their number is bounded, over all and for each
guest; beyond it the new one is dropped and the guest asks again, because those under way are closer to their
answers, and they make room by themselves. What can be answered at once is always answered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, NoReturn

from slirpy.config import Config
from slirpy.interfaces import Datagram, HostNetwork, LinkSink, ServiceNetwork, StreamOwner, StreamPeer
from slirpy.rules.resolver import Resolver
from slirpy.services.dns_cache import DnsCache
from slirpy.services.dns_local import Alias, Leases, LocalNames, with_alias
from slirpy.services.dns_message import FORMERR, NOTIMP, SERVFAIL, Query, fitted, make_query, read_query
from slirpy.services.dns_quota import Quota
from slirpy.services.dns_servers import Servers
from slirpy.services.dns_shared import SharedQueries
from slirpy.services.dns_system import SystemLookup, may_look_up
from slirpy.services.dns_tcp import DnsStream
from slirpy.services.dns_upstream import Answer, Done, Forwarded, Pending
from slirpy.services.resolvers import RESOLV_CONF, ResolverList

__all__ = ["DnsService"]

PORT = 53
_DEFAULT = () if sys.platform == "win32" else (Resolver(b"\x7f\0\0\1"),)
"""Servers where resolv.conf is missing or names none, as resolv.conf(5) has it. Windows has no such file."""
QUERIES_MAX = 1024
"""Queries in progress over UDP."""
QUERIES_OF_GUEST_MAX = 512
"""Of one guest address, over UDP; for links see :class:`~slirpy.services.dns_quota.Quota`."""
TCP_QUERIES_MAX = 512
"""Queries in progress over TCP."""
TCP_QUERIES_OF_GUEST_MAX = 128
"""Of one guest address, over TCP; as above."""


class _Guest(NamedTuple):
    """Who asked, and how to get there."""

    address: bytes
    port: int
    mac: bytes
    sink: LinkSink


class _Key(NamedTuple):
    """What makes a query the same as another one of the same guest."""

    address: bytes
    port: int
    id: int
    question: bytes


def _no_leases() -> Iterable[tuple[str, bytes]]:
    return ()


class DnsService:
    """A :class:`~slirpy.interfaces.Service` for UDP port 53, and :meth:`stream` for TCP port 53."""

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        host: HostNetwork,
        resolv_conf: str = RESOLV_CONF,
        leases: Leases = _no_leases,
    ) -> None:
        """Set up the server.

        Args:
            config: with the options of DNS.
            network: where the guests are.
            host: where the resolvers are.
            resolv_conf: the file that names the resolvers, unless ``config.resolvers`` does.
            leases: gives the names of guests.
        """
        self._config = config
        self._address = config.dns_address
        self._network = network
        self._host = host
        self._resolvers = ResolverList(config, network, resolv_conf)
        own = Resolver(self._address, PORT)
        self._udp_servers = Servers(network.stats, own)
        self._tcp_servers = Servers(network.stats, own)  # a server may answer here and not there
        self._local = LocalNames(config, leases)
        self._cache = DnsCache(config.dns_cache, network.stats)
        self._shared = SharedQueries()
        self._asked: dict[_Key, Pending] = {}
        self._asked_by_tcp: dict[Pending, tuple[object, bytes]] = {}
        self._quota = Quota(QUERIES_MAX, QUERIES_OF_GUEST_MAX)
        self._tcp_quota = Quota(TCP_QUERIES_MAX, TCP_QUERIES_OF_GUEST_MAX)

    def close(self) -> None:
        """Give up all queries and release their sockets."""
        for pending in (*self._asked.values(), *self._asked_by_tcp):
            pending.cancel()
        self._asked.clear()
        self._asked_by_tcp.clear()
        self._quota.clear()
        self._tcp_quota.clear()
        self._cache.clear()

    # ------------------------------------------------------------------------------------------- UDP

    def datagram(self, datagram: Datagram) -> None:
        """Take a query of a guest, and answer it now or later."""
        stats = self._network.stats
        stats.dns_queries += 1
        query = read_query(bytes(datagram.payload))
        if query is None:
            stats.drop_dns_malformed += 1
            return
        guest = _Guest(datagram.source, datagram.source_port, datagram.mac, datagram.sink)
        if query.malformed:
            stats.drop_dns_malformed += 1
            self._reply(guest, query.reply(FORMERR))
            return
        key = _Key(guest.address, guest.port, query.id, query.question)
        if key in self._asked:
            return  # the guest is impatient; it gets the answer to its first try
        if self._udp_servers.returned(query.message):
            return
        answer = self._resolve(query, guest.address, partial(self._answered, key, guest, query), tcp=False)
        if isinstance(answer, bytes):
            self._reply_fitted(guest, query, answer)
        elif self._quota.take(guest.sink, guest.address):
            self._asked[key] = answer
            answer.start()
        else:
            answer.cancel()
            stats.drop_dns_limit += 1

    def _answered(
        self, key: _Key, guest: _Guest, query: Query, pending: Pending, answer: Answer | None
    ) -> None:
        del self._asked[key]
        self._quota.give(guest.sink, guest.address)
        self._reply_fitted(guest, query, self._message(query, answer))

    def _reply_fitted(self, guest: _Guest, query: Query, message: bytes) -> None:
        fitting = fitted(query, message)
        if fitting is not message:
            self._network.stats.dns_truncated += 1
        self._reply(guest, fitting)

    def _reply(self, guest: _Guest, message: bytes) -> None:
        self._network.send_datagram(
            self._address, PORT, guest.address, guest.port, message, mac=guest.mac, sink=guest.sink
        )

    # ------------------------------------------------------------------------------------------- TCP

    def stream(self, owner: StreamOwner, guest: bytes = bytes(4), link: object = None) -> StreamPeer:
        """The far end of a guest's connection to port 53. ``owner`` is connected before this returns."""
        return DnsStream(self._network, self, owner, guest, link)

    def ask(self, query: Query, guest: bytes, link: object, done: Done) -> bytes | Pending | None:
        """Answer a query of a connection; see :class:`~slirpy.services.dns_tcp.Asker`."""
        if self._tcp_servers.returned(query.message):
            return query.reply(SERVFAIL)
        answer = self._resolve(query, guest, done, tcp=True)
        if isinstance(answer, bytes):
            return answer
        if not self._tcp_quota.take(link, guest):
            answer.cancel()
            return None
        self._asked_by_tcp[answer] = link, guest
        return answer

    def forget(self, pending: Pending) -> None:
        """A query of a connection is done or cancelled."""
        asker = self._asked_by_tcp.pop(pending, None)
        if asker is not None:
            self._tcp_quota.give(*asker)

    # ----------------------------------------------------------------------------------------- both

    def _message(self, query: Query, answer: Answer | None) -> bytes:
        if answer is None:
            self._network.stats.dns_servfail += 1
            return query.reply(SERVFAIL)
        self._network.stats.dns_answers += 1
        return answer.message

    def _resolve(self, query: Query, guest: bytes, done: Done, *, tcp: bool) -> bytes | Pending:
        """The answer, or what brings it when it is started."""
        try:
            said = self._local.answer(query, guest, self._network.now)
        except Exception as error:  # of a function of the program: it is told where it can do no harm
            self._network.call_at(self._network.now, partial(_throw, error))
            said = query.reply(SERVFAIL)
        if isinstance(said, bytes):
            self._network.stats.dns_local += 1
            return said
        if said is not None:
            return self._resolve_alias(query, said, done, tcp=tcp)
        return self._outside(query, done, tcp=tcp)

    def _resolve_alias(self, query: Query, alias: Alias, done: Done, *, tcp: bool) -> bytes | Pending:
        """An answer in two parts: the alias, and what it stands for."""

        def joined(answer: Answer | None) -> Answer | None:
            message = None if answer is None else with_alias(query, alias, answer.message)
            return None if message is None else Answer(message, None)

        answer = self._outside(
            make_query(query, alias.target), lambda pending, found: done(pending, joined(found)), tcp=tcp
        )
        if isinstance(answer, bytes):
            return self._message(query, joined(Answer(answer, None)))
        return answer

    def _outside(self, query: Query, done: Done, *, tcp: bool) -> bytes | Pending:
        """The answer to a name that is none of ours, or what brings it when it is started."""
        network = self._network
        current = self._resolvers.current()
        unknown = self._config.resolvers is None and not current
        if unknown:
            current = _DEFAULT
        if self._udp_servers.update(current):
            self._tcp_servers.update(current)
            self._cache.clear()  # the world may look different to other servers
        servers = self._tcp_servers if tcp else self._udp_servers
        cached = self._cache.get(query, network.now)
        if cached is not None:
            network.stats.dns_cache_hits += 1
            return cached
        by_system = self._config.dns_mode == "system" or (self._config.dns_mode == "auto" and unknown)
        nobody = None  # what is said if no server answers
        if by_system and not may_look_up(query):
            if not current:
                return query.reply(NOTIMP)
            by_system = False
            if unknown:
                nobody = Answer(query.reply(NOTIMP), None)

        def make(told: Done) -> Pending:
            def keep(pending: Pending, answer: Answer | None) -> None:
                if answer is not None and answer.records is not None:
                    self._cache.put(query, answer.message, answer.records, network.now)
                told(pending, answer or nobody)

            if by_system:
                return SystemLookup(network, self._host, query, keep)
            mix = self._config.dns_mix_case
            return Forwarded(network, self._host, servers, query, keep, tcp=tcp, mix=mix)

        pending, new = self._shared.join(bytes((tcp,)) + query.same, query, done, make)
        if not new:
            network.stats.dns_joined += 1
        return pending


def _throw(error: Exception) -> NoReturn:
    raise error
