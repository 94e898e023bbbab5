"""The fast path of UDP, for datagrams that resemble an earlier one of their flow.

One ``unpack`` reads all headers, and one dict lookup finds the :class:`~slirpy.core.paths.UdpPath`. In all but the
common case the function changes nothing and returns False, and the datagram takes the slow path (``core/demux.py``
and ``nat/udp.py``), which also creates the fast ones. Datagrams of one batch wait for the flush, so that one system
call can send many of them. Datagrams for a service are delivered at once.
"""

from __future__ import annotations

from struct import Struct

from slirpy.core.fragments import Fragments
from slirpy.core.network import Network
from slirpy.core.paths import ServicePath, UdpPath
from slirpy.core.port import LinkPort
from slirpy.wire.checksum import ones_sum
from slirpy.wire.ipv4 import MF, OFFSET_MASK, UDP

__all__ = ["HEADERS_LENGTH", "udp_fastpath"]

HEADERS_LENGTH = 42
"""Ethernet, IPv4 without options, UDP."""
# MACs, EtherType; version, TOS, total length, identification, fragment, TTL, protocol, checksum, addresses and
# ports; length, checksum.
_unpack = Struct("!12sHBBHHHBBH12sHH").unpack_from
_FRAGMENT = MF | OFFSET_MASK


def udp_fastpath(
    network: Network,
    paths: dict[bytes, UdpPath | ServicePath],
    fragments: Fragments,
    port: LinkPort,
    frame: memoryview,
    checksummed: bool,
) -> bool:
    """Handle ``frame``, of at least 42 bytes, in the common case. Otherwise change nothing and return False."""
    macs, ethertype, version, _, total, ident, fragment, ttl, protocol, _, key, length, field = _unpack(frame)
    if protocol != UDP or version != 0x45 or ethertype != 0x0800:
        return False
    path = paths.get(key)
    if path is None or path.ttl != ttl or path.fragment != fragment:
        if not fragment & _FRAGMENT or not ttl:
            return False
        first = path if isinstance(path, UdpPath) and path.ttl == ttl and not path.fragment else None
        return fragments.quick(first, port, frame, macs, key[:8], total, ident, fragment)
    neighbor = path.neighbor
    if path.macs != macs or neighbor.port is not port or total != length + 20:
        return False
    if neighbor.mac != path.mac:  # another MAC address has used this IP address since; the slow path returns it
        return False
    end = 34 + length
    if length < 8 or end > len(frame) or ones_sum(frame[14:34]):
        return False
    if field and not checksummed and (ones_sum(frame[26:end]) + UDP + length) % 65535:
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
