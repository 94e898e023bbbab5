"""UDP outward: the mapping, who may answer, timeouts, aliases of the host, refusals, sizes."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import Any

import pytest

from slirpy.interfaces import Action, FlowRequest, Verdict
from slirpy.nat.udpflow import ALIAS_FIRST, MAX_ROUTES
from tests.support.harness import (
    BROADCAST,
    DNS,
    DNS_MAC,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    WORLD,
    Net,
    arp,
    config,
    echo,
    eth,
    ip,
    ipv4,
    udp,
    udp_segment,
    unreachable,
)

LOOPBACK = ip("127.0.0.1")


def datagrams(net: Net) -> list[tuple[bytes, int, int, bytes]]:
    """Source, ports and payload of what has come."""
    out = []
    for frame in net.take():
        assert (frame.dst, frame.data.dst) == (GUEST_MAC, GUEST)
        assert frame.data.p == 17
        header = frame.data.data
        out.append((frame.data.src, header.sport, header.dport, bytes(header.data)))
    return out


def sent(net: Net) -> list[tuple[bytes, int, bytes]]:
    return [(call.address, call.port, call.detail) for call in net.calls("send_udp")]


def outside(net: Net, payload: bytes, source: tuple[bytes, int]) -> None:
    """A datagram from anywhere to the one socket that the stack has open for the guest."""
    (key,) = net.host._udp
    net.host.send_udp(payload, ip("192.0.2.1"), key[1] or 0, source)
    net.run(0.01)


def test_there_and_back(net: Net) -> None:
    server = net.host.serve_udp(WORLD, 9, lambda payload, address, port: payload[::-1])
    net.send(udp(b"hello"))
    net.run(0.01)
    assert server.received[0].payload == b"hello"
    assert datagrams(net) == [(WORLD, 9, 5000, b"olleh")]
    (flow,) = net.stack.flows()
    assert (flow.protocol, flow.bytes_in, flow.bytes_out, flow.packets_in, flow.packets_out) == (
        "udp",
        5,
        5,
        1,
        1,
    )


def test_payloads_of_any_length(net: Net) -> None:
    net.host.serve_udp(WORLD, 9, lambda payload, address, port: payload)
    for size in (0, 1, 2, 3, 17, 18, 19, 1471, 1472):
        net.send(udp(bytes(size)))
        net.run(0.01)
        ((_, _, _, payload),) = datagrams(net)
        assert len(payload) == size


def test_mapping_is_endpoint_independent(net: Net) -> None:
    for destination, port in (("198.51.100.7", 9), ("198.51.100.7", 10), ("203.0.113.5", 9)):
        net.send(udp(b"x", destination=ip(destination), dport=port))
    assert len(net.calls("open_udp")) == 1
    assert len(net.stack.flows()) == 1
    net.send(udp(b"x", sport=5001))
    net.send(udp(b"x", source=ip("10.0.2.16"), mac=bytes.fromhex("525400000016")))
    assert len(net.calls("open_udp")) == 3


def test_anyone_may_answer(net: Net) -> None:
    net.host.black_hole(WORLD)
    net.send(udp(b"x"))
    outside(net, b"stranger", (ip("203.0.113.99"), 4444))
    assert datagrams(net) == [(ip("203.0.113.99"), 4444, 5000, b"stranger")]


def test_a_datagram_from_the_other_family_is_dropped(net: Net) -> None:
    """The guest has no name for its sender: cut to four bytes, the address would be somebody else's."""
    net.send(udp(b"hello"))
    net.run(0.01)
    net.take()
    (flow,) = net.stack._udp.flows.values()
    flow.datagram(b"x", WORLD + bytes(12), 9)
    flow.datagram(b"y", WORLD, 9)
    net.run(0.01)
    assert datagrams(net) == [(WORLD, 9, 5000, b"y")]
    assert net.stack.stats.drop_udp_unreachable == 1


def test_idle_for_240_seconds(net: Net) -> None:
    net.send(udp(b"x"))
    net.run(239)
    net.send(udp(b"x"))
    net.run(239.9)
    assert len(net.stack.flows()) == 1
    assert len(net.host._open) == 1
    net.run(0.2)
    assert net.stack.flows() == []
    assert len(net.host._open) == 0
    assert net.stack.deadline() is None


