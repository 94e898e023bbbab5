"""Reassembly of IPv6 fragments from guests (RFC 8200, section 4.5)."""

from __future__ import annotations

from slirpy.core.arrival import Arrival
from slirpy.core.fragments import Fragments
from slirpy.core.partial import Partial
from slirpy.units import SECOND
from slirpy.wire import extension, ipv6
from slirpy.wire.extension import FRAGMENT_LENGTH
from slirpy.wire.ipv6 import IPv6Header

__all__ = ["Fragments6"]


class Fragments6(Fragments):
    """Reassembly of IPv6 in one stack.

    The header of a whole packet is as :func:`slirpy.wire.ipv6.parse` returns it: its extension headers have not been
    walked yet, for those that followed the Fragment header count only now.
    """

    timeout = 60 * SECOND
    uncounted = ipv6.HEADER_LENGTH + FRAGMENT_LENGTH

    def _spoil(self, partial: Partial) -> None:
        """Give up a packet whose fragments overlap, and all fragments of it that are still to come (RFC 5722)."""
        partial.spoil()
        self._views[partial] = None  # what it costs now is counted at the flush
        self._mark()

    def _whole(self, partial: Partial) -> Arrival | None:
        first = partial.first
        assert isinstance(first, IPv6Header)
        # The later fragments may have had shorter headers.
        if first.fragment_at - ipv6.HEADER_LENGTH + partial.have > 0xFFFF:
            self._network.stats.drop_fragment_bad += len(partial.pieces)
            return None
        payload = b"".join(partial.pieces)
        whole = extension.unfragmented(bytes(partial.header or b""), first, payload)
        return self._arrival(partial, memoryview(whole))

    def _arrival(self, partial: Partial, packet: memoryview) -> Arrival:
        header, neighbor = ipv6.parse(packet), partial.neighbor
        assert header is not None
        assert neighbor is not None
        return Arrival(partial.port, neighbor, partial.macs, header, packet, checksummed=False)
