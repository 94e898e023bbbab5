"""Policy and restrict, from the guest's frames to the calls that leave: nothing leaves that no rule allows."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network
from random import Random
from typing import Any

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy import Config, HostForward
from slirpy.config.policy import WORDS
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.testing import VirtualNetwork
from tests.support.harness import (
    ACK,
    DNS,
    FIN,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
    udp,
    udp_segment,
    unreachable,
)
from tests.support.policies import TABLE, flow

LOOPBACK = ip("127.0.0.1")
OUTWARD = {"connect_tcp": IPProtocol.TCP, "send_udp": IPProtocol.UDP, "send_ping": IPProtocol.ICMP}
"""The calls by which something leaves, and the protocol of each."""


# ------------------------------------------------------------------------------- the table, through frames


def outward(net: Net | VirtualNetwork) -> list[tuple[int, bytes, int]]:
    """Protocol, address and port of all that has left. What ``send_ping`` has in the place of a port is none."""
    return [
        (OUTWARD[call.name], call.address, 0 if call.name == "send_ping" else call.port)
        for call in net.host.calls
        if call.name in OUTWARD
    ]


FRAMES = [
    (rules, asked, expected)
    for rules, asked, expected in TABLE
    if len(flow(asked).destination_bytes) == 4
    # Nobody is there, whatever the rules; it leads nowhere; the gateway itself answers.
    if asked not in ("tcp 10.0.2.3:8000", "udp 255.255.255.254:65535", "icmp 10.0.2.2")
]


def test_the_table_is_not_small() -> None:
    assert len(FRAMES) >= 60


@pytest.mark.parametrize(("rules", "asked", "expected"), FRAMES, ids=[f"{r} - {f}" for r, f, _ in FRAMES])
def test_table(rules: list[str], asked: str, expected: str) -> None:
    told: list[tuple[FlowRequest, Verdict]] = []
    net = Net(config(policy=rules, on_refused=lambda request, verdict: told.append((request, verdict))))
    request = flow(asked)
    tcp, ping = request.protocol == IPProtocol.TCP, request.protocol == IPProtocol.ICMP
    peer = Peer(net, request.destination_port, address=request.destination_bytes)
    if tcp:
        peer.send(SYN, opts=options())
    else:
        frame = udp(b"x", sport=40000, dport=request.destination_port, destination=request.destination_bytes)
        if ping:
            frame = echo(b"x", to=request.destination_bytes, ident=40000)
        net.send(frame)
    real = LOOPBACK if request.destination_bytes == GATEWAY else request.destination_bytes
    there = (request.protocol, real, request.destination_port)
    if expected == "allow":
        assert outward(net) == [there]
    elif ":" in expected:
        host, _, port = expected.rpartition(":")
        assert outward(net) == [(request.protocol, ip_address(host).packed, int(port))]
    else:
        assert net.host.calls == []
        assert [(r, v.action.value) for r, v in told] == [(request, expected)]
        if expected == "drop":
            net.silence()
            assert net.stats.drop_tcp_policy + net.stats.drop_udp_policy + net.stats.drop_icmp_policy == 1
        elif tcp:
            answer = peer.one(RST | ACK)
            assert (answer.seq, answer.ack) == (0, peer.seq)
            assert net.stats.tcp_flows_refused == 1
        else:
            assert unreachable(net.one(), 13) == frame[14 : 14 + 29]
            assert (net.stats.drop_udp_policy, net.stats.drop_icmp_policy) == (not ping, ping)
        return
    assert told == []
    net.silence()  # neither a refusal nor an answer yet


FRAMES6 = [
    (rules, asked, expected)
    for rules, asked, expected in TABLE
    if len(flow(asked).destination_bytes) == 16
    # The DNS server's, guests', and what no packet on a wire can lead to.
    and not re.search(r"fec0::3|fe80:|febf:| \[?::", asked)
    and asked != "icmp fec0::2"  # the gateway itself answers
]


@pytest.mark.parametrize(("rules", "asked", "expected"), FRAMES6, ids=[f"{r} - {f}" for r, f, _ in FRAMES6])
def test_table_of_ipv6(rules: list[str], asked: str, expected: str) -> None:
    told: list[tuple[FlowRequest, Verdict]] = []
    net = VirtualNetwork(
        Config(policy=rules, on_refused=lambda request, verdict: told.append((request, verdict)))
    )
    net.boot(ipv6=True)
    request, guest = flow(asked), net.guest
    place = str(request.destination), request.destination_port
    if request.protocol == IPProtocol.TCP:
        guest.connect(*place)
    elif request.protocol == IPProtocol.ICMP:
        guest.ping(place[0])
    else:
        guest.udp().send(b"x", *place)
    net.run(1_000_000)
    real = bytes(15) + b"\1" if request.host else request.destination_bytes
    calls = outward(net)
    if expected == "allow":
        assert calls[:1] == [(request.protocol, real, request.destination_port)]
    elif ":" in expected:
        host, _, port = expected.rpartition(":")
        assert calls == [(request.protocol, ip_address(host).packed, int(port))]
    else:
        assert calls == []
        [(refused, verdict)] = told
        assert (refused.destination, refused.host, verdict.action.value) == (
            request.destination, request.host, expected,
        )  # fmt: skip
        return
    assert told == []


def test_a_refusal_leaves_no_state_for_a_second_attempt() -> None:
    """No state is left that a second attempt could use."""
    net = Net(config(policy=["deny any"]))
    for _ in range(3):
        Peer(net).send(SYN, opts=options())
        net.send(udp(b"x"))
        net.send(udp(b"x", sport=1))
    assert len(net.take()) == 9
    assert net.host.calls == []
    assert net.stack.flows() == []


def test_an_allowed_port_opens_no_other_destination() -> None:
    """One socket serves all destinations of a UDP port, but each is asked about."""
    net = Net(config(policy=["allow 198.51.100.7:53"]))
    net.send(udp(b"x", dport=53))
    net.send(udp(b"y", dport=54), udp(b"z", dport=53, destination=ip("198.51.100.8")))
    assert outward(net) == [(IPProtocol.UDP, WORLD, 53)]


# ------------------------------------------------------------------------------- redirect


def test_a_redirected_connection_answers_from_its_destination() -> None:
    net = Net(config(policy=["redirect tcp:any:80=host:8080"]))
    server = net.host.serve_tcp(LOOPBACK, 8080)
    peer = Peer(net, 80)
    peer.open()
    peer.send(ACK, b"GET /")
    net.run(0.01)
    assert bytes(server.connections[0].received) == b"GET /"


def test_a_redirected_datagram_is_answered_from_its_destination() -> None:
    net = Net(config(policy=["redirect udp:any:53=192.0.2.53"]))
    net.host.serve_udp(ip("192.0.2.53"), 53, lambda payload, address, port: payload[::-1])
    net.send(udp(b"abc", dport=53))
    net.run(0.01)
    packet = net.one().data
    assert (packet.src, packet.data.sport, bytes(packet.data.data)) == (WORLD, 53, b"cba")


# ------------------------------------------------------------------------------- the host's loopback


def test_without_host_loopback_the_gateway_still_answers_ping() -> None:
    net = Net(config(host_loopback=False))
    Peer(net, 80, address=GATEWAY).send(SYN, opts=options())
    unreachable(net.one(), 0)
    net.send(udp(b"x", destination=GATEWAY))
    unreachable(net.one(), 0)
    net.send(echo(b"ping"))
    packet = net.one().data
    assert (packet.src, packet.data.type, packet.ttl) == (GATEWAY, 0, 255)
    assert bytes(packet.data.data.data) == b"ping"
    for broadcast in ("10.0.2.255", "255.255.255.255"):
        net.send(udp(b"x", destination=ip(broadcast)))
    net.silence()  # no answer to a broadcast
    assert net.host.calls == []


def test_without_host_loopback_no_rule_opens_it() -> None:
    net = Net(config(host_loopback=False, policy=["allow any"]))
    Peer(net, 80, address=GATEWAY).send(SYN, opts=options())
    unreachable(net.one(), 0)
    assert net.host.calls == []


# ------------------------------------------------------------------------------- inside the network


def query(net: Net) -> bytes:
    frame = bytes.fromhex("1234 0100 0001 0000 0000 0000 07") + b"example\x03org\0\0\1\0\1"
    return udp(frame, sport=5353, dport=53, destination=DNS)


def test_the_policy_does_not_apply_inside_the_network() -> None:
    net = Net(config(policy=["deny any"]))
    net.send(query(net))
    net.run(0.1)
    assert net.one().data.data.sport == 53  # there is no resolver: SERVFAIL, but an answer
    Peer(net, 53, address=DNS).open()
    net.send(echo())
    assert net.one().data.data.type == 0
    assert outward(net) == []


# ------------------------------------------------------------------------------- restrict


def test_restrict_refuses_destinations_outside_the_network() -> None:
    told: list[bytes] = []

    def note(request: FlowRequest, verdict: Verdict) -> None:
        assert verdict == Verdict(Action.REJECT, reason="restrict")
        told.append(request.destination_bytes)

    net = Net(config(restrict=True, on_refused=note))
    for address in (WORLD, GATEWAY, DNS, ip("10.0.2.77"), ip("192.168.1.1"), ip("169.254.169.254")):
        peer = Peer(net, 53, address=address)
        peer.send(SYN, opts=options())
        assert peer.one(RST | ACK).ack == peer.seq
        net.send(udp(b"x", dport=53, destination=address))
        unreachable(net.one(), 13)
        assert told[-2:] == [address, address]
    net.send(echo(to=WORLD))
    unreachable(net.one(), 13)
    for name in ("255.255.255.255", "10.0.2.255", "224.0.0.251"):
        net.send(udp(b"x", dport=53, destination=ip(name)))
    net.silence()
    assert net.host.calls == []


def test_restrict_lets_the_gateway_answer() -> None:
    net = Net(config(restrict=True))
    for address in (GATEWAY, DNS):
        net.send(echo(to=address))
        assert net.one().data.data.type == 0


def test_restrict_offers_no_router_and_no_dns() -> None:
    lease = VirtualNetwork(config(restrict=True)).boot().lease
    assert lease is not None
    assert (lease.router, lease.dns) == (None, ())


@pytest.mark.parametrize("shut", [{"restrict": True}, {"policy": ["deny any"]}, {"policy": ["drop any"]}])
def test_guestfwd_targets_are_reached(shut: dict[str, Any]) -> None:
    net = Net(
        config(guestfwd=["tcp:10.0.2.9:80-tcp:127.0.0.1:8080", "tcp:203.0.113.9:80-tcp:127.0.0.1:8081"], **shut)
    )
    for address, port in (("10.0.2.9", 8080), ("203.0.113.9", 8081)):
        server = net.host.serve_tcp(LOOPBACK, port)
        peer = Peer(net, 80, address=ip(address), sport=port)
        peer.open()
        peer.send(ACK, b"hello")
        net.run(0.01)
        assert bytes(server.connections[0].received) == b"hello"
        net.take()
    Peer(net, 81, address=ip("203.0.113.9")).send(SYN, opts=options())
    assert [port for _, _, port in outward(net)] == [8080, 8081]


def restricted(**forward: object) -> tuple[Net, HostForward]:
    net = Net(config(restrict=True, **forward))
    net.know()
    return net, net.stack.hostfwds()[0]


def test_restrict_leaves_tcp_forwards_both_directions() -> None:
    net, forward = restricted(hostfwd=["tcp:127.0.0.1:8080-10.0.2.15:80"])
    remote = net.host.connect(LOOPBACK, forward.host_port, source=(LOOPBACK, 7777))
    net.run(0.01)
    syn = net.one().data
    assert (syn.src, syn.data.flags, syn.data.dport) == (GATEWAY, SYN, 80)
    guest = Peer(net, syn.data.sport, address=GATEWAY, sport=80)
    guest.ack = syn.data.seq + 1
    guest.send(SYN | ACK, opts=options())
    net.run(0.01)
    guest.take()
    guest.send(ACK, b"answer")
    remote.write(b"question")
    net.run(0.01)
    assert bytes(remote.received) == b"answer"
    assert guest.receive() == b"question"


@pytest.mark.parametrize("who", [LOOPBACK, WORLD])
def test_restrict_leaves_the_answers_of_udp_forwards(who: bytes) -> None:
    """QEMU's own network drops it."""
    net, forward = restricted(hostfwd=["udp:0.0.0.0:5000-10.0.2.15:50"])
    net.host.send_udp(b"question", ip("192.0.2.1"), forward.host_port, (who, 777))
    net.run(0.01)
    packet = net.one().data
    seen = GATEWAY if who == LOOPBACK else who
    assert (packet.src, packet.data.sport, packet.data.dport) == (seen, 777, 50)
    net.send(udp(b"answer", sport=50, dport=777, destination=seen))
    assert outward(net) == [(IPProtocol.UDP, who, 777)]
    # And nobody else by the same port.
    net.send(udp(b"out", sport=50, dport=778, destination=seen))
    unreachable(net.one(), 13)
    net.send(udp(b"out", sport=51, dport=777, destination=seen))
    unreachable(net.one(), 13)
    assert len(outward(net)) == 1


