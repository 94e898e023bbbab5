"""TLS sockets of blocking programs."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.network import Network
from slirpy.units import MS
from tests.support.certificate import client_context, server_context


def serving(handle: Callable[[ssl.SSLSocket], None]) -> Callable[[], None]:
    """Return a program that accepts TLS connections."""

    def serve() -> None:
        with (
            socket.create_server(("", 443)) as plain,
            server_context().wrap_socket(plain, server_side=True) as server,
        ):
            while True:
                connection, _ = server.accept()
                with connection:
                    handle(connection)

    return serve


def connect() -> ssl.SSLSocket:
    return client_context().wrap_socket(socket.create_connection(("server", 443)), server_hostname="server")


def echo(connection: ssl.SSLSocket) -> None:
    while data := connection.recv(4096):
        connection.sendall(data)


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_data_goes_both_ways(loss: float) -> None:
    data = bytes(range(256)) * 400
    with Network(3, path=Faults(loss=loss, delay=20 * MS)) as net:
        net.host("server").run(serving(echo))

        def program() -> bytes:
            with connect() as connection:
                assert isinstance(connection, ssl.SSLSocket)
                assert connection.version() == "TLSv1.3"
                assert connection.getpeercert()
                got = b""
                for at in range(0, len(data), 10_000):
                    connection.sendall(data[at : at + 10_000])
                    while len(got) < min(at + 10_000, len(data)):
                        got += connection.recv(1 << 16)
                return got

        assert net.run(program, on="client") == data


def test_select_and_pending_report_all_arrived_data(net: Network) -> None:
    """Only one record is taken from the socket at a time, so that ``select`` reports the next one."""

    def send(connection: ssl.SSLSocket) -> None:
        for number in range(5):
            connection.sendall(b"%d" % number * 10)
        connection.recv(1)  # so that there is no end of the stream to report

    net.host("server").run(serving(send))

    def program() -> bytes:
        got = b""
        with connect() as connection:
            time.sleep(1)
            while len(got) < 50:
                assert connection.pending() or select.select([connection], [], [], 1)[0]
                got += connection.recv(7)
        return got

    assert net.run(program, on="client") == b"".join(b"%d" % n * 10 for n in range(5))


def test_a_non_blocking_handshake(net: Network) -> None:
    net.host("server").run(serving(echo))

    def program() -> bytes:
        plain = socket.create_connection(("server", 443))
        plain.setblocking(False)
        with client_context().wrap_socket(
            plain, server_hostname="server", do_handshake_on_connect=False
        ) as connection:
            while True:
                try:
                    connection.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    select.select([connection], [], [])
            connection.send(b"hello")
            with pytest.raises(ssl.SSLWantReadError):
                connection.recv(10)
            while True:
                select.select([connection], [], [])
                try:
                    return connection.recv(10)
                except ssl.SSLWantReadError:
                    pass

    assert net.run(program, on="client") == b"hello"


def test_a_certificate_that_is_not_trusted_fails_on_both_sides(net: Network) -> None:
    failures: list[str] = []

    def serve() -> None:
        with socket.create_server(("", 443)) as plain:
            connection, _ = plain.accept()
            try:
                server_context().wrap_socket(connection, server_side=True)
            except ssl.SSLError as error:
                failures.append(error.reason)

    net.host("server").run(serve)

    def program() -> None:
        with socket.create_connection(("server", 443)) as plain, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(plain, server_hostname="server")
        time.sleep(1)

    net.run(program, on="client")
    assert failures == ["TLSV1_ALERT_UNKNOWN_CA"]


def test_an_end_without_goodbye_is_an_end_or_an_error(net: Network) -> None:
    def end(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"bye")
        connection.close()

    net.host("server").run(serving(end))

    def program(strict: bool) -> bytes:
        plain = socket.create_connection(("server", 443))
        with client_context().wrap_socket(
            plain, server_hostname="server", suppress_ragged_eofs=not strict
        ) as connection:
            assert connection.recv(3) == b"bye"
            return connection.recv(3)

    assert net.run(lambda: program(False), on="client") == b""
    with pytest.raises(ssl.SSLEOFError):
        net.run(lambda: program(True), on="client")


def test_a_handshake_times_out(net: Network) -> None:
    def serve() -> None:
        with socket.create_server(("", 443)) as plain:
            plain.accept()[0].recv(1 << 16, socket.MSG_WAITALL)

    net.host("server").run(serve)

    def program() -> float:
        plain = socket.create_connection(("server", 443), timeout=4)
        with pytest.raises(TimeoutError):
            client_context().wrap_socket(plain, server_hostname="server")
        return time.monotonic()

    assert net.run(program, on="client") == pytest.approx(4, abs=0.1)


def test_unwrapping_leaves_the_plain_connection(net: Network) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        plain = connection.unwrap()
        plain.sendall(b"plain")
        plain.recv(1)

    net.host("server").run(serving(serve))

    def program() -> bytes:
        plain = connect().unwrap()
        with plain:
            return plain.recv(10)

    assert net.run(program, on="client") == b"plain"
