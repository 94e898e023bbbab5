"""Scripts for both networks: Neighbor Discovery, IPv6 and ICMPv6."""

from __future__ import annotations

import struct
from typing import Any

from slirpy.wire import ethernet
from tests.support import frames6
from tests.support.frames6 import (
    ALL_NODES,
    ALL_ROUTERS,
    GUEST6,
    LINK_LOCAL,
    ROUTER,
    UNSPECIFIED,
    ip6,
    neighbor_advertisement,
    neighbor_solicitation,
    router_solicitation,
    solicited,
)
from tests.system.oracle import PLAN6, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import fragments, hello, ip, ping, udp_packet
from tests.system.oracle_udp import PORT, SHORT, closed_port, heard, program

GATEWAY, DNS, NOBODY, OTHER, FOREIGN = PLAN6.gateway, PLAN6.dns, PLAN6.nobody, PLAN6.other, PLAN6.foreign
ROUTER_MAC = ethernet.virtual_mac(GATEWAY)
ICMPV6, UDP = frames6.ICMPV6, frames6.UDP
HOP_BY_HOP, ROUTING, FRAGMENT, NOTHING, DESTINATION = 0, 43, 44, 59, 60
FLOW_LABEL = 0x12345


def icmp6(kind: int, body: bytes, **more: Any) -> bytes:
    """A message for the gateway."""
    return frames6.icmp6(kind, more.pop("code", 0), body, **{"destination": GATEWAY, "to": ROUTER_MAC, **more})


def solicitations(talk: Talk) -> None:
    """Questions for each kind of address."""
    for name, target in (
        ("router", ROUTER),
        ("gateway", GATEWAY),
        ("dns", DNS),
        ("dns-link-local", ip6("fe80::3")),
        ("nobody", NOBODY),
        ("own", GUEST6),
        ("own-link-local", LINK_LOCAL),
        ("foreign", FOREIGN),
        ("loopback", ip6("::1")),
        ("anycast", ip6("fec0::")),
    ):
        talk.step(name, neighbor_solicitation(target))
    talk.step("from-global", neighbor_solicitation(GATEWAY, source=GUEST6))
    talk.step("unicast", neighbor_solicitation(GATEWAY, destination=GATEWAY, to=ROUTER_MAC))
    talk.step("unicast-router", neighbor_solicitation(ROUTER, destination=ROUTER, to=ROUTER_MAC))
    talk.step("without-source-link", neighbor_solicitation(GATEWAY, b""))


def probes(talk: Talk) -> None:
    """Probes for duplicates, advertisements of the guest, and what a guest must not send."""
    unspecified = {"source": UNSPECIFIED}
    talk.step("probe-own", neighbor_solicitation(GUEST6, b"", **unspecified))
    talk.step("probe-link-local", neighbor_solicitation(LINK_LOCAL, b"", **unspecified))
    talk.step("probe-gateway", neighbor_solicitation(GATEWAY, b"", **unspecified))
    talk.step("probe-router", neighbor_solicitation(ROUTER, b"", **unspecified))
    talk.step("probe-dns", neighbor_solicitation(DNS, b"", **unspecified))
    talk.step("announce", neighbor_advertisement(GUEST6, destination=ALL_NODES))
    talk.step("claim-gateway", neighbor_advertisement(GATEWAY, destination=ALL_NODES))
    talk.step("still-there", neighbor_solicitation(GATEWAY))
    talk.step("hop-limit", neighbor_solicitation(GATEWAY, hop_limit=254))
    talk.step("code", icmp6(135, bytes(4) + GATEWAY + frames6.SLLA, code=1, source=LINK_LOCAL, hop_limit=255))
    talk.step("group-target", neighbor_solicitation(ALL_NODES, destination=ALL_NODES))
    talk.step("option-of-0", neighbor_solicitation(GATEWAY, b"\1\0" + bytes(6)))
    talk.step("short", icmp6(135, bytes(4) + GATEWAY[:8], source=LINK_LOCAL, hop_limit=255))
    talk.step("checksum", neighbor_solicitation(GATEWAY, wrong=0x101))
    talk.step("probe-with-link", neighbor_solicitation(GATEWAY, **unspecified))


def routers(talk: Talk) -> None:
    """Solicitations of a router, and what a router would send."""
    talk.step("solicit", router_solicitation())
    talk.step("solicit-without-link", router_solicitation(b""))
    talk.step("solicit-unicast", router_solicitation(destination=ROUTER, to=ROUTER_MAC))
    talk.step("solicit-global", router_solicitation(source=GUEST6))
    talk.step("hop-limit", router_solicitation(hop_limit=64))
    talk.step("all-nodes", router_solicitation(destination=ALL_NODES))
    advert = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    talk.step(
        "advertisement", icmp6(134, advert, source=LINK_LOCAL, destination=ALL_NODES, to=None, hop_limit=255)
    )
    redirect = bytes(4) + NOBODY + FOREIGN
    talk.step("redirect", icmp6(137, redirect, source=LINK_LOCAL, hop_limit=255))
    talk.step(
        "reports", ip(ip6("ff02::16"), HOP_BY_HOP, mld_report(), source=LINK_LOCAL, ttl=1, to=b"33\0\0\0\x16")
    )
    talk.step("ping", ping(GATEWAY))