def test_inbound_datagrams_keep_a_flow_open(net: Net) -> None:
    net.send(udp(b"x"))
    net.run(200)
    outside(net, b"y", (WORLD, 9))
    net.run(200)
    assert len(net.stack.flows()) == 1
    net.run(41)
    assert net.stack.flows() == []


def test_a_new_datagram_after_the_time_out_opens_anew(net: Net) -> None:
    for _ in range(3):
        net.send(udp(b"x"))
        net.run(300)
    assert net.stats.udp_flows == 3
    assert len(net.calls("open_udp")) == 3


@pytest.mark.parametrize(
    ("alias", "mac"), [("10.0.2.2", None), ("255.255.255.255", BROADCAST), ("10.0.2.255", BROADCAST)]
)
def test_names_of_the_host(net: Net, alias: str, mac: bytes | None) -> None:
    server = net.host.serve_udp(LOOPBACK, 123, lambda payload, address, port: b"tick")
    more: dict[str, Any] = {} if mac is None else {"to": mac}
    net.send(udp(b"time?", destination=ip(alias), dport=123, **more))
    net.run(0.01)
    assert server.received[0].destination == (IPv4Address(LOOPBACK), 123)
    assert datagrams(net) == [(GATEWAY, 123, 5000, b"tick")]


def test_host_loopback_forbidden() -> None:
    net = Net(config(host_loopback=False))
    packet = udp(b"x", destination=GATEWAY)
    net.send(packet)
    assert packet[14:].startswith(unreachable(net.one(), 0))
    net.send(udp(b"x", destination=ip("255.255.255.255"), to=BROADCAST))
    net.silence()
    assert sent(net) == []
    net.send(echo())
    assert net.one().data.data.type == 0


def test_other_ports_of_the_dns_address(net: Net) -> None:
    packet = udp(b"x" * 20, destination=DNS, dport=5353, to=DNS_MAC)
    net.send(packet)
    assert unreachable(net.one(), 3) == packet[14:]
    assert net.stats.drop_udp_unreachable == 1
    assert sent(net) == []


@pytest.mark.parametrize("where", ["10.0.2.4", "10.0.2.16", "10.0.2.100", "10.0.2.0"])
def test_an_unassigned_address_is_unreachable(net: Net, where: str) -> None:
    net.send(udp(b"x", destination=ip(where)))
    unreachable(net.one(), 1)
    assert sent(net) == []


@pytest.mark.parametrize("where", ["127.0.0.1", "0.0.0.0", "224.0.0.251", "239.255.255.250", "240.0.0.1"])
def test_martians_are_dropped_in_silence(net: Net, where: str) -> None:
    net.send(udp(b"x", destination=ip(where)))
    net.silence()
    assert net.stats.drop_ip_destination == 1
    assert sent(net) == []


@pytest.mark.parametrize("where", ["10.0.2.77", "198.51.100.7"])
def test_a_guest_without_an_address_reaches_no_host(net: Net, where: str) -> None:
    """A DHCP client has none, and would be the only one to send from there."""
    net.send(udp(b"x", sport=68, dport=67, source=bytes(4), destination=ip(where)))
    assert net.stats.drop_udp_unreachable == 1
    assert net.stack.flows() == []
    assert net.host.calls == []


def test_malformed(net: Net) -> None:
    good = udp_segment(b"abcdefgh", 5000, 9)
    wrong_sum = good[:6] + bytes((good[6] ^ 1,)) + good[7:]
    for bad in (good[:7], b"", good[:4] + b"\0\7" + good[6:], good[:4] + b"\0\x11" + good[6:]):
        net.send(eth(ipv4(17, bad)))
    net.send(eth(ipv4(17, wrong_sum)))
    assert (net.stats.drop_udp_malformed, net.stats.drop_udp_checksum) == (4, 1)
    assert sent(net) == []
    net.silence()


def test_length_below_the_packet_s_is_legal(net: Net) -> None:
    net.send(eth(ipv4(17, udp_segment(b"abcd", 5000, 9) + b"trailer")))
    assert sent(net) == [(WORLD, 9, b"abcd")]


