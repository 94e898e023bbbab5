"""ICMP of the gateway and the DNS server, and the errors that guests receive."""

from __future__ import annotations

from random import Random

import dpkt
import pytest

from tests.support.harness import (
    DNS,
    DNS_MAC,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    WORLD,
    Net,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    rfc1071,
    udp,
    unreachable,
)


@pytest.mark.parametrize(("address", "mac"), [(GATEWAY, GATEWAY_MAC), (DNS, DNS_MAC)])
@pytest.mark.parametrize("size", [0, 1, 3, 56, 1471, 1472])
def test_echo(net: Net, address: bytes, mac: bytes, size: int) -> None:
    data = Random(size).randbytes(size)
    net.send(echo(data, to=address, mac=mac, ident=0xBEEF, seq=0xFFFF))
    frame = net.one()
    assert (frame.src, frame.dst) == (mac, GUEST_MAC)
    packet = frame.data
    assert (packet.src, packet.dst, packet.ttl) == (address, GUEST, 255)
    assert (packet.data.type, packet.data.code) == (0, 0)
    answer = packet.data.data
    assert (answer.id, answer.seq, bytes(answer.data)) == (0xBEEF, 0xFFFF, data)
    assert net.stats.icmp_echo_replies == 1


def test_largest_echo() -> None:
    net = Net(config(mtu=1500))
    message = icmp_echo(bytes(65507))
    parts = [message[i : i + 1480] for i in range(0, len(message), 1480)]
    for i, part in enumerate(parts):
        more = 0x2000 if i < len(parts) - 1 else 0
        net.send(eth(ipv4(1, part, destination=GATEWAY, fragment=i * 185 | more)))
    frames = net.take()
    assert sum(len(bytes(f.data)) - 20 for f in frames) == len(message)


@pytest.mark.parametrize("where", ["10.0.2.4", "10.0.2.16", "10.0.2.255", "255.255.255.255", "198.51.100.7"])
def test_no_reply_is_forged_for_others(net: Net, where: str) -> None:
    net.send(echo(to=ip(where)))
    assert not [f for f in net.take() if f.data.data.type == 0]
    assert net.stats.icmp_echo_replies == 0


def test_malformed(net: Net) -> None:
    good = icmp_echo(b"abcd")
    broken = bytearray(good)
    broken[-1] ^= 1
    for bad in (bytes(broken), b"", good[:7], good[:8]):
        net.send(eth(ipv4(1, bad, destination=GATEWAY)))
    net.silence()
    assert net.stats.drop_icmp_malformed == 4


@pytest.mark.parametrize("kind", [0, 13, 17, 42, 255])
def test_nothing_answers_other_messages(net: Net, kind: int) -> None:
    body = bytes((kind, 0, 0, 0)) + bytes(36)
    body = body[:2] + rfc1071(body).to_bytes(2, "big") + body[4:]
    net.send(eth(ipv4(1, body, destination=GATEWAY)), eth(ipv4(1, body, destination=WORLD)))
    net.silence()
    assert net.stats.drop_icmp_type == 2


def test_unknown_protocol(net: Net) -> None:
    packet = ipv4(253, b"what" * 10)
    net.send(eth(packet))
    assert unreachable(net.one(), 2) == packet
    assert net.stats.drop_ip_protocol == 1


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 519, 520, 521, 1400])
def test_quote(net: Net, size: int) -> None:
    packet = ipv4(253, bytes(size))
    net.send(eth(packet))
    assert unreachable(net.one(), 2) == packet[:548]


def test_options_are_quoted(net: Net) -> None:
    packet = ipv4(253, bytes(20), options=b"\1" * 40)
    net.send(eth(packet))
    assert unreachable(net.one(), 2) == packet


def test_no_error_about_broadcasts_multicasts_and_later_fragments(net: Net) -> None:
    for where in ("10.0.2.255", "255.255.255.255", "224.0.0.1", "239.1.2.3"):
        net.send(eth(ipv4(253, bytes(8), destination=ip(where))))
    net.silence()


def test_errors_are_rate_limited(net: Net) -> None:
    packet = eth(ipv4(253, bytes(8)))
    net.send(*[packet] * 1500)
    assert len(net.take()) == 1000
    assert net.stats.icmp_errors_suppressed == 500
    net.run(0.1)
    net.send(*[packet] * 1500)
    assert len(net.take()) == 100
    net.run(100)
    net.send(*[packet] * 1500)
    assert len(net.take()) == 1000


def test_echoes_are_not_rate_limited(net: Net) -> None:
    net.send(*[echo()] * 3000)
    assert len(net.take()) == 3000


def test_time_to_live(net: Net) -> None:
    net.send(udp(b"x", ttl=0))
    assert net.stats.drop_ip_ttl == 1
    assert net.calls("send_udp") == []


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("10.0.2.2", 1),
        ("10.0.2.3", 1),
        ("10.0.2.255", 1),
        ("10.0.2.0", 1),
        ("192.168.1.1", 1),
        ("127.0.0.1", 1),
    ],
)
def test_sources_that_no_guest_can_have(net: Net, source: str, counted: int) -> None:
    net.send(eth(ipv4(1, icmp_echo(b"x"), source=ip(source), destination=GATEWAY)))
    net.silence()
    assert net.stats.drop_ip_source == counted


def test_damaged_ip_header(net: Net) -> None:
    frame = bytearray(echo())
    frame[24] ^= 1
    net.send(bytes(frame))
    assert net.stats.drop_ip_checksum == 1
    net.send(echo()[:30], eth(b"\x65" + echo()[15:]))
    assert net.stats.drop_ip_header == 2
    net.silence()


def test_padding_is_ignored(net: Net) -> None:
    frame = eth(ipv4(1, icmp_echo(b"abc"), destination=GATEWAY)) + b"\xaa" * 40
    net.send(frame)
    answer = net.one().data
    assert answer.len == 20 + 8 + 3
    assert bytes(answer.data.data.data) == b"abc"


def test_the_same_input_gives_the_same_output() -> None:
    def run() -> list[bytes]:
        net = Net(seed=5)
        net.send(
            echo(bytes(3000)[:1400]), eth(ipv4(253, bytes(8))), udp(b"q", destination=DNS, dport=99, to=DNS_MAC)
        )
        net.run(1)
        return net.raw()

    assert run() == run() != []


def test_dpkt_reads_the_quoted_packet(net: Net) -> None:
    net.send(udp(b"payload", destination=ip("10.0.2.77"), dport=1234))
    quoted = dpkt.ip.IP(unreachable(net.one(), 1))
    assert (quoted.src, quoted.dst, quoted.data.dport) == (GUEST, ip("10.0.2.77"), 1234)
