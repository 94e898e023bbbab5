"""A DNS server between a guest and two resolvers, in virtual time."""

from __future__ import annotations

from typing import Any

from dnslib import QTYPE, RR, A, DNSRecord

from slirpy.config import Config
from slirpy.interfaces import Datagram, StreamPeer
from slirpy.services.dns import DnsService
from tests.support.fake_host import FakeHost, FakeUdp
from tests.support.fake_network import FakeNetwork, FakeSink, datagram
from tests.support.owners import StreamNotes

DNS = bytes((10, 0, 2, 3))
GUEST = bytes((10, 0, 2, 15))
MAC = b"\x52\x54\0\0\0\x01"
FIRST = bytes((127, 0, 0, 53))
SECOND_SERVER = bytes((127, 0, 0, 54))


def ask(name: str = "example.test", identifier: int = 7, qtype: str = "A") -> DNSRecord:
    record = DNSRecord.question(name, qtype)
    record.header.id = identifier
    return record


def data(heard: DNSRecord) -> list[str]:
    """The answer section: type and value of each record."""
    return [f"{QTYPE[record.rtype]} {record.rdata}" for record in heard.rr]


def answer_to(query: bytes, address: str = "192.0.2.1") -> bytes:
    """Answer of a resolver to a query."""
    record = DNSRecord.parse(query)
    reply = record.reply()
    reply.add_answer(RR(record.q.qname, QTYPE.A, rdata=A(address), ttl=60))
    return bytes(reply.pack())


class World:
    """A DNS server between a guest and two resolvers; ``more`` are arguments of the configuration."""

    def __init__(self, resolvers: tuple[str, ...] = ("127.0.0.53", "127.0.0.54:5353"), **more: Any) -> None:
        self.network = FakeNetwork()
        self.host = FakeHost()
        self.link = FakeSink()
        self.leases: list[tuple[str, bytes]] = []
        config = Config(resolvers=resolvers, **more)
        self.service = DnsService(config, self.network, self.host, guests=self)
        self.stats = self.network.stats

    def addresses_of(self, label: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for name, address in self.leases:
            if name.partition(".")[0].lower() == label:
                found.setdefault(len(address), address)
        return found

    def label_at(self, address: bytes) -> str | None:
        labels = (name.partition(".")[0].lower() for name, other in self.leases if other == address)
        return next((label for label in labels if self.addresses_of(label)[len(address)] == address), None)

    def guest(self, message: bytes, source: bytes = GUEST, port: int = 5000) -> Datagram:
        return datagram(
            message,
            source=source,
            source_port=port,
            destination=DNS,
            destination_port=53,
            mac=MAC,
            link=self.link,
        )

    def say(self, message: bytes, source: bytes = GUEST, port: int = 5000) -> None:
        buffer = bytearray(message)
        self.service.datagram(self.guest(message, source, port)._replace(payload=memoryview(buffer)))
        buffer[:] = bytes(len(buffer))  # it is valid during the call only

    def heard(self) -> DNSRecord:
        """The one message that went to the guest."""
        self.network.run()
        (sent,) = self.network.take()
        assert sent[:4] == (DNS, 53, GUEST, 5000)
        assert (sent.mac, sent.link) == (MAC, self.link)
        return DNSRecord.parse(sent.payload)

    def talk(self, query: Any) -> DNSRecord:
        """Ask what is answered at once."""
        self.say(query.pack() if isinstance(query, DNSRecord) else query)
        return self.heard()

    def socket_says(self, answer: bytes) -> None:
        """The resolver answers the last query."""
        _, address, port = self.socket.sent[-1]
        self.socket.owner.datagram(answer, address, port)
        self.network.run()

    def relay(self, answer: bytes) -> DNSRecord:
        """The resolver answers the last query; what the guest hears."""
        self.socket_says(answer)
        return self.heard()

    @property
    def socket(self) -> FakeUdp:
        """The newest one."""
        return self.host.udp[-1]

    def upstream(self) -> bytes:
        """The last query that went to a resolver."""
        return self.socket.sent[-1][0]


# -------------------------------------------------------------------------------------------- over TCP


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def connect(world: World) -> tuple[StreamPeer, StreamNotes]:
    """A guest's connection to the server, and the stack's side of it."""
    owner = StreamNotes()
    stream = world.service.stream(owner)
    assert owner.calls == ["connected"]
    owner.calls.clear()
    return stream, owner


def fetch(stream: StreamPeer, limit: int = 65_536) -> tuple[bytes, bool]:
    """All that there is, and whether the end came."""
    data = b""
    while piece := stream.recv(limit):
        data += piece
    return data, piece is not None


def records(data: bytes) -> list[DNSRecord]:
    """Messages, each behind its length."""
    found = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        found.append(DNSRecord.parse(data[2:end]))
        data = data[end:]
    return found
