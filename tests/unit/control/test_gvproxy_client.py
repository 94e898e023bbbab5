"""Requests of gvproxy's own client, to the byte, with answers that it can read.

Facts are those of gvisor-tap-vsock's ``pkg/client``, ``pkg/types`` and ``pkg/transport``: Go writes every field of a
structure, in its order, a list without elements as null and an address without a value as "". The client takes any
status but 200 as an error, whose text is the body; it reads lists of objects and a map of text.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slirpy import Slirp
from slirpy.control import ControlServer
from tests.support.control import connect, read_answer

GO = b"User-Agent: Go-http-client/1.1\r\n"


def marshal(**fields: str) -> str:
    """JSON as Go writes it."""
    return json.dumps(fields, separators=(",", ":"))


class GoClient:
    """Sends requests as Go does, all of them by one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET."""
        return self._ask(
            b"GET %s HTTP/1.1\r\nHost: unix\r\n%sAccept-Encoding: gzip\r\n\r\n" % (path.encode(), GO)
        )

    def post(self, path: str, body: str) -> tuple[int, str]:
        """Status and body of a POST."""
        head = b"POST %s HTTP/1.1\r\nHost: unix\r\n%sContent-Length: %d\r\n" % (path.encode(), GO, len(body))
        more = b"Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
        return self._ask(head + more + body.encode())

    def _ask(self, data: bytes) -> tuple[int, str]:
        self._sock.sendall(data)
        head, _, body = read_answer(self._sock).partition(b"\r\n\r\n")
        assert b"content-encoding" not in head.lower()
        return int(head.split()[1]), body.decode()

    def listed(self, path: str) -> Any:
        """The JSON of a list."""
        status, body = self.get(path)
        assert status == 200
        return json.loads(body)


@pytest.fixture
def client(server: ControlServer) -> Iterator[GoClient]:
    with connect(server) as sock:
        yield GoClient(sock)


def test_expose_list_unexpose(client: GoClient, net: Slirp) -> None:
    assert client.listed("/services/forwarder/all") == []
    expose = '{"local":"127.0.0.1:0","remote":"10.0.2.15:7","protocol":"tcp"}'
    assert client.post("/services/forwarder/expose", expose) == (200, "")
    (row,) = client.listed("/services/forwarder/all")
    assert set(row) == {"local", "remote", "protocol"}
    assert all(isinstance(value, str) for value in row.values())
    with socket.create_connection(("127.0.0.1", int(row["local"].rpartition(":")[2])), 10) as sock:
        sock.sendall(b"go")
        assert sock.recv(2, socket.MSG_WAITALL) == b"go"
    again = json.dumps({**row, "remote": "10.0.2.15:8"})
    status, text = client.post("/services/forwarder/expose", again)
    assert status != 200
    assert row["local"].rpartition(":")[2] in text
    unexpose = json.dumps({"local": row["local"], "protocol": "tcp"})
    assert client.post("/services/forwarder/unexpose", unexpose) == (200, "")
    status, text = client.post("/services/forwarder/unexpose", unexpose)
    assert (status, text.strip()) == (404, "proxy not found")
    assert net.hostfwds() == []


@pytest.mark.parametrize("protocol", ["", "tcp", "udp"])
def test_a_protocol_that_is_not_given_is_tcp(client: GoClient, protocol: str) -> None:
    expose = marshal(local="127.0.0.1:0", remote="10.0.2.15:7", protocol=protocol)
    assert client.post("/services/forwarder/expose", expose)[0] == 200
    (row,) = client.listed("/services/forwarder/all")
    assert row["protocol"] == (protocol or "tcp")
    unexpose = marshal(local=row["local"], protocol=protocol)
    assert client.post("/services/forwarder/unexpose", unexpose)[0] == 200


def test_a_unix_socket(client: GoClient, folder: Path) -> None:
    expose = marshal(local=f"{folder}/echo", remote="tcp://10.0.2.15:7", protocol="unix")
    assert client.post("/services/forwarder/expose", expose) == (200, "")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(f"{folder}/echo")
        sock.sendall(b"go")
        assert sock.recv(2, socket.MSG_WAITALL) == b"go"
    assert client.listed("/services/forwarder/all") == [json.loads(expose)]
    unexpose = marshal(local=f"{folder}/echo", protocol="unix")
    assert client.post("/services/forwarder/unexpose", unexpose)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"local":":8080","remote":"10.0.2.15","protocol":"tcp"}',
        '{"local":"","remote":"","protocol":""}',
        '{"local":"\\\\\\\\.\\\\pipe\\\\x","remote":"10.0.2.15:7","protocol":"npipe"}',
        '{"local":"/tmp/x","remote":"ssh-tunnel://core@10.0.2.15:22/run/x?key=/k","protocol":"unix"}',
    ],
)
def test_a_failed_expose_is_answered_in_plain_text(client: GoClient, body: str) -> None:
    status, text = client.post("/services/forwarder/expose", body)
    assert status == 400
    assert text.strip()
    assert not text.startswith("{")
    assert client.listed("/services/forwarder/all") == []


def test_zones(client: GoClient) -> None:
    assert client.listed("/services/dns/all") == []
    named = '{"Name":"test.","Records":[{"Name":"web","IP":"192.0.2.7"}],"DefaultIP":""}'
    assert client.post("/services/dns/add", named) == (200, "")
    default = '{"Name":"apps.test.","Records":null,"DefaultIP":"192.0.2.8"}'
    assert client.post("/services/dns/add", default) == (200, "")
    zones = {zone["Name"]: zone["Records"] for zone in client.listed("/services/dns/all")}
    assert zones["test."] == [{"Name": "web", "IP": "192.0.2.7"}]
    assert zones["apps.test."] == [{"Name": "*", "IP": "192.0.2.8"}]
    pattern = '{"Name":"test.","Records":[{"Name":"","IP":"192.0.2.9","Regexp":"^web[0-9]+$"}],"DefaultIP":""}'
    status, text = client.post("/services/dns/add", pattern)
    assert status == 400
    assert "Regexp is not supported" in text


def test_leases(client: GoClient) -> None:
    assert client.listed("/services/dhcp/leases") == {"10.0.2.15": "52:54:00:12:34:56"}


def test_a_tunnel(server: ControlServer) -> None:
    """Go writes this request by itself, so that its host is empty."""
    with connect(server) as sock:
        sock.sendall(b"POST /tunnel?ip=10.0.2.15&port=7 HTTP/1.1\r\nHost: \r\n%sContent-Length: 0\r\n\r\n" % GO)
        assert sock.recv(2, socket.MSG_WAITALL) == b"OK"
        sock.sendall(b"through")
        assert sock.recv(7, socket.MSG_WAITALL) == b"through"
