"""Sockets of programs, non-blocking."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from slirpy.errors import StateError
from slirpy.testing.sim.current import HOST
from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.socketapi import SimSocket, descriptors


@contextmanager
def on(host: Host) -> Iterator[None]:
    """Be a program of a host."""
    token = HOST.set(host)
    try:
        yield
    finally:
        HOST.reset(token)


def make(host: Host, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> SimSocket:
    with on(host):
        made = SimSocket(family, kind)
    made.setblocking(False)
    return made


def listening(host: Host, port: int = 80) -> SimSocket:
    server = make(host)
    server.bind(("", port))
    server.listen()
    return server


def connected(net: Network) -> tuple[SimSocket, SimSocket]:
    """Return client and server of a connection."""
    server = listening(net.host("server"))
    client = make(net.host("client"))
    assert client.connect_ex(("server", 80)) == errno.EINPROGRESS
    net.run_for(0.1)
    accepted, place = server.accept()
    accepted.setblocking(False)
    assert place == client.getsockname() == accepted.getpeername()
    server.close()
    return client, accepted


def test_a_connection_carries_data_and_its_end(net: Network) -> None:
    client, server = connected(net)
    assert client.send(b"hello") == 5
    with pytest.raises(BlockingIOError):
        server.recv(10)
    net.run_for(0.1)
    assert server.recv(3, socket.MSG_PEEK) == b"hel"
    buffer = bytearray(10)
    assert server.recv_into(buffer) == 5
    assert bytes(buffer[:5]) == b"hello"
    client.shutdown(socket.SHUT_WR)
    server.sendall(b"good ")
    server.sendmsg([b"b", b"ye"])
    net.run_for(0.1)
    assert server.recv(10) == b""
    assert client.recvfrom(100) == (b"good bye", None)
    server.close()
    net.run_for(0.1)
    assert client.recvmsg(10) == (b"", [], 0, None)


def test_a_refused_connection_reports_its_error_once(net: Network) -> None:
    net.host("server")
    client = make(net.host("client"))
    assert client.connect_ex(("server", 81)) == errno.EINPROGRESS
    assert client.connect_ex(("server", 81)) == errno.EALREADY
    assert not client.end.can_write()
    net.run_for(0.1)
    assert client.end.can_write()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_reset_is_reported_once_and_then_writing_breaks_the_pipe(net: Network) -> None:
    client, server = connected(net)
    client.send(b"unread")
    net.run_for(0.1)
    server.close()  # with data unread: a RST
    net.run_for(0.1)
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    assert client.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        client.send(b"more")


def test_a_full_send_buffer_blocks_until_a_third_is_free(net: Network) -> None:
    client, server = connected(net)
    sent = 0
    while client.end.can_write():
        sent += client.send(bytes(100_000))
        net.run_for(1)
    with pytest.raises(BlockingIOError):
        client.send(bytes(1_000_000)) and client.send(b"x")
    seen: list[bool] = []
    client.end.watch(lambda: seen.append(client.end.can_write()))
    received = 0
    while received < sent:
        received += len(server.recv(1 << 20))
        net.run_for(1)
    assert True in seen


def test_calls_before_a_connection_fail_as_in_linux(net: Network) -> None:
    host = net.host("client")
    fresh = make(host)
    calls: list[tuple[Callable[[], object], int]] = [
        (lambda: fresh.recv(1), errno.ENOTCONN),
        (lambda: fresh.send(b"x"), errno.EPIPE),
        (fresh.getpeername, errno.ENOTCONN),
        (lambda: fresh.shutdown(socket.SHUT_WR), errno.ENOTCONN),
        (fresh.accept, errno.EINVAL),
    ]
    for call, number in calls:
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            call()
    assert fresh.getsockname() == ("0.0.0.0", 0)
    fresh.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        fresh.recv(1)


def test_a_port_in_time_wait_needs_reuse_of_addresses(net: Network) -> None:
    client, server = connected(net)
    server.close()
    net.run_for(0.1)
    client.close()
    net.run_for(0.1)
    again = make(net.host("server"))
    with pytest.raises(OSError, match="in use"):
        again.bind(("", 80))
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("", 80))
    again.listen()
    assert again.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_a_dual_stack_listener_takes_both_families(net: Network) -> None:
    server = make(net.host("server"), family=socket.AF_INET6)
    server.bind(("::", 0))
    server.listen()
    port = server.getsockname()[1]
    for family in (socket.AF_INET, socket.AF_INET6):
        client = make(net.host("client"), family=family)
        client.connect_ex(("server", port))
        net.run_for(0.1)
        accepted, place = server.accept()
        assert place[0].startswith("::ffff:198.18." if family == socket.AF_INET else "2001:db8:")
        assert len(place) == 4
        accepted.close()


def test_datagrams_have_senders_and_refusals_reach_connected_sockets(net: Network) -> None:
    server = make(net.host("server"), socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))
    client = make(net.host("client"), socket.SOCK_DGRAM)
    assert client.sendto(b"question", ("server", 53)) == 8
    net.run_for(0.1)
    question, place = server.recvfrom(100)
    assert question == b"question"
    server.sendto(b"a long answer", place)
    net.run_for(0.1)
    data, _, flags, sender = client.recvmsg(6)
    assert (data, flags, sender[1]) == (b"a long", socket.MSG_TRUNC, 53)
    server.close()
    client.sendto(b"unheard", ("server", 53))
    net.run_for(0.1)
    with pytest.raises(BlockingIOError):
        client.recv(10)
    client.connect(("server", 53))
    client.send(b"unheard")
    net.run_for(0.1)
    with pytest.raises(ConnectionRefusedError):
        client.recv(10)


def test_unread_datagrams_fill_the_buffer_and_further_ones_are_lost(net: Network) -> None:
    server = make(net.host("server"), socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.bind(("", 53))
    client = make(net.host("client"), socket.SOCK_DGRAM)
    for number in range(20):
        client.sendto(b"%d" % number, ("server", 53))
    net.run_for(0.1)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 8192
    assert [server.recv(10) for _ in range(10)] == [b"%d" % number for number in range(10)]
    with pytest.raises(BlockingIOError):
        server.recv(10)


def test_descriptors_are_duplicated_detached_and_taken_over(net: Network) -> None:
    client, server = connected(net)
    second = client.dup()
    client.close()
    second.send(b"open")
    number = second.detach()
    assert second.fileno() == -1
    with on(net.host("client")):
        third = SimSocket(fileno=number)
    assert descriptors(net).find(number) is third.end
    net.run_for(0.1)
    assert server.recv(10) == b"open"
    third.close()
    net.run_for(0.1)
    assert server.recv(10) == b""


def test_a_forgotten_socket_closes_its_connection(net: Network) -> None:
    client, server = connected(net)
    del client
    net.run_for(0.1)
    assert server.recv(10) == b""


def test_a_call_that_would_wait_outside_of_a_blocking_program_is_an_error(net: Network) -> None:
    client, _ = connected(net)
    client.setblocking(True)
    with pytest.raises(EscapeError, match=r"socket.recv\(\) would wait"):
        client.recv(1)


def test_features_that_are_not_simulated_raise(net: Network) -> None:
    client, _ = connected(net)
    with pytest.raises(EscapeError, match="MSG_OOB"):
        client.send(b"!", socket.MSG_OOB)
    with pytest.raises(EscapeError, match="AF_UNIX"), on(net.host("client")):
        SimSocket(socket.AF_UNIX)
    with pytest.raises(StateError, match="belongs to a program"):
        SimSocket()
    membership = socket.inet_aton("224.0.0.251") + bytes(4)
    with on(net.host("client")):
        for family, level, option in (
            (socket.AF_INET, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP),
            (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP),
        ):
            with pytest.raises(EscapeError, match="a multicast group is not simulated"):
                SimSocket(family, socket.SOCK_DGRAM).setsockopt(level, option, membership)
