"""Policies made of rules: the destinations that guests may reach.

A policy is a list of rules, and the first that matches a flow decides. A rule looks at the protocol, the destination
and the port. Destinations are addresses as the guest sees them, or names. The host's loopback appears there as the
gateway's address, and has a keyword, because it is the destination that most often needs a rule.

A rule that allows ``any`` opens other hosts only. This host, link-local addresses and metadata services, which people
believe shut, need their own word.

A rule that refuses an IPv4 address also refuses the IPv6 addresses that lead there by a translator or a tunnel
(:mod:`slirpy.config.embedded`). A rule that allows an IPv4 address says nothing about those, since it is the network
that decides where they lead.

A rule by name matches a flow whose destination stands for the name: our DNS server gave the address to this guest as
the answer for that name (:mod:`slirpy.core.pins`). It never matches because of the address alone.
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.config.policy.check import FlowDecision, check_flow
    from slirpy.config.policy.profiles import NEAR, PROFILES, profile_rules
    from slirpy.config.policy.remarks import lint
    from slirpy.config.policy.rule import Rule
    from slirpy.config.policy.rules import RulePolicy
    from slirpy.config.policy.text import parse_rule
    from slirpy.config.policy.verdict import checked_verdict
    from slirpy.config.special import WORDS

__all__ = [
    "NEAR",
    "PROFILES",
    "WORDS",
    "FlowDecision",
    "Rule",
    "RulePolicy",
    "check_flow",
    "checked_verdict",
    "lint",
    "parse_rule",
    "profile_rules",
]

_MODULES = {
    "check": "FlowDecision check_flow",
    "profiles": "NEAR PROFILES profile_rules",
    "remarks": "lint",
    "rule": "Rule",
    "rules": "RulePolicy",
    "slirpy.config.special": "WORDS",
    "text": "parse_rule",
    "verdict": "checked_verdict",
}

if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
