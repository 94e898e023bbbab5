"""Several networks behind one control server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from slirpy import Config, Slirp
from slirpy.cli.app import app
from slirpy.control import ControlClient, ControlError, ControlServer
from slirpy.errors import ConfigError
from tests.support.control import request
from tests.support.live_guest import LiveGuest


@pytest.fixture
def other() -> Iterator[Slirp]:
    with Slirp(Config(net="10.8.0.0/24", resolvers=[])) as network:
        yield network


@pytest.fixture
def both(net: Slirp, other: Slirp, folder: Path) -> Iterator[ControlServer]:
    """A server for two networks, each with a guest and a thread of its own."""
    for network, name in ((net, "first"), (other, "second")):
        LiveGuest(network, hostname=name).serve_echo(7)
    server = net.serve_control(f"unix:{folder}/ctl", name="lan0", others={"dmz": other})
    with ExitStack() as stack:
        for network in (net, other):
            network.start()
            stack.callback(network.stop)
        yield server


def leases(client: ControlClient) -> list[str]:
    return [row["hostname"] for row in client.ask("GET", "/v1/leases")["leases"]]


def test_each_is_reachable_by_name_and_the_first_without(both: ControlServer) -> None:
    at = str(both.address)
    assert leases(ControlClient(at)) == ["first"]
    assert leases(ControlClient(at, network="lan0")) == ["first"]
    assert leases(ControlClient(at, network="dmz")) == ["second"]
    rows = ControlClient(at).ask("GET", "/networks")["networks"]
    assert [(row["name"], row["path"], row["networks"][0]) for row in rows] == [
        ("lan0", "/networks/lan0", "10.0.2.0/24"),
        ("dmz", "/networks/dmz", "10.8.0.0/24"),
    ]


def test_a_change_concerns_one(both: ControlServer, net: Slirp, other: Slirp) -> None:
    client = ControlClient(str(both.address), network="dmz")
    forward = client.ask("POST", "/v1/forwards", {"rule": "tcp::0-:7"})
    assert [str(each) for each in other.hostfwds()] == [forward["rule"]]
    assert net.hostfwds() == []
    with socket.create_connection(("127.0.0.1", forward["host"]["port"]), 10) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
    client.ask("POST", "/v1/captures", {})
    assert ControlClient(str(both.address)).ask("GET", "/v1/captures") == {"captures": []}


def test_all_that_is_not_json_has_a_path_by_name_too(both: ControlServer, other: Slirp) -> None:
    client = ControlClient(str(both.address), network="dmz")
    assert b"slirpy_leases 1" in b"".join(client.stream("/metrics"))
    assert b"<html" in b"".join(client.stream("/"))
    assert list(client.ask("GET", "/services/dhcp/leases")) == ["10.8.0.15"]
    events = client.stream("/v1/events", {"kinds": "open"})
    said = next(events)  # it listens
    with other.connect("10.8.0.15", 7):
        while b"event: open" not in said:
            said += next(events)
    events.close()


def test_an_unknown_name(both: ControlServer) -> None:
    for name in ("wan", "", "%2e"):
        status, answer = request(both, "GET", f"/networks/{name}/v1")
        assert status == 404, answer
        assert "the networks are lan0, dmz" in answer["error"]
    status, answer = request(both, "GET", "/networks/dmz/v1/nothing")
    assert (status, "nothing at" in answer["error"]) == (404, True)


def test_the_document_names_them(both: ControlServer) -> None:
    _, document = request(both, "GET", "/openapi.json")
    paths = document["paths"]
    (named,) = (each for each in paths["/networks/{network}/v1/forwards"]["get"]["parameters"])
    assert named["schema"]["enum"] == ["lan0", "dmz"]
    plain = {path for path in paths if not path.startswith("/networks")}
    assert {f"/networks/{{network}}{path}" for path in plain} == paths.keys() - plain - {"/networks"}
    _, own = request(both, "GET", "/networks/dmz/openapi.json")
    assert own["servers"] == [{"url": "/networks/dmz"}]
    assert own["paths"].keys() == plain


def test_one_that_has_ended_disturbs_no_other(both: ControlServer, other: Slirp) -> None:
    other.stop()
    other.close()
    with pytest.raises(ControlError) as refused:
        leases(ControlClient(str(both.address), network="dmz"))
    assert refused.value.status == 503
    assert leases(ControlClient(str(both.address))) == ["first"]


def test_the_end_of_the_first_ends_the_server_alone(both: ControlServer, net: Slirp, other: Slirp) -> None:
    assert leases(ControlClient(str(both.address), network="dmz")) == ["second"]
    net.stop()
    net.close()
    assert both.closed
    assert [each.hostname for each in other.leases()] == ["second"]
    again = other.serve_control(str(both.address))
    assert leases(ControlClient(str(again.address))) == ["second"]


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x" * 65, "ä", None, 5])
def test_names_that_cannot_be(net: Slirp, other: Slirp, folder: Path, name: Any) -> None:
    for given in ({"name": name}, {"others": {name: other}}):
        with pytest.raises(ConfigError, match="network name"):
            net.serve_control(f"unix:{folder}/ctl", **given)
    assert not (folder / "ctl").exists()


def test_others_that_cannot_be(net: Slirp, other: Slirp, folder: Path) -> None:
    wrong: list[Any] = [{"net0": other}, {"dmz": net}, {"a": other, "b": other}, {"a": 5}, [other]]
    for others in wrong:
        with pytest.raises(ConfigError, match="others"):
            net.serve_control(f"unix:{folder}/ctl", others=others)
    assert not (folder / "ctl").exists()


def ctl(server: ControlServer, *words: str) -> Result:
    return CliRunner().invoke(app, ["ctl", *words[:-1], str(server.address.path), *words[-1].split()])


def test_the_client_of_the_command_line(both: ControlServer) -> None:
    listed = ctl(both, "networks").output
    assert "lan0" in listed
    assert "10.8.0.0/24" in listed
    assert "second" in ctl(both, "--network", "dmz", "leases").output
    assert "lan0" in ctl(both, "--network", "dmz", "networks").output
    refused = ctl(both, "--network", "wan", "leases")
    assert "there is no network wan" in str(refused.exception)
