"""One session of ``slirpy run``: the sandbox, the network engine, and the loop that drives both."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from slirpy.cli import namespace
from slirpy.cli.border import Border
from slirpy.cli.confined import SelfSandbox, tell_lacking
from slirpy.cli.init import Job
from slirpy.cli.reporting import Reporting
from slirpy.cli.sandbox import Sandbox
from slirpy.cli.serving import allow_descriptors, drain, keep_heap, tell_forwards
from slirpy.cli.streams import tell
from slirpy.cli.terminal import Signals, Terminal
from slirpy.config import Config
from slirpy.sandbox import spawner

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.interfaces import Link

__all__ = ["Session"]


class Session:
    """Runs CMD once.

    Args:
        config: the virtual network.
        command: CMD and its arguments.
        reporting: the reports requested.
        loopback: let forwards reach the namespace's own 127.0.0.1.
    """

    def __init__(
        self, config: Config, command: Sequence[str], reporting: Reporting, *, loopback: bool = False
    ) -> None:
        self._config = config
        self._command = command
        self._reporting = reporting
        self.border = Border()
        """The border around CMD."""
        self.sandbox = "auto"
        """Value of ``--sandbox``: ``"auto"``, ``"on"`` or ``"off"``."""
        self._loopback = loopback
        self._output: int | None = None
        self._status: int | None = None

    def run(self) -> tuple[int, int]:
        """Run CMD to its end.

        Returns:
            CMD's exit status, and 0; or any status, and the ``errno`` value that says why CMD cannot be started.

        Raises:
            SlirpyError: a namespace, the TAP device, a port or the capture file cannot be had.
        """
        capture = self._reporting.capture
        if capture is not None:
            from slirpy.cli.capture import STANDARD, own_standard_output, parse_capture

            if parse_capture(capture).name == STANDARD:
                self._output = own_standard_output()  # before CMD could reserve it
        terminal = Terminal()
        signals = Signals()
        try:
            # Before the network is imported: what is forked from here has that memory too.
            with ExitStack() as stack:
                confined = SelfSandbox(self.sandbox, self._config, stack)
                spawner.discard()  # unless it has been taken just now
                job = Job(
                    self._command,
                    signals.previous_mask,
                    self.border,
                    terminal=terminal.descriptor >= 0,
                    output=self._output is None,
                )
                sandbox = stack.enter_context(Sandbox(job, tell))
                sandbox.stopped = partial(terminal.stopped, sandbox, signals)
                result = self._connect(sandbox, signals, terminal, confined)
            terminal.pass_on(sandbox.key)
            return result
        finally:
            terminal.restore()

    def _connect(
        self, sandbox: Sandbox, signals: Signals, terminal: Terminal, confined: SelfSandbox
    ) -> tuple[int, int]:
        from slirpy import Slirp
        from slirpy.links.tap import TapLink

        allow_descriptors()
        keep_heap()
        config = self._config
        with ExitStack() as stack:
            link = self._recorded(TapLink(sandbox.tap, config.mtu), stack)
            net = stack.enter_context(Slirp(config))
            self._reporting.serve(net, stack)
            settings = namespace.guest_settings(net)
            if self._loopback:
                for guest in map(ip_address, (each.address for each in settings.addresses)):
                    family = socket.AF_INET if guest.version == 4 else socket.AF_INET6
                    net.reach_guest_loopback(guest, partial(sandbox.open_socket, family=family))
            tell_forwards(net)
            sandbox.configure(settings)
            if (number := signals.fatal()) is not None:
                return 128 + number, 0
            lacking = confined.enter(self._reporting, signals=(sandbox.init, 0))
            if error := sandbox.start(foreground=terminal.at_start()):
                return 0, error
            tell_lacking(lacking, sandbox.missing)
            net.attach_link(link)
            net.watch(signals.fileno(), lambda _: signals.forward(sandbox))
            net.watch(sandbox.fileno(), lambda _: self._from_inside(sandbox, net))
            net.poll_until(lambda: self._status is not None, self._reporting.live(net, stack))
            sandbox.close()  # kills what CMD has left in the background, which ends its connections
            drain(net)
            self._reporting.at_end(net)
            return self._status or 0, 0

    def _recorded(self, link: Link, stack: ExitStack) -> Link:
        """Wrap a link so that its frames are recorded as the options demand."""
        capture, trace = self._reporting.capture, self._reporting.trace
        if capture is None and trace is None:
            return link
        from slirpy.cli.capture import FrameLog

        return FrameLog(capture, trace, stack, output=self._output).wrap(link, "tap0")

    def _from_inside(self, sandbox: Sandbox, net: Slirp) -> None:
        self._status = sandbox.read()
        if self._status is not None:
            net.unwatch(sandbox.fileno())
