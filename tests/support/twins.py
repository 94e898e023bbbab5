"""Two networks that differ in the fast path alone: what is done to one is done to both, and the outcome compared."""

from __future__ import annotations

from typing import Any

from slirpy import Config
from tests.support.harness import Net

__all__ = ["Twins"]


class Twins:
    """``nets`` are the one with the fast path and the one without; ``more`` are arguments of :class:`Net`."""

    counter = "udp_fastpath"
    """Name of the counter of frames that took the fast path."""

    def __init__(self, plan: Config | None = None, **more: Any) -> None:
        self.nets = [Net(plan, fastpath=fast, **more) for fast in (True, False)]

    @property
    def fast(self) -> int:
        """Frames that took the fast path."""
        count: int = getattr(self.nets[0].stats, self.counter)
        return count

    def send(self, *frames: bytes) -> None:
        """One batch of the guest's."""
        for net in self.nets:
            net.send(*frames)
        self.compare()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for net in self.nets:
            net.run(seconds)
        self.compare()

    def compare(self) -> None:
        """Both have done the same: calls of the host, frames, flows and counters."""
        fast, slow = self.nets
        assert fast.host.calls == slow.host.calls
        assert [(f.parts, *f[1:]) for f in fast.wire.sent] == [(f.parts, *f[1:]) for f in slow.wire.sent]
        assert fast.stack.flows() == slow.stack.flows()
        counted, judged = fast.stats.as_dict(), slow.stats.as_dict()
        assert judged.pop(self.counter) == 0
        del counted[self.counter]
        assert counted == judged
