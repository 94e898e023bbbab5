"""A TFTP client in the guest, and a network with one file."""

from __future__ import annotations

import hashlib
import struct
from random import Random
from typing import Any

import dpkt

from tests.support.harness import (
    GATEWAY,
    Net,
    config,
    udp,
)


def pattern(size: int) -> bytes:
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(size // 32 + 1))[:size]


class Reader:
    """A client that reads one file, with a timeout of its own; ``lose`` says which of the packets to it are lost."""

    def __init__(self, net: Net, port: int = 3000) -> None:
        self.net = net
        self.port = port
        self.to = 69
        self.pieces: dict[tuple[int, int], dict[int, bytes]] = {}
        self.lost = 0

    def send(self, payload: bytes) -> None:
        """To where the transfer is, in fragments if need be."""
        self.net.send(udp(payload, sport=self.port, dport=self.to, destination=GATEWAY))

    def take(self) -> list[bytes]:
        """Datagrams that have come, put together from fragments by hand."""
        found = []
        for frame in self.net.take():
            packet = frame.data
            if not isinstance(packet, dpkt.ip.IP) or packet.p != 17:
                continue
            body = bytes(packet)[20:]
            if packet.mf or packet.offset:
                parts = self.pieces.setdefault((packet.id, packet.p), {})
                parts[packet.offset] = body
                if packet.mf:
                    continue
                body = b"".join(part for _, part in sorted(parts.items()))
            sport, dport, length = struct.unpack("!HHH", body[:6])
            assert len(body) == length
            if dport == self.port:
                self.to = sport
                found.append(body[8:])
        return found

    def read(self, name: str, options: str = "", lose: float = 0.0, seed: int = 1) -> bytes:
        """The whole file. What is lost is lost on the way to the guest, or from it; no more than time passes."""
        random = Random(seed)
        ask = b"\0\1" + name.encode() + b"\0octet\0" + b"".join(w.encode() + b"\0" for w in options.split())
        words = options.split()
        values = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        block, window = values.get("blksize", 512), values.get("windowsize", 1)
        self.to = 69
        self.send(ask)
        data, expected, last_sent, in_window = b"", 1, ask, 0
        quiet = 0
        while quiet < 400:
            come = self.take()
            packets = [packet for packet in come if random.random() >= lose]
            self.lost += len(come) - len(packets)
            answer = None
            for packet in packets:
                opcode, number = struct.unpack("!HH", packet[:4])
                assert opcode in (3, 6), packet
                if opcode == 6:
                    answer = b"\0\4\0\0"
                    granted = packet[2:].decode().split("\0")
                    if "windowsize" in granted:
                        window = int(granted[granted.index("windowsize") + 1])
                elif number == expected & 0xFFFF:
                    data += packet[4:]
                    expected += 1
                    in_window += 1
                    if len(packet) < block + 4:
                        self.send(struct.pack("!HH", 4, number))
                        return data
                    if in_window == window:
                        answer = struct.pack("!HH", 4, number)
                        in_window = 0
                else:
                    answer, in_window = struct.pack("!HH", 4, (expected - 1) & 0xFFFF), 0
            quiet = 0 if packets else quiet + 1
            if answer is not None and random.random() >= lose:
                self.send(answer)
                last_sent = answer
            elif quiet and quiet % 50 == 0:
                self.send(last_sent)  # the client's own timeout, every 5 s
            self.net.run(0.1 if not packets else 0.001)
        raise AssertionError(f"silence after {len(data)} bytes")


def network(data: bytes, **more: Any) -> Net:
    net = Net(config(tftp={"f": data}.get, **more))
    net.know()
    return net
