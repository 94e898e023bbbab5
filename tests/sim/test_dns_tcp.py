"""DNS over TCP in a whole network: queries in one segment, split ones, ends, answers out of order (RFC 7766)."""

from __future__ import annotations

import pytest
from dnslib import RR, A, DNSRecord

from slirpy import Config
from slirpy.testing import GuestStream, Remote, VirtualNetwork

RESOLVER = bytes((192, 0, 2, 53))
SERVER = "10.0.2.3"
SECOND = 1_000_000_000


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def query(name: str, number: int, kind: str = "A") -> bytes:
    record = DNSRecord.question(name, kind)
    record.header.id = number
    return framed(bytes(record.pack()))


def identifiers(stream: GuestStream) -> list[int]:
    """Of the answers that have come so far; each has to have a record."""
    data, found = bytes(stream.received), []
    while len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"):
        end = 2 + int.from_bytes(data[:2], "big")
        answer = DNSRecord.parse(data[2:end])
        assert answer.rr, answer
        found.append(answer.header.id)
        data = data[end:]
    assert not data
    return found


class Resolver(Remote):
    """One query a connection. It answers after as many milliseconds as the name begins with, byte by byte."""

    net: VirtualNetwork
    asked: list[str]

    def on_data(self, data: bytes) -> None:
        length = int.from_bytes(self.received[:2], "big")
        if len(self.received) < 2 + length:
            return
        record = DNSRecord.parse(bytes(self.received[2:]))
        name = str(record.q.qname)
        self.asked.append(name)
        reply = record.reply()
        reply.add_answer(RR(record.q.qname, rdata=A("192.0.2.1"), ttl=60))
        at = self.net.host.now + int(name.partition("-")[0]) * 1_000_000
        for byte in framed(bytes(reply.pack())):
            self.net.host.schedule(at, self.write, bytes([byte]))
        self.net.host.schedule(at, self.finish)


def network() -> VirtualNetwork:
    net = VirtualNetwork(Config(resolvers=["192.0.2.53"], dns_records=["web.own=192.0.2.7", "web.own=::7"]))
    Resolver.net, Resolver.asked = net, []
    net.host.serve_tcp(RESOLVER, 53, Resolver)
    net.boot()
    return net


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 100, 400])
def test_queries_in_one_segment_for_names_of_ones_own(count: int, end: bool) -> None:
    net = network()
    stream = net.guest.connect(SERVER, 53)
    stream.write(b"".join(query("web.own", number, ("A", "AAAA")[number & 1]) for number in range(count)))
    if end:
        stream.shutdown()
        net.run_until(lambda: stream.eof)
        net.run(SECOND)
        assert not net.stack.tcp_flows or stream.closed
    else:
        net.run(SECOND)
        assert not stream.eof
    assert identifiers(stream) == list(range(count))


@pytest.mark.parametrize("end", [False, True])
def test_queries_in_one_segment_for_names_outside(end: bool) -> None:
    net = network()
    for _ in range(2):  # the second time out of the cache
        stream = net.guest.connect(SERVER, 53)
        stream.write(b"".join(query(f"5-{number}.test", number) for number in range(40)))
        if end:
            stream.shutdown()
        net.run(SECOND)
        assert stream.eof == end
        assert sorted(identifiers(stream)) == list(range(40))
    assert len(Resolver.asked) == 40


def test_answers_go_back_in_the_order_in_which_they_are_found() -> None:
    net = network()
    stream = net.guest.connect(SERVER, 53)
    names = ["300-slow.test", "web.own", "20-quick.test", "100-medium.test", "web.own"]
    stream.write(b"".join(query(name, number) for number, name in enumerate(names)))
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    assert identifiers(stream) == [1, 4, 2, 3, 0]


@pytest.mark.parametrize("cut", [1, 2, 3, 14, 26, 27, 28, 29, 50])
def test_queries_that_are_split_between_segments(cut: int) -> None:
    net = network()
    stream = net.guest.connect(SERVER, 53)
    data = query("web.own", 1) + query("web.own", 2, "AAAA")
    stream.write(data[:cut])
    net.run(SECOND)
    stream.write(data[cut:])
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    assert identifiers(stream) == [1, 2]


@pytest.mark.parametrize("rest", [0, 1, 2, 20])
def test_a_fin_after_nothing_or_part_of_a_query_is_answered_by_one(rest: int) -> None:
    net = network()
    stream = net.guest.connect(SERVER, 53)
    stream.write(query("web.own", 1)[:rest])
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    assert stream.received == b""


def test_a_reset_in_the_midst_of_queries_ends_them() -> None:
    net = network()
    stream = net.guest.connect(SERVER, 53)
    stream.write(b"".join(query(f"500-{number}.test", number) for number in range(10)))
    net.run(SECOND // 10)
    assert len(Resolver.asked) == 10
    stream.abort()
    net.run(SECOND // 10)
    assert not net.stack.tcp_flows
