"""The simulated host with both IP families: names, hosts without a route, paths, echo, and who reports what."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

import pytest

from slirpy.errors import ConfigError
from slirpy.interfaces import IcmpReport, NameAnswer
from slirpy.testing import Echo, SimHost

MS = 1_000_000
FAR = {4: "192.0.2.7", 6: "2001:db8::7"}
ROUTERS = {4: ["198.51.100.1", "198.51.100.2"], 6: ["2001:db8:1::1", "2001:db8:1::2"]}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
HEADERS = {4: 28, 6: 48}
both = pytest.mark.parametrize("family", [4, 6])


def packed(address: str) -> bytes:
    return ip_address(address).packed


class Notes:
    """Owner of streams, sockets and ping sockets."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: list[int] = []
        self.reports: list[IcmpReport | None] = []
        self.received: list[bytes] = []

    def connected(self) -> None:
        self.calls.append("connected")

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def failed(self, error: int) -> None:
        self.errors.append(error)

    def reported(self, report: IcmpReport) -> None:
        self.reports.append(report)

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self.received.append(payload)

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        self.errors.append(error)
        self.reports.append(report)

    def echo_reply(self, sequence: int, payload: bytes, address: bytes, ttl: int) -> None:
        self.received.append(payload)

    def echo_error(self, sequence: int, report: IcmpReport) -> None:
        self.reports.append(report)


@pytest.fixture
def sim() -> SimHost:
    return SimHost(random.Random(1), latency_ns=10 * MS)


def run(sim: SimHost) -> None:
    """Let everything happen that is going to."""
    while (deadline := sim.deadline()) is not None:
        sim.advance(max(deadline, sim.now))


@both
def test_a_server_at_a_text_address(sim: SimHost, family: int) -> None:
    server = sim.serve_tcp(FAR[family], 80, Echo)
    sim.serve_udp(FAR[family], 53, lambda payload, address, port: payload)
    notes = Notes()
    sim.connect_tcp(packed(FAR[family]), 80, notes)
    socket = sim.open_udp(notes, family)
    assert not isinstance(socket, int)
    assert socket.send(b"question", packed(FAR[family]), 53) == 0
    run(sim)
    assert (notes.calls, notes.received, len(server.connections)) == (["connected"], [b"question"], 1)


@both
@pytest.mark.parametrize("lacking", [4, 6])
def test_a_host_without_a_family(sim: SimHost, family: int, lacking: int) -> None:
    """Calls of the missing family fail at once; the loopback still works."""
    setattr(sim, f"ipv{lacking}", False)
    error = errno.ENETUNREACH if family == lacking else 0
    sim.answer_ping()
    for address, expected in ((FAR[family], error), (LOOPBACK[family], 0)):
        sim.serve_tcp(address, 80)
        sim.serve_udp(address, 53)
        notes = Notes()
        sim.connect_tcp(packed(address), 80, notes)
        assert notes.errors == [expected][: bool(expected)]
        socket, ping = sim.open_udp(notes, family), sim.open_ping(notes, family)
        assert not isinstance(socket, int)
        assert not isinstance(ping, int)
        assert socket.send(b"x", packed(address), 53) == expected
        assert ping.send(1, b"x", packed(address)) == expected
        run(sim)
        assert notes.calls == ["connected"][expected:]
        assert len(notes.received) == (not expected)


@both
def test_ping_sockets_are_of_one_family(sim: SimHost, family: int) -> None:
    sim.answer_ping(FAR[family])
    notes = Notes()
    ping = sim.open_ping(notes, family)
    assert not isinstance(ping, int)
    assert ping.send(1, b"x", packed(FAR[10 - family])) == errno.EAFNOSUPPORT
    assert ping.send(1, b"hello", packed(FAR[family])) == 0
    run(sim)
    assert notes.received == [b"hello"]


@both
def test_routers_report_in_the_words_of_the_family(sim: SimHost, family: int) -> None:
    sim.path(FAR[family], ROUTERS[family], mtu=1400)
    sim.answer_ping()
    notes = Notes()
    far = packed(FAR[family])
    socket, ping = sim.open_udp(notes, family), sim.open_ping(notes, family)
    assert not isinstance(socket, int)
    assert not isinstance(ping, int)
    fits = bytes(1400 - HEADERS[family])
    assert socket.send(fits + b"x", far, 53, 64, True) == 0
    assert ping.send(1, fits + b"x", far, 64, True) == 0
    assert ping.send(2, fits, far, 64, True) == 0
    assert ping.send(3, b"x", far, 2) == 0
    sim.connect_tcp(far, 80, notes, ttl=1)
    run(sim)
    first, second = (packed(each) for each in ROUTERS[family])
    found = [(report.kind, report.code, report.info, report.reporter) for report in notes.reports if report]
    assert sorted(found) == sorted(
        [
            (*TOO_BIG[family], 1400, second),
            (*TOO_BIG[family], 1400, second),
            (*TIME_EXCEEDED[family], 0, second),
            (*TIME_EXCEEDED[family], 0, first),
        ]
    )
    assert notes.received == [fits]
    assert errno.EMSGSIZE in notes.errors


