"""Errors in options: empty values, values for files that do not exist, and messages that name the flag as typed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TextIO, TypeVar

import click

from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError

__all__ = [
    "KEY_AND_VALUE",
    "Command",
    "Flag",
    "by_group",
    "check_plain_name",
    "check_terminal",
    "empty",
    "flag",
    "in_flags",
    "names_flags",
]

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])

KEY_AND_VALUE = re.compile(r",([A-Za-z][\w.-]*)=([^,]*)")
"""Pattern of an option after the name of a file."""

COLUMN = 22
"""Characters for the flags in ``--help``: the rest of a line of 80 holds the grammar of ``--hostfwd``."""
_RULE = re.compile(r'rule "(allow|deny|reject|drop|redirect) ')


@cache
def _flags() -> dict[str, str]:
    """Map from how messages name an option of :class:`slirpy.Config`, or a rule, to the flag that sets it."""
    from slirpy.config import OPTIONS  # needed for error messages only

    flags = {
        "capture": "--capture",
        "capture file": "--capture",
        "trace file": "--trace",
        "control": "--control",
        "control_token_file": "--control-token-file",
    }
    for option in OPTIONS:
        if option.flag is not None:
            flags[option.name] = flags[option.item or option.name] = option.flag
    return flags


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns for a name at the start of a message, and for one before a value within it."""
    words = "|".join(sorted(map(re.escape, _flags()), key=len, reverse=True))
    return re.compile(rf"({words})(?=[ :])"), re.compile(rf"(?<![\w.-])({words})=(?=\S|$)")


def in_flags(text: str) -> str:
    """Rewrite a message about an argument of :class:`slirpy.Config` in terms of the command line.

    Messages begin with the name of the argument, or with the kind of rule, and write other arguments as
    ``NAME=VALUE``. Quoted text is the user's, and stays as it is.
    """
    if rule := _RULE.match(text):
        return f'--{rule[1]} "{text[rule.end() :]}'
    flags = _flags()
    at_start, inside = _patterns()
    if start := at_start.match(text):
        text = flags[start[1]] + text[start.end() :]
    parts = text.split('"')
    parts[::2] = [inside.sub(lambda match: flags[match[1]] + " ", part) for part in parts[::2]]
    return '"'.join(parts)


def names_flags(function: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a function that takes the values of options, so that its errors name flags."""

    @wraps(function)
    def named(*arguments: object, **more: object) -> _T:
        try:
            return function(*arguments, **more)
        except (ConfigError, ForwardError, LinkError) as error:
            raise _renamed(error) from None

    return named


def _renamed(error: SlirpyError) -> SlirpyError:
    return type(error)(in_flags(str(error)))


def empty(ctx: click.Context | None, option: str, metavar: str | None) -> click.UsageError:
    """Error for an empty value, which usually comes from an unset variable."""
    return click.UsageError(
        f"{option} has an empty value; give it {metavar or 'one'}, or leave {option} out", ctx
    )


class Flag(click.Option):
    """An option that ``--help`` lists under a heading.

    Args:
        group: the heading.
    """

    def __init__(self, *names: Any, group: str = "", **more: Any) -> None:
        super().__init__(*names, **more)
        self.group = group


def flag(*names: str, group: str, **more: Any) -> Callable[[_F], _F]:
    """Decorate a command with a :class:`Flag`, as :func:`click.option` does with an option."""
    more.setdefault("cls", Flag)
    return click.option(*names, group=group, **more)


def by_group(command: click.Command, context: click.Context) -> dict[str, list[click.Option]]:
    """The options of a command by their headings: those of ``Group``, in its order, and "Options" for the rest."""
    from slirpy.config import Group

    groups: dict[str, list[click.Option]] = {str(group): [] for group in Group}
    groups["Options"] = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            groups[(parameter.group if isinstance(parameter, Flag) else "") or "Options"].append(parameter)
    return {group: options for group, options in groups.items() if options}


class Command(click.Command):
    """A command whose help groups its options, and which rejects empty values of options and arguments.

    Most system functions treat an empty path as the current folder, and an empty name as none. Arguments that
    form another command line are not checked.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_options`."""
        for group, options in by_group(self, ctx).items():
            with formatter.section(group):
                records = [record for option in options if (record := option.get_help_record(ctx))]
                formatter.write_dl(records, col_max=COLUMN)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See :meth:`click.Command.parse_args`."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            values = value if isinstance(value, tuple) else (value,)
            if "" in values and parameter.type is not click.UNPROCESSED:
                if isinstance(parameter, click.Option):
                    raise empty(ctx, parameter.opts[0], parameter.metavar)
                name = (parameter.metavar or "argument").removesuffix("...")
                raise click.UsageError(f"{name} is empty; give one, or leave it out", ctx)
        return rest


def check_plain_name(option: str, name: str) -> None:
    """Check the name of a file or folder whose option accepts nothing else after a comma.

    Raises:
        ConfigError: KEY=VALUE follows a comma, and no file has that name.
    """
    found = KEY_AND_VALUE.search(name)
    if found is not None and not os.path.lexists(name):
        raise ConfigError(
            f'{option} "{name}": nothing has this name, and {option} takes no option "{found[0][1:]}"; leave it out,'
            " or make the file first if that is its name"
        )


def check_terminal(file: TextIO) -> None:
    """Check that ``--top`` has a terminal to draw on.

    Raises:
        ConfigError: ``file`` is not a terminal.
    """
    if not file.isatty():
        raise ConfigError("--top draws on standard error, which is no terminal here; use --stats")
