"""The DNS forwarder over UDP and TCP, and the reading of resolv.conf; dnslib is the judge of messages."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import given
from hypothesis import strategies as st

from slirpy.config import Config
from slirpy.config.resolver import Resolver
from slirpy.services.dns import DnsService
from slirpy.services.dns.servers import ResolverList, read_resolv_conf
from slirpy.testing.strategies import dns_messages
from slirpy.wire.dns import read_query
from tests.support.fake_host import FakeTcp
from tests.support.fake_network import SECOND, FakeNetwork, FakeSink
from tests.support.owners import StreamNotes
from tests.unit.services.dns.world import (
    FIRST,
    GUEST,
    SECOND_SERVER,
    World,
    answer_to,
    ask,
    connect,
    fetch,
    framed,
    records,
)

# ------------------------------------------------------------------------------------------------ UDP


def test_a_query_goes_to_the_first_resolver_and_its_answer_to_the_guest(world: World) -> None:
    query = ask().pack()
    world.say(query)
    ((payload, address, port),) = world.socket.sent
    assert (address, port) == (FIRST, 53)
    assert payload[2:] == query[2:]
    answer = answer_to(payload)
    world.socket.owner.datagram(answer, FIRST, 53)
    heard = world.heard()
    assert heard.header.id == 7
    assert str(heard.rr[0].rdata) == "192.0.2.1"
    assert heard.pack()[2:] == answer[2:]
    assert world.host.open_sockets() == 0
    assert world.network.pending == 0
    assert world.stats.nonzero() == {"dns_queries": 1, "dns_answers": 1}


def test_identifiers_are_random_and_sockets_fresh(world: World) -> None:
    for number in range(20):
        world.say(ask(f"name{number}.test", number).pack())
    assert len(world.host.udp) == 20
    assert len({item.sent[0][0][:2] for item in world.host.udp}) > 15


def test_extensions_pass_unchanged(world: World) -> None:
    record = DNSRecord(q=DNSQuestion("example.test", QTYPE.TXT))
    record.add_ar(EDNS0(udp_len=4096, flags="do", opts=[EDNSOption(65001, b"x")]))
    world.say(record.pack())
    assert world.upstream()[2:] == record.pack()[2:]


@pytest.mark.parametrize(
    ("opcode", "kind", "category", "tail", "code", "counter"),
    [
        (1, QTYPE.A, 1, b"", "NOTIMP", "drop_dns_opcode"),
        (2, QTYPE.A, 1, b"", "NOTIMP", "drop_dns_opcode"),
        (4, QTYPE.SOA, 1, b"", "NOTIMP", "drop_dns_opcode"),
        (5, QTYPE.SOA, 1, b"", "NOTIMP", "drop_dns_opcode"),
        (6, QTYPE.A, 1, b"", "NOTIMP", "drop_dns_opcode"),
        (0, QTYPE.A, 1, bytes(1), "FORMERR", "drop_dns_extra"),
        (0, QTYPE.A, 1, b"Z" * 1000, "FORMERR", "drop_dns_extra"),
        (0, QTYPE.TXT, 3, b"", "REFUSED", "drop_dns_class"),
        (0, QTYPE.TXT, 4, b"", "REFUSED", "drop_dns_class"),
        (0, QTYPE.TXT, 255, b"", "REFUSED", "drop_dns_class"),
        (0, 251, 1, b"", "REFUSED", "drop_dns_type"),
        (0, 252, 1, b"", "REFUSED", "drop_dns_type"),
        (0, 249, 1, b"", "REFUSED", "drop_dns_type"),
        (0, 0, 1, b"", "REFUSED", "drop_dns_type"),
    ],
)
def test_other_messages_go_nowhere(
    world: World, opcode: int, kind: int, category: int, tail: bytes, code: str, counter: str
) -> None:
    record = DNSRecord(q=DNSQuestion("example.test", kind, category))
    record.header.opcode = opcode
    heard = world.talk(record.pack() + tail)
    assert RCODE[heard.header.rcode] == code
    assert world.host.udp == []
    assert getattr(world.stats, counter) == 1


def test_large_and_truncated_answers_pass_as_they_are(world: World) -> None:
    for tail, flag in ((bytes(60_000), 0), (b"", 0x02)):
        query = ask()
        query.add_ar(EDNS0(udp_len=65_000))
        world.say(query.pack())
        answer = bytearray(answer_to(world.upstream()) + tail)
        answer[2] |= flag
        world.socket.owner.datagram(bytes(answer), FIRST, 53)
        world.network.run()
        (sent,) = world.network.take()
        assert sent.payload[2:] == answer[2:]


def test_a_silent_resolver_gives_way_to_the_next_in_two_rounds(world: World) -> None:
    world.say(ask().pack())
    counts = []
    for wait in (1, 1, 2):
        world.network.run(wait - 0.001)
        before = sum(len(item.sent) for item in world.host.udp)
        world.network.run(0.001)
        counts.append(sum(len(item.sent) for item in world.host.udp) - before)
    assert counts == [1, 1, 1]
    first, second = world.host.udp
    assert [item[1:] for item in first.sent] == [(FIRST, 53)] * 2
    assert [item[1:] for item in second.sent] == [(SECOND_SERVER, 5353)] * 2
    assert first.sent[0][0][:2] != second.sent[0][0][:2]
    assert world.network.take() == []
    world.network.run(2)
    assert world.heard().header.rcode == RCODE.SERVFAIL
    assert world.host.open_sockets() == world.network.pending == 0
    counted = {"dns_queries": 1, "dns_retries": 3, "dns_servfail": 1, "dns_servers_failed": 2}
    assert world.stats.nonzero() == counted


def test_the_only_resolver_is_queried_twice_in_five_seconds() -> None:
    world = World(("127.0.0.53",))
    world.say(ask().pack())
    world.network.run(4.999)
    assert len(world.socket.sent) == 2
    assert world.network.take() == []
    world.network.run(0.001)
    assert world.heard().header.rcode == RCODE.SERVFAIL


def test_the_answer_of_a_slow_resolver_counts_as_long_as_there_is_no_other(world: World) -> None:
    world.say(ask().pack())
    world.network.run(1.5)
    slow, quick = world.host.udp
    slow.owner.datagram(answer_to(slow.sent[0][0]), FIRST, 53)
    assert world.heard().rr
    assert slow.closed
    assert quick.closed


def test_the_second_resolver_answers(world: World) -> None:
    world.say(ask().pack())
    world.network.run(2)
    world.socket.owner.datagram(answer_to(world.upstream()), SECOND_SERVER, 5353)
    assert world.heard().header.rcode == RCODE.NOERROR


def test_a_refusal_goes_on_at_once(world: World) -> None:
    world.say(ask().pack())
    world.socket.owner.datagram_error(errno.ECONNREFUSED)
    world.network.run()
    assert world.socket.sent[0][1] == SECOND_SERVER
    world.socket.owner.datagram_error(errno.ECONNREFUSED)
    assert world.heard().header.rcode == RCODE.SERVFAIL
    assert world.network.now == 1_000 * SECOND


@pytest.mark.parametrize("how", ["send", "socket", "none"])
def test_servfail_is_prompt_if_no_query_can_be_sent(how: str) -> None:
    world = World(() if how == "none" else ("127.0.0.53", "::1"))
    if how == "send":
        world.host.udp_error = errno.ENETUNREACH
    elif how == "socket":
        world.host.sockets = 0
    query = ask("MiXed.Example.test")
    query.add_ar(EDNS0(udp_len=4096))
    world.say(query.pack())
    heard = world.heard()
    assert (heard.header.id, heard.header.qr, heard.header.rd, heard.header.ra) == (7, 1, 1, 1)
    assert heard.header.rcode == RCODE.SERVFAIL
    assert str(heard.q.qname) == "MiXed.Example.test."
    assert [record.rtype for record in heard.ar] == [QTYPE.OPT]
    assert world.stats.dns_servfail == 1
    assert world.stats.drop_udp_no_socket == (2 if how == "socket" else 0)
    assert world.host.open_sockets() == world.network.pending == 0


def test_an_ipv6_resolver_gets_a_socket_of_its_family() -> None:
    world = World(("[::1]:5353",))
    world.say(ask().pack())
    assert world.socket.family == 6
    assert world.socket.sent[0][1:] == (bytes(15) + b"\1", 5353)


@pytest.mark.parametrize(
    "forge", ["address", "port", "id", "question", "type", "query", "short", "no question", "opcode"]
)
def test_a_mismatched_answer_is_dropped_and_the_query_continues(world: World, forge: str) -> None:
    world.say(ask().pack())
    good = answer_to(world.upstream())
    bad, address, port = bytearray(good), FIRST, 53
    if forge == "address":
        address = SECOND_SERVER
    elif forge == "port":
        port = 54
    elif forge == "id":
        bad[1] ^= 1
    elif forge == "question":
        bad[13] ^= 1
    elif forge == "type":
        bad[12 + len("example.test") + 3] ^= 1
    elif forge == "query":
        bad[2] &= 0x7F
    elif forge == "opcode":
        bad[2] ^= 0x20
    elif forge == "short":
        bad = bad[:11]
    else:
        bad[5] = 0
    world.socket.owner.datagram(bytes(bad), address, port)
    world.network.run()
    assert world.network.take() == []
    assert world.stats.drop_dns_mismatch == 1
    world.socket.owner.datagram(good, FIRST, 53)
    assert world.heard().rr


def test_the_question_is_compared_without_case_and_may_be_left_out_of_an_error(world: World) -> None:
    world.say(ask().pack())
    answer = answer_to(world.upstream())
    world.socket.owner.datagram(answer.replace(b"example", b"eXAMPLe", 1), FIRST, 53)
    assert world.heard().rr
    world.say(ask("other.test").pack())
    upstream = world.upstream()
    world.socket.owner.datagram(upstream[:2] + b"\x81\x81" + bytes(8), FIRST, 53)
    assert world.heard().header.rcode == RCODE.FORMERR


def test_a_second_answer_counts_as_a_mismatch(world: World) -> None:
    world.say(ask().pack())
    answer = answer_to(world.upstream())
    world.socket.owner.datagram(answer, FIRST, 53)
    world.socket.owner.datagram(answer, FIRST, 53)
    assert world.heard().rr
    assert world.stats.drop_dns_mismatch == 1


def test_an_impatient_guest_is_answered_once(world: World) -> None:
    query = ask().pack()
    for _ in range(3):
        world.say(query)
    assert len(world.host.udp) == 1
    world.socket.owner.datagram(answer_to(world.upstream()), FIRST, 53)
    assert world.heard().rr
    world.say(query)
    assert world.heard().rr
    assert world.stats.nonzero() == {"dns_queries": 4, "dns_answers": 1, "dns_cache_hits": 1}


def test_queries_in_progress_are_bounded_for_a_guest_and_in_all(world: World) -> None:
    for number in range(514):
        world.say(ask(f"name{number}.test", number).pack())
    assert world.host.open_sockets() == 512
    assert world.stats.drop_dns_limit == 2
    for other in range(1, 4):
        for number in range(300):
            name = f"name{number}.{other}.test"
            world.say(ask(name, number).pack(), source=bytes((10, 0, 2, 100 + other)))
    assert world.host.open_sockets() == 768  # three quarters for one link, whatever addresses it shows
    assert world.stats.drop_dns_limit == 2 + 3 * 300 - 256
    world.link = FakeSink()
    for number in range(300):
        world.say(ask(f"late{number}.test", number).pack(), source=bytes((10, 0, 2, 200)))
    assert world.host.open_sockets() == 768 + 192
    world.link = FakeSink()
    world.say(ask("last.test").pack(), source=bytes((10, 0, 2, 201)))
    assert world.host.open_sockets() == 768 + 192 + 1
    world.network.run(8)
    assert len(world.network.take()) == 768 + 192 + 1
    assert world.host.open_sockets() == 0
    assert not world.service._udp.quota
    assert not world.service._udp.quota._of_link
    assert not world.service._asked
    assert not world.service._lookups


@pytest.mark.parametrize(
    "message",
    [b"", b"\0" * 11, ask().reply().pack()],
    ids=["empty", "short", "an answer"],
)
def test_malformed_queries_are_dropped_silently(world: World, message: bytes) -> None:
    world.say(message)
    assert world.network.take() == []
    assert world.stats.nonzero() == {"dns_queries": 1, "drop_dns_malformed": 1}


@pytest.mark.parametrize(
    "message",
    [
        b"\0\x07\1\0" + bytes(8),
        b"\0\x07\1\0\0\2" + bytes(6) + ask().pack()[12:] * 2,
        ask().pack()[:-1],
        ask().pack()[:20],
        b"\0\x07\1\0\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1",
        b"\0\x07\1\0\0\1" + bytes(6) + b"\x41" + b"a" * 65 + b"\0\0\1\0\1",
        b"\0\x07\1\0\0\1" + bytes(6) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
    ],
    ids=["none", "two", "cut class", "cut name", "pointer", "odd label", "too long"],
)
def test_a_bad_question_gets_formerr(world: World, message: bytes) -> None:
    world.say(message)
    heard = world.heard()
    assert (heard.header.id, heard.header.rcode, len(heard.questions)) == (7, RCODE.FORMERR, 0)
    assert world.stats.nonzero() == {"dns_queries": 1, "drop_dns_malformed": 1}
    assert world.host.udp == []


def test_close_releases_everything(world: World) -> None:
    world.say(ask().pack())
    stream, _ = connect(world)
    stream.send([framed(ask().pack())])
    world.network.run()
    assert world.host.open_sockets() == 2
    world.service.close()
    assert world.host.open_sockets() == 0
    stream.close()
    assert world.network.pending == 0


# ------------------------------------------------------------------------------------------------ TCP


def serve(upstream: FakeTcp, address: str = "192.0.2.1") -> None:
    upstream.give(framed(answer_to(bytes(upstream.sent[2:]), address)))


def test_a_query_over_tcp_goes_on_over_tcp(world: World) -> None:
    stream, owner = connect(world)
    query = ask().pack()
    assert stream.send([framed(query)]) == len(query) + 2
    world.network.run()
    (upstream,) = world.host.tcp
    assert (upstream.address, upstream.port) == (FIRST, 53)
    assert upstream.sent[:2] == len(query).to_bytes(2, "big")
    assert upstream.sent[4:] == query[2:]
    assert stream.recv(100) is None
    serve(upstream)
    world.network.run()
    assert owner.calls == ["readable"]
    data = stream.recv(10)
    assert owner.calls == ["readable"] * 2  # since there is more
    rest, end = fetch(stream)
    (heard,) = records((data or b"") + rest)
    assert owner.calls == ["readable"] * 2
    assert heard.header.id == 7
    assert heard.rr
    assert not end
    assert world.host.open_sockets() == 0
    assert world.stats.nonzero() == {"dns_queries": 1, "dns_answers": 1}


def test_queries_byte_by_byte_pipelined_and_answered_out_of_order(world: World) -> None:
    stream, _ = connect(world)
    for byte in b"".join(framed(ask(f"name{number}.test", number).pack()) for number in range(3)):
        assert stream.send([bytes((byte,))]) == 1
    world.network.run()
    for upstream in reversed(world.host.tcp):
        for byte in framed(answer_to(bytes(upstream.sent[2:]))):
            upstream.give(bytes((byte,)))
        world.network.run()
    data, _ = fetch(stream, limit=3)
    assert [heard.header.id for heard in records(data)] == [2, 1, 0]


def test_an_answer_in_pieces_that_a_resolver_announces_once(world: World) -> None:
    stream, _ = connect(world)
    stream.send([framed(ask().pack())])
    world.network.run()
    (upstream,) = world.host.tcp
    upstream.give(*(bytes((byte,)) for byte in framed(answer_to(bytes(upstream.sent[2:])))), b"")
    world.network.run()
    data, _ = fetch(stream)
    assert [heard.header.id for heard in records(data)] == [7]


def test_answers_still_come_after_the_guests_fin_and_then_the_end(world: World) -> None:
    stream, owner = connect(world)
    stream.send([framed(ask(identifier=1).pack()), framed(ask(identifier=2).pack())[:9]])
    stream.shutdown()
    assert fetch(stream) == (b"", False)
    world.network.run()
    serve(world.host.tcp[0])
    world.network.run()
    assert owner.calls[-1] == "readable"
    data, end = fetch(stream)
    assert [heard.header.id for heard in records(data)] == [1]
    assert end


def test_fin_without_a_query_is_answered_by_the_end(world: World) -> None:
    stream, owner = connect(world)
    stream.shutdown()
    assert owner.calls == ["readable"]
    assert stream.recv(1) == b""


def test_a_short_write_upstream_is_carried_on(world: World) -> None:
    stream, _ = connect(world)
    world.host.connects = False
    stream.send([framed(ask().pack())])
    (upstream,) = world.host.tcp
    upstream.room = 5
    upstream.owner.connected()
    world.network.run()
    assert len(upstream.sent) == 5
    upstream.room = 1000
    upstream.owner.writable()
    world.network.run()
    assert DNSRecord.parse(bytes(upstream.sent[2:])).questions


@pytest.mark.parametrize("how", ["refused", "silent", "unconnected", "ends", "lies"])
def test_tcp_fails_over_and_ends_in_servfail(world: World, how: str) -> None:
    stream, _ = connect(world)
    if how == "refused":
        world.host.tcp_error = errno.ECONNREFUSED
    if how == "unconnected":
        world.host.connects = False
    stream.send([framed(ask().pack())])
    for _ in range(2):
        world.network.run()
        upstream = world.host.tcp[-1]
        if how == "ends":
            upstream.give(b"\0", b"")
        elif how == "lies":
            upstream.give(framed(answer_to(ask("other.test").pack())))
        elif how != "refused":
            world.network.run(3)
    world.network.run()
    assert [item.address for item in world.host.tcp] == [FIRST, SECOND_SERVER]
    (heard,) = records(fetch(stream)[0])
    assert (heard.header.id, heard.header.rcode) == (7, RCODE.SERVFAIL)
    assert (world.stats.dns_servfail, world.stats.dns_servers_failed) == (1, 2)
    assert world.stats.drop_dns_mismatch == (2 if how == "lies" else 0)
    assert world.host.open_sockets() == 0
    if how in ("refused", "ends", "lies"):
        assert world.network.now == 1_000 * SECOND


def test_without_resolvers_servfail_comes_at_once() -> None:
    world = World(())
    stream, owner = connect(world)
    stream.send([framed(ask().pack())])
    assert owner.calls == ["readable"]
    assert records(fetch(stream)[0])[0].header.rcode == RCODE.SERVFAIL


def test_a_bad_question_gets_formerr_and_the_connection_goes_on(world: World) -> None:
    stream, _ = connect(world)
    stream.send([framed(b"\0\x07\1\0" + bytes(8)) + framed(ask().pack())])
    assert [heard.header.rcode for heard in records(fetch(stream)[0])] == [RCODE.FORMERR]
    assert len(world.host.tcp) == 1


@pytest.mark.parametrize("message", [b"", b"GET / HTTP/"])
def test_malformed_messages_end_the_connection(world: World, message: bytes) -> None:
    stream, owner = connect(world)
    assert stream.send([framed(message), b"more", bytes(100_000)]) == len(message) + 2 + 4 + 100_000
    assert owner.calls == ["readable"]
    assert stream.recv(10) == b""
    assert world.stats.nonzero() == {"dns_queries": 1, "drop_dns_malformed": 1}


def test_a_guest_that_does_not_read_is_held_back(world: World) -> None:
    world.service = DnsService(Config(resolvers=()), world.network, world.host)
    stream, owner = connect(world)
    frame = framed(ask().pack())
    flood = frame * 10_000
    taken = stream.send([flood])
    assert taken < 16 * len(frame) + 65_538
    assert stream.send([flood[taken:]]) == 0
    owner.calls.clear()
    count = 0
    while taken < len(flood) or count < 10_000:
        data = stream.recv(100_000)
        assert data
        count += len(records(data))
        assert "writable" in owner.calls or taken == len(flood)
        owner.calls.clear()
        if taken < len(flood):
            taken += stream.send([flood[taken:]])
    assert world.stats.dns_servfail == 10_000


def test_queries_over_tcp_are_bounded_in_all(world: World) -> None:
    streams = [
        world.service.stream(StreamNotes(), bytes((10, 0, 2, 20 + one // 7)), "link") for one in range(25)
    ]
    for one, stream in enumerate(streams):
        stream.send([framed(ask(f"name{number}.{one}.test").pack()) for number in range(16)])
    assert len(world.host.tcp) == 384  # three quarters for one link
    assert world.stats.drop_dns_limit == 16
    assert records(fetch(streams[-1])[0])[0].header.rcode == RCODE.SERVFAIL
    other = world.service.stream(StreamNotes(), GUEST, "another")
    other.send([framed(ask("other.test").pack())])
    assert len(world.host.tcp) == 385
    streams[0].abort()
    assert world.host.open_sockets() == 369
    for stream in (*streams, other):
        stream.abort()
    assert not world.service._tcp.quota
    assert not world.service._tcp.quota._of_link


def test_queries_over_tcp_are_bounded_for_a_guest(world: World) -> None:
    streams = [connect(world)[0] for _ in range(9)]
    for one, stream in enumerate(streams):
        stream.send([framed(ask(f"name{number}.{one}.test").pack()) for number in range(16)])
    assert len(world.host.tcp) == 128
    assert world.stats.drop_dns_limit == 16
    other = world.service.stream(StreamNotes(), GUEST)
    other.send([framed(ask("other.test").pack())])
    assert len(world.host.tcp) == 129
    for stream in (*streams, other):
        stream.abort()
    assert world.host.open_sockets() == 0
    assert not world.service._tcp.quota


def test_cached_and_local_names_are_answered_beyond_the_bound(world: World) -> None:
    world.say(ask("known.test").pack())
    world.socket.owner.datagram(answer_to(world.upstream()), FIRST, 53)
    assert world.heard().rr
    for number in range(513):
        world.say(ask(f"name{number}.test", number).pack())
    assert world.stats.drop_dns_limit == 1
    for name in ("known.test", "gateway"):
        world.say(ask(name).pack())
        assert world.heard().rr


def test_an_idle_connection_is_ended_and_then_broken(world: World) -> None:
    stream, owner = connect(world)
    world.network.run(20)
    stream.send([b"\0"])
    world.network.run(29)
    assert owner.calls == []
    world.network.run(1)
    assert owner.calls == ["readable"]
    assert stream.recv(1) == b""
    world.network.run(30)
    assert owner.errors == [errno.ETIMEDOUT]
    assert world.network.pending == 0


def test_waiting_for_an_answer_is_not_idle(world: World) -> None:
    config = Config(resolvers=[Resolver(FIRST, port) for port in range(1, 20)])
    world.service = DnsService(config, world.network, world.host)
    stream, owner = connect(world)
    stream.send([framed(ask().pack())])
    world.network.run(8)
    stream.send([framed(ask("other.test").pack())])
    world.network.run(15.9)
    assert owner.calls == []
    world.network.run(0.1)
    assert owner.calls == ["readable"]  # eight servers at most, each for one second and then for two
    world.network.run(8)
    assert owner.calls == ["readable"] * 2
    assert len(records(fetch(stream)[0])) == 2


def test_aborting_cuts_everything(world: World) -> None:
    stream, owner = connect(world)
    stream.send([framed(ask().pack())])
    upstream = world.host.tcp[0]
    stream.abort()
    stream.close()
    assert upstream.closed
    upstream.owner.readable()
    world.network.run(60)
    assert owner.calls == []
    assert world.network.pending == 0
    assert not world.service._lookups


# ----------------------------------------------------------------------------------------- resolv.conf


def test_resolv_conf_is_read_as_people_write_it() -> None:
    text = """
