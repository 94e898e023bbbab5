"""A lease's life in the whole stack: renewing, rebinding, booting from a firmware on, and a crowd of others."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

import dpkt
import pytest

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest
from slirpy.testing import VirtualNetwork
from tests.support.harness import BROADCAST, GATEWAY, GUEST_MAC, Net, config, ip, udp

SECOND = 1_000_000_000
DISCOVER, OFFER, REQUEST, _, ACK, NAK = range(1, 7)
NOWHERE, EVERYWHERE = bytes(4), b"\xff" * 4


# ------------------------------------------------------------------------------------ a client's timers


def test_a_client_renews_at_half_time_for_ever() -> None:
    net = VirtualNetwork(Config(lease_time=3600))
    lease = net.boot().lease
    assert lease is not None
    net.run(10 * 3600 * SECOND)
    stats = net.stack.stats
    client = net.guest.dhcp()
    assert client.lease is not None
    assert client.lease.address == lease.address
    assert (stats.dhcp_discover, stats.dhcp_request, stats.dhcp_ack, stats.dhcp_nak) == (1, 21, 21, 0)
    (entry,) = net.stack.leases()
    assert entry.expires is not None
    assert 1700 < entry.expires <= 3600


def test_a_client_that_gets_no_answer_rebinds_and_then_begins_anew() -> None:
    net = VirtualNetwork(Config(lease_time=3600))
    first = net.boot().address
    granted = net.now
    client = net.guest.dhcp()

    def unicast_is_lost(direction: str, frame: bytes) -> int | None:
        return None if direction == "in" and frame[0] == 0x52 else 0

    net.fault = unicast_is_lost
    net.run_until(lambda: client.state == "RENEWING", limit=3600 * SECOND)
    assert net.now - granted == 1800 * SECOND
    net.run_until(lambda: client.state == "REBINDING", limit=3600 * SECOND)
    assert net.now - granted == 3150 * SECOND
    net.run(SECOND)
    assert client.state == "BOUND"
    assert client.lease is not None
    assert client.lease.granted_at - granted == 3150 * SECOND

    net.fault = lambda direction, frame: None
    net.run_until(lambda: not client.bound, limit=2 * 3600 * SECOND)
    assert net.now - granted == (3150 + 3600) * SECOND
    net.fault = None
    assert net.boot().address == first == IPv4Address("10.0.2.15")
    assert net.stack.stats.dhcp_nak == 0


def test_the_policy_moves_a_guest_at_its_next_renewal() -> None:
    wanted: list[DhcpAnswer | None] = [None]

    def policy(request: DhcpRequest) -> DhcpAnswer | None:
        return wanted[0]

    net = VirtualNetwork(Config(lease_time=600, lease_policy=policy))
    assert str(net.boot().address) == "10.0.2.15"
    wanted[0] = DhcpAnswer(address=Config(dhcpstart="10.0.2.200").dhcpstart)
    net.run(320 * SECOND)
    lease = net.guest.dhcp().lease
    assert lease is not None
    assert str(lease.address) == "10.0.2.200"
    assert [str(entry.address) for entry in net.stack.leases()] == ["10.0.2.200"]


# --------------------------------------------------------------------------------------- by hand


def message(
    kind: int | None,
    *options: tuple[int, bytes],
    mac: bytes = GUEST_MAC,
    ciaddr: bytes = NOWHERE,
    to: bytes = EVERYWHERE,
    flags: int = 0,
) -> bytes:
    """A client's message in a frame."""
    header = dpkt.dhcp.DHCP(
        xid=0xABCD,
        chaddr=mac,
        flags=flags,
        ciaddr=int.from_bytes(ciaddr, "big"),
        opts=[] if kind is None else [(53, bytes((kind,))), *options],
    )
    payload = bytes(header) if kind is not None else header.pack_hdr() + b"\xff".ljust(60, b"\0")
    return udp(payload, sport=68, dport=67, source=ciaddr, destination=to, mac=mac, to=BROADCAST)


def reply(frame: Any) -> Any:
    """The server's message in a frame that the harness has checked, as dpkt reads it."""
    packet = frame.data
    assert (packet.src, packet.data.sport, packet.data.dport) == (GATEWAY, 67, 68)
    read = dpkt.dhcp.DHCP(bytes(packet.data.data))
    read.options = dict(read.opts)
    return read


PXE = (
    (55, bytes((1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97))),
    (57, struct.pack("!H", 1260)),
    (60, b"PXEClient:Arch:00000:UNDI:002001"),
    (93, b"\0\0"),
    (94, b"\1\2\1"),
    (97, b"\0" + bytes(range(16))),
)  # fmt: skip


