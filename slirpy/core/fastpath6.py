"""Fast path for IPv6 segments of established connections; see ``core/fastpath.py``, which is the same for IPv4.

The two are apart because one function for both would cost each segment a branch or a call at every step. The packet
has no extension headers. Its traffic class and flow label say nothing here.
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
from slirpy.wire.tcp import ACK, FRAME6, PSH

__all__ = ["HEADERS_LENGTH", "tcp_fastpath6"]

HEADERS_LENGTH = FRAME6.size
"""Ethernet, IPv6 without extension headers, TCP without options."""
_unpack = FRAME6.unpack_from
_unpack_timestamp = TIMESTAMP.unpack_from


def tcp_fastpath6(
    network: Network, flows: dict[bytes, TcpFlow], port: LinkPort, frame: memoryview, checksummed: bool
) -> bool:
    """Handle ``frame``, of at least 74 bytes, in the common case. Otherwise change nothing and return False."""
    (
        macs, ethertype, first, length, protocol, hop_limit,
        key, seq, ack, offset, flags, wnd, _, _,
    ) = _unpack(frame)  # fmt: skip
    if protocol != 6 or first >> 28 != 6 or ethertype != 0x86DD or hop_limit < 2:
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
    end = 54 + length
    if end > len(frame):
        return False
    echoed: int | None = None
    if offset == 0x80:
        start = 86
        if not conn.ts_ok or end < start:
            return False
        word, value, echoed = _unpack_timestamp(frame, 74)
        if word != TIMESTAMP_WORD or (value - conn.ts_recent) & MASK >= HALF:
            return False
    elif offset == 0x50:
        start = 74
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
    if not checksummed and (ones_sum(frame[22:end]) + 6 + end - 54) % 65535:
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
