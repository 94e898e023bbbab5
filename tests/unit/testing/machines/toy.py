"""A toy TCP, as small as one that works: one segment under way, no options, a fixed timeout. With planted bugs."""

from __future__ import annotations

from slirpy.tcp import Segment
from slirpy.testing.machines import TcpSubject
from slirpy.wire.tcp import ACK, FIN, RST, SYN

MASK, RTO = 0xFFFFFFFF, 1_000_000_000


class Toy(TcpSubject):
    """Stop and wait.

    Args:
        bug: "" for none; "repeats": takes a segment again that comes twice; "early": takes a segment before one that
            is missing; "window": ignores the window of the peer.
    """

    def __init__(self, bug: str = "") -> None:
        self.bug = bug
        self.una = self.nxt = 77  # the oldest unacknowledged number, and the next one
        self.rcv: int | None = None  # the next number of the peer
        self.unsent, self.inbox = b"", b""
        self.flight: Segment | None = None  # the one segment under way
        self.due: int | None = None
        self.wnd = 1
        self.syn = self.fin = self.over = self.ack = self.fin_seen = False

    def open(self, now: int, *, active: bool) -> None:
        self.syn = active

    def input(self, segment: Segment, now: int) -> None:
        if segment.flags & RST:
            self.over, self.flight, self.due = True, None, None
            return
        if segment.flags & SYN:
            if self.rcv is None:
                self.rcv = (segment.seq + 1) & MASK
                self.syn = self.syn or self.nxt == 77
            self.ack = True
        if segment.flags & ACK:
            self.wnd = segment.wnd
            if self.flight is not None and segment.ack == (self.flight.seq + self.flight.length) & MASK:
                self.una = segment.ack
                self.flight = self.due = None
        if self.rcv is None:
            return
        if segment.payload or segment.flags & FIN:
            self.ack = True
            ahead = (segment.seq - self.rcv) & MASK
            wanted = not ahead or (self.bug == "repeats" and ahead > 1 << 31)
            if wanted or (self.bug == "early" and ahead < 5000):
                self.inbox += bytes(segment.payload)
                self.rcv = (segment.seq + len(segment.payload)) & MASK
                if segment.flags & FIN:
                    self.rcv = (self.rcv + 1) & MASK
                    self.fin_seen = True

    def output(self, now: int) -> list[Segment]:
        if self.over:
            return []
        if self.flight is None:
            self.flight = self._next()
            self.due = None if self.flight is None else now
        if self.flight is not None and self.due is not None and self.due <= now:
            self.due, self.ack = now + RTO, False
            flags = self.flight.flags | (ACK if self.rcv is not None else 0)
            return [self.flight._replace(flags=flags, ack=self.rcv or 0)]
        if self.ack:
            self.ack = False
            return [Segment(self.nxt, self.rcv or 0, ACK, 5000)]
        return []

    def _next(self) -> Segment | None:
        data, flags = b"", 0
        if self.syn:
            self.syn, flags = False, SYN
        elif self.unsent and self.una != 77:
            size = min(len(self.unsent), 500, 500 if self.bug == "window" else max(self.wnd, 1))
            data, self.unsent = self.unsent[:size], self.unsent[size:]
        elif self.fin and not self.unsent and self.una != 77:
            self.fin, flags = False, FIN
        if not data and not flags:
            return None
        segment = Segment(self.nxt, 0, flags, 5000, payload=data)
        self.nxt = (self.nxt + segment.length) & MASK
        return segment

    def deadline(self) -> int | None:
        return self.due

    def write(self, data: bytes) -> int:
        self.unsent += data
        return len(data)

    def read(self) -> bytes:
        data, self.inbox = self.inbox, b""
        return data

    def close(self) -> None:
        self.fin = self.closing = True

    closing = False

    @property
    def ended(self) -> bool:
        return self.fin_seen

    @property
    def closed(self) -> bool:
        idle = self.flight is None and not self.fin and not self.unsent and not self.syn
        return self.over or (self.fin_seen and self.closing and idle)
