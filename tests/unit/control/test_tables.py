"""Flows, counters, leases, neighbours and forwards, by HTTP."""

from __future__ import annotations

import socket
from typing import Any

from pydantic import BaseModel

from slirpy import Slirp
from slirpy.control import ControlServer, shapes
from tests.support.control import request
from tests.support.live_guest import LiveGuest


def get(server: ControlServer, path: str, shape: type[BaseModel]) -> Any:
    """The answer to a GET, which has the shape that the document promises."""
    status, answer = request(server, "GET", path)
    assert status == 200, answer
    shape.model_validate(answer, strict=True)
    return answer


def test_info(server: ControlServer) -> None:
    info = get(server, "/v1", shapes.Info)
    assert info["networks"] == ["10.0.2.0/24", "fec0::/64"]
    assert (info["links"], info["flows"]) == (1, 0)


def test_flows(server: ControlServer, net: Slirp) -> None:
    with net.connect("build-7", 7) as sock:
        sock.sendall(b"four")
        assert sock.recv(4, socket.MSG_WAITALL) == b"four"
        (flow,) = get(server, "/v1/flows", shapes.Flows)["flows"]
        assert flow["guest"] == {"address": "10.0.2.15", "port": 7}
        assert (flow["state"], flow["inbound"], flow["bytes_out"]) == ("ESTABLISHED", True, 4)
        assert get(server, "/v1/flows?protocol=udp", shapes.Flows) == {"total": 0, "flows": []}
        assert get(server, "/v1/flows?guest=10.0.2.15&protocol=tcp", shapes.Flows)["total"] == 1
        assert get(server, "/v1/flows?guest=10.0.2.16", shapes.Flows)["total"] == 0
        assert get(server, "/v1/flows?limit=0", shapes.Flows) == {"total": 1, "flows": []}
    closed = get(server, "/v1/flows/closed", shapes.Flows)
    assert closed["total"] == len(closed["flows"])
    assert request(server, "GET", "/v1/flows?protocol=sctp")[0] == 422
    assert request(server, "GET", "/v1/flows?limit=-1")[0] == 422


def test_many_flows_are_copied_in_pieces(server: ControlServer, net: Slirp, guest: LiveGuest) -> None:
    socks = [net.connect("10.0.2.15", 7) for _ in range(300)]
    assert get(server, "/v1/flows", shapes.Flows)["total"] == 300
    some = get(server, "/v1/flows?limit=10", shapes.Flows)
    assert (some["total"], len(some["flows"])) == (300, 10)
    for sock in socks:
        sock.close()


def test_stats(server: ControlServer, net: Slirp) -> None:
    counters = get(server, "/v1/stats", shapes.Counters)["counters"]
    assert counters["frames_in"] == net.stats.frames_in > 0
    assert counters.keys() == net.stats.as_dict().keys()


def test_leases_and_neighbors(server: ControlServer, net: Slirp) -> None:
    net.connect("10.0.2.15", 7).close()  # so that the guest is heard
    (lease,) = get(server, "/v1/leases", shapes.Leases)["leases"]
    assert (lease["address"], lease["hostname"], lease["state"]) == ("10.0.2.15", "build-7", "bound")
    (neighbor,) = get(server, "/v1/neighbors", shapes.Neighbors)["neighbors"]
    assert neighbor["mac"] == lease["mac"] == "52:54:00:12:34:56"


def test_a_forward_added_works_and_can_be_removed(server: ControlServer) -> None:
    status, forward = request(server, "POST", "/v1/forwards", {"rule": "tcp::0-:7"})
    assert status == 201
    shapes.Forward.model_validate(forward, strict=True)
    port = forward["host"]["port"]
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"by a forward")
        assert sock.recv(12, socket.MSG_WAITALL) == b"by a forward"
    assert get(server, "/v1/forwards", shapes.Forwards)["forwards"] == [forward]
    assert request(server, "POST", "/v1/forwards", {"rule": f"tcp::{port}-:8"})[0] == 409  # in use
    assert request(server, "DELETE", f"/v1/forwards?rule={forward['rule']}") == (200, forward)
    assert request(server, "DELETE", f"/v1/forwards?rule={forward['rule']}")[0] == 404
    assert get(server, "/v1/forwards", shapes.Forwards) == {"forwards": []}


def test_mistakes(server: ControlServer) -> None:
    bodies: list[object] = [{}, {"rule": 7}, {"rule": "tcp::1-:2", "more": 1}, [], "x"]
    for body in bodies:
        status, answer = request(server, "POST", "/v1/forwards", body)
        assert (status, "openapi" in answer["error"]) == (422, True)
    status, answer = request(server, "POST", "/v1/forwards", {"rule": "nonsense"})
    assert (status, "malformed" in answer["error"]) == (400, True)
    assert request(server, "DELETE", "/v1/forwards?rule=x")[0] == 400
    assert request(server, "GET", "/v1/nothing")[0] == 404
    assert request(server, "PATCH", "/v1/forwards")[0] == 405
