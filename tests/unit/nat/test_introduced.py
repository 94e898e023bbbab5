"""Streams that begin with the words of a proxy, without a network."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, cast

import pytest

from slirpy.core.network import Network
from slirpy.interfaces import Buffer, HostNetwork, StreamOwner
from slirpy.nat.introduced import IntroducedStream
from slirpy.nat.upstream import Header, HttpConnect, Prologue
from tests.support.owners import PeerNotes, StreamNotes

FIRST, SECOND = (b"\1\1\1\1", 1), (b"\2\2\2\2", 2)
YES = b"HTTP/1.1 200 OK\r\n\r\n"


class UrgentNotes(StreamNotes):
    def urgent(self, data: bytes) -> None:
        self.calls.append(f"urgent {data.decode()}")


class Peer(PeerNotes):
    """The host's stream. ``room`` is the number of bytes that it takes; None: any."""

    level_triggered = True

    def __init__(self) -> None:
        super().__init__()
        self.room: int | None = None
        self.taken = b""
        self.said: list[bytes] = []

    def send(self, buffers: Sequence[Buffer]) -> int:
        data = b"".join(buffers)[: self.room]
        if self.room is not None:
            self.room -= len(data)
        self.taken += data
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        return self.said.pop(0) if self.said else None


class UrgentPeer(Peer):
    def send_urgent(self, data: bytes) -> int:
        self.calls.append(f"urgent {data.decode()}")
        return len(data)


class Host:
    """A host whose connections are made by the test."""

    def __init__(self, peer: type[Peer] = Peer) -> None:
        self.kind = peer
        self.asked: list[tuple[bytes, int, int]] = []
        self.fail_within: set[bytes] = set()
        self.peer = peer()

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> Peer:
        self.asked.append((address, port, ttl))
        self.peer = peer = self.kind()
        if address in self.fail_within:
            owner.failed(errno.ENETUNREACH)
        return peer


class Dirty:
    """The part of a :class:`Network` that a stream uses."""

    def __init__(self) -> None:
        self.dirty: list[Any] = []

    def flush(self) -> int:
        """Serve what asked for it, as the stack does; returns how many did."""
        dirty, self.dirty = self.dirty, []
        for each in dirty:
            each.dirty = False
            each.service(0)
        return len(dirty)


class Bench:
    """A stream with its surroundings."""

    def __init__(self, prologue: Prologue | None = None, peer: type[Peer] = Peer) -> None:
        self.network, self.host, self.owner = Dirty(), Host(peer), UrgentNotes()
        self.refused: list[str] = []
        self.stream = IntroducedStream(
            cast("Network", self.network),
            cast("HostNetwork", self.host),
            self.owner,
            prologue or HttpConnect("example.org", 80, None),
            self.refused.append,
        )

    def settle(self) -> None:
        """Connect, and let the proxy agree."""
        self.stream.open([FIRST])
        self.stream.connected()
        self.network.flush()
        self.host.peer.said.append(YES)
        self.stream.readable()
        self.network.flush()
        assert self.owner.calls == ["connected", "readable"]
        self.owner.calls.clear()
        self.host.peer.taken = b""


def test_the_owner_is_connected_behind_the_prologue() -> None:
    bench = Bench()
    bench.stream.open([FIRST, SECOND], ttl=7)
    assert bench.host.asked == [(*FIRST, 7)]
    bench.stream.connected()
    bench.stream.readable()
    bench.stream.writable()
    assert bench.network.flush() == 1  # asked for once
    assert bench.host.peer.taken.startswith(b"CONNECT example.org:80 ")
    assert bench.owner.calls == []
    assert (bench.stream.send([b"early"]), bench.stream.recv(9)) == (0, None)
    bench.host.peer.said += [YES[:5], YES[5:] + b"220 hello"]
    bench.stream.readable()
    bench.network.flush()
    assert bench.owner.calls == ["connected", "readable", "writable"]
    repeats = [bench.stream.level_triggered]
    bench.host.peer.said.append(b"more")
    for expected in (b"220 ", b"hello", b"more"):
        assert bench.stream.recv(len(expected)) == expected
        repeats.append(bench.stream.level_triggered)
    assert repeats == [True, False, False, True]
    assert bench.stream.recv(100) is None


