"""Scripts for both networks: ports of the host that lead to the guest, over TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address

from slirpy.errors import ForwardError
from tests.system.oracle import PLAN6, Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_frames import ACK, FIN, PSH, RST, SYN, TcpEnd, answer, hello
from tests.system.oracle_tcp import MSS_536, PATIENCE, SHORT, got, reset_on_close, until_bytes
from tests.system.oracle_udp import closed_port

GUEST_PORT = 22
ATTEMPTS = 5


@contextmanager
def forward(talk: Talk) -> Iterator[tuple[str, socket.socket, TcpEnd]]:
    """A forward to the guest: its rule, a client of the host that connects to it, and the guest's end of that."""
    port, rule = _forwarded(talk)
    with socket.socket(talk.plan.sockets) as sock:
        sock.bind((talk.plan.loopback, 0))
        client = sock.getsockname()[1]
        talk.decoder.ports[port], talk.decoder.ports[client] = "forward", "client"
        sock.settimeout(PATIENCE)
        sock.connect((talk.plan.loopback, port))
        yield rule, sock, TcpEnd(talk, GUEST_PORT, client)


def _forwarded(talk: Talk) -> tuple[int, str]:
    """Add a forward at a free port of the host. A port may be taken by others right after it was found free."""
    for attempt in range(1, ATTEMPTS + 1):
        port = closed_port(talk, socket.SOCK_STREAM)
        loopback, guest = talk.plan.loopback, ""
        if talk.plan is PLAN6:
            loopback, guest = f"[{loopback}]", f"[{IPv6Address(talk.plan.guest)}]"
        rule = f"tcp:{loopback}:{port}"
        try:
            talk.net.forward(f"{rule}-{guest}:{GUEST_PORT}")
        except (ForwardError, AssertionError):
            del talk.decoder.ports[port]
            if attempt == ATTEMPTS:
                raise
        else:
            break
    return port, rule


def inward(talk: Talk) -> None:
    """A connection from the host, data both ways, the guest ends first."""
    hello(talk)
    with forward(talk) as (rule, sock, guest):
        guest.took(talk.listen("syn", until=1))
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp")
        sock.sendall(bytes(range(250)) * 8)
        guest.took(talk.listen("down", until=until_bytes(1900)))
        guest.step("down-ack", ACK)
        guest.step("up", ACK | PSH, b"hello, host", until="tcp")
        got(talk, sock, 11)
        talk.note_flows("HOST_FORWARD")
        talk.net.unforward(rule)
        talk.note_flows("HOST_FORWARD")
        port = int(rule.rpartition(":")[2])
        with socket.socket(talk.plan.sockets) as late:
            error = late.connect_ex((talk.plan.loopback, port))
            talk.note("host", after_removal=errno.errorcode.get(error, "connected"))
        guest.step("up-after-removal", ACK | PSH, b"still here", until="tcp")
        got(talk, sock, 10)
        guest.step("fin", FIN | ACK, until="tcp")
        got(talk, sock)
        sock.close()
        guest.took(talk.listen("their-fin", until=1))
        guest.step("last-ack", ACK)


def refused(talk: Talk) -> None:
    """The guest has no such server."""
    hello(talk)
    with forward(talk) as (_, sock, guest):
        guest.took(talk.listen("syn", until=1))
        guest.step("reset", RST | ACK)
        got(talk, sock)


def client_leaves(talk: Talk) -> None:
    """The client goes before the guest has answered."""
    hello(talk)
    with forward(talk) as (_, sock, guest):
        guest.took(talk.listen("syn", until=1))
        sock.close()
        talk.listen("gone", until=1, within=SHORT)
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp FIN")
        guest.step("ack", FIN | ACK)


def early(talk: Talk) -> None:
    """The guest has not said a word yet."""
    with forward(talk) as (_, sock, guest):
        talk.listen("question", until=1)
        guest.took(talk.step("answer", answer(talk), until=1))
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp")
        guest.step("up", ACK | PSH, b"hello, host", until="tcp")
        got(talk, sock, 11)


def client_resets(talk: Talk) -> None:
    """A RST from the client of an established connection."""
    hello(talk)
    with forward(talk) as (_, sock, guest):
        guest.took(talk.listen("syn", until=1))
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp")
        reset_on_close(sock)
        sock.close()
        talk.listen("reset", until=1)
        guest.step("afterwards", ACK | PSH, b"hm", until="tcp RST")


def guest_resets(talk: Talk) -> None:
    """A RST from the guest in an established connection."""
    hello(talk)
    with forward(talk) as (_, sock, guest):
        guest.took(talk.listen("syn", until=1))
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp")
        guest.step("reset", RST | ACK)
        got(talk, sock)


def urgent(talk: Talk) -> None:
    """An urgent byte from the client."""
    hello(talk)
    with forward(talk) as (_, sock, guest):
        guest.took(talk.listen("syn", until=1))
        guest.step("syn-ack", SYN | ACK, options=MSS_536, until="tcp")
        sock.send(b"ab!", socket.MSG_OOB)
        guest.took(talk.listen("down", until=until_bytes(3)))


SCRIPTS = [
    Script("hostfwd-inward", inward),
    Script("hostfwd-refused", refused),
    Script("hostfwd-client-leaves", client_leaves),
    Script("hostfwd-early", early),
    Script("hostfwd-client-resets", client_resets),
    Script("hostfwd-guest-resets", guest_resets),
    Script("hostfwd-urgent", urgent),
]
_LATER = [script.name for script in SCRIPTS if script.play is not early]
SCRIPTS += over_ipv6(SCRIPTS, *_LATER, group="hostfwd6", alone=True) + over_ipv6(
    SCRIPTS, "hostfwd-early", alone=True
)
