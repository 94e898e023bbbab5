"""Scripts for both networks: Ethernet, ARP, IP and ICMP."""

from __future__ import annotations

from slirpy.wire import arp, icmp, ipv4
from tests.system.oracle import GATEWAY, GUEST, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import ROUTER, arp_frame, fragments, hello, ip, ping

DNS = bytes((10, 0, 2, 3))
SMB = bytes((10, 0, 2, 4))
NOBODY = bytes((10, 0, 2, 99))
NET, DIRECTED, LIMITED = bytes((10, 0, 2, 0)), bytes((10, 0, 2, 255)), b"\xff" * 4
ZERO = bytes(4)


def who_has(talk: Talk) -> None:
    """Questions for each kind of address."""
    for name, target in (
        ("gateway", GATEWAY),
        ("dns", DNS),
        ("smb", SMB),
        ("nobody", NOBODY),
        ("own", GUEST),
        ("net", NET),
        ("broadcast", DIRECTED),
        ("outside", bytes((192, 168, 1, 1))),
        ("zero", ZERO),
    ):
        talk.step(name, arp_frame(target))


def probes(talk: Talk) -> None:
    """Probes and announcements (RFC 5227)."""
    talk.step("probe-own", arp_frame(GUEST, sender=ZERO))
    talk.step("probe-gateway", arp_frame(GATEWAY, sender=ZERO))
    talk.step("announce", arp_frame(GUEST))
    talk.step("announce-reply", arp_frame(GUEST, operation=arp.REPLY, target_mac=b"\xff" * 6))
    talk.step("claim-gateway", arp_frame(GATEWAY, sender=GATEWAY))
    talk.step("claim-reply", arp_frame(GUEST, sender=GATEWAY, operation=arp.REPLY))
    talk.step("still-there", arp_frame(GATEWAY))
    talk.step("unicast", arp_frame(GATEWAY, to=ROUTER))
    talk.step("foreign-sender", arp_frame(GATEWAY, sender=bytes((192, 168, 1, 9))))
    talk.step("odd-operation", arp_frame(GATEWAY, operation=7))
    talk.step("cut", arp_frame(GATEWAY)[:30])
    hardware = arp_frame(GATEWAY)
    talk.step("hardware", hardware[:14] + b"\0\6" + hardware[16:])


def unknown(talk: Talk) -> None:
    """A guest that has not said a word of ARP before its first packet."""
    talk.step("ping", ping(GATEWAY))
    talk.step("answer", arp_frame(GATEWAY, operation=arp.REPLY, target_mac=ROUTER, to=ROUTER))
    talk.step("ping-again", ping(GATEWAY, sequence=2))
    talk.step("other-address", ip(GATEWAY, ipv4.ICMP, ping(GATEWAY)[34:], source=bytes((10, 0, 2, 50))))


def ethernet_frames(talk: Talk) -> None:
    """Frames that are not for the network, or not whole."""
    hello(talk)
    good = ping(GATEWAY)
    talk.step("other-mac", b"\x52\x54\0\0\0\1" + good[6:])
    talk.step("broadcast-mac", b"\xff" * 6 + good[6:])
    talk.step("dns-mac", b"\x52\x55\x0a\0\2\3" + good[6:])
    talk.step("ethertype", good[:12] + b"\x88\xcc" + good[14:])
    talk.step("short", good[:20])
    talk.step("padded", good + bytes(10))
    talk.step("own-source", good[:6] + ROUTER + good[12:])


def echo(talk: Talk) -> None:
    """Echo requests."""
    hello(talk)
    talk.step("gateway", ping(GATEWAY))
    talk.step("dns", ping(DNS))
    talk.step("empty", ping(GATEWAY, b""))
    talk.step("large", ping(GATEWAY, bytes(range(256)) * 5 + bytes(192)))
    talk.step("ttl-1", ping(GATEWAY, ttl=1))
    talk.step("ttl-0", ping(GATEWAY, ttl=0))
    body = ping(GATEWAY)[34:]
    talk.step("tos", ip(GATEWAY, ipv4.ICMP, body, tos=0xB8))
    talk.step("df", ip(GATEWAY, ipv4.ICMP, body, fragment=ipv4.DF))
    talk.step("bad-checksum", ip(GATEWAY, ipv4.ICMP, body[:2] + b"\1\1" + body[4:]))
    talk.step("short", ip(GATEWAY, ipv4.ICMP, body[:4]))
    talk.step("pieces", *fragments(GATEWAY, ipv4.ICMP, icmp.build(8, 0, 1, bytes(3000)), 1480, ident=9))
    for kind, name in (
        (0, "echo-reply"),
        (13, "timestamp"),
        (17, "mask"),
        (15, "information"),
        (10, "solicitation"),
    ):
        talk.step(name, ip(GATEWAY, ipv4.ICMP, icmp.build(kind, 0, 1, bytes(12))))


def echo_nobody(talk: Talk) -> None:
    """Echo requests to unused and broadcast addresses."""
    hello(talk)
    for name, to in (
        ("nobody", NOBODY),
        ("own", GUEST),
        ("smb", SMB),
        ("broadcast", DIRECTED),
        ("limited", LIMITED),
    ):
        talk.step(name, ping(to), until=1, within=0.1)


def packets(talk: Talk) -> None:
    """IP itself."""
    hello(talk)
    good = ping(GATEWAY)
    talk.step("header-checksum", good[:24] + b"\0\1" + good[26:])
    talk.step("version", good[:14] + b"\x65" + good[15:])
    talk.step("header-length", good[:14] + b"\x44" + good[15:])
    talk.step("total-length", good[:16] + b"\xff\xff" + good[18:])
    talk.step("protocol", ip(GATEWAY, 47, bytes(20)))
    talk.step("source-zero", ip(GATEWAY, ipv4.ICMP, good[34:], source=ZERO), until=1, within=0.1)
    talk.step("source-foreign", ip(GATEWAY, ipv4.ICMP, good[34:], source=bytes((192, 168, 1, 9))))
    talk.step("source-gateway", ip(GATEWAY, ipv4.ICMP, good[34:], source=GATEWAY))
    talk.step("source-broadcast", ip(GATEWAY, ipv4.ICMP, good[34:], source=DIRECTED))
    talk.step("alive", ping(GATEWAY))


SCRIPTS = [
    Script("arp-who-has", who_has),
    Script("arp-probes", probes),
    Script("arp-unknown", unknown),
    Script("arp-frames", ethernet_frames),
    Script("icmp-echo", echo),
    Script("icmp-nobody", echo_nobody, isolated=True),
    Script("icmp-packets", packets, isolated=True),
]
