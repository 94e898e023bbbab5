"""The reset that answers a segment of no connection."""

from __future__ import annotations

from slirpy.core.ip import IPSender
from slirpy.core.neighbor import Neighbor
from slirpy.stats import Stats
from slirpy.tcp import Segment, reset_for
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import checksum, ones_sum

__all__ = ["refuse_tcp"]


def refuse_tcp(stats: Stats, ip: IPSender, neighbor: Neighbor, key: bytes, seg: Segment) -> None:
    """Answer a segment that belongs to no connection (RFC 9293, section 3.10.7.1)."""
    answer = reset_for(seg)
    if answer is None:
        stats.drop_tcp_unmatched += 1
        return
    seq, ack, flags = answer
    source, destination = key[4:8], key[:4]
    header = tcp.HEADER.pack(0, 0, seq, ack, 5 << 4, flags, 0, 0, 0)
    segment = key[10:12] + key[8:10] + header[4:]
    value = checksum(segment, ones_sum(source + destination) + ipv4.TCP + len(segment))
    segment = segment[:16] + value.to_bytes(2, "big") + segment[18:]
    stats.tcp_resets_out += 1
    ip.send(neighbor, source, destination, ipv4.TCP, segment)
