"""The fast paths of TCP, for segments of established connections that arrive in order.

One ``unpack`` reads all headers, and one dict lookup finds the flow. In all but the common case the function changes
nothing and returns False, and the segment takes the slow path (``core/demux.py`` and ``tcp/receive.py``). Both paths
share :func:`~slirpy.tcp.receive.acknowledge`. ``tests/sim/test_fastpath.py`` turns this module off and checks that
frames and state are identical.

A segment of a known flow that is not the common case takes the short way if its headers are usual: to
:func:`~slirpy.tcp.inorder.in_order`, without any object, such as the last ACK of a handshake or a FIN, or else to
:meth:`~slirpy.core.tcpflow.TcpFlow.take`.

One text makes a function for each IP family. What differs between them are numbers, which a closure reads as fast as
constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.tcpflow import TcpFlow
from slirpy.tcp.inorder import in_order
from slirpy.tcp.options import NONE, TIMESTAMP, TIMESTAMP_WORD, TcpOptions
from slirpy.tcp.receive import acknowledge, acknowledge_all
from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import ESTABLISHED, NO_TIMER, RETRANSMIT, SYN_RECEIVED
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ipv4 import TCP
from slirpy.wire.tcp import ACK, FIN, PSH

__all__ = ["tcp_fastpath", "tcp_fastpath6"]

_unpack_timestamp: Final[Callable[[memoryview, int], tuple[int, int, int]]] = TIMESTAMP.unpack_from
_USUAL: Final = PSH | FIN
_STAMPED: Final = 0x80 << 8 | ACK
"""Data offset and flags of an ACK with timestamps and nothing else."""
_PLAIN: Final = 0x50 << 8 | ACK
"""Data offset and flags of an ACK without options."""
_Fields: TypeAlias = tuple[bytes, int, Any, int, Any, bytes, int, int, int, int]
"""Fields that ``Layout.segment_in`` reads. IPv6 has no identification and no checksum of its header."""
_Fastpath: TypeAlias = Callable[[Network, dict[bytes, TcpFlow], LinkPort, memoryview, bool], bool]


def _fastpath(layout: Layout) -> _Fastpath:
    """Return the fast path of an IP family."""
    kind, versions = layout.kind.to_bytes(2, "big"), layout.versions
    places = frozenset(
        (fragment << 16 if isinstance(fragment, int) else 0) | layout.word(TCP, hops)
        for fragment in layout.whole
        for hops in range(2, 256)
    )
    transport_at, addresses_at, length_from = layout.transport_at, layout.addresses_at, layout.length_from
    has_header_sum = layout.has_header_sum
    unpack: Callable[[memoryview], _Fields] = layout.segment_in.unpack_from
    plain_at = transport_at + 20
    stamped_at = plain_at + TIMESTAMP.size

    def recognizes(flow: TcpFlow, port: LinkPort, head: bytes) -> bool:
        """Report whether a frame of ``flow`` through ``port`` may begin with ``head``, and remember it."""
        macs, neighbor = head[:12], flow.neighbor
        version = head[14] << 8 | head[15]
        if version not in versions or head[12:14] != kind or flow.macs != macs:
            return False
        if neighbor.port is not port or neighbor.mac != macs[6:]:
            return False  # another link or MAC address has used this IP address since
        flow.head, flow.mac = head, neighbor.mac
        flow.words = flow.addresses + version
        return True

    def short_way(
        network: Network,
        flow: TcpFlow,
        port: LinkPort,
        frame: memoryview,
        checksummed: bool,
        end: int,
        fields: tuple[int, int, int, int],
    ) -> bool:
        """Handle a segment of ``flow`` as the slow path does; if its headers are not usual, return False.

        Args:
            end: offset behind the packet.
            fields: SEQ, ACK, data offset and flags, and window.
        """
        seq, ack, bits, wnd = fields
        offset, flags = bits >> 8, bits & 0xFF
        if flags & ~_USUAL != ACK or end > len(frame):
            return False
        stamp: int | None = None
        echo: int | None = None
        if offset == 0x80:
            start = stamped_at
            if end < start:
                return False
            option, stamp, echo = _unpack_timestamp(frame, plain_at)
            if option != TIMESTAMP_WORD:
                return False
        elif offset == 0x50:
            start = plain_at
            if end < start:
                return False
        else:
            return False
        if has_header_sum and ones_sum(frame[14:34]):
            return False
        if not checksummed and (ones_sum(frame[addresses_at:end]) + TCP + end - transport_at) % 65535:
            return False
        now, conn = network.now, flow.conn
        flow.neighbor.seen = now
        opening = conn.state is SYN_RECEIVED
        payload = frame[start:end]
        if in_order(conn, seq, ack, flags & FIN != 0, wnd, stamp, echo, payload, now):
            flow.packets_in += 1
            flow.bytes_in += end - start
            flow.last_activity = now
            flow.mark()
            if opening:
                flow.opened(port)
        else:
            options = NONE if stamp is None else TcpOptions(None, None, False, (stamp, echo or 0))
            flow.take(Segment(seq, ack, flags, wnd, options, payload), port)
        return True

    def fastpath(
        network: Network, flows: dict[bytes, TcpFlow], port: LinkPort, frame: memoryview, checksummed: bool
    ) -> bool:
        """Handle ``frame``, which has all headers, in the common case. Otherwise change nothing and return False."""
        head, total, identification, place, header_sum, key, seq, ack, bits, wnd = unpack(frame)
        flow = flows.get(key)
        if flow is None or place not in places:
            return False
        neighbor = flow.neighbor
        if (head != flow.head or neighbor.port is not port or neighbor.mac is not flow.mac) and not recognizes(
            flow, port, head
        ):
            return False
        conn = flow.conn
        end = length_from + total
        # PSH changes nothing for a receiver that delivers at once.
        usual = bits & ~PSH
        if conn.state is not ESTABLISHED or seq != conn.rcv_nxt or end > len(frame):
            return short_way(network, flow, port, frame, checksummed, end, (seq, ack, bits, wnd))
        echoed: Any  # a number; None without timestamps
        if usual == _STAMPED:
            start = stamped_at
            if not conn.ts_ok or end < start:
                return False
            option, value, echoed = _unpack_timestamp(frame, plain_at)
            if option != TIMESTAMP_WORD or (value - conn.ts_recent) & MASK >= HALF:
                return False
            length = end - start
            answers = rests = False
            if conn.undisturbed and 0 < length <= conn.rcv_adv - seq:
                if conn.timer_kind is RETRANSMIT:
                    # Text with the answer to all that is in flight, on a connection that only has small exchanges.
                    # Numbers that have wrapped around take the other way, which can do it as well.
                    answers = (
                        ack == conn.snd_max
                        and ack - conn.snd_una == conn.snd_buf.length
                        and conn.cwnd_filled is None
                    )
                elif conn.timer_kind is NO_TIMER:  # nothing is in flight
                    rests = ack == conn.snd_una and wnd << conn.snd_wscale == conn.snd_wnd
        elif usual == _PLAIN:
            start = plain_at
            value, echoed = 0, None
            if conn.ts_ok or end < start:
                return False
            length = end - start
            answers = rests = False
        else:
            return short_way(network, flow, port, frame, checksummed, end, (seq, ack, bits, wnd))
        if not (answers or rests):
            una = conn.snd_una
            acked = (ack - una) & MASK
            if (
                acked > (conn.snd_max - una) & MASK
                or length > (conn.rcv_adv - seq) & MASK
                or conn.reassembly.size
                or conn.fin_seq is not None
                or conn.slow_path_only
                # a duplicate, or a keep-alive
                or (not length and not acked and wnd << conn.snd_wscale == conn.snd_wnd)
            ):
                return short_way(network, flow, port, frame, checksummed, end, (seq, ack, bits, wnd))
        # 32-bit numbers are the sum of their halves, modulo 65535.
        if has_header_sum and (flow.words + total + identification + place + header_sum) % 65535:
            return False
        if not checksummed and (ones_sum(frame[addresses_at:end]) + TCP + end - transport_at) % 65535:
            return False
        now = network.now
        if answers:
            conn.ts_recent = value
            acknowledge_all(conn, ack, wnd << conn.snd_wscale, seq, echoed, now)
        else:
            if echoed is not None and (conn.last_ack - seq) & MASK < HALF:
                conn.ts_recent = value  # RFC 7323, section 4.3, (2)
            if rests:  # as acknowledge() does
                conn.heard_at = now
                if (seq - conn.snd_wl1) & MASK < HALF:
                    conn.snd_wl1 = seq  # SND.WL2 is SND.UNA already
            else:
                acknowledge(conn, ack, wnd << conn.snd_wscale, seq, length, False, echoed, now)
        if length:  # as accept_text() does
            conn.rcv_nxt = seq = (seq + length) & MASK
            conn.rcv_queue.append(frame[start:end])
            conn.rcv_pending += length
            if (seq - conn.last_ack) & MASK >= 2 * conn.mss or seq == conn.rcv_adv:
                conn.ack_now = True
            elif not conn.delack_at:
                conn.delack_at = now + conn.settings.delayed_ack
            flow.bytes_in += length
        flow.packets_in += 1
        flow.last_activity = now
        neighbor.seen = now
        network.stats.tcp_fastpath += 1
        if not flow.dirty:
            flow.dirty = True
            network.dirty.append(flow)
        return True

    return fastpath


tcp_fastpath: Final = _fastpath(LAYOUT)
tcp_fastpath6: Final = _fastpath(LAYOUT6)
