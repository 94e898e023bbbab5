"""Sockets inside a guest whose clients are served by the host's loopback, with parts that only note their calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.interfaces import AcceptedStream, FlowRequest, IPProtocol
from slirpy.nat.inside import Handover, LoopbackForwards
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.outside import HostLoopback, OutwardDatagrams, accept_outward
from slirpy.nat.routes import LOOPBACK, LOOPBACK6
from slirpy.stats import Stats
from tests.support.harness import GUEST
from tests.support.owners import PeerNotes, StreamNotes

CLIENT = bytes((127, 0, 0, 1))


class Host:
    """A host that notes what is opened; ``opened`` is what it answers for UDP."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.opened: object = object()

    def connect_tcp(self, *given: object) -> object:
        self.calls.append(given)
        return self.opened

    def open_udp(self, *given: object) -> object:
        self.calls.append(given)
        return self.opened


class Forwards:
    """Forwards that note what is joined and sent."""

    def __init__(self) -> None:
        self.inside = HostLoopback(cast("Any", Host()), 4)
        self.local = False
        self.calls: list[tuple[Any, ...]] = []

    def splice(self, *given: object) -> None:
        self.calls.append(given)

    def send(self, *given: object) -> None:
        self.calls.append(given)


@pytest.mark.parametrize(("size", "loopback", "family"), [(4, LOOPBACK, 4), (16, LOOPBACK6, 6)])
def test_sockets_go_to_the_loopback_of_the_family(size: int, loopback: bytes, family: int) -> None:
    host = Host()
    inside = HostLoopback(cast("Any", host), size)
    owner: Any = StreamNotes()
    assert inside.guest == loopback
    opened: list[Any] = [inside.connect_tcp(80, owner), inside.open_udp(owner)]
    assert opened == [host.opened, host.opened]
    assert host.calls == [(loopback, 80, owner), (owner, family)]


def test_a_socket_that_cannot_be_opened_is_none() -> None:
    host = Host()
    host.opened = 24  # EMFILE
    assert HostLoopback(cast("Any", host), 4).open_udp(cast("Any", None)) is None


def test_a_client_is_joined_to_the_port() -> None:
    forwards = Forwards()
    peer: Any = object()
    handover = accept_outward(cast("Any", forwards), 8080, AcceptedStream(peer, CLIENT, 40000))
    assert isinstance(handover, Handover)
    assert forwards.calls == [(handover, peer, (CLIENT, 40000), 8080)]
    assert handover.owner is None  # splice() sets it


def test_datagrams_are_answered_from_the_socket_inside() -> None:
    forwards = Forwards()
    datagrams = OutwardDatagrams(cast("Any", forwards), 53)
    socket: Any = type("Socket", (), {"answering": object()})()
    datagrams.bind(socket)
    datagrams.datagram(b"hello", CLIENT, 40000)
    datagrams.datagram_error(111)
    ((detour, *sent),) = forwards.calls
    assert detour.port == 53
    assert sent == [socket.answering, b"hello", CLIENT, 40000]


@pytest.mark.parametrize("outward", [True, False])
def test_events_learn_whether_a_connection_leads_to_the_host(outward: bool) -> None:
    """The guest is the source of both; of connections from its loopback the host's is the destination."""
    opened: list[tuple[Any, ...]] = []
    events = SimpleNamespace(flow_opened=lambda *given: opened.append(given))
    network = SimpleNamespace(stats=Stats(), events=events, flows_begun=6, now=0, dirty=[])
    parts: Any = SimpleNamespace(network=network, tables=SimpleNamespace(closed_flows=[]))
    inside = HostLoopback(cast("Any", Host()), 4)
    inside.guest = LOOPBACK if outward else GUEST
    forwards = LoopbackForwards(parts, inside, DescriptorLimit(network.stats), outward=outward)
    client = CLIENT[:3] + b"\7"
    forwards.splice(Handover(None), cast("Any", PeerNotes()), (client, 40000), 8080)
    ends = (client, 40000, LOOPBACK, 8080) if outward else (GUEST, 8080, client, 40000)
    request = FlowRequest(IPProtocol.TCP, *ends, host=outward)
    assert opened == [(7, request, None, *ends[2:], not outward)]
