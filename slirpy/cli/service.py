"""The life of a command that serves until a signal ends it: process file, service manager, files read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slirpy import paths
from slirpy.cli.flags import flag, in_flags
from slirpy.cli.notify import Notifier
from slirpy.cli.pidfile import PidFile
from slirpy.cli.streams import tell
from slirpy.config import OPTIONS, Config, Group
from slirpy.config.guestfwd import GuestForward
from slirpy.config.hostfwd import HostForward
from slirpy.errors import ForwardError, SlirpyError

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.interfaces import Policy

__all__ = ["Reloader", "Service", "service_options"]

_F = TypeVar("_F", bound=Callable[..., object])
_LIVE = ("policy", "dns_records", "hostfwd", "guestfwd")
"""Options whose values can be replaced while the network runs."""
_FUNCTIONS = ("on_refused", "asker")
"""Options that the command sets by itself."""


def service_options() -> Callable[[_F], _F]:
    """``--pid-file``: the command gets it as ``pid_file``."""
    return flag(
        "--pid-file",
        group=Group.SERVICE,
        metavar="FILE",
        help="Write the number of the process to FILE once guests can connect; it is removed at the end.",
    )


class Service:
    """One run of a command that serves.

    Args:
        pid_file: value of ``--pid-file``.
        stack: closes what it needs.

    Raises:
        SlirpyError: the file cannot be used.
    """

    def __init__(self, pid_file: str | None, stack: ExitStack) -> None:
        self.notifier = Notifier()
        stack.callback(self.notifier.close)
        self._file = None if pid_file is None else stack.enter_context(PidFile("--pid-file", pid_file))
        self.reloads = self.notifier.active or bool(paths.read_again)
        """True if SIGHUP reads files again; otherwise there are none, and it ends the command."""
        self.status: Callable[[], str] = str
        """Describes the state for the service manager."""

    @property
    def files(self) -> list[str]:
        """Files that are removed at the end."""
        return [] if self._file is None else [self._file.path]

    def ready(self) -> None:
        """Tell that guests can connect."""
        if self._file is not None:
            self._file.write()
        self.notifier.ready(self.status())

    def look(self, others: Callable[[], float] | None) -> Callable[[], float] | None:
        """A function for the loop, which returns the seconds that it may wait. None: it may wait for ever.

        Args:
            others: the same for what else the loop does.
        """
        if not self.notifier.active:
            return others

        def look() -> float:
            self.notifier.status(self.status())
            return self.notifier.look() if others is None else min(others(), self.notifier.look())

        return look

    def reload(self, reloader: Callable[[], object]) -> None:
        """Read files again. A mistake in them is reported in one line, and everything stays as it is."""
        self.notifier.reloading()
        try:
            reloader()
        except (SlirpyError, click.ClickException, OSError) as error:
            text = error.format_message() if isinstance(error, click.ClickException) else in_flags(str(error))
            tell(f"reload: {' '.join(text.split()).rstrip('.')}; the former settings stay", level="error")
        finally:
            self.notifier.ready(self.status())


class Reloader:
    """Replaces policy, DNS records and forwards of a network by those of a new configuration.

    Forwards that were added in another way stay. Those that are in both configurations are not touched.

    Args:
        net: the network.
        rebuild: reads the configuration again.
    """

    def __init__(self, net: Slirp, rebuild: Callable[[], Config]) -> None:
        self._net = net
        self._rebuild = rebuild
        self._now = net.config
        self._active: dict[Any, Any] = dict(zip(net.config.hostfwd, net.hostfwds(), strict=False))
        """For each rule, the forward with the port that was chosen."""

    def __call__(self) -> None:
        """Read and replace: all or nothing.

        Raises:
            SlirpyError, click.ClickException: a mistake; nothing has changed.
        """
        new = self._rebuild()
        with ExitStack() as undo:
            changed = self._replace(new, undo)
            undo.pop_all()
        self._now = new
        tell(f"reloaded: {', '.join(changed)}" if changed else "reloaded; nothing has changed")
        stale = [str(row.flag) for row in OPTIONS if row.flag and self._needs_restart(row.name, new)]
        if stale:
            tell(f"reload: {', '.join(stale)} changed, which takes a restart", level="warning")

    def _needs_restart(self, name: str, new: Config) -> bool:
        if name in (*_LIVE, *_FUNCTIONS):
            return False
        old = self._net.config
        if getattr(new, name) == getattr(old, name):
            return False
        # An address that follows from the network is not worth a word of its own.
        return name in ("net", "net6") or not all(
            getattr(each, name) == getattr(Config(net=each.net, net6=each.net6), name) for each in (old, new)
        )

    def _replace(self, new: Config, undo: ExitStack) -> list[str]:
        """Make the changes, and note how to undo each. Returns their names."""
        net, old, changed = self._net, self._now, []
        if _swap(old.hostfwd, new.hostfwd, self._stop_hostfwd, self._start_hostfwd, undo):
            changed.append("forwards")
        if _swap(old.guestfwd, new.guestfwd, net.remove_guestfwd, net.add_guestfwd, undo):
            changed.append("guest forwards")
        if tuple(net.dns_records) != new.dns_records:
            undo.callback(setattr, net, "dns_records", net.dns_records)
            net.dns_records = new.dns_records
            changed.append("DNS records")
        if not _same(net.policy, new.policy):
            undo.callback(setattr, net, "policy", net.policy)
            net.policy = new.policy
            changed.append("policy")
        return changed

    def _start_hostfwd(self, rule: Any) -> None:
        self._active[rule] = self._net.add_hostfwd(rule)

    def _stop_hostfwd(self, rule: Any) -> None:
        self._net.remove_hostfwd(self._active.pop(rule, rule))


def _swap(
    old: Iterable[Any],
    new: Iterable[Any],
    stop: Callable[[Any], object],
    start: Callable[[Any], object],
    undo: ExitStack,
) -> bool:
    """Start what is only in ``new``, then stop what is only in ``old``. Returns whether there was anything to do.

    What is in the way of a new rule is stopped before it starts. Everything else is kept until all have started.
    """
    gone = [rule for rule in old if rule not in new]
    fresh = [rule for rule in new if rule not in old]

    def end(rule: Any) -> None:
        gone.remove(rule)
        with suppress(ForwardError):  # it has been removed in another way
            stop(rule)
            undo.callback(_again, start, rule)

    changes = bool(gone or fresh)
    for rule in fresh:
        for other in [other for other in gone if _places(other) & _places(rule)]:
            end(other)
        start(rule)
        undo.callback(stop, rule)
    for rule in list(gone):
        end(rule)
    return changes


def _places(rule: HostForward | GuestForward) -> set[Any]:
    """The places at which a rule waits for connections; no two rules can share one."""
    if isinstance(rule, GuestForward):
        return {(rule.server, rule.port)}
    if rule.path is not None:
        return {rule.path}
    return {(rule.protocol, rule.host_port + index) for index in range(rule.count)} - {(rule.protocol, 0)}


def _again(start: Callable[[Any], object], rule: Any) -> None:
    """Start what was running before."""
    try:
        start(rule)
    except SlirpyError as error:
        tell(f"reload: {error}; it was in force before", level="error")


def _same(one: Policy | None, other: Policy | None) -> bool:
    """Report whether two policies decide alike, as far as that is known."""
    from slirpy.config.policy import RulePolicy

    if isinstance(one, RulePolicy) and isinstance(other, RulePolicy):
        return (one.rules, one.default) == (other.rules, other.default)
    return one is other
