"""Scripts for both networks: DHCPv6."""

from __future__ import annotations

import struct

from tests.support.frames6 import DNS6, GATEWAY6, LINK_LOCAL, ROUTER, UDP, datagram, ip6, neighbor_solicitation
from tests.system.oracle import MAC, PLAN6, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import hello, ip

SOLICIT, REQUEST, CONFIRM, RENEW, RELEASE, DECLINE, INFORMATION = 1, 3, 4, 5, 8, 9, 11
CLIENT_ID, SERVER_ID, IA_NA, WANTED, ELAPSED, RAPID = 1, 2, 3, 6, 8, 14
DNS, SEARCH, URL, ARCHITECTURE = 23, 24, 59, 61
SERVERS = ip6("ff02::1:2")
DUID = (CLIENT_ID, b"\0\3\0\1" + MAC)
IA = (IA_NA, struct.pack("!III", 1, 0, 0))


def wants(*codes: int) -> tuple[int, bytes]:
    """The option that lists the options which a client wants."""
    return WANTED, struct.pack(f"!{len(codes)}H", *codes)


def message(
    kind: int,
    *options: tuple[int, bytes],
    xid: int,
    to: bytes = SERVERS,
    source: bytes = LINK_LOCAL,
    sport: int = 546,
) -> bytes:
    """A message of a client."""
    body = (kind << 24 | xid).to_bytes(4, "big")
    body += b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)
    mac = b"33" + to[12:] if to == SERVERS else None
    return ip(
        to, UDP, datagram(body, sport=sport, dport=547, source=source, destination=to), source=source, to=mac
    )


def information(*more: tuple[int, bytes], xid: int, wanted: tuple[int, ...] = (DNS, SEARCH, URL)) -> bytes:
    """A request for parameters of a guest that has its address otherwise."""
    return message(INFORMATION, DUID, wants(*wanted), *more, xid=xid)


def known(talk: Talk) -> None:
    """The guest makes both of its addresses known."""
    talk.step("link-local", neighbor_solicitation(GATEWAY6))
    hello(talk)


def informations(talk: Talk) -> None:
    """Parameters for a guest that has its address otherwise."""
    known(talk)
    every = wants(DNS, SEARCH, URL)
    talk.step("all", information((ELAPSED, b"\0\0"), xid=1))
    talk.step("dns", information(xid=2, wanted=(DNS,)))
    talk.step("unknown", information(xid=4, wanted=(999,)))
    talk.step("wants-nothing-said", message(INFORMATION, DUID, xid=5))
    talk.step("anonymous", message(INFORMATION, every, xid=6))
    talk.step("another-server", information((SERVER_ID, b"\0\3\0\1" + bytes(6)), xid=7))
    talk.step("to-router", message(INFORMATION, DUID, every, xid=8, to=ROUTER))
    talk.step("to-gateway", message(INFORMATION, DUID, every, xid=9, to=GATEWAY6))
    talk.step("to-dns", message(INFORMATION, DUID, every, xid=10, to=DNS6))
    talk.step("global", message(INFORMATION, DUID, every, xid=11, source=PLAN6.guest))
    talk.step("other-port", message(INFORMATION, DUID, every, xid=12, sport=1546))
    talk.step("cut", message(INFORMATION, DUID, xid=14)[:-6])
    good = information(xid=15)
    talk.step("checksum", good[:60] + bytes((good[60] ^ 1,)) + good[61:])
    talk.step("odd-wanted", message(INFORMATION, DUID, (WANTED, b"\0\27\0"), xid=17))


def addresses(talk: Talk) -> None:
    """A guest that wants an address."""
    known(talk)
    talk.step("solicit", message(SOLICIT, DUID, IA, wants(DNS), xid=1))
    talk.step("rapid", message(SOLICIT, DUID, IA, (RAPID, b""), xid=2))
    talk.step("confirm", message(CONFIRM, DUID, (IA_NA, IA[1] + held(ip6("fec0::15"))), xid=3))
    for kind, name in ((REQUEST, "request"), (RENEW, "renew"), (RELEASE, "release"), (DECLINE, "decline")):
        talk.step(
            f"{name}-of-another-server", message(kind, DUID, (SERVER_ID, b"\0\3\0\1xxxxxx"), IA, xid=kind + 10)
        )


def held(address: bytes) -> bytes:
    """The option of an address in an association."""
    return struct.pack("!HH16sII", 5, 24, address, 0, 0)


def boot(talk: Talk) -> None:
    """A boot file."""
    known(talk)
    talk.step("all", information(xid=1))
    talk.step("architecture", information((ARCHITECTURE, b"\0\7"), xid=2, wanted=(URL,)))
    talk.step("dns", information(xid=3, wanted=(DNS,)))


SCRIPTS = [
    Script("dhcp6-information", informations, plan=PLAN6, isolated=True, group="six-alone"),
    Script("dhcp6-addresses", addresses, plan=PLAN6, isolated=True, group="six-alone"),
    Script("dhcp6-boot", boot, "bootfile=efi/snponly.efi,dnssearch=example.org,tftp={folder}", plan=PLAN6),
    Script("dhcp6-boot-http", boot, "bootfile=http://boot.example/x,tftp-server-name=boot.example", plan=PLAN6),
]
