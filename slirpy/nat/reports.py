"""Errors from the host's side about a guest's packets, relayed to the guest as ICMP.

An error from outside quotes the packet that our socket sent. The guest gets an error about the packet that it sent
itself, with its own address, port or identifier and the destination as it knows it, so that its system finds the
program concerned. Fields that are not stored (the identification, and the length if only part was quoted) are those
of a packet that consists of the quoted part.
"""

from __future__ import annotations

from slirpy.core.arrival import Arrival
from slirpy.core.parts import Parts
from slirpy.interfaces import IcmpReport
from slirpy.nat.routes import Router
from slirpy.wire import icmp, ipv4, udp
from slirpy.wire.checksum import checksum

__all__ = ["out_of_time", "relay", "sent_echo", "sent_syn", "sent_udp"]

_RELAYED = (icmp.UNREACHABLE, icmp.TIME_EXCEEDED)
_LEAST_MTU = 68


def out_of_time(parts: Parts, arrival: Arrival) -> None:
    """Report that a packet's time to live ended at the gateway, its first router (RFC 1812, section 5.3.1)."""
    parts.network.stats.drop_ip_ttl += 1
    parts.errors.error(arrival, icmp.Cause.OUT_OF_TIME)


def sent_udp(guest: bytes, guest_port: int, seen: tuple[bytes, int], report: IcmpReport) -> bytes:
    """The datagram that an error is about, as the guest sent it to ``seen``."""
    payload = report.quoted
    segment = udp.build(guest, guest_port, *seen, payload) + payload
    return _packet(guest, seen[0], ipv4.UDP, segment, report)


def sent_echo(guest: bytes, identifier: int, sequence: int, seen: bytes, report: IcmpReport) -> bytes:
    """The echo request that an error is about, as the guest sent it to ``seen``."""
    message = icmp.build(icmp.ECHO_REQUEST, 0, identifier << 16 | sequence, report.quoted)
    return _packet(guest, seen, ipv4.ICMP, message, report)


def sent_syn(arrival: Arrival, report: IcmpReport) -> bytes:
    """The SYN that an error is about, as far as it was kept. If its time ran out, its fields are as at that point."""
    length = arrival.header.header_length
    header, rest = bytes(arrival.packet[:length]), bytes(arrival.packet[length:])
    if report.kind == icmp.TIME_EXCEEDED:
        header = header[:8] + b"\1" + header[9:10] + b"\0\0" + header[12:]
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return header + rest


def _packet(guest: bytes, seen: bytes, protocol: int, payload: bytes, report: IcmpReport) -> bytes:
    too_long = (report.kind, report.code) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED)
    ttl = 1 if report.kind == icmp.TIME_EXCEEDED else 64  # approximately as it was where it ended
    header = ipv4.build(guest, seen, protocol, len(payload), ttl=ttl, fragment=ipv4.DF if too_long else 0)
    return header + payload


def relay(parts: Parts, router: Router, report: IcmpReport, guest: bytes, seen: bytes, packet: bytes) -> bool:
    """Relay an error about ``packet``, which the guest sent to ``seen``. Returns False if the guest need not know.

    The source is the reporter, unless that is the host (which is the gateway) or has the address of a guest.
    """
    if len(report.address) != len(guest):
        return False  # its types and codes belong to the other family
    if report.kind not in _RELAYED:
        return False  # source quench is deprecated (RFC 6633), redirects are for the host only
    rest = 0
    if (report.kind, report.code) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED):
        if not _LEAST_MTU <= report.info <= 0xFFFF:
            return False
        rest = report.info
    source = seen if report.reporter == report.address else router.source_seen(report.reporter)
    config = parts.network.config
    if not any(source) or (config.contains(source) and source != seen):
        source = config.gateway_address
    ttl = max(report.ttl - 1, 1) if report.ttl else 64
    parts.errors.relay(guest, source, report.kind, report.code, rest, packet, ttl)
    return True
