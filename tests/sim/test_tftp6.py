"""TFTP over IPv6, with the guest of slirpy.testing as the client."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from slirpy import Config
from slirpy.testing import VirtualNetwork

DATA = bytes(range(256)) * 9


@pytest.mark.parametrize("server", ["fec0::2", "fe80::2", "10.0.2.2"])
def test_a_file_is_sent_from_the_address_of_the_request(tmp_path: Path, server: str) -> None:
    (tmp_path / "boot").write_bytes(DATA)
    net = VirtualNetwork(Config(tftp=tmp_path), seed=1)
    net.boot(ipv6=True)
    socket = net.guest.udp(4000)
    socket.send(b"\0\1boot\0octet\0", server, 69)
    data = b""
    while len(data) % 512 == 0:
        net.run_until(lambda: bool(socket.received))
        message = socket.received.pop()
        assert message.address == ip_address(server)
        assert message.payload[:2] == b"\0\3"
        data += message.payload[4:]
        socket.send(b"\0\4" + message.payload[2:4], server, message.port)
    assert data == DATA
    assert net.stack.stats.tftp_reads == 1


def test_errors_come_from_the_address_of_the_request(tmp_path: Path) -> None:
    net = VirtualNetwork(Config(tftp=tmp_path), seed=1)
    net.boot(ipv6=True)
    socket = net.guest.udp(4000)
    socket.send(b"\0\1missing\0octet\0", "fec0::2", 69)
    net.run_until(lambda: bool(socket.received))
    assert socket.received[0].payload[:4] == b"\0\5\0\1"
    assert socket.received[0].address == ip_address("fec0::2")
