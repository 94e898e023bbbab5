"""Segments, and the answer to one that belongs to no connection."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.checks import octets, shown, whole
from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple, Protocol
from slirpy.tcp.options import NONE, TcpOptions, check_options, parse
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK, FIN, RST

__all__ = ["Emit", "Segment", "as_segments", "check_segment", "reset_for"]


class Segment(NamedTuple):
    """A segment, incoming or outgoing. Fields are named as in RFC 9293, section 3.3.1."""

    seq: int
    ack: int
    flags: int
    wnd: int
    """Window as in the header, not scaled."""
    options: TcpOptions = NONE
    payload: Buffer = b""
    urg: int = 0
    """SEG.UP: the end of the urgent data, relative to ``seq``. Only valid with the flag URG."""
    ecn: int = 0
    """ECN field of the IP header: 0, or 1 or 2 if the sender knows ECN, 3 if a router has marked it (RFC 3168)."""

    @property
    def length(self) -> int:
        """SEG.LEN: payload, SYN and FIN."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)


def check_segment(segment: object) -> None:
    """Check that a header can express a segment.

    Raises:
        ConfigError: not a Segment, or a field of another type or out of range.
    """
    if not isinstance(segment, Segment):
        raise ConfigError(f"segment must be a Segment; given was {shown(segment)}")
    for name, value, most in (
        ("seq", segment.seq, MASK),
        ("ack", segment.ack, MASK),
        ("flags", segment.flags, 0xFF),
        ("wnd", segment.wnd, 0xFFFF),
        ("urg", segment.urg, 0xFFFF),
        ("ecn", segment.ecn, 3),
    ):
        if type(value) is not int or not 0 <= value <= most:
            whole(f"the segment's {name}", value, 0, most)
    octets("the segment's payload", segment.payload)
    if segment.options is not NONE:
        check_options(segment.options)


def reset_for(seg: Segment) -> tuple[int, int, int] | None:
    """Return SEQ, ACK and flags of the RST that answers a segment of no connection (RFC 9293, section 3.10.7.1).

    None: the segment is a RST, which is never answered.
    """
    if seg.flags & RST:
        return None
    if seg.flags & ACK:
        return seg.ack, 0, RST
    return 0, (seg.seq + seg.length) & MASK, RST | ACK


class Emit(Protocol):
    """Callback of :func:`~slirpy.tcp.sending.output` that sends one segment, given in parts.

    ``wnd`` is the window as in the header. ``parts`` contain ``length`` bytes. ``urg`` is the urgent pointer, and
    omitted if there is none.
    """

    def __call__(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None: ...


def as_segments(take: Callable[[Segment], object]) -> Emit:
    """Return an :class:`Emit` that makes a segment of the parts and passes it to ``take``."""

    def emit(
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None:
        payload = b"".join(parts)
        assert len(payload) == length
        take(Segment(seq, ack, flags, wnd, parse(options), payload, urg))

    return emit