def test_from_the_firmware_to_the_system() -> None:
    files = {None: "kernel", 0: "pxelinux.0", 7: "x64.efi"}
    net = Net(config(bootfile=lambda request: files[request.architecture], lease_time=7200))
    net.send(message(DISCOVER, *PXE, flags=0x8000))
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (BROADCAST, EVERYWHERE)
    offer = reply(frame)
    assert offer.options[53] == bytes((OFFER,))
    assert offer.file.rstrip(b"\0") == offer.options[67] == b"pxelinux.0"
    assert offer.options[97] == b"\0" + bytes(range(16))
    assert offer.siaddr == int.from_bytes(GATEWAY, "big")
    address = offer.yiaddr.to_bytes(4, "big")

    net.send(message(REQUEST, *PXE, (50, address), (54, GATEWAY)))
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (GUEST_MAC, address)  # no ARP: it could not answer yet
    ack = reply(frame)
    assert ack.options[53] == bytes((ACK,))
    assert ack.file == offer.file

    # The system that it boots shows an identifier of its own, and is the same machine all the same.
    net.send(message(DISCOVER, (61, b"\xff\0\1\2\3")))
    assert reply(net.one()).yiaddr == offer.yiaddr
    assert [(lease.address.packed, lease.state.value) for lease in net.stack.leases()] == [(address, "bound")]
    assert net.stats.drop_dhcp_malformed == 0


def test_a_client_of_bootp() -> None:
    net = Net(config(bootfile="kernel", hostname="guest", domainname="example.test"))
    net.send(message(None))
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (GUEST_MAC, ip("10.0.2.15"))
    answer = reply(frame)
    assert len(bytes(frame.data.data.data)) == 300
    assert answer.yiaddr == int.from_bytes(ip("10.0.2.15"), "big")
    assert answer.file.rstrip(b"\0") == b"kernel"
    assert 53 not in answer.options
    assert (answer.options[1], answer.options[3], answer.options[12], answer.options[15]) == (
        ip("255.255.255.0"), GATEWAY, b"guest", b"example.test",
    )  # fmt: skip
    assert net.stack.leases()[0].state.value == "bound"


@pytest.mark.long
def test_a_crowd_of_ten_thousand_takes_nothing_from_a_guest_that_is_there() -> None:
    net = Net(config(lease_time=3600))
    mine = ip("10.0.2.15")
    net.send(message(REQUEST, (50, mine)))
    assert reply(net.one()).options[53] == bytes((ACK,))
    for number in range(10_000):
        mac = b"\x02\0" + number.to_bytes(4, "big")
        net.send(message(DISCOVER, mac=mac, flags=0x8000))
        offered = net.take()
        if offered and number % 2:
            address = reply(offered[0]).yiaddr.to_bytes(4, "big")
            net.send(message(REQUEST, (50, address), (54, GATEWAY), mac=mac, flags=0x8000))
            assert reply(net.one()).options[53] == bytes((ACK,))
    assert len(net.stack.leases()) == 252
    assert net.stats.drop_dhcp_pool_empty == 10_000 - 251
    net.run(1800)
    net.send(message(REQUEST, ciaddr=mine, to=GATEWAY))
    answers = net.take()
    assert [reply(frame).options[53] for frame in answers if frame.type == 0x800] == [bytes((ACK,))]
    assert net.stack.reserve(GUEST_MAC).packed == mine
    # What was only offered went to nobody for good.
    net.send(message(DISCOVER, mac=b"\x02\1\0\0\0\1", flags=0x8000))
    assert reply(net.take()[-1]).options[53] == bytes((OFFER,))


def test_a_crowd_leaves_addresses_to_clients_of_another_link() -> None:
    net = Net(config())
    other = net.attach()
    for number in range(400):
        mac = b"\x02\0" + number.to_bytes(4, "big")
        net.send(message(DISCOVER, mac=mac, flags=0x8000))
        net.run(0.1)
        for frame in net.take():
            if frame.type == 0x806:
                continue  # somebody behind the other link might use what is offered
            address = reply(frame).yiaddr.to_bytes(4, "big")
            net.send(message(REQUEST, (50, address), (54, GATEWAY), mac=mac, flags=0x8000))
            net.take()
    assert len(net.stack.leases()) == 126
    net.take(other)
    net.send(message(DISCOVER, flags=0x8000), wire=other)
    net.run(0.1)
    assert reply(net.take(other)[-1]).options[53] == bytes((OFFER,))
    assert len(net.stack.leases()) == 127