def test_without_a_checksum(net: Net) -> None:
    net.send(udp(b"bare", nosum=True))
    assert sent(net) == [(WORLD, 9, b"bare")]


def test_ip_options(net: Net) -> None:
    net.send(udp(b"opt", options=b"\1\1\1\0"))
    assert sent(net) == [(WORLD, 9, b"opt")]


def test_unresolved_checksums_pass_when_the_link_vouches() -> None:
    net = Net(checksummed=True)
    frame = bytearray(udp(b"abc"))
    frame[40:42] = b"\x12\x34"
    net.send(bytes(frame))
    assert sent(net) == [(WORLD, 9, b"abc")]


@pytest.mark.parametrize(
    ("error", "code"), [(errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1), (errno.EACCES, 13), (errno.EPERM, 13)]
)
def test_the_system_refuses(net: Net, error: int, code: int) -> None:
    net.host.udp_errors.append(error)
    frame = udp(b"x" * 50)
    net.send(frame)
    assert unreachable(net.one(), code) == frame[14:]
    assert net.stats.drop_udp_host_error == 1


def test_a_full_socket_is_counted_and_silent(net: Net) -> None:
    net.host.udp_errors += [errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE]
    net.send(udp(b"1"), udp(b"2"), udp(b"3"))
    net.silence()
    assert (net.stats.drop_udp_host_full, net.stats.drop_udp_host_error) == (2, 1)


def test_no_sockets_left(net: Net) -> None:
    net.host.max_sockets = 0
    net.send(udp(b"x"), udp(b"x"))
    net.silence()
    assert net.stats.drop_udp_no_socket == 2
    net.host.max_sockets = None
    net.send(udp(b"x"))
    assert len(sent(net)) == 1


def test_an_answer_that_was_refused_later_is_counted(net: Net) -> None:
    net.send(udp(b"x"))  # nobody serves there
    net.run(0.1)
    assert net.stats.drop_udp_host_error == 1


@pytest.mark.parametrize(
    ("mtu", "size"),
    [(1500, 1473), (1500, 2952), (1500, 2953), (1500, 4432), (1500, 8000), (576, 1648), (576, 4000), (68, 1000),
     (1500, 65507), (9000, 65507)],
)  # fmt: skip
def test_large_answers_are_fragmented(mtu: int, size: int) -> None:
    net = Net(config(mtu=mtu))
    payload = bytes(i * 31 & 255 for i in range(size))
    net.host.serve_udp(WORLD, 9, lambda *_: payload)
    net.send(udp(b"x"))
    net.run(0.01)
    frames = net.raw()
    body = bytearray()
    idents = set()
    for number, frame in enumerate(frames):
        packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
        flags = int.from_bytes(packet[6:8], "big")
        assert len(packet) <= mtu
        assert (flags & 0x1FFF) * 8 == len(body)
        assert bool(flags & 0x2000) == (number < len(frames) - 1)
        assert number == len(frames) - 1 or (mtu - len(packet)) < 8  # as full as can be
        idents.add(packet[4:6])
        body += packet[20:]
    assert len(idents) == 1
    assert body == udp_segment(payload, 9, 5000, WORLD, GUEST)


@pytest.mark.parametrize("mtu", [68, 575, 576, 577, 1500])
def test_exactly_the_mtu_is_not_fragmented(mtu: int) -> None:
    net = Net(config(mtu=mtu))
    net.host.serve_udp(WORLD, 9, lambda *_: bytes(mtu - 28))
    net.send(udp(b"x"))
    net.run(0.01)
    assert net.one().data.len == mtu


def test_idents_differ(net: Net) -> None:
    net.host.serve_udp(WORLD, 9, lambda *_: bytes(3000))
    for _ in range(3):
        net.send(udp(b"x"))
        net.run(0.01)
    assert len({f[18:20] for f in net.raw()}) == 3


def policy(request: FlowRequest) -> Verdict:
    return {
        1: Verdict(Action.DROP),
        2: Verdict(Action.REJECT),
        3: Verdict(Action.ALLOW, (ip("203.0.113.3"), 33)),
    }.get(request.destination_port, Verdict(Action.ALLOW))