def test_a_far_side_without_room_gets_all_of_the_request() -> None:
    bench = Bench()
    bench.stream.open([FIRST])
    bench.host.peer.room = 3
    bench.stream.connected()
    bench.host.peer.said.append(YES)
    bench.network.flush()
    assert (bench.host.peer.taken, bench.host.peer.said) == (b"CON", [YES])
    bench.host.peer.room = None
    bench.stream.writable()
    bench.network.flush()
    assert bench.host.peer.taken.count(b"CONNECT") == 1
    assert bench.host.peer.taken.endswith(b"\r\n\r\n")
    assert bench.owner.calls == ["connected", "readable"]


def test_a_settled_stream_is_an_ordinary_one() -> None:
    bench = Bench()
    bench.settle()
    bench.stream.readable()
    bench.stream.writable()
    bench.stream.urgent(b"!")
    assert bench.owner.calls == ["readable", "writable", "urgent !"]
    assert bench.network.dirty == []
    assert bench.stream.send([b"ab", b"c"]) == 3
    bench.stream.shutdown()
    bench.stream.abort()
    bench.stream.close()
    assert (bench.host.peer.taken, bench.host.peer.calls) == (b"abc", ["shutdown", "abort", "close"])
    bench.stream.failed(errno.ECONNRESET)
    assert bench.owner.errors == []  # after abort() the owner hears no more


def test_failures_reach_the_owner_once() -> None:
    bench = Bench()
    bench.settle()
    bench.stream.failed(errno.ECONNRESET)
    bench.stream.failed(errno.EPIPE)
    assert bench.owner.errors == [errno.ECONNRESET]


@pytest.mark.parametrize("within", [False, True])
def test_the_next_address_is_tried(within: bool) -> None:
    bench = Bench()
    if within:
        bench.host.fail_within.add(FIRST[0])
    bench.stream.open([FIRST, SECOND])
    if not within:
        bench.stream.failed(errno.ECONNREFUSED)
    assert [place[:2] for place in bench.host.asked] == [FIRST, SECOND]
    assert bench.stream.peer is bench.host.peer
    assert bench.owner.errors == []
    bench.stream.failed(errno.ECONNREFUSED)
    assert bench.owner.errors == [errno.ECONNREFUSED]


def test_no_address_is_a_failure() -> None:
    bench = Bench()
    bench.stream.open([])
    assert bench.owner.errors == [errno.EHOSTUNREACH]


def test_an_established_connection_has_no_other_address() -> None:
    bench = Bench()
    bench.stream.open([FIRST, SECOND])
    bench.stream.connected()
    bench.stream.failed(errno.ECONNRESET)
    assert len(bench.host.asked) == 1
    assert bench.owner.errors == [errno.ECONNRESET]


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_stream_that_was_given_up_connects_nowhere(end: str) -> None:
    bench = Bench()
    getattr(bench.stream, end)()
    bench.stream.open([FIRST])
    assert bench.host.asked == []
    other = Bench()
    other.stream.open([FIRST, SECOND])
    getattr(other.stream, end)()
    assert other.host.peer.calls == [end]
    other.stream.connected()
    other.network.flush()
    assert other.host.peer.taken == b""
    assert other.owner.calls == []


def test_a_refusal_is_reported_and_ends_both_sides() -> None:
    bench = Bench()
    bench.stream.open([FIRST])
    bench.stream.connected()
    bench.host.peer.said.append(b"HTTP/1.1 403 No\r\n\r\n")
    bench.network.flush()
    assert (bench.refused, bench.owner.errors) == (["403 No"], [errno.EACCES])
    assert bench.host.peer.calls == ["abort"]
    assert bench.stream.peer is None
    assert (bench.stream.send([b"x"]), bench.stream.recv(1)) == (0, None)


def test_an_end_before_the_prologue_is_passed_on_behind_it() -> None:
    bench = Bench(Header(b"PROXY"))
    bench.stream.open([FIRST])
    bench.stream.shutdown()
    assert bench.host.peer.calls == []
    bench.stream.connected()
    bench.network.flush()
    assert (bench.host.peer.taken, bench.host.peer.calls) == (b"PROXY", ["shutdown"])


@pytest.mark.parametrize("kind", [Peer, UrgentPeer])
def test_urgent_bytes(kind: type[Peer]) -> None:
    bench = Bench(peer=kind)
    assert bench.stream.send_urgent(b"!") == 0  # there is nobody yet
    bench.stream.open([FIRST])
    assert bench.stream.send_urgent(b"!") == 0  # it would come before the request
    assert bench.host.peer.taken == b""
    other = Bench(peer=kind)
    other.settle()
    assert other.stream.send_urgent(b"!") == 1
    urgent = kind is UrgentPeer
    assert (other.host.peer.calls, other.host.peer.taken) == ((["urgent !"], b"") if urgent else ([], b"!"))
