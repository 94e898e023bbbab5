"""Scripts for both networks: ``restrict=on``."""

from __future__ import annotations

import socket

from tests.support.frames6 import neighbor_solicitation, router_solicitation
from tests.system.oracle import GUEST, PLAN6, Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_dhcp import DISCOVER, INFORM, REQUEST, server, wants
from tests.system.oracle_dhcp6 import information
from tests.system.oracle_frames import SYN, TcpEnd, dhcp, hello, ping, question, udp_frame
from tests.system.oracle_hostfwd import inward
from tests.system.oracle_tcp import MSS_536, listening
from tests.system.oracle_udp import SHORT, closed_port, forwarded, heard, program

ON = "restrict=on"


def leases(talk: Talk) -> None:
    """Ask by DHCP."""
    talk.step("discover", dhcp(DISCOVER, (55, bytes((1, 3, 6))), xid=1))
    talk.step("request", dhcp(REQUEST, wants(GUEST), server(), xid=2))
    talk.step("inform", dhcp(INFORM, (55, bytes((1, 3, 6))), xid=3, ciaddr=GUEST, source=GUEST))


def parameters(talk: Talk) -> None:
    """Ask for router advertisements, and by DHCPv6."""
    talk.step("hello", neighbor_solicitation(PLAN6.gateway))
    talk.step("advertisement", router_solicitation())
    talk.step("dhcp", information(xid=1))


def inside(talk: Talk) -> None:
    """The virtual hosts."""
    hello(talk)
    plan = talk.plan
    talk.step("who-has-dns", question(talk, plan.dns))
    talk.step("ping-gateway", ping(plan.gateway))
    talk.step("ping-dns", ping(plan.dns))


def loopback(talk: Talk) -> None:
    """The host's loopback, by the gateway's address."""
    gateway = talk.plan.gateway
    with listening(talk) as (guest, _):
        guest.step("tcp", SYN, options=MSS_536, until="tcp RST")
    with program(talk) as sock:
        talk.step("udp", udp_frame(gateway, 40000, sock.getsockname()[1], b"hello"), until=1, within=SHORT)
        heard(talk, sock)
        port = closed_port(talk, socket.SOCK_STREAM)
    TcpEnd(talk, 40001, port).step("tcp-closed", SYN, options=MSS_536, until="tcp RST")


def outside(talk: Talk) -> None:
    """Everything else."""
    hello(talk)
    far, dns = talk.plan.outside, talk.plan.dns
    TcpEnd(talk, 40000, 80, far).step("tcp", SYN, options=MSS_536, until="tcp RST")
    talk.step("udp", udp_frame(far, 40000, 7, b"hello"), until=1, within=SHORT)
    talk.step("ping", ping(far), until=1, within=SHORT)
    talk.step("dns", udp_frame(dns, 40000, 53, bytes(12)), until=1, within=SHORT)
    TcpEnd(talk, 40000, 53, dns).step("dns-tcp", SYN, options=MSS_536, until="tcp RST")


SCRIPTS = [
    Script("restrict-dhcp", leases, ON),
    Script("restrict-inside", inside, ON),
    Script("restrict-loopback", loopback, ON),
    Script("restrict-outside", outside, ON, isolated=True),
    Script("restrict-hostfwd-tcp", inward, ON),
    Script("restrict-hostfwd-udp", forwarded, ON),
    Script("restrict6-parameters", parameters, ON, plan=PLAN6, isolated=True, group="restrict6"),
]
SCRIPTS += over_ipv6(SCRIPTS, "restrict-inside", "restrict-loopback")
SCRIPTS += over_ipv6(SCRIPTS, "restrict-outside", group="restrict6")
