"""Guests that vanish without a word: their connections stay, unless ``Config.tcp_keepalive`` asks for them."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from slirpy.testing import Remote
from tests.support.harness import ACK, RST, WORLD, Net, Peer, config


def opened(seconds: int) -> tuple[Net, Peer, Any]:
    net = Net(config(tcp_keepalive=seconds))
    server = net.host.serve_tcp(WORLD, 80, Remote)
    peer = Peer(net)
    peer.open()
    peer.send(ACK)
    net.run(0.01)
    return net, peer, server.connections[0]


@pytest.mark.rfc("9293", "MUST-25")
def test_keepalive_is_off_by_default() -> None:
    net, peer, far = opened(0)
    net.run(100_000)
    assert peer.take() == []
    assert net.stack.stats.tcp_keepalives == 0
    assert far.error is None
    assert [flow.state for flow in net.stack.flows()] == ["ESTABLISHED"]


@pytest.mark.rfc("9293", "MUST-24")
def test_a_vanished_guest_is_given_up_and_the_far_side_reset() -> None:
    net, peer, far = opened(60)
    net.run(61)
    probe = peer.one(ACK)
    assert (probe.seq, len(probe.data)) == (peer.iss, 0)
    net.run(3600)
    assert far.error == errno.ECONNRESET
    assert net.stack.tcp_flows == {}
    (flow,) = net.stack.closed_flows
    assert flow.state == "TIMED-OUT"
    assert peer.take()[-1].flags & RST


def test_a_guest_that_answers_keeps_its_connection() -> None:
    net, peer, far = opened(60)
    for _ in range(10):
        net.run(61)
        peer.one(ACK)
        peer.send(ACK)
    assert net.stack.stats.tcp_keepalives == 10
    assert far.error is None
