"""Nothing reaches what a policy forbids, whatever guests and their resolver do; and the judge would see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.config.policy import Rule, RulePolicy
from slirpy.config.policy import rules as rules_module
from slirpy.core import pins as pins_module
from slirpy.core.pins import Pins
from slirpy.interfaces import Action, FlowRequest, Passed, Verdict
from slirpy.nat import recheck as recheck_module
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.routes import Router
from slirpy.services.dns import filter as filter_module
from slirpy.services.dns import pinning as pinning_module
from slirpy.services.dns.filter import OutsideFilter
from tests.support.adversary import Attack

TRICKS = 60
"""Things that the guests of one network try."""


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_passes(seed: int) -> None:
    assert Attack(seed).run(TRICKS) == []


@pytest.mark.stress
def test_nothing_passes_for_long() -> None:
    """A million tricks by default take more than an hour; ``SLIRPY_TRICKS`` sets another number."""
    for seed in range(int(os.environ.get("SLIRPY_TRICKS", "1000000")) // TRICKS):
        assert Attack(seed).run(TRICKS) == [], seed


def always(value: object) -> Callable[..., Any]:
    """A function that returns the same, whatever it is given."""
    return lambda *args, **kwargs: value


def heedless(self: InspectedStream, finding: object, decide: Any = InspectedStream._decide) -> None:
    decide(self, Passed("other"))


def judged_without_ports(self: Rule, request: FlowRequest) -> bool:
    return True


def any_name(self: Rule, name: str) -> bool:
    return True


def suffix_without_dot(self: RulePolicy, name: str) -> list[int]:
    patterns = [(n, rule.destination) for n, rule in enumerate(self.rules) if rule.by_name]
    return [
        n for n, pattern in patterns if name == pattern or (pattern[0] == "*" and name.endswith(pattern[2:]))
    ]


def sent_as_asked(self: Router, request: FlowRequest, verdict: Verdict, names: object) -> Any:
    from slirpy.nat.outcomes import Route

    return Route(request.destination_bytes, request.destination_port, None, verdict, request)


def rules_in_reverse(self: RulePolicy, request: FlowRequest) -> int | None:
    return next((n for n in reversed(self._general) if self.rules[n].matches(request)), None)


def never_first(self: RulePolicy, request: FlowRequest, name: str, end: int) -> int | None:
    return next((n for n in self._about(name) if self.rules[n].action is Action.ALLOW), None)


def names_of_anybody(self: Pins, link: object, mac: bytes, address: bytes, now: int) -> tuple[str, ...]:
    return tuple({name for guest in self._guests.values() for name in guest.by_name})


def every_answer(query: Any, answer: bytes) -> list[tuple[bytes, int]]:
    from dnslib import DNSRecord

    return [
        (bytes(record.rdata.data), record.ttl) for record in DNSRecord.parse(answer).rr if record.rtype == 1
    ]


def for_ever(self: Pins, link: object, mac: bytes, name: str, length: int, now: int) -> list[bytes]:
    guest = self._guest(link, mac)
    return [] if guest is None else list(guest.by_name.get(name, {}))


HOLES: dict[str, list[tuple[object, str, object]]] = {
    "ports do not count": [(Rule, "may_match", judged_without_ports)],
    "any name matches": [
        (Rule, "matches_name", any_name),
        (RulePolicy, "_about", lambda s, n: range(len(s.rules))),
    ],
    "private addresses are pinned": [(pins_module, "is_pinnable", always(True))],
    "the address that the guest sent is used": [(Router, "_by_name", sent_as_asked)],
    "other addresses of a name are not checked": [(Router, "_may_stand_in", always(True))],
    "answers live for ever": [(Pins, "current", for_ever)],
    "the last rule about addresses decides": [(RulePolicy, "_first_about_address", rules_in_reverse)],
    "names that are denied are allowed later": [(RulePolicy, "_first_about_name", never_first)],
    "all addresses have all names": [(Pins, "names", names_of_anybody), (Router, "_by_name", sent_as_asked)],
    "lies in answers count": [(pinning_module, "addresses_in", every_answer)],
    "all names are asked for": [(RulePolicy, "may_resolve", always(True))],
    "odd queries pass": [(OutsideFilter, "refusal", always(None))],
    "types are not looked at": [(filter_module, "_TYPES_ONLY_ASKED", frozenset())],
    "everything is allowed": [(RulePolicy, "__call__", always(Verdict(Action.ALLOW)))],
    "a new policy leaves flows alone": [(recheck_module, "_end_unless_allowed", always(None))],
    "refusals are routes": [
        (Router, "refuse", lambda self, request, verdict: sent_as_asked(self, request, verdict, 0))
    ],
    "the default is to allow": [(rules_module, "_REFUSALS", ())],
    "first bytes are not read": [(InspectedStream, "_decide", heedless)],
    "the time to live does not count": [(pins_module, "TTL_MIN", 86_400)],
    "wildcards need no dot": [(RulePolicy, "_about", suffix_without_dot), (Rule, "matches_name", any_name)],
}
"""Faults by what they do: what is replaced, and by what."""


SLOW = {
    "first bytes are not read",
    "all addresses have all names",
    "other addresses of a name are not checked",
    "a new policy leaves flows alone",
    "types are not looked at",
    "lies in answers count",
}
"""Faults that need many tries."""


@pytest.mark.parametrize(
    "hole", [pytest.param(hole, marks=pytest.mark.stress if hole in SLOW else ()) for hole in HOLES]
)
def test_the_judge_finds(hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, value in HOLES[hole]:
        monkeypatch.setattr(owner, name, value)
    assert any(Attack(seed).run(TRICKS) for seed in range(600))
