"""A resolution by itself: which server is asked next, and when it ends, without sockets and without a clock."""

from __future__ import annotations

from random import Random

import pytest
from dnslib import RCODE, DNSRecord

from slirpy.config.resolver import Resolver
from slirpy.services.dns.resolution import Request, Resolution
from slirpy.services.dns.servers import CROWD, SILENCE, Servers
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire.dns import read_query
from tests.unit.services.dns.world import answer_to, ask

A, B, C = (Resolver(bytes((192, 0, 2, number))) for number in (1, 2, 3))


class Case:
    """Resolutions of one set of servers, and a time that the test sets."""

    def __init__(self, *resolvers: Resolver) -> None:
        self.stats = Stats()
        self.servers = Servers(self.stats)
        self.servers.update(resolvers)
        self.now = 100 * SECOND
        self.woken: list[str] = []

    def resolve(self, name: str = "a.test", mix_case: bool = False) -> Resolution:
        query = read_query(ask(name).pack())
        assert query is not None
        return Resolution(
            query,
            self.servers,
            self.stats,
            Random(1),
            self.now,
            lambda: self.woken.append(name),
            mix_case=mix_case,
        )

    def send(self, resolution: Resolution, expected: Resolver) -> Request:
        """The next request, which goes to the server that the test expects."""
        request = resolution.next(self.now)
        assert request is not None
        assert request.server.resolver == expected
        assert not resolution.ready
        return request

    def time_out(self, resolution: Resolution) -> None:
        self.now = resolution.deadline
        resolution.on_timeout(self.now)


def state(resolution: Resolution) -> str:
    """Return the state of a resolution, which says whether its owner has to act."""
    return "done" if resolution.done else "ready" if resolution.ready else "waiting"


def refused(request: Request, code: int = RCODE.REFUSED) -> bytes:
    reply = DNSRecord.parse(request.message).reply()
    reply.header.rcode = code
    return bytes(reply.pack())


def test_the_first_server_answers() -> None:
    case = Case(A, B)
    resolution = case.resolve()
    request = case.send(resolution, A)
    assert resolution.deadline == case.now + SECOND
    message = answer_to(request.message)
    assert request.answered_by(message)
    resolution.on_message(request, message, case.now)
    assert state(resolution) == "done"
    assert resolution.answer is not None
    assert resolution.answer.message == message
    assert resolution.answer.records is not None
    assert case.stats.nonzero() == {}


def test_without_servers_it_ends_at_once() -> None:
    case = Case()
    resolution = case.resolve()
    assert resolution.next(case.now) is None
    assert state(resolution) == "done"
    assert resolution.answer is None


