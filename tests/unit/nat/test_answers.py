"""Verdicts made of a rule that asks and of the answer."""

from __future__ import annotations

import pytest

from slirpy.interfaces import TLS_MODES, Action, Verdict
from slirpy.nat.answers import as_asked, with_names

A, B, C = "a.example", "b.example", "c.example"
PROXY, OTHER = "socks5://192.0.2.1:1080", "socks5://192.0.2.2:1080"


def parts(verdict: Verdict) -> tuple[Action, str, tuple[str, ...], str, str | None]:
    """Parts of a verdict that matter here."""
    assert (verdict.redirect, verdict.reason) == (None, "")
    return verdict.action, verdict.rule, verdict.names, verdict.tls, verdict.proxy


def test_a_redirect_replaces_all_demands() -> None:
    asked = Verdict(Action.ASK, rule="ask a.example", names=[A], proxy=PROXY)
    answer = Verdict(Action.ALLOW, redirect=("192.0.2.7", 80))
    assert as_asked(asked, answer) is answer


@pytest.mark.parametrize(
    ("asked", "answered", "names"),
    [
        ((), (), ()),
        ((), (A,), (A,)),
        ((A, B), (), (A, B)),
        ((A, B), (B,), (B,)),
        ((A, B), (C, B, A), (B, A)),
        ((A, B), (C,), (A, B)),
    ],
)
def test_an_answer_may_choose_among_the_names(
    asked: tuple[str, ...], answered: tuple[str, ...], names: tuple[str, ...]
) -> None:
    verdict = as_asked(Verdict(Action.ASK, rule="ask any", names=asked), Verdict(Action.ALLOW, names=answered))
    assert parts(verdict) == (Action.ALLOW, "ask any", names, "strict", None)


@pytest.mark.parametrize("asked", TLS_MODES)
@pytest.mark.parametrize("answered", TLS_MODES)
def test_the_stricter_demand_counts(asked: str, answered: str) -> None:
    rule = Verdict(Action.ASK, names=[A], tls=asked)
    stricter = min(asked, answered, key=TLS_MODES.index)
    assert as_asked(rule, Verdict(Action.ALLOW, names=[A], tls=answered)).tls == stricter
    # An answer without names demands nothing, and a rule without names neither.
    assert as_asked(rule, Verdict(Action.ALLOW, tls=answered)).tls == asked
    unnamed = Verdict(Action.ASK, tls=asked)
    assert as_asked(unnamed, Verdict(Action.ALLOW, names=[A], tls=answered)).tls == answered


@pytest.mark.parametrize(
    ("asked", "answered", "proxy"),
    [(None, None, None), (PROXY, None, PROXY), (PROXY, "", ""), (PROXY, OTHER, OTHER), (None, OTHER, OTHER)],
)
def test_an_answer_may_choose_a_proxy(asked: str | None, answered: str | None, proxy: str | None) -> None:
    assert as_asked(Verdict(Action.ASK, proxy=asked), Verdict(Action.ALLOW, proxy=answered)).proxy == proxy


def test_an_answer_may_name_a_rule_of_its_own() -> None:
    asked = Verdict(Action.ASK, rule="ask any")
    assert as_asked(asked, Verdict(Action.ALLOW, rule="by hand")).rule == "by hand"
    assert as_asked(asked, Verdict(Action.ALLOW)).rule == "ask any"


def test_fewer_names_change_nothing_else() -> None:
    verdict = Verdict(Action.ALLOW, rule="allow a.example", names=[A, B], tls="ech", proxy=PROXY)
    assert parts(with_names(verdict, [B])) == (Action.ALLOW, "allow a.example", (B,), "ech", PROXY)
    assert with_names(Verdict(Action.ASK, names=[A, B]), [A]).action is Action.ASK
