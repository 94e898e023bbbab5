"""TFTP through the whole stack, in virtual time: fragments, loss, the ports of the gateway that are not TFTP's."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import dpkt
import pytest

from slirpy.interfaces import Frame
from tests.sim.tftp_reader import Reader, network, pattern
from tests.support.harness import (
    GATEWAY,
    GUEST,
    GUEST_MAC,
    Net,
    Wire,
    config,
    eth,
    ip,
    ipv4,
    udp,
    udp_segment,
    unreachable,
)

SECOND = 1_000_000_000
LOOPBACK = b"\x7f\0\0\1"
OTHER, OTHER_MAC = ip("10.0.2.16"), bytes.fromhex("525400123457")


@pytest.mark.parametrize(
    ("options", "mtu"),
    [
        ("", 1500), ("blksize 1428", 1500), ("blksize 1468 tsize 0", 1500), ("blksize 65464", 1500),
        ("blksize 65464 windowsize 16", 1500), ("blksize 65464 windowsize 16", 65521), ("blksize 1468", 576),
        ("blksize 8 windowsize 64", 1500), ("blksize 1469 windowsize 3", 1500),
    ],
)  # fmt: skip
def test_reading(options: str, mtu: int) -> None:
    """Each frame is judged by the harness: length, checksums, fragments."""
    data = pattern(3_000 if "blksize 8 " in options else 150_000)
    net = network(data, mtu=mtu)
    assert Reader(net).read("f", options) == data
    assert net.stats.tftp_retransmits == 0
    assert net.stats.dropped() == 0


@pytest.mark.parametrize(
    "options", ["", "windowsize 8", "blksize 1428 windowsize 4 timeout 1", "blksize 65464"]
)
@pytest.mark.parametrize("seed", range(5))
def test_reading_with_a_fifth_lost_each_way(options: str, seed: int) -> None:
    data = pattern(40_000 if "65464" not in options else 600_000)
    net = network(data)
    reader = Reader(net)
    assert reader.read("f", options, lose=0.2, seed=seed) == data
    assert net.stats.tftp_retransmits >= bool(reader.lost)
    assert net.stats.tftp_retransmits < 12 * (reader.lost + 1), "it does not send more and more"
    assert net.stats.tftp_done <= 1


def test_writing_in_fragments(tmp_path: Any) -> None:
    net = Net(config(tftp=tmp_path, tftp_write=True))
    net.know()
    guest = Reader(net)
    data = pattern(150_000)
    guest.send(b"\0\2new\0octet\0blksize\x0065464\0")
    assert guest.take() == [b"\0\6blksize\x0065464\0"]
    for number in (1, 2, 3):
        body = struct.pack("!HH", 3, number) + data[(number - 1) * 65464 : number * 65464]
        segment = udp_segment(body, guest.port, guest.to, GUEST, GATEWAY)
        frames = []
        for at in range(0, len(segment), 1480):
            more = 0x2000 if at + 1480 < len(segment) else 0
            piece = segment[at : at + 1480]
            frames.append(eth(ipv4(17, piece, destination=GATEWAY, ident=number, fragment=more | at >> 3)))
        net.send(*frames)
        assert guest.take() == [struct.pack("!HH", 4, number)]
    assert (tmp_path / "new").read_bytes() == data


def test_the_ports_of_transfers_are_theirs_alone() -> None:
    """The gateway's other ports lead to the host, also those that a transfer has, for all but the transfer."""
    net = network(pattern(2000))
    reader = Reader(net)
    reader.send(b"\0\1f\0octet\0")
    reader.take()
    port = reader.to
    assert 49152 <= port <= 65535
    net.send(udp(b"for a program of the host", sport=4000, dport=port, destination=GATEWAY))
    net.send(udp(b"\0\4\0\1", sport=4000, dport=port, destination=GATEWAY))
    sent = [(call.address, call.port, call.detail) for call in net.calls("send_udp")]
    assert sent == [(LOOPBACK, port, b"for a program of the host"), (LOOPBACK, port, b"\0\4\0\1")]
    net.take()
    reader.send(b"\0\4\0\1")
    assert [body[:4] for body in reader.take()] == [b"\0\3\0\2"]
    assert len(net.calls("send_udp")) == 2


def test_without_tftp_the_port_leads_to_the_host() -> None:
    net = Net()
    net.know()
    net.send(udp(b"\0\1f\0octet\0", dport=69, destination=GATEWAY))
    net.run(0.1)
    assert net.stats.udp_flows == 1
    assert net.stats.tftp_refused == 0


def test_a_guest_that_is_shut_in_has_tftp() -> None:
    data = pattern(3000)
    net = Net(config(tftp={"f": data}.get, restrict=True))
    net.know()
    assert Reader(net).read("f") == data
    net.send(udp(b"x", dport=68, destination=GATEWAY))
    assert unreachable(net.one(), 13)


def test_closing_the_stack_ends_transfers(tmp_path: Any) -> None:
    net = Net(config(tftp=tmp_path, tftp_write=True))
    net.know()
    net.send(udp(b"\0\2new\0octet\0", dport=69, destination=GATEWAY))
    assert len(list(tmp_path.iterdir())) == 1
    net.stack.close()
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_twice() -> None:
    class Recorder(Wire):
        """Keeps a copy of everything."""

        def send(self, frames: Sequence[Frame]) -> int:
            everything.extend(b"".join(frame.parts) for frame in frames)
            return super().send(frames)

    def run() -> list[bytes]:
        everything.clear()
        net = Net(config(tftp={"f": pattern(20_000)}.get), link=Recorder())
        net.know()
        Reader(net).read("f", "blksize 1000 windowsize 4", lose=0.1)
        return list(everything)

    everything: list[bytes] = []
    assert run() == run()


def test_a_guest_that_goes_away() -> None:
    """The guest sends a request and nothing else: after some packets the transfer ends, and nothing is left."""
    net = network(pattern(2000))
    net.send(udp(b"\0\1f\0octet\0", dport=69, destination=GATEWAY))
    net.run(120)
    sent = [frame for frame in net.take() if isinstance(frame.data, dpkt.ip.IP)]
    assert len(sent) == 10
    assert net.stats.tftp_timeouts == 1
    assert net.stack.conversations == {}
    net.run(600)
    assert not [frame for frame in net.take() if isinstance(frame.data, dpkt.ip.IP)]


def test_two_guests_read_the_same_file() -> None:
    data = pattern(5000)
    net = network(data)
    net.know(address=OTHER, mac=OTHER_MAC)
    for address, mac in ((GUEST, GUEST_MAC), (OTHER, OTHER_MAC)):
        net.send(udp(b"\0\1f\0octet\0", sport=3000, dport=69, destination=GATEWAY, source=address, mac=mac))
    assert {frame.data.dst for frame in net.take()} == {GUEST, OTHER}
    assert len(net.stack.conversations) == 2