def mld_report() -> bytes:
    """A guest that joins its group: Hop-by-Hop Options with Router Alert, and the report."""
    record = struct.pack("!BBH", 4, 0, 0) + solicited(GUEST6)
    message = struct.pack("!BBHHH", 143, 0, 0, 0, 1) + record
    message = frames6.checked(ICMPV6, message, 2, LINK_LOCAL, ip6("ff02::16"))
    return bytes((ICMPV6, 0, 5, 2, 0, 0, 1, 0)) + message


def first_solicitation(talk: Talk) -> None:
    """A guest that has no address yet."""
    talk.step("unspecified", router_solicitation(b"", source=UNSPECIFIED))


def unknown(talk: Talk) -> None:
    """A guest that has not said a word of Neighbor Discovery before its first packet."""
    talk.step("ping", ping(GATEWAY))
    talk.step("answer", neighbor_advertisement(GUEST6))
    talk.step("ping-again", ping(GATEWAY, sequence=2))
    body = struct.pack("!HH", 7, 1) + b"abc"
    talk.step("other-address", icmp6(128, body, source=OTHER))
    talk.step("link-local", icmp6(128, body, source=LINK_LOCAL, destination=ROUTER))


def echo(talk: Talk) -> None:
    """Echo requests, and other messages."""
    hello(talk)
    talk.step("gateway", ping(GATEWAY))
    talk.step("dns", ping(DNS))
    talk.step("router", ping(ROUTER))
    talk.step("dns-link-local", ping(ip6("fe80::3")))
    talk.step("empty", ping(GATEWAY, b""))
    talk.step("large", ping(GATEWAY, bytes(range(256)) * 5 + bytes(172)))
    talk.step("hop-limit-1", ping(GATEWAY, ttl=1))
    talk.step("hop-limit-0", ping(GATEWAY, ttl=0))
    body = ping(GATEWAY)[54:]
    talk.step("traffic-class", ip(GATEWAY, ICMPV6, body, tos=0xB8))
    labelled = ping(GATEWAY)
    talk.step("flow-label", labelled[:14] + (6 << 28 | FLOW_LABEL).to_bytes(4, "big") + labelled[18:])
    talk.step("checksum", ip(GATEWAY, ICMPV6, body[:2] + b"\1\1" + body[4:]))
    talk.step("code", icmp6(128, bytes(8), code=1))
    talk.step("short", icmp6(128, b""))
    for kind, name in (
        (129, "echo-reply"),
        (139, "node-information"),
        (200, "experiment"),
        (100, "unknown-error"),
    ):
        talk.step(name, icmp6(kind, bytes(12)))
    message = frames6.checked(ICMPV6, b"\x80\0\0\0\0\1\0\1" + bytes(3000), 2, GUEST6, GATEWAY)
    talk.step("pieces", *fragments(GATEWAY, ICMPV6, message, PLAN6.piece, ident=9))


def echo_nobody(talk: Talk) -> None:
    """Echo requests to unused addresses and multicast groups."""
    hello(talk)
    for name, to in (
        ("nobody", NOBODY),
        ("own", GUEST6),
        ("link-local", ip6("fe80::99")),
        ("loopback", ip6("::1")),
    ):
        talk.step(name, ping(to), until=1, within=SHORT)
    talk.step("outside", ping(PLAN6.outside), until=1, within=SHORT)
    talk.step("hop-limit-1", ping(PLAN6.outside, ttl=1), until=1, within=SHORT)
    talk.step("hop-limit-0", ping(PLAN6.outside, ttl=0), until=1, within=SHORT)
    for name, group in (
        ("all-nodes", ALL_NODES),
        ("all-routers", ALL_ROUTERS),
        ("solicited", solicited(GATEWAY)),
        ("mdns", ip6("ff02::fb")),
    ):
        body = struct.pack("!HH", 7, 1) + b"abc"
        talk.step(name, icmp6(128, body, destination=group, to=None), until=1, within=SHORT)


