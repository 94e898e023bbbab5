"""Parts that the programs with the command lines of passt and pasta share: help, files, users, the background."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, NoReturn

from slirpy.cli import main as program
from slirpy.cli.passt.arguments import OPTIONS, Given, read_arguments
from slirpy.errors import ConfigError, SlirpyError

if TYPE_CHECKING:
    from slirpy.config import Config

__all__ = [
    "FAILED",
    "OutputFiles",
    "become_user",
    "check_others",
    "detach",
    "go_to_background",
    "inherited_descriptor",
    "preload",
    "read_or_show",
    "run_program",
    "shut_in",
    "user_of",
]

_LATE = (
    "slirpy.cli.confined",
    "slirpy.cli.tables",
    "dpkt",
    "dpkt.dhcp",
    "dnslib",
    "dnslib.label",
    "tftpy",
    "logging",
    "shutil",
    "socket",
)
_PARTS = ("wire", "tcp", "core", "nat", "services", "host", "sandbox")
"""Parts of slirpy whose modules the first packet of a kind imports."""
FAILED = 1
"""Exit status of every failure, as with the originals."""
_COLUMN = 32
"""Column of the descriptions in ``--help``."""


def run_program(command: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a program with the arguments of the process, and exit with the status that it returns."""
    program.run(partial(_checked, command, sys.argv[1:]))


def _checked(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        return command(arguments)
    except SlirpyError as error:
        program.fail(str(error), FAILED)


def read_or_show(
    name: str, arguments: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> Given | None:
    """Read a command line. Returns None if it only asked for a text, which was shown.

    Args:
        name: ``"passt"`` or ``"pasta"``.
        arguments: the words after the program's name.
        before: lines of ``--help`` that precede those for the options.
        after: lines that follow them.

    Raises:
        ConfigError: the command line cannot be read.
    """
    given = read_arguments(name, arguments)
    if given.has("help"):
        print("\n".join((*before, *_option_lines(name), *after)))
        return None
    if given.has("version"):
        from slirpy._version import __version__

        print(f"slirpy-{name} {__version__}")
        return None
    return given


def _option_lines(name: str) -> list[str]:
    """Lines of ``--help`` for the options of a program."""
    lines = []
    for row in OPTIONS:
        if name in row.programs.split():
            flags = f"{f'-{row.short}, ' if row.short else '    '}--{row.long} {row.value}"
            lines += wrap(
                row.help, 79, initial_indent=f"  {flags:<{_COLUMN - 2}}", subsequent_indent=_COLUMN * " "
            )
    return lines


class OutputFiles:
    """The files that the program writes."""

    def __init__(self, given: Given, stack: ExitStack) -> None:
        from slirpy.cli.pidfile import PidFile

        pid = given.last("pid")
        self._pid = None if pid is None else stack.enter_context(PidFile(*pid))
        log = given.last("log-file")
        if log is not None:
            try:
                descriptor = os.open(log[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise ConfigError(f'{log[0]} "{log[1]}": cannot be written: {why}') from None
            os.dup2(descriptor, 2)
            os.close(descriptor)

    @property
    def removed(self) -> list[str]:
        """Files that are removed at the end."""
        return [] if self._pid is None else [self._pid.path]

    def write(self) -> None:
        """Write the process id."""
        if self._pid is not None:
            self._pid.write()


def check_others(given: Given) -> None:
    """Check options that matter little, and pairs that exclude each other.

    Raises:
        ConfigError: a value that is no number, or two options that exclude each other.
    """
    for option in ("log-size", "stats"):
        last = given.last(option)
        if last is not None and not (last[1].isascii() and last[1].isdigit() and int(last[1])):
            raise ConfigError(f'{last[0]} "{last[1]}" is not a positive number')
    if given.has("quiet") and given.has("debug"):
        raise ConfigError("-q and -d exclude each other; leave one out")
    if given.has("userns") and given.has("netns-only"):
        raise ConfigError("--userns and --netns-only exclude each other; leave one out")


def user_of(given: Given) -> tuple[int, int] | None:
    """The user to become; None: stay.

    Raises:
        ConfigError: there is no such user, or this one may not become it.
    """
    import grp
    import pwd

    last = given.last("runas")
    if last is None:
        if os.geteuid() != 0 or given.has("netns-only"):
            return None
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            return 65534, 65534
        return nobody.pw_uid, nobody.pw_gid
    typed, text = last
    name, colon, group = text.partition(":")
    try:
        if name.isascii() and name.isdigit():
            user, own = int(name), int(name)
        else:
            entry = pwd.getpwnam(name)
            user, own = entry.pw_uid, entry.pw_gid
        if colon:
            own = int(group) if group.isascii() and group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f'{typed} "{text}": there is no such user or group') from None
    if os.geteuid() != 0 and (user, own) != (os.geteuid(), os.getegid()):
        raise ConfigError(f'{typed} "{text}": only root becomes another user; leave it out')
    return (user, own) if os.geteuid() == 0 else None


def become_user(user: tuple[int, int]) -> None:
    """Become another user and group, for good."""
    from slirpy.cli.passt.spawn import become

    become(user)


def shut_in(
    given: Given, config: Config, stack: ExitStack, files: OutputFiles, *, signals: Iterable[int] = ()
) -> None:
    """Confine this process for good, as ``--sandbox`` of slirpy's commands does, and tell what this system lacks.

    A helper process may start here. It keeps what is open: leave the caller's streams and the user before.

    Args:
        given: the command line.
        config: options of the network.
        stack: undoes it at its end.
        files: files that the program removes at its end.
        signals: processes that it ends.
    """
    from slirpy.cli.confined import SelfSandbox, tell_lacking

    confined = SelfSandbox("auto", config, stack)
    lacking = confined.enter(signals=signals, removed=files.removed, low_ports=True)
    if not given.has("quiet"):
        tell_lacking(lacking)


def preload() -> None:
    """Import what is imported late otherwise: another user may not be allowed to read it."""
    for name in _LATE:
        importlib.import_module(name)
    for part in _PARTS:
        package = importlib.import_module(f"slirpy.{part}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)


def inherited_descriptor(typed: str, text: str) -> int:
    """Parse the number of a descriptor that the caller has passed on, and keep it from children.

    Raises:
        ConfigError: it is none, or not open.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else -1
    try:
        os.fstat(number)
    except OSError:
        raise ConfigError(f'{typed} "{text}" is no open descriptor; the caller must pass it on') from None
    os.set_inheritable(number, False)
    return number


def go_to_background() -> int:
    """Go on in a child. The parent waits until the child is ready or has ended, and exits then.

    Returns:
        The descriptor by which the child says that it is ready.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        return writer
    os.close(writer)
    if os.read(reader, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def detach(ready: int) -> None:
    """Leave the session and the standard streams of the caller, and let it go on."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    os.write(ready, b"1")
    os.close(ready)
