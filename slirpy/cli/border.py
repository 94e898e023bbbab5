"""The border around the command of ``slirpy run``: what it may keep, and the steps that shut it in.

The mounts are made in the first user namespace. The command then enters a second user and mount namespace, in which
the kernel locks them: it has no rights over the first, so it can neither unmount nor trace the process that made it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from slirpy.cli import linux
from slirpy.errors import ConfigError
from slirpy.sandbox import capabilities, seccomp
from slirpy.sandbox.syscalls import machine

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass, field
else:
    from dataclasses import dataclass, field

__all__ = ["Border", "check_descriptors", "check_variables", "enter_namespaces", "shut_in"]

_ID_MAX = 4294967294

PLAIN_VARIABLES = frozenset((
    "COLORTERM", "COLUMNS", "EDITOR", "HOME", "LANG", "LANGUAGE", "LINES", "LOGNAME", "MAIL", "NO_COLOR", "PAGER",
    "PATH", "PWD", "SHELL", "SHLVL", "TERM", "TERMINFO", "TMPDIR", "TZ", "USER", "VISUAL",
))  # fmt: skip
"""Environment variables of a clean environment, beside those of the locale (``LC_*``)."""
HIDDEN_VARIABLES = frozenset((
    "CONTAINER_HOST", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS", "DISPLAY", "DOCKER_HOST",
    "GNOME_KEYRING_CONTROL", "GPG_AGENT_INFO", "I3SOCK", "ICEAUTHORITY", "KITTY_LISTEN_ON", "LISTEN_FDNAMES",
    "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "NVIM", "NVIM_LISTEN_ADDRESS", "PULSE_SERVER", "SESSION_MANAGER",
    "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_AUTH_SOCK", "STY", "SWAYSOCK", "TMUX", "TMUX_PANE",
    "VSCODE_GIT_IPC_HANDLE", "VSCODE_IPC_HOOK_CLI", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "WEZTERM_UNIX_SOCKET",
    "XAUTHORITY", "XDG_RUNTIME_DIR",
))  # fmt: skip
"""Environment variables that name sockets of the host's programs."""


@dataclass(frozen=True, slots=True)
class Border:
    """Options of the border around the command.

    Args:
        privileged: leave it all capabilities of the namespaces, which is no border.
        closed: hide the sockets of the host's programs.
        hide: further paths to hide.
        keep: paths that stay visible in hidden folders.
        descriptors: that the command inherits, beside 0 to 2.
        user: user and group to run it as.
        strict: fail if the system cannot filter system calls.
        clean: give it a clean environment: none of the variables in which people keep tokens and keys.
        variables_kept: names of further variables that it gets, whatever else is hidden.
        environment: variables, as the command would get them without a border.
    """

    privileged: bool = False
    closed: bool = False
    hide: Sequence[str] = ()
    keep: Sequence[str] = ()
    descriptors: Sequence[int] = ()
    user: tuple[int, int] | None = None
    strict: bool = False
    clean: bool = False
    variables_kept: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def hides(self) -> bool:
        """Report whether any path may be hidden."""
        return self.closed or bool(self.hide)

    def variables(self) -> dict[str, str]:
        """The environment of the command."""
        return {name: value for name, value in self.environment.items() if self._passes(name, value)}

    def _passes(self, name: str, value: str) -> bool:
        """Report whether the command gets a variable."""
        if name in self.variables_kept:
            return True
        if self.closed and name in HIDDEN_VARIABLES:
            return any(path in value for path in self.keep)
        return not self.clean or name in PLAIN_VARIABLES or name.startswith("LC_")


def check_descriptors(numbers: Sequence[int]) -> None:
    """Check that the caller left these descriptors open for the command.

    Raises:
        ConfigError: one is not open, or it is slirpy's own.
    """
    for number in numbers:
        try:
            inherited = os.get_inheritable(number)
        except OSError:
            inherited = False
        if not inherited:
            raise ConfigError(
                f"--keep-fd {number}: the program that started slirpy left no descriptor {number} open;"
                " open it for slirpy first, as in a shell with 3<FILE"
            )


def check_variables(names: Sequence[str]) -> None:
    """Check the names of variables that the command is to keep.

    Raises:
        ConfigError: one is no name of a variable.
    """
    for name in names:
        if not name or "=" in name or "\0" in name:
            raise ConfigError(
                f'--keep-env "{name}": must be the name of an environment variable, such as API_TOKEN, or *'
            )


def parse_user(text: str) -> tuple[int, int]:
    """Read ``USER[:GROUP]``. The group has the user's number if it is not given.

    Raises:
        ConfigError: these are not numbers of a user and a group.
    """
    user, _, group = text.partition(":")
    numbers = [part for part in (user, group or user) if part.isascii() and part.isdigit() and len(part) <= 10]
    if len(numbers) != 2 or max(map(int, numbers)) > _ID_MAX or text.endswith(":"):
        raise ConfigError(
            f'--uid "{text}": must be USER or USER:GROUP, numbers from 0 to {_ID_MAX}; `id -u NAME` shows them'
        )
    return int(numbers[0]), int(numbers[1])


def root_notice(border: Border) -> str:
    """One line on what a border around root does not hold; empty for others."""
    if os.geteuid() != 0 or (border.user is not None and border.user[0] != 0):
        return ""
    return (
        "started by root: CMD owns root's files and devices, so it can take over this machine through them;"
        " use --uid, or start slirpy as another user"
    )


def shut_in(border: Border, mapped_by_parent: bool, bounded: bool) -> str:
    """Shut this process in, the last step before it becomes the command.

    Args:
        border: what to shut it off from.
        mapped_by_parent: whether all users and groups are set in its second user namespace; otherwise there is one.
        bounded: whether to take from it the capabilities of programs' files too. The mounts must ignore them: the
            kernel does not start a program that has some and cannot get them, such as ping.

    Returns:
        What this system cannot do, in a few words; usually nothing.

    Raises:
        OSError: the system refused a step; the text says which.
    """
    if not border.privileged:
        if not mapped_by_parent:
            _map_single(border)
        if bounded:
            capabilities.drop_bounding_set()
        if border.user is not None and mapped_by_parent:
            user, group = border.user
            os.setgroups([group])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
        capabilities.no_new_privileges()
        capabilities.drop_capabilities()
    return _filter(border)


def _filter(border: Border) -> str:
    """Refuse system calls. Returns what this system cannot do."""
    name = machine()
    try:
        if name is None:
            raise OSError(errno.ENOSYS, f"the system calls of {os.uname().machine} are unknown", "seccomp")
        seccomp.install(seccomp.command_filter(name, terminal_only=border.privileged))
    except OSError as error:
        if border.strict:
            raise
        return f"seccomp for the command ({error.strerror})"
    return ""


def _map_single(border: Border) -> None:
    """Map the only user and group of the first namespace."""
    user, group = border.user or (0, 0)
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} 0 1"), ("gid_map", f"{group} 0 1")):
        with open(f"/proc/self/{file}", "w") as target:
            target.write(text)


def enter_namespaces() -> None:
    """Move this process into a second user and mount namespace, in which the mounts so far are locked."""
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
