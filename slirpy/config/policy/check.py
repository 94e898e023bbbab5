"""Decisions of a policy about flows that are described by text, as ``slirpy policy check`` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from slirpy.config.policy.rules import RulePolicy
from slirpy.config.policy.text import parse_rule
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.records import NamedTuple

__all__ = ["FlowDecision", "check_flow"]

_SOURCES = {4: "10.0.2.15", 6: "fec0::15"}
_SOMEWHERE = "1.1.1.1"
"""An address of the Internet, for those of names."""
_PLACES = {
    "host": ("10.0.2.2", True, True),
    "loopback": ("10.0.2.2", True, True),
    "self": ("203.0.113.1", False, True),
    "internet": (_SOMEWHERE, False, False),
    "private": ("192.168.1.1", False, False),
    "link-local": ("169.254.1.1", False, False),
    "metadata": ("169.254.169.254", False, False),
}
"""For each word: an example, whether it is the host's loopback, and whether it is the host's own."""


class FlowDecision(NamedTuple):
    """The decision about a flow."""

    action: str
    """``"allow"``, ``"reject"``, ``"drop"``, or ``"redirect to ADDRESS port PORT"``."""
    rule: str | None
    """The rule that decides; None: the default does."""
    number: int | None
    """The place of the rule in the policy, from 1."""
    text: str
    """The decision in words, with the flow as it was written."""


def check_flow(policy: RulePolicy, text: str) -> Iterator[FlowDecision]:
    """Decide about the flows that a text describes, one for each of its ports.

    Args:
        policy: what decides.
        text: ``[tcp:|udp:|quic:|icmp:]DESTINATION[:PORT]``, tcp if it says nothing.

    Raises:
        ConfigError: the text cannot be read.
    """
    for request in _requests(text):
        verdict = policy(request)
        rule = policy.explain(request)
        number = None if rule is None else policy.rules.index(rule) + 1
        reason = "no rule matches, so the default decides" if rule is None else f'rule {number}, "{rule}"'
        action = _outcome(verdict)
        yield FlowDecision(
            action,
            None if rule is None else str(rule),
            number,
            f"{text}: {action}: {reason}{_conditions(policy, request, verdict)}",
        )


def _requests(text: str) -> Iterator[FlowRequest]:
    """The flows that a text describes, one for each of its ports.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        rule = parse_rule(f"allow {text}")
    except ConfigError as error:
        raise ConfigError(f"FLOW {str(error).removeprefix('rule ').replace('allow ', '', 1)}") from None
    protocol = IPProtocol.TCP if rule.protocol is None else rule.protocol
    ports = [first for first, _ in rule.ports]
    if any(first != last for first, last in rule.ports) or (not ports and protocol is not IPProtocol.ICMP):
        raise ConfigError(f'FLOW "{text}" has no single port; write for example tcp:example.org:443')
    names: tuple[str, ...] = ()
    address, host, own = rule.destination, False, False
    if rule.by_name:
        if rule.destination.startswith("*"):
            raise ConfigError(f'FLOW "{text}" has no single name; write for example tcp:www.example.org:443')
        names, address = (rule.destination,), _SOMEWHERE
    elif address in _PLACES:
        address, host, own = _PLACES[address]
    elif address == "any" or "/" in address:
        raise ConfigError(f'FLOW "{text}" has no single destination; write an address, a name, or a word')
    for port in ports or [0]:
        source = _SOURCES[ip_address(address).version]
        yield FlowRequest(protocol, source, 40000, address, port, host, names=names, own=own)


def _outcome(verdict: Verdict) -> str:
    if verdict.redirect is not None:
        address, port = verdict.redirect
        return f"redirect to {address} port {port}"
    return verdict.action.value


def _conditions(policy: RulePolicy, request: FlowRequest, verdict: Verdict) -> str:
    """Further conditions of a flow that a name allows."""
    if request.names and not policy.may_resolve(request.names[0]):
        return "; its name is not resolved"
    if verdict.action is not Action.ALLOW or not verdict.names:
        return ""
    says = {
        "strict": "; the client has to say this name",
        "sni-optional": "; the client must not say another name",
    }
    return says.get(verdict.tls, "")
