"""The fast paths of UDP, for datagrams that resemble an earlier one of their flow.

One ``unpack`` reads all headers, and one dict lookup finds the :class:`~slirpy.core.paths.UdpPath`. In all but the
common case the function changes nothing and returns False, and the datagram takes the slow path (``core/demux.py``
and ``nat/udpflow.py``), which also creates the fast ones. Datagrams of one batch wait for the flush, so that one
system call can send many of them. Datagrams for a service are delivered at once. Fragments of IPv6 take the slow
path.

One text makes a function for each IP family, as in ``core/fastpath.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from slirpy.core.fragments import Fragments
from slirpy.core.network import Network
from slirpy.core.paths import PENDING_MAX, ServicePath, UdpPath
from slirpy.core.port import LinkPort
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ipv4 import UDP

__all__ = ["udp_fastpath", "udp_fastpath6"]

_Fields: TypeAlias = tuple[bytes, int, int, int, Any, Any, int, Any, bytes, int, int]
"""Fields that ``Layout.datagram`` reads."""
_Fastpath: TypeAlias = Callable[
    [Network, dict[bytes, UdpPath | ServicePath], Fragments, LinkPort, memoryview, bool], bool
]


def _fastpath(layout: Layout) -> _Fastpath:
    """Return the fast path of an IP family."""
    kind, versions, whole = layout.kind, layout.versions, layout.whole
    words = layout.words(UDP)
    transport_at, addresses_at = layout.transport_at, layout.addresses_at
    payload_at = layout.datagram.size
    header_in_total = layout.header_in_total
    # IPv4 has a checksum of its header, and may have none of a datagram; with IPv6 it is the other way round.
    has_header_sum = layout.has_header_sum
    unpack: Callable[[memoryview], _Fields] = layout.datagram.unpack_from

    def fastpath(
        network: Network,
        paths: dict[bytes, UdpPath | ServicePath],
        fragments: Fragments,
        port: LinkPort,
        frame: memoryview,
        checksummed: bool,
    ) -> bool:
        """Handle ``frame``, which has all headers, in the common case. Otherwise change nothing and return False."""
        macs, ethertype, version, total, identification, fragment, word, header_sum, key, length, field = (
            unpack(frame)
        )
        if version not in versions or ethertype != kind:
            return False
        path = paths.get(key)
        if path is None or path.word != word or path.fragment != fragment:
            if fragment in whole or word not in words:
                return False
            first = path if isinstance(path, UdpPath) and path.word == word and not path.fragment else None
            return fragments.quick(first, port, frame, macs, key[:8], total, fragment)
        neighbor = path.neighbor
        if path.macs != macs or neighbor.port is not port or total != length + header_in_total:
            return False
        if neighbor.mac != path.mac:
            # Another MAC address has used this IP address since; the slow path returns it.
            return False
        end = transport_at + length
        if length < 8 or end > len(frame):
            return False
        if (
            has_header_sum
            and (path.addresses + version + total + identification + fragment + word + header_sum) % 65535
        ):
            return False
        if not checksummed:
            if field:
                if (ones_sum(frame[addresses_at:end]) + UDP + length) % 65535:
                    return False
            elif not has_header_sum:
                return False
        neighbor.seen = network.now
        network.stats.udp_fastpath += 1
        if isinstance(path, ServicePath):
            path.deliver(frame[payload_at:end], port)
            return True
        flow = path.flow
        if flow.path is not path:
            flow.send_pending()  # keep a flow's datagrams in order across destinations
            flow.path = path
        pending = flow.pending
        pending.append(frame[payload_at:end])
        if not flow.dirty:
            flow.mark()
        elif len(pending) >= PENDING_MAX:
            flow.send_pending()
        return True

    return fastpath


udp_fastpath: Final = _fastpath(LAYOUT)
udp_fastpath6: Final = _fastpath(LAYOUT6)