# ------------------------------------------------------------------------------- whatever a guest sends

ADDRESSES = (
    "10.0.2.2", "10.0.2.3", "10.0.2.4", "10.0.2.15", "10.0.2.16", "10.0.2.0", "10.0.2.255", "255.255.255.255",
    "0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "10.0.3.1", "10.1.2.3", "172.16.9.9", "192.168.1.1",
    "100.64.0.1", "100.100.100.200", "169.254.1.1", "169.254.169.254", "198.51.100.7", "198.51.100.8",
    "203.0.113.9",
)  # fmt: skip
PORTS = (1, 22, 53, 67, 69, 80, 443, 8000, 65535)
NETWORKS = (
    "10.0.0.0/8",
    "10.0.2.0/24",
    "10.0.2.2",
    "198.51.100.0/24",
    "198.51.100.7",
    "0.0.0.0/0",
    "169.254.0.0/16",
)
TARGETS = ("127.0.0.1:8080", "192.0.2.53", "host:22")


@dataclass(frozen=True)
class Line:
    """A rule, as the judge has it: nothing here is slirpy's."""

    verb: str
    protocol: str | None
    destination: str
    ports: tuple[int, int] | None
    target: str

    def __str__(self) -> str:
        text = f"{self.verb} {self.protocol + ':' if self.protocol else ''}{self.destination}"
        if self.ports:
            text += f":{self.ports[0]}-{self.ports[1]}"
        return text + (f"={self.target}" if self.verb == "redirect" else "")

    def matches(self, protocol: str, address: str, port: int, host: bool) -> bool:
        if self.protocol not in (None, protocol):
            return False
        if self.ports and (protocol == "icmp" or not self.ports[0] <= port <= self.ports[1]):
            return False
        if self.destination == "any":
            near = [ip_network(network) for word in ("link-local", "metadata") for network in WORDS[word]]
            return self.verb != "allow" or not (host or any(ip_address(address) in each for each in near))
        if self.destination == "host":
            return host
        words = WORDS.get(self.destination)
        if words and host:
            return False
        plain = [n for n in words or (self.destination,) if ":" not in n]
        return any(ip_address(address) in ip_network(network) for network in plain)


