"""One session of ``slirpy run``: the sandbox, the network engine, and the loop that carries both on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slirpy.cli import guest
from slirpy.cli.linux import keep_heap
from slirpy.cli.sandbox import Sandbox
from slirpy.cli.terminal import Signals, Terminal
from slirpy.config import Config, HostForward
from slirpy.errors import SlirpyError
from slirpy.interfaces import READ, Frame, Link, LinkFeatures, LinkSink, Poller

if TYPE_CHECKING:
    from slirpy import Slirp

__all__ = ["Session"]

HEAP_BYTES = 8 << 20
"""Free memory that is kept rather than given back to the system."""
DRAIN_SECONDS = 5.0
"""How long data that CMD has sent may still take to its destination after CMD's end."""
DRAIN_IDLE_SECONDS = 0.25
"""It takes no longer once nothing has moved for this time."""


class WatchedLink:
    """A link that also waits for descriptors of ours, so that there is one place where the program waits."""

    def __init__(self, inner: Link, watch: dict[int, Callable[[int], None]]) -> None:
        self._inner = inner
        self._watch = watch
        self._poller: Poller | None = None

    @property
    def features(self) -> LinkFeatures:
        """Those of the inner link."""
        return self._inner.features

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Start the inner link, and to watch."""
        self._inner.start(sink, poller)
        self._poller = poller
        for descriptor, ready in self._watch.items():
            poller.register(descriptor, READ, ready)

    def send(self, frames: Sequence[Frame]) -> int:
        """Send by the inner link."""
        return self._inner.send(frames)

    def unwatch(self, descriptor: int) -> None:
        """Do not wait for a descriptor any more."""
        if self._watch.pop(descriptor, None) is not None and self._poller is not None:
            self._poller.unregister(descriptor)

    def close(self) -> None:
        """Close the inner link and stop to watch."""
        for descriptor in list(self._watch):
            self.unwatch(descriptor)
        self._inner.close()


class Session:
    """Runs CMD once.

    Args:
        config: the virtual network.
        command: CMD and its arguments.
        capture: name of a file for all frames, in pcap format.
        stats: whether to show flows and counters at the end.
    """

    def __init__(
        self, config: Config, command: Sequence[str], *, capture: str | None = None, stats: bool = False
    ) -> None:
        self._config = config
        self._command = command
        self._capture = capture
        self._stats = stats
        self._status: int | None = None

    def run(self) -> tuple[int, int]:
        """Run CMD to its end.

        Returns:
            CMD's exit status, and 0; or any status, and the ``errno`` value that says why CMD cannot be started.

        Raises:
            SlirpyError: a namespace, the TAP device, a port or the capture file cannot be had.
        """
        terminal = Terminal()
        signals = Signals()
        try:
            # Before anything large is imported: what follows is forked from this process, and stays.
            with Sandbox(self._command, signals.previous_mask, _tell) as sandbox:
                return self._connect(sandbox, signals)
        finally:
            terminal.restore()

    def _connect(self, sandbox: Sandbox, signals: Signals) -> tuple[int, int]:
        from slirpy import Slirp
        from slirpy.links.tap import TapLink

        _allow_descriptors()
        keep_heap(HEAP_BYTES)
        config = self._config
        with ExitStack() as stack:
            link: Link = TapLink(sandbox.tap, config.mtu)
            if self._capture is not None:
                link = self._capturing(link, stack)
            net = stack.enter_context(Slirp(config))
            watch = WatchedLink(
                link,
                {
                    signals.fileno(): lambda _: signals.forward(sandbox),
                    sandbox.fileno(): lambda _: self._ended(sandbox, watch),
                },
            )
            address = net.lease(guest.MAC)
            for rule, forward in zip(config.hostfwd, net.forwards(), strict=True):
                if rule.host_port == 0:
                    _tell_forward(forward)
            sandbox.configure(
                guest.Settings(
                    str(address),
                    config.net.prefixlen,
                    str(config.net.broadcast_address),
                    str(config.host),
                    str(config.dns),
                    config.mtu,
                )
            )
            if (number := signals.fatal()) is not None:
                return 128 + number, 0
            if error := sandbox.start():
                return 0, error
            net.attach_link(watch)
            while self._status is None:
                net.poll(1.0)
            sandbox.close()  # kills what CMD has left in the background, which ends its connections
            _drain(net)
            if self._stats:
                self._report(net)
            return self._status, 0

    def _capturing(self, link: Link, stack: ExitStack) -> Link:
        from slirpy.links.capture import CaptureLink

        name = self._capture
        assert name is not None
        try:
            capture = CaptureLink(link, stack.enter_context(Path(name).open("wb")))  # noqa: SIM115 - the stack closes it
        except OSError as error:
            raise SlirpyError(
                f'capture file "{name}": cannot be written: {error.strerror}; name a file in a folder of yours'
            ) from None
        stack.callback(partial(_tell_capture, name, capture))
        return capture

    def _ended(self, sandbox: Sandbox, watch: WatchedLink) -> None:
        watch.unwatch(sandbox.fileno())
        self._status = sandbox.finished()

    def _report(self, net: Slirp) -> None:
        from slirpy.cli.report import print_report

        try:
            print_report([*net.closed_flows(), *net.flows()], net.stats, sys.stderr)
        except BrokenPipeError:
            pass


def _allow_descriptors() -> None:
    """Take as many descriptors as the system gives: each flow has a socket. CMD keeps the limit that it had."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _drain(net: Slirp) -> None:
    """Let data that is under way arrive: processes that have ended may have left some in the guest's kernel.

    The guest's network lives on without its processes, as long as our descriptor of the TAP device does.
    """
    stats = net.stats
    moved, since = -1, 0.0
    end = time.monotonic() + DRAIN_SECONDS
    while (now := time.monotonic()) < end and any(
        flow.protocol == "tcp" and flow.state != "TIME-WAIT" for flow in net.flows()
    ):
        total = stats.bytes_in + stats.bytes_out
        if total != moved:
            moved, since = total, now
        elif now - since > DRAIN_IDLE_SECONDS:
            return
        net.poll(0.05)


def _tell(text: str) -> None:
    print("slirpy:", text, file=sys.stderr)


def _tell_forward(forward: HostForward) -> None:
    host = f"{forward.host_address}:{forward.host_port}"
    print(
        f"hostfwd {forward.protocol} {host} -> {forward.guest_address or ''}:{forward.guest_port}",
        file=sys.stderr,
    )


def _tell_capture(name: str, capture: object) -> None:
    error = getattr(capture, "error", None)
    if error is not None:
        _tell(f'capture file "{name}": ended early: {error.strerror}')
