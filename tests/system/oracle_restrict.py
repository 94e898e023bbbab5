"""Scripts for both networks: ``restrict=on``."""

from __future__ import annotations

import socket

from tests.system.oracle import GATEWAY, GUEST, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_dhcp import DISCOVER, INFORM, REQUEST, server, wants
from tests.system.oracle_frames import SYN, TcpEnd, arp_frame, dhcp, hello, ping, udp_frame
from tests.system.oracle_hostfwd import inward
from tests.system.oracle_tcp import MSS_536, listening
from tests.system.oracle_udp import SHORT, closed_port, forwarded, heard, program

DNS = bytes((10, 0, 2, 3))
OUTSIDE = bytes((198, 51, 100, 1))  # RFC 5737: nobody, nowhere
ON = "restrict=on"


def leases(talk: Talk) -> None:
    """What DHCP tells."""
    talk.step("discover", dhcp(DISCOVER, (55, bytes((1, 3, 6))), xid=1))
    talk.step("request", dhcp(REQUEST, wants(GUEST), server(), xid=2))
    talk.step("inform", dhcp(INFORM, (55, bytes((1, 3, 6))), xid=3, ciaddr=GUEST, source=GUEST))


def inside(talk: Talk) -> None:
    """The virtual hosts."""
    hello(talk)
    talk.step("who-has-dns", arp_frame(DNS))
    talk.step("ping-gateway", ping(GATEWAY))
    talk.step("ping-dns", ping(DNS))


def loopback(talk: Talk) -> None:
    """The host's loopback, by the gateway's address."""
    with listening(talk) as (guest, _):
        guest.step("tcp", SYN, options=MSS_536, until="tcp RST")
    with program(talk) as sock:
        talk.step("udp", udp_frame(GATEWAY, 40000, sock.getsockname()[1], b"hello"), until=1, within=SHORT)
        heard(talk, sock)
        port = closed_port(talk, socket.SOCK_STREAM)
    TcpEnd(talk, 40001, port).step("tcp-closed", SYN, options=MSS_536, until="tcp RST")


def outside(talk: Talk) -> None:
    """Everything else."""
    hello(talk)
    TcpEnd(talk, 40000, 80, OUTSIDE).step("tcp", SYN, options=MSS_536, until="tcp RST")
    talk.step("udp", udp_frame(OUTSIDE, 40000, 7, b"hello"), until=1, within=SHORT)
    talk.step("ping", ping(OUTSIDE), until=1, within=SHORT)
    talk.step("dns", udp_frame(DNS, 40000, 53, bytes(12)), until=1, within=SHORT)
    TcpEnd(talk, 40000, 53, DNS).step("dns-tcp", SYN, options=MSS_536, until="tcp RST")


SCRIPTS = [
    Script("restrict-dhcp", leases, ON),
    Script("restrict-inside", inside, ON),
    Script("restrict-loopback", loopback, ON),
    Script("restrict-outside", outside, ON, isolated=True),
    Script("restrict-hostfwd-tcp", inward, ON),
    Script("restrict-hostfwd-udp", forwarded, ON),
]
