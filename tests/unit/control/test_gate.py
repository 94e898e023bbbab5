"""Requests that have no business at the control socket: a clear answer, and nothing else disturbed."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from slirpy import Slirp
from slirpy.control import ControlServer, guard
from slirpy.control import server as server_module
from tests.support.control import connect, exchange, read_answer, request
from tests.support.waiting import until

MIB = 1 << 20


def test_a_body_of_100_mib(server: ControlServer, net: Slirp) -> None:
    head = b"POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (100 * MIB)
    answer = exchange(server, head + bytes(MIB))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"1048576 bytes" in answer
    with connect(server) as sock:  # all of it, by one who does not listen meanwhile

        def send() -> None:
            sock.sendall(head)
            for _ in range(100):
                sock.sendall(bytes(MIB))

        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            send()
    assert request(server, "GET", "/v1")[0] == 200


def test_a_body_of_100_mib_in_chunks(server: ControlServer) -> None:
    head = b"POST /v1/forwards HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    assert exchange(server, head + 20 * chunk).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("start", [b"", b"GET /v1", b"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_half_a_line(server: ControlServer, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
    with connect(server) as sock:
        sock.sendall(start)
        answer = read_answer(sock)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert request(server, "GET", "/v1")[0] == 200


def test_half_a_line_after_a_request(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
    with connect(server) as sock:
        sock.sendall(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")
        sock.sendall(b"GET /v1")
        assert read_answer(sock).startswith(b"HTTP/1.1 408 ")


def test_a_length_that_promises_too_much(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    answer = exchange(server, b'POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"rule"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Content-Length" in answer


def test_a_length_that_promises_too_little(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
    with connect(server) as sock:
        sock.sendall(
            b'POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{"rule": "tcp::0-:80"}'
        )
        first, second = read_answer(sock), read_answer(sock)
    assert first.startswith(b"HTTP/1.1 422 ")
    assert second.startswith(b"HTTP/1.1 408 ")  # the rest is no request, and has no end either


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 20_000 + b"\r\n",
    ],
)
def test_no_request(server: ControlServer, data: bytes) -> None:
    with connect(server) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = read_answer(sock)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert answer == b"" or answer.split()[1] in (b"400", b"404"), answer
    assert request(server, "GET", "/v1")[0] == 200


def test_idle_connections_do_not_block_requests(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections are limited, and make way for requests."""
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.5)
    assert request(server, "GET", "/v1")[0] == 200
    idle = [connect(server) for _ in range(200)]
    until(lambda: request(server, "GET", "/v1")[0] == 200, lambda: None)
    for sock in idle:
        sock.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong-token-wrong-token"}, 401),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401),
        ({"Host": "rebound.example:80"}, 421),
        ({"Host": ""}, 400),  # h11 wants one
        ({"Host": "localhost.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"}, 200),
        ({"Host": "127.0.0.1:80", "Origin": "https://127.0.0.1:80"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_tcp(tcp: ControlServer, headers: dict[str, str], status: int) -> None:
    if "Host" in headers and not headers["Host"]:
        found = exchange(
            tcp, b"GET /v1 HTTP/1.1\r\nAuthorization: Bearer %s\r\n\r\n" % (tcp.token or "").encode()
        )
        assert int(found.split()[1]) == status
        return
    found_status, answer = request(tcp, "GET", "/v1", headers=headers)
    assert found_status == status
    assert status == 200 or answer["error"]


def test_the_token_in_the_address(tcp: ControlServer) -> None:
    without = {"Authorization": ""}
    assert request(tcp, "GET", f"/v1?token={tcp.token}", headers=without)[0] == 200
    assert request(tcp, "GET", "/v1?token=", headers=without)[0] == 401
    assert request(tcp, "GET", f"/v1?token={tcp.token}x", headers=without)[0] == 401


def test_tokens_are_compared_in_constant_time(tcp: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        asked.append((given, token))
        return given == token

    monkeypatch.setattr("slirpy.control.guard.hmac.compare_digest", compare)
    request(tcp, "GET", "/v1")
    request(tcp, "GET", "/v1", headers={"Authorization": "Bearer x"})
    assert [given for given, _ in asked] == [(tcp.token or "").encode(), b"x"]


def test_a_page_cannot_use_the_unix_socket(server: ControlServer) -> None:
    assert request(server, "GET", "/v1", headers={"Origin": "http://localhost"})[0] == 403


def test_requests_to_a_network_that_is_not_driven(
    net: Slirp, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slirpy.control import desk

    request(server, "GET", "/v1")
    net.stop()
    monkeypatch.setattr(desk, "WAIT", 0.1)
    status, answer = request(server, "POST", "/v1/forwards", {"rule": "tcp::0-:80"})
    assert (status, "must poll it" in answer["error"]) == (503, True)
    net.poll(0)
    assert net.hostfwds() == []  # a request that got no answer is not done later


def test_the_network_ends_during_requests(net: Slirp, server: ControlServer) -> None:
    request(server, "GET", "/v1")
    net.stop()
    answers: list[int] = []
    asking = [
        threading.Thread(target=lambda: answers.append(request(server, "GET", "/v1/flows")[0]))
        for _ in range(20)
    ]
    for thread in asking:
        thread.start()
    until(lambda: len(server._subjects[0]._mailbox._notes) == 20, lambda: time.sleep(0.01))
    net.close()
    for thread in asking:
        thread.join(10)
    assert answers == [503] * 20


def test_the_end(net: Slirp, server: ControlServer) -> None:
    before = threading.active_count()
    with connect(server) as idle:
        idle.sendall(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(idle).startswith(b"HTTP/1.1 200 ")
        assert threading.active_count() == before + 1
        net.close()
        assert idle.recv(1) == b""
    assert threading.active_count() == before - 1  # that of the network has ended too
    with pytest.raises(FileNotFoundError):
        connect(server)
