"""By which address and interface sockets go outward. Nothing is sent but to the loopback."""

from __future__ import annotations

import errno
import re
import socket
import sys
from ipaddress import ip_address

import pytest

from slirpy import Config, ConfigError, Outbound, Slirp
from slirpy.config.outbound import parse_outbound
from slirpy.errortext import strerror
from slirpy.host.outbound import OutboundDatagram, Source
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import IcmpReport
from slirpy.wire.scope import is_loopback
from tests.support.owners import Notes

LOOPBACK, HERE = bytes([127, 0, 0, 1]), bytes([127, 0, 0, 5])
WORLD, NOT_HERE = bytes([198, 51, 100, 7]), bytes([192, 0, 2, 77])
linux = pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is there on Linux only")


# ------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize(
    ("text", "outbound"),
    [
        ("192.0.2.77", Outbound(NOT_HERE)),
        ("eth0", Outbound(interface="eth0")),
        ("192.0.2.77,eth0", Outbound(NOT_HERE, interface="eth0")),
        ("192.0.2.77,2001:db8::1,wlp3s0", Outbound(NOT_HERE, ip_address("2001:db8::1").packed, "wlp3s0")),
    ],
)
def test_text(text: str, outbound: Outbound) -> None:
    assert parse_outbound(text) == outbound
    assert str(outbound) == text
    assert Config(outbound=text).outbound == Config(outbound=outbound).outbound == outbound


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", '""'),
        ("1.2.3", '"1.2.3" is no address and no interface'),
        ("eth0,", '""'),
        ("a b", '"a b"'),
        ("a/b", '"a/b"'),
        ("sixteen-letters-", '"sixteen-letters-"'),
        ("eth0,eth1", '"eth1" is one interface too many'),
        ("192.0.2.1,192.0.2.2", '"192.0.2.2" is one IPv4 address too many'),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("224.0.0.1", "224.0.0.1"),
        ("::1", "nothing goes out from ::1"),
        ("ff02::1", "nothing goes out from ff02::1"),
        ("fe80::1", "nothing goes out from fe80::1"),
        ("::ffff:192.0.2.1", "write 192.0.2.1"),
    ],
)
def test_errors_name_the_malformed_part(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(outbound=text)
    assert str(caught.value).startswith(f'outbound "{text}": ')
    assert part in str(caught.value)


@pytest.mark.parametrize("address", ["fe80::1", "fe80::1%eth0", "ff02::1", "::", "::ffff:192.0.2.1"])
def test_a_source_that_leads_nowhere(address: str) -> None:
    with pytest.raises(ConfigError, match="outbound: .*" + re.escape(address)):
        Outbound(address6=address)


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match="outbound 7 is neither text nor an Outbound"):
        Config(outbound=7)  # type: ignore[arg-type] # the mistake


# ------------------------------------------------------------------------------- at the start


@pytest.mark.needs("real windows", detail="sockets are bound to addresses of other hosts")
def test_an_address_of_another_host_is_an_error_at_the_start() -> None:
    with pytest.raises(
        ConfigError, match=r'outbound "192\.0\.2\.77": 192\.0\.2\.77 is no address of this host'
    ):
        Slirp(Config(outbound="192.0.2.77"))


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="where interfaces can be chosen")
def test_an_interface_that_is_not_there_is_an_error_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r'outbound "nowhere0": no interface "nowhere0"; there are .*lo'):
        Slirp(Config(outbound="nowhere0"))


def test_interfaces_are_refused_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match="cannot be bound to an interface on this system; give its address"):
        Source(Outbound(interface="lo"))


@linux
def test_a_missing_permission_to_bind_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(Source, "to_interface", refuse)
    with pytest.raises(ConfigError, match='bind to interface "lo": operation not permitted; give its address'):
        Source(Outbound(interface="lo"))


# ------------------------------------------------------------------------------- sockets


def test_loopback() -> None:
    assert is_loopback(LOOPBACK)
    assert is_loopback(HERE)
    assert is_loopback(bytes(15) + b"\1")
    assert not is_loopback(WORLD)
    assert not is_loopback(bytes(15) + b"\2")
    assert not is_loopback(b"\x7f" + bytes(15))


