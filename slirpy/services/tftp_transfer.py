"""One transfer of TFTP: RFC 1350 with the windows of RFC 7440, of which one block is the smallest.

Blocks have numbers of their own here, which do not roll over; the 16 bits of the wire are the lower ones of them, so
that after 65535 comes 0. An option acknowledgement is block 0: acknowledged before the first block is sent, and
sent again like it.

What is lost is sent again when its time is up, each time after twice as long, or at the guest's own interval if it
has asked for one (RFC 2349). An acknowledgement that comes twice is never a reason to send again while the window is
one block: that would be the sorcerer's apprentice (RFC 1123, section 4.2.3.1). With larger windows it is how the
guest says that the first block of the window is missing (RFC 7440, section 4), so it counts once for each window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from slirpy.interfaces import Buffer, Timer
from slirpy.services.tftp_files import Sink, Source
from slirpy.services.tftp_message import ACK, DATA, HEADER, Code, RefusalError, error, oack
from slirpy.services.tftp_options import Terms
from slirpy.stats import Stats

__all__ = ["Reading", "Transfer", "TransferOwner", "Writing"]

SECOND = 1_000_000_000
RTO_FIRST, RTO_MIN, RTO_MAX = SECOND, SECOND // 4, 8 * SECOND
TRIES = 8
"""Sent so often without an answer, the guest is gone: after half a minute or more, or eight of its own intervals."""
LINGER = 5 * SECOND
"""How long what is late is still known to belong to a transfer that is over."""
PIECE = 65536
"""Bytes read from a file at a time."""
PACKET_COST = 2048
"""What a packet costs beside its bytes, as bytes of a turn's budget: for blocks of 8 bytes would take for ever."""


class TransferOwner(Protocol):
    """The service, as a transfer sees it."""

    @property
    def now(self) -> int: ...

    @property
    def stats(self) -> Stats: ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer: ...

    def transmit(self, transfer: Transfer, payload: Buffer) -> None:
        """Send a packet to the guest."""

    def enqueue(self, transfer: Transfer) -> None:
        """Give the transfer a turn, soon: :meth:`Transfer.turn`."""

    def remove(self, transfer: Transfer) -> None:
        """Forget it."""


