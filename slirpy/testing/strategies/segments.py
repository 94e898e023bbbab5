"""Segments for a connection, relative to its present state."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from slirpy.checks import instance
from slirpy.tcp.connection import Connection
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, flag_names

__all__ = ["Shape", "segment_shapes", "segments"]


@dataclass(frozen=True)
class Shape:
    """A segment in terms of its receiver: numbers are distances from the receiver's variables.

    ``shape.on(connection)`` makes the segment for the state that the connection has then, so a test may draw a list
    of shapes before there is a connection.
    """

    seq_from: str = "rcv_nxt"
    """Variable from which ``seq`` counts: ``rcv_nxt``, ``rcv_adv`` (the right edge of the window), ``irs``, or
    ``snd_una``, which belongs to the other direction."""
    seq: int = 0
    ack_from: str = "snd_una"
    """Variable from which ``ack`` counts: ``snd_una``, ``snd_nxt``, ``snd_max`` or ``iss``."""
    ack: int = 0
    flags: int = ACK
    wnd: int = 65535
    size: int = 0
    """Bytes of text, all zero."""
    sack: tuple[tuple[int, int], ...] = ()
    """Blocks, counted from ``snd_una``."""
    timestamp: int | None = None
    """TSval, counted from the last one taken; None: no timestamps."""
    mss: int | None = None
    """MSS option, with SACK-permitted and a window scale; None: none of them."""

    def on(self, conn: Connection) -> Segment:
        """Make the segment for a connection in its present state."""
        una = conn.snd_una
        stamps = None
        if self.timestamp is not None:
            stamps = (conn.ts_recent + self.timestamp) & MASK, self.seq & MASK
        options = TcpOptions(
            mss=self.mss,
            wscale=None if self.mss is None else self.mss % 15,
            sack_permitted=self.mss is not None,
            timestamps=stamps,
            sack=tuple(((una + left) & MASK, (una + right) & MASK) for left, right in self.sack),
        )
        seq = (getattr(conn, self.seq_from) + self.seq) & MASK
        ack = (getattr(conn, self.ack_from) + self.ack) & MASK
        return Segment(seq, ack, self.flags, self.wnd, options, bytes(self.size), self.seq & 0xFFFF)

    def __str__(self) -> str:
        words = [flag_names(self.flags) or "no flags", f"seq={self.seq_from}{self.seq:+}"]
        words += [f"ack={self.ack_from}{self.ack:+}"] if self.flags & ACK else []
        words += [f"len={self.size}"] if self.size else []
        words += [f"sack={left}-{right}" for left, right in self.sack]
        return " ".join(words)


_offsets = st.sampled_from((0, 1, -1, 2, -2, 1460, 1 << 16, 1 << 31, -(1 << 16))) | st.integers(-70_000, 70_000)
_sizes = st.sampled_from((0, 1, 2, 100, 1460, 5000))
_flags = st.sampled_from(
    (ACK, ACK | PSH, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, 0, FIN, ACK | URG, SYN | FIN, 255)
)


def _shape(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[Shape]:
    return st.builds(Shape, **fields)


_WANTED = (
    # The next segment in order, with any kind of news.
    _shape(size=_sizes, ack=st.sampled_from((0, 1, 1460))),
    # In the window, and across its edges; old text, and text that overlaps.
    _shape(seq=st.integers(1, 5000), size=_sizes),
    _shape(seq_from=st.just("rcv_adv"), seq=st.sampled_from((-1, 0, 1, -1460, -5000)), size=_sizes),
    _shape(seq=st.integers(-5000, -1), size=_sizes),
    # Acknowledgments of all that was sent, of too much, and of old data.
    _shape(ack_from=st.sampled_from(("snd_nxt", "snd_max", "iss")), ack=st.sampled_from((0, 1, -1, 1 << 30))),
    # Blocks of SACK inside of what is outstanding, outside of it, and D-SACK.
    _shape(
        sack=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 9000)), min_size=1, max_size=4).map(tuple)
    ),
    # SYN and RST at the exact number, in the window, and at its edge (RFC 5961).
    _shape(flags=st.sampled_from((RST, SYN, RST | ACK, SYN | ACK)), seq=st.sampled_from((0, 1, -1, 100))),
    _shape(flags=st.sampled_from((RST, SYN)), seq_from=st.just("rcv_adv"), seq=st.sampled_from((-1, 0, 1))),
    # The end, in its place and early; a window that closes.
    _shape(flags=st.just(ACK | FIN), seq=st.sampled_from((0, 1, 100)), size=_sizes),
    _shape(wnd=st.sampled_from((0, 1, 100))),
)
_ANYTHING = _shape(
    seq_from=st.sampled_from(("rcv_nxt", "rcv_adv", "irs", "snd_una")),
    seq=_offsets,
    ack_from=st.sampled_from(("snd_una", "snd_nxt", "snd_max", "iss")),
    ack=_offsets,
    flags=_flags,
    wnd=st.sampled_from((65535, 0, 1, 100)),
    size=_sizes,
    sack=st.lists(st.tuples(_offsets, _offsets), max_size=4).map(tuple),
    timestamp=st.sampled_from((None, 0, 1, -1, 1 << 31, 100)),
    mss=st.sampled_from((None, 0, 7, 536, 1460, 65535)),
)


def segment_shapes() -> st.SearchStrategy[Shape]:
    """Make shapes of segments: those that a state machine treats specially, and any others.

    In order, in the window, at and beyond its edges, old and overlapping text; acknowledgments of the future and of
    the past; SACK blocks of all sorts; RST and SYN at and near the exact number; ends, zero windows; odd flags,
    timestamps and options. The simplest example is a bare ACK that says nothing new.
    """
    return st.one_of(st.just(Shape()), *_WANTED, _ANYTHING)


def segments(conn: Connection) -> st.SearchStrategy[Segment]:
    """Make segments that arrive at a connection, relative to the state that it has when they are drawn.

    Args:
        conn: the receiver.

    Raises:
        ConfigError: not a Connection.
    """
    instance("conn", conn, Connection, "a slirpy.tcp.Connection")
    return segment_shapes().map(lambda shape: shape.on(conn))
