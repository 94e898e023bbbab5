"""Equal outcomes of equal calls on simulated sockets and on those of Linux."""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.testing.sim.network import Network

HOST = "127.0.0.1"
Outcome = list[Any]
SCENARIOS: list[Callable[[], Outcome]] = []
RESET = struct.pack("ii", 1, 0)


def scenario(function: Callable[[], Outcome]) -> Callable[[], Outcome]:
    SCENARIOS.append(function)
    return function


def attempt(call: Callable[..., object], *args: object) -> object:
    """Return the result of a call, or the name of its exception with the number of its error."""
    try:
        return call(*args)
    except OSError as error:
        return type(error).__name__, error.errno


def ready(made: socket.socket) -> int:
    """Return what ``poll`` reports of a socket now."""
    poll = select.poll()
    poll.register(made, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    found = poll.poll(0)
    return found[0][1] if found else 0


def settle() -> None:
    """Let everything arrive."""
    time.sleep(0.02)


def connected() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a connection."""
    with socket.create_server((HOST, 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    return client, accepted


@scenario
def fresh() -> Outcome:
    with socket.socket() as made:
        return [
            ready(made),
            attempt(made.getpeername),
            made.getsockname(),
            attempt(made.recv, 1),
            attempt(made.send, b"x"),
            attempt(made.shutdown, socket.SHUT_WR),
            attempt(made.accept),
            made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
            made.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
            made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
            made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ]


@scenario
def listening() -> Outcome:
    with socket.create_server((HOST, 0)) as server:
        place = server.getsockname()
        found: Outcome = [
            ready(server),
            attempt(server.recv, 1),
            attempt(server.send, b"x"),
            attempt(server.getpeername),
        ]
        found += [attempt(server.bind, (HOST, 0)), attempt(server.connect, place), attempt(server.listen)]
        with socket.create_connection(place) as client:
            settle()
            found.append(ready(server))
            accepted, sender = server.accept()
            found += [sender == client.getsockname(), ready(server), accepted.gettimeout()]
            accepted.close()
        with socket.socket() as other:
            found.append(attempt(other.bind, place))
        server.shutdown(socket.SHUT_RD)
        found += [ready(server) & select.POLLHUP, attempt(server.accept)]
        return found


@scenario
def idle_and_readable() -> Outcome:
    client, accepted = connected()
    with client, accepted:
        found: Outcome = [ready(client), ready(accepted), attempt(client.connect, (HOST, 1))]
        client.sendall(b"hello")
        settle()
        found += [ready(accepted), accepted.recv(2, socket.MSG_PEEK), accepted.recv(100), ready(accepted)]
        client.settimeout(0)
        found += [attempt(client.recv, 1), attempt(client.recv, 0), client.getblocking(), client.gettimeout()]
        found.append(accepted.getpeername() == client.getsockname())
        return found


@scenario
def half_closed() -> Outcome:
    client, accepted = connected()
    with client, accepted:
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        settle()
        found: Outcome = [ready(client), ready(accepted), attempt(client.send, b"x"), accepted.recv(100)]
        found += [accepted.recv(100), accepted.recv(100), ready(accepted)]
        accepted.sendall(b"answer")
        settle()
        found += [ready(client), client.recv(100), attempt(client.shutdown, socket.SHUT_WR)]
        accepted.shutdown(socket.SHUT_WR)
        settle()
        return [*found, client.recv(100), ready(client), ready(accepted)]


@scenario
def shut_for_reading() -> Outcome:
    client, accepted = connected()
    with client, accepted:
        client.shutdown(socket.SHUT_RD)
        found: Outcome = [ready(client), client.recv(10)]
        accepted.sendall(b"data")
        settle()
        return [*found, client.recv(10), client.recv(10), ready(accepted)]


@scenario
def closed_by_the_peer() -> Outcome:
    client, accepted = connected()
    with client:
        accepted.close()
        settle()
        found: Outcome = [ready(client), client.recv(10), attempt(client.send, b"lost")]
        settle()
        found += [
            ready(client),
            attempt(client.send, b"x"),
            client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        ]
        return [*found, attempt(client.send, b"x"), attempt(client.recv, 1)]


@scenario
def closed_with_data_unread() -> Outcome:
    client, accepted = connected()
    with client:
        client.sendall(b"unread")
        settle()
        accepted.close()
        settle()
        return [
            ready(client),
            attempt(client.recv, 1),
            ready(client),
            attempt(client.recv, 1),
            attempt(client.send, b"x"),
        ]


@scenario
def closed_with_data_only_peeked_at() -> Outcome:
    client, accepted = connected()
    with client:
        client.sendall(b"unread")
        settle()
        found: Outcome = [accepted.recv(3, socket.MSG_PEEK)]
        accepted.close()
        settle()
        return [*found, attempt(client.recv, 1)]


@scenario
def reset_with_data_unread_here() -> Outcome:
    client, accepted = connected()
    with client:
        accepted.sendall(b"read me")
        settle()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        accepted.close()
        settle()
        found: Outcome = [
            ready(client),
            attempt(client.recv, 4),
            attempt(client.recv, 10),
            attempt(client.recv, 10),
        ]
        return [
            *found,
            attempt(client.getpeername),
            attempt(client.shutdown, socket.SHUT_WR),
            attempt(client.recv, 1),
        ]


@scenario
def error_by_option() -> Outcome:
    client, accepted = connected()
    with client:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        accepted.close()
        settle()
        found: Outcome = [client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
        return [*found, ready(client), attempt(client.recv, 1), attempt(client.send, b"x")]


@scenario
def refused() -> Outcome:
    with socket.create_server((HOST, 0)) as server:
        place = server.getsockname()
    with socket.socket() as client:
        found: Outcome = [attempt(client.connect, place)]
    with socket.socket() as client:
        client.setblocking(False)
        found.append(client.connect_ex(place))
        settle()
        found += [ready(client), client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
        return [*found, client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), attempt(client.send, b"x")]


@scenario
def connecting_without_waiting() -> Outcome:
    with socket.create_server((HOST, 0)) as server, socket.socket() as client:
        client.setblocking(False)
        found: Outcome = [client.connect_ex(server.getsockname())]
        settle()
        found += [ready(client), client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
        return [
            *found,
            client.connect_ex(server.getsockname()) in (0, 106),
            client.connect_ex(server.getsockname()),
        ]


@scenario
def binding() -> Outcome:
    found: Outcome = []
    with socket.socket() as one, socket.socket() as other:
        one.bind((HOST, 0))
        place = one.getsockname()
        found += [
            place[0],
            attempt(one.bind, (HOST, 0)),
            attempt(other.bind, place),
            attempt(other.bind, ("192.0.2.1", 0)),
        ]
        for each in (one, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found += [attempt(other.bind, place), attempt(one.listen), attempt(other.listen)]
    client, accepted = connected()
    place = accepted.getsockname()
    accepted.close()
    settle()
    client.close()
    settle()
    with socket.socket() as again:
        found.append(attempt(again.bind, place))  # TIME-WAIT
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return [*found, attempt(again.bind, place)]


@scenario
def datagrams() -> Outcome:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        found: Outcome = [
            ready(server),
            client.getsockname(),
            attempt(client.send, b"x"),
            attempt(client.getpeername),
        ]
        server.bind((HOST, 0))
        place = server.getsockname()
        found += [client.sendto(b"", place), client.sendto(b"long", place), client.getsockname()[0]]
        settle()
        found += [ready(server), server.recv(10), server.recvmsg(2)[:3]]
        found += [attempt(server.recv, 1, socket.MSG_DONTWAIT), attempt(client.sendto, bytes(70_000), place)]
        client.connect(place)
        found += [client.getpeername() == place, client.getsockname()[0], client.send(b"x")]
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"strange", client.getsockname())
        settle()
        found += [
            ready(client),
            attempt(client.shutdown, socket.SHUT_WR),
            attempt(server.shutdown, socket.SHUT_RD),
        ]
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(place)
        found.append(client.send(b"unheard"))
        settle()
        return [*found, ready(client), attempt(client.recv, 1), ready(client), attempt(client.send, b"x")]


@scenario
def pairs() -> Outcome:
    one, other = socket.socketpair()
    with one:
        found: Outcome = [ready(one), one.getsockname(), one.getpeername(), one.family, one.type]
        other.sendall(b"x")
        found += [ready(one), one.recv(5), attempt(one.recv, 1, socket.MSG_DONTWAIT)]
        other.shutdown(socket.SHUT_WR)
        found += [ready(one), one.recv(1), ready(other)]
        other.close()
        return [*found, ready(one), attempt(one.send, b"x"), attempt(one.recv, 1)]


@scenario
def duplicates() -> Outcome:
    client, accepted = connected()
    with accepted:
        second = client.dup()
        client.close()
        found: Outcome = [attempt(client.recv, 1), client.fileno(), second.send(b"open"), accepted.recv(10)]
        number = second.detach()
        third = socket.socket(fileno=number)
        third.close()
        settle()
        return [
            *found,
            second.fileno(),
            accepted.recv(1),
            attempt(accepted.getpeername) == attempt(accepted.getpeername),
        ]


@scenario
def both_families() -> Outcome:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::", 0))
        server.listen()
        port = server.getsockname()[1]
        found: Outcome = [server.getsockname()[0], server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)]
        for family, host in ((socket.AF_INET, HOST), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.connect((host, port))
                accepted, sender = server.accept()
                found += [sender[0], len(sender), accepted.getsockname()[0], client.getpeername()[0]]
                accepted.close()
        with socket.socket() as other:
            found.append(attempt(other.bind, ("0.0.0.0", port)))
    with socket.socket(socket.AF_INET6) as only:
        only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only.bind(("::", 0))
        only.listen()
        with socket.socket() as client:
            found.append(attempt(client.connect, (HOST, only.getsockname()[1])))
    return found


@scenario
def addresses() -> Outcome:
    asked: list[tuple[Any, ...]] = [
        (HOST, 80),
        (HOST, "http", 0, socket.SOCK_STREAM),
        ("::1", 80, 0, socket.SOCK_DGRAM),
        (None, 80, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_PASSIVE),
        (None, 80, socket.AF_INET, socket.SOCK_STREAM),
        (HOST, 80, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_V4MAPPED),
        (HOST, 80, socket.AF_INET6),
        ("not-a-number", 80, 0, 0, 0, socket.AI_NUMERICHOST),
        (HOST, "no-such-service"),
        (HOST, 80, 0, socket.SOCK_STREAM, socket.IPPROTO_UDP),
    ]
    found = [attempt(socket.getaddrinfo, *each) for each in asked]
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    found += [attempt(socket.getnameinfo, place, numeric) for place in ((HOST, 80), ("::1", 80, 0, 0))]
    with socket.socket() as made:
        for place in ((HOST,), "text", (HOST, "80"), (HOST, -1), (HOST, 70_000)):
            try:
                made.connect(place)
            except (TypeError, OverflowError) as error:
                found.append(type(error))
    return found


@scenario
def waiting() -> Outcome:
    client, accepted = connected()
    with client, accepted:
        client.settimeout(0.01)
        found: Outcome = [
            attempt(client.recv, 1),
            attempt(client.recv_into, bytearray(1)),
            client.getblocking(),
        ]
        with client.makefile("rb") as file:
            accepted.sendall(b"line\nand")
            found += [file.readline(), attempt(file.readline), attempt(file.readline)]
        found += [attempt(client.settimeout, None), client.gettimeout()]
        with socket.create_server((HOST, 0)) as server:
            server.settimeout(0.01)
            found.append(attempt(server.accept))
        poll = select.poll()
        poll.register(client, select.POLLIN)
        return [*found, poll.poll(10), select.select([client], [client], [client], 0)[1] == [client]]


@scenario
def full() -> Outcome:
    client, accepted = connected()
    with client, accepted:
        client.setblocking(False)
        while isinstance(attempt(client.send, bytes(1 << 20)), int):
            settle()
        found: Outcome = [attempt(client.send, b"x"), ready(client) & select.POLLOUT]
        while ready(accepted) & select.POLLIN:
            accepted.recv(1 << 20)
            settle()
        return [*found, ready(client), client.send(b"x")]


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")
@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_outcomes_are_equal(net: Network, run: Callable[[], Outcome]) -> None:
    assert net.run(run, on="client") == run()
