"""Policy, guest forwards, DNS records, links, events, metrics and the paths of gvproxy, by HTTP."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from slirpy import Slirp
from slirpy.control import ControlServer, shapes
from tests.support.control import connect, exchange, read_answer, request
from tests.support.live_guest import LiveGuest
from tests.support.repository import REPOSITORY
from tests.support.waiting import until


def test_policy(server: ControlServer, net: Slirp) -> None:
    assert request(server, "GET", "/v1/policy")[1] == {"kind": "none", "rules": [], "default": "allow"}
    new = {"rules": ["allow tcp:192.0.2.0/24:443", "drop udp:any"], "default": "reject"}
    status, row = request(server, "PUT", "/v1/policy", new)
    assert (status, row) == (200, {"kind": "rules", **new})
    assert net.policy is not None
    status, checked = request(
        server, "POST", "/v1/policy/check", {"flows": ["tcp:192.0.2.7:443", "udp:1.1.1.1:53"]}
    )
    shapes.Checked.model_validate(checked, strict=True)
    assert [(each["action"], each["number"]) for each in checked["flows"]] == [("allow", 1), ("drop", 2)]
    other = {"flows": ["tcp:1.1.1.1:80"], "policy": {"rules": [], "default": "drop"}}
    assert request(server, "POST", "/v1/policy/check", other)[1]["flows"][0]["action"] == "drop"
    assert request(server, "PUT", "/v1/policy", {"rules": ["permit all"]})[0] == 400
    assert request(server, "POST", "/v1/policy/check", {"flows": ["tcp:x"]})[0] == 400
    net.policy = lambda flow: None  # type: ignore[assignment, return-value] # never asked
    assert request(server, "GET", "/v1/policy")[1]["kind"] == "function"
    assert request(server, "POST", "/v1/policy/check", {"flows": []})[0] == 409
    assert request(server, "DELETE", "/v1/policy")[0] == 200
    assert net.policy is None


def test_guest_forwards(server: ControlServer) -> None:
    rule = "tcp:10.0.2.100:80-tcp:127.0.0.1:8080"
    status, row = request(server, "POST", "/v1/guest-forwards", {"rule": rule})
    assert status == 201
    shapes.GuestForwardRow.model_validate(row, strict=True)
    assert request(server, "GET", "/v1/guest-forwards")[1] == {"guest_forwards": [row]}
    assert request(server, "POST", "/v1/guest-forwards", {"rule": rule})[0] == 409
    assert request(server, "DELETE", f"/v1/guest-forwards?rule={row['rule']}") == (200, row)
    assert request(server, "DELETE", f"/v1/guest-forwards?rule={row['rule']}")[0] == 404


def test_commands_are_for_the_unix_socket(tcp: ControlServer) -> None:
    status, answer = request(tcp, "POST", "/v1/guest-forwards", {"rule": "tcp:10.0.2.100:80-cmd:cat"})
    assert (status, "Unix socket" in answer["error"]) == (403, True)


def test_dns_records(server: ControlServer, net: Slirp) -> None:
    status, answer = request(server, "POST", "/v1/dns/records", {"record": "web.test=192.0.2.7"})
    assert status == 201
    shapes.DnsRecords.model_validate(answer, strict=True)
    assert [str(each) for each in net.dns_records] == ['DNS record "web.test A 192.0.2.7"']
    request(server, "POST", "/v1/dns/records", {"record": "web.test AAAA 2001:db8::7"})
    kept = request(
        server, "DELETE", f"/v1/dns/records?record={answer['records'][0]['record'].replace(' ', '%20')}"
    )
    assert [each["type"] for each in kept[1]["records"]] == ["AAAA"]
    assert request(server, "DELETE", "/v1/dns/records?record=web.test") == (200, {"records": []})
    assert request(server, "DELETE", "/v1/dns/records?record=web.test")[0] == 404


def test_links(server: ControlServer) -> None:
    answer = request(server, "GET", "/v1/links")[1]
    shapes.Links.model_validate(answer, strict=True)
    assert [(each["kind"], each["mtu"]) for each in answer["links"]] == [("CallbackLink", 1500)]


# ------------------------------------------------------------------------------------------------ events


def test_events(server: ControlServer, net: Slirp, guest: LiveGuest) -> None:
    with connect(server) as sock, sock.makefile("rb") as file:
        sock.sendall(b"GET /v1/events?kinds=open,end,policy HTTP/1.1\r\nHost: x\r\n\r\n")
        while file.readline() != b": events of slirpy\n":
            pass
        net.connect("10.0.2.15", 7).close()
        request(server, "PUT", "/v1/policy", {"rules": []})
        found: list[dict[str, Any]] = []
        while len(found) < 2:
            line = file.readline()
            if line.startswith(b"data:"):
                found.append(json.loads(line[5:]))
        assert found[0]["event"] == "open"
        assert (found[0]["source"], found[0]["inbound"]) == ("10.0.2.15", True)
    with connect(server) as sock, sock.makefile("rb") as file:
        sock.sendall(b"GET /v1/events?kinds=lease HTTP/1.1\r\nHost: x\r\n\r\n")
        while file.readline() != b": events of slirpy\n":
            pass
        net._call(guest.guest.dhcp().renew)
        while not (line := file.readline()).startswith(b"data:"):
            pass
        assert json.loads(line[5:])["what"] == "renewed"
    until(lambda: net._stack.network.events is None, lambda: request(server, "GET", "/v1"))


def test_lost_events_of_a_slow_reader_are_counted(server: ControlServer, net: Slirp) -> None:
    with connect(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: net._stack.network.events is not None, lambda: request(server, "GET", "/v1"))
        events = net._stack.network.events
        assert events is not None

        def flood() -> None:
            for _ in range(1000):
                events.policy_changed(None, 0)

        until(lambda: net.stats.control_events_lost, lambda: net._call(flood))
        assert request(server, "GET", "/v1/stats")[1]["counters"]["control_events_lost"] > 0


# ------------------------------------------------------------------------------------------- OpenMetrics


def test_metrics(server: ControlServer, net: Slirp) -> None:
    answer = exchange(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"application/openmetrics-text" in head
    parsed = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call] # no annotations
    families = {family.name: family for family in parsed}
    assert families["slirpy_frames_in"].samples[0].value == net.stats.frames_in
    reasons = {sample.labels["reason"] for sample in families["slirpy_dropped"].samples}
    assert {f"drop_{reason}" for reason in reasons} == {
        name for name in net.stats.as_dict() if name.startswith("drop_")
    }
    assert families["slirpy_leases"].samples[0].value == 1


# ----------------------------------------------------------------------------------------------- gvproxy


def test_gvproxy(server: ControlServer, net: Slirp) -> None:
    assert request(server, "GET", "/services/forwarder/all") == (200, [])
    expose = {"local": "127.0.0.1:0", "remote": "10.0.2.15:7"}
    assert request(server, "POST", "/services/forwarder/expose", expose)[0] == 200
    (row,) = request(server, "GET", "/services/forwarder/all")[1]
    assert (row["remote"], row["protocol"]) == ("10.0.2.15:7", "tcp")
    with socket.create_connection(("127.0.0.1", int(row["local"].partition(":")[2])), 10) as sock:
        sock.sendall(b"gv")
        assert sock.recv(2, socket.MSG_WAITALL) == b"gv"
    unexpose = {"local": row["local"], "protocol": "tcp"}
    assert request(server, "POST", "/services/forwarder/unexpose", unexpose)[0] == 200
    zone = {"Name": "test.", "Records": [{"Name": "web", "IP": "192.0.2.7"}], "DefaultIP": "192.0.2.8"}
    assert request(server, "POST", "/services/dns/add", zone)[0] == 200
    zones = request(server, "GET", "/services/dns/all")[1]
    assert zones[0]["Name"] == "test."
    assert {each["IP"] for each in zones[0]["Records"]} == {"192.0.2.7", "192.0.2.8"}
    mac = "52:54:00:12:34:56"
    assert request(server, "GET", "/services/dhcp/leases") == (200, {"10.0.2.15": mac})
    assert request(server, "GET", "/leases") == (200, {"10.0.2.15": mac})
    assert request(server, "GET", "/cam") == (200, {mac: 0})
    assert request(server, "GET", "/stats")[1]["BytesReceived"] == net.stats.bytes_in


def test_gvproxy_mistakes(server: ControlServer) -> None:
    for body in ("", "[]", '{"local": "x"}', '{"local": ":0", "remote": "10.0.2.15:x"}', '{"remote": 7}'):
        head = f"POST /services/forwarder/expose HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        assert exchange(server, (head + body).encode()).startswith(b"HTTP/1.1 400 "), body
    body = '{"local": ":1"}'
    head = f"POST /services/forwarder/unexpose HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    assert b"proxy not found" in exchange(server, (head + body).encode())


def test_gvproxy_tunnel(server: ControlServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"POST /tunnel?ip=10.0.2.15&port=7 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(2, socket.MSG_WAITALL) == b"OK"
        data = bytes(range(256)) * 1024
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            assert file.read() == data
    with connect(server) as sock:
        sock.sendall(b"POST /tunnel?ip=10.0.2.15&port=9 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock).startswith(b"HTTP/1.1 409 ")


def test_the_dashboard_asks_for_metrics_that_exist(server: ControlServer) -> None:
    answer = exchange(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").decode()
    dashboard = (REPOSITORY / "docs" / "assets" / "grafana-slirpy.json").read_text()
    asked = set(re.findall(r"slirpy_\w+", dashboard))
    assert len(asked) > 8
    assert {name for name in asked if f"\n{name}" not in answer} == set()
