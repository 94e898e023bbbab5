"""Faults by the control socket: set, listed, ended; the links afterwards as before."""

from __future__ import annotations

import pytest

from slirpy import Slirp
from slirpy.control import ControlClient, ControlError, ControlServer
from tests.support.live_guest import LiveGuest
from tests.unit.control.talk import inside, talk


@pytest.fixture
def client(server: ControlServer) -> ControlClient:
    return ControlClient(str(server.address.path))


def test_they_begin_and_end(client: ControlClient, net: Slirp) -> None:
    before = inside(net)
    assert client.ask("GET", "/v1/faults") == {"links": []}
    (row,) = client.ask("PUT", "/v1/faults", {"to_guest": {"delay": 0.02, "rate": 10**9}, "seed": 1})["links"]
    assert row["link"] == 0
    assert row["to_guest"]["faults"]["delay"] == 0.02
    assert row["to_guest"]["faults"]["rate"] == 10**9
    assert row["from_guest"]["faults"]["delay"] == 0
    talk(net)
    (row,) = client.ask("GET", "/v1/faults")["links"]
    assert row["to_guest"]["counters"]["delayed"] >= 3
    assert row["from_guest"]["counters"]["delayed"] == 0
    assert row["from_guest"]["counters"]["frames"] >= 3
    assert client.ask("DELETE", "/v1/faults") == {"links": []}
    assert client.ask("DELETE", "/v1/faults") == {"links": []}
    assert inside(net) == before
    talk(net)


def test_frames_are_lost(client: ControlClient, net: Slirp, guest: LiveGuest) -> None:
    client.ask("PUT", "/v1/faults", {"from_guest": {"loss": 1.0}})
    before = net.stats.frames_in
    net._call(lambda: guest.guest.resolve("example.org"))
    (row,) = client.ask("GET", "/v1/faults")["links"]
    assert row["from_guest"]["counters"]["lost"] == row["from_guest"]["counters"]["frames"] == 1
    assert row["to_guest"]["counters"]["lost"] == 0
    assert net.stats.frames_in == before
    client.ask("DELETE", "/v1/faults", query={"link": 0})
    talk(net)


def test_they_are_replaced(client: ControlClient) -> None:
    client.ask("PUT", "/v1/faults", {"links": [0], "to_guest": {"delay": 0.5}})
    (row,) = client.ask("PUT", "/v1/faults", {"links": [0], "from_guest": {"jitter": 0.001}})["links"]
    assert row["to_guest"]["faults"]["delay"] == 0
    assert row["from_guest"]["faults"]["jitter"] == 0.001


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"links": [1]}, 400),
        ({"to_guest": {"loss": 2}}, 422),
        ({"to_guest": {"delay": -1}}, 422),
        ({"to_guest": {"latency": 1}}, 422),
        ({"from_guest": {"rate": 0}}, 422),
    ],
)
def test_faults_that_cannot_be(client: ControlClient, body: dict[str, object], status: int) -> None:
    with pytest.raises(ControlError) as refused:
        client.ask("PUT", "/v1/faults", body)
    assert refused.value.status == status
    assert client.ask("GET", "/v1/faults") == {"links": []}