@both
def test_the_hosts_own_link_refuses_at_once(sim: SimHost, family: int) -> None:
    sim.path(FAR[family], (), mtu=1300)
    socket = sim.open_udp(Notes(), family)
    assert not isinstance(socket, int)
    far = packed(FAR[family])
    assert socket.send(bytes(1301 - HEADERS[family]), far, 53, 64, True) == errno.EMSGSIZE
    assert socket.mtu == 1300
    assert socket.send(bytes(1300 - HEADERS[family]), far, 53) == 0
    assert socket.send(bytes(1301 - HEADERS[family]), far, 53, 64, False) == 0  # in fragments


@both
@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (errno.ENETUNREACH, {4: (3, 0), 6: (1, 0)}),
        (errno.EHOSTUNREACH, {4: (3, 1), 6: (1, 3)}),
        (errno.EACCES, {4: (3, 13), 6: (1, 1)}),
    ],
)
def test_unreachable_destinations_are_reported(
    sim: SimHost, family: int, error: int, codes: dict[int, tuple[int, int]]
) -> None:
    sim.unreachable(FAR[family], error=error)
    notes = Notes()
    socket = sim.open_udp(notes, family)
    assert not isinstance(socket, int)
    assert socket.send(b"x", packed(FAR[family]), 53) == 0
    assert socket.send(b"x", packed(LOOPBACK[family]), 53) == 0  # nobody listens there
    run(sim)
    kinds = [(report.kind, report.code) for report in notes.reports if report is not None]
    assert sorted(kinds) == sorted([codes[family], {4: (3, 3), 6: (1, 4)}[family]])
    assert sorted(notes.errors) == sorted([error, errno.ECONNREFUSED])


def test_a_path_for_all_is_of_its_routers_family(sim: SimHost) -> None:
    sim.path(None, ROUTERS[6])
    sim.answer_ping()
    notes = Notes()
    four, six = sim.open_ping(notes, 4), sim.open_ping(notes, 6)
    assert not isinstance(four, int)
    assert not isinstance(six, int)
    assert four.send(1, b"four", packed(FAR[4]), 1) == 0
    assert six.send(1, b"six", packed(FAR[6]), 1) == 0
    run(sim)
    assert notes.received == [b"four"]
    assert [report.reporter for report in notes.reports if report] == [packed(ROUTERS[6][0])]


@pytest.mark.parametrize(
    ("address", "hops", "mtu", "text"),
    [
        (FAR[6], ROUTERS[4], 1500, "one family"),
        (None, [ROUTERS[4][0], ROUTERS[6][0]], 1500, "one family"),
        (FAR[6], [], 1279, "mtu 1279"),
        (None, ROUTERS[6], 1000, "mtu 1000"),
    ],
)
def test_paths_that_cannot_be(
    sim: SimHost, address: str | None, hops: Sequence[str], mtu: int, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        sim.path(address, hops, mtu)


def test_names_have_addresses_of_both_families(sim: SimHost) -> None:
    sim.add_name("a.test", "192.0.2.7", IPv6Address("2001:db8::7"), packed("2001:db8::8"))
    answers: list[NameAnswer] = []
    assert sim.lookup("A.test", answers.append)
    run(sim)
    expected = tuple(map(packed, ("192.0.2.7", "2001:db8::7", "2001:db8::8")))
    assert answers == [NameAnswer(expected, True)]


def test_listeners_at_the_loopback_of_one_family(sim: SimHost) -> None:
    """[::] and 0.0.0.0 are apart (IPV6_V6ONLY)."""
    notes = Notes()
    six = sim.listen_tcp(bytes(16), 8080, lambda accepted: notes)
    sim.listen_tcp(bytes(4), 8080, lambda accepted: notes)
    with pytest.raises(OSError, match="in use"):
        sim.listen_tcp(packed("::1"), 8080, lambda accepted: notes)
    remote = sim.connect("::1", 8080)
    run(sim)
    assert remote.error is None
    six.close()
    gone, there = sim.connect("::1", 8080), sim.connect("127.0.0.1", 8080)
    run(sim)
    assert (gone.error, there.error) == (errno.ECONNREFUSED, None)