def judge(
    lines: list[Line], loopback: bool, protocol: str, address: str, port: int
) -> tuple[bytes, int] | None:
    """Place to which a flow may lead; None if it may not be."""
    host = address in ("10.0.2.2", "10.0.2.255", "255.255.255.255")
    if host and not loopback:
        return None
    if not host and ip_address(address) in IPv4Network("10.0.2.0/24"):
        return None
    if int(address.split(".")[0]) in (0, 127) or (address[:2] == "22" or address[:2] == "24"):
        return None
    named = "10.0.2.2" if host else address
    for line in lines:
        if line.matches(protocol, named, port, host):
            if line.verb == "redirect":
                target, _, other = line.target.replace("host", "127.0.0.1").partition(":")
                return ip(target), int(other or port)
            if line.verb == "allow":
                return (LOOPBACK if host else ip(address)), port
            return None
    return None


@st.composite
def line(draw: st.DrawFn) -> Line:
    protocol = draw(st.sampled_from((None, "tcp", "udp", "icmp")))
    ports = draw(
        st.none() | st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(lambda p: (min(p), max(p)))
    )
    return Line(
        draw(st.sampled_from(("allow", "allow", "deny", "drop", "redirect"))),
        protocol,
        draw(st.sampled_from(("any", "host", *WORDS, *NETWORKS))),
        None if protocol == "icmp" else ports,
        draw(st.sampled_from(TARGETS)),
    )


