"""``select``, ``poll``, ``epoll`` and ``selectors`` in programs."""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable

import pytest

from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.network import Network

SELECTORS = (
    selectors.SelectSelector,
    selectors.PollSelector,
    selectors.EpollSelector,
    selectors.DefaultSelector,
)


def late() -> None:
    """Accept a connection, and send something two seconds later."""
    with socket.create_server(("", 7)) as server:
        connection, _ = server.accept()
        with connection:
            time.sleep(2)
            connection.sendall(b"late")
            connection.recv(1)


@pytest.mark.parametrize("kind", SELECTORS)
def test_a_selector_waits_for_data_room_and_time(
    net: Network, kind: Callable[[], selectors.BaseSelector]
) -> None:
    net.host("server").run(late)

    def program() -> None:
        with socket.create_connection(("server", 7)) as connection, kind() as selector:
            key = selector.register(connection, selectors.EVENT_READ)
            assert selector.select(0) == []
            before = time.monotonic()
            assert selector.select(0.5) == []
            assert time.monotonic() == pytest.approx(before + 0.5)
            assert selector.select() == [(key, selectors.EVENT_READ)]
            assert 2 < time.monotonic() < 2.01
            key = selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            assert selector.select() == [(key, selectors.EVENT_READ | selectors.EVENT_WRITE)]
            assert connection.recv(10) == b"late"
            assert selector.select() == [(key, selectors.EVENT_WRITE)]
            selector.unregister(connection)
            assert selector.select(0) == []

    net.run(program, on="client")


def test_a_poll_reports_hang_ups_errors_and_closed_sockets(net: Network) -> None:
    def program() -> None:
        one, other = socket.socketpair()
        number = one.fileno()
        poll = select.poll()
        poll.register(one, select.POLLIN)
        other.sendall(b"x")
        assert poll.poll() == [(number, select.POLLIN)]
        one.recv(1)
        other.close()
        assert poll.poll() == [(number, select.POLLIN | select.POLLHUP)]
        assert one.recv(1) == b""
        one.close()
        assert poll.poll(1000) == [(number, select.POLLNVAL)]
        refused = socket.socket()
        refused.setblocking(False)
        refused.connect_ex(("server", 1))
        poll = select.poll()
        poll.register(refused, select.POLLOUT)
        with pytest.raises(FileNotFoundError):
            poll.modify(other.fileno() if other.fileno() > 0 else refused.fileno() + 1, 0)
        [(_, events)] = poll.poll()
        assert events & select.POLLERR
        assert events & select.POLLOUT
        refused.close()

    net.host("server")
    net.run(program, on="client")


def test_an_epoll_forgets_closed_sockets_and_refuses_edges(net: Network) -> None:
    def program() -> None:
        one, other = socket.socketpair()
        with select.epoll() as epoll:
            epoll.register(one, select.EPOLLIN)
            with pytest.raises(FileExistsError):
                epoll.register(one, select.EPOLLIN)
            with pytest.raises(EscapeError, match="EPOLLET"):
                epoll.modify(one, select.EPOLLIN | select.EPOLLET)
            other.sendall(b"x")
            assert epoll.poll(maxevents=1) == [(one.fileno(), select.EPOLLIN)]
            one.close()
            assert epoll.poll(0.1) == []
            with pytest.raises(FileNotFoundError):
                epoll.unregister(other)
        with pytest.raises(ValueError, match="closed"):
            epoll.register(other)
        other.close()

    net.run(program, on="client")


def test_a_select_is_woken_by_another_thread(net: Network) -> None:
    def program() -> float:
        one, other = socket.socketpair()
        threading.Timer(3, other.send, (b"x",)).start()
        assert select.select([one], [], [one], 10) == ([one], [], [])
        assert select.select([], [one], []) == ([], [one], [])
        assert one.recv(5) == b"x"
        assert select.select([one], [], [], 0.5) == ([], [], [])
        with pytest.raises(ValueError, match="negative"):
            select.select([-1], [], [])
        one.close()
        with pytest.raises(ValueError, match="negative"):
            select.select([one], [], [])
        return time.monotonic()

    assert net.run(program, on="client") == 3.5


def test_descriptors_work_with_os_and_fcntl(net: Network) -> None:
    import fcntl

    def program() -> None:
        one, other = socket.socketpair()
        assert os.write(one.fileno(), b"hello") == 5
        assert os.read(other.fileno(), 10) == b"hello"
        assert os.get_blocking(other.fileno())
        flags = fcntl.fcntl(other, fcntl.F_GETFL)
        fcntl.fcntl(other, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        assert not os.get_blocking(other.fileno())
        with pytest.raises(BlockingIOError):
            other.recv(1)
        with pytest.raises(BlockingIOError):
            os.read(other.fileno(), 1)
        with pytest.raises(EscapeError, match="fcntl"):
            fcntl.fcntl(other, fcntl.F_SETOWN, 1)
        os.close(one.detach())
        assert other.recv(1) == b""
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.close(other.fileno() + 100)
        file = os.open(os.devnull, os.O_RDWR)  # files are real
        assert os.write(file, b"real") == 4
        assert os.read(file, 4) == b""
        os.close(file)

    net.run(program, on="client")


def test_a_pipe_wakes_a_select(net: Network) -> None:
    def program() -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
        threading.Timer(2, os.write, (writing, b"x")).start()
        assert select.select([reading], [writing], [], 0) == ([], [writing], [])
        assert select.select([reading], [], []) == ([reading], [], [])
        assert os.read(reading, 10) == b"x"
        with pytest.raises(BrokenPipeError):
            os.write(reading, b"x")
        os.close(writing)
        assert os.read(reading, 10) == b""
        os.close(reading)

    net.run(program, on="client")
