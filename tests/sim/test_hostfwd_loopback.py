"""Forwards that go on to the guest's own loopback, where its address has refused them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from slirpy.audit.trail import AuditTrail
from slirpy.interfaces import Buffer, DatagramOwner, DatagramPeer, IcmpReport, StreamOwner, StreamPeer
from slirpy.nat import inside
from slirpy.nat.inside import IDLE_TIMEOUT, RECENT, RECENT_BYTES, RECENT_TIME
from slirpy.nat.splice import READ_SIZE, READS, Splice
from slirpy.testing import Echo, Remote, SimUdpServer
from slirpy.units import SECOND
from tests.support.frames6 import icmp6, know6
from tests.support.harness import (
    ACK,
    GATEWAY,
    GUEST,
    RST,
    SYN,
    Net,
    Peer,
    config,
    eth,
    ip,
    ipv4,
    options,
    rfc1071,
    udp,
)
from tests.unit.audit.records import check

LOOPBACK = ip("127.0.0.1")
HOME = ip("127.9.9.9")
"""The guest's own loopback, as the simulated host knows it."""
CLIENT = (ip("203.0.113.8"), 6000)
MIB = 1 << 20


class Inner:
    """Owner of a socket inside: its own loopback is 127.0.0.1 there."""

    def __init__(self, owner: DatagramOwner) -> None:
        self.owner = owner

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self.owner.datagram(payload, LOOPBACK if address == HOME else address, port)

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        self.owner.datagram_error(error, report)


class InnerPeer:
    def __init__(self, peer: DatagramPeer, closed: Callable[[], None]) -> None:
        self._peer = peer
        self.address = peer.address
        self.mtu = 0
        self.close_it: Callable[[], None] | None = closed

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        assert address in (LOOPBACK, bytes(15) + b"\1")
        return self._peer.send(payload, HOME, port)

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        raise AssertionError

    def close(self) -> None:
        self._peer.close()
        if self.close_it is not None:
            self.close_it()
            self.close_it = None


class SimInside:
    """Opens sockets inside the guest, on a part of the simulated host that nothing else uses."""

    def __init__(self, net: Net, guest: bytes = GUEST) -> None:
        self._net = net
        self.guest = guest
        self.connections = 0
        self.sockets = 0
        """UDP sockets that are open."""
        self.full = False

    def connect_tcp(self, port: int, owner: StreamOwner) -> StreamPeer:
        self.connections += 1
        return self._net.host.connect_tcp(HOME, port, owner)

    def open_udp(self, owner: DatagramOwner) -> DatagramPeer | None:
        if self.full:
            return None
        self.sockets += 1
        peer = self._net.host.open_udp(Inner(owner))
        assert not isinstance(peer, int)
        return InnerPeer(peer, self._closed)

    def _closed(self) -> None:
        self.sockets -= 1


class World:
    def __init__(self, *rules: str, guest: bytes = GUEST, **more: Any) -> None:
        self.net = Net(config(hostfwd=list(rules or ("tcp:127.0.0.1:0-:80",))), **more)
        self.net.know(address=guest)
        self.inside = SimInside(self.net, guest)
        self.net.stack.lead_inside(self.inside)
        self.programs: list[Remote] = []

    @property
    def port(self) -> int:
        return self.net.stack.hostfwds()[0].host_port

    def serve(self, port: int = 80, make: Callable[[], Remote] = Remote) -> None:
        """A service on the guest's own loopback."""

        def program() -> Remote:
            self.programs.append(make())
            return self.programs[-1]

        self.net.host.serve_tcp(HOME, port, program)

    def connect(self, source: tuple[bytes, int] = CLIENT) -> Remote:
        client = self.net.host.connect(LOOPBACK, self.port, source=source)
        self.net.run(0.01)
        return client

    def refuse(self, source: tuple[bytes, int] = CLIENT) -> None:
        """The guest's kernel, where nobody listens at its address."""
        peer = Peer(self.net, source[1], address=source[0], sport=80, seq=0)
        peer.ack = peer.one(SYN).seq + 1
        peer.send(RST | ACK)
        self.net.run(0.02)

    def spliced(self, **more: Any) -> tuple[Remote, Remote]:
        """A client and the program on the loopback, once they are joined."""
        self.serve(**more)
        client = self.connect()
        self.refuse()
        return client, self.programs[0]

    def ended(self) -> list[str]:
        return [flow.state for flow in self.net.stack.closed_flows if flow.guest[0].is_loopback]