@st.composite
def packet(draw: st.DrawFn) -> tuple[str, str, int, list[bytes]]:
    """Protocol, destination, port, and the frames."""
    kind = draw(st.sampled_from(("syn", "syn", "segment", "udp", "udp", "echo", "error", "junk")))
    address = draw(st.sampled_from(ADDRESSES))
    port = draw(st.sampled_from(PORTS))
    sport = draw(st.sampled_from((1024, 1025)))
    destination = ip(address)
    protocol, number = "tcp", 6
    if kind in ("syn", "segment"):
        flags = SYN if kind == "syn" else draw(st.sampled_from((ACK, FIN | ACK, RST, SYN | ACK, SYN | FIN)))
        header = struct.pack("!HHIIBBHHH", sport, port, 1000, 0, 5 << 4, flags, 65535, 0, 0)
        data = header + draw(st.binary(max_size=4))
        value = rfc1071(GUEST + destination + struct.pack("!HH", 6, len(data)) + data)
        body = data[:16] + value.to_bytes(2, "big") + data[18:]
    elif kind == "udp":
        protocol, number = "udp", 17
        body = udp_segment(draw(st.binary(max_size=40)), sport, port, destination=destination)
    elif kind == "echo":
        protocol, number = "icmp", 1
        body = icmp_echo(draw(st.binary(max_size=40)), sport)
    elif kind == "error":
        protocol, number = "none", 1
        quoted = ipv4(17, udp_segment(b"", port, sport), source=destination, destination=GUEST)
        body = bytes(dpkt.icmp.ICMP(type=3, code=3, data=dpkt.icmp.ICMP.Unreach(data=quoted)))
    else:
        protocol, number = "none", draw(st.sampled_from((0, 4, 41, 47, 132)))
        body = draw(st.binary(max_size=40))
    times = draw(st.sampled_from((1, 1, 3)))  # what comes again may go another way through the stack
    return protocol, address, port, fragments(draw, number, body, destination) * times


