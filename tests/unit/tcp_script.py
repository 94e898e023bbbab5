"""A connection driven by hand: segments in, segments out, and silence asserted.

Sequence numbers are relative: ours to ``ISS``, the peer's to ``IRS``, so that 0 is each side's SYN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slirpy.interfaces import Buffer
from slirpy.tcp import (
    Connection,
    Segment,
    Settings,
    State,
    TcpOptions,
    expire,
    options,
    output,
    segment_arrives,
)
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

ISS = 0xFFFFFF00  # wraps soon
IRS = 0xFFFFFFF0
MS = 1_000_000
SECOND = 1_000 * MS

LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "A": ACK, "U": URG}


def flag_bits(letters: str) -> int:
    """``"SA"`` as bits."""
    return sum(LETTERS[letter] for letter in letters)


@dataclass(frozen=True)
class Sent:
    """A segment that the connection sent; sequence numbers relative."""

    flags: str
    seq: int
    ack: int | None
    data: bytes
    wnd: int
    options: TcpOptions
    urg: int = 0


class Script:
    """One connection and its peer's hand."""

    def __init__(
        self, settings: Settings | None = None, *, iss: int = ISS, irs: int = IRS, now: int = 10 * SECOND
    ) -> None:
        self.conn = Connection(settings or Settings(), iss)
        self.iss, self.irs, self.now = iss, irs, now
        self.out: list[Sent] = []

    def _emit(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        opts: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None:
        data = b"".join(parts)
        assert len(data) == length
        assert len(opts) % 4 == 0
        assert 0 <= wnd <= 0xFFFF
        assert 0 <= urg <= 0xFFFF
        letters = "".join(letter for letter, bit in LETTERS.items() if flags & bit)  # in the order of LETTERS
        assert flag_bits(letters) == flags
        assert flags & ACK or ack == 0
        relative_ack = (ack - self.irs) & MASK if flags & ACK else None
        self.out.append(
            Sent(letters, (seq - self.iss) & MASK, relative_ack, data, wnd, options.parse(opts), urg)
        )

    def flush(self) -> None:
        """Let it send what is due."""
        expire(self.conn, self.now)
        while output(self.conn, self.now, self._emit):
            pass

    def recv(
        self,
        flags: str,
        seq: int,
        ack: int = 0,
        wnd: int = 65535,
        data: bytes = b"",
        *,
        flush: bool = True,
        urg: int = 0,
        **opts: Any,
    ) -> Script:
        """The peer sends a segment."""
        seg = Segment(
            (self.irs + seq) & MASK,
            (self.iss + ack) & MASK if "A" in flags else 0,
            flag_bits(flags),
            wnd,
            TcpOptions(**opts),
            memoryview(data),
            urg,
        )
        segment_arrives(self.conn, seg, self.now)
        if flush:
            self.flush()
        return self

    def send(
        self, flags: str, seq: int | None = None, ack: int | None = None, data: bytes | None = None
    ) -> Sent:
        """It has sent this, next; what is None is not looked at."""
        assert self.out, f"expected {flags}, but nothing was sent; {self.conn.state}"
        sent = self.out.pop(0)
        assert sent.flags == flags, sent
        assert seq is None or sent.seq == seq & MASK, sent
        assert ack is None or sent.ack == ack, sent
        assert data is None or sent.data == data, (len(sent.data), sent)
        return sent

    def silence(self) -> Script:
        """It has sent nothing else."""
        assert not self.out, self.out
        return self

    def wait(self, nanoseconds: int) -> Script:
        """Time passes, in one leap to each deadline on the way."""
        end = self.now + nanoseconds
        while (deadline := self.conn.deadline()) is not None and deadline <= end:
            assert deadline > self.now, "a deadline must lie ahead"
            self.now = deadline
            self.flush()
        self.now = end
        return self

    def write(self, data: bytes) -> Script:
        self.conn.write(data)
        self.flush()
        return self

    def read(self) -> bytes:
        """Take everything that has arrived."""
        data = b"".join(self.conn.rcv_queue)
        assert len(data) == self.conn.rcv_pending
        self.conn.consume(len(data))
        self.flush()
        return data

    def shutdown(self) -> Script:
        self.conn.shutdown()
        self.flush()
        return self

    def state(self, state: State) -> Script:
        assert self.conn.state is state, self.conn.state
        return self


def passive(settings: Settings | None = None, *, wnd: int = 65535, mss: int = 1460, **opts: Any) -> Script:
    """Established by the peer's SYN."""
    s = Script(settings)
    s.conn.listen(s.now)
    s.recv("S", 0, wnd=wnd, mss=mss, **opts)
    s.send("SA", 0, 1)
    s.recv("A", 1, 1, wnd=wnd, timestamps=opts.get("timestamps"))
    return s.silence().state(State.ESTABLISHED)


def active(settings: Settings | None = None, *, wnd: int = 65535, mss: int = 1460) -> Script:
    """Established by our SYN, without options but MSS."""
    s = Script(settings)
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("SA", 0, 1, wnd=wnd, mss=mss)
    s.send("A", 1, 1)
    return s.silence().state(State.ESTABLISHED)
