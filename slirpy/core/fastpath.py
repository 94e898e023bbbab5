"""The fast path of TCP, for segments of established connections that arrive in order.

One ``unpack`` reads all headers, and one dict lookup finds the flow. In all but the common case the function changes
nothing and returns False, and the segment takes the slow path (``core/demux.py`` and ``tcp/receive.py``). Both paths
share :func:`~slirpy.tcp.receive.acknowledge` and :func:`~slirpy.tcp.delivery.accept_text`.
``tests/sim/test_fastpath.py`` turns this module off and checks that frames and state are identical.
"""

from __future__ import annotations

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.tcpflow import TcpFlow
from slirpy.tcp.delivery import accept_text
from slirpy.tcp.options import TIMESTAMP, TIMESTAMP_WORD
from slirpy.tcp.receive import acknowledge
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import ESTABLISHED
from slirpy.wire.checksum import ones_sum
from slirpy.wire.ipv4 import MF, OFFSET_MASK
from slirpy.wire.tcp import ACK, FRAME, PSH

__all__ = ["tcp_fastpath"]

_unpack = FRAME.unpack_from
_unpack_timestamp = TIMESTAMP.unpack_from
_FRAGMENT = MF | OFFSET_MASK


def tcp_fastpath(
    network: Network, flows: dict[bytes, TcpFlow], port: LinkPort, frame: memoryview, checksummed: bool
) -> bool:
    """Handle ``frame``, of at least 54 bytes, in the common case. Otherwise change nothing and return False."""
    (
        macs, ethertype, version, _, total, _, fragment, ttl, protocol, _,
        key, seq, ack, offset, flags, wnd, _, _,
    ) = _unpack(frame)  # fmt: skip
    if protocol != 6 or version != 0x45 or ethertype != 0x0800 or fragment & _FRAGMENT or ttl < 2:
        return False
    flow = flows.get(key)
    if flow is None or flow.macs != macs:
        return False
    neighbor = flow.neighbor
    if neighbor.port is not port or neighbor.mac != macs[6:]:
        return False  # another link or MAC address has used this IP address since
    conn = flow.conn
    # PSH changes nothing for a receiver that delivers at once.
    if flags & ~PSH != ACK or conn.state is not ESTABLISHED or seq != conn.rcv_nxt:
        return False
    end = 14 + total
    if end > len(frame):
        return False
    echoed: int | None = None
    if offset == 0x80:
        start = 66
        if not conn.ts_ok or end < start:
            return False
        word, value, echoed = _unpack_timestamp(frame, 54)
        if word != TIMESTAMP_WORD or (value - conn.ts_recent) & MASK >= HALF:
            return False
    elif offset == 0x50:
        start = 54
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
        return False
    if ones_sum(frame[14:34]) or not (checksummed or (ones_sum(frame[26:end]) + 6 + end - 34) % 65535 == 0):
        return False
    now = network.now
    if echoed is not None and (conn.last_ack - seq) & MASK < HALF:
        conn.ts_recent = value  # RFC 7323, section 4.3, (2)
    acknowledge(conn, ack, window, seq, length, False, echoed, now)
    if length:
        accept_text(conn, frame[start:end], length, now)
        flow.bytes_in += length
    flow.packets_in += 1
    flow.last_activity = now
    neighbor.seen = now
    network.stats.tcp_fastpath += 1
    if not flow.dirty:
        flow.dirty = True
        network.dirty.append(flow)
    return True
