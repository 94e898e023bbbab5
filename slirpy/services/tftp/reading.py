"""Transfers to a guest: blocks go out in windows (RFC 7440). A window of one block is plain RFC 1350.

An option acknowledgement is treated as block 0: the guest acknowledges it before block 1 is sent, and it is sent
again like any block.

With a window of one block a duplicate acknowledgement is never a reason to send again: that would be the sorcerer's
apprentice syndrome (RFC 1123, section 4.2.3.1). With larger windows it is how the guest reports that the first block
of the window is missing (RFC 7440, section 4), so it counts once for each window.
"""

from __future__ import annotations

from collections import deque

from slirpy.services.tftp.files import Source
from slirpy.services.tftp.transfer import PACKET_COST, RTO_MAX, RTO_MIN, Start, Transfer, Transfers
from slirpy.wire.tftp import ACK, DATA, HEADER, RefusalError, oack

__all__ = ["Reading"]

PIECE = 65536
"""Bytes that are read from a file at a time."""


class Reading(Transfer):
    """A transfer in which the guest reads and we send blocks."""

    def __init__(self, transfers: Transfers, start: Start, source: Source) -> None:
        super().__init__(transfers, start)
        self._source = source
        self._piece = memoryview(b"")  # the piece that was read last
        self._at = 0  # where in it the next block begins
        self._packets: deque[bytes] = deque()  # from _una on
        self._una = 1  # the first block that is not acknowledged
        self._nxt = 1  # the next block to send
        self._top = 1  # the next block that was never sent
        self._last: int | None = None  # the block that ends the file, once it has been read
        self._sent_at = 0  # when the first block of this window was sent
        self._timed: int | None = None  # a block that was sent once, at _timed_at
        self._timed_at = 0
        self._repeated = 0  # the block after which a window was last sent again
        if start.terms.accepted:
            self._packets.append(oack(start.terms.accepted))
            self._una = self._nxt = self._top = 0

    def _limit(self) -> int:
        """The first block beyond the window."""
        una = self._una
        if not una:
            return 1
        limit = una + self._window
        return limit if self._last is None else min(limit, self._last + 1)

    def turn(self, budget: int) -> int:
        first = nxt = self._nxt
        una, packets = self._una, self._packets
        limit = self._limit()
        out: list[bytes] = []
        spent = 0
        failure = None
        try:
            while nxt < limit and spent < budget and not self.done:
                if nxt - una == len(packets):
                    self._read()
                    if self._last is not None:
                        limit = self._limit()  # the file has ended
                packet = packets[nxt - una]
                out.append(packet)
                nxt += 1
                spent += len(packet) + PACKET_COST
        except RefusalError as why:
            failure = why
        self._nxt = nxt
        if out:
            self._note(first)
            self._transfers.transmit(self, out)
            self._wait()
        if failure is not None:
            self._stats.tftp_failed += 1
            self.fail(failure)
        elif out and nxt < limit:
            self._transfers.enqueue(self)
        return spent

    def _note(self, first: int) -> None:
        """Note that blocks from ``first`` on are being sent."""
        now, top = self._network.now, self._top
        if first == self._una:
            self._sent_at = now
        if first < top:
            self._stats.tftp_retransmits += min(top, self._nxt) - first
            if self._timed is not None and first <= self._timed < self._nxt:
                self._timed = None  # its round-trip time would be ambiguous (Karn)
        if self._nxt > top:
            self._top = self._nxt
            if self._timed is None:
                self._timed, self._timed_at = top, now

    def _read(self) -> None:
        """Read the next block."""
        block, at = self._block, self._at
        if len(self._piece) - at < block:
            rest = bytes(self._piece[at:])
            self._piece = memoryview(rest + self._source.read(max(PIECE // block, 1) * block))
            at = 0
        data = self._piece[at : at + block]
        number = self._una + len(self._packets)
        self._packets.append(HEADER.pack(DATA, number & 0xFFFF) + data)
        if len(data) < block:
            self._last = number
        self._at = at + block

    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        stats = self._stats
        if self.done or opcode != ACK:
            stats.drop_tftp_duplicate += 1
            return
        self.answered = True
        una = self._una
        count = (number - una + 1) & 0xFFFF
        if not count or count > self._top - una:
            if not count and self._is_gap():
                self._repeated = una
                self._nxt = una
                self._transfers.enqueue(self)
            else:
                stats.drop_tftp_duplicate += 1
            return
        now = self._network.now
        self._tries = 0
        self.active = now
        packets = self._packets
        packets.popleft()
        for _ in range(count - 1):
            packets.popleft()
        una += count
        self._una = una
        if self._timed is not None and self._timed < una:
            rto = 4 * (now - self._timed_at)
            self._rto = RTO_MIN if rto < RTO_MIN else min(rto, RTO_MAX)
            self._timed = None
        if self._last is not None and una > self._last:
            stats.tftp_done += 1
            self.finish()
            return
        if una < self._nxt:  # a gap: everything behind it has to be sent again (RFC 7440, section 4)
            self._repeated = una
        self._nxt = una
        self._transfers.enqueue(self)

    def _is_gap(self) -> bool:
        """Report whether a duplicate acknowledgement reports that the first block of the window is missing.

        A duplicate that arrives in the moment in which the window is sent was under way before.
        """
        una = self._una
        return (
            self._window > 1
            and una > 0
            and self._nxt > una
            and self._repeated != una
            and self._network.now > self._sent_at
        )

    def again(self) -> None:
        self._nxt = self._una
        self._transfers.enqueue(self)

    def release(self) -> None:
        self._packets.clear()
        self._piece = memoryview(b"")
        try:
            self._source.close()
        except RefusalError:
            self._stats.tftp_failed += 1
