"""One end of a connection: segments in and out, the user's calls, and time.

The calls are those of RFC 9293, section 3.9.1; section 3.10 defines what they do in each state. The fields of a
connection, and its changes of state, are in :mod:`slirpy.tcp.tcb`.
"""

from __future__ import annotations

import errno

from slirpy.checks import ERRNO_MAX, amount, instance, nanoseconds, whole
from slirpy.errors import StateError
from slirpy.errortext import errno_name
from slirpy.mypyc import Final, mypyc_attr
from slirpy.reprs import never_raises
from slirpy.tcp.delivery import copy_views, grow_window
from slirpy.tcp.receive import segment_arrives
from slirpy.tcp.segment import Segment, as_segments, check_segment, reset_for
from slirpy.tcp.sending import expire, output
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    KEEPALIVE,
    LAST_ACK,
    LISTEN,
    NO_TIMER,
    SYN_SENT,
    SYNCHRONIZED,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.tcp.window import most_for

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.tcp.settings import Settings

__all__ = ["READ_AHEAD", "Connection"]

READ_AHEAD: Final = 1 << 16
"""Bytes that may be queued beyond what the windows allow to be sent. Every ACK opens the windows by only a segment or
two; because of this reserve, data is still read from its source in large pieces."""

_AFTER_SHUTDOWN: Final = {ESTABLISHED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK}


