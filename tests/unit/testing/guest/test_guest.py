"""The guest against the stack, in virtual time: ARP, DHCP, ping, UDP, DNS, fragments, checksums."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from random import Random

import dnslib
import dpkt
import pytest

from slirpy import Config, StateError
from slirpy.services.dhcp.lease import Client
from slirpy.testing import DEFAULT_MAC, Captured, Guest, SimHost, UnmetError, VirtualNetwork
from slirpy.testing.guest.fragments import Reassembler, fragments
from slirpy.wire import arp, ethernet, icmp, ipv4, udp

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
SERVER = bytes((192, 0, 2, 7))
GATEWAY_MAC = bytes.fromhex("52550a000202")


def ready(**arguments: object) -> VirtualNetwork:
    """A network whose guest has its address."""
    net = VirtualNetwork(**arguments)  # type: ignore[arg-type] # each value fits its argument
    net.boot()
    return net


def resolved(net: VirtualNetwork, address: str = "10.0.2.2") -> None:
    """Let the guest know a MAC address."""
    ping = net.guest.ping(address)
    net.run_until(lambda: ping.reply)
    net.transcript.clear()


def echo_udp(host: SimHost, port: int = 7) -> None:
    host.serve_udp(SERVER, port, lambda payload, address, port: payload)


def parsed(captured: Captured) -> dpkt.ethernet.Ethernet:
    return dpkt.ethernet.Ethernet(captured.frame)


# ------------------------------------------------------------------------------------- DHCP


def test_dhcp_gets_everything_from_the_configuration() -> None:
    net = VirtualNetwork(Config(net="192.168.7.0/25", mtu=1400, hostname="box"))
    net.guest.mtu = 1500  # what its card can do
    lease = net.boot().lease
    assert lease is not None
    assert (str(lease.address), lease.prefix) == ("192.168.7.15", 25)
    assert (str(lease.router), [str(server) for server in lease.dns]) == ("192.168.7.2", ["192.168.7.3"])
    assert (lease.mtu, lease.seconds, lease.options[12]) == (1400, 86400, b"box")
    assert net.guest.address == lease.address
    assert net.guest.mtu == 1400
    assert [message.kind for message in net.guest.dhcp().received] == [2, 5]
    assert net.stack.leases()[0].address == lease.address


def test_dhcp_renews_by_itself_and_keeps_the_address() -> None:
    net = ready()
    client = net.guest.dhcp()
    net.run(13 * HOUR)
    assert client.state == "BOUND"
    assert client.lease is not None
    assert client.lease.granted_at == pytest.approx(12 * HOUR, rel=0.01)
    assert (net.stack.stats.dhcp_discover, net.stack.stats.dhcp_request) == (1, 2)


def test_dhcp_renews_on_request() -> None:
    net = ready()
    client = net.guest.dhcp()
    net.run(SECOND)
    client.renew()
    net.run_until(lambda: client.lease is not None and client.lease.granted_at == SECOND, limit=SECOND)
    assert client.state == "BOUND"


def test_dhcp_release_gives_the_address_back() -> None:
    net = ready()
    net.guest.dhcp().release()
    net.run(SECOND)
    assert net.guest.address is None
    assert net.stack.leases() == []
    with pytest.raises(StateError, match="no address"):
        net.guest.ping("10.0.2.2")
    assert str(net.boot().address) == "10.0.2.15"


def test_dhcp_tries_again_when_messages_are_lost() -> None:
    net = VirtualNetwork()
    lost: list[str] = []

    def lose(direction: str, frame: bytes) -> int | None:
        if len(lost) < 2:
            lost.append(direction)
            return None
        return 0

    net.fault = lose
    net.boot()
    assert lost == ["in", "in"]
    assert 3 * SECOND < net.now < 20 * SECOND


def test_dhcp_starts_over_when_renewal_fails() -> None:
    net = ready()
    resolved(net)
    client = net.guest.dhcp()
    net.fault = lambda direction, frame: None
    net.run(24 * HOUR + SECOND)
    assert client.state == "SELECTING"
    assert net.guest.address is None
    requests = [
        time for time, _, frame in net.transcript if frame[23:24] == b"\x11" and frame[36:38] == b"\0\x43"
    ]
    assert len([time for time in requests if 12 * HOUR <= time < 21 * HOUR]) > 100  # to the server
    assert len([time for time in requests if 21 * HOUR <= time < 24 * HOUR]) > 100  # to everyone
    net.fault = None
    net.run_until(lambda: client.bound, limit=120 * SECOND)


def test_dhcp_starts_over_after_a_nak() -> None:
    net = ready()
    client = net.guest.dhcp()
    address = net.guest.ipv4.addresses[0]
    assert net.stack._leases.v4.table.release(Client(net.guest.mac), address, net.now)
    assert net.stack._leases.v4.table.bind(Client(bytes(range(6))), address, net.now)  # it is another's now
    client.renew()
    net.run_until(lambda: client.state == "BOUND", limit=SECOND)
    assert net.stack.stats.dhcp_nak == 1
    assert str(net.guest.address) == "10.0.2.16"


def test_two_guests_get_two_addresses() -> None:
    net = ready()
    other = net.add_guest()
    assert str(net.boot(other).address) == "10.0.2.16"
    ping = other.ping("10.0.2.2")
    net.run_until(lambda: ping.reply)
    assert net.guest.counters.foreign == 0


# -------------------------------------------------------------------------------------- ARP


def test_arp_asks_once_and_answers_for_itself() -> None:
    net = VirtualNetwork()
    net.guest.configure("10.0.2.77", 24, "10.0.2.2")
    pings = [net.guest.ping("10.0.2.2") for _ in range(3)]
    net.run_until(lambda: all(ping.reply for ping in pings))
    assert net.guest.arp.requests == 1
    assert net.guest.arp.macs[bytes((10, 0, 2, 2))] == GATEWAY_MAC

    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.77", 24)
    request = arp.ArpPacket(arp.REQUEST, GATEWAY_MAC, bytes((10, 0, 2, 2)), bytes(6), bytes((10, 0, 2, 77)))
    header = ethernet.BROADCAST + GATEWAY_MAC + b"\x08\x06"
    guest.input(header + arp.build(request))
    [frame] = sent
    answer = arp.parse(frame[14:])
    assert answer is not None
    assert (answer.operation, answer.sender_mac, answer.target_mac) == (arp.REPLY, DEFAULT_MAC, GATEWAY_MAC)
    guest.input(header + arp.build(request._replace(target=bytes((10, 0, 2, 78)))))
    assert len(sent) == 1


def test_arp_gives_up_after_three_seconds() -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.77", 24)
    guest.ping("10.0.2.78")
    while (deadline := guest.deadline()) is not None:
        guest.advance(deadline)
    assert len(sent) == 3
    assert guest.now == 3 * SECOND
    assert guest.counters.unreachable == 1


def test_no_gateway_is_unreachable() -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.77", 24)
    guest.ping("192.0.2.7")
    assert (sent, guest.counters.unreachable) == ([], 1)


# -------------------------------------------------------------------------------------- ICMP


def test_ping_tells_time_ttl_and_payload() -> None:
    net = ready(link_latency_ns=2_000_000)
    resolved(net)
    ping = net.guest.ping("10.0.2.2", b"0123456789")
    net.run_until(lambda: ping.reply)
    assert (ping.reply, ping.rtt, ping.ttl) == (b"0123456789", 4_000_000, 255)
    assert (ping.address, ping.error) == (IPv4Address("10.0.2.2"), None)


def test_the_guest_answers_pings() -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.15", 24)
    far = bytes((10, 0, 2, 9))
    guest.arp.macs[far] = GATEWAY_MAC
    message = icmp.build(icmp.ECHO_REQUEST, 0, 0x00070001, b"hello")
    packet = ipv4.build(far, bytes((10, 0, 2, 15)), ipv4.ICMP, len(message)) + message
    guest.input(DEFAULT_MAC + GATEWAY_MAC + b"\x08\x00" + packet)
    [frame] = sent
    answer = dpkt.ethernet.Ethernet(frame).data.data
    assert (answer.type, answer.data.id, answer.data.seq, answer.data.data) == (0, 7, 1, b"hello")


def test_icmp_errors_reach_the_socket_that_caused_them() -> None:
    net = ready()
    unassigned = "10.0.2.99"
    ping, socket = net.guest.ping(unassigned), net.guest.udp()
    socket.send(b"x", unassigned, 9)
    net.run(5 * SECOND)
    # Its own network is on the link: ARP gets no answer, nothing is sent at all, and the socket learns of it.
    assert (ping.error, net.guest.counters.unreachable) == (None, 2)
    assert socket.errors == [errno.EHOSTUNREACH]
    socket.errors.clear()

    net.host.unreachable(SERVER, error=errno.EHOSTUNREACH)
    stream = net.guest.connect("192.0.2.7", 9)
    net.run_until(lambda: stream.closed)
    assert stream.error == errno.EHOSTUNREACH
    [error] = net.guest.icmp_errors
    assert (error.kind, error.code, str(error.source)) == (3, 1, "10.0.2.2")

    net.host.unreachable(SERVER, error=errno.ENETUNREACH, at_once=True)
    socket.send(b"x", "192.0.2.7", 9)
    net.run_until(lambda: socket.errors)
    assert socket.errors == [errno.ENETUNREACH]


# --------------------------------------------------------------------------------------- UDP


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507])
def test_udp_echo_of_every_size(size: int) -> None:
    net = ready()
    echo_udp(net.host)
    payload = Random(size).randbytes(size)
    socket = net.guest.udp()
    socket.send(payload, "192.0.2.7", 7)
    net.run_until(lambda: socket.received)
    assert socket.received == [(payload, IPv4Address("192.0.2.7"), 7)]
    assert net.guest.counters.bad_checksum == net.stack.stats.drop_udp_checksum == 0
    assert max(len(captured.frame) for captured in net.transcript) <= 1514


def test_udp_fragments_may_come_in_any_order() -> None:
    net = ready()
    echo_udp(net.host)
    delays = iter(range(20_000_000, 0, -1_000_000))
    net.fault = lambda direction, frame: next(delays)
    payload = Random(1).randbytes(8000)
    socket = net.guest.udp()
    socket.send(payload, "192.0.2.7", 7)
    net.run_until(lambda: socket.received)
    assert socket.received[0].payload == payload


def test_udp_ports() -> None:
    net = ready()
    socket = net.guest.udp(5000)
    with pytest.raises(StateError, match="UDP port 5000"):
        net.guest.udp(5000)
    with pytest.raises(StateError, match="65508 bytes"):
        socket.send(bytes(65508), "192.0.2.7", 7)
    socket.close()
    socket.close()
    assert net.guest.udp(5000).port == 5000


def test_a_datagram_for_a_closed_port_is_refused() -> None:
    net = ready()
    echo_udp(net.host)
    socket = net.guest.udp()
    socket.send(b"x", "192.0.2.7", 7)
    socket.close()
    net.run(SECOND)
    assert net.guest.counters.unhandled == 1
    last = parsed(net.transcript[-1]).data
    assert (last.p, last.data.type, last.data.code) == (ipv4.ICMP, 3, 3)


# --------------------------------------------------------------------------------------- DNS


def serve_names(net: VirtualNetwork) -> None:
    def answer(message: bytes, address: object, port: int) -> bytes:
        query = dnslib.DNSRecord.parse(message)
        reply = query.reply()
        if str(query.q.qname) == "a.test.":
            reply.add_answer(*dnslib.RR.fromZone("a.test 60 A 192.0.2.7\na.test 60 A 192.0.2.8"))
        else:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return bytes(reply.pack())

    net.host.serve_udp(bytes((192, 0, 2, 53)), 53, answer)


def test_dns_lookup() -> None:
    net = ready()
    serve_names(net)
    found, missing = net.guest.resolve("a.test"), net.guest.resolve("b.test")
    net.run_until(lambda: found.done and missing.done)
    assert (found.rcode, found.answers) == ("NOERROR", ["192.0.2.7", "192.0.2.8"])
    assert (missing.rcode, missing.answers) == ("NXDOMAIN", [])
    assert found.answered_at is not None
    assert found.answered_at - found.sent_at == 2_000_000  # the host's latency, both ways


def test_dns_lookup_asks_again_and_gives_up() -> None:
    net = ready()
    resolved(net, "10.0.2.3")
    net.fault = lambda direction, frame: None
    lookup = net.guest.resolve("a.test")
    net.run_until(lambda: lookup.done)
    assert (lookup.rcode, lookup.answers, net.now) == (None, [], 10 * SECOND)
    assert [captured.time for captured in net.transcript] == [0, 5 * SECOND]


def from_far(source: bytes, protocol: int, body: bytes) -> bytes:
    """A frame to the guest 10.0.2.15."""
    packet = ipv4.build(source, bytes((10, 0, 2, 15)), protocol, len(body)) + body
    return DEFAULT_MAC + GATEWAY_MAC + b"\x08\x00" + packet


def test_dns_answers_that_fit_no_question_are_dropped() -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    server, other = bytes((10, 0, 2, 3)), bytes((10, 0, 2, 4))
    guest.configure("10.0.2.15", 24, dns=server)
    guest.arp.macs[server] = GATEWAY_MAC
    lookup = guest.resolve("a.test")
    asked = dpkt.ethernet.Ethernet(sent[0]).data.data
    question = dnslib.DNSRecord.parse(asked.data)

    def answer(message: dnslib.DNSRecord, source: bytes = server, port: int = 53) -> None:
        payload = bytes(message.pack())
        body = udp.build(source, port, bytes((10, 0, 2, 15)), asked.sport, payload) + payload
        guest.input(from_far(source, ipv4.UDP, body))

    good = question.reply()
    good.add_answer(*dnslib.RR.fromZone("a.test 60 A 192.0.2.7"))
    wrong = dnslib.DNSRecord.parse(good.pack())
    wrong.header.id ^= 1
    answer(wrong)
    answer(question)
    answer(good, source=other)
    answer(good, port=54)
    assert not lookup.done
    answer(good)
    assert (lookup.done, lookup.answers) == (True, ["192.0.2.7"])


def test_icmp_errors_do_not_end_an_established_stream() -> None:
    net = ready()
    net.host.serve_tcp(SERVER, 80)
    stream = net.guest.connect("192.0.2.7", 80)
    net.run_until(lambda: stream.established)
    last = next(frame for _, direction, frame in reversed(net.transcript) if direction == "in")
    message = icmp.build(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0, last[14:])
    net.guest.input(from_far(bytes((10, 0, 2, 2)), ipv4.ICMP, message))
    assert [error.code for error in net.guest.icmp_errors] == [icmp.HOST_UNREACHABLE]
    assert (stream.closed, stream.error) == (False, 0)


def test_dns_without_a_server_is_the_callers_mistake() -> None:
    guest = Guest(lambda frame: None, random=Random(1))
    guest.configure("10.0.2.15", 24)
    with pytest.raises(StateError, match="no DNS server"):
        guest.resolve("a.test")


# ---------------------------------------------------------------------------- what comes in wrong


def datagram(payload: bytes = b"hello") -> bytearray:
    source, own = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))
    body = udp.build(source, 7, own, 5000, payload) + payload
    packet = ipv4.build(source, own, ipv4.UDP, len(body)) + body
    return bytearray(DEFAULT_MAC + GATEWAY_MAC + b"\x08\x00" + packet)


@pytest.mark.parametrize(
    ("at", "counter"),
    [(0, "foreign"), (12, "unhandled"), (14, "malformed"), (22, "bad_checksum"), (33, "bad_checksum"),
     (40, "bad_checksum"), (-1, "bad_checksum")],
)  # fmt: skip
def test_a_wrong_byte_is_counted(at: int, counter: str) -> None:
    guest = Guest(lambda frame: None, random=Random(1))
    guest.configure("10.0.2.15", 24)
    socket = guest.udp(5000)
    guest.input(bytes(datagram()))
    assert [message.payload for message in socket.received] == [b"hello"]
    frame = datagram()
    frame[at] ^= 0x20
    guest.input(bytes(frame))
    assert len(socket.received) == 1
    assert getattr(guest.counters, counter) == 1


def test_a_damaged_ping_is_not_answered() -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.15", 24)
    message = icmp.build(icmp.ECHO_REQUEST, 0, 0x00070001, b"hello")
    packet = ipv4.build(bytes((10, 0, 2, 9)), bytes((10, 0, 2, 15)), ipv4.ICMP, len(message)) + message
    guest.input(DEFAULT_MAC + GATEWAY_MAC + b"\x08\x00" + packet[:-1] + b"0")
    assert (sent, guest.counters.bad_checksum) == ([], 1)


def test_random_frames_never_raise() -> None:
    random = Random(1)
    guest = Guest(lambda frame: None, random=Random(1))
    guest.configure("10.0.2.15", 24)
    whole = bytes(datagram())
    for _ in range(3000):
        frame = bytearray(whole)
        for _ in range(random.randrange(1, 6)):
            frame[random.randrange(14, len(frame))] = random.getrandbits(8)
        cut = random.randrange(len(frame) + 1)
        header = ipv4.build(bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15)), random.choice((1, 6, 17)), cut)
        guest.input(bytes(frame[:cut]))
        guest.input(DEFAULT_MAC + GATEWAY_MAC + b"\x08\x00" + header + bytes(frame[:cut]))
    assert guest.counters.frames_in == 6000


def test_reassembler_is_bounded_and_wants_all_pieces() -> None:
    reassembler = Reassembler()

    def give(packet: bytes) -> object:
        header = ipv4.parse(packet)
        assert header is not None
        return reassembler.insert(header, memoryview(packet))

    source, own = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))
    for ident in range(1000):
        first, _ = fragments(source, own, 17, bytes(2000), ident, 64, 1500)
        assert give(first) is None
    assert len(reassembler._packets) == 64
    _, last = fragments(source, own, 17, bytes(2000), 999, 64, 1500)
    assert give(last) is not None
    assert len(reassembler._packets) == 63


# ------------------------------------------------------------------------------- the network itself


def test_run_until_fails_with_a_summary() -> None:
    net = ready()
    net.guest.ping("10.0.2.2")
    with pytest.raises(UnmetError) as caught:
        net.run_until(lambda: False, limit=2 * SECOND)
    text = str(caught.value)
    for part in ("not within 2 s", "10.0.2.15", "GuestCounters(", "icmp_echo_replies 1", "echo reply"):
        assert part in text
    assert isinstance(caught.value, AssertionError)
    assert net.now == 2 * SECOND


def test_run_lets_time_pass() -> None:
    net = VirtualNetwork()
    net.run(5)
    net.run(7)
    assert (net.now, net.stack.now, net.guest.now, net.host.now) == (12, 12, 12, 12)
    assert net.transcript == []


def test_the_links_latency_and_the_transcript() -> None:
    net = VirtualNetwork(link_latency_ns=1000)
    net.guest.configure("10.0.2.77", 24, "10.0.2.2")
    ping = net.guest.ping("10.0.2.2")
    net.run_until(lambda: ping.reply)
    assert [(c.time, c.direction) for c in net.transcript] == [
        (0, "in"), (1000, "out"),  # ARP
        (2000, "in"), (3000, "out"),
    ]  # fmt: skip
    assert ping.replied_at == 4000
    assert parsed(net.transcript[2]).dst == GATEWAY_MAC


def test_a_smaller_mtu_of_the_link_is_obeyed() -> None:
    net = ready(mtu=600)
    echo_udp(net.host)
    socket = net.guest.udp()
    socket.send(bytes(2000), "192.0.2.7", 7)
    net.run_until(lambda: socket.received)
    assert net.guest.mtu == 600
    assert max(len(captured.frame) for captured in net.transcript) <= 614


def test_booting_returns_the_guest_with_its_lease() -> None:
    net = VirtualNetwork(seed=1)
    before, guest = net.guest.lease, net.boot()
    assert before is None
    assert guest is net.guest
    assert guest.lease is not None
    assert guest.lease.address == guest.address
    other = net.add_guest()
    assert net.boot(other) is other
    assert other.address not in (None, net.guest.address)
    at = net.now
    net.boot()  # again: there is nothing to wait for
    assert net.now == at
    other.dhcp().release()
    assert other.lease is None
