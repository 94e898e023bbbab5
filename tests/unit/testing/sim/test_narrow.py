"""Paths with a smaller MTU: ICMP for packets that must not be fragmented, and fragments of others."""

from __future__ import annotations

import pytest

from slirpy.errors import ConfigError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.trace import FrameRecord
from slirpy.wire import ethernet
from tests.unit.testing.sim.echo import Client, serve


def arrived(net: Network) -> list[int]:
    """Lengths of the packets of the client that have arrived."""
    records = [record for record in net.trace.records if isinstance(record, FrameRecord)]
    return [
        len(each.frame) - ethernet.HEADER_LENGTH
        for each in records
        if each.source == "client" and not each.lost
    ]


@pytest.mark.parametrize("ipv6", [False, True])
def test_tcp_heeds_the_router(ipv6: bool) -> None:
    """The client makes its segments smaller, and everything arrives."""
    net = Network(1)
    serve(net.host("server"), bytes(16))
    net.host("client")
    net.path("client", "server").mtu = 1300
    client = Client(bytes(50_000)).connect(net, "client", "server", ipv6=ipv6)
    net.until(lambda: client.done)
    assert client.got == bytes(50_000)
    assert max(arrived(net)) <= 1300
    assert any(
        isinstance(record, FrameRecord) and record.lost and record.fault == "larger than 1300 bytes"
        for record in net.trace.records
    )


class Receiver:
    """A datagram socket that keeps what arrives."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self.got.append(payload)

    def datagram_error(self, error: int, report: object = None) -> None: ...


def test_udp_is_fragmented() -> None:
    """A packet of IPv4 without DF arrives in fragments."""
    net = Network(1)
    receiver = Receiver()
    net.host("server").socket_layer.bind(bytes(4), 9, receiver)
    sender = net.host("client").socket_layer.bind(bytes(4), 0, Receiver())
    path = net.path("client", "server")
    path.mtu = 1280
    assert not sender.send(b"x" * 1400, net.resolve("server")[0], 9)
    net.until(lambda: receiver.got)
    assert receiver.got == [b"x" * 1400]
    assert len(arrived(net)) == 2
    path.mtu = None
    assert not sender.send(b"y" * 1400, net.resolve("server")[0], 9)
    net.until(lambda: len(receiver.got) == 2)
    assert len(arrived(net)) == 3


def test_bad_mtu() -> None:
    """An MTU is a number from 1280 to 65521."""
    net = Network(1)
    net.host("client")
    path = net.path("client", net.host("server"))
    with pytest.raises(ConfigError, match="1280"):
        path.mtu = 576