# --------------------------------------------------------------------------------------------- both families


def test_the_loopback_of_the_address_that_refused() -> None:
    """A guest has a loopback of each family. What its IPv6 address refuses goes to ::1, and to nothing else."""
    world = World("tcp:[::1]:7001-[fec0::15]:80", "udp:[::1]:7002-[fec0::15]:80", "udp:127.0.0.1:7003-:80")
    net, guest = world.net, ip_address("fec0::15").packed
    know6(net, guest)
    net.take()
    inside = SimInside(net, guest)
    net.stack.lead_inside(inside)
    world.serve()
    client = net.host.connect("::1", 7001, source=("2001:db8:9::9", 6000))
    net.run(0.01)
    peer = Peer(net, 6000, address=ip_address("2001:db8:9::9").packed, guest=guest, sport=80, seq=0)
    peer.ack = peer.one(SYN).seq + 1
    peer.send(RST | ACK)
    net.run(0.02)
    client.write(b"hello")
    net.run(0.01)
    assert bytes(world.programs[0].received) == b"hello"
    assert (inside.connections, world.inside.connections) == (1, 0)
    assert [str(flow.guest[0]) for flow in net.stack.flows()] == ["::1"]

    for port, size in ((7002, 16), (7003, 4)):
        net.host.send_udp(b"datagram", "::1" if size == 16 else "127.0.0.1", port)
    net.run(0.01)
    quoted = [bytes(frame.data) for frame in net.take() if frame.type == 0x86DD and frame.data.nxt == 17]
    net.send(icmp6(1, 4, bytes(4) + quoted[0], source=guest, destination=quoted[0][8:24]))
    assert (inside.sockets, world.inside.sockets) == (1, 0)
    assert "::1" in [str(flow.guest[0]) for flow in net.stack.flows() if flow.protocol == "udp"]
    net.stack.close()
    assert inside.sockets == 0


# ------------------------------------------------------------------------------------------------------------- TCP


def test_a_connection_the_guest_refuses_goes_to_its_loopback() -> None:
    world = World()
    client, program = world.spliced()
    assert client.error is None
    client.write(b"GET /")
    world.net.run(0.01)
    assert bytes(program.received) == b"GET /"
    program.write(b"200 OK")
    world.net.run(0.01)
    assert bytes(client.received) == b"200 OK"
    (flow,) = world.net.stack.flows()
    assert (flow.protocol, flow.state, flow.inbound) == ("tcp", "ESTABLISHED", True)
    assert (str(flow.guest[0]), flow.guest[1]) == ("127.0.0.1", 80)
    assert flow.host is not None
    assert (flow.host[0].packed, flow.host[1]) == CLIENT
    assert (flow.bytes_in, flow.bytes_out) == (6, 5)
    assert world.net.stats.hostfwd_loopback == 1
    client.finish()
    world.net.run(0.01)
    assert program.ended
    assert world.ended() == [], "one direction is open"
    program.write(b" and more")
    program.finish()
    world.net.run(0.01)
    assert bytes(client.received) == b"200 OK and more"
    assert (client.error, program.error, world.ended(), world.net.stack.flows()) == (None, None, ["CLOSED"], [])
    assert len(world.net.host._open) == 1, "the listener"
    world.net.silence()


def test_data_sent_before_the_refusal_is_not_lost() -> None:
    world = World()
    world.serve(make=Echo)
    client = world.connect()
    client.write(b"impatient")
    client.finish()
    world.net.run(0.01)
    world.refuse()
    world.net.run(0.05)
    assert bytes(client.received) == b"impatient"
    assert client.ended


