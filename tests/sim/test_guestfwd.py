"""Addresses of the virtual network at which something answers: which, what the guest sees, and when it fails."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from slirpy.config.guestfwd import GuestForward, StreamFactory
from slirpy.errors import ConfigError, ForwardError
from slirpy.interfaces import Buffer, FlowRequest, StreamOwner, StreamPeer
from slirpy.testing import Echo, Resetter, VirtualNetwork
from slirpy.wire import ethernet
from tests.support.harness import (
    ACK,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    echo,
    ip,
    options,
    udp,
)

SERVER = ip("10.0.2.100")
SERVER_MAC = ethernet.virtual_mac(SERVER)
TARGET = ip("192.0.2.7")
RULE = "tcp:10.0.2.100:80-tcp:192.0.2.7:8080"


def network(*rules: Any, **more: Any) -> Net:
    net = Net(config(guestfwd=list(rules or (RULE,)), **more))
    net.know()
    return net


class Greeter:
    """A far end that says which address and port was asked for, and ends."""

    def __init__(self, owner: StreamOwner, flow: FlowRequest) -> None:
        self.text = f"{flow.destination}:{flow.destination_port}".encode()
        self.aborted = self.closed = self.shut = False
        self.taken = b""
        owner.connected()
        owner.readable()
        GREETERS.append(self)

    def send(self, buffers: Sequence[Buffer]) -> int:
        self.taken += b"".join(buffers)
        return sum(map(len, buffers))

    def recv(self, limit: int) -> bytes:
        text, self.text = self.text, b""
        return text

    def shutdown(self) -> None:
        self.shut = True

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


GREETERS: list[Greeter] = []


# ---------------------------------------------------------------------------------------- the server's address


def test_the_server_answers_arp_and_ping() -> None:
    net = network()
    net.send(arp(1, target=SERVER))
    answer = net.one().data
    assert (answer.op, answer.spa, answer.sha) == (2, SERVER, SERVER_MAC)
    net.send(echo(to=SERVER, mac=SERVER_MAC))
    reply = net.one()
    assert (reply.data.src, reply.src) == (SERVER, SERVER_MAC)
    net.send(arp(1, target=ip("10.0.2.101")))
    net.silence()


def test_a_guest_cannot_claim_the_server_address() -> None:
    net = network()
    net.send(arp(2, sender=SERVER, sender_mac=bytes.fromhex("525400000099"), to=GATEWAY_MAC))
    net.send(arp(1, target=SERVER))
    assert net.one().data.sha == SERVER_MAC


def test_the_server_address_is_never_leased() -> None:
    net = VirtualNetwork(seed=1, config=config(net="10.0.2.0/29", guestfwd=["tcp:10.0.2.4:1-tcp:127.0.0.1:1"]))
    given = {net.boot().address}
    for _ in range(2):
        given.add(net.boot(net.add_guest()).address)
    assert given == {IPv4Address(f"10.0.2.{last}") for last in (1, 5, 6)}


def test_the_first_lease_is_beyond_servers() -> None:
    made = config(guestfwd=["tcp:10.0.2.15:1-tcp:127.0.0.1:1"])
    assert str(made.dhcpstart) == "10.0.2.1"
    with pytest.raises(ConfigError, match=r"dhcpstart 10\.0\.2\.20 is a server's address"):
        config(dhcpstart="10.0.2.20", guestfwd=["tcp:10.0.2.20:1-tcp:127.0.0.1:1"])


# ------------------------------------------------------------------------------------------- a TCP target


def test_data_and_ends_cross_both_ways() -> None:
    net = network()
    server = net.host.serve_tcp(TARGET, 8080, Echo)
    peer = Peer(net, 80, address=SERVER)
    peer.open()
    peer.send(ACK, b"hello")
    net.run(0.01)
    assert peer.receive() == b"hello"
    peer.send(ACK | 1)
    net.run(0.01)
    peer.receive()
    assert server.connections[0].ended
    assert peer.ack == peer.iss + 7  # SYN, data and FIN
    assert net.stats.guestfwd_flows == 1
    assert net.stats.guestfwd_failed == net.stats.guestfwd_broken == 0


def test_the_syn_waits_for_the_target() -> None:
    net = network()
    net.host.serve_tcp(TARGET, 8080, Echo)
    peer = Peer(net, 80, address=SERVER)
    peer.send(SYN, opts=options())
    assert peer.take() == []
    net.run(0.01)
    peer.one(SYN | ACK)


def test_a_target_that_refuses_is_a_reset() -> None:
    net = network()
    peer = Peer(net, 80, address=SERVER)
    peer.send(SYN, opts=options())
    net.run(0.01)
    assert peer.one(RST | ACK).ack == peer.seq
    assert (net.stats.guestfwd_failed, net.stats.guestfwd_broken) == (1, 0)
    assert not net.stack.tcp_flows


def test_an_unreachable_target_is_reported_by_icmp() -> None:
    net = network()
    net.host.unreachable(TARGET, error=errno.EHOSTUNREACH)
    Peer(net, 80, address=SERVER).send(SYN, opts=options())
    net.run(0.01)
    assert net.one().data.data.type == 3
    assert net.stats.guestfwd_failed == 1


def test_a_target_that_dies_is_a_reset() -> None:
    net = network()
    net.host.serve_tcp(TARGET, 8080, lambda: Resetter(3))
    peer = Peer(net, 80, address=SERVER)
    peer.open()
    peer.send(ACK, b"abc")
    net.run(0.01)
    assert peer.take()[-1].flags & RST
    assert (net.stats.guestfwd_failed, net.stats.guestfwd_broken) == (0, 1)


def test_another_port_of_the_server_is_closed() -> None:
    net = network()
    peer = Peer(net, 81, address=SERVER)
    peer.send(SYN, opts=options())
    net.run(0.01)
    peer.one(RST | ACK)
    net.send(udp(b"x", destination=SERVER, dport=81, to=SERVER_MAC))
    message = net.one().data.data
    assert (message.type, message.code) == (3, 3)
    assert not net.calls("connect_tcp")
    assert not net.calls("send_udp")


def test_the_policy_is_not_consulted() -> None:
    def refuse(flow: FlowRequest) -> Any:
        raise AssertionError(flow)

    net = network(policy=refuse)
    net.host.serve_tcp(TARGET, 8080, Echo)
    Peer(net, 80, address=SERVER).open()


# ------------------------------------------------------------------------------------------- wildcards


def said(net: Net, address: bytes, port: int) -> bytes:
    peer = Peer(net, port, address=address, sport=30000 + len(GREETERS))
    peer.open()
    net.run(0.01)
    data = peer.receive()
    peer.send(ACK)  # or it is sent again, while the next connection is looked at
    return data


def test_the_most_special_rule_wins() -> None:
    def named(name: bytes) -> StreamFactory:
        def make(owner: StreamOwner, flow: FlowRequest) -> StreamPeer:
            greeter = Greeter(owner, flow)
            greeter.text = name + b" " + greeter.text
            return greeter

        return StreamFactory(make)

    net = network(
        GuestForward(None, None, named(b"any")),
        GuestForward(None, 80, named(b"port")),
        GuestForward("192.0.2.7", None, named(b"address")),
        GuestForward("192.0.2.7", 80, named(b"both")),
    )
    assert said(net, WORLD, 25) == b"any " + f"{IPv4Address(WORLD)}:25".encode()
    assert said(net, WORLD, 80) == b"port " + f"{IPv4Address(WORLD)}:80".encode()
    assert said(net, TARGET, 25) == b"address 192.0.2.7:25"
    assert said(net, TARGET, 80) == b"both 192.0.2.7:80"
    for rule in net.stack.guestfwds()[3:]:
        net.stack.remove_guestfwd(rule)
    assert said(net, TARGET, 80) == b"address 192.0.2.7:80"
    assert said(net, GATEWAY, 22) == b"any 10.0.2.2:22"
    assert not net.calls("connect_tcp")


def test_a_wildcard_does_not_speak_for_guests() -> None:
    net = network(GuestForward(None, None, StreamFactory(Greeter)))
    net.send(arp(1, target=ip("10.0.2.77")))
    net.silence()


def test_dns_stays_dns_under_a_wildcard() -> None:
    net = network(GuestForward(None, None, StreamFactory(Greeter)))
    before = len(GREETERS)
    Peer(net, 53, address=ip("10.0.2.3")).open()
    assert len(GREETERS) == before


# ----------------------------------------------------------------------------------- StreamFactory, and run time


def test_a_stream_peer_sees_data_shutdown_and_abort_of_the_guest() -> None:
    net = network(GuestForward("10.0.2.100", 7, StreamFactory(Greeter)))
    peer = Peer(net, 7, address=SERVER)
    peer.open()
    peer.send(ACK, b"abc")
    assert peer.receive() == b"10.0.2.100:7"
    peer.send(RST)
    greeter = GREETERS[-1]
    assert (greeter.taken, greeter.aborted, greeter.shut) == (b"abc", True, False)
    second = Peer(net, 7, address=SERVER, sport=40001)
    second.open()
    second.receive()
    second.send(ACK | 1)
    net.run(0.01)
    assert (GREETERS[-1].shut, GREETERS[-1].aborted) == (True, False)


def test_rules_come_and_go() -> None:
    net = network()
    stack = net.stack
    late = GuestForward("10.0.2.101", 7, StreamFactory(Greeter))
    stack.add_guestfwd(late)
    net.send(arp(1, target=ip("10.0.2.101")))
    assert net.one().data.spa == ip("10.0.2.101")
    assert said(net, ip("10.0.2.101"), 7) == b"10.0.2.101:7"
    assert stack.guestfwds()[1:] == [late]
    with pytest.raises(ForwardError, match="something answers there already"):
        stack.add_guestfwd(late)
    stack.remove_guestfwd(late)
    active = re.escape(f"active are: {stack.guestfwds()[0]}")
    with pytest.raises(ForwardError, match=rf"^guestfwd 10\.0\.2\.101:7: there is no such rule; {active}$"):
        stack.remove_guestfwd(late)
    with pytest.raises(ForwardError, match=rf"^guestfwd \*:\*: there is no such rule; {active}$"):
        stack.remove_guestfwd(GuestForward(None, None, StreamFactory(Greeter)))
    stack.remove_guestfwd(stack.guestfwds()[0])
    with pytest.raises(ForwardError, match=r"there is no such rule; active are: none$"):
        stack.remove_guestfwd(late)
    peer = Peer(net, 7, address=ip("10.0.2.101"), sport=50000)
    peer.send(SYN, opts=options())
    net.run(0.01)
    peer.one(RST | ACK)


def test_a_guest_s_address_cannot_be_a_server() -> None:
    net = VirtualNetwork(seed=1)
    address = net.boot().address
    assert address is not None
    with pytest.raises(ForwardError, match=rf"{address} is leased"):
        net.stack.add_guestfwd(GuestForward(address, 7, StreamFactory(Greeter)))
    assert not net.stack.guestfwds()
    rule = GuestForward("10.0.2.16", 7, StreamFactory(Greeter))
    net.stack.add_guestfwd(rule)
    other = net.boot(net.add_guest())
    assert other.address == IPv4Address("10.0.2.17")


@pytest.mark.parametrize(
    "server", ["10.0.2.0", "10.0.2.255", "224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"]
)
def test_an_impossible_server_address_is_refused(server: str) -> None:
    with pytest.raises(ForwardError, match="no address that a server can have"):
        network(GuestForward(server, 7, StreamFactory(Greeter)))


@pytest.mark.parametrize("server", ["240.0.0.1", "64:ff9b::c000:209"])
def test_an_unusual_address(server: str) -> None:
    rule = GuestForward(server, 7, StreamFactory(Greeter))
    assert network(rule).stack.guestfwds() == [rule]


def test_virtual_time_has_no_processes() -> None:
    with pytest.raises(ForwardError, match="in virtual time"):
        network("tcp:10.0.2.100:7-cmd:cat")


def test_restrict_leaves_it() -> None:
    net = network(restrict=True)
    net.host.serve_tcp(TARGET, 8080, Echo)
    Peer(net, 80, address=SERVER).open()
    assert GUEST in {key[:4] for key in net.stack.tcp_flows}


def test_the_addresses_of_a_name_are_tried_in_order() -> None:
    net = VirtualNetwork(config(guestfwd=["tcp:10.0.2.100:80-tcp:web.example:8080"]), seed=1)
    net.boot()
    addresses = [ip(f"192.0.2.{number}") for number in (9, 8, 7)]
    net.host.add_name("web.example", *addresses)
    net.host.serve_tcp(addresses[1], 8080, Echo)
    stream = net.guest.connect("10.0.2.100", 80)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    calls = [(call.address, call.port) for call in net.host.calls if call.name == "connect_tcp"]
    assert calls == [(address, 8080) for address in addresses[:2]]
