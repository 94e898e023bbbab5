"""Scripts for both networks: TCP outward."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.system.oracle import PLAN4, Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_decode import Seen
from tests.system.oracle_frames import ACK, FIN, PSH, RST, SYN, URG, TcpEnd, hello
from tests.system.oracle_text import text
from tests.system.oracle_udp import closed_port

PORT = 40000
MSS_536 = b"\x02\x04\x02\x18"
MODERN = b"\x02\x04\x05\xb4\x04\x02\x01\x03\x03\x07\x01\x01"
"""Segments of 1460 bytes, selective acknowledgements, windows scaled by 7."""
TIMESTAMPS = b"\x02\x04\x05\xb4\x01\x01\x08\x0a\0\0\0\1\0\0\0\0"
SHORT = 0.12
PATIENCE = 2.0


@contextmanager
def listening(talk: Talk) -> Iterator[tuple[TcpEnd, socket.socket]]:
    """A listening program of the host, and a guest's end that may connect to it."""
    hello(talk)
    with socket.socket(talk.plan.sockets) as sock:
        sock.bind((talk.plan.loopback, 0))
        sock.listen()
        sock.settimeout(PATIENCE)
        port = sock.getsockname()[1]
        talk.decoder.ports[port] = "server"
        yield TcpEnd(talk, PORT, port), sock


@contextmanager
def connected(
    talk: Talk,
    options: bytes = b"\x02\x04\x05\xb4",
    prepare: Callable[[socket.socket], object] = lambda _: None,
) -> Iterator[tuple[TcpEnd, socket.socket]]:
    """Open a connection; returns the guest's end and the program's."""
    with listening(talk) as (guest, listener):
        prepare(listener)
        guest.open(options)
        sock, address = listener.accept()
        talk.note("host", accepted_from=address[0])
        with sock:
            sock.settimeout(PATIENCE)
            yield guest, sock


def got(talk: Talk, sock: socket.socket, count: int = 1) -> None:
    """Note what the program reads: bytes, the end, or an error."""
    data = b""
    try:
        while len(data) < count:
            piece = sock.recv(65536)
            if not piece:
                talk.note("host", read=f"{len(data)} bytes {data[:16]!r}, then the end")
                return
            data += piece
    except TimeoutError:
        talk.note("host", read=f"{len(data)} bytes {data[:16]!r}, then silence")
    except OSError as error:
        talk.note("host", read=f"{len(data)} bytes, then {errno.errorcode[error.errno or 0]}")
    else:
        talk.note("host", read=f"{len(data)} bytes {data[:16]!r}")


def until_bytes(count: int) -> Callable[[list[Seen]], bool]:
    """Condition: this many bytes of text have arrived."""
    return lambda seen: sum(len(one.stream[2]) for one in seen if one.stream is not None) >= count


def until_acknowledged(number: bytes) -> Callable[[list[Seen]], bool]:
    """An acknowledgement of so much has come."""
    return lambda seen: any(one.segment[8:12] == number for one in seen)


def reset_on_close(sock: socket.socket) -> None:
    """Make its close send a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def exchange(talk: Talk) -> None:
    """Data both ways, then the guest ends its half, then the host."""
    with connected(talk) as (guest, sock):
        guest.step("up", ACK | PSH, b"hello, host", until="tcp")
        got(talk, sock, 11)
        sock.sendall(b"hello, guest")
        guest.took(talk.listen("down", until=until_bytes(12)))
        talk.note_flows("ESTABLISHED")
        guest.step("down-ack", ACK)
        guest.step("fin", FIN | ACK, until="tcp")
        got(talk, sock)
        sock.sendall(b"after your end")
        guest.took(talk.listen("half-closed", until=until_bytes(14)))
        guest.step("half-closed-ack", ACK)
        sock.close()
        guest.took(talk.listen("their-fin", until=1))
        guest.step("last-ack", ACK)
        guest.step("afterwards", ACK | PSH, b"anybody there?", until="tcp RST")


def host_ends(talk: Talk) -> None:
    """The host ends its half first; the guest goes on, then ends too."""
    with connected(talk) as (guest, sock):
        sock.shutdown(socket.SHUT_WR)
        guest.took(talk.listen("their-fin", until=1))
        guest.step("fin-ack", ACK)
        guest.step("still-up", ACK | PSH, b"not yet", until="tcp")
        got(talk, sock, 7)
        guest.step("fin", FIN | ACK, until="tcp")
        got(talk, sock)


def host_leaves(talk: Talk) -> None:
    """The host's program says something and exits; the guest says something to nobody."""
    with connected(talk) as (guest, sock):
        sock.sendall(b"bye")
        sock.close()
        guest.took(talk.listen("bye", until=lambda seen: any(one.kind == "tcp FIN" for one in seen)))
        guest.step("bye-ack", ACK)
        guest.step("to-nobody", ACK | PSH, b"wait", until="tcp RST")


