"""A segment, and the answer to one that belongs to no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from slirpy.interfaces import Buffer
from slirpy.tcp.options import NONE, TcpOptions, parse
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK, FIN, RST

__all__ = ["Emit", "Segment", "as_segments", "reset_for"]


class Segment(NamedTuple):
    """A segment, incoming or outgoing; the fields are named as in RFC 9293, section 3.3.1."""

    seq: int
    ack: int
    flags: int
    wnd: int
    """As in the header, not scaled."""
    options: TcpOptions = NONE
    payload: Buffer = b""
    urg: int = 0
    """SEG.UP: where urgent data end, from ``seq``; means something with the flag URG only."""

    @property
    def length(self) -> int:
        """SEG.LEN: payload, SYN and FIN."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)


def reset_for(seg: Segment) -> tuple[int, int, int] | None:
    """What to answer to a segment that belongs to no connection: SEQ, ACK and flags of a RST, or None.

    RFC 9293, section 3.10.7.1; no reset answers a reset.
    """
    if seg.flags & RST:
        return None
    if seg.flags & ACK:
        return seg.ack, 0, RST
    return 0, (seg.seq + seg.length) & MASK, RST | ACK


class Emit(Protocol):
    """Sends one segment, given in parts: the callback of :func:`~slirpy.tcp.output.output`.

    ``wnd`` is as in the header, ``parts`` hold ``length`` bytes. ``urg`` is the urgent pointer, left out if there is
    none.
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
    """An :class:`Emit` that makes a segment of the parts and calls ``take`` with it."""

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
