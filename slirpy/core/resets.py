"""Resets that answer segments of unknown connections."""

from __future__ import annotations

from slirpy.core.ip import IPSender
from slirpy.core.neighbor import Neighbor
from slirpy.stats import Stats
from slirpy.tcp import Segment, reset_for
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import checksum
from slirpy.wire.ip import family_of, reverse_key, split_key

__all__ = ["refuse_tcp"]


def refuse_tcp(stats: Stats, ip: IPSender, neighbor: Neighbor, key: bytes, seg: Segment) -> None:
    """Answer a segment that belongs to no connection (RFC 9293, section 3.10.7.1)."""
    answer = reset_for(seg)
    if answer is None:
        stats.drop_tcp_unmatched += 1
        return
    seq, ack, flags = answer
    source, source_port, destination, destination_port = split_key(reverse_key(key))
    segment = tcp.HEADER.pack(source_port, destination_port, seq, ack, 5 << 4, flags, 0, 0, 0)
    pseudo = family_of(source).pseudo_sum(source, destination, ipv4.TCP, len(segment))
    value = checksum(segment, pseudo)
    segment = segment[:16] + value.to_bytes(2, "big") + segment[18:]
    stats.tcp_resets_out += 1
    ip.send(neighbor, source, destination, ipv4.TCP, segment)
