"""A DHCP server and what clients say to it, with dpkt as the judge of what it writes."""

from __future__ import annotations

from typing import Any

import dpkt

from slirpy.config import Config
from slirpy.services.dhcp import DhcpService, LeaseBook, LeaseStore
from slirpy.services.dhcp.lease import Client, Lease
from slirpy.services.dhcp.leases import LeaseTable
from tests.support.fake_network import SECOND, FakeNetwork, FakeSink, Sent, datagram

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
GATEWAY = bytes((10, 0, 2, 2))
EVERYWHERE = b"\xff" * 4
EVERY_MAC = b"\xff" * 6
DAY = 86_400


def ip(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def mac(number: int) -> bytes:
    return b"\x52\x54" + number.to_bytes(4, "big")


def offer(table: LeaseTable, client: Client, now: int = 0) -> Lease | None:
    """Do to a table what a DISCOVER does."""
    lease = table.choose(client, None, now)
    if lease is not None:
        table.hold(lease, client, now)
    return lease


def bind(table: LeaseTable, client: Client, now: int = 0) -> Lease | None:
    """A lease of whatever address the table chooses."""
    lease = table.choose(client, None, now)
    return None if lease is None else table.bind(client, lease.address, now)


class Reply:
    """One datagram of the server, as dpkt reads it."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.header = dpkt.dhcp.DHCP(sent.payload)
        self.options: dict[int, bytes] = {}
        for code, value in self.header.opts:
            self.options[code] = self.options.get(code, b"") + value
        self.order = [code for code, _ in self.header.opts]

    @property
    def kind(self) -> int:
        return self.options[53][0]

    @property
    def yiaddr(self) -> bytes:
        value: int = self.header.yiaddr
        return value.to_bytes(4, "big")


class World:
    """A server and what clients say to it."""

    def __init__(
        self, config: Config | None = None, store: LeaseStore | None = None, start: int = 1000
    ) -> None:
        self.network = FakeNetwork()
        self.network.now = start * SECOND
        config = config or Config()
        self.book = LeaseBook(config, self.network, store)
        self.service = DhcpService(config, self.network, self.book)
        self.stats = self.network.stats
        self.link = FakeSink()

    def say(
        self,
        kind: int | None,
        client: int = 1,
        *options: tuple[int, bytes],
        ciaddr: bytes = bytes(4),
        flags: int = 0,
        source: bytes = bytes(4),
        source_port: int = 68,
        **fields: int,
    ) -> Reply | None:
        """Send a message; the reply, or None if there is none."""
        message = dpkt.dhcp.DHCP(
            xid=0x1234,
            chaddr=mac(client),
            ciaddr=int.from_bytes(ciaddr, "big"),
            flags=flags,
            opts=[] if kind is None else [(53, bytes((kind,))), *options],
            **fields,
        )
        message.data = b"" if kind is not None else b"\xff".ljust(60, b"\0")
        self.hear(bytes(message), client, source=source, source_port=source_port)
        sent = self.network.take()
        assert len(sent) <= 1
        return Reply(sent[0]) if sent else None

    def hear(self, payload: bytes, client: int = 1, **more: Any) -> None:
        """A datagram of a client, whatever is in it."""
        self.service.datagram(datagram(payload, mac=mac(client), link=self.link, **more))

    def heard(self, payload: bytes, client: int = 1, **more: Any) -> Reply | None:
        """The reply to it, or None if there is none."""
        self.hear(payload, client, **more)
        sent = self.network.take()
        assert len(sent) <= 1
        return Reply(sent[0]) if sent else None

    def reply(self, kind: int | None, client: int = 1, *options: tuple[int, bytes], **more: object) -> Reply:
        reply = self.say(kind, client, *options, **more)  # type: ignore[arg-type] # each value fits its argument
        assert reply is not None
        return reply

    def lease(self, client: int = 1, *options: tuple[int, bytes]) -> bytes:
        """DISCOVER and REQUEST, as clients do; the address."""
        offer = self.reply(DISCOVER, client, *options)
        assert offer.kind == OFFER
        others = [option for option in options if option[0] != 50]
        ack = self.reply(REQUEST, client, (50, offer.yiaddr), (54, GATEWAY), *others)
        assert ack.kind == ACK
        assert ack.yiaddr == offer.yiaddr
        return ack.yiaddr

    def address_of(self, hostname: str) -> bytes | None:
        """The address of the guest whose name this is, in any case of letters."""
        return {name.lower(): address for name, address in self.book.names()}.get(hostname.lower())