@linux
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_is_bound_but_not_to_reach_the_loopback(kind: socket.SocketKind) -> None:
    source = Source(Outbound(HERE, interface="lo"))
    option = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    with socket.socket(type=kind) as sock:
        source.bind(sock, LOOPBACK)
        assert sock.getsockname() == ("0.0.0.0", 0)
        assert sock.getsockopt(*option) == b""
        source.bind(sock, WORLD)
        host, port = sock.getsockname()
        assert host == "127.0.0.5"
        # A stream takes a port when it connects, for that destination.
        assert (port == 0) == (kind is socket.SOCK_STREAM)
        assert sock.getsockopt(*option) == b"lo\0"


@linux
def test_datagrams_to_the_loopback_have_a_socket_of_their_own(poller: SelectorPoller) -> None:
    host = SocketHost(poller, Source(Outbound(HERE)))
    owner = Notes()
    peer = host.open_udp(owner)
    assert isinstance(peer, OutboundDatagram)
    assert peer.address[0] == HERE
    with socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(5)
        assert peer.send(b"question", LOOPBACK, far.getsockname()[1]) == 0
        question, place = far.recvfrom(99)
        assert (question, place[0]) == (b"question", "127.0.0.1")
        assert place[1] != peer.address[1]
        far.sendto(b"answer", place)
        poller.poll(5)
        far.sendto(b"unasked", ("127.0.0.5", peer.address[1]))
        poller.poll(5)
        there = (LOOPBACK, far.getsockname()[1])
        assert owner.received == [(b"answer", there), (b"unasked", there)]
        assert peer.send(b"again", LOOPBACK, there[1]) == 0
        assert far.recvfrom(99)[1] == place
        assert peer.send_many([b"1", b"2"], LOOPBACK, there[1]) == (2, 0)
        assert [far.recvfrom(99) for _ in range(2)] == [(b"1", place), (b"2", place)]
    peer.close()
    peer.close()
    assert peer.send(b"x", LOOPBACK, 9) == peer.send(b"x", WORLD, 9) == errno.EBADF
    assert not len(host.sockets)


@linux
def test_a_closed_one_opens_nothing(poller: SelectorPoller) -> None:
    host = SocketHost(poller, Source(Outbound(HERE)))
    peer = host.open_udp(Notes())
    assert not isinstance(peer, int)
    peer.close()
    assert peer.send(b"x", LOOPBACK, 9) == errno.EBADF
    assert peer.send_many([b"x"], LOOPBACK, 9) == (0, errno.EBADF)
    assert not len(host.sockets)


@linux
def test_a_removed_address_fails_new_flows(poller: SelectorPoller) -> None:
    """Before anything is sent."""
    source = Source(Outbound(HERE))
    source.outbound = Outbound(NOT_HERE)  # as after `ip addr del`
    host = SocketHost(poller, source)
    owner = Notes()
    host.connect_tcp(WORLD, 80, owner)
    assert owner.errors == [errno.EADDRNOTAVAIL]
    assert host.open_udp(owner) == errno.EADDRNOTAVAIL
    assert host.open_ping(Pinger()) in (errno.EADDRNOTAVAIL, errno.EACCES)
    assert not len(host.sockets)


class Pinger:
    """Owner of a ping socket."""

    def echo_reply(self, sequence: int, payload: bytes, address: bytes, ttl: int) -> None:
        raise AssertionError

    def echo_error(self, sequence: int, report: IcmpReport) -> None:
        raise AssertionError


def test_a_python_without_ipv6(poller: SelectorPoller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may open such sockets, but they cannot be bound to an address."""
    monkeypatch.setattr(socket, "has_ipv6", False)
    host, owner = SocketHost(poller), Notes()
    host.connect_tcp(bytes(15) + b"\1", 80, owner)
    assert owner.errors == [errno.EAFNOSUPPORT]
    assert host.open_udp(Notes(), 6) == errno.EAFNOSUPPORT
    assert host.open_ping(Pinger(), 6) in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
    for address in (bytes(16), bytes(15) + b"\1"):
        with pytest.raises(OSError, match=strerror(errno.EAFNOSUPPORT)):
            host.bind_udp(address, 0, Notes())
    assert not len(host.sockets)


@linux
def test_connections_to_the_loopback_have_the_address_on_request() -> None:
    for loopback, expected in ((False, "0.0.0.0"), (True, "127.0.0.5")):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            Source(Outbound(HERE, loopback=loopback)).bind(sock, LOOPBACK)
            assert sock.getsockname()[0] == expected
