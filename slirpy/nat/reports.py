"""Errors from the host's side about a guest's packets, relayed to the guest as ICMP.

An error from outside quotes the packet that our socket sent. The guest gets an error about the packet that it sent
itself, with its own address, port or identifier and the destination as it knows it, so that its system finds the
program concerned. Fields that are not stored (the identification, and the length if only part was quoted) are those
of a packet that consists of the quoted part.
"""

from __future__ import annotations

from slirpy.core.arrival import Arrival
from slirpy.core.parts import Parts
from slirpy.core.translation import translated_mtu
from slirpy.interfaces import IcmpReport
from slirpy.nat.routes import Router
from slirpy.wire import ipv4, udp
from slirpy.wire.icmp import Cause
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of

__all__ = ["out_of_time", "relay", "sent_echo", "sent_syn", "sent_udp"]


def out_of_time(parts: Parts, arrival: Arrival) -> None:
    """Report that a packet's time to live ended at the gateway, its first router (RFC 1812, section 5.3.1)."""
    parts.network.stats.drop_ip_ttl += 1
    parts.errors.error(arrival, Cause.OUT_OF_TIME)


def sent_udp(guest: bytes, guest_port: int, seen: tuple[bytes, int], report: IcmpReport) -> bytes:
    """The datagram that an error is about, as the guest sent it to ``seen``."""
    payload = report.quoted
    segment = udp.build(guest, guest_port, *seen, payload) + payload
    return _packet(guest, seen[0], ipv4.UDP, segment, report)


def sent_echo(guest: bytes, identifier: int, sequence: int, seen: bytes, report: IcmpReport) -> bytes:
    """The echo request that an error is about, as the guest sent it to ``seen``."""
    messages = messages_of(guest)
    rest = identifier << 16 | sequence
    message = messages.build(guest, seen, messages.echo_request, 0, rest, report.quoted)
    return _packet(guest, seen, family_of(guest).icmp, message, report)


def sent_syn(arrival: Arrival, report: IcmpReport) -> bytes:
    """The SYN that an error is about, as far as it was kept. If its time ran out, its fields are as at that point."""
    length = arrival.header.header_length
    header, rest = bytes(arrival.packet[:length]), bytes(arrival.packet[length:])
    if _ran_out(report):
        header = family_of(arrival.header.source).with_hop_limit(header, 1)
    return header + rest


def _cause(report: IcmpReport) -> Cause | None:
    return messages_of(report.address).cause_of(report.kind, report.code)


def _ran_out(report: IcmpReport) -> bool:
    return _cause(report) in (Cause.OUT_OF_TIME, Cause.REASSEMBLY_TIME)


def _packet(guest: bytes, seen: bytes, protocol: int, payload: bytes, report: IcmpReport) -> bytes:
    hop_limit = 1 if _ran_out(report) else 64  # approximately as it was where it ended
    dont_fragment = _cause(report) is Cause.TOO_BIG
    header = family_of(guest).build(
        guest, seen, protocol, len(payload), hop_limit=hop_limit, dont_fragment=dont_fragment
    )
    return header + payload


def relay(parts: Parts, router: Router, report: IcmpReport, guest: bytes, seen: bytes, packet: bytes) -> bool:
    """Relay an error about ``packet``, which the guest sent to ``seen``. Returns False if the guest need not know.

    The source is the reporter, unless that is the host (which is the gateway) or has the address of a guest.
    """
    cause = _cause(report)
    if not messages_of(report.address).is_relayed(report.kind):
        return False
    kind, code, rest, mtu = report.kind, report.code, 0, 0
    if cause is Cause.TOO_BIG:
        rest = mtu = translated_mtu(report.info, report.address, guest)
        if not family_of(guest).least_mtu <= mtu <= 0xFFFF:
            return False
    if len(report.address) != len(guest):
        if cause is None:
            return False
        kind, code, rest = messages_of(guest).error_of(cause, mtu)
    source = seen if report.reporter == report.address else router.source_seen(report.reporter, guest)
    config = parts.network.config
    if not any(source) or (config.contains(source) and source != seen and not config.transparent):
        source = parts.network.gateway_for(guest)
    ttl = max(report.ttl - 1, 1) if report.ttl else 64
    parts.errors.relay(guest, source, kind, code, rest, packet, ttl)
    return True
