"""Options of the firewall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slirpy.config.audit import audit_text
from slirpy.config.kinds import Choice, Function, Location, Made, Switch
from slirpy.config.rows import Group, Option
from slirpy.config.values import listed
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.config.policy import RulePolicy

__all__ = ["ROWS"]


def _rule_policy(rules: Any) -> RulePolicy:
    from slirpy.config.policy import RulePolicy

    return RulePolicy(listed("policy", rules))


def _asker(value: Any) -> Any:
    if not callable(value):
        raise ConfigError(f"asker {value!r} is not a function of a FlowRequest and a Verdict")
    return value


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
        help="Let guests reach this host: its 127.0.0.1 at the gateway's address, and its other addresses.",
        flag="--no-host-loopback",
    ),
    Option(
        name="loopback_only",
        group=Group.FIREWALL,
        kind=Switch(),
        default=False,
        help="Without host_loopback, shut the host's loopback only, and leave its other addresses open.",
        flag=None,
    ),
    Option(
        name="on_refused",
        group=Group.FIREWALL,
        kind=Function(takes="a FlowRequest and a Verdict"),
        default=None,
        help="Called for each flow that policy, restrict or host_loopback refuses; for UDP, for each datagram.",
        flag=None,
    ),
    Option(
        name="asker",
        group=Group.FIREWALL,
        kind=Made(make=_asker, form="a function of a FlowRequest and a Verdict"),
        default=None,
        help="Decides about flows for which the policy says ask.",
        more="It returns a Verdict, a Decision, or something that can be awaited; without it, they are refused.",
        flag=None,
    ),
    Option(
        name="audit",
        group=Group.FIREWALL,
        kind=Made(
            make=audit_text,
            form="`FILE`, `fd:N` or `unix:PATH`",
            function="take each record",
            metavar="FILE",
        ),
        default=None,
        help="Append a record of each flow, refusal, name and lease to FILE, or to fd:N or unix:PATH.",
        more="A line of JSON each; a function is called with each record, a dict. See the page about the audit.",
        flag="--audit",
    ),
    Option(
        name="audit_fail",
        group=Group.FIREWALL,
        kind=Choice(words=("open", "closed"), metavar="open|closed"),
        default="open",
        help="What happens while the audit log cannot be written: closed allows no new flows.",
        flag="--audit-fail",
    ),
    Option(
        name="learn",
        group=Group.FIREWALL,
        kind=Location(what="file", metavar="FILE"),
        default=None,
        help="Write FILE at the end: a policy that allows exactly what was used. It must not exist yet.",
        flag="--learn",
    ),
)
