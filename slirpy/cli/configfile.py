"""``--config``: options of commands from a TOML file.

A key is the name of an option without its dashes. Keys at the top of the file are for every command that has such an
option; those of a table with a command's name are for that command alone. The known keys follow from the options of
the commands, so there is no second table of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import click
from click.core import ParameterSource

from slirpy import paths
from slirpy.cli.app import COMMANDS, app
from slirpy.config.text import hint
from slirpy.errors import ConfigError

__all__ = ["ConfigFile", "Values"]

Values: TypeAlias = dict[str, Any]
"""Values of a command's parameters, by their names."""

_OWN = frozenset(("config", "help", "version"))
_RULES = "rules"
"""The key of a list of rules in one order, each with its word; the rule options have keys of their own, too."""


class ConfigFile:
    """The contents of a file, checked completely: also what is for other commands.

    Args:
        path: the file.
        command: the name of the command that reads it.

    Raises:
        ConfigError: the file cannot be read, a key is unknown (the nearest is named), or a value is of the wrong
            kind; the text begins with file and line.
    """

    def __init__(self, path: str, command: str) -> None:
        self.path = path
        self._command = command
        try:
            with open(path, "rb", opener=paths.open_again) as file:
                data = file.read()
            self._text = data.decode()
            self._found = tomllib.loads(self._text)
        except OSError as error:
            raise ConfigError(f'--config "{path}": {(error.strerror or str(error)).lower()}') from None
        except ValueError as error:
            place = re.search(r"\(at line (\d+), column \d+\)", str(error))
            last = len(data.splitlines()) if "(at end of document)" in str(error) else None
            line = place[1] if place else last
            where = path if line is None else f"{path}:{line}"
            raise ConfigError(f"{where}: not TOML: {str(error).partition(' (at ')[0]}") from None
        self._keys: dict[str, dict[str, _Key]] = {}
        self._check()

    def _check(self) -> None:
        for key, value in self._found.items():
            if key in COMMANDS and isinstance(value, dict):
                known = self._keys_of(key)
                for inner, each in value.items():
                    if inner not in known:
                        raise self._unknown(inner, key, known)
                    self._value(known[inner], inner, each, key)
                continue
            # The command's own options first: the others need not be imported then.
            commands = dict.fromkeys((self._command, *COMMANDS))
            home = next((self._keys_of(name)[key] for name in commands if key in self._keys_of(name)), None)
            if home is None:
                raise self._unknown(key, None, [*self._every_key(), *COMMANDS])
            self._value(home, key, value, None)

    def _unknown(self, key: str, table: str | None, known: Sequence[str] | Mapping[str, Any]) -> ConfigError:
        advice = hint(key.replace("_", "-"), known, f"see slirpy {table or 'COMMAND'} --help")
        where = f" of {table}" if table is not None else ""
        return ConfigError(f'{self.path}:{self.line(key, table)}: unknown key "{key}"{where}; {advice}')

    def _value(self, key: _Key, name: str, value: Any, table: str | None) -> list[Any] | Any:
        try:
            return key.read(name, value)
        except ValueError as error:
            raise ConfigError(f"{self.path}:{self.line(name, table)}: {name} {error}") from None

    def _every_key(self) -> list[str]:
        return list(dict.fromkeys(key for name in COMMANDS for key in self._keys_of(name)))

    def _keys_of(self, command: str) -> dict[str, _Key]:
        if command not in self._keys:
            found = app.get_command(click.Context(app), command)
            assert found is not None
            self._keys[command] = dict(_keys(found))
        return self._keys[command]

    def values(self, command: click.Command, name: str) -> Values:
        """The values of the parameters of a command, unconverted.

        A list has the entries of the command's own table first, then those from the top of the file.
        """
        known = dict(_keys(command))
        own = self._found.get(name) if name in COMMANDS else None
        result: Values = {}
        for table, found in ((name, own if isinstance(own, dict) else {}), (None, self._found)):
            for key, value in found.items():
                if key not in known or (table is None and key in COMMANDS and isinstance(value, dict)):
                    continue
                read = self._value(known[key], key, value, table)
                parameter = known[key].name
                if known[key].several:
                    result[parameter] = [*result.get(parameter, ()), *read]
                else:
                    result.setdefault(parameter, read)
        return result

    def place(self, text: str, ctx: click.Context) -> str | None:
        """File and line of a value that an error message is about; None if it is not about one of this file.

        Args:
            text: the message, which begins with the name of an option.
            ctx: of the command.
        """
        name = ctx.command.name
        for key, known in _keys(ctx.command):
            if not re.match(rf"(?:Invalid value for ')?--{re.escape(key)}(?![\w-])", text):
                continue
            if not known.several and ctx.get_parameter_source(known.name) is ParameterSource.COMMANDLINE:
                continue
            for table, found in ((name, self._found.get(name or "")), (None, self._found)):
                if not isinstance(found, dict) or key not in found or isinstance(found[key], dict):
                    continue
                if not known.several:
                    return f"{self.path}:{self.line(key, table)}"
                values = found[key] if isinstance(found[key], list) else [found[key]]
                for value in values:
                    if str(value) in text:
                        return f"{self.path}:{self.line(key, table, str(value))}"
        return None

    def line(self, key: str, table: str | None, value: str = "") -> int:
        """The line of a key, or of a value in its list.

        Text of several lines may contain the same word. So the lines before it are parsed as a complete file, which
        must lack the key, and the lines that follow must add it.
        """
        lines = self._text.splitlines()
        for number, line in enumerate(lines):
            if (
                key not in line
                or line.lstrip().startswith("#")
                or _has(lines[:number], key, table) is not False
            ):
                continue
            if _has_after(lines, number, key, table):
                behind = range(number, len(lines))
                return 1 + next((later for later in behind if value and value in lines[later]), number)
        return 1


