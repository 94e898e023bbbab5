"""Common parts of the commands that run a guest's network: waiting, signals, and reports."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from io import StringIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from slirpy.cli import logs, main
from slirpy.cli.streams import write_line
from slirpy.config.text import with_port

if TYPE_CHECKING:
    from slirpy import FlowInfo, Slirp, Stats
    from slirpy.drive.switched import PolledSwitch

__all__ = [
    "ENDING",
    "RELOADING",
    "SHOWING",
    "CaughtSignals",
    "Ending",
    "allow_descriptors",
    "drain",
    "dump",
    "keep_heap",
    "report",
    "tell_forwards",
]

ENDING = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU", "SIGPOLL",
    "SIGPWR",
)  # fmt: skip
"""Signals that end a network. If not caught, they end the process and leave its sockets behind."""
SHOWING = "SIGUSR1"
"""The signal that requests the tables."""
RELOADING = "SIGHUP"
"""The signal that requests to read files again."""

GC_OBJECTS = 10_000
"""New objects after which the young ones are searched for garbage."""
HEAP_BYTES = 8 << 20
"""Free memory to keep instead of returning it to the system."""
DRAIN_SECONDS = 5.0
"""Longest time after CMD's end for the data that it sent to reach its destination."""
DRAIN_IDLE_SECONDS = 0.25
"""Time without progress after which draining ends early."""


class CaughtSignals:
    """Signals as data, on every Unix: within the context they are read from a descriptor.

    Args:
        names: signals to catch. One that is ignored stays so, and one that this system lacks is left out.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._descriptor = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, _nothing)
            for number in (getattr(signal, name) for name in names if hasattr(signal, name))
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def fileno(self) -> int:
        """The descriptor, readable when a signal has arrived."""
        return self._read.fileno()

    def take(self) -> bytes:
        """The numbers of the signals that have arrived since the last call, a byte each."""
        try:
            return self._read.recv(256)
        except BlockingIOError:
            return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor)
        self._read.close()
        self._write.close()


class Ending(CaughtSignals):
    """Signals for a network that runs until one of them ends it.

    Args:
        show: called when a signal requests the tables.
        reload: called when a signal requests to read files again; None: that signal ends the network. It does so too
            if the terminal has gone, from which the network was started.
    """

    def __init__(self, show: Callable[[], None], reload: Callable[[], None] | None = None) -> None:
        super().__init__((*ENDING, SHOWING))
        self._show = show
        self._reload = reload
        self._terminal = None if reload is None else _terminal()
        self.number: int | None = None
        """The signal that has ended the network."""

    @property
    def status(self) -> int | None:
        """The exit status by which a shell reports that signal: 128 plus its number; None before."""
        return None if self.number is None else 128 + self.number

    def read(self, _: int = 0) -> None:
        """Handle the signals that have arrived since the last call."""
        for number in self.take():
            if number == getattr(signal, SHOWING, None):
                self._show()
            elif (
                self._reload is not None and number == getattr(signal, RELOADING, None) and not self._hung_up()
            ):
                if self.number is None:
                    self._reload()
            elif self.number is None:
                self.number = number

    def _hung_up(self) -> bool:
        """Report whether the terminal has gone."""
        if self._terminal is None:
            return False
        poll = select.poll()
        poll.register(self._terminal, 0)  # a hang-up is always reported
        return bool(poll.poll(0))

    def __exit__(self, *ending: Any) -> None:
        super().__exit__(*ending)
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None


def _terminal() -> int | None:
    """Open the terminal that this process belongs to; None: it has none."""
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return None


def _nothing(*_: object) -> None:
    """Empty handler: the reader of the descriptor does the work."""


def allow_descriptors() -> None:
    """Raise the limit on descriptors as far as allowed: each flow has a socket. Children keep the old limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_heap() -> None:
    """End the start: keep the memory of large frames (Linux), and search only new objects for garbage."""
    if main.owns_process:
        gc.freeze()
        gc.set_threshold(GC_OBJECTS)
    if sys.platform == "linux":
        from slirpy.cli import linux

        linux.keep_heap(HEAP_BYTES)


def tell_forwards(net: Slirp) -> None:
    """Report the host ports that were chosen for rules with port 0."""
    for rule, forward in zip(net.config.hostfwd, net.hostfwds(), strict=True):
        if rule.host_port == 0 and rule.path is None:
            host = with_port(forward.host_address, forward.host_port)
            guest = with_port(
                "" if forward.guest_address is None else forward.guest_address, forward.guest_port
            )
            if logs.style.says("info"):
                write_line(logs.style.line("info", f"hostfwd {forward.protocol} {host} -> {guest}"))


def dump(network: Slirp | PolledSwitch) -> None:
    """Show the tables on standard error: as such on a terminal, else as one line of JSON (:mod:`slirpy.snapshot`)."""
    from slirpy.drive.switched import PolledSwitch

    if logs.style.format == "text" and sys.stderr.isatty():
        flows = [] if isinstance(network, PolledSwitch) else [*network.closed_flows(), *network.flows()]
        report(flows, network.stats)
        return
    if isinstance(network, PolledSwitch):
        found = {"stats": network.stats.nonzero()}
    else:
        from slirpy.snapshot import tables

        found = tables(network)
    if logs.style.format == "json":
        write_line(logs.style.line("info", "tables", tables=found))
    else:
        write_line(json.dumps(found))


def report(flows: Sequence[FlowInfo], stats: Stats) -> None:
    """Show flows and counters on standard error. Failure to write them must not stop anything."""
    if logs.style.format == "json":
        from slirpy.control.rows import flow_row

        found = {"flows": list(map(flow_row, flows)), "stats": stats.nonzero()}
        write_line(logs.style.line("info", "statistics", tables=found))
        return
    from slirpy.cli.tables import print_report

    if sys.stderr.isatty():
        with suppress(OSError, ValueError):
            print_report(flows, stats, sys.stderr)
        return
    page = _Page()
    print_report(flows, stats, page)
    for line in page.getvalue().splitlines():
        if not write_line(line):
            return


class _Page(StringIO):
    """Text for standard error, in characters that its encoding supports."""

    @property
    def encoding(self) -> str:  # type: ignore[override] # a plain attribute in the base class
        return sys.stderr.encoding


def drain(net: Slirp) -> None:
    """Wait for data that is under way: processes that have ended may have left some in the guest's kernel.

    The guest's network of ``slirpy run`` outlives its processes, as long as our descriptor of the TAP device
    is open. From QEMU there may be frames that it sent before its end.
    """
    stats = net.stats
    moved, since = -1, 0.0
    end = time.monotonic() + DRAIN_SECONDS
    while (now := time.monotonic()) < end:
        flows = [flow for flow in net.flows() if flow.protocol == "tcp" and flow.state != "TIME-WAIT"]
        if not flows:
            return
        total = stats.bytes_in + stats.bytes_out + sum(flow.bytes_in + flow.bytes_out for flow in flows)
        if total != moved:
            moved, since = total, now
        elif now - since > DRAIN_IDLE_SECONDS:
            return
        net.poll(0.05)
