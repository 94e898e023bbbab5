"""Two networks that differ in the fast path alone: what is done to one is done to both, and the outcome compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slirpy import Config
from tests.support.harness import Net

__all__ = ["Twins", "UdpTwins"]


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


class UdpTwins(Twins):
    """Twins that know their guest, and whose ``servers`` send back the beginning of each datagram."""

    def __init__(self, know: Callable[[Net], object], *servers: bytes) -> None:
        super().__init__()
        for net in self.nets:
            know(net)
            for address in servers:
                net.host.serve_udp(address, None, lambda payload, source, port: payload[:700])

    def check_second_is_fast(self, make: Callable[[int, int], bytes]) -> None:
        """All datagrams of a flow but the first take the fast path, also an empty one.

        Args:
            make: makes a frame of a size, with a number.
        """
        self.send(make(100, 0))
        assert self.fast == 0
        self.send(*(make(number - 1, number) for number in range(1, 40)))
        self.run(0.1)
        assert self.fast == 39
        sent = [call for call in self.nets[0].host.calls if call.name == "send_udp"]
        assert len(sent) == 40
