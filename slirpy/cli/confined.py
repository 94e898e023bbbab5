"""``--sandbox``: shuts slirpy itself in, once a command has set everything up (:mod:`slirpy.sandbox`)."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from slirpy import paths
from slirpy.cli import main
from slirpy.cli.main import fail
from slirpy.cli.streams import tell

if TYPE_CHECKING:
    from slirpy.cli.reporting import Reporting
    from slirpy.config import Config
    from slirpy.sandbox.root import PrivateRoot

__all__ = ["SelfSandbox", "sandbox_option", "tell_lacking"]

_F = TypeVar("_F", bound=Callable[..., object])

_RESOLV_CONF = "/etc/resolv.conf"
_LOOKUP_FILES = ("/etc", "/run/systemd/resolve", "/run/nscd", "/var/lib/sss")
"""Files that the system's resolver library and its plug-ins may read."""


def sandbox_option() -> Callable[[_F], _F]:
    """``--sandbox``: the command gets it as ``sandbox``."""
    import click  # not every program with a sandbox has it

    from slirpy.cli.flags import flag
    from slirpy.config import Group

    return flag(
        "--sandbox",
        group=Group.BORDER,
        type=click.Choice(("auto", "on", "off")),
        default="auto",
        help="Confine slirpy itself once it runs: no capabilities, no new processes, only the files and kinds of"
        " sockets that it needs. auto names what this system lacks; on fails then.  [default: auto]",
    )


class SelfSandbox:
    """The sandbox of one command.

    Args:
        mode: ``"auto"``, ``"on"`` or ``"off"``.
        config: options of the network; None: there is none.
        stack: undoes it all when it ends.
        others: options of further networks.
        reload: whether files that have been read, such as policies, are read again. Then Unix sockets may appear
            where there were some at the start.
    """

    def __init__(
        self,
        mode: str,
        config: Config | None,
        stack: ExitStack,
        others: Sequence[Config] = (),
        *,
        reload: bool = False,
    ) -> None:
        self._mode = mode
        self._missing = ""
        self._configs = [*([] if config is None else [config]), *others]
        self._reloads = reload
        self._reread = list(paths.read_again or ()) if reload else []
        if mode == "on" and sys.platform != "linux":
            fail("--sandbox on: the sandbox needs Linux; use --sandbox auto")
        # A program that only calls a command goes on after it, and must not be shut in unasked.
        self._on = sys.platform == "linux" and (mode == "on" or (mode == "auto" and main.owns_process))
        if self._on:
            self._prepare(stack)

    def _prepare(self, stack: ExitStack) -> None:
        """Start the process that will start programs, and open files that may be replaced, if there are any."""
        configs = self._configs
        programs = any(
            config.smb or any(_is_command(rule.target) for rule in config.guestfwd) for config in configs
        )
        # The sandbox has a rule for each file, which does not hold for a file that replaces it.
        files = self._reread
        asks = any(not config.resolvers for config in configs)
        # Another folder is allowed instead.
        if asks and os.path.dirname(os.path.realpath(_RESOLV_CONF)) == "/etc":
            files = [*files, _RESOLV_CONF]
        if programs or files:
            from slirpy.sandbox import spawner

            try:
                other = spawner.take(files)
            except OSError as error:
                self._missing = f"a process that starts programs ({(error.strerror or str(error)).lower()})"
                return
            spawner.use(other)
            stack.callback(other.close)
            stack.callback(spawner.use, None)

    def enter(
        self,
        reporting: Reporting | None = None,
        *,
        signals: Iterable[int] = (),
        names: bool = False,
        removed: Iterable[str] = (),
        low_ports: bool = False,
        root: PrivateRoot | None = None,
    ) -> tuple[str, ...]:
        """Shut this process in. Ends the program with a message if ``--sandbox on`` cannot be met.

        Returns the parts that this system lacks.

        Args:
            reporting: the reports requested, which are written to files now or later; None: there are none.
            signals: processes that can still be signalled.
            names: whether links connect again later, by paths of Unix sockets or names of hosts.
            removed: files to remove at the end.
            low_ports: keep the right to bind ports below 1024, if this process has it.
            root: a root folder to enter; None: the present one stays.
        """
        if not self._on:
            return ()
        from slirpy.sandbox import confine, spawner

        if spawner.active is not None:
            spawner.active.seal()
            _open_by(spawner.active)
        files = _Files(self._configs, reporting)
        families = [socket.AF_INET, socket.AF_INET6]
        looks_up = names or files.looks_up
        if looks_up:
            files.read += _LOOKUP_FILES
        sockets = _folders_of_sockets()
        if looks_up or files.unix or (self._reloads and sockets):
            families.append(socket.AF_UNIX)
        if looks_up:
            families.append(socket.AF_NETLINK)
        lacking = (
            *filter(None, [self._missing]),
            *confine(
                write=files.write,
                write_files=files.write_files,
                read=[*files.read, *removed],
                remove=[*sockets, *map(os.path.dirname, removed)],
                bind=sockets if self._reloads else (),
                families=families,
                signals=signals,
                low_ports=low_ports,
                root=root,
            ),
        )
        if lacking and self._mode == "on":
            fail(f"--sandbox on: this system lacks {'; '.join(lacking)}; use --sandbox auto")
        return lacking


