"""Sockets for packets: a refusal may be about an earlier packet, and more of them may come while one tries again."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from slirpy.fair import PAUSE
from slirpy.host import socketdatagram as module
from slirpy.host.opensockets import OpenSockets
from slirpy.interfaces import IcmpReport

FAR = bytes((192, 0, 2, 7))
REPORT = IcmpReport(errno.EHOSTUNREACH, 11, 0, 0, FAR, FAR, 9, b"", 60)
Queued = tuple[int, IcmpReport | None, int]


class Poller:
    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Do nothing: no descriptor becomes ready."""

    modify = register

    def unregister(self, fd: int) -> None:
        """Do nothing."""

    again = unregister


class Script:
    """A socket whose sends have outcomes; with each refusal come reports into its error queue."""

    family = socket.AF_INET

    def __init__(self, *outcomes: tuple[int, list[Queued]]) -> None:
        self.outcomes = list(outcomes)
        self.queue: list[Queued] = []
        self.sends = 0

    def getsockname(self) -> tuple[str, int]:
        return "0.0.0.0", 5000

    def fileno(self) -> int:
        return 99

    def sendto(self, payload: bytes, name: tuple[str, int]) -> int:
        self.sends += 1
        error, queued = self.outcomes.pop(0)
        self.queue += queued
        if error:
            raise OSError(error, "scripted")  # which Python makes a BlockingIOError of EAGAIN
        return len(payload)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class Owner:
    def __init__(self) -> None:
        self.told: list[tuple[int, IcmpReport | None]] = []
        self.close: Callable[[], None] | None = None

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        raise AssertionError

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        self.told.append((error, report))
        if self.close is not None:
            self.close()


@pytest.fixture(autouse=True)
def scripted_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(sock: Script) -> Iterator[Queued]:
        queued, sock.queue = sock.queue, []
        yield from queued

    monkeypatch.setattr(module, "queued_errors", take)


def peer(*outcomes: tuple[int, list[Queued]]) -> tuple[Any, Script, Owner]:
    script, owner = Script(*outcomes), Owner()
    sockets = OpenSockets(cast("Any", Poller()))
    return module.SocketDatagram(sockets, cast("socket.socket", script), owner), script, owner


REPORTED: tuple[int, list[Queued]] = (errno.EHOSTUNREACH, [(errno.EHOSTUNREACH, REPORT, 0)])


@pytest.mark.parametrize("others", [1, 2, 7])
def test_errors_about_others_do_not_stop_a_packet(others: int) -> None:
    sock, script, owner = peer(*[REPORTED] * others, (0, []))
    assert sock.send(b"x", FAR, 9) == 0
    assert script.sends == others + 1
    assert owner.told == [(errno.EHOSTUNREACH, REPORT)] * others


def test_without_end_they_do() -> None:
    sock, script, _ = peer(*[REPORTED] * 100)
    assert sock.send(b"x", FAR, 9) == errno.EHOSTUNREACH
    assert script.sends <= 10


def test_a_refusal_of_its_own_is_found_out_by_the_second_attempt() -> None:
    sock, script, owner = peer((errno.ENETUNREACH, []), (errno.ENETUNREACH, []))
    assert sock.send(b"x", FAR, 9) == errno.ENETUNREACH
    assert (script.sends, owner.told) == (2, [])


def test_a_refusal_whose_report_was_taken_before() -> None:
    sock, script, owner = peer((errno.ECONNREFUSED, []), (0, []))
    assert sock.send(b"x", FAR, 9) == 0
    assert (script.sends, owner.told) == (2, [])


def test_too_long_for_the_link_of_the_host_is_reported_once() -> None:
    sock, script, owner = peer((errno.EMSGSIZE, [(errno.EMSGSIZE, None, 1280)]))
    assert sock.send(bytes(1400), FAR, 9) == errno.EMSGSIZE
    assert (sock.mtu, script.sends, owner.told) == (1280, 1, [])


def test_a_queued_error_about_an_earlier_datagram_causes_a_retry() -> None:
    told = REPORT._replace(error=errno.EMSGSIZE, kind=3, code=4, info=1400)
    sock, script, owner = peer((errno.EMSGSIZE, [(errno.EMSGSIZE, told, 0)]), (0, []))
    assert sock.send(b"short", FAR, 9) == 0
    assert (script.sends, owner.told) == (2, [(errno.EMSGSIZE, told)])


def test_room_that_is_gone_meanwhile() -> None:
    sock, _, _ = peer(REPORTED, (errno.EAGAIN, []))
    assert sock.send(b"x", FAR, 9) == errno.EAGAIN


def test_an_owner_that_closes_on_an_error() -> None:
    sock, script, owner = peer(REPORTED)
    owner.close = sock.close
    assert sock.send(b"x", FAR, 9) == errno.EBADF
    assert script.sends == 1


class Arrivals(Script):
    """A socket with packets that have arrived; counts how often it is asked for one."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.asked = 0

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        self.asked += 1
        if not self.packets:
            raise BlockingIOError
        return self.packets.pop(0), ("192.0.2.7", 9)


class Taker(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self.taken.append(payload)


def test_after_one_packet_and_a_pause_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    monkeypatch.setattr(module, "monotonic_ns", lambda: now)
    script, owner = Arrivals(), Taker()
    sock = module.SocketDatagram(OpenSockets(cast("Any", Poller())), cast("socket.socket", script), owner)

    def asked(*packets: bytes) -> int:
        """Let packets arrive, and return how often the socket is asked."""
        script.packets += packets
        script.asked = 0
        sock._ready(1)
        return script.asked

    assert asked(b"1") == 2
    now += PAUSE + 1
    assert asked(b"2") == 1
    now += PAUSE
    assert asked(b"3") == 2  # no pause
    now += PAUSE + 1
    assert asked(b"4", b"5", b"6") == 1
    now += 1
    assert asked() == 3  # reported again at once: the rest comes together
    now += PAUSE + 1
    assert asked(b"7") == 2  # after two
    assert owner.taken == [b"%d" % number for number in range(1, 8)]