def both_end(talk: Talk) -> None:
    """Both ends say FIN before they have heard the other's."""
    with connected(talk) as (guest, sock):
        sock.close()
        seen = talk.listen("their-fin", until=1)
        guest.step("my-fin", FIN | ACK, until="tcp")  # it does not acknowledge theirs
        guest.took(seen)
        guest.step("last-ack", ACK)


def guest_resets(talk: Talk) -> None:
    """A RST from the guest."""
    with connected(talk) as (guest, sock):
        guest.step("reset", RST | ACK)
        got(talk, sock)
        guest.step("afterwards", ACK | PSH, b"hm", until="tcp RST")


def host_resets(talk: Talk) -> None:
    """A RST from the host."""
    with connected(talk) as (guest, sock):
        reset_on_close(sock)
        sock.close()
        talk.listen("reset", until=1)
        guest.step("afterwards", ACK | PSH, b"hm", until="tcp RST")


def refused(talk: Talk) -> None:
    """A closed port."""
    hello(talk)
    guest = TcpEnd(talk, PORT, closed_port(talk, socket.SOCK_STREAM))
    guest.step("syn", SYN, options=b"\x02\x04\x05\xb4", until="tcp RST")


def options(talk: Talk) -> None:
    """Connect with the options of a modern guest."""
    with connected(talk, MODERN) as (guest, sock):
        TcpEnd(talk, PORT + 1, guest.far).step("timestamps", SYN, options=TIMESTAMPS, until="tcp SYN")
        sock.sendall(bytes(20000))  # last: who does not acknowledge is soon sent a probe
        guest.took(talk.listen("down", until=until_bytes(2880)))


def small_segments(talk: Talk) -> None:
    """A guest that takes segments of 536 bytes only."""
    with connected(talk, MSS_536) as (guest, sock):
        sock.sendall(bytes(range(250)) * 12)
        guest.took(talk.listen("down", until=until_bytes(3000)))
        guest.step("down-ack", ACK)


def no_options(talk: Talk) -> None:
    """A guest that says nothing of its segments' size gets what its link carries."""
    with connected(talk, b"") as (guest, sock):
        sock.sendall(bytes(range(250)) * 12)
        guest.took(talk.listen("down", until=until_bytes(3000)))
        guest.step("down-ack", ACK)


def strangers(talk: Talk) -> None:
    """Segments that belong to no connection."""
    hello(talk)
    for name, flags, data in (
        ("ack", ACK, b""),
        ("data", ACK | PSH, b"hello"),
        ("fin", FIN | ACK, b""),
        ("fin-alone", FIN, b""),
        ("syn-ack", SYN | ACK, b""),
        ("rst", RST, b""),
        ("rst-ack", RST | ACK, b""),
        ("nothing", 0, b""),
    ):
        guest = TcpEnd(talk, PORT, 9)
        guest.ack = 0x02000000
        guest.step(name, flags, data)


def disorder(talk: Talk) -> None:
    """Segments that come late, twice, overlapping or out of place."""
    with connected(talk) as (guest, sock):
        start = guest.seq
        talk.step("late", guest.segment(ACK | PSH, b"5678", seq=start + 4), until=1, within=SHORT)
        guest.step("gap-filled", ACK | PSH, b"1234", until="tcp")
        guest.seq = start + 8
        got(talk, sock, 8)
        talk.step("twice", guest.segment(ACK | PSH, b"12345678", seq=start), until=1, within=SHORT)
        talk.step("overlap", guest.segment(ACK | PSH, b"56789abc", seq=start + 4), until=1)
        guest.seq = start + 12
        got(talk, sock, 4)
        talk.step("keep-alive", guest.segment(ACK, seq=guest.seq - 1), until=1, within=SHORT)
        talk.step("far-ahead", guest.segment(ACK | PSH, b"x", seq=guest.seq + (1 << 24)), until=1, within=SHORT)
        bad = bytearray(guest.segment(ACK | PSH, b"bad", seq=guest.seq))
        bad[50] ^= 1
        talk.step("bad-checksum", bytes(bad), until=1, within=SHORT)
        guest.ack += 1 << 20
        talk.step("future-ack", guest.segment(ACK), until=1, within=SHORT)
        guest.ack -= 1 << 20
        talk.step("reset-elsewhere", guest.segment(RST, seq=guest.seq + 100), until=1, within=SHORT)
        talk.step("reset-beyond", guest.segment(RST, seq=guest.seq + (1 << 24)), until=1, within=SHORT)
        guest.step("alive", ACK | PSH, b"alive", until="tcp")
        got(talk, sock, 5)


def syn_again(talk: Talk) -> None:
    """A SYN twice, a SYN in an established connection, and data with the SYN."""
    with listening(talk) as (guest, listener):
        guest.took(talk.step("syn", guest.segment(SYN, options=MSS_536, seq=guest.seq), until=1))
        guest.took(talk.step("syn-again", guest.segment(SYN, options=MSS_536), until=1))
        guest.step("ack", ACK)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(SHORT * talk.patience)
            talk.step("syn-within", guest.segment(SYN, seq=guest.seq + 50), until=1)
            got(talk, sock)


