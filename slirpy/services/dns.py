"""The DNS server of the virtual network: it forwards what guests ask to the resolvers of the host.

Messages pass through as they are, under another identifier. Only where no resolver answers the server speaks for
itself, since a guest that gets no answer waits for many seconds, and a guest that gets SERVFAIL does not.

A query in progress costs a socket of the host for a few seconds. Their number is bounded, over all and for each
guest; beyond it the new one is dropped and the guest asks again, because those under way are closer to their
answers, and they make room by themselves.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from slirpy.config import Config
from slirpy.interfaces import Datagram, HostNetwork, LinkSink, ServiceNetwork, StreamOwner, StreamPeer
from slirpy.services.dns_message import FORMERR, SERVFAIL, Query, read_query
from slirpy.services.dns_tcp import DnsStream
from slirpy.services.dns_upstream import Done, Forwarded, TcpForwarded, UdpForwarded
from slirpy.services.resolvers import RESOLV_CONF, ResolverList

__all__ = ["DnsService"]

PORT = 53
QUERIES_MAX = 512
"""Queries in progress over UDP, and as many over TCP."""
QUERIES_OF_GUEST_MAX = 128
"""Of one guest address, over UDP."""


class _Guest(NamedTuple):
    """Who asked, and how to get there."""

    address: bytes
    port: int
    mac: bytes
    sink: LinkSink


class _Key(NamedTuple):
    """What makes a query the same as another one."""

    address: bytes
    port: int
    id: int
    question: bytes


class DnsService:
    """A :class:`~slirpy.interfaces.Service` for UDP port 53, and :meth:`stream` for TCP port 53."""

    def __init__(
        self, config: Config, network: ServiceNetwork, host: HostNetwork, resolv_conf: str = RESOLV_CONF
    ) -> None:
        """``resolv_conf`` is the file that names the resolvers, unless ``config.resolvers`` does."""
        self._address = config.dns_address
        self._network = network
        self._host = host
        self._resolvers = ResolverList(config, network, resolv_conf)
        self._asked: dict[_Key, Forwarded] = {}
        self._of_guest: dict[bytes, int] = {}
        self._asked_by_tcp: set[Forwarded] = set()

    def close(self) -> None:
        """Give up all queries and release their sockets."""
        for forwarded in (*self._asked.values(), *self._asked_by_tcp):
            forwarded.cancel()
        self._asked.clear()
        self._of_guest.clear()
        self._asked_by_tcp.clear()

    # ------------------------------------------------------------------------------------------- UDP

    def datagram(self, datagram: Datagram) -> None:
        """Take a query of a guest, and forward or answer it."""
        stats = self._network.stats
        stats.dns_queries += 1
        query = read_query(bytes(datagram.payload))
        if query is None:
            stats.drop_dns_malformed += 1
            return
        guest = _Guest(datagram.source, datagram.source_port, datagram.mac, datagram.sink)
        if query.malformed:
            stats.drop_dns_malformed += 1
            self._reply(guest, query.error(FORMERR))
            return
        key = _Key(guest.address, guest.port, query.id, query.question)
        if key in self._asked:
            return  # the guest is impatient; it gets the answer to its first try
        count = self._of_guest.get(guest.address, 0)
        if len(self._asked) >= QUERIES_MAX or count >= QUERIES_OF_GUEST_MAX:
            stats.drop_dns_limit += 1
            return
        forwarded = UdpForwarded(
            self._network, self._host, self._resolvers.current(), query, partial(self._answered, key, guest)
        )
        self._asked[key] = forwarded
        self._of_guest[guest.address] = count + 1
        forwarded.start()

    def _answered(self, key: _Key, guest: _Guest, forwarded: Forwarded, answer: bytes | None) -> None:
        del self._asked[key]
        count = self._of_guest[key.address] - 1
        if count:
            self._of_guest[key.address] = count
        else:
            del self._of_guest[key.address]
        if answer is None:
            self._network.stats.dns_servfail += 1
            answer = forwarded.query.error(SERVFAIL)
        else:
            self._network.stats.dns_answers += 1
        self._reply(guest, answer)

    def _reply(self, guest: _Guest, message: bytes) -> None:
        self._network.send_datagram(
            self._address, PORT, guest.address, guest.port, message, mac=guest.mac, sink=guest.sink
        )

    # ------------------------------------------------------------------------------------------- TCP

    def stream(self, owner: StreamOwner) -> StreamPeer:
        """The far end of a guest's connection to port 53. ``owner`` is connected before this returns."""
        return DnsStream(self._network, self, owner)

    def ask(self, query: Query, done: Done) -> Forwarded | None:
        """Forward a query of a connection; see :class:`~slirpy.services.dns_tcp.Asker`."""
        if len(self._asked_by_tcp) >= QUERIES_MAX:
            return None
        forwarded = TcpForwarded(self._network, self._host, self._resolvers.current(), query, done)
        self._asked_by_tcp.add(forwarded)
        return forwarded

    def forget(self, forwarded: Forwarded) -> None:
        """A query of a connection is done or cancelled."""
        self._asked_by_tcp.discard(forwarded)
