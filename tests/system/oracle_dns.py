"""Scripts for both networks: the DNS server, before a name server that answers."""

from __future__ import annotations

from dnslib import DNSRecord

from tests.system.oracle import PLAN4, Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_frames import ACK, FIN, PSH, TcpEnd, hello, udp_frame
from tests.system.oracle_tcp import until_bytes
from tests.system.resolver import LONG, NAME, SIX

PORT = 41000
"""The guest's."""
QUESTIONS = {
    "address": (NAME, "A"),
    "address6": (SIX, "AAAA"),
    "no-data": (NAME, "AAAA"),
    "no-name": ("nowhere.test", "AAAA"),
    "truncated": (LONG, "TXT"),
}


def question(name: str, kind: str, number: int) -> bytes:
    """A query of a guest's resolver."""
    query = DNSRecord.question(name, kind)
    query.header.id = number
    return bytes(query.pack())


def answers(talk: Talk) -> None:
    """Questions over UDP; the same one twice; two from one port."""
    hello(talk)
    dns = talk.plan.dns
    for number, (name, (qname, kind)) in enumerate(QUESTIONS.items()):
        query = question(qname, kind, 0x1000 + number)
        talk.step(name, udp_frame(dns, PORT + number, 53, query), until=1)
    again = question(*QUESTIONS["address6"], 0x2000)
    talk.step("again", udp_frame(dns, PORT, 53, again), until=1)
    talk.step("same-port", udp_frame(dns, PORT, 53, question(*QUESTIONS["address"], 0x2001)), until=1)


def answers_by_tcp(talk: Talk) -> None:
    """A question in a connection, which the guest closes then."""
    hello(talk)
    guest = TcpEnd(talk, PORT, 53, talk.plan.dns)
    guest.open()
    query = question(*QUESTIONS["address" if talk.plan is PLAN4 else "address6"], 0x3000)
    segment = guest.segment(ACK | PSH, len(query).to_bytes(2, "big") + query)
    guest.took(talk.step("query", segment, until=until_bytes(1)))
    guest.step("ack", ACK)
    guest.step("fin", FIN | ACK, until="tcp FIN")


SCRIPTS = [
    Script("dns-answers", answers, isolated=True, resolver=True, group="dns"),
    Script("dns-tcp", answers_by_tcp, isolated=True, resolver=True, group="dns-tcp"),
]
SCRIPTS += over_ipv6(SCRIPTS, "dns-answers", group="dns")
SCRIPTS += over_ipv6(SCRIPTS, "dns-tcp", group="dns-tcp")
