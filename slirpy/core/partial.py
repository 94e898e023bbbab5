"""A packet of which some fragments have arrived; see ``core/fragments.py``."""

from __future__ import annotations

from typing import Final

from slirpy.core.neighbor import Neighbor
from slirpy.core.paths import UdpPath
from slirpy.core.port import LinkPort
from slirpy.interfaces import Buffer
from slirpy.wire.ip import Header

__all__ = ["PACKET_COST", "PIECE_COST", "Key", "Partial"]

PIECE_COST: Final = 128
"""Cost of a piece in addition to its bytes, so that small fragments are charged for the memory they use."""
PACKET_COST: Final = 1024
"""Cost of a packet in addition to its pieces."""
Key = tuple[bytes, int]
"""Source and destination, as in the header; identification, with IPv4 and protocol."""


class Partial:
    """An incomplete packet."""

    __slots__ = ("begun", "cost", "end", "first", "have", "header", "key", "macs", "neighbor", "number", "owned",
                 "path", "pieces", "port", "starts", "total")  # fmt: skip

    def __init__(self, port: LinkPort, key: Key) -> None:
        self.port = port
        self.key = key
        self.begun = self.number = 0
        """Time of its first piece, in nanoseconds, and its number among the packets of its sender."""
        self.starts: list[int] = []
        """Offsets of the pieces, sorted."""
        self.pieces: list[Buffer] = []
        """The pieces, in the order of ``starts``."""
        self.end = 0
        """End of the piece with the largest offset."""
        self.have = 0
        """Number of bytes in all pieces."""
        self.total: int | None = None
        """Length of the payload, once the last fragment has arrived."""
        self.header: Buffer | None = None
        """Header of the first fragment, which becomes the packet's. ``neighbor`` and ``macs`` are from it, too."""
        self.first: Header | None = None
        """Parsed form of ``header``; unknown on the fast path."""
        self.neighbor: Neighbor | None = None
        self.macs = b""
        self.path: UdpPath | None = None
        """Path of its flow, if it may take the fast path."""
        self.owned = 0
        """Number of pieces, from the first on, that are copies."""
        self.cost = PACKET_COST

    @property
    def source(self) -> bytes:
        """Address of the sender."""
        addresses = self.key[0]
        return addresses[: len(addresses) // 2]

    def fits(self, at: int, offset: int, end: int, more: bool) -> bool:
        """Report whether a piece, inserted at index ``at``, overlaps no other and agrees with the packet's
        known end.
        """
        if self.total is not None and (end > self.total or not more):
            return False
        starts = self.starts
        if at and starts[at - 1] + len(self.pieces[at - 1]) > offset:
            return False
        return at == len(starts) or (more and starts[at] >= end)

    def add(self, at: int, offset: int, piece: Buffer, more: bool) -> None:
        """Insert a piece that fits."""
        self.starts.insert(at, offset)
        self.pieces.insert(at, piece)
        self.owned = min(self.owned, at)
        end = offset + len(piece)
        self.have += len(piece)
        self.end = max(self.end, end)
        if not more:
            self.total = end

    def spoil(self) -> None:
        """Drop all pieces. None fits from now on, since the packet counts as ended before its first byte."""
        self.starts.clear()
        self.pieces.clear()
        self.have = self.owned = 0
        self.total = -1
        self.header = None

    def own(self) -> int:
        """Copy all pieces that are views of frames. Returns the total cost of the packet."""
        pieces = self.pieces
        for at in range(self.owned, len(pieces)):
            pieces[at] = bytes(pieces[at])
        self.owned = len(pieces)
        if self.header is not None:
            self.header = bytes(self.header)
        self.cost = PACKET_COST + self.have + PIECE_COST * len(pieces)
        return self.cost
