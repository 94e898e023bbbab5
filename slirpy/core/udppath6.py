"""Fast path for IPv6 datagrams of known flows; see ``core/udppath.py``, which is the same for IPv4.

Fragments take the slow path.
"""

from __future__ import annotations

from struct import Struct

from slirpy.core.network import Network
from slirpy.core.paths import ServicePath, UdpPath
from slirpy.core.port import LinkPort
from slirpy.wire.checksum import ones_sum
from slirpy.wire.ipv4 import UDP

__all__ = ["HEADERS_LENGTH", "udp_fastpath6"]

HEADERS_LENGTH = 62
"""Ethernet, IPv6 without extension headers, UDP."""
# MACs, EtherType; version with traffic class and flow label, payload length, next header, hop limit, addresses and
# ports; length, checksum.
_unpack = Struct("!12sHIHBB36sHH").unpack_from


def udp_fastpath6(
    network: Network,
    paths: dict[bytes, UdpPath | ServicePath],
    port: LinkPort,
    frame: memoryview,
    checksummed: bool,
) -> bool:
    """Handle ``frame``, of at least 62 bytes, in the common case. Otherwise change nothing and return False."""
    macs, ethertype, first, total, protocol, hop_limit, key, length, field = _unpack(frame)
    if protocol != UDP or first >> 28 != 6 or ethertype != 0x86DD:
        return False
    path = paths.get(key)
    if path is None or path.ttl != hop_limit:
        return False
    neighbor = path.neighbor
    if path.macs != macs or neighbor.port is not port or total != length:
        return False
    if neighbor.mac != path.mac:  # another MAC address has used this IP address since; the slow path returns it
        return False
    end = 54 + length
    if length < 8 or end > len(frame):
        return False
    if not checksummed and (not field or (ones_sum(frame[22:end]) + UDP + length) % 65535):
        return False
    neighbor.seen = network.now
    network.stats.udp_fastpath += 1
    if isinstance(path, ServicePath):
        path.deliver(frame[HEADERS_LENGTH:end], port)
        return True
    flow = path.flow
    if flow.path is not path:
        flow.send_pending()  # keep a flow's datagrams in order across destinations
        flow.path = path
    flow.pending.append(frame[HEADERS_LENGTH:end])
    if not flow.dirty:
        flow.mark()
    return True
