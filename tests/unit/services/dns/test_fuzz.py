"""Damaged records, made by dnslib: from guests and from resolvers. They raise nothing, and count."""

from __future__ import annotations

from typing import Any

from dnslib import EDNS0, RR, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.services.dns.world import FIRST, World, connect, framed

ZONE = """
example.test. 60 IN A 192.0.2.1
example.test. 60 IN AAAA 2001:db8::1
example.test. 60 IN MX 10 mail.example.test.
example.test. 60 IN TXT "one" "two"
example.test. 60 IN NS ns.example.test.
www.example.test. 60 IN CNAME example.test.
_x._tcp.example.test. 60 IN SRV 0 5 80 www.example.test.
example.test. 60 IN SOA ns.example.test. root.example.test. 1 2 3 4 5
1.2.0.192.in-addr.arpa. 60 IN PTR example.test.
example.test. 60 IN CAA 0 issue "ca.test"
example.test. 60 IN HTTPS 1 . alpn=h2
example.test. 60 IN NAPTR 100 10 "u" "sip" "!^.*$!sip:x@example.test!" .
"""
RECORDS: list[Any] = list(RR.fromZone(ZONE))
NAMES = [
    "example.test",
    "WWW.example.test",
    "gateway",
    "pc.internal",
    "a.wild.test",
    "15.2.0.10.in-addr.arpa",
    ".",
]
some = st.lists(st.sampled_from(RECORDS), max_size=4)


@st.composite
def messages(draw: st.DrawFn, *, answer: bool) -> bytes:
    """A message that dnslib writes, and a few damaged bytes."""
    question = DNSQuestion(draw(st.sampled_from(NAMES)), draw(st.sampled_from([1, 28, 16, 12, 6, 255, 252])))
    code = draw(st.sampled_from([0, 0, 0, 2, 3, 5])) if answer else 0
    record = DNSRecord(DNSHeader(id=7, qr=int(answer), rd=1, rcode=code), q=question)
    if answer:
        record.add_answer(*draw(some))
        record.add_auth(*draw(some))
    if draw(st.booleans()):
        options = [
            EDNSOption(code, b"x" * code)
            for code in draw(st.lists(st.sampled_from([3, 8, 10, 12]), max_size=2))
        ]
        record.add_ar(EDNS0(udp_len=draw(st.integers(0, 65535)), flags="do", opts=options))
    message = bytearray(record.pack())
    for at, value in draw(st.lists(st.tuples(st.integers(2, 400), st.integers(0, 255)), max_size=4)):
        if at < len(message):
            message[at] = value
    return bytes(message[: draw(st.sampled_from([None, None, -1, -7, 20]))])


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
