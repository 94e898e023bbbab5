"""Scripts for both networks: TFTP."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.system.oracle import Talk
from tests.system.oracle_compare import Script, over_ipv6
from tests.system.oracle_decode import TFTP_CLIENTS, Seen
from tests.system.oracle_frames import hello, udp_frame

SERVER = 69
RRQ, WRQ, DATA, ACK, ERROR = 1, 2, 3, 4, 5
NONE: Mapping[str, str] = MappingProxyType({})
FILES = {
    "short": b"hello",
    "empty": b"",
    "even": bytes(range(256)) * 4,
    "long": bytes(range(250)) * 20,
    "grün": b"green",
    "lines": b"one\ntwo\rthree\r\n",
    "folder/inside": b"inside",
    "out": b"->/etc/hostname",
    "up": b"->../",
}


class Client:
    """A client with its own port. It sends on request, to the address of the last answer."""

    def __init__(self, talk: Talk, number: int) -> None:
        self._talk = talk
        self.port = TFTP_CLIENTS[number]
        self.server = SERVER

    def send(
        self, name: str, opcode: int, rest: bytes, *, to: int | None = None, wait: float = 0.0
    ) -> list[Seen]:
        """One packet; what is waited for may come later than at once."""
        payload = opcode.to_bytes(2, "big") + rest
        frame = udp_frame(self._talk.plan.gateway, self.port, self.server if to is None else to, payload)
        seen = self._talk.step(name, frame, until=1 if wait else 0, within=wait or 1.0)
        for one in seen:
            if one.kind == "fragment at 0" or one.kind.startswith("tftp"):
                self.server = int.from_bytes(one.segment[:2], "big")
        return seen

    def ask(
        self,
        name: str,
        file: bytes,
        mode: bytes = b"octet",
        opcode: int = RRQ,
        options: Mapping[str, str] = NONE,
    ) -> list[Seen]:
        """A request, with options."""
        words = b"".join(f"{key}\0{value}\0".encode() for key, value in options.items())
        return self.send(name, opcode, file + b"\0" + mode + b"\0" + words, to=SERVER)

    def follow(self, name: str, last: list[Seen]) -> list[Seen]:
        """Acknowledge what has come, as a client does: options by block 0."""
        blocks = [
            int(one.fields.get("tftp.block", 0)) for one in last if one.kind in ("tftp DATA", "tftp OACK")
        ]
        return self.ack(name, blocks[-1] if blocks else 0)

    def ack(self, name: str, block: int, wait: float = 0.0) -> list[Seen]:
        """An acknowledgement."""
        return self.send(name, ACK, block.to_bytes(2, "big"), wait=wait)


def read(talk: Talk) -> None:
    """Files of all lengths, to their end."""
    hello(talk)
    for number, (name, blocks) in enumerate((("short", 1), ("empty", 1), ("even", 3), ("folder/inside", 1))):
        client = Client(talk, number)
        client.ask(f"{name}-ask", name.encode())
        for block in range(1, blocks + 1):
            client.ack(f"{name}-ack-{block}", block)
    client = Client(talk, 10)
    client.ask("again", b"short")
    client.ack("again-ack", 1)
    client.ask("same-port", b"short")
    client.ack("same-port-ack", 1)


def options(talk: Talk) -> None:
    """RFC 2347 to 2349, and RFC 7440."""
    hello(talk)
    cases = {
        "blksize": {"blksize": "1428"},
        "all": {"tsize": "0", "blksize": "1024", "timeout": "3"},
        "tsize": {"tsize": "0"},
        "windowsize": {"windowsize": "4"},
        "unknown": {"colour": "green"},
        "upper": {"BLKSIZE": "1428", "TSIZE": "0"},
        "blksize-8": {"blksize": "8"},
        "blksize-7": {"blksize": "7"},
        "blksize-large": {"blksize": "65464"},
        "blksize-text": {"blksize": "large"},
        "timeout-0": {"timeout": "0"},
    }
    for number, (name, given) in enumerate(cases.items()):
        client = Client(talk, number)
        client.follow(f"{name}-ack", client.ask(name, b"long", options=given))
        client.send(f"{name}-end", ERROR, b"\0\0enough\0")


def refusals(talk: Talk) -> None:
    """Ask for files that cannot be read."""
    hello(talk)
    names = {
        "missing": b"nothing",
        "parent": b"../short",
        "parent-within": b"folder/../short",
        "parent-windows": b"..\\short",
        "absolute": b"/short",
        "absolute-other": b"/etc/hostname",
        "link-out": b"out",
        "link-up": b"up/passwd",
        "a-folder": b"folder",
        "slash": b"folder/",
        "dot": b"./short",
        "backslash": b"folder\\inside",
        "latin-1": b"gr\xfcn",
        "nameless": b"",
        "utf-8": "grün".encode(),
        "too-long": b"x" * 255,
        "longest": b"x" * 600,
    }
    for number, (name, path) in enumerate(names.items()):
        Client(talk, number).ask(name, path)
    Client(talk, 50).ask("netascii", b"lines", b"netascii")
    Client(talk, 51).ask("mail", b"short", b"mail")
    Client(talk, 52).ask("upper-case", b"short", b"OCTET")
    Client(talk, 53).ask("write", b"new", opcode=WRQ)


def odd(talk: Talk) -> None:
    """Send packets that are malformed, or belong to nothing."""
    hello(talk)
    packets = {
        "ack": (ACK, b"\0\1"),
        "data": (DATA, b"\0\1hello"),
        "error": (ERROR, b"\0\0why\0"),
        "opcode": (99, b"\0\0"),
        "oack": (6, b"blksize\x001428\0"),
        "no-end": (RRQ, b"short\0octet"),
        "no-mode": (RRQ, b"short\0"),
        "nothing": (RRQ, b""),
        "odd-option": (RRQ, b"short\0octet\0blksize\0"),
        "empty-value": (RRQ, b"short\0octet\0tsize\x000\0vendor_ID\0\0"),
        "multicast": (RRQ, b"short\0octet\0multicast\0\0"),
        "not-ascii": (RRQ, b"short\0octet\0\xff\0\xfe\0tsize\x000\0"),
        "padding-even": (RRQ, b"short\0octet\0" + bytes(100)),
        "padding-odd": (RRQ, b"short\0octet\0" + bytes(101)),
        "cut-value": (RRQ, b"short\0octet\0tsize\x000"),
        "padding-cut": (RRQ, b"short\0octet\0\xff\xff"),
    }
    for number, (name, (opcode, rest)) in enumerate(packets.items()):
        Client(talk, number).send(name, opcode, rest)


def faults(talk: Talk) -> None:
    """Acknowledgements that come twice, late, early, or not at all."""
    hello(talk)
    client = Client(talk, 1)
    client.ask("ask", b"long")
    client.ack("first", 1)
    client.ack("twice", 1)
    client.ack("second", 2)
    client.ack("old", 1)
    client.ack("future", 9)
    client.ack("third", 3)
    client.send("error", ERROR, b"\0\3disk full\0")
    client.ack("after-error", 4)
    client = Client(talk, 2)
    client.follow("lost-start", client.ask("lost-ask", b"long", options={"timeout": "1"}))
    talk.listen("lost-silence", until=1, within=1.3)
    stranger = Client(talk, 3)
    stranger.server = client.server
    stranger.ack("stranger", 1, wait=0.12)


TFTP = "tftp={folder}"
SCRIPTS = [
    Script("tftp-read", read, TFTP, files=FILES),
    Script("tftp-options", options, TFTP, files=FILES),
    Script("tftp-refusals", refusals, TFTP, files=FILES),
    Script("tftp-odd", odd, TFTP, files=FILES),
    Script("tftp-faults", faults, TFTP, files=FILES),
    Script("tftp-restricted", read, TFTP + ",restrict=on", files=FILES),
]
SCRIPTS += over_ipv6(SCRIPTS, "tftp-read", "tftp-options")
