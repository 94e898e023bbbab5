"""Messages about refused flows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from slirpy.audit.severity import Severity, severity
from slirpy.audit.text import plain
from slirpy.config.text import with_port
from slirpy.fair import TokenBucket
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.units import SECOND

__all__ = ["RefusedFlows"]

REPEAT = 30 * SECOND
"""Time for which a reported flow is not reported again."""
BURST = 20
"""Number of lines of one class of severity that may appear at once."""
LINES_A_SECOND = 2
"""Rate of lines after that burst."""
_CLASS_NAMES = {
    Severity.METADATA: "metadata services",
    Severity.HOST: "the host",
    Severity.PRIVATE: "private addresses",
}
REMEMBERED = 1024
"""Number of reported flows to remember. Beyond it, the oldest are forgotten."""


class RefusedFlows:
    """Reports refused flows to the user: one line each, without repetition, at a limited rate.

    Each class of severity has its own rate, so that thousands of refusals of one class do not hide those of another.

    Args:
        tell: prints a line.
        clock: monotonic nanoseconds.
    """

    def __init__(self, tell: Callable[[str], object], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._tell = tell
        self._clock = clock
        self._reported: dict[tuple[object, ...], tuple[int, int]] = {}
        """Time when a flow was last reported, and how often it has been refused since."""
        self._lines = {level: TokenBucket(LINES_A_SECOND, BURST, clock()) for level in Severity}
        self._unreported = dict.fromkeys(Severity, 0)

    def __call__(self, request: FlowRequest, verdict: Verdict) -> None:
        """Report a refused flow; a :data:`~slirpy.interfaces.RefusedHook`."""
        now = self._clock()
        key = (
            request.protocol, request.source_bytes, request.destination_bytes, request.destination_port, request.host,
            verdict,
        )  # fmt: skip
        when, again = self._reported.get(key, (None, 0))
        if when is not None and now - when < REPEAT:
            self._reported[key] = when, again + 1
            return
        level = severity(request.destination_bytes, request.host)
        if not self._lines[level].take(now):
            self._unreported[level] += 1
            return
        self._reported.pop(key, None)
        if len(self._reported) >= REMEMBERED:
            del self._reported[next(iter(self._reported))]
        self._reported[key] = now, 0
        self._say(_line(request, verdict) + (f"; {again} times more before that" if again else ""))

    def close(self) -> None:
        """Report at the end how many flows were not reported."""
        total = sum(self._unreported.values())
        if total:
            severe = [
                f"{number} to {_CLASS_NAMES[level]}"
                for level, number in self._unreported.items()
                if number and level in _CLASS_NAMES
            ]
            detail = f", of them {', '.join(severe)}" if severe else ""
            self._say(f"{total} more flows were refused and not reported{detail}")
            self._unreported = dict.fromkeys(Severity, 0)

    def _say(self, line: str) -> None:
        with suppress(OSError):  # no reader, which must not stop the network
            self._tell(line)


def _line(request: FlowRequest, verdict: Verdict) -> str:
    """The line about a refused flow: plain text, even if a policy puts a guest's bytes in its reason."""
    protocol = IPProtocol(request.protocol)
    where = str(request.destination)
    if protocol is not IPProtocol.ICMP:
        where = with_port(where, request.destination_port)
    verb = "dropped" if verdict.action is Action.DROP else "refused"
    reason = f" ({plain(verdict.reason)})" if verdict.reason else ""
    return f"{verb} {protocol.name.lower()} {request.source} -> {where}{reason}"
