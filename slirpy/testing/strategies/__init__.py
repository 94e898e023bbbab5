"""Hypothesis strategies for protocols: streams in pieces, frames, segments, and messages.

=============================================================  ===================================================
:func:`cuts`                                                   the ways in which TCP may cut a stream
:func:`frames`                                                 Ethernet frames of a protocol: valid, near, garbage
:func:`segments`, :func:`segment_shapes`                       segments for a connection in its present state
:func:`dns_messages`, :func:`dhcp_messages`,                   payloads of UDP
:func:`dhcp6_messages`, :func:`tftp_packets`
:func:`icmp_errors`                                            errors about a packet
:func:`fault_plans`                                            faults for a network of named hosts
:func:`option_strings`                                         QEMU's ``-netdev user,...``
=============================================================  ===================================================

The simplest example comes first, and examples shrink towards it. Kinds of frames and messages: ``"valid"``: a
receiver takes them; ``"near"``: one thing is wrong, in most cases with correct checksums around it; ``"garbage"``:
any bytes in place of the protocol, below correct headers of the layers that carry it.

This package needs Hypothesis: install ``slirpy[testing]``. Nothing else in slirpy imports it.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError("slirpy.testing.strategies needs Hypothesis; install slirpy[testing]") from error

from slirpy.testing.strategies.building import FROM_GUEST, TO_GUEST, Ends, Kind
from slirpy.testing.strategies.dhcp import dhcp_messages
from slirpy.testing.strategies.dhcp6 import dhcp6_messages
from slirpy.testing.strategies.dns import dns_messages
from slirpy.testing.strategies.frames import PROTOCOLS, Protocol, frames
from slirpy.testing.strategies.icmp import icmp_errors
from slirpy.testing.strategies.options import option_strings
from slirpy.testing.strategies.plans import fault_plans
from slirpy.testing.strategies.segments import Shape, segment_shapes, segments
from slirpy.testing.strategies.streams import cuts
from slirpy.testing.strategies.tftp import tftp_packets

__all__ = [
    "FROM_GUEST",
    "PROTOCOLS",
    "TO_GUEST",
    "Ends",
    "Kind",
    "Protocol",
    "Shape",
    "cuts",
    "dhcp6_messages",
    "dhcp_messages",
    "dns_messages",
    "fault_plans",
    "frames",
    "icmp_errors",
    "option_strings",
    "segment_shapes",
    "segments",
    "tftp_packets",
]

del _hypothesis