def syn_data(talk: Talk) -> None:
    """Data that comes with the SYN is not lost."""
    with listening(talk) as (guest, listener):
        guest.step("syn-data", SYN, b"early", options=MSS_536, until="tcp SYN")
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(SHORT * talk.patience)
            guest.step("ack", ACK)
            got(talk, sock, 5)
            talk.step("again", guest.segment(ACK | PSH, b"early", seq=guest.seq - 5), until=1)
            got(talk, sock, 5)


def windows(talk: Talk) -> None:
    """A guest that shuts its window, and opens it."""
    with connected(talk) as (guest, sock):
        guest.window = 0
        guest.step("shut", ACK)
        sock.sendall(bytes(3000))
        talk.listen("probe", until=until_bytes(1), within=2.0)
        guest.window = 65535
        seen = talk.step("open", guest.segment(ACK), until=until_bytes(1440), within=SHORT)
        guest.took(seen)
        guest.step("rest", ACK, until="tcp")


def urgent(talk: Talk) -> None:
    """Urgent data, both ways."""
    with connected(talk) as (guest, sock):
        sock.settimeout(SHORT * talk.patience)
        guest.step("up", ACK | PSH | URG, b"ab!", urgent=3, until="tcp")
        got(talk, sock, 2)
        sock.setblocking(False)  # or it would wait for what is not urgent
        try:
            talk.note("host", urgent=sock.recv(1, socket.MSG_OOB))
        except OSError as error:
            talk.note("host", urgent=os.strerror(error.errno or 0))
        sock.send(b"cd!", socket.MSG_OOB)
        guest.took(talk.listen("down", until=until_bytes(3)))


def much(talk: Talk) -> None:
    """More than fits a window, both ways."""
    data = bytes(range(250)) * 800
    with connected(talk) as (guest, sock):
        sock.sendall(data)
        pieces: dict[int, bytes] = {}
        start = guest.ack
        while sum(map(len, pieces.values())) < len(data):
            frames = guest.took(talk.exchange(guest.segment(ACK), until=until_bytes(1)))
            assert frames, f"{talk.net.name} sends no more"
            pieces |= {one.stream[1]: one.stream[2] for one in frames if one.stream is not None}
        whole = b"".join(piece for _, piece in sorted(pieces.items()))
        talk.step("all", guest.segment(ACK))
        talk.note("guest", received=text(whole), length=(guest.ack - start) % 2**32)
        size = talk.plan.segment
        count = 25 * size
        for _ in range(4):
            segments = [guest.segment(ACK | PSH, data[at : at + size]) for at in range(0, count, size)]
            end = guest.seq.to_bytes(4, "big")
            assert talk.exchange(*segments, until=until_acknowledged(end))
            came = b""
            while len(came) < count:
                came += sock.recv(65536)
            talk.note("host", received=text(came))


def nobody(talk: Talk) -> None:
    """Unused addresses."""
    hello(talk)
    plan = talk.plan
    addresses = {"nobody": plan.nobody, "own": plan.guest}
    if plan is PLAN4:
        addresses["broadcast"] = bytes((10, 0, 2, 255))
    for number, (name, to) in enumerate(addresses.items()):
        guest = TcpEnd(talk, PORT + number, 7, to)
        talk.step(name, guest.segment(SYN, options=MSS_536), until=1, within=SHORT)


SCRIPTS = [
    Script("tcp-exchange", exchange),
    Script("tcp-host-ends", host_ends),
    Script("tcp-host-leaves", host_leaves),
    Script("tcp-both-end", both_end),
    Script("tcp-guest-resets", guest_resets),
    Script("tcp-host-resets", host_resets),
    Script("tcp-refused", refused),
    Script("tcp-options", options),
    Script("tcp-small", small_segments),
    Script("tcp-no-options", no_options),
    Script("tcp-strangers", strangers),
    Script("tcp-disorder", disorder),
    Script("tcp-syn-again", syn_again),
    Script("tcp-syn-data", syn_data),
    Script("tcp-windows", windows),
    Script("tcp-urgent", urgent),
    Script("tcp-much", much),
    Script("tcp-nobody", nobody, isolated=True),
]
SCRIPTS += over_ipv6(
    SCRIPTS,
    "tcp-exchange",
    "tcp-host-ends",
    "tcp-host-leaves",
    "tcp-both-end",
    "tcp-guest-resets",
    "tcp-host-resets",
    "tcp-refused",
    "tcp-options",
    "tcp-small",
    "tcp-no-options",
    "tcp-strangers",
    "tcp-syn-data",
    "tcp-windows",
    "tcp-urgent",
    "tcp-much",
    group="six",
)
SCRIPTS += over_ipv6(SCRIPTS, "tcp-nobody", group="six-alone")
