"""Damaged records, made by dnslib: from guests and from resolvers. They raise nothing, and count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.testing.strategies import dns_messages
from slirpy.testing.strategies.damage import damaged
from tests.unit.services.dns.world import FIRST, World, connect, framed

pytestmark = pytest.mark.long

NAMES = [
    "example.test",
    "WWW.example.test",
    "gateway",
    "pc.internal",
    "a.wild.test",
    "15.2.0.10.in-addr.arpa",
    ".",
]


def messages(*, answer: bool) -> st.SearchStrategy[bytes]:
    """A message with a few damaged bytes behind its identifier."""
    return damaged(dns_messages(answer=answer, names=NAMES, identifier=7), after=2)


def total(world: World) -> int:
    return sum(world.stats.as_dict().values())


def make_world() -> World:
    world = World(dns_records=["www.example.test=example.test", "*.wild.test=192.0.2.9"])
    world.leases[:] = [("pc", bytes((10, 0, 2, 15)))]
    return world


@settings(max_examples=150)
@given(st.lists(st.tuples(messages(answer=False), messages(answer=True)), min_size=1, max_size=5))
def test_damaged_messages_over_udp(batch: list[tuple[bytes, bytes]]) -> None:
    world = make_world()
    for query, answer in batch:
        before = total(world)
        world.say(query)
        assert total(world) > before
        if world.host.udp and not world.socket.closed:
            before = total(world)
            sent = world.upstream()
            for reply in (answer, sent[:2] + answer[2:], sent[:2] + answer[2:12] + sent[12:] + answer[12:]):
                if not world.socket.closed:
                    world.socket.owner.datagram(reply, FIRST, 53)
                    world.network.run()
            assert total(world) > before
    world.network.run(60)
    assert world.host.open_sockets() == world.network.pending == 0
    for sent_to_guest in world.network.take():
        assert sent_to_guest.payload[2] & 0x80


@settings(max_examples=80)
@given(st.lists(st.tuples(messages(answer=False), messages(answer=True)), min_size=1, max_size=5))
def test_damaged_messages_over_tcp(batch: list[tuple[bytes, bytes]]) -> None:
    world = make_world()
    stream, _ = connect(world)
    for query, answer in batch:
        stream.send([framed(query)])
        world.network.run()
        for upstream in world.host.tcp:
            if not upstream.closed and len(upstream.sent) > 14:
                sent = bytes(upstream.sent[2:])
                upstream.give(framed(sent[:2] + answer[2:12] + sent[12:] + answer[12:]))
        world.network.run()
        while stream.recv(100):
            pass
    world.network.run(200)
    assert world.host.open_sockets() == world.network.pending == 0
