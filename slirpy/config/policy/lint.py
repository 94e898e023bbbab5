"""Warnings about policies: rules that never match, and destinations that people believe shut."""

from __future__ import annotations

from ipaddress import ip_address

from slirpy.checks import instance
from slirpy.config.policy.destination import ANY, HOST, SELF
from slirpy.config.policy.rule import Rule
from slirpy.config.policy.rules import RulePolicy
from slirpy.interfaces import Action, FlowRequest, IPProtocol

__all__ = ["lint"]

_REFUSALS = (Action.REJECT, Action.DROP)
_SOURCE = "10.0.2.15"
_GATEWAY = "10.0.2.2"
_PLACES = (
    ("the cloud's metadata service at 169.254.169.254", "169.254.169.254", False, "metadata"),
    ("the host's loopback, at the gateway's address", _GATEWAY, True, SELF),
    ("the other addresses of this host", "203.0.113.1", None, SELF),
    ("private networks", "192.168.1.1", False, "private"),
)
"""Description, example, whether it leads to the host (None: it is one of the host's own), and the word for it."""


def lint(policy: RulePolicy) -> list[str]:
    """Return warnings about a policy, in the order of its rules.

    Raises:
        ConfigError: not a RulePolicy.
    """
    instance("policy", policy, RulePolicy, "a RulePolicy")
    return [*_never_matching(policy), *_left_open(policy)]


def _never_matching(policy: RulePolicy) -> list[str]:
    """Rules behind one that matches all that they do."""
    found = []
    exact: dict[str, list[tuple[int, Rule]]] = {}
    wide: list[tuple[int, Rule]] = []
    for number, rule in enumerate(policy.rules):
        above = next((earlier for earlier in wide if _covers(earlier[1], rule)), None)
        above = above or next(
            (earlier for earlier in exact.get(rule.destination, ()) if _covers(earlier[1], rule)), None
        )
        if above is not None:
            doing = "denies nothing" if rule.action in _REFUSALS else "never matches"
            found.append(f'rule "{rule}" {doing}: "{above[1]}" stands before it and matches all of its flows')
        if rule.by_name and rule.destination[0] != "*":
            exact.setdefault(rule.destination, []).append((number, rule))
        else:
            wide.append((number, rule))
    return found


def _covers(earlier: Rule, rule: Rule) -> bool:
    """Report whether a rule matches every flow that another one does."""
    if earlier.protocol is not None and earlier.protocol != rule.protocol:
        return False
    if earlier.ports:
        if not rule.ports:
            return False
        if not all(any(a <= first and last <= b for a, b in earlier.ports) for first, last in rule.ports):
            return False
    if earlier.destination == ANY:
        return True
    if earlier.by_name or rule.by_name:
        if not (earlier.by_name and rule.by_name):
            return False
        if earlier.quic != rule.quic and earlier.action not in _REFUSALS:
            return False
        one, other = earlier.destination, rule.destination
        return one == other or (
            one[0] == "*" and other.removeprefix("*").endswith(one[1:]) and other != one[2:]
        )
    return earlier.destination == rule.destination or earlier.holds_all_of(rule)


def _left_open(policy: RulePolicy) -> list[str]:
    """Destinations of the host's own world that are open, where the rules look as if they were shut.

    That is the case for rules that allow some ports of ``any``, and for policies that deny ``private``. What a rule
    opens that is about this destination in particular is no oversight.
    """
    denies_private = any(rule.destination == "private" and rule.action in _REFUSALS for rule in policy.rules)
    found = []
    for what, address, host, word in _PLACES:
        for port in _ports_of(policy):
            request = FlowRequest(
                IPProtocol.TCP, _SOURCE, 40000, ip_address(address), port, host is True, own=host is not False
            )
            verdict = policy(request)
            if verdict.action in _REFUSALS or verdict.redirect is not None:
                continue
            rule = policy.explain(request)
            if rule is not None and _is_about(rule, word):
                continue
            if not (denies_private or (rule is not None and _allows_ports_of_any(rule))):
                continue
            because = f'"{rule}"' if rule is not None else "the default"
            found.append(f"{because} opens {what} (port {port}); to shut that, put deny {word} before it")
            break
    return found


def _is_about(rule: Rule, word: str) -> bool:
    """Report whether a rule says the word of a destination, or a part of it."""
    if word == SELF:
        return rule.destination in (SELF, *HOST)
    return Rule(Action.ALLOW, word).holds_all_of(rule)


def _allows_ports_of_any(rule: Rule) -> bool:
    return rule.destination == ANY and bool(rule.ports or rule.protocol is not None)


def _ports_of(policy: RulePolicy) -> list[int]:
    """Ports that the rules distinguish, and others."""
    ports = {80, 443, 22, 1}
    for rule in policy.rules[:1000]:
        ports.update(first for first, _ in rule.ports if first)
    return sorted(ports, key=lambda port: (port != 80, port))[:64]
