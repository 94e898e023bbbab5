"""DHCP as embedded clients and boot ROMs send it: what can be read of a message gets its answer."""

from __future__ import annotations

from typing import Any

import dpkt
import pytest

from tests.support.fake_network import datagram
from tests.unit.services.dhcp.world import (
    ACK,
    DISCOVER,
    EVERY_MAC,
    EVERYWHERE,
    GATEWAY,
    INFORM,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    World,
    ip,
    mac,
)

FIRST = ip("10.0.2.15")
MAGIC = b"\x63\x82\x53\x63"


def fixed(client: int = 1, **fields: Any) -> bytes:
    """The fields of BOOTP and the magic number."""
    return bytes(dpkt.dhcp.DHCP(**{"chaddr": mac(client), "xid": 0x1234, **fields}).pack_hdr())


DISCOVERS = {
    "last option longer than the packet": b"\x35\1\1\x37\2\1\3\x0c\xf0abc",
    "last option without a length": b"\x35\1\1\x37\2\1\3\x0c",
    "type, then an option of 255 bytes that is not there": b"\x35\1\1\x3d\xff",
    "no end": b"\x35\1\1",
    "pads everywhere": b"\0\0\x35\1\1\0\0\x37\2\1\3\0\xff\0",
    "all twice": b"\x35\1\1\x35\1\1\x37\2\1\3\x37\2\1\3\x3d\3\0ab\x3d\3\0ab\x0c\3box\x0c\3box\xff",
    "the type last": b"\x37\2\1\3\x3d\3\0ab\x35\1\1",
    "a type of two bytes": b"\x35\2\1\0\xff",
    "an empty type, then one": b"\x35\0\x35\1\1\xff",
    "empty options": b"\x35\1\1\x0c\0\x37\0\x3c\0\x3d\0\x32\0\x36\0\x39\0\x5d\0\x52\0\xff",
    "options of a wrong size": b"\x35\1\1\x32\3abc\x36\2ab\x39\1\1\x5d\1\0\x33\1\0\xff",
    "addresses twice": b"\x35\1\1\x36\x08\x0a\0\2\2\x0a\0\2\2\xff",
    "the size twice": b"\x35\1\1\x39\2\5\xdc\x39\2\5\xdc\xff",
    "overload without a value": b"\x35\1\1\x34\0\xff",
    "overload of what is no options": b"\x35\1\1\x34\1\3\xff",
    "an option after the end": b"\x35\1\1\xff\x35\1\3",
    "an identifier of many pieces": b"\x35\1\1" + b"\x3d\xff" + bytes(255) + b"\x3d\x20" + bytes(32) + b"\xff",
    "vendor bits": b"\x35\1\1\x2b\x0a\1\4abcd\2\x60zz\xff",
    "an unknown option": b"\x35\1\1\xe0\4abcd\xfe\0\xff",
}


@pytest.mark.parametrize("what", DISCOVERS)
def test_one_bad_option_never_costs_the_message(world: World, what: str) -> None:
    filled: dict[str, Any] = {"file": b"\x0c\xf0", "sname": b"\x3d"} if "overload" in what else {}
    offer = world.heard(fixed(**filled) + DISCOVERS[what])
    assert offer is not None
    assert (offer.kind, offer.yiaddr, offer.header.xid) == (OFFER, FIRST, 0x1234)
    assert world.stats.nonzero() == {"dhcp_discover": 1, "dhcp_offer": 1}


def test_an_option_repeated_with_the_same_value_counts_once() -> None:
    world = World()
    world.lease(1, (12, b"box"), (61, b"\0uuid"))
    twice = ((12, b"box"), (12, b"box"), (61, b"\0uuid"), (61, b"\0uuid"))
    assert world.lease(2, *twice) == FIRST  # the identifier is the same
    assert [lease.hostname for lease in world.book.leases()] == ["box"]
    assert world.reply(DISCOVER, 2, *twice).options[61] == b"\0uuid"
    ack = world.reply(REQUEST, 2, (50, FIRST), (50, FIRST), (54, GATEWAY), (54, GATEWAY), (61, b"\0uuid"))
    assert ack.kind == ACK