def test_two_rounds_with_more_patience_in_the_second() -> None:
    case = Case(A, B)
    resolution = case.resolve()
    waits = []
    for server in (A, B, A, B):
        before = case.now
        case.send(resolution, server)
        case.time_out(resolution)
        assert state(resolution) == "ready"
        waits.append((case.now - before) // SECOND)
    assert waits == [1, 1, 2, 2]
    assert resolution.next(case.now) is None
    assert resolution.deadline == 105 * SECOND  # nobody fails before that while somebody may answer
    case.time_out(resolution)
    assert state(resolution) == "done"
    assert resolution.answer is None
    assert case.stats.nonzero() == {"dns_retries": 3, "dns_servers_failed": 2}


def test_a_repetition_is_the_same_request() -> None:
    case = Case(A)
    resolution = case.resolve()
    first = case.send(resolution, A)
    case.time_out(resolution)
    assert case.send(resolution, A) is first


def test_a_late_answer_of_an_earlier_server_counts() -> None:
    case = Case(A, B)
    resolution = case.resolve()
    first = case.send(resolution, A)
    case.time_out(resolution)
    case.send(resolution, B)
    resolution.on_message(first, answer_to(first.message), case.now)
    assert state(resolution) == "done"
    assert resolution.answer is not None


def test_a_server_that_refuses_is_not_waited_for() -> None:
    """And only that one is passed over: the next server is asked once."""
    case = Case(A, B, C)
    resolution = case.resolve()
    request = case.send(resolution, A)
    resolution.on_error(request, case.now)
    assert state(resolution) == "ready"
    assert case.woken == []  # it knows by itself
    case.send(resolution, B)
    assert state(resolution) == "waiting"
    assert case.stats.nonzero() == {"dns_retries": 1, "dns_servers_failed": 1}


def test_a_query_that_was_not_sent_is_no_failure_of_the_server() -> None:
    case = Case(A, B)
    resolution = case.resolve()
    resolution.on_error(case.send(resolution, A), case.now, sent=False)
    resolution.on_error(case.send(resolution, B), case.now, sent=False)
    assert resolution.next(case.now) is None
    assert state(resolution) == "done"
    assert resolution.answer is None
    assert case.stats.dns_servers_failed == 0
    case.send(case.resolve(), A)


@pytest.mark.parametrize("code", [RCODE.SERVFAIL, RCODE.NOTIMP, RCODE.REFUSED])
def test_an_answer_without_help_is_kept_until_another_server_had_its_turn(code: int) -> None:
    case = Case(A, B)
    resolution = case.resolve()
    first = case.send(resolution, A)
    resolution.on_message(first, refused(first, code), case.now)
    assert state(resolution) == "ready"
    case.send(resolution, B)
    case.time_out(resolution)
    assert resolution.next(case.now) is None
    assert state(resolution) == "done"  # no second round: there is something to say
    assert resolution.answer is not None
    assert resolution.answer.message[3] & 15 == code


def test_an_answer_that_cannot_be_read_is_none() -> None:
    case = Case(A)
    resolution = case.resolve()
    request = case.send(resolution, A)
    resolution.on_message(request, answer_to(request.message)[:-1], case.now)
    assert state(resolution) == "ready"
    assert resolution.next(case.now) is None
    assert state(resolution) == "done"
    assert resolution.answer is None
    assert case.stats.nonzero() == {"drop_dns_bad_answer": 1}


def test_a_truncated_answer_only_says_so() -> None:
    case = Case(A)
    resolution = case.resolve()
    request = case.send(resolution, A)
    message = bytearray(answer_to(request.message)[:-1])
    message[2] |= 2
    resolution.on_message(request, bytes(message), case.now)
    assert resolution.answer is not None
    assert resolution.answer.records is None
    assert resolution.answer.message[2] & 2


def test_waiting_resolutions_are_woken_when_their_server_fails() -> None:
    case = Case(A, B)
    waiting = [case.resolve(f"{number}.test") for number in range(CROWD)]
    requests = [case.send(resolution, A) for resolution in waiting]
    waiting[0].on_error(requests[0], case.now)
    assert case.woken == [f"{number}.test" for number in range(1, CROWD)]
    assert {state(resolution) for resolution in waiting} == {"ready"}
    case.time_out(waiting[1])  # its own timer was first
    case.send(waiting[1], B)
    assert state(waiting[1]) == "waiting"  # so that it goes on by one server, not by two


def test_a_silent_server_in_a_crowd() -> None:
    case = Case(A, B)
    waiting = [case.resolve(f"{number}.test") for number in range(CROWD)]
    for resolution in waiting:
        case.send(resolution, A)
    case.now += SILENCE + 1
    case.send(case.resolve("late.test"), B)
    assert len(case.woken) == CROWD


def test_one_query_at_a_time_tries_a_server_that_failed() -> None:
    case = Case(A, B)
    resolution = case.resolve()
    case.send(resolution, A)
    case.time_out(resolution)
    case.now += 11 * SECOND
    trial = case.resolve("trial.test")
    case.send(trial, A)
    other = case.resolve("other.test")
    request = case.send(other, B)
    other.on_message(request, refused(request), case.now)
    case.send(other, A)  # as the last one, which is no trial
    other.leave()
    case.send(case.resolve("third.test"), B)  # the trial is still on
    trial.leave()
    case.send(case.resolve("fourth.test"), A)


def test_letters_are_mixed_and_must_come_back() -> None:
    case = Case(A)
    resolution = case.resolve("abcdefgh.test", mix_case=True)
    request = case.send(resolution, A)
    assert request.message != ask("abcdefgh.test").pack()[:2] + request.message[2:]
    message = answer_to(request.message)
    assert request.answered_by(message)
    assert not request.answered_by(message[:12] + message[12:].lower())