def packets(talk: Talk) -> None:
    """IPv6 itself."""
    hello(talk)
    good = ping(GATEWAY)
    talk.step("version", good[:14] + b"\x40" + good[15:])
    talk.step("length", good[:18] + b"\xff\xff" + good[20:])
    talk.step("short", good[:40])
    talk.step("padded", good + bytes(10))
    talk.step("protocol", ip(GATEWAY, 47, bytes(20)), until=1, within=SHORT)
    talk.step("other-mac", b"\x52\x54\0\0\0\1" + good[6:])
    for name, source in (
        ("unspecified", UNSPECIFIED),
        ("foreign", FOREIGN),
        ("gateway", GATEWAY),
        ("group", ALL_NODES),
        ("loopback", ip6("::1")),
    ):
        talk.step(f"source-{name}", icmp6(128, b"\0\7\0\1abc", source=source), until=1, within=SHORT)
    talk.step("alive", ping(GATEWAY))


def extensions(talk: Talk) -> None:
    """Extension headers, before datagrams to a server on the gateway's loopback."""
    hello(talk)
    with program(talk) as sock:
        packet = udp_packet(GATEWAY, PORT, sock.getsockname()[1], b"hello")
        padding = b"\1\4\0\0\0\0"
        before = {
            "none": (UDP, b""),
            "hop-by-hop": (HOP_BY_HOP, bytes((UDP, 0)) + padding),
            "destination": (DESTINATION, bytes((UDP, 0)) + padding),
            "both": (HOP_BY_HOP, bytes((DESTINATION, 0)) + padding + bytes((UDP, 0)) + padding),
            "unknown-skipped": (DESTINATION, bytes((UDP, 0)) + b"\x1e\4\0\0\0\0"),
            "unknown-discarded": (DESTINATION, bytes((UDP, 0)) + b"\x5e\4\0\0\0\0"),
            "unknown-reported": (DESTINATION, bytes((UDP, 0)) + b"\x9e\4\0\0\0\0"),
            "routing-0": (ROUTING, bytes((UDP, 2, 0, 1)) + bytes(4) + NOBODY),
            "routing-done": (ROUTING, bytes((UDP, 0, 4, 0)) + bytes(4)),
            "atomic": (FRAGMENT, bytes((UDP, 0, 0, 0)) + bytes(4)),
            "misplaced": (DESTINATION, bytes((HOP_BY_HOP, 0)) + padding + bytes((UDP, 0)) + padding),
            "nothing": (NOTHING, b""),
        }
        for name, (first, headers) in before.items():
            talk.step(name, ip(GATEWAY, first, headers + packet), until=1, within=0.02)
            heard(talk, sock)


def errors(talk: Talk) -> None:
    """Errors of the guest about a datagram that it was sent, and others."""
    hello(talk)
    with program(talk) as sock:
        port = sock.getsockname()[1]
        talk.step("ask", ip(GATEWAY, UDP, udp_packet(GATEWAY, PORT, port, b"hello")))
        who = heard(talk, sock)
        assert who is not None
        for name, kind, code, rest in (("too-big", 2, 0, 1280), ("another", 1, 4, 0), ("port", 1, 4, 0)):
            sock.sendto(b"answer", who)
            (answer,) = talk.listen(f"{name}-answer", until=1)
            quoted = answer.raw[14:] if name != "another" else answer.raw[14:54] + bytes(14)
            talk.step(name, icmp6(kind, rest.to_bytes(4, "big") + quoted, code=code), until=1, within=0.02)
        talk.step("closed", ip(GATEWAY, UDP, udp_packet(GATEWAY, PORT, closed_port(talk), b"?")), until=1)


def dns(talk: Talk) -> None:
    """The DNS server, whose host has no name server that answers."""
    hello(talk)
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\7example\3org\0" + struct.pack("!HH", 28, 1)
    talk.step("query", ip(DNS, UDP, udp_packet(DNS, PORT, 53, query)), until=1, within=SHORT)
    talk.step("other-port", ip(DNS, UDP, udp_packet(DNS, PORT, 54, query)), until=1, within=SHORT)


SCRIPTS = [
    Script("ndp-solicitations", solicitations, plan=PLAN6),
    Script("ndp-probes", probes, plan=PLAN6),
    Script("ndp-first", first_solicitation, plan=PLAN6),
    Script("ndp-routers", routers, plan=PLAN6),
    Script("ndp-unknown", unknown, plan=PLAN6),
    Script("icmp6-echo", echo, plan=PLAN6, group="six"),
    Script("icmp6-extensions", extensions, plan=PLAN6, group="six"),
    Script("icmp6-errors", errors, plan=PLAN6, group="six"),
    Script("icmp6-packets", packets, plan=PLAN6, isolated=True, group="six-alone"),
    Script("icmp6-nobody", echo_nobody, plan=PLAN6, isolated=True, group="six-alone"),
    Script("dns6", dns, plan=PLAN6, isolated=True, group="six-alone"),
]
