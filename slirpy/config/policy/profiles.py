"""Profiles: rules that come before all others of a policy."""

from __future__ import annotations

from slirpy.config.policy.rule import Rule
from slirpy.config.policy.text import parse_rule
from slirpy.errors import ConfigError

__all__ = ["NEAR", "PROFILES", "profile_rules"]

NEAR = ("deny self", "deny metadata", "deny link-local", "deny private")
"""Rules that shut this host and everything near it: those of ``--deny-private``."""
PROFILES = {
    "agent": (*NEAR, "deny *.invalid"),
}
"""Rules by the name of the profile.

``agent`` is for programs that are not trusted, such as coding agents: this host and everything near it is shut,
whatever the rules behind it say, and what they do not allow is rejected. The rule about names, which never matches
one that exists (RFC 6761, section 6.4), makes DNS resolve only what the other rules allow.
"""


def profile_rules(name: str) -> list[Rule]:
    """Return the rules of a profile.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        raise ConfigError(f'profile "{name}" is not one of {", ".join(PROFILES)}')
    return [parse_rule(rule) for rule in PROFILES[name]]
