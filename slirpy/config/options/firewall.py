"""Options of the firewall."""

from __future__ import annotations

from typing import Any

from slirpy.config.kinds import Function, Made, Switch
from slirpy.config.policy import RulePolicy
from slirpy.config.rows import Group, Option
from slirpy.config.values import listed

__all__ = ["ROWS"]


def _rule_policy(rules: Any) -> RulePolicy:
    return RulePolicy(listed("policy", rules))


ROWS: tuple[Option, ...] = (
    Option(
        name="policy",
        group=Group.FIREWALL,
        kind=Made(
            make=_rule_policy,
            form="a RulePolicy, or a list of rules",
            function="decide about a FlowRequest",
            may_wait=True,
            metavar="FILE",
        ),
        default=None,
        default_text="allow everything",
        help="Decide which flows to allow; the first rule that matches a new flow applies.",
        more="A function is called once for each new flow. It may be a coroutine function, or return a Decision.",
        flag="--policy",
        flag_help="Read rules from a TOML file, at this position among the other rules.",
    ),
    Option(
        name="restrict",
        group=Group.FIREWALL,
        kind=Switch(),
        default=False,
        help="Isolate the guest: it reaches only the virtual network; forwarded connections still reach it.",
        flag="--restrict",
        qemu="restrict",
    ),
    Option(
        name="host_loopback",
        group=Group.FIREWALL,
        kind=Switch(),
        default=True,
        help="Let guests reach the host's 127.0.0.1 at the gateway's address.",
        flag="--no-host-loopback",
    ),
    Option(
        name="on_refused",
        group=Group.FIREWALL,
        kind=Function(takes="a FlowRequest and a Verdict"),
        default=None,
        help="Called for each flow that policy, restrict or host_loopback refuses; for UDP, for each datagram.",
        flag=None,
    ),
)
