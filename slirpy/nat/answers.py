"""Verdicts made of others: an answer to a question, the names that remain, and the result of a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from slirpy.config.policy import checked_verdict
from slirpy.errors import ConfigError
from slirpy.interfaces import TLS_MODES, Action, Decision, Verdict

__all__ = ["as_asked", "step", "with_names"]


def as_asked(asked: Verdict, answer: Verdict) -> Verdict:
    """Return an answer that allows a flow, with what the rule demands of it. A redirect replaces the demands."""
    if answer.redirect is not None:
        return answer
    names, tls = answer.names, answer.tls
    if asked.names:
        names = tuple(name for name in names if name in asked.names) or asked.names
        tls = min(tls, asked.tls, key=TLS_MODES.index) if answer.names else asked.tls
    proxy = asked.proxy if answer.proxy is None else answer.proxy
    return Verdict(Action.ALLOW, rule=answer.rule or asked.rule, names=names, tls=tls, proxy=proxy)


def with_names(verdict: Verdict, names: Sequence[str]) -> Verdict:
    """Return a verdict that names allowed, with only some of these names."""
    return Verdict(verdict.action, rule=verdict.rule, names=names, tls=verdict.tls, proxy=verdict.proxy)


def step(coroutine: Awaitable[Verdict]) -> Decision:
    """Run a coroutine that waits for nothing, where there is no event loop.

    Raises:
        ConfigError: it waits.
    """
    decision = Decision()
    try:
        next(iter(coroutine.__await__()))
    except StopIteration as end:
        decision.give(checked_verdict(end.value))
        return decision
    raise ConfigError("the policy is a coroutine function that waits, and no event loop drives this network")
