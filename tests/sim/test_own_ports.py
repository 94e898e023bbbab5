"""Guests are not led back into the network: connections to its own listening ports on the host are refused."""

from __future__ import annotations

import pytest

from slirpy import Config, Slirp
from slirpy.interfaces import IPProtocol
from slirpy.nat.ownports import OwnPorts
from tests.support.frames6 import GATEWAY6, GUEST6, ip6, know6
from tests.support.harness import ACK, GATEWAY, GUEST, RST, Net, Peer, config, ip, udp, unreachable

OWN, OWN6 = ip("192.0.2.1"), ip6("2001:db8::1")
LOOPBACK, LOOPBACK6 = ip("127.0.0.1"), bytes(15) + b"\1"
EVERYWHERE = ["tcp:0.0.0.0:8080-10.0.2.15:80", "udp:0.0.0.0:5353-10.0.2.15:53", "tcp:[::]:8081-[fec0::15]:80"]


def refused(net: Net, address: bytes, port: int) -> bool:
    """Connect, and report whether that was refused without a call to the host."""
    before = len(net.calls("connect_tcp"))
    peer = Peer(net, port, address=address, guest=GUEST if len(address) == 4 else GUEST6)
    net.send(peer.frame(2))
    net.run(0.01)
    heard = [tcp.flags for tcp in peer.take()]
    assert heard in ([RST | ACK], [18]), heard
    return heard == [RST | ACK] and len(net.calls("connect_tcp")) == before


@pytest.mark.parametrize("address", [GATEWAY, OWN], ids=["gateway", "own address"])
def test_a_forward_of_tcp(address: bytes) -> None:
    net = Net(config(hostfwd=EVERYWHERE))
    net.know()
    net.take()
    assert refused(net, address, 8080)


@pytest.mark.parametrize("address", [GATEWAY6, OWN6], ids=["gateway", "own address"])
def test_a_forward_of_tcp_over_ipv6(address: bytes) -> None:
    net = Net(config(hostfwd=EVERYWHERE))
    know6(net)
    net.take()
    assert refused(net, address, 8081)


def test_a_forward_of_udp() -> None:
    net = Net(config(hostfwd=EVERYWHERE))
    packet = udp(b"x", destination=GATEWAY, dport=5353)
    net.send(packet)
    assert packet[14:].startswith(unreachable(net.one(), 3))
    net.send(udp(b"x", destination=OWN, dport=5353))
    assert net.calls("send_udp") == []


def test_other_ports_and_protocols_are_reached() -> None:
    net = Net(config(hostfwd=EVERYWHERE))
    net.send(udp(b"x", destination=GATEWAY, dport=8080))
    net.send(udp(b"x", destination=ip("198.51.100.7"), dport=5353))
    assert len(net.calls("send_udp")) == 2


def test_a_port_is_free_again_after_its_forward() -> None:
    net = Net(config())
    rule = net.stack.add_hostfwd("udp::5353-10.0.2.15:53")
    net.send(udp(b"x", destination=GATEWAY, dport=5353))
    assert net.calls("send_udp") == []
    net.stack.remove_hostfwd(rule)
    net.send(udp(b"x", destination=GATEWAY, dport=5353, sport=1))
    assert len(net.calls("send_udp")) == 1


def test_one_address_of_the_host_is_not_another() -> None:
    ports = OwnPorts()
    ports.add(IPProtocol.TCP, OWN, 80)
    assert ports.leads_to(IPProtocol.TCP, OWN, 80, lambda address: True)
    assert not ports.leads_to(IPProtocol.TCP, LOOPBACK, 80, lambda address: True)
    ports.add(IPProtocol.TCP, bytes(16), 80)
    assert ports.leads_to(IPProtocol.TCP, LOOPBACK, 80, lambda address: False), "a dual-stack socket"
    ports.remove(IPProtocol.TCP, bytes(16), 80)
    ports.add(IPProtocol.TCP, bytes(4), 80)
    assert not ports.leads_to(IPProtocol.TCP, LOOPBACK6, 80, lambda address: True)
    assert not ports.leads_to(IPProtocol.TCP, ip("198.51.100.7"), 80, lambda address: False)


def test_a_port_for_guests() -> None:
    with Slirp(Config()) as net:
        listener = net.serve("tcp:127.0.0.1:0")
        port = listener.address.address[1]
        ports = net._stack._router.own_ports
        assert ports.leads_to(IPProtocol.TCP, LOOPBACK, port, lambda address: True)
        listener.close()
        listener.close()
        assert not ports.leads_to(IPProtocol.TCP, LOOPBACK, port, lambda address: True)
