"""Names that the host's own resolver library looks up: the service, the simulated host's counterpart, and threads."""

from __future__ import annotations

import errno
import socket
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dnslib import RCODE, DNSRecord

from slirpy.config import Config
from slirpy.host.lookups import LOOKUPS_MAX, THREADS
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import NameAnswer
from slirpy.services.dns import DnsService
from slirpy.testing import SimHost
from tests.support.waiting import until
from tests.unit.services.dns.world import World, answer_to, ask

V4, V6 = bytes((192, 0, 2, 1)), bytes.fromhex("20010db8") + bytes(12)


@pytest.fixture
def world() -> World:
    return World((), dns_mode="system")


def tell(world: World, addresses: tuple[bytes, ...] = (), exists: bool | None = True) -> DNSRecord:
    """The library answers the last lookup; what the guest hears."""
    world.host.lookups[-1][1](NameAnswer(addresses, exists))
    return world.heard()


# ---------------------------------------------------------------------------------------- the service


def test_addresses_from_the_library_are_answered_and_cached(world: World) -> None:
    world.say(ask("Name.test").pack())
    assert [name for name, _ in world.host.lookups] == ["name.test"]
    heard = tell(world, (V4, V6, V4, bytes((192, 0, 2, 2))))
    assert [(str(item.rname), str(item.rdata), item.ttl) for item in heard.rr] == [
        ("Name.test.", "192.0.2.1", 30), ("Name.test.", "192.0.2.2", 30),
    ]  # fmt: skip
    assert len(world.talk(ask("name.test")).rr) == 2
    world.say(ask("name.test", qtype="AAAA").pack())
    assert [str(item.rdata) for item in tell(world, (V4, V6)).rr] == ["2001:db8::"]
    assert len(world.host.lookups) == 2
    assert world.network.pending == 0
    assert world.host.udp == []
    counted = {"dns_queries": 3, "dns_answers": 2, "dns_cache_hits": 1, "dns_system_lookups": 2}
    assert world.stats.nonzero() == counted


@pytest.mark.parametrize(
    ("exists", "code"), [(True, RCODE.NOERROR), (False, RCODE.NXDOMAIN), (None, RCODE.SERVFAIL)]
)
def test_names_that_the_library_does_not_find(world: World, exists: bool | None, code: int) -> None:
    world.say(ask().pack())
    heard = tell(world, (), exists)
    assert (heard.header.rcode, heard.rr) == (code, [])
    world.say(ask().pack())
    assert len(world.host.lookups) == 2  # nobody says for how long that holds


@pytest.mark.parametrize("name", ["1.2.3.4", "127.1", "2130706433", "0x7f000001", "a.0X1f", "a b", "ä.test"])
def test_an_invalid_host_name_is_not_looked_up(world: World, name: str) -> None:
    message = bytearray(ask("x").pack()[:12])
    for label in name.encode().split(b"."):
        message += bytes((len(label),)) + label
    assert world.talk(bytes(message) + b"\0\0\1\0\1").header.rcode == RCODE.NXDOMAIN
    assert world.host.lookups == []


def test_other_types_go_to_a_server_if_there_is_one(world: World) -> None:
    assert world.talk(ask(qtype="MX")).header.rcode == RCODE.NOTIMP
    other = World(dns_mode="system")
    other.say(ask(qtype="MX").pack())
    other.say(ask().pack())
    assert len(other.host.udp) == len(other.host.lookups) == 1


def test_lookups_are_bounded_in_number_and_time(world: World) -> None:
    world.say(ask().pack())
    world.network.run(9.9)
    assert world.network.take() == []
    world.network.run(0.1)
    assert world.heard().header.rcode == RCODE.SERVFAIL
    world.host.lookups[-1][1](NameAnswer((V4,), True))  # too late
    world.network.run()
    assert world.network.take() == []
    world.host.lookups_refused = True
    assert world.talk(ask()).header.rcode == RCODE.SERVFAIL
    assert world.stats.drop_dns_limit == 1