# nameserver 127.0.0.1
; nameserver 127.0.0.2
 nameserver   127.0.0.53   # local
nameserver ::1
nameserver fe80::1%eth0
nameserver fd00::1%eth0
nameserver 127.0.0.53
nameserver bogus
nameserver
search example.test
options edns0
nameserver\t192.0.2.7
"""
    assert [str(server) for server in read_resolv_conf(text)] == [
        "127.0.0.53:53", "[::1]:53", "[fe80::1%eth0]:53", "[fd00::1]:53", "192.0.2.7:53",
    ]  # fmt: skip


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    network = FakeNetwork()
    servers = ResolverList(Config(), network, str(path))
    assert servers.current() == ()
    path.write_text("nameserver 127.0.0.1\n")
    assert servers.current() == ()  # looked at once a second
    network.run(1)
    assert servers.current() == (Resolver(bytes((127, 0, 0, 1))),)
    other = tmp_path / "other"
    other.write_text("nameserver 127.0.0.2\n")
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    other.replace(path)
    network.run(1)
    assert servers.current() == (Resolver(bytes((127, 0, 0, 2))),)
    path.write_bytes(b"\xff\xfe\0 nameserver")
    network.run(1)
    assert servers.current() == ()
    path.unlink()
    network.run(1)
    assert servers.current() == ()
    path.symlink_to(tmp_path / "later")
    network.run(1)
    assert servers.current() == ()
    (tmp_path / "later").write_text("nameserver 127.0.0.3\n")
    network.run(1)
    assert servers.current() == (Resolver(bytes((127, 0, 0, 3))),)
    path.unlink()
    path.mkdir()
    network.run(1)
    assert servers.current() == ()


def test_resolvers_of_the_configuration_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.9\n")
    config = Config(resolvers=["10.0.2.3", "127.0.0.1:5353"])
    servers = ResolverList(config, FakeNetwork(), str(path))
    assert servers.current() == (Resolver(bytes((10, 0, 2, 3))), Resolver(bytes((127, 0, 0, 1)), 5353))
    assert ResolverList(Config(resolvers=()), FakeNetwork(), str(path)).current() == ()


def test_the_service_uses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\n")
    world = World()
    world.service = DnsService(Config(), world.network, world.host, resolv_conf=str(path))
    world.say(ask().pack())
    assert world.socket.sent[0][1:] == (FIRST, 53)


# -------------------------------------------------------------------------------------------- garbage

garbage = dns_messages("garbage") | dns_messages("near")


@given(garbage)
def test_queries_are_read_as_dnslib_reads_them(message: bytes) -> None:
    query = read_query(message)
    if query is None or not query.question:
        return
    question = DNSRecord.parse(message[:12][:6] + bytes(6) + query.question).q
    assert int.from_bytes(query.question[-4:-2], "big") == question.qtype
    assert int.from_bytes(query.question[-2:], "big") == question.qclass
    assert DNSRecord.parse(query.reply(2)).header.rcode == 2


@given(st.lists(st.tuples(garbage, garbage, st.integers(0, 3)), max_size=10))
def test_garbage_from_both_sides_raises_nothing_and_counts(batch: list[tuple[bytes, bytes, int]]) -> None:
    world = World()
    for message, reply, what in batch:
        before = sum(world.stats.as_dict().values())
        world.say(message)
        assert sum(world.stats.as_dict().values()) > before
        if world.host.udp and not world.socket.closed:
            before = sum(world.stats.as_dict().values())
            identifier = world.upstream()[:2]
            world.socket.owner.datagram(identifier + reply if what else reply, FIRST, 53)
            world.network.run()
            assert sum(world.stats.as_dict().values()) > before
        if what == 3:
            world.network.run(3)
    world.network.run(60)
    assert world.host.open_sockets() == world.network.pending == 0
    assert world.stats.dns_queries == len(batch)


@pytest.mark.long
@given(st.lists(st.tuples(garbage, garbage, st.booleans(), st.integers(1, 50)), max_size=10), st.booleans())
def test_garbage_over_tcp_raises_nothing_and_ends(
    batch: list[tuple[bytes, bytes, bool, int]], ends: bool
) -> None:
    world = World()
    stream, _ = connect(world)
    for message, reply, frames, limit in batch:
        data = framed(message) if frames else message
        assert stream.send([data]) == len(data)
        world.network.run()
        for upstream in world.host.tcp:
            if not upstream.closed:
                upstream.give(framed(reply) if frames else reply)
        world.network.run()
        stream.recv(limit)
    if ends:
        stream.shutdown()
    world.network.run(20)
    data, end = fetch(stream)
    assert end or not ends
    world.network.run(120)
    assert world.host.open_sockets() == world.network.pending == 0
