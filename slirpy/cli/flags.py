"""Errors in options: empty values, values for files that do not exist, and messages that name the flag as typed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, TextIO, TypeVar

import click
from click.core import ParameterSource

from slirpy import paths
from slirpy.cli import logs, streams
from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError

__all__ = [
    "KEY_AND_VALUE",
    "Command",
    "Flag",
    "KeyedArgument",
    "by_group",
    "check_plain_name",
    "check_terminal",
    "empty",
    "flag",
    "in_flags",
    "names_flags",
    "read_again",
]

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])

KEY_AND_VALUE = r",([A-Za-z][\w.-]*)=([^,]*)"
"""Pattern of an option after the name of a file."""

_FILE_VALUES = ("FILE", "DIR", "PATH")
"""Beginnings of placeholders of values that are names of files."""
COLUMN = 22
"""Characters for the flags in ``--help``: the rest of a line of 80 holds the grammar of ``--hostfwd``."""
_RULE = r'rule "(allow|deny|reject|drop|redirect) '


@cache
def _flags() -> dict[str, str]:
    """Map from how messages name an option of :class:`slirpy.Config`, or a rule, to the flag that sets it."""
    from slirpy.config import OPTIONS  # needed for error messages only

    flags = {
        "capture": "--capture",
        "capture file": "--capture",
        "trace file": "--trace",
        "capture_dir": "--capture-dir",
        "control": "--control",
        "web": "--web",
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
    if rule := re.match(_RULE, text):
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


class KeyedArgument(click.Argument):
    """An argument that may also stand in the file of ``--config``.

    Args:
        key: its key there.
    """

    def __init__(self, *names: Any, key: str, **more: Any) -> None:
        super().__init__(*names, **more)
        self.key = key


class Command(click.Command):
    """A command whose help groups its options, and which rejects empty values of options and arguments.

    Most system functions treat an empty path as the current folder, and an empty name as none. Arguments that
    form another command line are not checked.

    Args:
        general: whether it has ``--config``, ``--log-level`` and ``--log-format``.
    """

    def __init__(self, *arguments: Any, general: bool = True, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if general:
            self.params += _general_options()
        for parameter in self.params:  # so that shells complete names of files
            if parameter.type is click.STRING and (parameter.metavar or "").startswith(_FILE_VALUES):
                parameter.type = click.Path(readable=False)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_options`."""
        for group, options in by_group(self, ctx).items():
            with formatter.section(group):
                records = [record for option in options if (record := option.get_help_record(ctx))]
                formatter.write_dl(records, col_max=COLUMN)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See :meth:`click.Command.parse_args`."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        paths.read_again = {}
        with _placed(ctx):
            rest = super().parse_args(ctx, args)
        self._add_lists(ctx)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            values = value if isinstance(value, tuple) else (value,)
            if "" in values and parameter.type is not click.UNPROCESSED:
                if isinstance(parameter, click.Option):
                    raise empty(ctx, parameter.opts[0], parameter.metavar)
                name = (parameter.metavar or "argument").removesuffix("...")
                raise click.UsageError(f"{name} is empty; give one, or leave it out", ctx)
        return rest

    def _add_lists(self, ctx: click.Context) -> None:
        """Put the entries of lists in the file behind those of the command line."""
        values: Mapping[str, Any] = ctx.meta[_FILE][1] if _FILE in ctx.meta else {}
        for parameter in {each.name: each for each in self.params if each.name in values}.values():
            name = str(parameter.name)
            several = getattr(parameter, "multiple", False) or parameter.nargs == -1
            if several and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
                added = parameter.type_cast_value(ctx, values[name])
                ctx.params[name] = (*(ctx.params[name] or ()), *added)

    def invoke(self, ctx: click.Context) -> Any:
        """See :meth:`click.Command.invoke`."""
        with _placed(ctx):
            return super().invoke(ctx)


_ARGUMENTS, _FILE = "slirpy.arguments", "slirpy.config"
"""Keys of ``click.Context.meta``: the command line, and the file of ``--config`` with its values."""


def read_again(ctx: click.Context, use: Callable[[dict[str, Any]], _T]) -> _T:
    """Read the command line of a command again, and thereby the file of ``--config``.

    Args:
        ctx: the command's context.
        use: called with the values of its parameters. Its errors name flags, or places in the file.

    Returns:
        What ``use`` returns.

    Raises:
        SlirpyError, click.ClickException: the file has a mistake now.
    """
    arguments = list(ctx.meta[_ARGUMENTS])
    with ctx.command.make_context(ctx.info_name, arguments, parent=ctx.parent) as fresh, _placed(fresh):
        return names_flags(use)(fresh.params)


def _general_options() -> list[click.Option]:
    """Options of all commands."""
    own: dict[str, Any] = {"is_eager": True, "expose_value": False}
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            callback=_load,
            help="Read options from FILE, in TOML: mtu = 9000. The command line wins; lists are joined.",
            **own,
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(logs.LEVELS),
            callback=_set_style,
            help="Write messages of this level and above.  [default: info]",
            **own,
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(logs.FORMATS),
            callback=_set_style,
            help="Write messages as text, or each as an object of JSON on a line.  [default: text]",
            **own,
        ),
    ]


def _load(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if not value:
        if value is not None:
            raise empty(ctx, parameter.opts[0], parameter.metavar)
        ctx.meta.pop(_FILE, None)  # of an earlier command in this process
        return
    from slirpy.cli.configfile import ConfigFile

    check_plain_name("--config", value)
    name = ctx.command.name or ""
    file = ConfigFile(value, name)
    values = file.values(ctx.command, name)
    ctx.meta[_FILE] = file, values
    ctx.default_map = values


def _set_style(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    name = str(parameter.name).removeprefix("log_")
    setattr(logs.style, name, value or getattr(logs.LogStyle, name))
    streams.relay_library()


@contextmanager
def _placed(ctx: click.Context) -> Iterator[None]:
    """Put file and line before errors about values from the file of ``--config``."""
    try:
        yield
    except (SlirpyError, click.UsageError) as error:
        text = error.message if isinstance(error, click.UsageError) else str(error)
        if isinstance(error, click.BadParameter):
            text = error.format_message()
        place = ctx.meta[_FILE][0].place(text, ctx) if _FILE in ctx.meta else None
        if place is None:
            raise
        raise ConfigError(f"{place}: {text.removeprefix('--')}") from None


def check_plain_name(option: str, name: str) -> None:
    """Check the name of a file or folder whose option accepts nothing else after a comma.

    Raises:
        ConfigError: KEY=VALUE follows a comma, and no file has that name.
    """
    found = re.search(KEY_AND_VALUE, name)
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
