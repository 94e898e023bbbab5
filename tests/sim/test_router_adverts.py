"""Router advertisements of the gateway, read without slirpy's own codecs."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from slirpy.core.ndp import INTERVAL
from slirpy.units import SECOND
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    ICMPV6,
    LINK_LOCAL,
    UNSPECIFIED,
    ip6,
    know6,
    of_kind,
    router_solicitation,
)
from tests.support.harness import Net, config

LEAST = 3 * INTERVAL[1] // SECOND


def options(net: Net, kind: int) -> list[bytes]:
    """The options of one type in the answer to a solicitation."""
    net.send(router_solicitation())
    packet = net.one().data
    assert packet.dst == LINK_LOCAL
    found, rest = [], bytes(packet.data)[16:]
    while rest:
        size = rest[1] * 8
        assert 0 < size <= len(rest)
        if rest[0] == kind:
            found.append(rest[:size])
        rest = rest[size:]
    return found


@pytest.mark.rfc("8106", "5.1 servers")
@pytest.mark.rfc("8106", "5.1 lifetime")
@pytest.mark.rfc("8106", "5.1 reserved")
@pytest.mark.parametrize(("given", "server"), [({}, DNS6), ({"dns6": "fec0::53"}, ip6("fec0::53"))])
def test_the_dns_server(given: dict[str, Any], server: bytes) -> None:
    (option,) = options(Net(config(**given)), 25)
    kind, length, reserved, lifetime = struct.unpack("!BBHI", option[:8])
    assert (kind, length, reserved) == (25, 3, 0)
    assert lifetime >= LEAST
    assert option[8:] == server


@pytest.mark.rfc("8106", "5.1 reserved")
@pytest.mark.rfc("8106", "5.2 domains")
@pytest.mark.rfc("8106", "5.2 lifetime")
@pytest.mark.rfc("8106", "5.2 compression")
@pytest.mark.rfc("8106", "5.2 padding")
def test_the_search_list() -> None:
    (option,) = options(Net(config(dnssearch=["example.org", "a.example.org"])), 31)
    kind, length, reserved, lifetime = struct.unpack("!BBHI", option[:8])
    assert (kind, length, reserved) == (31, 5, 0)
    assert lifetime >= LEAST
    assert option[8:] == b"\7example\3org\0\1a\7example\3org\0".ljust(32, b"\0")


def test_without_a_search_list_there_is_no_option() -> None:
    assert options(Net(config()), 31) == []


@pytest.mark.rfc("4861", "9 size")
def test_an_advertisement_fits_the_least_mtu() -> None:
    net = Net(config(mtu=1280, nat64=True, dnssearch=[f"{'x' * 60}{number:02}.test" for number in range(30)]))
    (option,) = options(net, 31)  # the harness checks the frame's length
    assert option[8:].startswith(b"\x3e" + b"x" * 60 + b"00\4test\0")
    assert len(option) > 900


@pytest.mark.rfc("4861", "6.2.3 no default")
def test_a_restricted_network_has_neither_a_way_out_nor_a_dns_server() -> None:
    net = Net(config(restrict=True, dnssearch=["lan"]))
    assert options(net, 25) == []
    net.send(router_solicitation())
    assert bytes(net.one().data.data)[6:8] == b"\0\0"


@pytest.mark.rfc("4861", "6.2.3 complete")
def test_all_advertisements_say_the_same() -> None:
    net = Net(config(nat64=True, dnssearch=["lan"]))
    know6(net)
    net.run(60)
    unasked = [bytes(packet.data)[4:] for packet in of_kind(net.take(), ICMPV6)]
    net.send(router_solicitation())
    answer = bytes(net.one().data.data)[4:]
    assert unasked == [answer] * 3


@pytest.mark.rfc("4861", "4.2 prefixes")
@pytest.mark.rfc("4861", "4.6.2 preferred")
@pytest.mark.rfc("4862", "5.5.3 lifetimes")
def test_a_prefix_is_valid_for_longer_than_it_is_preferred() -> None:
    (option,) = options(Net(config()), 3)
    _, _, _, _, valid, preferred, prefix = struct.unpack("!BBBBII4x16s", option)
    assert 0 < preferred <= valid
    assert prefix == ip6("fec0::")


def to_all(net: Net) -> int:
    """The number of advertisements to all nodes that have come."""
    packets = of_kind(net.take(), ICMPV6)
    assert {(packet.dst, bytes(packet.data)[0]) for packet in packets} <= {(ALL_NODES, 134)}
    return len(packets)


@pytest.mark.rfc("4861", "6.2.6 interval")
@pytest.mark.rfc("4861", "6.2.6 minimum")
def test_an_answer_to_all_nodes_replaces_the_next_unsolicited_one() -> None:
    net = Net(config())
    know6(net)
    net.run(60)
    net.take()
    for _ in range(40):
        net.send(router_solicitation(b"", source=UNSPECIFIED))
        assert to_all(net) == 1
        net.run(150)
        assert to_all(net) == 0
    net.run(600)
    assert to_all(net) >= 1


def test_answers_to_one_host_change_nothing_for_the_others() -> None:
    net = Net(config())
    know6(net)
    net.run(60)
    net.take()
    heard = 0
    for _ in range(40):
        net.send(router_solicitation())
        assert net.one().data.dst == LINK_LOCAL
        net.run(50)
        heard += to_all(net)
    assert 3 <= heard <= 10


@pytest.mark.rfc("4861", "6.2.4 initial")
def test_the_first_three_unsolicited_ones_come_soon() -> None:
    for seed in range(20):
        net = Net(config(), seed=seed)
        know6(net)
        waits, since = [], 0
        for _ in range(50):
            net.run(1)
            since += 1
            if to_all(net):
                waits.append(since)
                since = 0
        assert len(waits) == 3
        assert all(3 <= wait <= 17 for wait in waits)
