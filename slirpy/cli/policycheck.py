"""``slirpy policy check``: the rule that decides about a flow, and warnings about a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import click

from slirpy.audit.text import plain
from slirpy.cli.flags import Command, check_plain_name
from slirpy.config.policy import RulePolicy, lint, parse_rule
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict

__all__ = ["policy"]

EXAMPLES = """
\b
Examples:
  slirpy policy check policy.toml
  slirpy policy check policy.toml tcp:example.org:443 udp:8.8.8.8:53 host:8000 icmp:metadata
"""
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


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.argument("action", type=click.Choice(["check"]), metavar="check")
@click.argument("file", metavar="FILE")
@click.argument("flows", nargs=-1, metavar="[FLOW]...")
def policy(action: str, file: str, flows: Sequence[str]) -> None:
    """Check a policy: the rule that decides about each FLOW, and warnings.

    FILE is what --policy reads. FLOW is [tcp:|udp:|quic:|icmp:]DESTINATION[:PORT], tcp if it says nothing: an
    address, a name, or a word of rules such as host, self, private, metadata, internet. Warnings are about rules that
    never match, and about destinations that people believe shut. The exit status is 0, or 2 if FILE or a FLOW cannot
    be read.
    """
    check_plain_name("FILE", file)
    found = RulePolicy.from_file(file)
    asked = [(text, request) for text in flows for request in _requests(text)]
    for text, request in asked:
        print(_decision(found, text, request))
    for warning in lint(found):
        print(f"warning: {plain(warning)}")


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


def _decision(policy: RulePolicy, text: str, request: FlowRequest) -> str:
    """The line about a flow."""
    verdict = policy(request)
    rule = policy.explain(request)
    reason = "no rule matches, so the default decides"
    if rule is not None:
        reason = f'rule {policy.rules.index(rule) + 1}, "{rule}"'
    return plain(f"{text}: {_outcome(verdict)}: {reason}{_conditions(policy, request, verdict)}")


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
