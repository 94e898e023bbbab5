"""Warnings about policies: rules that never match, and destinations that look closed but are not."""

from __future__ import annotations

from ipaddress import ip_address

from slirpy.checks import instance
from slirpy.config.policy.destination import ANY, HOST, INTERNET, SELF
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
_LEFT_OUT = {SELF: "this host (its loopback, its other addresses)", "metadata": "metadata services"}


def lint(policy: RulePolicy) -> list[str]:
    """Return warnings about a policy, in the order of its rules.

    Raises:
        ConfigError: not a RulePolicy.
    """
    instance("policy", policy, RulePolicy, "a RulePolicy")
    return [*_never_matching(policy), *_left_open(policy), *_left_out(policy)]


def _never_matching(policy: RulePolicy) -> list[str]:
    """Rules behind one that matches all that they do."""
    found = []
    exact: dict[str, list[tuple[int, Rule]]] = {}
    wide: list[tuple[int, Rule]] = []
    allowing = (number for number, rule in enumerate(policy.rules) if rule.action not in _REFUSALS)
    last = max(allowing, default=-1)
    for number, rule in enumerate(policy.rules):
        refused = number > last and policy.default in _REFUSALS and rule.action in _REFUSALS
        above = next((earlier for earlier in wide if _covers(earlier[1], rule, refused)), None)
        above = above or next(
            (earlier for earlier in exact.get(rule.destination, ()) if _covers(earlier[1], rule, refused)), None
        )
        if above is not None:
            doing = "denies nothing" if rule.action in _REFUSALS else "never matches"
            found.append(f'rule "{rule}" {doing}: "{above[1]}" stands before it and matches all of its flows')
        if rule.by_name and rule.destination[0] != "*":
            exact.setdefault(rule.destination, []).append((number, rule))
        else:
            wide.append((number, rule))
    return found


def _covers(earlier: Rule, rule: Rule, refused: bool) -> bool:
    """Report whether a rule matches every flow that another one does.

    Args:
        refused: flows that no rule matches are refused like those of ``rule``, so they make no difference.
    """
    if earlier.protocol is not None and earlier.protocol != rule.protocol:
        return False
    if earlier.ports:
        if not rule.ports:
            return False
        if not all(any(a <= first and last <= b for a, b in earlier.ports) for first, last in rule.ports):
            return False
    if earlier.destination == ANY:
        return (
            not earlier.stays_outside
            or rule.stays_outside
            or rule.by_name
            or refused
            or rule.destination == INTERNET
        )
    if earlier.by_name or rule.by_name:
        if not (earlier.by_name and rule.by_name):
            return False
        if earlier.quic != rule.quic and earlier.action not in _REFUSALS:
            return False
        one, other = earlier.destination, rule.destination
        return one == other or (one[0] == "*" and other.endswith(one[1:]))
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
            request = _request(address, port, host)
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


def _left_out(policy: RulePolicy) -> list[str]:
    """Places that the first rule that allows ``any`` does not open, where no other rule is about it either."""
    rule = next((rule for rule in policy.rules if rule.stays_outside), None)
    if rule is None or rule.protocol is IPProtocol.ICMP or policy.default not in _REFUSALS:
        return []
    port = rule.ports[0][0] if rule.ports else 80
    protocol = IPProtocol.TCP if rule.protocol is None else rule.protocol
    found = {
        word: _LEFT_OUT[word]
        for _, address, host, word in _PLACES
        if word in _LEFT_OUT and policy.explain(_request(address, port, host, protocol)) is None
    }
    if not found:
        return []
    missing = " and ".join(f"allow {word}" for word in found)
    return [f'"{rule}" does not open {" and ".join(found.values())}; {missing} would']


def _request(address: str, port: int, host: bool | None, protocol: IPProtocol = IPProtocol.TCP) -> FlowRequest:
    """A flow to one of the places."""
    return FlowRequest(protocol, _SOURCE, 40000, ip_address(address), port, host is True, own=host is not False)


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
