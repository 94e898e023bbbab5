"""Names of destinations, without a network: what is asked, for whom, and what is recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.core.pins import Pins
from slirpy.core.translation import Translation
from slirpy.interfaces import FlowRequest, ServiceNetwork
from slirpy.services.dns.lookup import Question
from slirpy.services.dns.pinning import OwnQuestion, PinnedNames
from slirpy.units import SECOND
from slirpy.wire.dns import Query, read_query
from tests.support.frames6 import GUEST6, WORLD6
from tests.support.harness import GUEST, WORLD, config, ip

NOW = 1000 * SECOND
MAC = b"\x52\x54\0\0\0\1"
LINK = object()
PORT = SimpleNamespace(link=LINK)
NAME = "a.example"
WIRE = b"\1a\7example\0"
A, AAAA, TXT = 1, 28, 16


def query(qtype: int = A) -> Query:
    found = read_query(b"\0\7\1\0\0\1" + bytes(6) + WIRE + qtype.to_bytes(2, "big") + b"\0\1")
    assert found is not None
    return found


def answer(asked: Query, *addresses: bytes, flags: int = 0) -> bytes:
    """An answer with addresses that live ten seconds."""
    records = b"".join(
        b"\xc0\x0c" + asked.qtype.to_bytes(2, "big") + b"\0\1\0\0\0\x0a" + len(each).to_bytes(2, "big") + each
        for each in addresses
    )
    head = (
        asked.message[:2] + bytes((0x81 | flags, 0x80)) + b"\0\1" + len(addresses).to_bytes(2, "big") + bytes(4)
    )
    return head + asked.question + records


def question(asked: Query, *, source: bytes = GUEST, mac: bytes = MAC, trusted: bool = False) -> Question:
    made = GuestQuestion(asked, source, cast("Any", PORT), mac=mac)
    made.trusted = trusted
    return made


def request(destination: bytes = WORLD, source: bytes = GUEST, mac: bytes | None = MAC) -> FlowRequest:
    return FlowRequest(6, source, 40000, destination, 443, link=LINK, mac=mac)


class GuestQuestion(Question):
    """A question whose answer is of no interest."""

    def deliver(self, message: bytes) -> None: ...


class Server:
    """A server that keeps the questions of slirpy itself."""

    def __init__(self) -> None:
        self.asked: list[OwnQuestion] = []
        self.given_up: list[OwnQuestion] = []


class Bench:
    """Names of destinations, with a server whose answers the test makes."""

    def __init__(self, **options: Any) -> None:
        self.pins = Pins(5, lambda address: False)
        self.network = SimpleNamespace(now=NOW)
        self.translation = Translation(config(**options))
        self.names = PinnedNames(self.pins, cast("ServiceNetwork", self.network), self.translation)
        self.server = Server()
        self.found: list[list[bytes]] = []

    def serve(self) -> None:
        self.names.ask_of(self.server.asked.append, self.server.given_up.append)

    def give(self, own: OwnQuestion, *addresses: bytes) -> None:
        """Answer a question as the server does: record it, then deliver it."""
        message = answer(own.query, *addresses)
        self.names.answered(own, message)
        own.deliver(message)


def test_an_answer_is_recorded_for_the_guest_that_gets_it() -> None:
    bench = Bench()
    assert bench.names.answered(question(query()), answer(query(), WORLD)) == (WORLD,)
    assert bench.names.names(request()) == (NAME,)
    assert bench.names.names(request(mac=None)) == ()
    assert bench.names.names(request(ip("198.51.100.8"))) == ()
    bench.network.now += 15 * SECOND
    assert bench.names.names(request()) == ()


def test_only_addresses_of_a_known_guest_are_recorded() -> None:
    bench = Bench()
    assert bench.names.answered(question(query(TXT)), answer(query(TXT), WORLD)) == ()
    assert bench.names.answered(question(query(), mac=b""), answer(query(), WORLD)) == ()
    assert len(bench.pins) == 0


def test_addresses_that_no_name_opens() -> None:
    bench = Bench()
    private = ip("192.168.7.7")
    assert bench.names.answered(question(query()), answer(query(), private, WORLD)) == (WORLD,)
    assert (bench.names.names(request(private)), bench.names.unpinned(request(private))) == ((), (NAME,))
    assert bench.names.unpinned(request(private, mac=None)) == bench.names.unpinned(request()) == ()
    assert (bench.names.may_open(private), bench.names.may_open(WORLD)) == (False, True)
    assert bench.names.answered(question(query(), trusted=True), answer(query(), private)) == (private,)
    assert bench.names.names(request(private)) == (NAME,)


def test_addresses_of_the_other_family_stand_for_their_hosts() -> None:
    bench = Bench(nat64=True)
    seen = bench.translation.seen(WORLD)
    assert seen is not None
    bench.names.answered(question(query(AAAA), source=GUEST6), answer(query(AAAA), seen))
    assert bench.names.names(request(WORLD, GUEST6)) == (NAME,)
    assert bench.pins.current(LINK, MAC, NAME, 4, NOW) == [WORLD]
    # The next answer replaces those of the hosts' family.
    other = bench.translation.seen(ip("198.51.100.8"))
    assert other is not None
    bench.names.answered(question(query(AAAA), source=GUEST6), answer(query(AAAA), other))
    assert bench.pins.current(LINK, MAC, NAME, 4, NOW) == [ip("198.51.100.8")]


def test_a_stand_in_without_a_host_is_no_address() -> None:
    bench = Bench(dns46="198.18.0.0/24")
    assert bench.names.answered(question(query()), answer(query(), ip("198.18.0.9"), WORLD)) == (WORLD,)


def test_a_fresh_answer_is_used_without_a_question() -> None:
    bench = Bench()
    bench.serve()
    bench.names.answered(question(query()), answer(query(), WORLD))
    assert (bench.names.current(request(), NAME), bench.server.asked) == ([WORLD], [])


def test_without_a_server_a_name_has_no_other_addresses() -> None:
    bench = Bench()
    assert bench.names.resolve(request(), NAME, bench.found.append) is None
    assert bench.found == [[]]


@pytest.mark.parametrize(("source", "destination", "qtype"), [(GUEST, WORLD, A), (GUEST6, WORLD6, AAAA),
                                                              (GUEST6, WORLD, A)])  # fmt: skip
def test_a_name_is_resolved_on_behalf_of_the_guest(source: bytes, destination: bytes, qtype: int) -> None:
    bench = Bench()
    bench.serve()
    give_up = bench.names.resolve(request(destination, source), NAME, bench.found.append)
    assert give_up is not None
    (own,) = bench.server.asked
    edns = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    assert own.query.message == (b"\0\0\1\0\0\1\0\0\0\0\0\1" + WIRE + qtype.to_bytes(2, "big") + b"\0\1" + edns)
    assert (own.tcp, own.mac, own.link) == (False, MAC, LINK)
    assert bench.found == []
    bench.give(own, destination)
    assert bench.found == [[destination]]
    own.deliver(answer(own.query, destination))
    assert len(bench.found) == 1


def test_a_guest_asks_for_hosts_by_its_own_addresses_for_them() -> None:
    bench = Bench(nat64=True)
    bench.serve()
    bench.names.resolve(request(WORLD, GUEST6), NAME, bench.found.append)
    (own,) = bench.server.asked
    assert own.query.qtype == AAAA
    seen = bench.translation.seen(WORLD)
    assert seen is not None
    bench.give(own, seen)
    assert bench.found == [[WORLD]]


def test_a_truncated_answer_is_retried_over_tcp_once() -> None:
    bench = Bench()
    bench.serve()
    bench.names.resolve(request(), NAME, bench.found.append)
    (own,) = bench.server.asked
    own.other = own.outside = cast("Any", object())
    own.deliver(answer(own.query, flags=2))
    assert bench.server.asked == [own, own]
    assert (own.tcp, own.other, own.outside, bench.found) == (True, None, own.query, [])
    own.deliver(answer(own.query, flags=2))
    assert bench.server.asked == [own, own]
    assert bench.found == [[]]


def test_a_question_that_was_given_up() -> None:
    bench = Bench()
    bench.serve()
    give_up = bench.names.resolve(request(), NAME, bench.found.append)
    assert give_up is not None
    give_up()
    assert bench.server.given_up == bench.server.asked
    (own,) = bench.server.asked
    own.deliver(answer(own.query, flags=2))
    bench.give(own, WORLD)
    assert (bench.found, len(bench.server.asked)) == ([], 1)


def test_a_server_may_answer_at_once() -> None:
    bench = Bench()
    bench.names.ask_of(lambda own: bench.give(own, WORLD), bench.server.given_up.append)
    assert bench.names.resolve(request(), NAME, bench.found.append) is None
    assert bench.found == [[WORLD]]


@pytest.mark.parametrize("name", ["a..example", "x" * 64, ".".join(["x" * 60] * 5)])
def test_an_invalid_name_has_no_addresses(name: str) -> None:
    bench = Bench()
    bench.serve()
    assert bench.names.resolve(request(), name, bench.found.append) is None
    assert (bench.found, bench.server.asked) == ([[]], [])


def test_pins_in_use_and_of_links_that_are_gone() -> None:
    bench = Bench()
    bench.names.answered(question(query()), answer(query(), WORLD))
    pin = bench.names.use(request(), NAME)
    assert pin is not None
    assert bench.names.use(request(), "b.example") is None
    bench.network.now += 100 * SECOND
    assert bench.names.names(request()) == (NAME,)
    bench.names.release(pin)
    bench.network.now += 5 * SECOND - 1
    bench.names.lost(LINK)
    assert bench.names.names(request()) == (NAME,)
    bench.network.now += 1
    assert bench.names.names(request()) == ()
