"""``--top``: flows and their traffic, live in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from slirpy.cli.flags import check_terminal
from slirpy.cli.tables import amount, console_for, flow_table

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.core.flows import FlowInfo

__all__ = ["Top", "busiest", "summary"]

INTERVAL = 1.0
"""Seconds between two updates."""
_LINES_BESIDE = 6
"""Lines of a display other than flows: the summary, headings, and the count of the remaining flows."""

_LINES_OF_TABLE = 3
"""Lines of the table among them: headings, and the count."""

_Key = tuple[str, object, object, bool]


def _key(flow: FlowInfo) -> _Key:
    return flow.protocol, flow.guest, flow.host, flow.inbound


def busiest(flows: Sequence[FlowInfo], before: dict[_Key, int]) -> tuple[list[FlowInfo], dict[_Key, int]]:
    """Sort flows by their traffic since the last time, then by their total.

    Args:
        flows: the present ones.
        before: bytes of each flow the last time.

    Returns:
        The flows in order, and ``before`` for the next time.
    """
    totals = {_key(flow): flow.bytes_in + flow.bytes_out for flow in flows}

    def rank(flow: FlowInfo) -> tuple[int, int]:
        total = totals[_key(flow)]
        return total - before.get(_key(flow), 0), total

    return sorted(flows, key=rank, reverse=True), totals


def summary(flows: int, leases: int, bytes_in: float, bytes_out: float, drops: int) -> str:
    """The first line; rates are per second."""
    return (
        f"{flows} flows, {leases} leases    in {amount(round(bytes_in))}/s    out {amount(round(bytes_out))}/s"
        f"    {drops} dropped"
    )


class Top:
    """A display of a network that is redrawn every second. Call :meth:`look` from the loop that drives it.

    Args:
        clock: seconds.

    Raises:
        ConfigError: ``file`` is not a terminal.
    """

    def __init__(
        self, net: Slirp, file: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        check_terminal(file)
        self._net = net
        self._clock = clock
        self._console = console_for(file)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._before: dict[_Key, int] = {}
        self._bytes = (net.stats.bytes_in, net.stats.bytes_out)
        self._drawn = clock()
        self._next = self._drawn

    def __enter__(self) -> Top:
        with suppress(OSError):
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._live.stop()

    def look(self) -> float:
        """Redraw if it is time. Returns the seconds until the next time."""
        now = self._clock()
        if now >= self._next:
            self._next = now + INTERVAL
            try:
                self._live.update(self._picture(now), refresh=True)
            except OSError:
                self._next = float("inf")  # the terminal is gone
        return min(self._next - now, INTERVAL)

    def _picture(self, now: float) -> RenderableType:
        net = self._net
        stats = net.stats
        flows, self._before = busiest(net.flows(), self._before)
        seconds = max(now - self._drawn, 1e-3)
        total = stats.bytes_in, stats.bytes_out
        bytes_in, bytes_out = ((new - old) / seconds for new, old in zip(total, self._bytes, strict=True))
        self._drawn, self._bytes = now, total
        drops = sum(count for name, count in stats.nonzero().items() if name.startswith("drop_"))
        room = max(self._console.height - _LINES_BESIDE, 1)
        text = Text(summary(len(flows), len(net.leases()), bytes_in, bytes_out, drops), style="bold")
        return Group(text, self._fitting(flows, room))

    def _fitting(self, flows: Sequence[FlowInfo], room: int) -> RenderableType:
        """Draw as many flows as have room, some of which take more than one line."""
        most = room
        while True:
            table = flow_table(flows, self._console.width, most=most, ranked=True)
            lines = len(self._console.render_lines(table)) - _LINES_OF_TABLE
            if lines <= room or most == 1:
                return table
            most = max(min(most * room // lines, most - 1), 1)
