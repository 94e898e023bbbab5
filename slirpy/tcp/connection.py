"""One end of a connection, with the calls of its user (RFC 9293, section 3.9.1; what they do in each state: 3.10).

What a connection consists of, and how it changes its state, is in ``tcb``.
"""

from __future__ import annotations

import errno

from slirpy.errors import StateError
from slirpy.tcp.autotune import grow
from slirpy.tcp.mistakes import mistake
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.settings import Settings
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    KEEPALIVE,
    LAST_ACK,
    LISTEN,
    NO_TIMER,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONIZED,
    TIME_WAIT,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.tcp.text import own
from slirpy.wire.tcp import ACK, RST

__all__ = ["Connection", "Settings"]

READ_AHEAD = 1 << 16
"""Bytes that may be queued beyond what the windows let out. Every ACK opens them by a segment or two; with this, data
is read in large pieces all the same."""
DUPACK_THRESHOLD = 3
"""RFC 5681, section 3.2."""

_AFTER_SHUTDOWN = {ESTABLISHED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK}


class Connection(ControlBlock):
    """One end of a TCP connection; arguments and attributes as of :class:`~slirpy.tcp.tcb.ControlBlock`."""

    __slots__ = ()

    def connect(self, now: int) -> None:
        """Active open: the next ``output`` sends a SYN.

        Raises:
            StateError: it was opened before.
        """
        self._open(now, "connect()")
        self.enter(SYN_SENT)

    def listen(self, now: int) -> None:
        """Passive open: the next segment may be a SYN.

        Raises:
            StateError: it was opened before.
        """
        self._open(now, "listen()")
        self.passive = True
        self.enter(LISTEN)

    def _open(self, now: int, call: str) -> None:
        if self.opened_at >= 0:
            raise mistake(self, call)
        self.opened_at = self.progress_at = self.sent_at = now
        self.rcv_wscale = self.settings.wscale
        self.rcv_most = self.settings.rcv_buffer
        self.rcv_limit = min(self.settings.rcv_first, self.rcv_most)

    def write_room(self) -> int:
        """How many bytes :meth:`write` may be given now: what can be sent at once, and some that lie ready.

        A little is taken whatever the windows say: a closed window is probed only while there is something to
        send, and the peer's word that it has opened may get lost.
        """
        # In a recovery more is outstanding than the congestion window, and new data goes out for what has left the
        # network. Who has none then sends it in bursts as the holes close, and loses the next ones.
        limit = max(self.cc.cwnd, (self.snd_max - self.snd_una) & MASK)
        limit = min(self.snd_wnd, limit, self.settings.snd_buffer)
        return max(limit + READ_AHEAD - self.snd_buf.length, 0)

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent. The object is kept, not copied; who writes observes :meth:`write_room`.

        They wait until the connection is established, also in LISTEN: who the peer will be is not our concern.

        Raises:
            StateError: the connection is closed, or was never opened, or :meth:`shutdown` was called.
        """
        if self.fin_queued or self.state is CLOSED:
            raise mistake(self, "write()")
        self.snd_buf.append(data)

    def write_urgent(self, data: bytes) -> None:
        """Queue bytes as :meth:`write` does, and tell the peer that the stream is urgent up to their end.

        They stay in their place (RFC 6093). For old protocols: new ones SHOULD NOT use this (RFC 9293, SHLD-13).

        Raises:
            StateError: as of :meth:`write`.
        """
        self.write(data)
        first = self.snd_una + (not self.syn_acked)
        self.snd_up = (first + self.snd_buf.length) & MASK

    @property
    def urgent_ahead(self) -> int:
        """How many of the bytes that come next, received or not, the peer calls urgent (MUST-33); mostly 0."""
        if self.rcv_up is None:
            return 0
        ahead = (self.rcv_up - self.rcv_nxt + self.rcv_pending + self.fin_received) & MASK
        return ahead if ahead < HALF else 0

    def consume(self, count: int) -> None:
        """Take the first ``count`` bytes off ``rcv_queue``. What has arrived can be taken after the end, too.

        Raises:
            StateError: there are not so many.
        """
        if not 0 <= count <= self.rcv_pending:
            raise StateError(f"consume({count}): there are {self.rcv_pending} bytes; take those or less")
        if self.rcv_up is not None and count >= self.urgent_ahead:
            self.rcv_up = None
        self.rcv_pending -= count
        if not self.rcv_pending:
            self.rcv_queue.clear()
            if self.rcv_limit < self.rcv_most:
                grow(self, count)
            return
        queue = self.rcv_queue
        taken = 0
        while count >= len(queue[taken]):
            count -= len(queue[taken])
            taken += 1
        del queue[:taken]
        if count:
            queue[0] = memoryview(queue[0])[count:]

    def own(self) -> None:
        """Copy what is left in ``rcv_queue``, because the frames that it lies in are about to be reused."""
        own(self.rcv_queue)

    def shutdown(self) -> None:
        """No more data: FIN follows what was written. Repeated calls do nothing, nor does one on a closed connection.

        Before the connection is established this waits for that, as far as the handshake has come.

        Raises:
            StateError: the connection was never opened.
        """
        if self.opened_at < 0:
            raise mistake(self, "shutdown()")
        if not self.fin_queued and self.state is not CLOSED:
            self.fin_queued = True
            if self.state in _AFTER_SHUTDOWN:
                self.enter(_AFTER_SHUTDOWN[self.state])

    def close(self) -> None:
        """CLOSE of RFC 9293, section 3.10.4: before a peer has been heard (LISTEN, SYN-SENT) the connection is gone.

        What was written is gone with it, by ECONNABORTED. In all other states it is :meth:`shutdown`; in SYN-RECEIVED
        the FIN waits for the handshake also if there is nothing to send before it.

        Raises:
            StateError: the connection was never opened.
        """
        if self.state is LISTEN or self.state is SYN_SENT:
            self.close_with(errno.ECONNABORTED)
        else:
            self.shutdown()

    def abort(self, error: int = errno.ECONNABORTED) -> None:
        """Close at once; where the peer knows of the connection the next ``output`` sends a RST.

        On a closed connection it does nothing.

        Raises:
            StateError: the connection was never opened.
        """
        if self.opened_at < 0:
            raise mistake(self, "abort()")
        known = self.state in SYNCHRONIZED or (self.state is SYN_RECEIVED and self.snd_max != self.iss)
        if known and self.state is not TIME_WAIT:
            # In sequence, and with an ACK, so that every peer accepts it.
            self.reset = self.snd_max, self.rcv_nxt, RST | ACK
        self.close_with(error)

    def configure(self, settings: Settings) -> None:
        """Take other settings at any time (RFC 9293, MUST-21, MUST-24). What the handshake agreed on stays."""
        self.settings = settings
        if self.timer_kind is KEEPALIVE:
            self.timer_kind = NO_TIMER  # output begins anew
        elif (self.retries or self.probes) and self.state in SYNCHRONIZED:
            self.timer_at = min(self.timer_at, self.progress_at + settings.user_timeout)

    @property
    def soft_error(self) -> int:
        """What is wrong while the connection goes on: 0, or a value of ``errno``.

        ETIMEDOUT when R1 has been reached (RFC 9293, MUST-20, SHLD-9); ENETUNREACH, EHOSTUNREACH or EPROTO when ICMP
        has said so about what is on its way (MUST-47, SHLD-25). The next answer makes it 0 again. The user may ask,
        and need not; who carries the segments should look whether the way to the peer is still the right one.
        """
        if self.unreachable is not None and self.unreachable[1] == self.snd_una:
            return self.unreachable[0]
        limit = self.settings.r1
        silent = self.probes >= limit and self.heard_at < self.progress_at
        return errno.ETIMEDOUT if self.retries >= limit or silent else 0
