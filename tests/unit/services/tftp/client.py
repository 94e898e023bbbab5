"""A TFTP client of the tests' own, by hand: packets are put together from RFC 1350, and every answer is judged."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slirpy.config import Config
from slirpy.interfaces import Datagram, LinkSink
from slirpy.services.tftp import TftpService
from tests.support.fake_network import FakeNetwork, Sent, datagram

RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)
GUEST, OTHER, GATEWAY = b"\x0a\0\2\x0f", b"\x0a\0\2\x10", b"\x0a\0\2\2"


def request(
    name: str | bytes, options: Mapping[str, object] | None = None, *, mode: str = "octet", write: bool = False
) -> bytes:
    """A read or write request."""
    words = [name if isinstance(name, bytes) else name.encode(), mode.encode()]
    for key, value in (options or {}).items():
        words += [key.encode(), str(value).encode()]
    return struct.pack("!H", WRQ if write else RRQ) + b"".join(word + b"\0" for word in words)


def packet(opcode: int, number: int, data: bytes = b"") -> bytes:
    """A DATA, ACK or ERROR packet."""
    return struct.pack("!HH", opcode, number & 0xFFFF) + data


class Server:
    """The service in a network of its own."""

    def __init__(self, tftp: Any, **more: Any) -> None:
        self.net = FakeNetwork()
        self.config = Config(tftp=tftp, resolvers=[], **more)
        self.service = TftpService(self.config, self.net)
        self.stats = self.net.stats

    def give(
        self,
        payload: bytes,
        *,
        guest: bytes = GUEST,
        port: int = 2000,
        to: int = 69,
        link: LinkSink | None = None,
    ) -> None:
        """A packet of a guest, as the demultiplexer would pass it on; it does if anybody wants it."""
        taker = self.net.conversations.get((GATEWAY, to, guest, port)) if to != 69 else self.service
        if taker is not None:
            taken: Datagram = datagram(
                payload, source=guest, source_port=port, destination=GATEWAY, destination_port=to, link=link
            )
            taker.datagram(taken)


class Client:
    """One port of a guest."""

    def __init__(self, server: Server, port: int = 2000, guest: bytes = GUEST) -> None:
        self.server = server
        self.port = port
        self.guest = guest
        self.to = 69

    def take(self) -> list[tuple[int, int, bytes]]:
        """Opcode, number and rest of what has come to this port; the rest stays."""
        mine: list[Sent] = []
        others: list[Sent] = []
        for sent in self.server.net.take():
            here = (sent.destination, sent.destination_port) == (self.guest, self.port)
            (mine if here else others).append(sent)
        self.server.net.sent = others
        for sent in mine:
            assert sent.source == GATEWAY
            if sent.payload[1] != ERROR or self.to == 69:
                self.to = sent.source_port
        found = []
        for sent in mine:
            opcode = struct.unpack("!H", sent.payload[:2])[0]
            if opcode == OACK:
                found.append((opcode, 0, sent.payload[2:]))
            else:
                found.append((*struct.unpack("!HH", sent.payload[:4]), sent.payload[4:]))
        return found

    def one(self) -> tuple[int, int, bytes]:
        """The one packet that has come."""
        found = self.take()
        assert len(found) == 1, found
        return found[0]

    def silence(self) -> None:
        assert self.take() == []

    def give(self, payload: bytes) -> None:
        self.server.give(payload, guest=self.guest, port=self.port, to=self.to)

    def ask(self, name: str | bytes, options: Mapping[str, object] | None = None, **more: Any) -> None:
        """Send a request."""
        self.to = 69
        self.give(request(name, options, **more))

    def ack(self, number: int) -> None:
        self.give(packet(ACK, number))

    def data(self, number: int, data: bytes) -> None:
        self.give(packet(DATA, number, data))

    def granted(self) -> dict[str, str]:
        """The options of the OACK that has come."""
        opcode, _, rest = self.one()
        assert opcode == OACK
        words = rest.decode().split("\0")
        assert words.pop() == ""
        return dict(zip(words[::2], words[1::2], strict=True))

    def refused(self) -> int:
        """The code of the error that has come; its text is there."""
        opcode, code, text = self.one()
        assert opcode == ERROR
        assert text.endswith(b"\0")
        assert len(text) > 3
        return code

    def read(self, name: str, options: Mapping[str, object] | None = None, **more: Any) -> bytes:
        """The whole of a file, without loss."""
        self.ask(name, options, **more)
        granted: dict[str, str] = {}
        if options:
            granted = self.granted()
            self.ack(0)
        block = int(granted.get("blksize", 512))
        data, expected = b"", 1
        while True:
            self.server.net.run(1e-6)
            packets = self.take()
            assert packets, f"nothing after {len(data)} bytes"
            for opcode, number, piece in packets:
                assert (opcode, number) == (DATA, expected & 0xFFFF), (opcode, number, expected)
                assert len(piece) <= block
                data += piece
                expected += 1
            if len(piece) < block or len(packets) >= int(granted.get("windowsize", 1)):
                self.ack(expected - 1)
            if len(piece) < block:
                return data

    def write(self, name: str, data: bytes, options: Mapping[str, object] | None = None, **more: Any) -> None:
        """Write a whole file, without loss."""
        self.ask(name, options, write=True, **more)
        granted = self.granted() if options else {}
        if not options:
            assert self.one() == (ACK, 0, b"")
        block, window = int(granted.get("blksize", 512)), int(granted.get("windowsize", 1))
        count = len(data) // block + 1
        for number in range(1, count + 1):
            self.data(number, data[(number - 1) * block : number * block])
            if number % window == 0 or number == count:
                self.server.net.run(1e-6)
                assert self.one() == (ACK, number & 0xFFFF, b"")
            else:
                self.silence()


def folder(path: Path) -> Path:
    """A folder with some files, and something beside it that nobody may see."""
    root = path / "srv"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "small").write_bytes(b"hello")
    (root / "full").write_bytes(bytes(range(256)) * 4)
    (root / "empty").write_bytes(b"")
    (root / "sub" / "deep" / "file").write_bytes(b"deep")
    (path / "secret").write_bytes(b"secret")
    (path / "srv-other").mkdir()
    (path / "srv-other" / "secret").write_bytes(b"secret")
    return root
