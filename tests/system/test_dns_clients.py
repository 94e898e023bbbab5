"""Names: the C library and dig ask 10.0.2.3, which asks a resolver of the test's own."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import User
from dnslib import QTYPE, RR, TXT, A, DNSRecord

pytestmark = pytest.mark.system
Need = Callable[..., None]

NAME = "server.test"
ADDRESS = "192.0.2.77"
LONG = "long.test"
LONG_TEXTS = [f"{number:03}-" + "x" * 196 for number in range(15)]  # 3 KB


class Resolver:
    """Answers over UDP and TCP at one port of the loopback; over UDP with TC what the client has no room for."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, str, str]] = []
        self._tcp, self._udp = self._bind()
        self.port: int = self._tcp.getsockname()[1]
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    @staticmethod
    def _bind() -> tuple[socket.socket, socket.socket]:
        """The same free port for both; another when somebody has the one of UDP."""
        while True:
            tcp = socket.create_server(("127.0.0.1", 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
            else:
                return tcp, udp

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass
            sock.close()

    def _answer(self, data: bytes, transport: str) -> bytes:
        query = DNSRecord.parse(data)
        name, kind = str(query.q.qname).rstrip(".").lower(), QTYPE[query.q.qtype]
        self.queries.append((transport, name, kind))
        reply = query.reply()
        if (name, kind) == (NAME, "A"):
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(ADDRESS), ttl=60))
        elif (name, kind) == (LONG, "TXT"):
            for text in LONG_TEXTS:
                reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT(text), ttl=60))
        elif name not in (NAME, LONG):
            reply.header.rcode = 3  # NXDOMAIN
        packed: bytes = reply.pack()
        room = max([512, *(rr.rclass for rr in query.ar if rr.rtype == QTYPE.OPT)])
        if transport == "udp" and len(packed) > room:
            reply = query.reply()
            reply.header.tc = 1
            packed = reply.pack()
        return packed

    def _serve_udp(self) -> None:
        while True:
            try:
                data, client = self._udp.recvfrom(65535)
                if not data:
                    return
                self._udp.sendto(self._answer(data, "udp"), client)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                client, _ = self._tcp.accept()
            except OSError:
                return
            with client, client.makefile("rb") as file:
                client.settimeout(20)
                while head := file.read(2):
                    answer = self._answer(file.read(int.from_bytes(head, "big")), "tcp")
                    client.sendall(len(answer).to_bytes(2, "big") + answer)


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    server = Resolver()
    yield server
    server.close()


def test_the_c_library_and_dig_resolve_a_name(user: User, need: Need, resolver: Resolver) -> None:
    need("getent", "dig")
    script = (
        f"getent hosts {NAME}; dig +short +tries=1 {NAME} @10.0.2.3; dig +short +tcp +tries=1 {NAME} @10.0.2.3;"
        f"dig +short +tries=1 {NAME}"  # finds the server by itself, in resolv.conf
    )
    result = user.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    first, *others = result.stdout.splitlines()
    assert first.split() == [ADDRESS, NAME]
    assert others == [ADDRESS] * 3
    assert ("udp", NAME, "A") in resolver.queries


def test_a_name_that_does_not_exist_is_an_answer_too(slirpy: User, need: Need, resolver: Resolver) -> None:
    need("getent", "dig")
    script = "dig +tries=1 no.such.name @10.0.2.3; getent hosts no.such.name"
    result = slirpy.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", "sh", "-c", script)
    assert result.returncode == 2  # getent: not found
    assert "status: NXDOMAIN" in result.stdout


@pytest.mark.parametrize("options", ["+bufsize=4096", "+noedns", "+tcp"])
def test_a_long_answer_comes_whole(slirpy: User, need: Need, resolver: Resolver, options: str) -> None:
    """With EDNS as one datagram, which is larger than the MTU; without it over TCP, after a truncated answer."""
    need("dig")
    command = ["dig", "+tries=1", "+time=10", options, LONG, "TXT", "@10.0.2.3"]
    result = slirpy.run("run", "--dns", f"127.0.0.1:{resolver.port}", "--", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(re.findall(r'TXT\s+"(.*)"', result.stdout)) == LONG_TEXTS
    assert ("(UDP)" in result.stdout) == (options == "+bufsize=4096")


def test_without_a_resolver_the_answer_is_prompt(slirpy: User, need: Need) -> None:
    need("dig")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    begun = time.monotonic()
    result = slirpy.run(
        "run", "--dns", f"127.0.0.1:{port}", "--", "dig", "+tries=1", "+time=20", NAME, "@10.0.2.3"
    )
    assert "status: SERVFAIL" in result.stdout, result.stdout
    assert time.monotonic() - begun < 5  # and not 2 s a try, let alone dig's own 20
