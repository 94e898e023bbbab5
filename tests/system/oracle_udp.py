"""Scripts for both networks: UDP."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from slirpy.wire import arp, ipv4
from tests.system.oracle import GATEWAY, GUEST, Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import ROUTER, arp_frame, fragments, hello, ip, udp_frame, udp_packet

LOOPBACK = "127.0.0.1"
DNS = bytes((10, 0, 2, 3))
NOBODY = bytes((10, 0, 2, 99))
DIRECTED, LIMITED = bytes((10, 0, 2, 255)), b"\xff" * 4
PORT = 40000
"""The guest's."""
SHORT = 0.12
"""Seconds that are waited for something that may never come."""


@contextmanager
def program(talk: Talk, name: str = "server") -> Iterator[socket.socket]:
    """A UDP socket of the host, whose port is called so in the record."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.settimeout(2)
        talk.decoder.ports[sock.getsockname()[1]] = name
        yield sock


def closed_port(talk: Talk, kind: int = socket.SOCK_DGRAM) -> int:
    """A port of the host where nobody is.

    None that a system takes when it may choose, and not the other network's, which is tried at the same time.
    """
    while True:
        port = random.randrange(10000, 30000, 2) + (talk.net.name == "slirpy")
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind((LOOPBACK, port))
            except OSError:
                continue
        talk.decoder.ports[port] = "closed"
        return port


def heard(talk: Talk, sock: socket.socket, within: float = 0.03) -> tuple[str, int] | None:
    """What comes to a socket of the host, noted; who sent it."""
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
    with program(talk) as sock:
        port = sock.getsockname()[1]
        for name, data in (("first", b"hello"), ("empty", b""), ("large", bytes(1472))):
            talk.step(name, udp_frame(GATEWAY, PORT, port, data))
            who = heard(talk, sock)
            if who is not None:
                sock.sendto(data, who)
                talk.listen(f"{name}-reply", until=1)
        talk.step("other-port", udp_frame(GATEWAY, PORT + 1, port, b"second"))
        other = heard(talk, sock)
        talk.note("host", same_socket=who == other)
        with program(talk, "other") as second:
            assert who is not None
            second.sendto(b"from elsewhere", who)
            talk.listen("unasked", until=1)
    talk.step("closed", udp_frame(GATEWAY, PORT + 2, closed_port(talk), b"anyone?"), until=1)


def pieces(talk: Talk) -> None:
    """Datagrams larger than the MTU."""
    hello(talk)
    data = bytes(range(250)) * 16
    with program(talk) as sock:
        port = sock.getsockname()[1]
        packet = udp_packet(GATEWAY, PORT, port, data)
        talk.step("in-order", *fragments(GATEWAY, ipv4.UDP, packet, 1480, ident=1))
        who = heard(talk, sock)
        assert who is not None
        sock.sendto(data, who)
        talk.listen("reply", until=3)
        mixed = fragments(GATEWAY, ipv4.UDP, packet, 1480, ident=2)
        talk.step("middle-last", mixed[0], mixed[2], mixed[1])
        heard(talk, sock)
        twice = fragments(GATEWAY, ipv4.UDP, packet, 1480, ident=3)
        talk.step("repeated", twice[0], twice[0], twice[1], twice[2])
        heard(talk, sock)
        hole = fragments(GATEWAY, ipv4.UDP, packet, 1480, ident=4)
        talk.step("hole", hole[0], hole[2])
        heard(talk, sock)
        overlap = [
            ip(GATEWAY, ipv4.UDP, packet[:1480], fragment=ipv4.MF, ident=5),
            ip(GATEWAY, ipv4.UDP, packet[1472:2952], fragment=ipv4.MF | 1472 // 8, ident=5),
            ip(GATEWAY, ipv4.UDP, packet[2952:], fragment=2952 // 8, ident=5),
        ]
        talk.step("overlap", *overlap)
        heard(talk, sock)


def odd(talk: Talk) -> None:
    """Checksums, lengths, ports, sources, life times."""
    hello(talk)
    with program(talk) as sock:
        port = sock.getsockname()[1]
        good = udp_packet(GATEWAY, PORT, port, b"hello")
        cases = {
            "no-checksum": ip(GATEWAY, ipv4.UDP, good[:6] + b"\0\0" + good[8:]),
            "bad-checksum": ip(GATEWAY, ipv4.UDP, good[:6] + b"\1\1" + good[8:]),
            "short-length": ip(GATEWAY, ipv4.UDP, good[:4] + b"\0\7\0\0" + good[8:]),
            "long-length": ip(GATEWAY, ipv4.UDP, good[:4] + b"\0\x20\0\0" + good[8:]),
            "cut": ip(GATEWAY, ipv4.UDP, good[:6]),
            "ttl-1": udp_frame(GATEWAY, PORT, port, b"ttl 1", ttl=1),
            "source-foreign": udp_frame(GATEWAY, PORT, port, b"foreign", source=bytes((192, 168, 1, 9))),
            "source-other": udp_frame(GATEWAY, PORT, port, b"other", source=bytes((10, 0, 2, 50))),
            "source-zero": udp_frame(GATEWAY, PORT, port, b"zero", source=bytes(4)),
            "source-gateway": udp_frame(GATEWAY, PORT, port, b"gateway", source=GATEWAY),
            "source-port-0": udp_frame(GATEWAY, 0, port, b"port 0"),
        }
        for name, frame in cases.items():
            talk.step(name, frame, until=1, within=0.02)
            heard(talk, sock)
        talk.step("to-port-0", udp_frame(GATEWAY, PORT, 0, b"port 0"), until=1, within=SHORT)


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
    """Addresses of the network that nobody has."""
    hello(talk)
    for name, to in (("nobody", NOBODY), ("own", GUEST), ("directed", DIRECTED), ("net", bytes((10, 0, 2, 0)))):
        talk.step(name, udp_frame(to, PORT, 7, b"anyone?"), until=1, within=SHORT)
    talk.step("multicast", udp_frame(bytes((224, 0, 0, 251)), PORT, 5353, b"?"), until=1, within=SHORT)


def forwarded(talk: Talk) -> None:
    """A port of the host that leads to the guest."""
    hello(talk)
    port = closed_port(talk)
    talk.decoder.ports[port] = "forward"
    rule = f"udp:{LOOPBACK}:{port}"
    talk.net.forward(f"{rule}-:7")
    with program(talk, "client") as sock:
        sock.sendto(b"hello", (LOOPBACK, port))
        talk.listen("inward", until=1)
        client = sock.getsockname()[1]
        talk.step("outward", udp_frame(GATEWAY, 7, client, b"hello yourself"))
        who = heard(talk, sock)
        talk.note("host", from_forward=who == (LOOPBACK, port))
        with program(talk, "another") as other:
            other.sendto(b"me too", (LOOPBACK, port))
            talk.listen("another", until=1)
        talk.note_flows("HOST_FORWARD")
        talk.net.unforward(rule)
        talk.note_flows("HOST_FORWARD")
        sock.sendto(b"still there?", (LOOPBACK, port))
        talk.listen("removed", until=1, within=SHORT)


def forwarded_early(talk: Talk) -> None:
    """The guest has not said a word when something comes for it."""
    port = closed_port(talk)
    talk.net.forward(f"udp:{LOOPBACK}:{port}-:7")
    with program(talk, "client") as sock:
        sock.sendto(b"hello", (LOOPBACK, port))
        talk.listen("question", until=1)
        answer = arp_frame(GATEWAY, operation=arp.REPLY, target_mac=ROUTER, to=ROUTER)
        talk.step("answer", answer, until=1)


SCRIPTS = [
    Script("udp-echo", echo),
    Script("udp-pieces", pieces),
    Script("udp-odd", odd),
    Script("udp-everybody", everybody),
    Script("udp-nobody", nobody, isolated=True),
    Script("udp-forward", forwarded),
    Script("udp-forward-early", forwarded_early),
]