def fragments(draw: st.DrawFn, number: int, body: bytes, destination: bytes) -> list[bytes]:
    """Frames with the whole packet, or with its fragments in any order, perhaps not all."""
    if len(body) <= 8 or not draw(st.booleans()):
        return [eth(ipv4(number, body, destination=destination), destination=GATEWAY_MAC)]
    ident = draw(st.integers(1, 0xFFFF))
    pieces = [
        eth(
            ipv4(
                number,
                body[at : at + 8],
                destination=destination,
                ident=ident,
                fragment=at >> 3 | (0x2000 if at + 8 < len(body) else 0),
            )
        )
        for at in range(0, len(body), 8)
    ]
    pieces = draw(st.permutations(pieces))
    return pieces[: draw(st.sampled_from((len(pieces), len(pieces), len(pieces) - 1)))]


def play(plan: Config, packets: list[tuple[str, str, int, list[bytes]]]) -> Net:
    net = Net(plan)
    net.host.serve_tcp(None, None)
    net.host.serve_udp(None, None, lambda payload, address, port: payload)
    net.know()
    for _, _, _, frames in packets:
        for frame in frames:
            net.send(frame)
        net.run(0.004)
    net.run(1)
    return net


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(st.lists(line(), max_size=5), st.booleans(), st.lists(packet(), max_size=20))
def test_nothing_leaves_that_no_rule_allows(
    lines: list[Line], loopback: bool, packets: list[tuple[str, str, int, list[bytes]]]
) -> None:
    net = play(config(policy=[str(rule) for rule in lines], host_loopback=loopback), packets)
    allowed = set()
    for protocol, address, port, _ in packets:
        target = judge(lines, loopback, protocol, address, port) if protocol != "none" else None
        if target is not None:
            allowed.add((protocol, target[0], 0 if protocol == "icmp" else target[1]))
    for number, target_address, target_port in outward(net):
        assert (IPProtocol(number).name.lower(), target_address, target_port) in allowed
    for call in net.host.calls:  # and there is no other way out
        assert call.name in {*OUTWARD, "open_udp", "open_ping", "send", "shutdown", "abort", "close"}


@settings(max_examples=100, deadline=None)
@given(st.lists(packet(), max_size=20))
def test_nothing_leaves_a_restricted_network(packets: list[tuple[str, str, int, list[bytes]]]) -> None:
    assert play(config(restrict=True, policy=["allow any"]), packets).host.calls == []


def test_the_judge_lets_enough_through() -> None:
    """The traffic above is of use only if some of it is allowed, and leaves."""
    random = Random(1)
    lines = [Line("allow", None, "any", None, "")]
    packets = []
    for _ in range(50):
        address, port = random.choice(ADDRESSES), random.choice(PORTS)
        frame = udp(b"x", sport=random.choice((1, 2)), dport=port, destination=ip(address))
        packets.append(("udp", address, port, [frame]))
    expected = [judge(lines, True, *p[:3]) for p in packets]
    expected = [
        e
        for e, p in zip(expected, packets, strict=True)
        if not (p[1] in ("10.0.2.2", "10.0.2.255", "255.255.255.255") and p[2] == 67)  # DHCP
    ]
    net = play(config(policy=["allow any"]), packets)
    assert [(a, p) for _, a, p in outward(net)] == [e for e in expected if e]
    assert len(outward(net)) > 20
