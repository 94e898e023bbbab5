"""Urgent data between a guest and a socket of the host, as what they are, both ways."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from slirpy import Slirp
from slirpy.testing import GuestStream
from tests.support.guest_sockets import SECONDS, Far, until


@pytest.fixture
def ends(
    net: Slirp, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Far, GuestStream, socket.socket]]:
    path = str(tmp_path_factory.mktemp("urgent") / "net")
    net.serve(f"unix:{path}")
    far = Far(net, path, 1)
    far.guest.configure("10.0.2.15", 24, "10.0.2.2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = far.guest.connect("10.0.2.2", server.getsockname()[1])
        until(net, [far], lambda: stream.established, "a connection")
        server.settimeout(SECONDS)
        host, _ = server.accept()
        with host:
            host.settimeout(SECONDS)
            yield far, stream, host
    far.pull()


pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


def wait_for(net: Slirp, far: Far, host: socket.socket, count: int) -> bytes:
    """Wait for ``count`` bytes of the stream, without the urgent one."""
    got = b""

    def all_here() -> bool:
        nonlocal got
        host.setblocking(False)
        try:
            got += host.recv(count - len(got))
        except BlockingIOError:
            pass
        return len(got) == count

    until(net, [far], all_here, f"{count} bytes")
    return got


@pytest.mark.rfc("9293", "MUST-30")
def test_a_guests_urgent_byte_is_one_of_the_hosts(
    net: Slirp, ends: tuple[Far, GuestStream, socket.socket]
) -> None:
    far, stream, host = ends
    stream.write(b"before ")
    stream.conn.write_urgent(b"ab!")
    stream.write(b" after")
    assert wait_for(net, far, host, 9) == b"before ab"
    until(net, [far], lambda: net.stats.tcp_urgent_in, "the pointer")
    assert host.recv(1, socket.MSG_OOB) == b"!"
    assert wait_for(net, far, host, 6) == b" after"


def test_an_urgent_byte_alone(net: Slirp, ends: tuple[Far, GuestStream, socket.socket]) -> None:
    far, stream, host = ends
    stream.conn.write_urgent(b"!")
    stream.resume()
    until(net, [far], lambda: net.stats.tcp_urgent_in and not stream.conn.flight, "the pointer")
    host.setblocking(False)  # or it would wait for what is not urgent
    assert host.recv(1, socket.MSG_OOB) == b"!"


@pytest.mark.skipif(sys.platform != "linux", reason="only epoll tells of urgent data")
@pytest.mark.rfc("9293", "MUST-30")
def test_the_hosts_urgent_byte_is_one_of_the_guests(
    net: Slirp, ends: tuple[Far, GuestStream, socket.socket]
) -> None:
    far, stream, host = ends
    stream.paused = True
    host.sendall(b"before ")
    host.send(b"cd!", socket.MSG_OOB)
    host.sendall(b" after")
    until(net, [far], lambda: stream.conn.rcv_pending == 16, "all of it")
    assert stream.conn.urgent_ahead == len("before cd!")
    assert stream.conn.stats.tcp_urgent_in == 1
    stream.resume()
    assert stream.read() == b"before cd! after"
    host.send(b"?", socket.MSG_OOB)
    until(net, [far], lambda: stream.count == 17, "one more")
    assert stream.conn.stats.tcp_urgent_in == 2
    host.sendall(bytes(100_000))
    until(net, [far], lambda: stream.count == 100_017, "what follows")
    assert stream.conn.stats.tcp_urgent_in == 2
