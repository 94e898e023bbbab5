"""Flags of the virtual network that several commands share, generated from the table of options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from slirpy.audit.text import plain
from slirpy.cli.flags import check_plain_name, flag, names_flags
from slirpy.cli.policy import AGENT, policy_of, rule_options
from slirpy.config import OPTIONS, Config, Option, option
from slirpy.config.kinds import Choice, Location, Number, Switch
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.cli.refused import RefusedFlows
    from slirpy.config.policy import RulePolicy

__all__ = [
    "CONTEXT",
    "PLAIN_MTU",
    "network_config",
    "network_options",
    "network_values",
    "option_flag",
    "plain_values",
    "report_refused",
]

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

CONTEXT: dict[str, Any] = {"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}
"""Settings of a command that takes another command line: options after its first word belong to that."""

PLAIN_MTU = 1500
"""The MTU of a card that announces none."""
WARNINGS_SHOWN = 5
_SEVERAL = frozenset(("hub", "guard", "isolate", "source_guard"))
"""Options of networks with several guests."""


def network_options(
    guest: str, *, several: bool = False, defaults: Mapping[str, str] | None = None
) -> Decorator:
    """The flags of the virtual network, for :func:`network_config`.

    Args:
        guest: the name of the guest in help texts.
        several: whether there may be several guests, so that ``--hub`` and ``--isolate`` make sense.
        defaults: how the help describes defaults that differ from those of :class:`~slirpy.config.Config`.
    """

    def flags() -> Iterator[Decorator]:
        for row in OPTIONS:
            if row.name == "policy":
                yield from rule_options()
            elif row.flag is not None and (several or row.name not in _SEVERAL):
                yield _flag(row, guest, (defaults or {}).get(row.name))

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = names_flags(function)
        for add in reversed([*flags()]):  # click lists them in reverse order of addition
            function = add(function)
        return function

    return decorate


def option_flag(name: str) -> Decorator:
    """The flag of a single option, for a command without :func:`network_config`.

    The command's parameter has the option's name and value, which is checked.
    """
    row = option(name)

    @names_flags
    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        return row.check(value)

    return _flag(row, "guests", names=(name,), default=row.default, callback=check)


def _flag(
    row: Option, guest: str, default_text: str | None = None, names: tuple[str, ...] = (), **more: Any
) -> Decorator:
    """The flag of an option.

    Args:
        row: the option.
        guest: the name of the guest in help texts.
        default_text: how the help describes the default, if not as the table does.
        names: name of the parameter, if not derived from the flag.
        more: further arguments of :class:`click.Option`.
    """
    kind, spelling = row.kind, str(row.flag)
    if not isinstance(kind, Switch):
        more |= {"metavar": kind.metavar or None, "multiple": kind.several}
    elif row.default:
        # --no-x turns it off; --x, for scripts, says what is the case anyway, or takes --no-x back.
        names = names or (_parameter(row),)
        spelling = f"--{spelling.removeprefix('--no-')}/{spelling}"
        more.setdefault("default", None)
    else:
        more["is_flag"] = True
    if isinstance(kind, Number):
        more["type"] = int
    elif isinstance(kind, Choice):
        more["type"] = _Words(kind.words)
    return flag(spelling, *names, group=row.group, help=_help(row, guest, default_text), **more)


def _parameter(row: Option) -> str:
    """Name of the parameter of a command that holds the value of an option's flag."""
    return str(row.flag).removeprefix("--").replace("-", "_")


class _Words(click.Choice):  # type: ignore[type-arg] # generic since click 8.2
    """A choice whose error messages read like those of other options."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See :meth:`click.ParamType.convert`."""
        if value not in self.choices:
            name = param.opts[0] if param is not None else "the value"
            raise ConfigError(f"{name} {value!r} is not one of {', '.join(self.choices)}")
        return value


def _help(row: Option, guest: str, default_text: str | None) -> str:
    """The help of a flag: its purpose, range and default, and whether it may be repeated."""
    notes = [row.kind.values()] if isinstance(row.kind, Number) else []
    if row.default is True:
        notes.append("default: on")
    elif default_text or row.default_text or row.default not in (None, (), False):
        notes.append(f"default: {default_text or row.shown_default()}")
    text = (row.flag_help or row.help).format(guest=guest)
    text += f"  [{'; '.join(notes)}]" if notes else ""
    return text + ("  May be repeated." if row.kind.several else "")


def network_config(given: Mapping[str, Any], *, reloads: bool = False, **defaults: Any) -> Config:
    """Build the configuration from the values of :func:`network_options`, and let refused flows be reported.

    Args:
        given: value of each flag, by name.
        reloads: whether a policy may come later.
        defaults: arguments of :class:`Config` for flags that were not given.

    Raises:
        ConfigError: a value that cannot be used.
    """
    return Config(**network_values(given, reloads=reloads, **defaults))


def network_values(given: Mapping[str, Any], *, reloads: bool = False, **defaults: Any) -> dict[str, Any]:
    """The arguments of :class:`Config` for :func:`network_config`, not yet checked.

    Raises:
        ConfigError: rules of the policy that cannot be read.
    """
    values = plain_values(given, **defaults)
    if values.get("policy") is not None:
        _warn_about(values["policy"])
    if given.get("ask"):
        from pathlib import Path

        from slirpy.cli.asking import Asker

        save = given.get("ask_save")
        try:
            values["asker"] = Asker(None if save is None else Path(save))
        except ConfigError:  # there is no terminal
            if save is not None or not _is_controlled():
                raise
    closed = values.get("audit_fail") == "closed"
    restricts = values.get("restrict") or not values.get("host_loopback", True)
    if "policy" in values or closed or restricts or reloads:
        values["on_refused"] = report_refused()
    return values


def _is_controlled() -> bool:
    """Report whether the command has a control API, where questions are answered too."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("control") or context.params.get("web"))


def plain_values(given: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Build these arguments without functions. Nothing is opened, and nothing reported.

    Raises:
        ConfigError: rules of the policy that cannot be read.
    """
    values = dict(defaults)
    for row in OPTIONS:
        value = None if row.flag is None else given.get(_parameter(row))
        if value is None or value == () or (value is False and not row.default):
            continue  # not given
        if isinstance(row.kind, Location):
            check_plain_name(str(row.flag), value)
        values[row.name] = value
    ask, save = bool(given.get("ask")), given.get("ask_save")
    if save is not None and not ask:
        raise ConfigError(f'--ask-save "{save}": nothing is asked without --ask')
    if AGENT in given["rules"] and not values.get("hub"):  # a hub is no wall between guests
        values.setdefault("isolate", True)
    policy = policy_of(given["rules"], ask=ask)
    if policy is not None:
        values["policy"] = policy
    return values


def _warn_about(policy: RulePolicy) -> None:
    """Report rules that never match, and destinations that look closed but are not."""
    from slirpy.cli.streams import tell
    from slirpy.config.policy import lint

    warnings = lint(policy)
    for warning in warnings[:WARNINGS_SHOWN]:
        tell(f"warning: {plain(warning)}", level="warning")
    if len(warnings) > WARNINGS_SHOWN:
        tell(f"{len(warnings) - WARNINGS_SHOWN} more warnings; see `slirpy policy check`", level="warning")


def report_refused() -> RefusedFlows:
    """Report refused flows on standard error, until the command ends."""
    from slirpy.cli.refused import RefusedFlows
    from slirpy.cli.streams import tell

    refused = RefusedFlows(lambda line: tell(line, patience=0, level="warning"))  # the network does not wait
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(refused.close)
    return refused
