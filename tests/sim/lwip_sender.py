"""A model of lwIP's TCP as a sender, with its usual settings for small machines.

It has what decides how fast it recovers from losses: no SACK, no timestamps, a send buffer of eight segments, fast
retransmit after exactly three duplicate ACKs (empty ones that leave the edge of the window where it was), one timer
that ticks every 500 ms, and a timeout of whole ticks that begins at three seconds and stays above one. The
first new ACK ends a fast recovery (no NewReno), and after a timeout everything is sent again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import dpkt

from tests.support.harness import ACK, PSH, SYN, Net, Peer

__all__ = ["Loss", "LwipSender", "upload"]

MSS = 1460
SEND_BUFFER = 8 * MSS
TICK = 500_000_000
"""Nanoseconds."""
FIRST_RTO = 6
"""Ticks."""
BACKOFF = (1, 2, 3, 4, 5, 6, 7)
MASK = 0xFFFFFFFF
TURN = 0.0005
"""Seconds from a burst to the answers to it."""
Loss = Callable[[str], bool]
"""Function that decides whether the next frame is lost; called with ``"data"`` or ``"ack"``."""


class LwipSender:
    """One connection that uploads ``size`` bytes; :meth:`took` and :meth:`tick` return the frames to be sent."""

    def __init__(self, peer: Peer, size: int) -> None:
        self.peer = peer
        self.start = peer.seq
        self.size = size
        self.una = self.nxt = self.highest = 0
        self.edge = 0
        """Right edge of the peer's window."""
        self.cwnd = min(4 * MSS, max(2 * MSS, 4380))
        self.ssthresh = SEND_BUFFER
        self.acked = 0
        """Bytes since the congestion window grew last."""
        self.duplicates = 0
        self.recovering = False
        self.timer = -1
        """Ticks since the timer was started; -1: it does not run."""
        self.sa, self.sv, self.rto = 0, FIRST_RTO, FIRST_RTO
        self.retries = 0
        self.ticks = 0
        self.timed: tuple[int, int] | None = None
        """The timed segment: the number that acknowledges it, and when it was sent."""
        self.fast = self.timeouts = 0

    @property
    def done(self) -> bool:
        return self.una >= self.size

    def _frame(self, at: int) -> bytes:
        length = min(MSS, self.size - at)
        return self.peer.frame(ACK | PSH, bytes(length), seq=self.start + at)

    def output(self) -> list[bytes]:
        """Segments that the windows let out; the application has filled the send buffer."""
        frames = []
        limit = min(self.una + self.cwnd, self.edge, self.una + SEND_BUFFER, self.size)
        while self.nxt < self.size and min(self.nxt + MSS, self.size) <= limit:
            frames.append(self._frame(self.nxt))
            self.nxt = min(self.nxt + MSS, self.size)
            if self.timed is None and self.nxt > self.highest:
                self.timed = self.nxt, self.ticks
            self.highest = max(self.highest, self.nxt)
            if self.timer < 0:
                self.timer = 0
        return frames

    def took(self, segments: list[Any]) -> list[bytes]:
        """ACKs have arrived. Each is processed, and answered, before the next one."""
        frames: list[bytes] = []
        for tcp in segments:
            frames += self._ack((tcp.ack - self.start) & MASK, tcp.win, bool(tcp.data))
            frames += self.output()
        return frames

    def _ack(self, ack: int, window: int, text: bool) -> list[bytes]:
        edge = ack + window
        if self.una < ack <= self.highest:
            self._new(ack)
            self.edge = max(self.edge, edge)
        elif ack == self.una:
            same = edge == self.edge
            self.edge = max(self.edge, edge)
            if same and not text and self.timer >= 0 and self.nxt > self.una:
                return self._duplicate()
        return []

    def _duplicate(self) -> list[bytes]:
        self.duplicates += 1
        if self.duplicates > 3:
            self.cwnd += MSS
        if self.duplicates < 3 or self.recovering:
            return []
        self.recovering = True
        self.fast += 1
        self.ssthresh = max(min(self.cwnd, self.edge - self.una) // 2, 2 * MSS)
        self.cwnd = self.ssthresh + 3 * MSS
        self.timer = 0
        self.timed = None
        return [self._frame(self.una)]

    def _new(self, ack: int) -> None:
        if self.recovering:
            self.recovering = False
            self.cwnd = self.ssthresh
        self.duplicates = self.retries = 0
        acked = ack - self.una
        if self.cwnd < self.ssthresh:
            self.cwnd += min(acked, 2 * MSS)
        else:
            self.acked += acked
            if self.acked >= self.cwnd:
                self.acked -= self.cwnd
                self.cwnd += MSS
        self.una = ack
        self.nxt = max(self.nxt, ack)
        if self.timed is not None and ack >= self.timed[0]:
            error = self.ticks - self.timed[1] - (self.sa >> 3)
            self.sa += error
            self.sv += abs(error) - (self.sv >> 2)
            self.timed = None
        self.rto = (self.sa >> 3) + self.sv
        self.timer = 0 if self.nxt > ack else -1

    def tick(self) -> list[bytes]:
        """500 ms have passed."""
        self.ticks += 1
        if self.timer < 0:
            return []
        self.timer += 1
        if self.timer < self.rto:
            return []
        self.timeouts += 1
        self.rto = ((self.sa >> 3) + self.sv) << BACKOFF[min(self.retries, len(BACKOFF) - 1)]
        self.retries += 1
        self.ssthresh = max(min(self.cwnd, self.edge - self.una) // 2, 2 * MSS)
        self.cwnd = MSS
        self.nxt = self.una
        self.timer = 0
        self.timed = None
        self.recovering = False
        self.duplicates = 0
        return self.output()


def upload(net: Net, lost: Loss, size: int = 600_000, limit: float = 60.0) -> tuple[float, LwipSender]:
    """Send ``size`` bytes through a network that loses what ``lost`` says, either way.

    Returns:
        Virtual seconds that it took, and the sender.
    """
    peer = Peer(net, wnd=8 * MSS)
    answer = peer.open(struct.pack("!BBH", 2, 4, MSS))
    assert not {kind for kind, _ in dpkt.tcp.parse_opts(answer.opts)} & {3, 4, 8}
    sender = LwipSender(peer, size)
    sender.edge = answer.win
    began = net.now
    next_tick = began + TICK
    frames = sender.output()
    while not sender.done:
        assert net.now - began < limit * 1e9, f"{sender.una} of {size} bytes after {limit} s"
        if frames:
            net.send(*(frame for frame in frames if not lost("data")))
        net.run(TURN)
        segments = [tcp for tcp in peer.take() if tcp.flags & ACK and not tcp.flags & SYN and not lost("ack")]
        frames = sender.took(segments)
        while net.now >= next_tick:
            next_tick += TICK
            frames += sender.tick()
    return (net.now - began) / 1e9, sender
