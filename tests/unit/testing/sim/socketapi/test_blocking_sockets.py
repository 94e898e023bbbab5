"""Sockets of blocking programs: what waits, and for how long."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.errors import DeadlockError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.socketapi import ends
from slirpy.units import MS


def silent() -> None:
    """Accept connections, and neither read nor write."""
    with socket.create_server(("", 7)) as server:
        kept = []
        while True:
            kept.append(server.accept())


def test_a_connection_attempt_waits_as_long_as_its_time_out_allows(net: Network) -> None:
    server = net.host("server")
    net.host("client")
    net.path("client", "server").cut()

    def program() -> tuple[float, str]:
        with pytest.raises(TimeoutError, match="timed out"):
            socket.create_connection((server.address, 7), timeout=3)
        after = time.monotonic()
        with pytest.raises(TimeoutError, match="Connection timed out"):
            socket.create_connection((server.address, 7))
        return after, f"{time.monotonic() - after:.0f}"

    assert net.run(program, on="client") == (3, "131")


def test_sending_waits_for_room(net: Network) -> None:
    net.host("server").run(silent)

    def program() -> float:
        with socket.create_connection(("server", 7), timeout=5) as connection:
            with pytest.raises(TimeoutError):
                connection.sendall(bytes(10_000_000))
            return time.monotonic()

    assert net.run(program, on="client") == pytest.approx(5, abs=0.1)


def test_receiving_all_waits_for_all(net: Network) -> None:
    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            connection, _ = server.accept()
            for _ in range(4):
                connection.sendall(b"12345")
                time.sleep(1)
            connection.close()

    net.host("server").run(serve)

    def program() -> None:
        with socket.create_connection(("server", 7)) as connection:
            assert len(connection.recv(12, socket.MSG_WAITALL)) == 12
            assert connection.recv(12) == b"345"
            with pytest.raises(BlockingIOError):
                connection.recv(1, socket.MSG_DONTWAIT)
            assert connection.recv(100, socket.MSG_WAITALL) == b"12345"

    net.run(program, on="client")


def test_a_file_on_a_socket_reads_lines_and_writes(net: Network) -> None:
    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file:
                for line in file:
                    file.write(line.upper())
                    file.flush()

    net.host("server").run(serve)

    def program() -> list[str]:
        with socket.create_connection(("server", 7)) as connection, connection.makefile("rw") as file:
            file.write("one\ntwo\n")
            file.flush()
            return [file.readline(), file.readline()]

    assert net.run(program, on="client") == ["ONE\n", "TWO\n"]


def test_a_socket_closed_by_another_thread_stays_open_for_the_call_that_waits(net: Network) -> None:
    """Go on with the call, as Linux does: its data arrives."""

    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            connection, _ = server.accept()
            time.sleep(2)
            connection.sendall(b"late")
            assert connection.recv(1) == b""
            connection.close()

    net.host("server").run(serve)

    def program() -> bytes:
        connection = socket.create_connection(("server", 7))
        threading.Timer(1, connection.close).start()
        return connection.recv(10)

    assert net.run(program, on="client") == b"late"
    net.run_for(1)


def test_shutting_down_a_listening_socket_ends_its_accept(net: Network) -> None:
    def program() -> None:
        with socket.create_server(("", 7)) as server:
            threading.Timer(1, server.shutdown, (socket.SHUT_RDWR,)).start()
            with pytest.raises(OSError, match="Invalid argument"):
                server.accept()

    net.run(program, on="client")


def test_lingering_for_no_time_resets_the_connection(net: Network) -> None:
    failures: list[int | None] = []

    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            connection, _ = server.accept()
            try:
                connection.recv(1)
            except OSError as error:
                failures.append(error.errno)

    net.host("server").run(serve)

    def program() -> None:
        connection = socket.create_connection(("server", 7))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        time.sleep(1)

    net.run(program, on="client")
    assert failures == [errno.ECONNRESET]


def test_keep_alive_finds_a_peer_that_has_gone(net: Network) -> None:
    server = net.host("server")
    server.run(silent)

    def program() -> float:
        with socket.create_connection(("server", 7)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
            server.crash()
            with pytest.raises(TimeoutError, match="Connection timed out"):
                connection.recv(1)
            return time.monotonic()

    assert net.run(program, on="client") == pytest.approx(16, abs=0.1)


@pytest.mark.parametrize(("nodelay", "segments"), [(0, 2), (1, 5)])
def test_small_writes_are_joined_without_nodelay(nodelay: int, segments: int) -> None:
    with Network(path=Faults(delay=50 * MS)) as net:
        net.host("server").run(silent)

        def program() -> None:
            with socket.create_connection(("server", 7)) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
                for _ in range(5):
                    connection.sendall(b"x")
                time.sleep(1)

        net.run(program, on="client")
        sent = net.host("server").stack.counters.frames_in
        assert sent - 2 == segments  # beside SYN and ACK


def test_datagrams_wait_and_time_out(net: Network) -> None:
    def serve() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as server:
            server.bind(("", 53))
            data, place = server.recvfrom(100)
            time.sleep(1)
            server.sendto(data.upper(), place)

    net.host("server").run(serve)

    def program() -> bytes:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.sendto(b"question", ("server", 53))
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(None)
            return client.recv(100)

    assert net.run(program, on="client") == b"QUESTION"


def test_a_full_queue_of_connections_ignores_further_ones(net: Network) -> None:
    def serve() -> None:
        with socket.create_server(("", 7), backlog=1) as server:
            time.sleep(10)
            kept = [server.accept() for _ in range(3)]
            time.sleep(100)
            kept.clear()

    net.host("server").run(serve)

    def program() -> list[float]:
        times, kept = [], []
        for _ in range(3):
            kept.append(socket.create_connection(("server", 7)))
            times.append(time.monotonic())
        for each in kept:
            each.close()
        return times

    _, second, third = net.run(program, on="client")
    assert second < 0.1
    assert 10 < third < 20  # by a repeated SYN


def test_a_small_receive_buffer_holds_the_sender_back(net: Network) -> None:
    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection, _ = server.accept()
            time.sleep(1000)
            connection.close()

    net.host("server").run(serve)

    def program() -> int:
        with socket.create_connection(("server", 7)) as connection:
            time.sleep(1)
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sent = 0
            for _ in range(200):
                try:
                    sent += connection.send(bytes(1000))
                except BlockingIOError:
                    time.sleep(0.1)
            return sent

    assert net.run(program, on="client") < 20_000


@pytest.mark.parametrize(
    ("name", "value"), [("TCP_KEEPIDLE", 0), ("TCP_KEEPINTVL", -1), ("TCP_USER_TIMEOUT", -5)]
)
def test_senseless_values_of_options_are_refused(net: Network, name: str, value: int) -> None:
    def program() -> None:
        with socket.socket() as made, pytest.raises(OSError, match="Invalid argument"):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    net.run(program, on="client")


@pytest.mark.parametrize("blocking", [True, False])
def test_a_program_that_spins_ends_the_run(net: Network, blocking: bool) -> None:
    """Reading the end of a stream, or polling without a pause, lets no time pass."""

    def serve() -> None:
        with socket.create_server(("", 7)) as server:
            connection, _ = server.accept()
            if blocking:
                connection.close()
            time.sleep(1000)

    def program() -> None:
        with socket.create_connection(("server", 7)) as connection:
            connection.setblocking(blocking)
            while True:
                try:
                    connection.recv(100)
                except BlockingIOError:
                    pass

    net.host("server").run(serve)
    with pytest.raises(
        DeadlockError, match=r"client spins at 0\.\d+ s: socket\.recv\(\) has brought nothing, 100,000"
    ):
        net.run(program, on="client")


def test_polling_with_pauses_is_no_spinning(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "IDLE_CALLS", 10)
    net.host("server").run(silent)

    def program() -> None:
        with socket.create_connection(("server", 7)) as connection:
            connection.setblocking(False)
            for _ in range(20):
                for _ in range(8):
                    with contextlib.suppress(BlockingIOError):
                        connection.recv(100)
                time.sleep(0.01)

    net.run(program, on="client")


def test_a_buffer_that_is_full_to_the_last_byte_gets_room_again(net: Network) -> None:
    net.host("server").run(silent)

    def program() -> float:
        with socket.create_connection(("server", 7)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
            net.partition(["client"], ["server"], during=1)
            assert connection.send(bytes(20_000)) == 20_000
            assert select.select([], [connection], [], 0) == ([], [], [])
            assert select.select([], [connection], []) == ([], [connection], [])
            return time.monotonic()

    assert 1 < net.run(program, on="client") < 5


def test_a_pair_holds_its_writer_back(net: Network) -> None:
    def program() -> tuple[int, float]:
        one, other = socket.socketpair()
        received: list[bytes] = []

        def read() -> None:
            time.sleep(2)
            while data := other.recv(100_000):
                received.append(data)

        thread = threading.Thread(target=read)
        thread.start()
        one.sendall(bytes(1_000_000))
        sent = time.monotonic()
        one.close()
        thread.join()
        return sum(map(len, received)), sent

    assert net.run(program, on="client") == (1_000_000, 2)


def test_a_program_that_waits_for_its_clock_to_move_ends_the_run(net: Network) -> None:
    def program() -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pass

    with pytest.raises(
        DeadlockError, match=r"client spins at 0\.0+ s: time\.monotonic\(\) was called, 1,000,000"
    ):
        net.run(program, on="client")
