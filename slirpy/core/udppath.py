"""The fast path of UDP: a datagram of a flow that goes where the one before it went, in the same manner.

One ``unpack`` reads all headers, one dict lookup finds the :class:`~slirpy.core.paths.UdpPath`. What is not exactly
the common case returns False, having changed nothing, and goes the slow way (``core/demux.py`` and ``nat/udp.py``),
which lays the paths. Datagrams of one batch wait for the flush, so that the host's system can take many of them by
one call. Those of a conversation with a service, whose paths ``core/demux.py`` lays, are handed over at once.
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
    """Handle ``frame`` if it is the common case. ``frame`` has at least 42 bytes."""
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
    if neighbor.mac != path.mac:  # another card has spoken for this address meanwhile; this frame takes it back
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
        flow.send_pending()  # a flow's datagrams stay in order, whoever they are for
        flow.path = path
    flow.pending.append(frame[HEADERS_LENGTH:end])
    if not flow.dirty:
        flow.mark()
    return True