def test_guests_that_ask_the_same_share_a_lookup(world: World) -> None:
    world.say(ask(identifier=1).pack())
    world.say(ask(identifier=2).pack())
    assert len(world.host.lookups) == 1
    world.host.lookups[0][1](NameAnswer((V4,), True))
    assert len(world.network.take()) == 2


def test_closing_forgets_the_lookup(world: World) -> None:
    world.say(ask().pack())
    world.service.close()
    world.host.lookups[0][1](NameAnswer((V4,), True))
    assert world.network.take() == []
    assert world.network.pending == 0


@pytest.mark.parametrize(
    ("mode", "text", "resolvers", "looked_up"),
    [
        ("auto", "", None, True),
        ("auto", "nameserver 127.0.0.53", None, False),
        ("auto", "", (), False),
        ("forward", "", None, False),
        ("system", "nameserver 127.0.0.53", None, True),
        ("system", "", ("127.0.0.53",), True),
    ],
)
def test_the_choice_between_the_library_and_resolvers(
    tmp_path: Path, mode: str, text: str, resolvers: tuple[str, ...] | None, looked_up: bool
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    world = World()
    config = Config(dns_mode=mode, resolvers=resolvers)
    world.service = DnsService(config, world.network, world.host, resolv_conf=str(path))
    world.say(ask().pack())
    assert bool(world.host.lookups) == looked_up
    if not looked_up and resolvers is None:
        assert world.socket.sent[-1][1:] == (bytes((127, 0, 0, 53 if text else 1)), 53)
    elif not looked_up:
        assert world.heard().header.rcode == RCODE.SERVFAIL


@pytest.mark.parametrize("text", [None, "", "# nameserver 127.0.0.53\n", "nameserver nonsense\n"])
def test_without_a_nameserver_other_types_go_to_the_loopback(tmp_path: Path, text: str | None) -> None:
    """Like the C library. If the loopback does not answer either, the query fails."""
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    world = World()
    world.service = DnsService(Config(), world.network, world.host, resolv_conf=str(path))
    world.say(ask(qtype="TXT").pack())
    assert world.socket.sent[-1][1:] == (bytes((127, 0, 0, 1)), 53)
    assert world.relay(answer_to(world.upstream())).header.rcode == RCODE.NOERROR
    world.say(ask(qtype="MX").pack())
    world.socket.owner.datagram_error(errno.ECONNREFUSED)
    assert world.heard().header.rcode == RCODE.NOTIMP
    world.say(ask().pack())
    assert len(world.host.lookups) == 1
    path.write_text("nameserver 127.0.0.54\n")  # it comes later
    world.network.run(1)
    world.say(ask("later.test", qtype="MX").pack())
    assert world.socket.sent[-1][1:] == (bytes((127, 0, 0, 54)), 53)


# ---------------------------------------------------------------------------------- the simulated host


def test_the_simulated_library_is_repeatable() -> None:
    host = SimHost(Random(1), latency_ns=5)
    host.add_name("a.TEST", V4)
    host.fail_name("Bad.test")
    host.add_name("empty.test")
    found: list[tuple[int, NameAnswer]] = []
    for name in ("A.test", "bad.test", "empty.test", "no.test"):
        assert host.lookup(name, lambda answer: found.append((host.now, answer)))
    assert found == []
    host.advance(10)
    expected = [NameAnswer((V4,), True), NameAnswer((), None), NameAnswer((), True), NameAnswer((), False)]
    assert found == [(10, answer) for answer in expected]
    assert [call.detail for call in host.calls] == [b"A.test", b"bad.test", b"empty.test", b"no.test"]


# ---------------------------------------------------------------------------------------- the threads


class Library:
    """In place of ``socket.getaddrinfo``, so that no name is ever looked up for real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[Any] = []
        self.result: Any = [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))]
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, **more: Any) -> Any:
        self.asked.append(host)
        assert self.gate.wait(20)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


class Real:
    """A host network of sockets, and its poller."""

    def __init__(self) -> None:
        self.poller = SelectorPoller()
        self.host = SocketHost(self.poller)
        self.found: list[NameAnswer] = []
        self.threads: set[int] = set()

    def done(self, answer: NameAnswer) -> None:
        self.threads.add(threading.get_ident())
        self.found.append(answer)

    def wait(self, count: int) -> None:
        until(lambda: len(self.found) >= count, lambda: self.poller.poll(1.0), "answers")

    def close(self) -> None:
        self.host.close()
        self.poller.close()


@pytest.fixture
def real() -> Any:
    real = Real()
    yield real
    real.close()


def test_a_lookup_runs_in_a_thread_and_reports_to_the_driving_one(real: Real, library: Library) -> None:
    library.result = [
        (socket.AF_INET6, 1, 6, "", ("2001:db8::%1", 0, 0, 0)),
        (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0)),
        (socket.AF_UNIX, 1, 6, "", "odd"),
        (socket.AF_INET6, 1, 6, "", (10, b"not built with IPv6")),
    ]
    assert real.host.lookup("name.test", real.done)
    assert real.found == []
    real.wait(1)
    assert real.found == [NameAnswer((V6, V4), True)]
    assert real.threads == {threading.get_ident()}
    assert library.asked == [b"name.test"]


@pytest.mark.parametrize(
    ("error", "exists"),
    [
        (socket.gaierror(socket.EAI_NONAME, "none"), False),
        (socket.gaierror(socket.EAI_AGAIN, "again"), None),
        (OSError("odd"), None),
        (UnicodeError("odd"), None),
    ],
)
def test_complaints_of_the_library_are_understood(
    real: Real, library: Library, error: Exception, exists: bool | None
) -> None:
    library.result = error
    real.host.lookup("name.test", real.done)
    real.wait(1)
    assert real.found == [NameAnswer((), exists)]


@pytest.mark.skipif(not hasattr(socket, "EAI_NODATA"), reason="this system does not tell")
def test_a_name_without_an_address_exists(real: Real, library: Library) -> None:
    library.result = socket.gaierror(socket.EAI_NODATA, "no data")
    real.host.lookup("name.test", real.done)
    real.wait(1)
    assert real.found == [NameAnswer((), True)]


def test_threads_and_lookups_are_bounded(real: Real, library: Library) -> None:
    library.gate.clear()
    before = set(threading.enumerate())
    taken = [real.host.lookup(f"n{number}.test", real.done) for number in range(LOOKUPS_MAX + 5)]
    assert taken == [True] * LOOKUPS_MAX + [False] * 5
    assert len(set(threading.enumerate()) - before) == THREADS
    library.gate.set()
    real.wait(LOOKUPS_MAX)
    assert real.host.lookup("more.test", real.done)
    real.wait(LOOKUPS_MAX + 1)


def test_a_lookup_without_threads_is_refused(
    real: Real, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not real.host.lookup("name.test", real.done)
    assert real.host.lookup("name.test", real.done)
    real.wait(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        library.gate.clear()
        # One thread does it all.
        assert [real.host.lookup("name.test", real.done) for _ in range(3)] == [True] * 3
    library.gate.set()
    real.wait(4)


def test_closing_while_a_lookup_hangs(library: Library) -> None:
    real = Real()
    library.gate.clear()
    workers = set(threading.enumerate())
    assert real.host.lookup("name.test", real.done)
    (worker,) = set(threading.enumerate()) - workers
    real.host.close()
    real.host.close()
    assert not real.host.lookup("other.test", real.done)
    library.gate.set()
    worker.join(20)
    assert not worker.is_alive()
    real.poller.poll(0)
    real.poller.close()
    assert real.found == []


def test_without_lookups_there_are_no_threads_and_no_sockets(library: Library) -> None:
    before = set(threading.enumerate())
    real = Real()
    assert not set(threading.enumerate()) - before
    assert real.poller.poll(0) == 0
    real.close()
    assert library.asked == []
