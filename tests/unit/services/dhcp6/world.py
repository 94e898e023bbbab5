"""A DHCPv6 server and what clients say to it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from slirpy.config import Config
from slirpy.services.dhcp import LeaseBook, LeaseStore
from slirpy.services.dhcp6 import Dhcp6Service
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import Message, Status
from tests.support.fake_network import SECOND, FakeNetwork, FakeSink, Sent, datagram

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
XID = b"\xab\xcd\xef"
IAID = b"\0\0\0\1"
DAY = 86_400
SERVER_ID = bytes.fromhex("00030001525600000002")
GROUP, GATEWAY, ROUTER = (IPv6Address(text).packed for text in ("ff02::1:2", "fec0::2", "fe80::2"))


def ip(text: str) -> bytes:
    return IPv6Address(text).packed


def mac(number: int) -> bytes:
    return b"\x52\x54" + number.to_bytes(4, "big")


def duid(number: int) -> bytes:
    """A DUID that says nothing about the card (RFC 8415 section 11.5)."""
    return b"\0\4" + number.to_bytes(16, "big")


def link_local(number: int) -> bytes:
    return ip("fe80::")[:12] + number.to_bytes(4, "big")


def ia(*hints: bytes, iaid: bytes = IAID) -> bytes:
    """An IA_NA with addresses."""
    return dhcp6.ia_na(iaid, 0, 0, *(dhcp6.ia_address(hint, 0, 0) for hint in hints))


def oro(*codes: int) -> bytes:
    return dhcp6.pack_option(dhcp6.ORO, b"".join(code.to_bytes(2, "big") for code in codes))


class Reply:
    """One datagram of the server."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        found = dhcp6.read_message(sent.payload)
        assert found is not None
        self.message: Message = found
        self.kind = found.kind
        self.options = {code: values[0] for code, values in found.options.items()}

    @property
    def addresses(self) -> list[bytes]:
        """Addresses that are assigned, of all associations."""
        return [each.address for ia in self.message.associations for each in ia.addresses if each.valid]

    @property
    def ended(self) -> list[bytes]:
        """Addresses whose lifetimes have ended."""
        return [each.address for ia in self.message.associations for each in ia.addresses if not each.valid]

    @property
    def statuses(self) -> list[int | None]:
        """Status codes of the associations."""
        return [ia.status and ia.status.code for ia in self.message.associations]

    @property
    def status(self) -> int | None:
        """Status code of the message."""
        found: Status | None = self.message.status
        return None if found is None else found.code


class World:
    """A server and what clients say to it."""

    def __init__(
        self,
        config: Config | None = None,
        store: LeaseStore | None = None,
        start: int = 1000,
        links: Callable[[], int] = lambda: 1,
    ) -> None:
        self.network = FakeNetwork()
        self.network.now = start * SECOND
        config = config or Config()
        self.book = LeaseBook(config, self.network, store, links)
        self.service = Dhcp6Service(config, self.network, self.book)
        self.stats = self.network.stats
        self.link = FakeSink()

    def hear(self, payload: bytes, client: int = 1, **more: Any) -> list[Sent]:
        """A datagram of a client, whatever is in it; what is sent then."""
        given = {
            "source": link_local(client), "source_port": 546, "destination": GROUP, "destination_port": 547,
            "mac": mac(client), "link": self.link, **more,
        }  # fmt: skip
        self.service.datagram(datagram(payload, **given))
        return self.network.take()

    def say(
        self,
        kind: int,
        client: int = 1,
        *options: bytes,
        client_id: bytes | None = b"",
        server: bytes | None = b"",
        **more: Any,
    ) -> Reply | None:
        """Send a message with the identifiers that its type requires; the reply, or None if there is none."""
        if client_id == b"":
            client_id = duid(client)
        if server == b"":
            server = SERVER_ID if kind in (REQUEST, RENEW, RELEASE, DECLINE) else None
        leading = [] if client_id is None else [dhcp6.pack_option(1, client_id)]
        if server is not None:
            leading.append(dhcp6.pack_option(2, server))
        leading.append(dhcp6.pack_option(dhcp6.ELAPSED_TIME, b"\0\0"))
        sent = self.hear(dhcp6.write_message(kind, XID, [*leading, *options]), client, **more)
        assert len(sent) <= 1
        return Reply(sent[0]) if sent else None

    def reply(self, kind: int, client: int = 1, *options: bytes, **more: Any) -> Reply:
        reply = self.say(kind, client, *options, **more)
        assert reply is not None
        return reply

    def lease(self, client: int = 1, *options: bytes) -> bytes:
        """SOLICIT and REQUEST, as clients do; the address."""
        offer = self.reply(SOLICIT, client, ia(), *options)
        assert offer.kind == ADVERTISE
        answer = self.reply(REQUEST, client, ia(*offer.addresses), *options)
        assert answer.kind == REPLY
        assert answer.addresses == offer.addresses
        return answer.addresses[0]

    def address_of(self, hostname: str) -> bytes | None:
        """The address of the guest whose name this is, in any case of letters."""
        return {name.lower(): address for name, address in self.book.names()}.get(hostname.lower())


def lifetimes(reply: Reply) -> tuple[int, int, int, int]:
    """T1, T2, preferred and valid lifetime of the first association."""
    found = reply.message.associations[0]
    return found.t1, found.t2, found.addresses[0].preferred, found.addresses[0].valid


def number(value: bytes) -> int:
    result: int = struct.unpack("!I", value)[0]
    return result
