"""Mistakes in options: empty values, options of files that there are not, and messages that name what was typed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import TextIO, TypeVar

import click

from slirpy.errors import ConfigError, ForwardError, LinkError, SlirpyError

__all__ = ["KEY_AND_VALUE", "Command", "check_plain_name", "check_terminal", "empty", "in_flags", "names_flags"]

_T = TypeVar("_T")

KEY_AND_VALUE = re.compile(r",([A-Za-z][\w.-]*)=([^,]*)")
"""What looks like an option after the name of a file."""

_FLAGS = {
    name: "--" + name.replace("_", "-")
    for name in (
        "net", "host", "dhcpstart", "mtu", "hub", "congestion", "tcp_keepalive", "hostname", "bootfile", "tftp",
        "tftp_write", "tftp_ignore_case", "tftp_single_port", "tftp_server_name", "lease", "lease_time", "lease_file",
        "hostfwd", "guestfwd", "smb", "smbserver", "route", "dns_cache", "dns_mode", "dns_mix_case", "restrict",
        "outbound", "policy", "capture",
    )
}  # fmt: skip
_FLAGS |= {
    "dns": "--dns-address",
    "resolver": "--dns",
    "resolvers": "--dns",
    "domainname": "--domain",
    "dnssearch": "--dns-search",
    "static_leases": "--lease",
    "routes": "--route",
    "DNS record": "--dns-record",
    "dhcp-option": "--dhcp-option",
    "dhcp_options": "--dhcp-option",
    "dns_records": "--dns-record",
    "host_loopback": "--no-host-loopback",
}
"""From how a message names an argument of :class:`slirpy.Config`, or a rule, to the option that sets it."""
_WORDS = "|".join(sorted(map(re.escape, _FLAGS), key=len, reverse=True))
_RULE = re.compile(r'rule "(allow|deny|reject|drop|redirect) ')
_START = re.compile(rf"({_WORDS})(?=[ :](?!file))")
_INSIDE = re.compile(rf"(?<![\w.-])({_WORDS})=(?=\S|$)")


def in_flags(text: str) -> str:
    """A message about an argument of :class:`slirpy.Config`, in the words of the command line.

    Messages begin with the name of the argument, or with the kind of rule, and write others as ``NAME=VALUE``.
    What stands in quotes is what the user wrote, and stays.
    """
    if rule := _RULE.match(text):
        return f'--{rule[1]} "{text[rule.end() :]}'
    if start := _START.match(text):
        text = _FLAGS[start[1]] + text[start.end() :]
    parts = text.split('"')
    parts[::2] = [_INSIDE.sub(lambda match: _FLAGS[match[1]] + " ", part) for part in parts[::2]]
    return '"'.join(parts)


def names_flags(function: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a function that takes the values of options: its errors name options."""

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
    """The mistake of an empty value, which is most often that of a variable that is not set."""
    return click.UsageError(
        f"{option} has an empty value; give it {metavar or 'one'}, or leave {option} out", ctx
    )


class Command(click.Command):
    """A command none of whose options and arguments takes an empty value.

    An empty path is the current folder to most functions of the system, and an empty name is none. Arguments that
    are another command line are not looked at.
    """

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
    """Check the name of a file or folder whose option takes nothing else after a comma.

    Raises:
        ConfigError: KEY=VALUE follows a comma, and nothing has that name.
    """
    found = KEY_AND_VALUE.search(name)
    if found is not None and not os.path.lexists(name):
        raise ConfigError(
            f'{option} "{name}": nothing has this name, and {option} takes no option "{found[0][1:]}"; leave it out,'
            " or make the file first if that is its name"
        )


def check_terminal(file: TextIO) -> None:
    """Check that ``--top`` has somewhere to draw.

    Raises:
        ConfigError: ``file`` is no terminal.
    """
    if not file.isatty():
        raise ConfigError("--top draws on standard error, which is no terminal here; use --stats")
