"""Options that restrict what guests may reach, and messages about refused flows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

import click

from slirpy.audit.severity import Severity, severity
from slirpy.audit.text import plain
from slirpy.cli.flags import Flag, check_plain_name, empty, flag
from slirpy.config import option
from slirpy.config.policy import NEAR, Rule, RulePolicy, parse_rule, profile_rules
from slirpy.config.text import with_port
from slirpy.errors import ConfigError
from slirpy.fair import TokenBucket
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.units import SECOND

if TYPE_CHECKING:
    from click.parser import _Option, _OptionParser, _ParsingState

__all__ = ["RefusedFlows", "policy_of", "rule_options"]

REPEAT = 30 * SECOND
"""Time for which a reported flow is not reported again."""
BURST = 20
"""Number of lines of one class of severity that may appear at once."""
LINES_A_SECOND = 2
"""Rate of lines after that burst."""
_CLASS_NAMES = {
    Severity.METADATA: "metadata services",
    Severity.HOST: "the host",
    Severity.PRIVATE: "private addresses",
}
REMEMBERED = 1024
"""Number of reported flows to remember. Beyond it, the oldest are forgotten."""


DENY_PRIVATE = "deny-private"
"""The entry of ``--deny-private``."""
AGENT = "profile agent"
"""The entry of ``--profile agent``."""


class RuleOption(Flag):
    """An option for a rule. All of them fill one list, ``rules``, in the order of the command line.

    Each entry is the word of the option and its value: ``"allow 203.0.113.0/24:443"``. Click keeps the order of
    the values within one option only, so the options share a list, and each prepends its word.
    """

    def in_file(self, key: str, value: str) -> str:
        """An entry for a value in the file of ``--config``."""
        return f"{key} {value}"

    def add_to_parser(self, parser: _OptionParser, ctx: click.Context) -> None:
        """See :meth:`click.Option.add_to_parser`."""
        super().add_to_parser(parser, ctx)
        option = parser._long_opt[self.opts[0]]  # one object for all names
        for name in self.opts:
            parser._long_opt[name] = _with_word(ctx, option, name, self.metavar)


def _with_word(ctx: click.Context, option: _Option, name: str, metavar: str | None) -> _Option:
    """A parser option that puts its own name before the value, since the parser cannot keep the order otherwise."""
    own = copy(option)
    plain = own.process

    def process(value: Any, state: _ParsingState) -> None:
        if value == "":
            raise empty(ctx, name, metavar)
        plain(f"{name.removeprefix('--')} {value}", state)

    own.process = process  # type: ignore[method-assign] # of this object only
    return own


def rule_options() -> Iterator[Callable[[Any], Any]]:
    """The options, for :func:`policy_of`; all of them set ``policy``."""

    def rule(*names: str, metavar: str = "RULE", text: str) -> Callable[[Any], Any]:
        return flag(
            *names, "rules", cls=RuleOption, group=policy.group, multiple=True, metavar=metavar, help=text
        )

    policy = option("policy")
    assert policy.flag is not None
    yield rule(
        "--allow",
        text="Allow this, and reject what no rule allows. RULE is [tcp:|udp:|icmp:|quic:]DESTINATION[:PORTS], as the"
        " guest names it: a network; a name, example.org or *.example.org; or any (not this host), internet, self"
        " (every address of this host), host (the gateway: the host's 127.0.0.1), private, link-local, metadata."
        " PORTS: 80,443,8000-8010. Behind a name: tls=strict, sni-optional or off. The first rule that matches"
        " decides.",
    )
    yield rule("--deny", "--reject", text="Reject this with RST or ICMP.")
    yield rule("--drop", text="Drop this silently.")
    yield rule(
        "--redirect",
        metavar="RULE=TARGET[:PORT]",
        text="Send this elsewhere, such as tcp:any:80=127.0.0.1:8080, as the host names it: an address or a name.",
    )
    yield flag(
        "--deny-private",
        "rules",
        group=policy.group,
        is_flag=True,
        multiple=True,
        flag_value=DENY_PRIVATE,
        help="Reject all that is not public: --deny self, link-local, metadata and private.",
    )
    yield rule(
        "--profile",
        metavar="NAME",
        text="Put the rules of a profile before all others, and reject what no rule allows. agent: close this host,"
        " metadata services, link-local and private networks; guests do not reach each other, and CMD of slirpy run"
        " gets a clean environment.",
    )
    yield rule(policy.flag, metavar=policy.kind.metavar, text=policy.flag_help)
    yield flag(
        "--ask",
        group=policy.group,
        is_flag=True,
        help="Hold flows that no rule knows for up to 30 s, and ask about them at the terminal.",
    )
    yield flag(
        "--ask-save",
        group=policy.group,
        metavar="FILE",
        help="With --ask: write FILE at the end, a policy of the answers always and never. It must not exist yet.",
    )


def policy_of(rules: Sequence[str], *, ask: bool = False) -> RulePolicy | None:
    """Build the policy that the options describe.

    Args:
        rules: as :class:`RuleOption` collects them.
        ask: whether somebody is asked about what no rule knows.

    Raises:
        ConfigError: a rule that cannot be read.
    """
    found: list[Rule] = []
    first: list[Rule] = []
    default = Action.ALLOW
    files = 0
    for text in rules:
        word, _, value = text.partition(" ")
        if word == "profile":
            try:
                first += profile_rules(value)
            except ConfigError as error:
                raise ConfigError(f"--{error}") from None
        elif word == DENY_PRIVATE:
            found += map(parse_rule, NEAR)
        elif word == "policy":
            check_plain_name("--policy", value)
            policy = RulePolicy.from_file(value)
            found += policy.rules
            default = policy.default
            files += 1
        else:
            found.append(parse_rule(text))
    if files > 1:
        raise ConfigError("--policy was given more than once; there is one list of rules and one default")
    if first or any(text.startswith("allow ") for text in rules):
        default = Action.REJECT
    if ask:
        default = Action.ASK
    return RulePolicy([*first, *found], default) if rules or ask else None


class RefusedFlows:
    """Reports refused flows to the user: one line each, without repetition, at a limited rate.

    Each class of severity has its own rate, so that thousands of refusals of one class do not hide those of another.

    Args:
        tell: prints a line.
        clock: monotonic nanoseconds.
    """

    def __init__(self, tell: Callable[[str], object], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._tell = tell
        self._clock = clock
        self._reported: dict[tuple[object, ...], tuple[int, int]] = {}
        """Time when a flow was last reported, and how often it has been refused since."""
        self._lines = {level: TokenBucket(LINES_A_SECOND, BURST, clock()) for level in Severity}
        self._unreported = dict.fromkeys(Severity, 0)

    def __call__(self, request: FlowRequest, verdict: Verdict) -> None:
        """Report a refused flow; a :data:`~slirpy.interfaces.RefusedHook`."""
        now = self._clock()
        key = (
            request.protocol, request.source_bytes, request.destination_bytes, request.destination_port, request.host,
            verdict,
        )  # fmt: skip
        when, again = self._reported.get(key, (None, 0))
        if when is not None and now - when < REPEAT:
            self._reported[key] = when, again + 1
            return
        level = severity(request.destination_bytes, request.host)
        if not self._lines[level].take(now):
            self._unreported[level] += 1
            return
        self._reported.pop(key, None)
        if len(self._reported) >= REMEMBERED:
            del self._reported[next(iter(self._reported))]
        self._reported[key] = now, 0
        self._say(_line(request, verdict) + (f"; {again} times more before that" if again else ""))

    def close(self) -> None:
        """Report at the end how many flows were not reported."""
        total = sum(self._unreported.values())
        if total:
            severe = [
                f"{number} to {_CLASS_NAMES[level]}"
                for level, number in self._unreported.items()
                if number and level in _CLASS_NAMES
            ]
            detail = f", of them {', '.join(severe)}" if severe else ""
            self._say(f"{total} more flows were refused and not reported{detail}")
            self._unreported = dict.fromkeys(Severity, 0)

    def _say(self, line: str) -> None:
        with suppress(OSError):  # no reader, which must not stop the network
            self._tell(line)


def _line(request: FlowRequest, verdict: Verdict) -> str:
    """The line about a refused flow: plain text, even if a policy puts a guest's bytes in its reason."""
    protocol = IPProtocol(request.protocol)
    where = str(request.destination)
    if protocol is not IPProtocol.ICMP:
        where = with_port(where, request.destination_port)
    verb = "dropped" if verdict.action is Action.DROP else "refused"
    reason = f" ({plain(verdict.reason)})" if verdict.reason else ""
    return f"{verb} {protocol.name.lower()} {request.source} -> {where}{reason}"
