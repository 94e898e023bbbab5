"""Scripts for both networks: UDP."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from slirpy.wire import ipv4
from tests.support.frames6 import ip6
from tests.system.oracle import GATEWAY, PLAN4, Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_frames import answer, fragments, hello, ip, udp_frame, udp_packet

GROUPS = {
    4: {"multicast": bytes((224, 0, 0, 251))},
    16: {"multicast": ip6("ff02::fb"), "all-nodes": ip6("ff02::1"), "wide": ip6("ff0e::1")},
}
DIRECTED, LIMITED = bytes((10, 0, 2, 255)), b"\xff" * 4
PORT = 40000
"""The guest's."""
SHORT = 0.12
"""Seconds that are waited for something that may never come."""


@contextmanager
def program(talk: Talk, name: str = "server") -> Iterator[socket.socket]:
    """A UDP socket of the host, whose port is called so in the record."""
    with socket.socket(talk.plan.sockets, socket.SOCK_DGRAM) as sock:
        sock.bind((talk.plan.loopback, 0))
        sock.settimeout(2)
        talk.decoder.ports[sock.getsockname()[1]] = name
        yield sock


def closed_port(talk: Talk, kind: int = socket.SOCK_DGRAM) -> int:
    """A port of the host where nobody is.

    None that a system takes when it may choose, and not the other network's, which is tried at the same time.
    """
    while True:
        port = random.randrange(10000, 30000, 2) + (talk.net.name == "slirpy")
        with socket.socket(talk.plan.sockets, kind) as sock:
            try:
                sock.bind((talk.plan.loopback, port))
            except OSError:
                continue
        talk.decoder.ports[port] = "closed"
        return port


def heard(talk: Talk, sock: socket.socket, within: float = 0.03) -> tuple[str, int] | None:
    """Note a datagram that comes to a socket of the host; returns the sender."""
    sock.settimeout(within * talk.patience)
    try:
        data, sender = sock.recvfrom(65535)
    except TimeoutError:
        talk.note("host", datagram="none")
        return None
    talk.note("host", datagram=f"{len(data)} bytes {data[:16]!r}", source=sender[0])
    return str(sender[0]), int(sender[1])


def echo(talk: Talk) -> None:
    """To and from a server on the gateway's loopback, and to one that is not there."""
    hello(talk)
    gateway = talk.plan.gateway
    with program(talk) as sock:
        port = sock.getsockname()[1]
        for name, data in (("first", b"hello"), ("empty", b""), ("large", bytes(talk.plan.datagram))):
            talk.step(name, udp_frame(gateway, PORT, port, data))
            who = heard(talk, sock)
            if who is not None:
                sock.sendto(data, who)
                talk.listen(f"{name}-reply", until=1)
        talk.step("other-port", udp_frame(gateway, PORT + 1, port, b"second"))
        other = heard(talk, sock)
        talk.note("host", same_socket=who == other)
        with program(talk, "other") as second:
            assert who is not None
            second.sendto(b"from elsewhere", who)
            talk.listen("unasked", until=1)
    talk.step("closed", udp_frame(gateway, PORT + 2, closed_port(talk), b"anyone?"), until=1)