def _check_time(now: object) -> None:
    if type(now) is not int or now < 0:
        nanoseconds("now", now)


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(ControlBlock):
    """One end of a TCP connection.

    A connection neither sends nor waits. Pass arriving segments to :meth:`receive`, transmit those that
    :meth:`segments_to_send` returns, and call :meth:`handle_timeout` at the time of :meth:`deadline`. The user of the
    connection calls :meth:`connect` or :meth:`listen`, :meth:`write`, :meth:`read`, :meth:`shutdown` and
    :meth:`abort`. After each of these calls there may be segments to send. Times (``now``) are nanoseconds of any
    clock that never goes back.

    Args:
        settings: sizes and times; None: the defaults.
        iss: initial sequence number, 0 to 2**32-1; None: a random one. :func:`initial_sequence_number` makes one as
            RFC 6528 demands; repeatable tests choose one.
        ts_offset: added to the millisecond clock that timestamps carry, 0 to 2**32-1 (RFC 7323, section 5.4).
        stats: counters of unusual events; None: new ones.
        pool: limit of the receive windows of many connections together; None: none.

    Raises:
        ConfigError: an argument of another type, or ``iss`` or ``ts_offset`` is out of range.

    Attributes are those of :class:`~slirpy.tcp.tcb.ControlBlock`; those named in RFC 9293, section 3.3.1, have its
    meaning.
    """

    __slots__ = ()

    # --------------------------------------------------------------------------- segments and time

    def receive(self, segment: Segment, now: int) -> None:
        """Process a segment that has arrived. A closed connection answers with a RST (RFC 9293, section 3.10.7.1).

        The payload is kept, not copied, until it is read. Pass bytes, or a view of a buffer that does not change.

        Raises:
            ConfigError: not a segment that a header can express, or not a time.
        """
        check_segment(segment)
        _check_time(now)
        if self.state is not CLOSED:
            segment_arrives(self, segment, now)
        elif self.reset is None:  # one RST is enough
            self.reset = reset_for(segment)

    def segments_to_send(self, now: int) -> list[Segment]:
        """Return the segments that are due, in the order of sending. Each segment is returned once.

        If ``Settings.max_burst`` is set, a segment may carry more payload than the MSS, for links that segment it.

        Raises:
            ConfigError: not a time.
        """
        _check_time(now)
        segments: list[Segment] = []
        state = self.ecn
        emit = as_segments(
            segments.append
            if state is None
            else lambda segment: segments.append(segment._replace(ecn=state.codepoint))
        )
        while output(self, now, emit):
            pass
        return segments

    def handle_timeout(self, now: int) -> None:
        """Act on the deadlines that have passed, such as a retransmission. An early or repeated call is harmless.

        Raises:
            ConfigError: not a time.
        """
        _check_time(now)
        expire(self, now)

    # ------------------------------------------------------------------------------ the user's calls

    def connect(self, now: int) -> None:
        """Open actively: the next segment to send is a SYN.

        Raises:
            ConfigError: not a time.
            StateError: the connection was opened before.
        """
        self._open(now, "connect()")
        self.enter(SYN_SENT)

    def listen(self, now: int) -> None:
        """Open passively: the next segment may be a SYN.

        Raises:
            ConfigError: not a time.
            StateError: the connection was opened before.
        """
        self._open(now, "listen()")
        self.passive = True
        self.enter(LISTEN)

    def _open(self, now: int, call: str) -> None:
        _check_time(now)
        if self.opened_at >= 0:
            raise self._mistake(call)
        self.opened_at = self.progress_at = self.sent_at = now
        self.rcv_wscale = self.settings.wscale
        self.rcv_limit_max = min(self.settings.rcv_buffer, 0xFFFF << self.rcv_wscale)
        self.rcv_limit = min(self.settings.rcv_buffer_initial, self.rcv_limit_max)

    def write_room(self) -> int:
        """Return how many bytes should be passed to :meth:`write` now: those that can be sent at once, and a reserve.

        The reserve is accepted even if the windows are closed: a closed window is probed only while there is data to
        send, and the peer's window update may get lost.
        """
        # In a recovery more is outstanding than the congestion window allows, and new data is sent for data that has
        # left the network. If none were queued, it would go out in bursts when the holes are filled, and get lost.
        limit, outstanding = self.cc.cwnd, (self.snd_max - self.snd_una) & MASK
        # Comparisons take a third of the time of max() and min(), for each burst.
        if outstanding > limit:
            limit = outstanding
        if self.snd_wnd < limit:
            limit = self.snd_wnd
        if self.snd_limit < limit:
            limit = self.snd_limit
        room = limit + READ_AHEAD - self.snd_buf.length
        return room if room > 0 else 0

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent. The object is kept, not copied. Callers should respect :meth:`write_room`.

        The bytes wait until the connection is established, also in LISTEN.

        Raises:
            ConfigError: not bytes.
            StateError: the connection is closed, or was never opened, or :meth:`shutdown` was called.
        """
        instance("data", data, bytes, "bytes")
        if self.fin_queued or self.state is CLOSED:
            raise self._mistake("write()")
        self.snd_buf.append(data)

    def write_urgent(self, data: bytes) -> None:
        """Queue bytes as :meth:`write` does, and mark the stream as urgent up to their end.

        The bytes keep their place in the stream (RFC 6093). New protocols SHOULD NOT use this (RFC 9293, SHLD-13).

        Raises:
            StateError: as for :meth:`write`.
        """
        self.write(data)
        self.undisturbed = False
        first = self.snd_una + (not self.syn_acked)
        self.snd_up = (first + self.snd_buf.length) & MASK

    @property
    def urgent_ahead(self) -> int:
        """Number of the next bytes, received or not, that the peer has marked as urgent (MUST-33); usually 0."""
        if self.rcv_up is None:
            return 0
        ahead = (self.rcv_up - self.rcv_nxt + self.rcv_pending + self.fin_received) & MASK
        return ahead if ahead < HALF else 0

    def read(self, limit: int | None = None) -> bytes:
        """Return data that has arrived in order, at most ``limit`` bytes of it; ``b""`` if there is none.

        Data can be read after the end of the connection, too. When :attr:`fin_received` is true and everything has
        been read, the peer will send no more. :meth:`consume` works without a copy.

        Raises:
            ConfigError: ``limit`` is negative, or not a number.
        """
        count = self.rcv_pending
        if limit is not None:
            count = min(amount("limit", limit), count)
        data = b"".join(self.rcv_queue)[:count]
        self.consume(count)
        return data

    def consume(self, count: int) -> None:
        """Remove the first ``count`` bytes from ``rcv_queue``, also after the end of the connection.

        Raises:
            StateError: there are fewer bytes.
        """
        if not 0 <= count <= self.rcv_pending:
            raise StateError(f"consume({count}): there are {self.rcv_pending} bytes; take those or less")
        if self.rcv_up is not None and count >= self.urgent_ahead:
            self.rcv_up = None
        self.rcv_pending -= count
        if not self.rcv_pending:
            self.rcv_queue.clear()
            if self.rcv_limit < self.rcv_limit_max or self.heard_at >= self.window_look:
                grow_window(self, count)
            return
        queue = self.rcv_queue
        taken = 0
        while count >= len(queue[taken]):
            count -= len(queue[taken])
            taken += 1
        del queue[:taken]
        if count:
            queue[0] = memoryview(queue[0])[count:]

    def copy_received(self) -> None:
        """Copy the data left in ``rcv_queue``, because the frames that contain it are about to be reused."""
        copy_views(self.rcv_queue)

    def shutdown(self) -> None:
        """End the outgoing stream: a FIN follows the data written so far. The connection can still receive.

        Before the connection is established, the FIN waits for the handshake. Repeated calls, and calls on a closed
        connection, do nothing.

        Raises:
            StateError: the connection was never opened.
        """
        if self.opened_at < 0:
            raise self._mistake("shutdown()")
        if not self.fin_queued and self.state is not CLOSED:
            self.fin_queued = True
            if self.state in _AFTER_SHUTDOWN:
                self.enter(_AFTER_SHUTDOWN[self.state])

    def close(self) -> None:
        """Close as RFC 9293, section 3.10.4, defines it.

        In LISTEN and SYN-SENT, where no peer has answered yet, the connection ends with ECONNABORTED, and written
        data is discarded. In all other states this is :meth:`shutdown`; in SYN-RECEIVED the FIN waits for the
        handshake even if there is no data to send before it.

        Raises:
            StateError: the connection was never opened.
        """
        if self.state is LISTEN or self.state is SYN_SENT:
            self.close_with(errno.ECONNABORTED)
        else:
            self.shutdown()

    def abort(self, error: int = errno.ECONNABORTED) -> None:
        """Close at once. If the peer knows the connection, the next segment to send is a RST.

        Does nothing on a closed connection.

        Args:
            error: an ``errno`` value, at most 4095, or 11999 on Windows, which :attr:`error` will have; 0: none.

        Raises:
            ConfigError: not such a value.
            StateError: the connection was never opened.
        """
        whole("error", error, 0, ERRNO_MAX)
        if self.opened_at < 0:
            raise self._mistake("abort()")
        self.give_up(error)

    def configure(self, settings: Settings) -> None:
        """Change the settings, at any time (RFC 9293, MUST-21, MUST-24). Results of the handshake remain.

        Raises:
            ConfigError: not a Settings.
        """
        instance("settings", settings, type(self.settings), "a Settings")
        self.settings = settings
        self.undisturbed = False
        self.snd_limit = most_for(self.rtt.srtt, settings.snd_buffer)
        if self.timer_kind is KEEPALIVE:
            self.timer_kind = NO_TIMER  # output starts it again
        elif (self.retries or self.probes) and self.state in SYNCHRONIZED:
            self.timer_at = min(self.timer_at, self.progress_at + settings.user_timeout)

    def _mistake(self, call: str) -> StateError:
        """Make the exception for a call that is an error in this state (RFC 9293, section 3.10)."""
        state = self.state.value
        if self.opened_at < 0:
            why = "the connection does not exist yet; connect() or listen() first"
        elif call in ("connect()", "listen()"):
            why = f"this connection ({state}) was opened before; make another one"
        elif self.state is CLOSED:
            ended = f" by {errno_name(self.error)}" if self.error else ""
            why = f"the connection is closed{ended}; make another one"
        else:
            why = f"the connection is closing ({state}); nothing more is sent after shutdown() or close()"
        return StateError(f"{call}: {why}")

    @never_raises
    def __repr__(self) -> str:
        return (
            f"<Connection {self.state.value}: {self.rcv_pending} bytes to read,"
            f" {self.snd_buf.length} unacknowledged{f', error {self.error}' if self.error else ''}>"
        )
