"""A packet of which some fragments have come: see ``core/fragments.py``."""

from __future__ import annotations

from slirpy.core.neighbor import Neighbor
from slirpy.core.paths import UdpPath
from slirpy.core.port import LinkPort
from slirpy.interfaces import Buffer

__all__ = ["PACKET_COST", "PIECE_COST", "Key", "Partial"]

PIECE_COST = 128
"""What a piece costs beside its bytes, so that small fragments count for what they take."""
PACKET_COST = 1024
"""What a packet costs beside its pieces."""
Key = tuple[bytes, int]
"""Source and destination, as they lie in the header; identification and protocol."""


class Partial:
    """One packet that is not complete."""

    __slots__ = ("begun", "cost", "end", "have", "header", "key", "macs", "neighbor", "number", "owned", "path",
                 "pieces", "port", "starts", "total")  # fmt: skip

    def __init__(self, port: LinkPort, key: Key) -> None:
        self.port = port
        self.key = key
        self.begun = self.number = 0
        """When it was begun, in nanoseconds, and its number among the packets of its sender."""
        self.starts: list[int] = []
        """Offsets of the pieces, sorted."""
        self.pieces: list[Buffer] = []
        """In the order of ``starts``."""
        self.end = 0
        """Where the piece with the largest offset ends."""
        self.have = 0
        """Bytes in all pieces."""
        self.total: int | None = None
        """Length of the payload, once the last fragment is here."""
        self.header: Buffer | None = None
        """That of the first fragment, which becomes the whole packet's; ``neighbor`` and ``macs`` are its too."""
        self.neighbor: Neighbor | None = None
        self.macs = b""
        self.path: UdpPath | None = None
        """Of the flow that it belongs to, if it may be handed over the fast way."""
        self.owned = 0
        """How many of the first pieces are copies."""
        self.cost = PACKET_COST

    def fits(self, at: int, offset: int, end: int, more: bool) -> bool:
        """Whether a piece neither overlaps its neighbours nor contradicts what is known of the packet's end.

        ``at`` is the place in ``starts`` that it would have.
        """
        if self.total is not None and (end > self.total or not more):
            return False
        starts = self.starts
        if at and starts[at - 1] + len(self.pieces[at - 1]) > offset:
            return False
        return at == len(starts) or (more and starts[at] >= end)

    def add(self, at: int, offset: int, piece: Buffer, more: bool) -> None:
        """Keep a piece that fits."""
        self.starts.insert(at, offset)
        self.pieces.insert(at, piece)
        self.owned = min(self.owned, at)
        end = offset + len(piece)
        self.have += len(piece)
        self.end = max(self.end, end)
        if not more:
            self.total = end

    def own(self) -> int:
        """Copy what is a view of a frame; returns what the packet costs in all."""
        pieces = self.pieces
        for at in range(self.owned, len(pieces)):
            pieces[at] = bytes(pieces[at])
        self.owned = len(pieces)
        if self.header is not None:
            self.header = bytes(self.header)
        self.cost = PACKET_COST + self.have + PIECE_COST * len(pieces)
        return self.cost