def pieces(talk: Talk) -> None:
    """Datagrams larger than the MTU."""
    hello(talk)
    gateway, piece = talk.plan.gateway, talk.plan.piece
    data = bytes(range(250)) * 16
    with program(talk) as sock:
        port = sock.getsockname()[1]
        packet = udp_packet(gateway, PORT, port, data)
        talk.step("in-order", *fragments(gateway, ipv4.UDP, packet, piece, ident=1))
        heard(talk, sock)
        talk.step("whole", udp_frame(gateway, PORT, port, b"whole"))
        who = heard(talk, sock)
        assert who is not None
        sock.sendto(data, who)
        talk.listen("reply", until=3)
        mixed = fragments(gateway, ipv4.UDP, packet, piece, ident=2)
        talk.step("middle-last", mixed[0], mixed[2], mixed[1])
        heard(talk, sock)
        twice = fragments(gateway, ipv4.UDP, packet, piece, ident=3)
        talk.step("repeated", twice[0], twice[0], twice[1], twice[2])
        heard(talk, sock)
        hole = fragments(gateway, ipv4.UDP, packet, piece, ident=4)
        talk.step("hole", hole[0], hole[2])
        heard(talk, sock)
        overlap = [
            ip(gateway, ipv4.UDP, packet[:piece], fragment=ipv4.MF, ident=5),
            ip(
                gateway, ipv4.UDP, packet[piece - 8 : 2 * piece - 8], fragment=ipv4.MF | piece // 8 - 1, ident=5
            ),
            ip(gateway, ipv4.UDP, packet[2 * piece - 8 :], fragment=piece // 4 - 1, ident=5),
        ]
        talk.step("overlap", *overlap)
        heard(talk, sock)


def odd(talk: Talk) -> None:
    """Checksums, lengths, ports, sources, life times."""
    hello(talk)
    plan, gateway = talk.plan, talk.plan.gateway
    with program(talk) as sock:
        port = sock.getsockname()[1]
        good = udp_packet(gateway, PORT, port, b"hello")
        cases = {
            "no-checksum": ip(gateway, ipv4.UDP, good[:6] + b"\0\0" + good[8:]),
            "bad-checksum": ip(gateway, ipv4.UDP, good[:6] + b"\1\1" + good[8:]),
            "short-length": ip(gateway, ipv4.UDP, good[:4] + b"\0\7\0\0" + good[8:]),
            "long-length": ip(gateway, ipv4.UDP, good[:4] + b"\0\x20\0\0" + good[8:]),
            "cut": ip(gateway, ipv4.UDP, good[:6]),
            "ttl-1": udp_frame(gateway, PORT, port, b"ttl 1", ttl=1),
            "source-foreign": udp_frame(gateway, PORT, port, b"foreign", source=plan.foreign),
            "source-other": udp_frame(gateway, PORT, port, b"other", source=plan.other),
            "source-zero": udp_frame(gateway, PORT, port, b"zero", source=bytes(len(gateway))),
            "source-gateway": udp_frame(gateway, PORT, port, b"gateway", source=gateway),
            "source-port-0": udp_frame(gateway, 0, port, b"port 0"),
        }
        for name, frame in cases.items():
            talk.step(name, frame, until=1, within=0.02)
            heard(talk, sock)
        talk.step("to-port-0", udp_frame(gateway, PORT, 0, b"port 0"), until=1, within=SHORT)


def everybody(talk: Talk) -> None:
    """The broadcast addresses."""
    hello(talk)
    with program(talk) as sock:
        port = sock.getsockname()[1]
        talk.step("limited", udp_frame(LIMITED, PORT, port, b"limited", to=b"\xff" * 6))
        who = heard(talk, sock)
        if who is not None:
            sock.sendto(b"answer", who)
        talk.listen("limited-reply", until=1, within=SHORT)


def nobody(talk: Talk) -> None:
    """Unused addresses of the network, and multicast groups."""
    hello(talk)
    plan = talk.plan
    addresses = {"nobody": plan.nobody, "own": plan.guest}
    if plan is PLAN4:
        addresses |= {"directed": DIRECTED, "net": bytes((10, 0, 2, 0))}
    for name, to in addresses.items():
        talk.step(name, udp_frame(to, PORT, 7, b"anyone?"), until=1, within=SHORT)
    for name, group in GROUPS[len(plan.guest)].items():
        talk.step(name, udp_frame(group, PORT, 5353, b"?"), until=1, within=SHORT)


def forwarded(talk: Talk) -> None:
    """A port of the host that leads to the guest."""
    hello(talk)
    port = closed_port(talk)
    talk.decoder.ports[port] = "forward"
    rule = f"udp:{PLAN4.loopback}:{port}"
    talk.net.forward(f"{rule}-:7")
    with program(talk, "client") as sock:
        sock.sendto(b"hello", (PLAN4.loopback, port))
        talk.listen("inward", until=1)
        client = sock.getsockname()[1]
        talk.step("outward", udp_frame(GATEWAY, 7, client, b"hello yourself"))
        who = heard(talk, sock)
        talk.note("host", from_forward=who == (PLAN4.loopback, port))
        with program(talk, "another") as other:
            other.sendto(b"me too", (PLAN4.loopback, port))
            talk.listen("another", until=1)
        talk.note_flows("HOST_FORWARD")
        talk.net.unforward(rule)
        talk.note_flows("HOST_FORWARD")
        sock.sendto(b"still there?", (PLAN4.loopback, port))
        talk.listen("removed", until=1, within=SHORT)


def forwarded_early(talk: Talk) -> None:
    """The guest has not said a word when something comes for it."""
    port = closed_port(talk)
    talk.net.forward(f"udp:{PLAN4.loopback}:{port}-:7")
    with program(talk, "client") as sock:
        sock.sendto(b"hello", (PLAN4.loopback, port))
        talk.listen("question", until=1)
        talk.step("answer", answer(talk), until=1)


SCRIPTS = [
    Script("udp-echo", echo),
    Script("udp-pieces", pieces),
    Script("udp-odd", odd),
    Script("udp-everybody", everybody),
    Script("udp-nobody", nobody, isolated=True),
    Script("udp-forward", forwarded),
    Script("udp-forward-early", forwarded_early),
]
SCRIPTS += over_ipv6(SCRIPTS, "udp-echo", "udp-pieces", "udp-odd", group="six")
SCRIPTS += over_ipv6(SCRIPTS, "udp-nobody", group="six-alone")