@pytest.mark.parametrize("tail", [b"", b"\x35", b"\x35\1", b"\x35\0\xff", b"\xff", b"\0" * 60])
def test_without_a_type_it_is_bootp(world: World, tail: bytes) -> None:
    reply = world.heard(fixed() + tail)
    assert reply is not None
    assert reply.yiaddr == FIRST
    assert 53 not in reply.options
    assert world.stats.dhcp_bootp == 1


@pytest.mark.parametrize("length", [236, 237, 239, 240, 244, 299, 300, 548])
def test_bootp_of_any_length(length: int) -> None:
    world = World()
    payload = fixed().ljust(600, b"\0")[:length]
    reply = world.heard(payload)
    assert reply is not None
    assert reply.yiaddr == FIRST
    assert len(reply.sent.payload) == 300


@pytest.mark.parametrize("length", [0, 1, 44, 235])
def test_less_than_bootp_is_malformed(world: World, length: int) -> None:
    assert world.heard(fixed()[:length]) is None
    assert world.stats.nonzero() == {"drop_dhcp_malformed": 1}


def test_another_magic_number_is_no_options(world: World) -> None:
    reply = world.heard(fixed()[:236] + b"CMU\0" + b"\x35\1\1" + bytes(61))
    assert reply is not None
    assert 53 not in reply.options


# --------------------------------------------------------------------------------------- hardware types

HARDWARE: dict[str, dict[str, Any]] = {
    "IEEE 802": {"hrd": 6},
    "type 0": {"hrd": 0},
    "InfiniBand": {"hrd": 32, "hln": 0, "chaddr": bytes(16)},
    "InfiniBand, with its address": {"hrd": 32, "hln": 16, "chaddr": b"\xfe\x80" + bytes(14)},
    "no length": {"hln": 0},
    "length 16": {"hln": 16},
    "no address": {"chaddr": bytes(6)},
    "a group's address": {"chaddr": b"\1" * 6},
    "FireWire": {"hrd": 24, "hln": 8, "chaddr": bytes(range(1, 9))},
}


@pytest.mark.parametrize("flags", [0, 0x8000])
@pytest.mark.parametrize("what", HARDWARE)
def test_any_hardware_has_an_address(world: World, what: str, flags: int) -> None:
    fields = {**HARDWARE[what], "flags": flags}
    offer = world.heard(fixed(**fields) + b"\x35\1\1\x3d\5\xffabcd\xff")
    assert offer is not None
    assert (offer.kind, offer.yiaddr) == (OFFER, FIRST)
    sent = offer.sent.payload
    asked = fixed(**fields)
    assert (sent[1:3], sent[28:44]) == (asked[1:3], asked[28:44])  # type, length and address as they came
    to = (EVERYWHERE, EVERY_MAC) if flags else (FIRST, mac(1))
    assert (offer.sent.destination, offer.sent.mac) == to
    (lease,) = world.book.leases()
    assert lease.mac == mac(1)
    assert world.heard(fixed(2, **HARDWARE[what]) + b"\x35\1\1\xff", 2).yiaddr != FIRST  # type: ignore[union-attr] # there is an answer


def test_the_address_that_a_client_names_goes_before_its_frames(world: World) -> None:
    """A bridge may have changed that."""
    offer = world.heard(fixed(7) + b"\x35\1\1\xff", 1)
    assert offer is not None
    assert offer.sent.mac == mac(7)


def test_a_message_without_a_client_address_is_malformed(world: World) -> None:
    world.service.datagram(datagram(fixed(chaddr=bytes(6)) + b"\x35\1\1", mac=b"\1" * 6))
    assert world.stats.nonzero() == {"drop_dhcp_malformed": 1}


# ------------------------------------------------------------------------------- fields that mean nothing


