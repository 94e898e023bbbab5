"""The fast paths of TCP, for segments of established connections that arrive in order.

One ``unpack`` reads all headers, and one dict lookup finds the flow. In all but the common case the function changes
nothing and returns False, and the segment takes the slow path (``core/demux.py`` and ``tcp/receive.py``). Both paths
share :func:`~slirpy.tcp.receive.acknowledge`. ``tests/sim/test_fastpath.py`` turns this module off and checks that
frames and state are identical.

A segment of a known flow that is not the common case, such as the last ACK of a handshake or a FIN, takes the short
way if its headers are usual: straight to :meth:`~slirpy.core.tcpflow.TcpFlow.take`, without the objects of the slow
path.

One text makes a function for each IP family. What differs between them are numbers, which a closure reads as fast as
constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.tcpflow import TcpFlow
from slirpy.tcp.options import NONE, TIMESTAMP, TIMESTAMP_WORD, TcpOptions
from slirpy.tcp.receive import acknowledge, acknowledge_all
from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import ESTABLISHED, RETRANSMIT
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ipv4 import TCP
from slirpy.wire.tcp import ACK, FIN, PSH

__all__ = ["tcp_fastpath", "tcp_fastpath6"]

_unpack_timestamp: Final = TIMESTAMP.unpack_from
_from_bytes: Final = int.from_bytes
_USUAL: Final = PSH | FIN
_Fastpath: TypeAlias = Callable[[Network, dict[bytes, TcpFlow], LinkPort, memoryview, bool], bool]


def _fastpath(layout: Layout) -> _Fastpath:
    """Return the fast path of an IP family."""
    kind, versions, whole = layout.kind, layout.versions, layout.whole
    words = frozenset(layout.word(TCP, hops) for hops in range(2, 256))
    transport_at, addresses_at, length_from = layout.transport_at, layout.addresses_at, layout.length_from
    has_header_sum, unpack = layout.has_header_sum, layout.segment.unpack_from
    plain_at = transport_at + 20
    stamped_at = plain_at + TIMESTAMP.size

    def short_way(
        network: Network,
        flow: TcpFlow,
        port: LinkPort,
        frame: memoryview,
        checksummed: bool,
        end: int,
        head: tuple[int, int, int, int, int],
    ) -> bool:
        """Handle a segment of ``flow`` as the slow path does; if its headers are not usual, return False.

        Args:
            end: offset behind the packet.
            head: SEQ, ACK, data offset, flags and window.
        """
        seq, ack, offset, flags, wnd = head
        if flags & ~_USUAL != ACK or end > len(frame):
            return False
        if offset == 0x80:
            start = stamped_at
            if end < start:
                return False
            option, value, echoed = _unpack_timestamp(frame, plain_at)
            if option != TIMESTAMP_WORD:
                return False
            options = TcpOptions(None, None, False, (value, echoed))
        elif offset == 0x50:
            start = plain_at
            options = NONE
            if end < start:
                return False
        else:
            return False
        if has_header_sum and ones_sum(frame[14:34]):
            return False
        if not checksummed and (ones_sum(frame[addresses_at:end]) + TCP + end - transport_at) % 65535:
            return False
        flow.neighbor.seen = network.now
        flow.take(Segment(seq, ack, flags, wnd, options, frame[start:end]), port)
        return True

    def fastpath(
        network: Network, flows: dict[bytes, TcpFlow], port: LinkPort, frame: memoryview, checksummed: bool
    ) -> bool:
        """Handle ``frame``, which has all headers, in the common case. Otherwise change nothing and return False."""
        macs, ethertype, version, total, fragment, word, key, seq, ack, offset, flags, wnd = unpack(frame)
        if word not in words or version not in versions or ethertype != kind or fragment not in whole:
            return False
        flow = flows.get(key)
        if flow is None or flow.macs != macs:
            return False
        neighbor = flow.neighbor
        if neighbor.port is not port or neighbor.mac != macs[6:]:
            return False  # another link or MAC address has used this IP address since
        conn = flow.conn
        end = length_from + total
        # PSH changes nothing for a receiver that delivers at once.
        if flags & ~PSH != ACK or conn.state is not ESTABLISHED or seq != conn.rcv_nxt or end > len(frame):
            return short_way(network, flow, port, frame, checksummed, end, (seq, ack, offset, flags, wnd))
        echoed: int | None = None
        if offset == 0x80:
            start = stamped_at
            if not conn.ts_ok or end < start:
                return False
            option, value, echoed = _unpack_timestamp(frame, plain_at)
            if option != TIMESTAMP_WORD or (value - conn.ts_recent) & MASK >= HALF:
                return False
        elif offset == 0x50:
            start = plain_at
            value = 0
            if conn.ts_ok or end < start:
                return False
        else:
            return False
        length = end - start
        una = conn.snd_una
        acked = (ack - una) & MASK
        window = wnd << conn.snd_wscale
        if (
            acked > (conn.snd_max - una) & MASK
            or length > (conn.rcv_adv - seq) & MASK
            or conn.reassembly.size
            or conn.fin_seq is not None
            or conn.slow_path_only
            or (not length and not acked and window == conn.snd_wnd)  # a duplicate, or a keep-alive
        ):
            return short_way(network, flow, port, frame, checksummed, end, (seq, ack, offset, flags, wnd))
        if has_header_sum and _from_bytes(frame[14:34], "big") % 65535:
            return False
        if not checksummed and (ones_sum(frame[addresses_at:end]) + TCP + end - transport_at) % 65535:
            return False
        now = network.now
        if echoed is not None and (conn.last_ack - seq) & MASK < HALF:
            conn.ts_recent = value  # RFC 7323, section 4.3, (2)
        if (
            conn.undisturbed
            and acked
            and ack == conn.snd_max
            and acked == conn.snd_buf.length
            and conn.timer_kind is RETRANSMIT
            and conn.cwnd_filled is None
            and echoed is not None
        ):
            acknowledge_all(conn, ack, window, seq, echoed, now)
        else:
            acknowledge(conn, ack, window, seq, length, False, echoed, now)
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