def tell_lacking(*parts: tuple[str, ...] | str) -> None:
    """Tell in one line which parts of a sandbox this system lacks, if any."""
    names = [name for part in parts for name in ((part,) if isinstance(part, str) else part) if name]
    if names:
        tell(f"--sandbox: this system lacks {'; '.join(names)}", level="warning")


class _Files:
    """Files that are opened after the start."""

    def __init__(self, configs: Iterable[Config], reporting: Reporting | None) -> None:
        self.read: list[str] = []
        self.write: list[str] = []
        self.write_files: list[str] = []
        self.looks_up = self.unix = False
        for config in configs:
            self._of_network(config)
        if reporting is not None:
            self._of_reports(reporting)

    def _of_network(self, config: Config) -> None:
        from slirpy.config.guestfwd import UnixTarget

        folder = os.path.dirname(os.path.realpath(_RESOLV_CONF))
        if folder != "/etc":
            self.read.append(folder)
        if config.tftp is not None and not callable(config.tftp):
            (self.write if config.tftp_write else self.read).append(os.fspath(config.tftp))
        if config.lease_file is not None:
            self.write.append(os.path.dirname(os.path.realpath(config.lease_file)))
        self.unix |= any(isinstance(rule.target, UnixTarget) for rule in config.guestfwd)
        if isinstance(config.audit, str) and config.audit.startswith("unix:"):
            self.unix = True  # the collector may come back
        if config.dns_mode == "system":
            self.looks_up = True

    def _of_reports(self, reporting: Reporting) -> None:
        if reporting.capture_dir is not None:
            self.write.append(reporting.capture_dir)
        names = [reporting.trace] if reporting.trace is not None else []
        if reporting.capture is not None:
            from slirpy.cli.capture import parse_capture

            option = parse_capture(reporting.capture)
            names.append(option.name)
            if option.max_bytes is not None:  # files are created and renamed while it runs
                self.write.append(os.path.dirname(os.path.abspath(option.name)))
        self.write_files += filter(_is_fifo, names)  # opened again for each reader


def _is_fifo(name: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def _is_command(target: object) -> bool:
    from slirpy.config.guestfwd import Command

    return isinstance(target, Command)


def _folders_of_sockets() -> list[str]:
    """Folders of the Unix sockets of this process that have a path, which is removed at the end."""
    folders: dict[str, None] = {}
    try:
        numbers = [*map(int, os.listdir("/proc/self/fd"))]
    except OSError:
        return []  # slirpy is in a sandbox already; paths stay behind then
    for number in numbers:
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as sock:
                name = sock.getsockname() if sock.family == socket.AF_UNIX else None
        except OSError:
            continue
        if isinstance(name, str) and name:
            folders[os.path.dirname(os.path.abspath(name))] = None
    return [*folders]


def _open_by(spawner: Any) -> None:
    """Let files that have been replaced be opened by another process, such as resolv.conf."""

    def opener(path: str, flags: int) -> int:
        try:
            return os.open(path, flags)
        except PermissionError:
            return int(spawner.open(path))

    paths.opener = opener
