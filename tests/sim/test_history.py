"""Records of ended flows: how they ended, and how much they carried."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from slirpy.core.flows import ENDS, FlowInfo
from slirpy.core.tables import HISTORY
from slirpy.testing import Echo, Resetter, VirtualNetwork
from tests.support.frames6 import GUEST6, WORLD6, echo6, know6, udp6
from tests.support.harness import GUEST, WORLD, Net, echo, udp

SECOND = 1_000_000_000
SERVER = bytes((192, 0, 2, 7))


def ready() -> VirtualNetwork:
    net = VirtualNetwork()
    net.boot()
    return net


def ends(net: VirtualNetwork) -> list[tuple[str, str]]:
    assert all(flow.state in ENDS for flow in net.stack.closed_flows)
    return [(flow.protocol, flow.state) for flow in net.stack.closed_flows]


def test_an_orderly_end_with_its_bytes() -> None:
    net = ready()
    net.host.serve_tcp(SERVER, 7, Echo)
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run_until(stream.read)
    stream.shutdown()
    net.run_until(lambda: net.stack.closed_flows, 200 * SECOND)
    (flow,) = net.stack.closed_flows
    assert flow.state == "CLOSED"
    assert (flow.bytes_in, flow.bytes_out) == (5, 5)
    assert not flow.inbound


@pytest.mark.parametrize("who", ["nobody", "black hole", "resetter", "guest"])
def test_other_ends(who: str) -> None:
    net = ready()
    if who == "black hole":
        net.host.black_hole(SERVER)
    elif who == "resetter":
        net.host.serve_tcp(SERVER, 7, lambda: Resetter(1))
    elif who == "guest":
        net.host.serve_tcp(SERVER, 7, Echo)
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    if who == "guest":
        net.run_until(stream.read)
        stream.abort()
    net.run_until(lambda: net.stack.closed_flows, 200 * SECOND)
    expected = {"nobody": "REFUSED", "black hole": "TIMED-OUT", "resetter": "RESET", "guest": "RESET"}
    assert ends(net) == [("tcp", expected[who])]


def test_udp_ends_by_its_idle_time() -> None:
    net = ready()
    net.guest.udp().send(b"x", "192.0.2.7", 9)
    net.run(1 * SECOND)
    assert ends(net) == []
    net.run(241 * SECOND)
    assert ends(net) == [("udp", "CLOSED")]


def test_the_history_has_a_bound() -> None:
    net = ready()
    for _ in range(HISTORY + 10):
        stream = net.guest.connect("192.0.2.7", 7)
        net.run_until(lambda stream=stream: stream.closed)  # type: ignore[misc] # mypy infers no lambda with a default
    assert len(net.stack.closed_flows) == HISTORY


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_a_snapshot_of_a_flow_without_a_connection(protocol: str, family: int) -> None:
    net = Net()
    guest, far = (GUEST, WORLD) if family == 4 else (GUEST6, WORLD6)
    if family == 6:
        know6(net)
        net.silence()
    net.host.serve_udp(far, 9, lambda payload, address, port: b"four")
    net.host.answer_ping(far)
    question = {
        ("udp", 4): udp(b"hello"), ("udp", 6): udp6(b"hello"),
        ("icmp", 4): echo(b"hello", to=WORLD, ident=5000), ("icmp", 6): echo6(b"hello", ident=5000),
    }[protocol, family]  # fmt: skip
    net.send(question)
    net.run(1)
    net.send(question)
    net.run(0.5)
    expected = FlowInfo(
        protocol,
        "OPEN",
        (ip_address(guest), 5000),
        None,
        False,
        10,
        8 if protocol == "udp" else 10,
        2,
        2,
        0,
        0,
        1.5,
        0,
    )
    (flow,) = net.stack.flows()
    assert 0.4 < flow.idle < 0.5
    assert replace(flow, idle=0) == expected
    net.run(300)
    (flow,) = net.stack.closed_flows
    assert flow.age == pytest.approx(241 if protocol == "udp" else 61, abs=0.1)
    assert flow.idle == (240 if protocol == "udp" else 60)
    assert replace(flow, idle=0, age=1.5) == replace(expected, state="CLOSED")
