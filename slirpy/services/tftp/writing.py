"""Transfers from a guest: its blocks are acknowledged one by one, or window by window (RFC 7440)."""

from __future__ import annotations

from slirpy.services.tftp.files import Sink
from slirpy.services.tftp.transfer import PACKET_COST, Start, Transfer, Transfers
from slirpy.wire.tftp import ACK, DATA, HEADER, Code, RefusalError, oack

__all__ = ["Writing"]


class Writing(Transfer):
    """A transfer in which the guest writes and we acknowledge its blocks."""

    def __init__(self, transfers: Transfers, start: Start, sink: Sink) -> None:
        super().__init__(transfers, start)
        self._sink = sink
        self._next = 1  # the next block in order
        self._missing = self._window  # blocks until the next acknowledgement
        self._acknowledged = -1  # the block that was acknowledged last
        self._acknowledged_at = 0
        self._oack = oack(start.terms.accepted) if start.terms.accepted else None
        self._complete = False

    def turn(self, budget: int) -> int:
        """Acknowledge the blocks that have arrived, or at first the request."""
        if self.done and not self._complete:
            return 0
        last = self._next - 1
        if self._acknowledged == last:
            self._stats.tftp_retransmits += 1
        packet = self._oack if self._oack and not last else HEADER.pack(ACK, last & 0xFFFF)
        self._acknowledged, self._acknowledged_at = last, self._network.now
        self._missing = self._window
        self._transfers.transmit(self, (packet,))
        if not self.done:
            self._wait()
        return len(packet) + PACKET_COST

    def again(self) -> None:
        self._transfers.enqueue(self)

    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        if opcode != DATA:
            self._stats.drop_tftp_duplicate += 1
            return
        self.answered = True
        payload = payload[HEADER.size :]
        ahead = (number - self._next) & 0xFFFF
        if ahead or self.done:
            self._stats.drop_tftp_duplicate += 1
            # If the block is ahead, one before it was lost; if it is behind, our acknowledgement was. The last block
            # in order is acknowledged again, once for all such packets that arrive at the same time.
            if (self._acknowledged, self._acknowledged_at) != (self._next - 1, self._network.now):
                self._transfers.enqueue(self)
            return
        if len(payload) > self._block:
            self._stats.drop_tftp_malformed += 1
            self.fail(RefusalError(Code.ILLEGAL, f"a block has at most {self._block} bytes"))
            return
        try:
            self._sink.write(bytes(payload))
            if len(payload) < self._block:
                self._sink.commit()
        except RefusalError as why:
            self._stats.tftp_failed += 1
            self.fail(why)
            return
        self._progress()
        self._next += 1
        self._missing -= 1
        if len(payload) < self._block:
            self._stats.tftp_done += 1
            self._complete = True
            self.finish()
            self._transfers.enqueue(self)
        elif not self._missing:
            self._transfers.enqueue(self)
        else:
            self._wait()

    def release(self) -> None:
        self._sink.close()
