"""A policy holds whatever guests and their resolver do: the judge would notice a breach."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slirpy import stack as stack_module
from slirpy.config import special as special_module
from slirpy.config.policy import Rule, RulePolicy
from slirpy.config.policy import rule as rule_module
from slirpy.config.policy import rules as rules_module
from slirpy.config.special import WORDS
from slirpy.core import pins as pins_module
from slirpy.core.neighbor import Neighbors
from slirpy.core.pins import Pins
from slirpy.core.switch import Switch
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Passed, Verdict
from slirpy.nat import ownports as ownports_module
from slirpy.nat import recheck as recheck_module
from slirpy.nat import routes as routes_module
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.inspection import first_bytes
from slirpy.nat.inspection.names import Demand
from slirpy.nat.inspection.streams import StreamInspection
from slirpy.nat.ownports import OwnAddresses, OwnPorts
from slirpy.nat.proxies import Proxies
from slirpy.nat.routes import LOOPBACK, Router
from slirpy.services.dns import filter as filter_module
from slirpy.services.dns import pinning as pinning_module
from slirpy.services.dns import server as server_module
from slirpy.services.dns.filter import OutsideFilter
from tests.support.adversary import Attack

TRICKS = 60
"""Things that the guests of one network try."""


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
@example(415935)  # one of several tries leads to the target of a redirect, but not the first
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
    return self.protocol is None or self.protocol == request.protocol


def judged_without_protocol(self: Rule, request: FlowRequest) -> bool:
    ports = self.ports
    return not ports or any(first <= request.destination_port <= last for first, last in ports)


def first_request(self: StreamInspection, data: bytes, read: Any = StreamInspection._read) -> Any:
    finding = read(self, data)
    return replace(finding, more=False, held=0) if isinstance(finding, Passed) else finding


def unhidden(
    self: Demand, hello: Any, kind: str, answer: bytes = b"", refuse: Any = Demand.refuse_hello
) -> Any:
    return refuse(self, hello._replace(ech=False), kind, answer)


def without_datagrams(request: FlowRequest, verdict: Verdict) -> Any:
    return first_bytes(request, verdict) if request.protocol == IPProtocol.TCP else None


def never_asked(self: RulePolicy, request: FlowRequest, decide: Any = RulePolicy.__call__) -> Verdict:
    verdict: Verdict = decide(self, request)
    return Verdict(Action.ALLOW, names=verdict.names) if verdict.action is Action.ASK else verdict


def never_redirected(self: RulePolicy, request: FlowRequest, decide: Any = RulePolicy.__call__) -> Verdict:
    verdict: Verdict = decide(self, request)
    return verdict if verdict.redirect is None else Verdict(Action.ALLOW, names=verdict.names, tls=verdict.tls)


def redirected_always(self: RulePolicy, request: FlowRequest, decide: Any = RulePolicy.__call__) -> Verdict:
    verdict: Verdict = decide(self, request)
    target = next((rule.redirect for rule in self.rules if rule.redirect is not None), None)
    if verdict.action is not Action.REJECT or target is None:
        return verdict
    return Verdict(Action.ALLOW, (target[0], target[1] or request.destination_port))


def any_loopback(self: Router, request: FlowRequest, destination: bytes) -> bytes | None:
    return LOOPBACK if destination in self._gateways and len(destination) == 16 else None


def together(self: Switch, *args: Any, make: Any = Switch.__init__, **options: Any) -> None:
    make(self, *args, **{**options, "isolate": False})


def any_rule_of_a_name(self: Rule, other: Rule) -> bool:
    return True


def any_name(self: Rule, name: str) -> bool:
    return True


def suffix_without_dot(self: RulePolicy, name: str) -> list[int]:
    patterns = [(n, rule.destination) for n, rule in enumerate(self.rules) if rule.by_name]
    return [
        n for n, pattern in patterns if name == pattern or (pattern[0] == "*" and name.endswith(pattern[2:]))
    ]


def sent_as_asked(
    self: Router, request: FlowRequest, verdict: Verdict, names: object, asked: object = None
) -> Any:
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
    "other addresses of a name are not checked": [(Router, "may_stand_in", always(True))],
    "answers live for ever": [(Pins, "current", for_ever)],
    "the last rule about addresses decides": [(RulePolicy, "_first_about_address", rules_in_reverse)],
    "names that are denied are allowed later": [(RulePolicy, "_first_about_name", never_first)],
    "all addresses have all names": [(Pins, "names", names_of_anybody), (Router, "_by_name", sent_as_asked)],
    "lies in answers count": [(pinning_module, "addresses_in", every_answer)],
    "all names are asked for": [(RulePolicy, "may_resolve", always(True))],
    "odd queries pass": [(OutsideFilter, "refusal", always(None))],
    "types are not looked at": [(filter_module, "_TYPES_ONLY_ASKED", frozenset())],
    "everything is allowed": [(RulePolicy, "__call__", always(Verdict(Action.ALLOW)))],
    "a new policy leaves flows alone": [(recheck_module, "may_keep", always(True))],
    "refusals are routes": [
        (Router, "refuse", lambda self, request, verdict: sent_as_asked(self, request, verdict, 0))
    ],
    "the default is to allow": [(rules_module, "_REFUSALS", ())],
    "first bytes are not read": [(InspectedStream, "_decide", heedless)],
    "the time to live does not count": [(pins_module, "TTL_MIN", 86_400)],
    "protocols do not count": [(Rule, "may_match", judged_without_protocol)],
    "translators lead to this host": [(OwnAddresses, "__call__", lambda self, address: self._is_own(address))],
    "addresses inside of others are not looked at": [
        (rule_module, "embedded_ipv4", always([])),
        (ownports_module, "embedded_ipv4", always([])),
        (special_module, "embedded_ipv4", always([])),
    ],
    "a proxy resolves what an address has allowed": [(RulePolicy, "may_say_name", always(True))],
    "proxies are passed by": [(Proxies, "choose", always(None))],
    "forwards are reached from inside": [(OwnPorts, "leads_to", always(False))],
    "the other loopback may be a forward": [(Router, "_other_loopback", any_loopback)],
    "guests reach each other": [(Switch, "__init__", together)],
    "sources are not checked": [(Neighbors, "_is_leased", always(True))],
    "answers lose the demands of their rule": [(routes_module, "as_asked", lambda asked, answer: answer)],
    "nobody is asked": [(RulePolicy, "__call__", never_asked)],
    "redirects are forgotten": [(RulePolicy, "__call__", never_redirected)],
    "the target of a redirect leads anywhere": [(Router, "may_lead_to", always(True))],
    "redirects hold for everything": [(RulePolicy, "__call__", redirected_always)],
    "names have the rules of others": [(Rule, "leads_as", any_rule_of_a_name)],
    "hidden names pass": [(Demand, "refuse_hello", unhidden)],
    "keys of ECH pass": [(server_module, "without_ech", lambda query, answer: answer)],
    "later requests are not read": [(StreamInspection, "_read", first_request)],
    "QUIC is not read": [(stack_module, "first_bytes", without_datagrams)],
    "words mean nothing": [(rule_module, "WORDS", dict.fromkeys(WORDS, ()))],
    "wildcards need no dot": [(RulePolicy, "_about", suffix_without_dot), (Rule, "matches_name", any_name)],
}
"""Faults by what they do: what is replaced, and by what."""


SLOW = {
    "QUIC is not read",
    "a new policy leaves flows alone",
    "all addresses have all names",
    "answers live for ever",
    "answers lose the demands of their rule",
    "hidden names pass",
    "lies in answers count",
    "names have the rules of others",
    "other addresses of a name are not checked",
    "private addresses are pinned",
    "redirects are forgotten",
    "sources are not checked",
    "the address that the guest sent is used",
    "the other loopback may be a forward",
    "the target of a redirect leads anywhere",
    "the time to live does not count",
    "translators lead to this host",
    "types are not looked at",
}
"""Faults that need many tries."""
INTERPRETED = {"forwards are reached from inside", "guests reach each other", "refusals are routes"}
"""Faults in methods that other compiled ones call directly, so that they cannot be replaced there."""


def marks_of(hole: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.stress] if hole in SLOW else []
    return (
        [*marks, pytest.mark.needs("interpreted", detail="replaces a method")] if hole in INTERPRETED else marks
    )


@pytest.mark.long
@pytest.mark.parametrize("hole", [pytest.param(hole, marks=marks_of(hole)) for hole in HOLES])
def test_the_judge_finds(hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, value in HOLES[hole]:
        monkeypatch.setattr(owner, name, value)
    assert any(Attack(seed).run(TRICKS) for seed in range(6000 if hole in SLOW else 600))