@pytest.mark.parametrize(
    "fields",
    [{"xid": 0}, {"secs": 65535}, {"hops": 255}, {"siaddr": 1}, {"yiaddr": 0x01020304}, {"flags": 0x7FFF},
     {"file": b"x" * 128}, {"sname": b"\xff" * 64}],
)  # fmt: skip
def test_fields_that_a_client_need_not_fill(world: World, fields: dict[str, Any]) -> None:
    offer = world.heard(fixed(**fields) + b"\x35\1\1\xff")
    assert offer is not None
    assert (offer.kind, offer.yiaddr, offer.header.xid) == (OFFER, FIRST, fields.get("xid", 0x1234))
    assert offer.header.hops == offer.header.secs == 0


def test_a_clients_own_message_with_a_relay_in_it(world: World) -> None:
    offer = world.reply(DISCOVER, giaddr=0x0A000263)
    assert (offer.kind, offer.sent.destination, offer.sent.destination_port) == (OFFER, FIRST, 68)
    assert world.reply(DISCOVER, giaddr=0xC0A80001).kind == OFFER


def test_a_relay_on_the_network_gets_the_answer() -> None:
    world = World()
    relay = ip("10.0.2.99")
    more: dict[str, Any] = {"giaddr": 0x0A000263, "source": relay, "source_port": 67, "hops": 1}
    offer = world.reply(DISCOVER, 1, (82, b"\1\4port"), **more)
    assert (offer.kind, offer.options[82]) == (OFFER, b"\1\4port")
    assert offer.header.giaddr == 0x0A000263
    nak = world.reply(REQUEST, 1, (50, ip("9.9.9.9")), **more)
    assert nak.kind == NAK
    for reply in (offer, nak):
        assert (reply.sent.destination, reply.sent.destination_port, reply.sent.mac) == (relay, 67, mac(1))


def test_a_relay_for_another_network_is_not_answered(world: World) -> None:
    assert world.say(DISCOVER, giaddr=0xC0A80001, source=ip("192.168.0.1"), source_port=67) is None
    assert world.stats.drop_dhcp_ignored == 1


# ----------------------------------------------------------------------------- requests that lack something


def test_a_request_with_an_unreadable_address_is_for_the_offered_one(world: World) -> None:
    assert world.reply(DISCOVER).yiaddr == FIRST
    ack = world.reply(REQUEST, 1, (50, b"\x0a\0"), (54, GATEWAY))
    assert (ack.kind, ack.yiaddr) == (ACK, FIRST)
    assert world.say(REQUEST, 2, (50, b"")) is None
    assert world.stats.drop_dhcp_ignored == 1


def test_of_several_addresses_the_first_counts(world: World) -> None:
    for wanted in (((50, ip("10.0.2.77") * 2),), ((50, ip("10.0.2.77")), (50, ip("10.0.2.78")))):
        ack = world.reply(REQUEST, 1, *wanted)
        assert (ack.kind, ack.yiaddr) == (ACK, ip("10.0.2.77"))
    assert world.say(REQUEST, 1, (50, FIRST), (54, ip("10.0.2.9") * 2)) is None
    assert world.stats.drop_dhcp_ignored == 1


@pytest.mark.parametrize("server", [b"", b"\x0a\0\2", bytes(4), GATEWAY + b"\0"])
def test_a_server_that_cannot_be_read_is_this_one(world: World, server: bytes) -> None:
    assert world.reply(REQUEST, 1, (50, FIRST), (54, server)).kind == ACK
    assert world.say(RELEASE, 1, (54, server), ciaddr=FIRST) is None
    assert world.stats.dhcp_release == 1


def test_options_that_are_too_long_to_come_back(world: World) -> None:
    long = tuple((code, bytes(200)) for code in (61, 61, 82, 82, 97, 97))
    for kind in (DISCOVER, INFORM):
        assert world.reply(kind, 1, *long, ciaddr=FIRST).kind in (OFFER, ACK)
    assert MAGIC in world.reply(DISCOVER, 1, *long).sent.payload
