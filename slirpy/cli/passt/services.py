"""Services that are switched off: ``--no-dhcp``, ``--no-dhcpv6``, ``--no-ndp`` and ``--no-ra``."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.cli.passt.arguments import Given
from slirpy.interfaces import Buffer, Frame, Link
from slirpy.links.middleware import Middleware
from slirpy.wire import ethernet, ipv4, ipv6, ndp

__all__ = ["ServiceFilter", "without_services"]

_DHCP, _DHCP6 = 67, 547
_START = 14
"""First byte after the Ethernet header."""
_ADVERT_MAX = 2048


class ServiceFilter(Middleware):
    """Drops the guest's requests to some services, and counts them as ``drop_service_off``.

    Args:
        inner: the guest's link.
        off: names of options, such as ``"no-dhcp"``; others are ignored.
    """

    __slots__ = ("_messages", "_ports", "_quiet")

    def __init__(self, inner: Link, off: Sequence[str]) -> None:
        super().__init__(inner)
        self._ports = {4: {_DHCP} if "no-dhcp" in off else set(), 6: {_DHCP6} if "no-dhcpv6" in off else set()}
        self._quiet = "no-ra" in off or "no-ndp" in off
        self._messages = {ndp.ROUTER_SOLICITATION} if self._quiet else set()
        if "no-ndp" in off:
            self._messages |= {ndp.NEIGHBOR_SOLICITATION}

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Pass on a frame from the guest, or drop it."""
        if self._is_off(memoryview(frame)):
            self.stats.drop_service_off += 1
            return None
        return super().input(frame, checksummed, gso_size)

    def _is_off(self, frame: memoryview) -> bool:
        kind = bytes(frame[12:14])
        if kind == ethernet.TYPE_IPV4.to_bytes(2, "big") and len(frame) > _START + ipv4.HEADER_LENGTH:
            if frame[23] != ipv4.UDP or frame[20] & 0x1F or frame[21]:
                return False
            return _port(frame, _START + (frame[_START] & 15) * 4) in self._ports[4]
        start = _START + ipv6.HEADER_LENGTH
        if kind == ethernet.TYPE_IPV6.to_bytes(2, "big") and len(frame) > start:
            if frame[20] == ipv4.UDP:
                return _port(frame, start) in self._ports[6]
            return frame[20] == ipv6.ICMPV6 and frame[start] in self._messages
        return False

    def send(self, frames: Sequence[Frame]) -> int:
        """Send by the inner link, without router advertisements."""
        if not self._quiet:
            return super().send(frames)
        kept = [number for number, frame in enumerate(frames) if not _is_advert(frame)]
        sent = super().send([frames[number] for number in kept]) if kept else 0
        return len(frames) if sent == len(kept) else kept[sent]


def without_services(link: Link, given: Given) -> Link:
    """Wrap a guest's link as the options ask; it stays as it is if all services are on."""
    off = [name for name in ("no-dhcp", "no-dhcpv6", "no-ndp", "no-ra") if given.has(name)]
    return ServiceFilter(link, off) if off else link


def _port(frame: memoryview, start: int) -> int:
    """The destination port of a datagram; -1 if it is too short."""
    return int.from_bytes(frame[start + 2 : start + 4], "big") if len(frame) >= start + 4 else -1


def _is_advert(frame: Frame) -> bool:
    head = b"".join(frame.parts) if sum(map(len, frame.parts)) <= _ADVERT_MAX else b""
    start = _START + ipv6.HEADER_LENGTH
    return (
        len(head) > start
        and head[12:14] == ethernet.TYPE_IPV6.to_bytes(2, "big")
        and head[20] == ipv6.ICMPV6
        and head[start] == ndp.ROUTER_ADVERTISEMENT
    )
