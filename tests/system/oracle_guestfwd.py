"""Scripts for both networks: ``guestfwd`` to a command."""

from __future__ import annotations

from tests.system.oracle import Talk
from tests.system.oracle_compare import Script
from tests.system.oracle_frames import ACK, FIN, PSH, RST, SYN, TcpEnd, arp_frame, hello, ping, udp_frame
from tests.system.oracle_tcp import MSS_536, PORT, SHORT, until_bytes

SERVER = bytes((10, 0, 2, 100))


def echo(talk: Talk) -> None:
    """A command that says what it hears: twice at the same time, ended by the guest."""
    hello(talk)
    talk.step("who-has", arp_frame(SERVER))
    first, second = TcpEnd(talk, PORT, 7, SERVER), TcpEnd(talk, PORT + 1, 7, SERVER)
    first.open(MSS_536, "first-connect")
    second.open(MSS_536, "second-connect")
    first.took(talk.step("first-says", first.segment(ACK | PSH, b"one"), until=until_bytes(3), within=2))
    second.took(talk.step("second-says", second.segment(ACK | PSH, b"two"), until=until_bytes(3), within=2))
    first.step("first-ack", ACK)
    first.step("first-fin", FIN | ACK, until="tcp FIN")
    first.step("first-last-ack", ACK)
    second.step("second-reset", RST | ACK)


def talker(talk: Talk) -> None:
    """A command that speaks, and ends."""
    hello(talk)
    guest = TcpEnd(talk, PORT, 7, SERVER)
    guest.step("syn", SYN, options=MSS_536, until="tcp SYN")
    guest.step("ack", ACK, until="tcp FIN")
    guest.step("their-fin-ack", ACK)
    guest.step("fin", FIN | ACK, until="tcp")


def around(talk: Talk) -> None:
    """Other ports and protocols of the same address."""
    hello(talk)
    TcpEnd(talk, PORT, 8, SERVER).step("port", SYN, options=MSS_536, until="tcp RST")
    talk.step("udp", udp_frame(SERVER, PORT, 7, b"hello"), until=1, within=SHORT)
    talk.step("ping", ping(SERVER), until=1, within=SHORT)


CAT = "guestfwd=tcp:10.0.2.100:7-cmd:cat"
SCRIPTS = [
    Script("guestfwd-echo", echo, CAT),
    Script("guestfwd-restricted", echo, f"restrict=on,{CAT}"),
    Script("guestfwd-talker", talker, "guestfwd=tcp:10.0.2.100:7-cmd:echo hello"),
    Script("guestfwd-around", around, CAT, isolated=True),
]