class Transfer:
    """What both directions share: time-outs, errors, the end.

    Attributes:
        guest, guest_port: the other end.
        port: ours.
        request: the packet that began it.
        started, active: when it began, and when the guest was last of use.
        done: it is over, and only keeps its place for a while.
        queued: a turn is coming.
    """

    def __init__(
        self, owner: TransferOwner, guest: bytes, guest_port: int, port: int, request: bytes, terms: Terms
    ) -> None:
        self._owner = owner
        self._stats = owner.stats
        self._block = terms.block
        self._window = terms.window
        self._interval = terms.timeout
        self.guest = guest
        self.guest_port = guest_port
        self.port = port
        self.request = request
        self.started = self.active = owner.now
        self.done = False
        self.queued = False
        self.answered = False
        """The guest has sent something after its request."""
        self._rto = RTO_FIRST
        self._tries = 0
        self._due: int | None = None
        self._timer: Timer | None = None
        self._timer_at = 0

    @property
    def window_bytes(self) -> int:
        """Bytes of file that may be held in memory for it."""
        return 0 if self.done else self._block * self._window

    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        """Take a DATA or ACK packet; ``payload`` is what follows its header."""
        raise NotImplementedError

    def again(self) -> None:
        """Send again what was not answered."""
        raise NotImplementedError

    def turn(self, budget: int) -> int:
        """Send up to about ``budget`` bytes; returns how many. Ask for another turn if there is more."""
        raise NotImplementedError

    def release(self) -> None:
        """Close the file."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- time

    def _wait(self) -> None:
        """Something was sent that wants an answer."""
        base = self._interval or min(self._rto << self._tries, RTO_MAX)
        self._set(self._owner.now + base)

    def _set(self, due: int) -> None:
        # Later is the usual change, and it leaves the timer alone: when that rings, it is set again.
        self._due = due
        if self._timer is None or due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._owner.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        if due > self._owner.now:
            self._set(due)
        elif self.done:
            self._owner.remove(self)
        else:
            self._tries += 1
            if self._tries < TRIES:
                self.again()
            else:
                self._stats.tftp_timeouts += 1
                self.fail(RefusalError(Code.UNDEFINED, "timed out"))

    def _progress(self) -> None:
        self._tries = 0
        self.active = self._owner.now

    # -------------------------------------------------------------------------------------- end

    def finish(self) -> None:
        """It is over; what comes late is still recognized for a while."""
        self.done = True
        self.release()
        self._set(self._owner.now + LINGER)

    def fail(self, why: RefusalError) -> None:
        """End it, and say so."""
        if not self.done:
            self._owner.transmit(self, error(why.code, why.text))
            self.finish()

    def aborted(self) -> None:
        """The guest has sent an error."""
        if not self.done:
            self._stats.tftp_aborted += 1
            self.finish()

    def forget(self) -> None:
        """Release everything at once."""
        self.done = True
        self.release()
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Reading(Transfer):
    """The guest reads: we send blocks."""

    def __init__(
        self,
        owner: TransferOwner,
        guest: bytes,
        guest_port: int,
        port: int,
        request: bytes,
        terms: Terms,
        source: Source,
    ) -> None:
        super().__init__(owner, guest, guest_port, port, request, terms)
        self._source = source
        self._rest = b""  # of what was read, not cut into blocks yet
        self._packets: deque[bytes] = deque()  # from _una on
        self._una = 1  # the first block that is not acknowledged
        self._nxt = 1  # the next to be sent
        self._top = 1  # the next that was never sent
        self._last: int | None = None  # the block that ends the file, once it was read
        self._sent_at = 0  # when the first block of this window was sent
        self._timed: int | None = None  # a block that was sent once, at _timed_at
        self._timed_at = 0
        self._repeated = 0  # block whose acknowledgement has caused a window to be sent again
        if terms.accepted:
            self._packets.append(oack(terms.accepted))
            self._una = self._nxt = self._top = 0

    def _limit(self) -> int:
        """The first block beyond the window."""
        una = self._una
        if not una:
            return 1
        limit = una + self._window
        return limit if self._last is None else min(limit, self._last + 1)

    def turn(self, budget: int) -> int:
        owner, packets = self._owner, self._packets
        sent = 0
        try:
            while not self.done and sent < budget and self._nxt < self._limit():
                nxt = self._nxt
                at = nxt - self._una
                if at == len(packets):
                    self._read()
                packet = packets[at]
                if nxt == self._una:
                    self._sent_at = owner.now
                self._nxt = nxt + 1
                if nxt < self._top:
                    self._stats.tftp_retransmits += 1
                    if nxt == self._timed:
                        self._timed = None  # its time would tell nothing (Karn)
                else:
                    self._top = nxt + 1
                    if self._timed is None:
                        self._timed, self._timed_at = nxt, owner.now
                owner.transmit(self, packet)
                sent += len(packet) + PACKET_COST
        except RefusalError as why:
            self._stats.tftp_failed += 1
            self.fail(why)
            return sent
        if sent:
            self._wait()
            if self._nxt < self._limit():
                owner.enqueue(self)
        return sent

    def _read(self) -> None:
        """Add the next block."""
        block = self._block
        rest = self._rest
        if len(rest) < block:
            rest += self._source.read(max(PIECE // block, 1) * block)
        number = self._una + len(self._packets)
        self._packets.append(HEADER.pack(DATA, number & 0xFFFF) + rest[:block])
        if len(rest) < block:
            self._last = number
        self._rest = rest[block:]

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
                self._owner.enqueue(self)
            else:
                stats.drop_tftp_duplicate += 1
            return
        self._progress()
        for _ in range(count):
            self._packets.popleft()
        una += count
        self._una = una
        if self._timed is not None and self._timed < una:
            rtt = self._owner.now - self._timed_at
            self._rto = min(max(4 * rtt, RTO_MIN), RTO_MAX)
            self._timed = None
        if self._last is not None and una > self._last:
            stats.tftp_done += 1
            self.finish()
            return
        if una < self._nxt:  # a gap: what was sent beyond it has to be sent again (RFC 7440, section 4)
            self._repeated = una
        self._nxt = una
        self._owner.enqueue(self)

    def _is_gap(self) -> bool:
        """Whether an acknowledgement that came before says that the first block of the window is missing.

        One that comes in the moment in which the window was sent was under way before it.
        """
        una = self._una
        return (
            self._window > 1
            and una > 0
            and self._nxt > una
            and self._repeated != una
            and self._owner.now > self._sent_at
        )

    def again(self) -> None:
        self._nxt = self._una
        self._owner.enqueue(self)

    def release(self) -> None:
        self._packets.clear()
        self._rest = b""
        try:
            self._source.close()
        except RefusalError:
            self._stats.tftp_failed += 1


class Writing(Transfer):
    """The guest writes: we acknowledge blocks."""

    def __init__(
        self,
        owner: TransferOwner,
        guest: bytes,
        guest_port: int,
        port: int,
        request: bytes,
        terms: Terms,
        sink: Sink,
    ) -> None:
        super().__init__(owner, guest, guest_port, port, request, terms)
        self._sink = sink
        self._next = 1  # the block that is awaited
        self._missing = self._window  # blocks until the next acknowledgement
        self._acknowledged = -1  # the last block that was acknowledged, and when
        self._acknowledged_at = 0
        self._oack = oack(terms.accepted) if terms.accepted else None
        self._complete = False

    def turn(self, budget: int) -> int:
        """Acknowledge what has come; the first time, the request."""
        if self.done and not self._complete:
            return 0
        last = self._next - 1
        if self._acknowledged == last:
            self._stats.tftp_retransmits += 1
        packet = self._oack if self._oack and not last else HEADER.pack(ACK, last & 0xFFFF)
        self._acknowledged, self._acknowledged_at = last, self._owner.now
        self._missing = self._window
        self._owner.transmit(self, packet)
        if not self.done:
            self._wait()
        return len(packet) + PACKET_COST

    def again(self) -> None:
        self._owner.enqueue(self)

    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        if opcode != DATA:
            self._stats.drop_tftp_duplicate += 1
            return
        self.answered = True
        ahead = (number - self._next) & 0xFFFF
        if ahead or self.done:
            self._stats.drop_tftp_duplicate += 1
            # Ahead: something before it was lost. Behind: our acknowledgement was. The guest hears what we have, once
            # for all such packets that come at a time.
            if (self._acknowledged, self._acknowledged_at) != (self._next - 1, self._owner.now):
                self._owner.enqueue(self)
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
            self._owner.enqueue(self)
        elif not self._missing:
            self._owner.enqueue(self)
        else:
            self._wait()

    def release(self) -> None:
        self._sink.close()