def _has(lines: Sequence[str], key: str, table: str | None) -> bool | None:
    """Report whether lines contain a key; None if they are not complete."""
    try:
        found = tomllib.loads("\n".join(lines))
    except ValueError:
        return None
    inner = found if table is None else found.get(table, {})
    return isinstance(inner, dict) and key in inner


def _has_after(lines: Sequence[str], number: int, key: str, table: str | None) -> bool:
    """Report whether a key is there once the value that begins in a line is complete."""
    for end in range(number + 1, len(lines) + 1):
        if (found := _has(lines[:end], key, table)) is not None:
            return found
    return False


class _Key:
    """The parameter that a key sets.

    Args:
        parameter: of the command.
        negated: whether it is the name that turns an option off.
    """

    def __init__(self, parameter: click.Parameter, *, negated: bool = False) -> None:
        self._parameter = parameter
        self._negated = negated
        self.name = parameter.name or ""
        self.several = bool(getattr(parameter, "multiple", False)) or parameter.nargs == -1
        """True if the parameter's value is a list."""

    def read(self, key: str, value: Any) -> Any:
        """Check the kind of a value. Returns it as the command line has it.

        Raises:
            ValueError: it is of another kind; the text says which kinds are allowed.
        """
        parameter = self._parameter
        if getattr(parameter, "is_flag", False):
            if not isinstance(value, bool):
                raise ValueError(f"must be true or false, {_given(value)}")
            if self.several:
                return [getattr(parameter, "flag_value", "")] * value
            return value is not self._negated
        if not self.several:
            return self._one(value)
        values = [self._one(each) for each in (value if isinstance(value, list) else [value])]
        in_file = getattr(parameter, "in_file", None)
        return values if in_file is None or key == _RULES else [in_file(key, each) for each in values]

    def _one(self, value: Any) -> Any:
        kind = self._parameter.type
        several = ", or a list of such" if self.several else ""
        if isinstance(kind, click.types.FloatParamType):
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"must be a number{several}, {_given(value)}")
        elif isinstance(kind, click.types.IntParamType):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"must be a whole number{several}, {_given(value)}")
        elif not isinstance(value, str):
            example = f', such as "{value}"' if type(value) in (int, float) else ""
            raise ValueError(f"must be text in quotes{several}{example}, {_given(value)}")
        elif not value:
            raise ValueError(f"is empty; give it {self._parameter.metavar or 'a value'}, or leave it out")
        return value


def _given(value: Any) -> str:
    """A value of the wrong kind, for messages."""
    if isinstance(value, bool):
        return f"not {str(value).lower()}"
    if isinstance(value, str):
        return f'not the text "{value}"'
    kinds = {int: f"the number {value}", float: f"the number {value}", list: "a list", dict: "a table"}
    return "not " + kinds.get(type(value), str(value))


def _keys(command: click.Command) -> Iterator[tuple[str, _Key]]:
    """All keys of a command."""
    for parameter in command.params:
        if parameter.name in _OWN:
            continue
        if isinstance(parameter, click.Option):
            for name in parameter.opts:
                yield name.lstrip("-"), _Key(parameter)
            for name in parameter.secondary_opts:
                yield name.lstrip("-"), _Key(parameter, negated=True)
            if parameter.name == _RULES:
                yield _RULES, _Key(parameter)
        elif key := getattr(parameter, "key", ""):
            yield key, _Key(parameter)