def test_large_streams_both_ways_with_short_reads_and_writes() -> None:
    world = World()
    world.net.host.short_sends = world.net.host.short_recvs = 0.5
    client, program = world.spliced()
    there, back = bytes(range(256)) * (MIB // 256), bytes(range(255, -1, -1)) * (MIB // 256)
    client.write(there)
    program.write(back)
    client.finish()
    program.finish()
    world.net.run(10)
    assert bytes(program.received) == there
    assert bytes(client.received) == back
    assert world.ended() == ["CLOSED"]


def test_back_pressure_and_a_bound_on_buffered_data() -> None:
    world = World()
    client, program = world.spliced()
    program.paused = True
    client.write(bytes(8 * MIB))
    world.net.run(5)
    (flow,) = world.net.stack.flows()
    assert flow.queued_out <= 1 << 16
    assert client.unsent > 6 * MIB
    program.paused = False
    world.net.run(5)
    assert len(program.received) == 8 * MIB


class Plenty:
    """A far side that says once that it has something, and then has much."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def send(self, buffers: Sequence[Buffer]) -> int:
        return sum(map(len, buffers))

    def recv(self, limit: int) -> bytes | None:
        self.left -= 1
        return bytes(limit) if self.left >= 0 else b""

    def shutdown(self) -> None:
        """Do nothing: data continues to flow."""

    def abort(self) -> None:
        raise AssertionError

    def close(self) -> None:
        """Do nothing."""


def test_a_turn_is_bounded_for_an_edge_triggered_peer() -> None:
    """One turn is bounded, so it takes several."""
    net = Net(config())
    over: list[str] = []
    splice = Splice(
        net.stack.network, Plenty(0), CLIENT, (LOOPBACK, 80), b"key", lambda splice, how: over.append(how)
    )
    splice.far.peer = Plenty(100)
    splice.far.connected()
    splice.far.readable()
    splice.service(net.now)
    assert 0 < splice.far.passed <= READS * READ_SIZE
    net.run(1)
    assert splice.far.passed == 100 << 16
    assert over == ["CLOSED"]


def test_a_connection_refused_by_the_loopback_too_is_refused() -> None:
    world = World()
    client = world.connect()
    world.refuse()
    assert client.error == errno.ECONNRESET
    assert world.ended() == ["REFUSED"]
    assert world.net.stack.flows() == []
    assert len(world.net.host._open) == 1


def test_a_service_on_the_address_is_reached_as_ever() -> None:
    world = World()
    world.serve()
    client = world.connect()
    peer = Peer(world.net, CLIENT[1], address=CLIENT[0], sport=80)
    peer.ack = (peer.one(SYN).seq + 1) & 0xFFFFFFFF
    peer.send(SYN | ACK, opts=options())
    peer.one(ACK)
    for data in (b"first", b"second"):
        client.write(data)
        world.net.run(0.01)
        assert peer.receive() == data
        peer.send(ACK)
    peer.send(RST | ACK)  # later resets are resets
    world.net.run(0.05)
    assert world.inside.connections == 0


@pytest.mark.parametrize("how", ["silence", "detached"])
def test_only_a_refusal_leads_to_the_loopback(how: str) -> None:
    world = World()
    world.serve()
    if how == "detached":
        world.net.stack.detach(world.net.port)
    client = world.connect()
    world.net.run(120)
    assert client.error == errno.ECONNRESET
    assert world.inside.connections == 0


def test_a_refusal_by_icmp_counts_too() -> None:
    world = World()
    world.serve(make=Echo)
    client = world.connect()
    (frame,) = world.net.raw()
    world.net.send(complaint(frame[14:]))
    client.write(b"x")
    world.net.run(0.05)
    assert bytes(client.received) == b"x"


def test_another_guest_has_no_detour() -> None:
    world = World("tcp:127.0.0.1:0-10.0.2.77:80")
    world.net.know(address=ip("10.0.2.77"))
    world.serve()
    client = world.connect()
    peer = Peer(world.net, CLIENT[1], address=CLIENT[0], sport=80, seq=0, guest=ip("10.0.2.77"))
    peer.ack = peer.one(SYN).seq + 1
    peer.send(RST | ACK)
    world.net.run(0.05)
    assert client.error == errno.ECONNRESET
    assert world.inside.connections == 0


def test_the_guest_by_its_address_has() -> None:
    world = World("tcp:127.0.0.1:0-10.0.2.15:80")
    client, _ = world.spliced()
    assert client.error is None


def test_resets_pass_both_ways() -> None:
    world = World()
    client, program = world.spliced()
    client.reset()
    world.net.run(0.05)
    assert program.error == errno.ECONNRESET
    assert world.ended() == ["RESET"]
    other = World()
    client, program = other.spliced()
    program.reset()
    other.net.run(0.05)
    assert client.error == errno.ECONNRESET
    assert other.ended() == ["RESET"]


def test_a_client_that_leaves_before_the_loopback_answers() -> None:
    world = World()
    world.net.host.black_hole(HOME)
    client = world.connect()
    world.refuse()
    (flow,) = world.net.stack.flows()
    assert flow.state == "CONNECTING"
    client.reset()
    world.net.run(0.05)
    assert world.net.stack.flows() == []
    assert len(world.net.host._open) == 1


def test_at_the_bound_the_idlest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "MAX_SPLICES", 3)
    world = World()
    world.serve()
    clients = []
    for number in range(5):
        source = CLIENT[0], 6000 + number
        clients.append(world.connect(source))
        world.refuse(source)
        clients[0].write(b"busy")
        world.net.run(0.01)
    assert [client.error for client in clients] == [None, errno.ECONNRESET, errno.ECONNRESET, None, None]
    assert world.net.stats.hostfwd_loopback_evicted == 2
    assert len(world.net.stack.flows()) == 3


def test_at_the_bound_the_client_with_the_most_connections_loses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "MAX_SPLICES", 3)
    world = World()
    world.serve()
    sources = [(ip("203.0.113.9"), 6000), *((CLIENT[0], 6000 + number) for number in range(3))]
    clients = []
    for source in sources:
        clients.append(world.connect(source))
        world.refuse(source)
    assert [client.error for client in clients] == [None, errno.ECONNRESET, None, None]


def test_a_handler_over_a_unix_socket_too() -> None:
    world = World("unix:/run/x.sock-:80")
    world.serve(make=Echo)
    client = world.net.host.connect_unix("/run/x.sock")
    world.net.run(0.01)
    (frame,) = world.net.take()
    peer = Peer(world.net, frame.data.data.sport, address=GATEWAY, sport=80, seq=0)
    peer.ack = frame.data.data.seq + 1
    peer.send(RST | ACK)
    client.write(b"x")
    world.net.run(0.05)
    assert bytes(client.received) == b"x"


def test_replacing_the_way_inside_ends_its_connections() -> None:
    world = World()
    client, program = world.spliced()
    world.net.stack.lead_inside(SimInside(world.net))
    world.net.run(0.05)
    assert client.error == program.error == errno.ECONNRESET


def test_the_end_of_the_network() -> None:
    world = World("tcp:127.0.0.1:0-:80", "udp:127.0.0.1:0-:53")
    client, program = world.spliced()
    world.net.stack.close()
    world.net.run(0.05)
    assert client.error == program.error == errno.ECONNRESET
    assert len(world.net.host._open) == 0


# ------------------------------------------------------------------------------------------------------------- UDP


def complaint(quoted: bytes, code: int = 3) -> bytes:
    """The guest that the quoted packet went to says that nobody listens."""
    message = bytes((3, code, 0, 0)) + bytes(4) + quoted
    message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
    return eth(ipv4(1, message, source=quoted[16:20], destination=quoted[12:16]))


class UdpWorld(World):
    def __init__(self, rule: str = "udp:127.0.0.1:0-:53", guest: bytes = GUEST) -> None:
        super().__init__(rule, guest=guest)
        self.clients: dict[tuple[bytes, int], SimUdpServer] = {}

    def answer(self) -> Any:
        return self.net.host.serve_udp(HOME, 53, lambda payload, address, port: b"to " + payload)

    def ask(self, payload: bytes, source: tuple[bytes, int] = CLIENT) -> None:
        if source not in self.clients:
            self.clients[source] = self.net.host.serve_udp(*source)
        self.net.host.send_udp(payload, LOOPBACK, self.port, source)
        self.net.run(0.01)

    def heard(self, source: tuple[bytes, int] = CLIENT) -> list[bytes]:
        received = self.clients[source].received
        found = [each.payload for each in received]
        assert all(each.source == (IPv4Address(LOOPBACK), self.port) for each in received)
        received.clear()
        return found

    def refuse(self, source: tuple[bytes, int] = CLIENT) -> None:
        for frame in self.net.raw():
            self.net.send(complaint(frame[14:]))
        self.net.run(0.01)


def test_datagrams_that_the_guest_refuses_go_to_its_loopback() -> None:
    world = UdpWorld()
    service = world.answer()
    world.ask(b"one")
    world.refuse()
    assert world.heard() == [b"to one"]
    world.ask(b"two")
    assert world.net.raw() == [], "it is known now"
    assert world.heard() == [b"to two"]
    assert [each.payload for each in service.received] == [b"one", b"two"]
    flow = next(flow for flow in world.net.stack.flows() if flow.guest[0].is_loopback)
    assert (flow.protocol, flow.state, flow.inbound, flow.guest[1]) == ("udp", "OPEN", True, 53)
    assert flow.host is not None
    assert (flow.host[0].packed, flow.host[1]) == CLIENT
    assert (flow.packets_in, flow.packets_out, flow.bytes_in, flow.bytes_out) == (2, 2, 12, 6)
    assert world.net.stats.hostfwd_loopback == 1


def test_the_detour_follows_the_first_guest() -> None:
    world = UdpWorld(guest=ip("10.0.2.20"))
    world.answer()
    world.ask(b"one")
    world.refuse()
    world.ask(b"two")
    assert world.heard() == [b"to one", b"to two"]
    world.net.silence()
    world.net.know()  # the address that forwards prefer
    later = SimInside(world.net)
    world.net.stack.lead_inside(later)
    world.ask(b"three")
    assert world.net.one().data.dst == GUEST
    assert world.heard() == []
    assert later.sockets == 0
    world.ask(b"four")
    world.refuse()
    assert world.heard() == [b"to three", b"to four"]
    assert later.sockets == 1


def test_clients_of_the_loopback_are_kept_apart() -> None:
    world = UdpWorld()
    service = world.answer()
    sources = [(CLIENT[0], 6000 + number) for number in range(5)]
    for source in sources:
        world.ask(b"%d" % source[1], source)
    world.refuse()
    for source in sources:
        assert world.heard(source) == [b"to %d" % source[1]]
    assert len({each.source for each in service.received}) == 5
    assert world.inside.sockets == world.net.stats.hostfwd_loopback == 5
    world.net.run(IDLE_TIMEOUT / 1e9 + 1)
    assert world.inside.sockets == 0
    assert world.net.stack.flows() == []
    inside = [flow for flow in world.net.stack.closed_flows if flow.guest[0].is_loopback]
    assert [(flow.state, flow.guest[1]) for flow in inside] == [("CLOSED", 53)] * 5


def test_when_the_loopback_refuses_the_address_is_tried_again() -> None:
    world = UdpWorld()
    service = world.answer()
    world.ask(b"one")
    world.refuse()
    assert world.heard() == [b"to one"]
    service.close()
    world.ask(b"two")
    world.net.run(0.05)
    assert world.heard() == []
    assert world.inside.sockets == 0
    world.ask(b"three")
    (frame,) = world.net.take()
    assert bytes(frame.data.data.data) == b"three", "the guest's address again"
    world.net.send(udp(b"to three", sport=53, dport=CLIENT[1], destination=CLIENT[0]))
    world.net.run(0.01)
    assert world.heard() == [b"to three"]


def test_datagrams_without_any_listener_are_dropped() -> None:
    world = UdpWorld()
    for number in range(20):
        world.ask(b"%d" % number)
        world.refuse()
        world.net.run(0.05)
    assert world.heard() == []
    assert world.inside.sockets == 0
    assert world.net.stats.drop_udp_host_error == 20


def test_a_service_on_the_address_gets_all_datagrams() -> None:
    world = UdpWorld()
    service = world.answer()
    for number in range(100):
        world.ask(b"%d" % number)
    assert len(world.net.take()) == 100
    assert service.received == []
    assert world.inside.sockets == 0


def test_stored_datagrams_are_bounded() -> None:
    world = UdpWorld()
    service = world.answer()
    for number in range(RECENT + 10):
        world.ask(b"%d" % number)
    world.refuse()
    assert [each.payload for each in service.received] == [b"%d" % n for n in range(10, RECENT + 10)]
    other = UdpWorld()
    service = other.answer()
    for _ in range(RECENT):
        other.ask(bytes(20_000))
    frames = other.net.raw()
    other.net.send(complaint(frames[0][14:]))
    other.net.run(0.05)
    assert len(service.received) == RECENT_BYTES // 20_000


def test_old_datagrams_are_not_sent_again() -> None:
    world = UdpWorld()
    service = world.answer()
    world.ask(b"old")
    (frame,) = world.net.raw()
    world.net.run(5)
    world.ask(b"new")
    world.net.raw()
    world.net.send(complaint(frame[14:]))
    world.net.run(0.01)
    assert [each.payload for each in service.received] == [b"new"]


@pytest.mark.parametrize(("late", "again"), [(0, [b"old"]), (1, []), (5 * SECOND, [])])
def test_a_refusal_that_comes_late_sends_nothing_again(late: int, again: list[bytes]) -> None:
    world = UdpWorld()
    service = world.answer()
    world.ask(b"old")
    (frame,) = world.net.raw()
    ((detour,),) = world.net.stack._hostfwds._detours.values()
    ((when, *_),) = detour._recent
    world.net.now = when + RECENT_TIME + late
    world.net.send(complaint(frame[14:]))
    world.net.run(0.01)
    assert [each.payload for each in service.received] == again


def test_a_client_for_which_the_system_has_no_socket() -> None:
    """Datagrams of this client are lost, as on a network."""
    world = UdpWorld()
    world.inside.full = True
    world.ask(b"one")
    world.refuse()
    world.ask(b"two")
    (flow,) = (flow for flow in world.net.stack.flows() if flow.guest[0] == IPv4Address(LOOPBACK))
    assert (flow.packets_out, flow.bytes_out, flow.packets_in) == (2, 6, 0)


def test_at_the_bound_the_idlest_client_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "MAX_CLIENTS", 3)
    world = UdpWorld()
    world.answer()
    world.ask(b"first")
    world.refuse()
    for number in range(1, 6):
        world.ask(b"x", (CLIENT[0], 6000 + number))
    assert world.inside.sockets == 3
    assert world.net.stats.hostfwd_loopback_evicted == 3


def test_at_the_bound_the_client_with_the_most_ports_loses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client keeps its socket, however long it has been idle."""
    monkeypatch.setattr(inside, "MAX_CLIENTS", 3)
    world = UdpWorld()
    world.answer()
    other = ip("203.0.113.9"), 6000
    world.ask(b"first", other)
    world.refuse()
    for number in range(3):
        world.ask(b"x", (CLIENT[0], 6000 + number))
    world.ask(b"again", other)
    assert world.net.stats.hostfwd_loopback_evicted == 1
    assert world.heard(other) == [b"to first", b"to again"]


def test_answers_are_accepted_only_from_the_service() -> None:
    """Others inside know the port, too, and are not who was asked."""
    world = UdpWorld()
    service = world.answer()
    world.ask(b"one")
    world.refuse()
    world.heard()
    place = service.received[0].source
    world.net.host.send_udp(b"forged", HOME if place[0].is_unspecified else place[0], place[1], (HOME, 54))
    world.net.run(0.01)
    assert world.heard() == []
    assert world.net.stats.drop_udp_unreachable == 1


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_an_answer_for_which_the_client_has_no_room_is_counted(error: int) -> None:
    world = UdpWorld()
    world.answer()
    world.ask(b"one")
    world.refuse()
    world.net.host.udp_errors += [0, error]  # the question, the answer
    world.ask(b"two")
    assert world.heard() == [b"to one"]
    assert world.net.stats.drop_udp_host_full == 1


def test_a_forward_that_is_removed_leaves_nothing() -> None:
    world = UdpWorld()
    world.answer()
    world.ask(b"one")
    world.refuse()
    rule = world.net.stack.hostfwds()[0]
    world.net.stack.remove_hostfwd(rule)
    assert world.net.stack._hostfwds._detours == {}
    world.net.run(IDLE_TIMEOUT / 1e9 + 1)
    assert world.inside.sockets == 0


def test_answers_come_from_the_address_of_the_request() -> None:
    world = UdpWorld("udp:0.0.0.0:0-:53")
    world.answer()
    client = world.net.host.serve_udp(*CLIENT)
    for address in (LOOPBACK, ip("127.0.0.2")):
        world.net.host.send_udp(b"x", address, world.port, CLIENT)
        world.net.run(0.01)
        world.refuse()
    world.net.run(0.01)
    assert [(str(each.source[0]), each.source[1]) for each in client.received] == [
        ("127.0.0.1", world.port),
        ("127.0.0.2", world.port),
    ]


# ------------------------------------------------------------------------------------------------------------ events


def listened(world: World) -> list[dict[str, Any]]:
    """The records of an audit from now on."""
    records: list[dict[str, Any]] = []
    trail = AuditTrail(function=records.append)
    trail.started(world.net.stack, [], None)
    world.net.stack.network.events = trail
    return records


def test_a_connection_on_the_loopback_is_on_record() -> None:
    world = World()
    records = listened(world)
    client, program = world.spliced()
    client.write(b"hello")
    client.finish()
    world.net.run(0.01)
    program.finish()
    world.net.run(0.01)
    refused, spliced = (record for record in records if record["event"] == "open")
    assert refused["source"] == spliced["source"] == "10.0.2.15"
    assert (spliced["source_port"], spliced["destination"], spliced["inbound"]) == (80, "203.0.113.8", True)
    ends = {record["flow"]: record for record in records if record["event"] == "end"}
    assert ends[refused["flow"]]["end"] == "REFUSED"
    ended = ends[spliced["flow"]]
    assert (ended["end"], ended["bytes_in"], ended["bytes_out"]) == ("CLOSED", 0, 5)
    check(records)


def test_a_client_of_datagrams_on_the_loopback_is_on_record() -> None:
    world = UdpWorld()
    records = listened(world)
    world.answer()
    world.ask(b"one")
    world.refuse()
    world.ask(b"two")
    world.net.run(2 * IDLE_TIMEOUT / SECOND)
    opened = [record for record in records if record["event"] == "open" and record["target"]]
    spliced = opened[-1]
    assert (spliced["protocol"], spliced["source"], spliced["source_port"]) == ("udp", "10.0.2.15", 53)
    assert (spliced["destination"], spliced["inbound"]) == ("203.0.113.8", True)
    ended = next(r for r in records if r["event"] == "end" and r["flow"] == spliced["flow"])
    assert (ended["packets_in"], ended["packets_out"], ended["bytes_in"], ended["bytes_out"]) == (2, 2, 12, 6)
    check(records)


def test_connections_from_a_guest_s_loopback_are_on_record() -> None:
    """The ports of the host that appear on a guest's own loopback."""
    world = World()
    records = listened(world)
    server = world.net.host.serve_tcp("127.0.0.1", 9, Remote)
    accept = world.net.stack.outward_acceptor(4, 9)
    world.net.host.listen_tcp(HOME, 9, accept)
    client = world.net.host.connect(HOME, 9, source=(HOME, 6000))
    world.net.run(0.01)
    client.write(b"hello")
    (program,) = server.connections
    program.write(b"hi")
    world.net.run(0.01)
    assert (bytes(client.received), bytes(program.received)) == (b"hi", b"hello")
    (flow,) = world.net.stack.flows()
    ends = (IPv4Address(HOME), 6000), (IPv4Address(LOOPBACK), 9)
    assert (flow.guest, flow.host, flow.inbound) == (*ends, False)
    assert (flow.bytes_in, flow.bytes_out, flow.queued_in, flow.queued_out) == (5, 2, 0, 0)
    assert (flow.packets_in, flow.packets_out) == (0, 0)
    program.paused = True
    client.write(bytes(8 * MIB))
    world.net.run(5)
    (flow,) = world.net.stack.flows()
    assert flow.queued_in > flow.queued_out == 0
    program.paused = False
    world.net.run(5)
    client.finish()
    program.finish()
    world.net.run(0.01)
    (opened,) = (record for record in records if record["event"] == "open")
    assert (opened["inbound"], opened["host"], opened["target"], opened["target_port"]) == (
        False, True, "127.0.0.1", 9,
    )  # fmt: skip
    (ended,) = (record for record in records if record["event"] == "end")
    assert (ended["bytes_in"], ended["bytes_out"]) == (8 * MIB + 5, 2)
    check(records)