def test_policy() -> None:
    net = Net(config(policy=policy))
    net.send(udp(b"x", dport=1))
    net.silence()
    net.send(udp(b"x", dport=2))
    unreachable(net.one(), 13)
    assert net.stats.drop_udp_policy == 2
    net.host.serve_udp(ip("203.0.113.3"), 33, lambda *_: b"from elsewhere")
    net.send(udp(b"x", dport=3))
    net.run(0.01)
    assert datagrams(net) == [(WORLD, 3, 5000, b"from elsewhere")]


def test_refused_datagrams_open_no_flow(net: Net) -> None:
    """Else a guest's noise would push out flows that work."""
    for sport in range(1, 50):
        net.send(udp(b"x", sport=sport, destination=ip("224.0.0.251"), dport=5353))
        net.send(udp(b"x", sport=sport, destination=ip("10.0.2.99")))
    assert net.stack.flows() == []
    assert net.stats.udp_flows == 0


def test_a_guest_that_moved_gets_its_answers() -> None:
    net = Net()
    net.host.black_hole(WORLD)
    net.send(udp(b"x"))
    other = bytes.fromhex("52540000cafe")
    net.send(arp(2, sender_mac=other))
    outside(net, b"y", (WORLD, 9))
    (frame,) = net.take()
    assert frame.dst == other


def test_answers_come_from_the_gateway_s_mac(net: Net) -> None:
    net.host.serve_udp(WORLD, 9, lambda *_: b"y")
    net.send(udp(b"x"))
    net.run(0.01)
    assert net.one().src.hex() == "52550a000202"


# ------------------------------------------------------------------------------------------------------ forwards


def forwarding(rule: str = "udp:127.0.0.1:0-:7000") -> Net:
    net = Net(config(hostfwd=[rule]))
    net.know()
    return net


def knock(net: Net, payload: bytes, source: tuple[bytes, int]) -> None:
    rule = net.stack.hostfwds()[-1]
    net.host.send_udp(payload, rule.host_address.packed, rule.host_port, source)
    net.run(0.01)


def test_forward_shows_the_real_source_and_answers_go_back() -> None:
    net = forwarding()
    place = (ip("203.0.113.8"), 6000)
    client = net.host.serve_udp(*place)
    knock(net, b"question", place)
    assert datagrams(net) == [(place[0], 6000, 7000, b"question")]
    net.send(udp(b"answer", sport=7000, dport=6000, destination=place[0]))
    net.run(0.01)
    rule = net.stack.hostfwds()[0]
    assert [(r.payload, r.source) for r in client.received] == [
        (b"answer", (rule.host_address, rule.host_port))
    ]
    assert net.calls("open_udp") == []  # through the forward's own socket
    (flow,) = net.stack.flows()
    assert flow.inbound


def test_loopback_shows_as_the_gateway_both_ways() -> None:
    net = forwarding()
    client = net.host.serve_udp(LOOPBACK, 6001)
    knock(net, b"q", (LOOPBACK, 6001))
    assert datagrams(net) == [(GATEWAY, 6001, 7000, b"q")]
    net.send(udp(b"a", sport=7000, dport=6001, destination=GATEWAY))
    net.run(0.01)
    assert [r.payload for r in client.received] == [b"a"]


def test_answers_leave_from_the_address_of_the_request() -> None:
    net = forwarding("udp:0.0.0.0:0-:7000")
    place = (ip("203.0.113.8"), 6000)
    client = net.host.serve_udp(*place)
    port = net.stack.hostfwds()[0].host_port
    own = net.host.source_for(WORLD)
    asked = (LOOPBACK, ip("127.0.0.2"), own)
    for number, address in enumerate(asked):
        net.host.send_udp(b"%d" % number, address, port, place)
    net.run(0.01)
    questions = datagrams(net)
    assert [(source, payload) for source, _, _, payload in questions] == [
        (place[0], b"0"),
        (place[0], b"1"),
        (place[0], b"2"),
    ]
    assert questions[0][1] == place[1], "the first has its own port"
    assert len({sport for _, sport, _, _ in questions}) == 3
    for _ in range(2):  # the second time by the fast path
        for _, sport, _, payload in questions:
            net.send(udp(payload, sport=7000, dport=sport, destination=place[0]))
    net.run(0.01)
    assert [(r.payload, r.source) for r in client.received] == 2 * [
        (b"%d" % number, (IPv4Address(address), port)) for number, address in enumerate(asked)
    ]
    assert all(r.destination == (IPv4Address(place[0]), place[1]) for r in client.received)
    assert net.calls("open_udp") == []


