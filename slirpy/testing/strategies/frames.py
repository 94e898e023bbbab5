"""Ethernet frames of every protocol that slirpy reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

from hypothesis import strategies as st

from slirpy.checks import instance
from slirpy.errors import ConfigError
from slirpy.testing.strategies import icmp, ip, link, neighbors, transport
from slirpy.testing.strategies.building import FROM_GUEST, Addresses, Ends, Flaw, Kind, Made, check_kind, kinds
from slirpy.testing.strategies.dhcp import dhcp_frames
from slirpy.testing.strategies.dhcp6 import dhcp6_frames
from slirpy.testing.strategies.dns import dns_frames
from slirpy.testing.strategies.tftp import tftp_frames
from slirpy.wire.ip import V4, V6

__all__ = ["FLAWS", "PROTOCOLS", "Protocol", "frames"]

Protocol: TypeAlias = Literal[
    "ethernet",
    "arp",
    "ipv4",
    "ipv6",
    "icmp",
    "icmpv6",
    "ndp",
    "mld",
    "udp",
    "tcp",
    "dhcp",
    "dhcp6",
    "dns",
    "tftp",
]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""Names of the protocols."""

_LOWER: dict[str, tuple[Callable[[Addresses], st.SearchStrategy[Made]], tuple[Flaw, ...]]] = {
    "arp": (link.arp_frames, link.ARP_FLAWS),
    "ethernet": (link.ethernet_frames, link.ETHERNET_FLAWS),
    "icmp": (lambda ends: icmp.icmp_frames(ends, V4), icmp.ICMP_FLAWS),
    "icmpv6": (lambda ends: icmp.icmp_frames(ends, V6), icmp.ICMP6_FLAWS),
    "ipv4": (ip.ipv4_frames, ip.IPV4_FLAWS),
    "ipv6": (ip.ipv6_frames, ip.IPV6_FLAWS),
    "mld": (neighbors.mld_frames, neighbors.MLD_FLAWS),
    "ndp": (neighbors.ndp_frames, neighbors.NDP_FLAWS),
    "tcp": (transport.tcp_frames, transport.TCP_FLAWS),
    "udp": (transport.udp_frames, transport.UDP_FLAWS),
}
FLAWS: dict[str, tuple[Flaw, ...]] = {name: flaws for name, (_, flaws) in _LOWER.items()}
"""Flaws of nearly valid frames, by protocol; those of messages are in their own modules."""
_MESSAGES: dict[str, Callable[[Addresses, Kind], st.SearchStrategy[Made]]] = {
    "dhcp": dhcp_frames,
    "dhcp6": dhcp6_frames,
    "dns": dns_frames,
    "tftp": tftp_frames,
}


def frames(
    kind: Kind = "valid", protocol: Protocol | None = None, *, ends: Ends = FROM_GUEST
) -> st.SearchStrategy[bytes]:
    """Make Ethernet frames.

    Args:
        kind: ``"valid"``: a receiver takes them; ``"near"``: one thing is wrong; ``"garbage"``: any bytes in place of
            the protocol, below correct headers of the layers that carry it.
        protocol: the highest protocol that is shaped; None: any, and for ``"garbage"`` any bytes at all.
        ends: addresses of both ends; default: QEMU's first guest, which sends to its router.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    check_kind(kind)
    instance("ends", ends, Ends, "an Ends")
    if protocol is None:
        if kind == "garbage":
            return st.binary(max_size=1514)
        return st.one_of([frames(kind, each, ends=ends) for each in PROTOCOLS])
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if protocol in _MESSAGES:
        return _MESSAGES[protocol](ends.packed, kind).map(_frame_of)
    make, flaws = _LOWER[protocol]
    return kinds(kind, make(ends.packed), flaws)


def _frame_of(made: Any) -> bytes:
    frame: bytes = made.frame
    return frame
