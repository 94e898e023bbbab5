"""Flows that are over are told of: how they ended, and what they had carried."""

from __future__ import annotations

import pytest

from slirpy.core.flows import ENDS
from slirpy.core.tables import HISTORY
from slirpy.testing import Echo, Resetter, VirtualNetwork

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
