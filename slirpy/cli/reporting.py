"""Options that show the activity of a network: capture, trace, statistics, and the live display."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from slirpy.cli.flags import check_plain_name, check_terminal, flag, names_flags
from slirpy.config import Group

if TYPE_CHECKING:
    from slirpy import Slirp

__all__ = ["LONGEST_WAIT", "Reporting", "report_options"]

LONGEST_WAIT = 60.0
"""Longest time, in seconds, that a command waits before it checks again."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """Reports about the network while it runs and at its end: the values of :func:`report_options`."""

    capture: str | None
    trace: str | None
    stats: bool
    top: bool = False

    @names_flags
    def check(self) -> None:
        """Check the options before anything else has started.

        Raises:
            ConfigError: an option that cannot be used, or there is no terminal for ``--top``.
        """
        from slirpy.cli.capture import parse_capture

        if self.capture is not None:
            parse_capture(self.capture)
        if self.trace is not None:
            check_plain_name("--trace", self.trace)
        if self.top:
            check_terminal(sys.stderr)

    def live(self, net: Slirp, stack: ExitStack) -> Callable[[], float]:
        """Create a function for the loop that drives ``net``. It returns the seconds that the loop may wait."""
        if not self.top:
            return lambda: LONGEST_WAIT
        from slirpy.cli.top import Top

        return stack.enter_context(Top(net)).look

    def at_end(self, net: Slirp) -> None:
        """Show flows and counters, if requested."""
        if self.stats:
            from slirpy.cli.serving import report

            report([*net.closed_flows(), *net.flows()], net.stats)


def report_options(*, top: bool = True) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """``--capture``, ``--trace``, ``--stats`` and ``--top``: the command gets them as ``reporting``."""
    watching = partial(flag, group=Group.WATCHING)
    options = [
        watching(
            "--capture",
            metavar="FILE",
            help="Write all frames to FILE, for Wireshark; pcapng if its name ends in that, else pcap; - is standard"
            " output. A named pipe never blocks. FILE may be followed by ,format=pcap|pcapng and ,max=10M,files=5:"
            " that many files of that size, used in turn.",
        ),
        watching("--trace", metavar="FILE", help="Write a line for each frame to FILE; - is standard error."),
        watching("--stats", is_flag=True, help="Show flows and counters at the end, on standard error."),
    ]
    if top:
        options.append(
            watching("--top", is_flag=True, help="Show flows live, on a terminal that is standard error.")
        )

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def collected(
            *arguments: Any, capture: str | None, trace: str | None, stats: bool, top: bool = False, **more: Any
        ) -> object:
            reporting = Reporting(capture, trace, stats, top)
            reporting.check()
            return function(*arguments, reporting=reporting, **more)

        decorated: Callable[..., object] = collected
        for option in reversed(options):  # click lists them in reverse order of addition
            decorated = option(decorated)
        return decorated

    return decorate
