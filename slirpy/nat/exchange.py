"""Small exchanges, and data of the guest: its far side takes text at once, and the guest gets one segment or an ACK.

A connection is at rest if it is established, nothing is in flight, and nothing is due but an acknowledgement. Then
one function does what a service has to do: it passes text to the far side, and one chunk of data or an ACK to the
guest, with its segment, timers and frame. The general way does the same in a dozen functions.
``tests/sim/test_fastpath.py`` turns this one off in one of two stacks, and checks that frames and state are
identical.

One text makes a function for each IP family, as in ``core/fastpath.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from slirpy.core.port import LinkPort
from slirpy.core.tcpflow import CSUM_OFFSET
from slirpy.interfaces import Frame
from slirpy.nat.pumps import READS, PumpedFlow
from slirpy.tcp import Connection
from slirpy.tcp.connection import READ_AHEAD
from slirpy.tcp.delivery import grow_window
from slirpy.tcp.emit import window_field
from slirpy.tcp.loss import probe
from slirpy.tcp.options import TIMESTAMP, TIMESTAMP_WORD
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import ESTABLISHED, NO_TIMER, RETRANSMIT
from slirpy.units import MS
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ipv4 import DF, TCP
from slirpy.wire.tcp import ACK, HEADER_LENGTH, PSH

__all__ = ["at_rest", "exchange", "exchange6"]

_Exchange: TypeAlias = Callable[[PumpedFlow, int], bool]
_new_frame: Final = tuple.__new__  # a third of the time of calling Frame
_HEADERS: Final = HEADER_LENGTH + TIMESTAMP.size
_OFFSET: Final = _HEADERS << 2
_FLAGS: Final = ACK | PSH
_CONSTANT_WORDS: Final = (_OFFSET << 8 | _FLAGS) + TIMESTAMP_WORD
_ACK_WORDS: Final = (_OFFSET << 8 | ACK) + TIMESTAMP_WORD


def at_rest(conn: Connection) -> bool:
    """Report whether nothing is in flight and nothing is due, but perhaps an acknowledgement.

    :func:`exchange` asks this once, and sets ``undisturbed``. What makes it false later clears that, or is one of the
    few conditions that are looked at each time.
    """
    return not (
        conn.state is not ESTABLISHED
        or conn.snd_buf.length
        or conn.snd_max != conn.snd_una
        or conn.snd_nxt != conn.snd_una
        or conn.timer_kind is not NO_TIMER
        or conn.loss_timer_at
        or not conn.ts_ok
        or conn.fin_queued
        or conn.fin_seq is not None
        or conn.slow_path_only
        or conn.sacked
        or conn.dupacks
        or conn.dsack is not None
        or conn.reassembly.size
        or conn.rcv_up is not None
        or conn.snd_up is not None
        or conn.ecn is not None
        or conn.reset is not None
        or conn.noted_acks
        or conn.spare_acks
        or conn.probe
        or conn.retries
        or conn.rtt.backoff
        or conn.settings.keepalive
    )


def _exchanger(layout: Layout) -> _Exchange:
    """Return the function of an IP family."""
    pack, has_header_sum, middle = layout.stamped_out.pack, layout.has_header_sum, layout.middle(TCP, 64, DF)
    transport_at, length_from, header_in_total = layout.transport_at, layout.length_from, layout.header_in_total

    def acknowledge(flow: PumpedFlow, port: LinkPort, mac: bytes, field: int, now: int) -> None:
        """Send an ACK without data, as output() and emit() do."""
        conn = flow.conn
        seq, ack = conn.snd_max, conn.rcv_nxt
        stamp, echo = (now // MS + conn.ts_offset) & MASK, conn.ts_recent
        total = header_in_total + _HEADERS
        checksum = flow.addresses + TCP + _HEADERS
        if port.checksum_offload:
            start, offset = transport_at, CSUM_OFFSET
        else:
            start = offset = 0
            checksum = -(checksum + flow.ports + seq + ack + _ACK_WORDS + field + stamp + echo)
        header = pack(
            mac + flow.front, total, middle, -(flow.base + total) % 65535 if has_header_sum else b"",
            flow.reverse_key, seq, ack, _OFFSET, ACK, field, checksum % 65535, 0, TIMESTAMP_WORD, stamp, echo,
        )  # fmt: skip
        flow.packets_out += 1
        port.push(_new_frame(Frame, ((header,), 0, start, offset)), length_from + total)

    def exchange(flow: PumpedFlow, now: int) -> bool:
        """Serve a flow of a connection at rest, with an empty buffer. Otherwise change nothing and return False."""
        conn, neighbor, peer = flow.conn, flow.neighbor, flow.peer
        port, rack = neighbor.port, conn.rack
        if (
            conn.timer_kind is not NO_TIMER
            or 0 < conn.delack_at <= now
            or flow.write_blocked
            or peer is None
            or port is None
            or port.blocked
            or neighbor.mac is None
        ):
            return False
        if not conn.undisturbed:
            if not conn.rcv_pending or not at_rest(conn):
                return False
            flow.read_size = flow.size_to_read()
            conn.undisturbed = flow.read_size <= READ_AHEAD  # always room for so much, see write_room()
            if not conn.undisturbed:
                return False
        pending = conn.rcv_pending
        if pending:  # as to_peer() does
            flow.write_blocked = True
            taken = peer.send(conn.rcv_queue)
            if taken != pending or flow.peer is not peer or not conn.undisturbed:
                flow.taken(peer, taken)
                if flow.read_ready:
                    flow.from_peer()
                flow.finish(now)
                return True
            flow.write_blocked = False
            conn.rcv_pending = 0  # as consume() does
            conn.rcv_queue.clear()
            if conn.rcv_limit < conn.rcv_limit_max or conn.heard_at >= conn.window_look:
                grow_window(conn, taken)
        mss, ack = conn.mss, conn.rcv_nxt
        offered = (conn.rcv_adv - ack) & MASK
        growth = conn.rcv_limit - offered
        alarm = flow.alarm
        if not flow.read_ready:
            update_due = growth >= 2 * mss or 2 * growth >= conn.rcv_limit
            if update_due and not conn.ack_now:
                flow.finish(now)
                return True
            if conn.ack_now:
                field = window_field(conn) if update_due else offered >> conn.rcv_wscale
                conn.ack_now = False  # as ack_sent() does
                conn.delack_at = 0
                conn.last_ack = ack
                acknowledge(flow, port, neighbor.mac, field, now)
            if rack is not None:  # as probe.schedule() does
                rack.seen_una, rack.seen_nxt = conn.snd_una, conn.snd_nxt
            deadline = conn.delack_at
            if not deadline:
                alarm.when = None
            elif alarm.entry is not None and deadline >= alarm.entry:
                alarm.when = deadline
            else:
                alarm.set(deadline)
            return True

        size, rtt = flow.read_size, conn.rtt
        flow.read_ready = False  # before the call: readable() may be called inside it
        data = peer.recv(size)
        length = len(data) if data else 0
        seq, cwnd = conn.snd_una, conn.cc.cwnd
        if (
            not data
            or flow.peer is not peer
            or length > mss
            or length > conn.snd_wnd
            or length > cwnd
            or length > flow.unnoted
            or length == size
            or not conn.undisturbed
            or now - conn.sent_at > rtt.base
            or not getattr(peer, "level_triggered", False)
        ):
            if flow.accept(peer, data, size):
                flow.from_peer(READS - 1)
            flow.finish(now)
            return True
        # As _send_alone() does, with window_field() and ack_sent().
        if growth >= 2 * mss or growth >= conn.rcv_limit >> 1:
            field = window_field(conn)
        else:
            field = offered >> conn.rcv_wscale  # fits: the limit of the window does
        conn.ack_now = False
        conn.delack_at = 0
        conn.last_ack = ack
        conn.sent_at = conn.progress_at = now
        conn.snd_buf.append_sent(data, length)
        conn.snd_nxt = conn.snd_max = (seq + length) & MASK
        conn.timer_kind = RETRANSMIT
        conn.timer_at = deadline = now + rtt.base
        if (conn.snd_wnd if conn.snd_wnd < cwnd else cwnd) - length < mss and cwnd <= conn.snd_wnd:
            conn.cwnd_filled = conn.snd_max
        if rack is not None:
            rack.spans.on_sent(seq, now, 0, rtt.srtt)
            rack.seen_una, rack.seen_nxt = seq, conn.snd_nxt  # as probe.schedule() does
            probe.arm(conn, rack, length, now)
            deadline = conn.loss_timer_at
        # As emit() does.
        stamp, echo = (now // MS + conn.ts_offset) & MASK, conn.ts_recent
        segment_length = _HEADERS + length
        total = header_in_total + segment_length
        checksum = flow.addresses + TCP + segment_length  # of the pseudo-header
        if port.checksum_offload:
            start, offset = transport_at, CSUM_OFFSET
        else:
            start = offset = 0
            # The header's words, added by arithmetic: a 32-bit number is the sum of its halves, modulo 65535.
            checksum += flow.ports + seq + ack + _CONSTANT_WORDS + field + stamp + echo + ones_sum(data)
            checksum = -checksum
        header = pack(
            neighbor.mac + flow.front,
            total,
            middle,
            -(flow.base + total) % 65535 if has_header_sum else b"",
            flow.reverse_key,
            seq,
            ack,
            _OFFSET,
            _FLAGS,
            field,
            checksum % 65535,
            0,
            TIMESTAMP_WORD,
            stamp,
            echo,
        )
        flow.packets_out += 1
        flow.bytes_out += length
        port.push(_new_frame(Frame, ((header, data), 0, start, offset)), length_from + total)
        if alarm.entry is not None and deadline >= alarm.entry:
            alarm.when = deadline
        else:
            alarm.set(deadline)
        return True

    return exchange


exchange: Final = _exchanger(LAYOUT)
exchange6: Final = _exchanger(LAYOUT6)
