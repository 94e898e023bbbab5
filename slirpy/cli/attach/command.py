"""``slirpy attach``: a network for an existing namespace."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, flag
from slirpy.cli.main import fail
from slirpy.cli.options import CONTEXT, network_config, network_options
from slirpy.cli.reporting import Reporting, report_options
from slirpy.config import Group

if TYPE_CHECKING:
    from slirpy import Config
    from slirpy.cli.attach.entry import Entry

__all__ = ["attach"]

EXAMPLES = """
\b
Examples:
  slirpy attach 4242                           the namespace of a process
  slirpy attach blue                           one of `ip netns add blue`
  slirpy attach /proc/4242/ns/net eth0         by its path; named eth0 there
  slirpy attach --hostfwd tcp::8080-:80 4242
  slirpy attach --no-configure 4242            for a DHCP client inside
  slirpy attach --ready-fd 3 --exit-fd 4 4242  for programs that start slirpy
  slirpy attach --tap-fd 5                     an interface that is open
"""
DESCRIPTOR = click.IntRange(0)
CONTEXT_ATTACH = CONTEXT | {"allow_interspersed_args": True}


@click.command(cls=Command, context_settings=CONTEXT_ATTACH, epilog=EXAMPLES)
@network_options("the namespace")
@report_options()
@sandbox_option()
@flag(
    "--configure/--no-configure",
    group=Group.NETWORK,
    default=None,
    help="Bring lo and TAPNAME up, with addresses, default routes and MTU; or leave that to the namespace, which has"
    " DHCP.  [default: configure, but not with --tap-fd]",
)
@flag(
    "--userns-path",
    group=Group.BORDER,
    metavar="PATH",
    help="Enter this user namespace first.  [default: the one that owns the network namespace]",
)
@flag("--netns-only", group=Group.BORDER, is_flag=True, help="Enter no user namespace.")
@flag(
    "--tap-fd",
    group=Group.NETWORK,
    type=DESCRIPTOR,
    metavar="FD",
    help="Serve the TAP interface behind this descriptor, in place of a namespace.",
)
@flag(
    "--ready-fd",
    group=Group.WATCHING,
    type=DESCRIPTOR,
    metavar="FD",
    help="Write 1 to this descriptor once the network is there, and close it.",
)
@flag(
    "--exit-fd",
    group=Group.WATCHING,
    type=DESCRIPTOR,
    metavar="FD",
    help="End when the other end of this pipe or socket is closed.",
)
@flag(
    "--pid-file",
    group=Group.WATCHING,
    metavar="FILE",
    help="Write the process id to FILE, which is removed at the end.",
)
@click.argument("target", required=False, metavar="PID|PATH|NAME")
@click.argument("tap", required=False, metavar="[TAPNAME]")
def attach(
    reporting: Reporting,
    sandbox: str,
    target: str | None,
    tap: str | None,
    configure: bool | None,
    userns_path: str | None,
    netns_only: bool,
    tap_fd: int | None,
    ready_fd: int | None,
    exit_fd: int | None,
    pid_file: str | None,
    **network: Any,
) -> None:
    """Give an existing network namespace slirpy as its network.

    The namespace is that of process PID, or the one at PATH, or NAME of `ip netns`. It gets the interface TAPNAME, by
    default tap0, with address, default route and MTU. Its processes, mounts and name server stay as they are:
    10.0.2.3 answers DNS. No root is needed if the namespace is the user's own. slirpy ends with status 0 when the
    namespace ends or --exit-fd hangs up, and with 128 plus the signal's number by a signal; the interface disappears
    with it. SIGUSR1 shows flows and counters on standard error. The status is 2 for a mistake in the options, and for
    a namespace that cannot be had.
    """
    config = network_config(network)
    if sys.platform != "linux":
        fail("attach needs the namespaces of Linux; on this system try `slirpy listen`")
    _check(target, tap, tap_fd, configure, userns_path, netns_only)
    from slirpy.cli.attach.lifetime import check_descriptor

    for option, number in (("--tap-fd", tap_fd), ("--ready-fd", ready_fd), ("--exit-fd", exit_fd)):
        if number is not None:
            check_descriptor(option, number)
    session = _Session(config, reporting, sandbox)
    session.ready_fd, session.exit_fd, session.pid_file = ready_fd, exit_fd, pid_file
    session.configure = configure is not False and tap_fd is None
    if tap_fd is not None:
        status = session.serve(tap_fd)
    else:
        assert target is not None
        status = session.enter(target, tap or "tap0", userns_path, netns_only)
    raise SystemExit(status)


def _check(
    target: str | None,
    tap: str | None,
    tap_fd: int | None,
    configure: bool | None,
    userns_path: str | None,
    netns_only: bool,
) -> None:
    """Check that the arguments belong together."""
    if tap_fd is None:
        if target is None:
            raise click.UsageError("Missing argument 'PID|PATH|NAME', the namespace; or give --tap-fd")
        if userns_path is not None and netns_only:
            raise click.UsageError("--userns-path and --netns-only exclude each other")
        return
    if target is not None:
        raise click.UsageError(f"--tap-fd takes no namespace, and {target!r} was given; leave one of them out")
    for option, given in (
        ("--configure", configure),
        ("--userns-path", userns_path is not None),
        ("--netns-only", netns_only),
    ):
        if given:
            raise click.UsageError(f"{option} needs a namespace, and --tap-fd has none; configure it yourself")


class _Session:
    """One run of the command."""

    def __init__(self, config: Config, reporting: Reporting, sandbox: str) -> None:
        self._config = config
        self._reporting = reporting
        self._sandbox = sandbox
        self._ended = False
        self.configure = True
        self.ready_fd: int | None = None
        self.exit_fd: int | None = None
        self.pid_file: str | None = None

    def enter(self, target: str, tap: str, userns_path: str | None, netns_only: bool) -> int:
        """Serve a namespace until it ends. Returns the exit status."""
        from slirpy.cli.attach.entry import Entry
        from slirpy.cli.attach.target import find_namespaces, same_namespace
        from slirpy.errors import LinkError

        namespaces = find_namespaces(target, userns_path=userns_path, netns_only=netns_only)
        try:
            if same_namespace(namespaces.net, "net"):
                raise LinkError(
                    f"{target} is in the network namespace of slirpy itself, which carries its traffic; name another"
                )
            entry = Entry(namespaces, tap)
        finally:
            namespaces.close()
        with entry:  # it works while the modules are imported
            return self.serve(entry, namespaces.process)

    def serve(self, source: Entry | int, process: int | None = None) -> int:
        """Serve a TAP interface until it disappears. Returns the exit status.

        Args:
            source: the way into the namespace, or the descriptor of the interface.
            process: the process that stands for the namespace.
        """
        from slirpy import Slirp
        from slirpy.cli import serving
        from slirpy.cli.attach import lifetime
        from slirpy.cli.capture import FrameLog
        from slirpy.cli.notify import Notifier
        from slirpy.cli.pidfile import PidFile
        from slirpy.links.tap import TapLink

        with ExitStack() as stack:
            signals = stack.enter_context(
                serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
            )
            serving.allow_descriptors()
            serving.keep_heap()
            notifier = Notifier()
            stack.callback(notifier.close)
            confined = SelfSandbox(self._sandbox, self._config, stack)
            log = FrameLog(self._reporting.capture, self._reporting.trace, stack)
            net = stack.enter_context(Slirp(self._config))
            self._reporting.serve(net, stack)
            net.watch(signals.fileno(), signals.read)
            descriptor = source if isinstance(source, int) else source.open()
            link = TapLink(descriptor, self._config.mtu, on_gone=self._end)
            stack.callback(link.close)
            if not isinstance(source, int):
                self._set_up(source, net, process, stack)
            if self.exit_fd is not None:
                lifetime.ExitDescriptor(self.exit_fd, self._end).watch(net)
            files = []
            if self.pid_file is not None:
                file = stack.enter_context(PidFile("--pid-file", self.pid_file))
                file.write()
                files.append(file.path)
            serving.tell_forwards(net)
            net.attach_link(log.wrap(link, "tap0"))
            look = notifier.beside(self._reporting.live(net, stack))
            tell_lacking(confined.enter(self._reporting, removed=files))
            if self.ready_fd is not None:
                lifetime.tell_ready(self.ready_fd)
            notifier.ready("")
            net.poll_until(lambda: signals.status is not None or self._ended, look)
            notifier.stopping()
            self._reporting.at_end(net)
            return signals.status or 0

    def _set_up(self, entry: Entry, net: Any, process: int | None, stack: ExitStack) -> None:
        """Configure the namespace, if that is wanted, and notice its end."""
        from slirpy.cli import namespace
        from slirpy.cli.attach import lifetime

        if self.configure:
            entry.configure(namespace.guest_settings(net, entry.name))
        entry.close()
        if entry.pinned and process is not None:
            watched = lifetime.watch_process(net, process, self._end)
            if watched is not None:
                stack.callback(partial(_close, watched))

    def _end(self) -> None:
        self._ended = True


def _close(descriptor: int) -> None:
    import os

    os.close(descriptor)