def test_a_client_keeps_the_port_that_stands_for_it() -> None:
    net = forwarding("udp:0.0.0.0:0-:7000")
    place = (ip("203.0.113.8"), 6000)
    port = net.stack.hostfwds()[0].host_port
    seen: dict[bytes, set[int]] = {}
    for _ in range(3):
        for address in (b"\x7f\0\0\1", b"\x7f\0\0\2", b"\x7f\0\0\3"):
            net.host.send_udp(address, address, port, place)
            net.run(0.01)
            ((_, sport, _, payload),) = datagrams(net)
            seen.setdefault(payload, set()).add(sport)
    assert [len(ports) for ports in seen.values()] == [1, 1, 1]
    assert seen[b"\x7f\0\0\1"] == {6000}
    assert len(set.union(*seen.values())) == 3
    assert all(ports == {6000} or min(ports) >= ALIAS_FIRST for ports in seen.values())


def test_a_destination_with_another_ttl_and_then_another_destination(net: Net) -> None:
    """The fast path is laid anew for the first, and forgotten for the second."""
    other = ip("203.0.113.5")
    for destination in (WORLD, other, WORLD):
        for ttl in (64, 64, 63, 63, 64, 64):
            net.send(udp(b"x", destination=destination, ttl=ttl))
            net.run(0.001)
    assert [address for address, _, _ in sent(net)] == [WORLD] * 6 + [other] * 6 + [WORLD] * 6


def test_how_many_clients_of_a_forward_are_known() -> None:
    """At the bound the oldest goes, and with it the port that stood for it."""
    net = forwarding("udp:0.0.0.0:0-:7000")
    port = net.stack.hostfwds()[0].host_port
    place = ip("203.0.113.8"), 6000
    for number in range(MAX_ROUTES + 200):
        net.host.send_udp(b"x", bytes((127, 1, number >> 8, number & 255)), port, place)
        net.run(0.001)
    assert len(datagrams(net)) == MAX_ROUTES + 200
    (flow,) = net.stack._udp.flows.values()
    assert len(flow._targets) == MAX_ROUTES
    assert len(flow._aliases) <= MAX_ROUTES


def test_the_guest_s_own_traffic_from_that_port_has_its_own_socket() -> None:
    net = forwarding()
    knock(net, b"q", (WORLD, 6000))
    net.take()
    net.send(udp(b"x", sport=7000, dport=9, destination=ip("203.0.113.77")))
    assert len(net.calls("open_udp")) == 1


def test_a_client_that_the_guest_has_talked_to_has_its_own_port() -> None:
    net = forwarding()
    net.host.black_hole(WORLD)
    net.send(udp(b"x", sport=7000, dport=6000))
    knock(net, b"q", (WORLD, 6000))
    assert datagrams(net) == [(WORLD, 6000, 7000, b"q")]


def test_forward_to_a_given_guest() -> None:
    net = Net(config(hostfwd=["udp::0-10.0.2.77:7000"]))
    net.know(address=ip("10.0.2.77"))
    rule = net.stack.hostfwds()[0]
    net.host.send_udp(b"q", LOOPBACK, rule.host_port, (WORLD, 1))
    net.run(0.01)
    assert net.one().data.dst == ip("10.0.2.77")


def test_forward_ends_when_idle_and_when_removed() -> None:
    net = forwarding()
    knock(net, b"q", (WORLD, 6000))
    net.take()
    net.run(241)
    assert net.stack.flows() == []
    knock(net, b"again", (WORLD, 6000))
    assert [f.data.data.data for f in net.take() if f.type == 0x800] == [b"again"]
    rule = net.stack.hostfwds()[0]
    net.stack.remove_hostfwd(rule)
    assert not net.host._udp
    # What still comes from the guest for that client must not break anything.
    net.send(udp(b"late", sport=7000, dport=6000))
    net.run(0.1)
    assert net.stats.drop_udp_host_error == 1
