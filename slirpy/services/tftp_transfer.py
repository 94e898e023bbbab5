"""What TFTP transfers of both directions share: how long they wait, and how they end.

What is lost is sent again when its time is up, each time after twice as long, or at the guest's own interval if it
has asked for one (RFC 2349).

Blocks have numbers of their own in :class:`~slirpy.services.tftp_reading.Reading` and
:class:`~slirpy.services.tftp_writing.Writing`, which do not roll over; the 16 bits of the wire are the lower ones of
them, so that after 65535 comes 0.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Protocol

from slirpy.interfaces import Timer
from slirpy.services.tftp_message import Code, RefusalError, error
from slirpy.services.tftp_options import Terms
from slirpy.stats import Stats
from slirpy.units import SECOND

__all__ = ["PACKET_COST", "RTO_MAX", "RTO_MIN", "Transfer", "TransferOwner"]

RTO_FIRST, RTO_MIN, RTO_MAX = SECOND, SECOND // 10, 8 * SECOND
TRIES = 9
"""Sent so often without an answer, the guest is gone: after half a minute or more, or nine of its own intervals."""
LINGER = 5 * SECOND
"""How long what is late is still known to belong to a transfer that is over."""
PACKET_COST = 2048
"""What a packet costs beside its bytes, as bytes of a turn's budget: for blocks of 8 bytes would take for ever."""


class TransferOwner(Protocol):
    """The service, as a transfer sees it."""

    @property
    def now(self) -> int: ...

    @property
    def stats(self) -> Stats: ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer: ...

    def transmit(self, transfer: Transfer, payloads: Sequence[bytes]) -> None:
        """Send packets to the guest."""

    def enqueue(self, transfer: Transfer) -> None:
        """Give the transfer a turn, soon: :meth:`Transfer.turn`."""

    def remove(self, transfer: Transfer) -> None:
        """Forget it."""


class Transfer(abc.ABC):
    """What both directions share: time-outs, errors, the end.

    Attributes:
        guest, guest_port: the other end.
        port: ours.
        request: the packet that began it.
        started, active: when it began, and when the guest was last of use.
        done: it is over, and only keeps its place for a while.
        link: the one behind which the guest is.
    """

    link: object = None

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
        self.answered = False
        """The guest has sent something after its request."""
        self._rto = RTO_FIRST
        self._tries = 0
        self._due: int | None = None
        self._timer: Timer | None = None
        self._timer_at = 0

    @abc.abstractmethod
    def block(self, opcode: int, number: int, payload: memoryview) -> None:
        """Take a DATA or ACK packet; ``payload`` is all of it."""

    @abc.abstractmethod
    def again(self) -> None:
        """Send again what was not answered."""

    @abc.abstractmethod
    def turn(self, budget: int) -> int:
        """Send up to about ``budget`` bytes; returns how many. Ask for another turn if there is more."""

    @abc.abstractmethod
    def release(self) -> None:
        """Close the file."""

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
            self._owner.transmit(self, (error(why.code, why.text),))
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
