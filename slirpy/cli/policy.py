"""Options that restrict what guests may reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.flags import Flag, check_plain_name, empty, flag
from slirpy.config import option
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from click.parser import _Option, _OptionParser, _ParsingState

    from slirpy.config.policy import RulePolicy

__all__ = ["AGENT", "policy_of", "rule_options"]

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
    if not rules and not ask:
        return None
    from slirpy.config.policy import NEAR, Rule, RulePolicy, parse_rule, profile_rules
    from slirpy.interfaces import Action

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
    return RulePolicy([*first, *found], default)
