"""The DHCPv6 server, in conversations with raw messages and a clock of numbers."""

from __future__ import annotations

import pytest

from slirpy.config import Config
from slirpy.services.dhcp import LeaseState
from slirpy.wire import dhcp6
from tests.unit.services.dhcp6.world import (
    ADVERTISE,
    CONFIRM,
    DAY,
    DECLINE,
    GATEWAY,
    IAID,
    INFORMATION_REQUEST,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    ROUTER,
    SERVER_ID,
    SOLICIT,
    World,
    duid,
    ia,
    ip,
    lifetimes,
    link_local,
    mac,
    number,
    oro,
)  # fmt: skip

FIRST = ip("fec0::15")
RAPID = dhcp6.pack_option(dhcp6.RAPID_COMMIT, b"")


@pytest.fixture
def world() -> World:
    return World()


# ------------------------------------------------------------------------------------------- four messages


@pytest.mark.rfc("8415", "18.3 identifiers")
@pytest.mark.rfc("8415", "18.3 transaction")
@pytest.mark.rfc("8415", "18.3.1 advertise")
@pytest.mark.rfc("8415", "18.3.2 bind")
@pytest.mark.rfc("8415", "11 stable")
@pytest.mark.rfc("8415", "11.4")
@pytest.mark.rfc("8415", "18.3.9 addresses")
def test_an_address_in_four_messages(world: World) -> None:
    offer = world.reply(SOLICIT, 1, ia())
    assert (offer.kind, offer.message.transaction, offer.addresses) == (ADVERTISE, b"\xab\xcd\xef", [FIRST])
    assert (offer.message.client_id, offer.message.server_id) == (duid(1), SERVER_ID)
    assert offer.message.preference == 255  # no client waits for another server
    assert [lease.state for lease in world.book.leases()] == [LeaseState.OFFERED]
    answer = world.reply(REQUEST, 1, ia(FIRST))
    assert (answer.kind, answer.addresses, answer.statuses, answer.status) == (REPLY, [FIRST], [None], None)
    assert answer.message.associations[0].iaid == IAID
    assert lifetimes(answer) == (32_400, 51_840, 64_800, DAY)
    assert dhcp6.PREFERENCE not in answer.options
    (lease,) = world.book.leases()
    assert (lease.address, lease.mac, lease.client_id, lease.iaid) == (FIRST, mac(1), duid(1), IAID)
    assert (lease.state, lease.seconds) == (LeaseState.BOUND, DAY)


@pytest.mark.rfc("8415", "7.2")
@pytest.mark.rfc("8415", "18.3.10")
@pytest.mark.rfc("8415", "13.1 link")
def test_the_way_back(world: World) -> None:
    sent = world.reply(SOLICIT, 7, ia()).sent
    assert (sent.source, sent.source_port) == (ROUTER, 547)
    assert (sent.destination, sent.destination_port, sent.mac) == (link_local(7), 546, mac(7))
    assert sent.link is world.link
    routed = world.reply(INFORMATION_REQUEST, 7, source=ip("fec0::99")).sent
    assert (routed.source, routed.destination) == (GATEWAY, ip("fec0::99"))


@pytest.mark.rfc("8415", "18.3.1 rapid")
@pytest.mark.rfc("8415", "21.14")
def test_two_messages_are_enough_with_rapid_commit(world: World) -> None:
    answer = world.reply(SOLICIT, 1, ia(), RAPID)
    assert (answer.kind, answer.addresses) == (REPLY, [FIRST])
    assert dhcp6.RAPID_COMMIT in answer.options
    assert [lease.state for lease in world.book.leases()] == [LeaseState.BOUND]
    assert dhcp6.RAPID_COMMIT not in world.reply(SOLICIT, 2, ia()).options


def test_addresses_follow_one_another_and_come_back(world: World) -> None:
    assert [world.lease(client) for client in (1, 2, 3)] == [ip(f"fec0::{n}") for n in ("15", "16", "17")]
    assert world.reply(RELEASE, 2, ia(ip("fec0::16"))).status == dhcp6.SUCCESS
    assert world.lease(4) == ip("fec0::18")  # others first, in case it returns
    assert world.lease(2) == ip("fec0::16")


@pytest.mark.rfc("8415", "18.3.9 hint")
def test_a_wish_is_granted_if_the_address_is_free(world: World) -> None:
    assert world.reply(SOLICIT, 1, ia(ip("fec0::abcd"))).addresses == [ip("fec0::abcd")]
    assert world.reply(SOLICIT, 2, ia(ip("fec0::abcd"))).addresses == [FIRST]
    for taken in (GATEWAY, ip("fec0::3"), ip("2001:db8::1"), ip("fec0::"), bytes(16)):
        assert world.reply(SOLICIT, 3, ia(taken)).addresses == [ip("fec0::16")]


@pytest.mark.rfc("8415", "18.3.2 other")
@pytest.mark.rfc("8415", "18.3.2 only")
def test_a_request_without_a_solicit(world: World) -> None:
    assert world.reply(REQUEST, 1, ia(ip("fec0::77"))).addresses == [ip("fec0::77")]
    assert world.reply(REQUEST, 2, ia(ip("fec0::77"))).addresses == [FIRST]
    assert world.reply(REQUEST, 3, ia()).addresses == [ip("fec0::16")]


@pytest.mark.rfc("8415", "18.3.2 link")
def test_a_request_for_another_network(world: World) -> None:
    """RFC 8415 section 18.3.2."""
    answer = world.reply(REQUEST, 1, ia(ip("2001:db8::1")))
    assert (answer.addresses, answer.statuses) == ([], [dhcp6.NOT_ON_LINK])
    assert world.book.leases() == []


def test_the_offer_is_free_again_after_a_minute(world: World) -> None:
    world.reply(SOLICIT, 1, ia())
    world.network.run(60)
    assert world.book.leases() == []


def test_an_offered_address_is_not_offered_to_others(world: World) -> None:
    """For a minute, however another client asks for it."""
    assert world.reply(SOLICIT, 1, ia()).addresses == [FIRST]
    assert FIRST not in world.reply(SOLICIT, 2, ia(FIRST)).addresses
    assert FIRST not in world.reply(SOLICIT, 3, ia(FIRST), RAPID).addresses
    for client, kind in enumerate((REQUEST, RENEW, REBIND), 4):
        answer = world.say(kind, client, ia(FIRST))
        assert answer is None or FIRST not in answer.addresses
    assert world.book.v6.reserve(mac(7)) != FIRST
    assert not world.book.exclude(FIRST)
    assert world.reply(REQUEST, 1, ia(FIRST)).addresses == [FIRST]


def test_an_offer_is_free_when_another_server_is_chosen(world: World) -> None:
    world.reply(SOLICIT, 1, ia())
    assert world.say(REQUEST, 1, ia(FIRST), server=b"\0\4" + bytes(16)) is None
    assert world.book.leases() == []
    assert world.stats.drop_dhcp6_ignored == 1


@pytest.mark.rfc("8415", "12")
def test_each_interface_of_a_client_has_its_address(world: World) -> None:
    one, two = b"aaaa", b"bbbb"
    offer = world.reply(SOLICIT, 1, ia(iaid=one), ia(iaid=two))
    assert offer.addresses == [FIRST, ip("fec0::16")]
    answer = world.reply(REQUEST, 1, ia(ip("fec0::16"), iaid=two), ia(FIRST, iaid=one))
    assert [(each.iaid, each.addresses[0].address) for each in answer.message.associations] == [
        (two, ip("fec0::16")), (one, FIRST),
    ]  # fmt: skip
    assert len(world.book.leases()) == 2


@pytest.mark.rfc("8415", "18.3.2 times")
def test_all_associations_of_a_client_are_renewed_at_once(world: World) -> None:
    asked = [ia(iaid=bytes(3) + bytes((n,))) for n in range(3)]
    held = world.reply(REQUEST, 1, *asked).addresses
    world.network.run(1000)
    asked = [ia(address, iaid=bytes(3) + bytes((n,))) for n, address in enumerate([*held, ip("fec0::99")])]
    for kind in (REQUEST, RENEW, REBIND):
        found = world.reply(kind, 1, *asked).message.associations
        assert len(found) == 4
        assert {(each.t1, each.t2) for each in found} == {(32_400, 51_840)}


@pytest.mark.rfc("8415", "18.3.2 again")
def test_an_answer_to_a_repeated_request_is_made_anew(world: World) -> None:
    address = world.lease()
    world.network.run(DAY - 100)
    again = world.reply(REQUEST, 1, ia(address))
    assert (again.addresses, lifetimes(again)) == ([address], (32_400, 51_840, 64_800, DAY))
    world.network.run(DAY - 100)
    assert [lease.address for lease in world.book.leases()] == [address]


@pytest.mark.rfc("8415", "13.1 reserved")
@pytest.mark.parametrize(
    "identifier",
    [
        "fdff:ffff:ffff:ff80",
        "fdff:ffff:ffff:ffff",
        "200:5eff:fe00:0",
        "200:5eff:fe00:5213",
        "200:5eff:feff:ffff",
    ],
)
def test_addresses_that_are_not_one_hosts(world: World, identifier: str) -> None:
    wanted = ip(f"fec0::{identifier}")
    assert world.reply(SOLICIT, 1, ia(wanted)).addresses == [FIRST]
    assert world.reply(REQUEST, 2, ia(wanted)).addresses == [ip("fec0::16")]
    assert world.reply(RENEW, 3, ia(wanted)).addresses == [ip("fec0::17")]


@pytest.mark.rfc("8415", "13.1 reserved")
def test_addresses_that_only_look_like_those(world: World) -> None:
    for client, identifier in enumerate(["fdff:ffff:ffff:ff7f", "200:5eff:ff00:0", "fcff:ffff:ffff:ffff"]):
        assert world.reply(SOLICIT, client, ia(ip(f"fec0::{identifier}"))).addresses == [
            ip(f"fec0::{identifier}")
        ]
    small = World(Config(net6="fec0::fdff:ffff:ffff:ff80/121"))
    assert small.reply(SOLICIT, 1, ia()).addresses == [ip("fec0::fdff:ffff:ffff:ff95")]


@pytest.mark.rfc("8415", "13.1 reserved")
def test_the_search_skips_the_routers_addresses_of_a_short_prefix() -> None:
    world = World(Config(net6="2001:db8::/32", dhcpstart6="2001:db8:0:1:ffff:ffff:ffff:ffff"))
    assert [world.lease(client) for client in (1, 2)] == [
        ip("2001:db8:0:1:ffff:ffff:ffff:ffff"), ip("2001:db8:0:2::1"),
    ]  # fmt: skip


@pytest.mark.rfc("8415", "11 types")
@pytest.mark.parametrize("client_id", [b"\0\5x", b"\xff\xff" + bytes(128), b"\0\1\0\x20" + bytes(12)])
def test_identifiers_of_any_type(world: World, client_id: bytes) -> None:
    offer = world.reply(SOLICIT, 1, ia(), client_id=client_id)
    assert (offer.addresses, offer.message.client_id) == ([FIRST], client_id)


@pytest.mark.rfc("8415", "16 unknown")
def test_unknown_options_are_ignored(world: World) -> None:
    strange = [dhcp6.pack_option(code, b"whatever") for code in (17, 200, 65_535)]
    for kind in (SOLICIT, REQUEST, RENEW, REBIND):
        assert world.reply(kind, 1, *strange, ia()).addresses == [FIRST]


@pytest.mark.rfc("8415", "21.4 ignored")
@pytest.mark.rfc("8415", "21.6")
@pytest.mark.rfc("8415", "18.3.3 times")
def test_times_in_a_clients_message_mean_nothing(world: World) -> None:
    wished = dhcp6.ia_na(IAID, 7, 8, dhcp6.ia_address(FIRST, 9, 10))
    for kind in (SOLICIT, REQUEST, RENEW, REBIND):
        assert lifetimes(world.reply(kind, 1, wished)) == (32_400, 51_840, 64_800, DAY)
    assert world.reply(CONFIRM, 1, wished).status == dhcp6.SUCCESS


@pytest.mark.rfc("8415", "21.13")
def test_the_text_of_a_status() -> None:
    world = World(Config(net6="fec0::/126"))
    world.lease(1)
    (association,) = world.reply(REQUEST, 2, ia()).message.associations
    assert association.status == (dhcp6.NO_ADDRESSES, "no address is free")


def test_more_interfaces_than_a_message_may_have(world: World) -> None:
    offer = world.reply(SOLICIT, 1, *(ia(iaid=bytes(3) + bytes((n,))) for n in range(6)))
    assert len(offer.addresses) == 4
    assert offer.statuses == [None] * 4 + [dhcp6.NO_ADDRESSES] * 2


@pytest.mark.rfc("8415", "18.3.2 prefix")
def test_temporary_addresses_and_prefixes_are_refused(world: World) -> None:
    temporary = dhcp6.pack_option(dhcp6.IA_TA, b"tttt")
    prefix = dhcp6.pack_option(dhcp6.IA_PD, b"pppp" + bytes(8))
    for kind in (SOLICIT, REQUEST):
        offer = world.reply(kind, 1, temporary, ia(), prefix)
        assert offer.addresses == [FIRST]
        found = {each.code: each.status and each.status.code for each in offer.message.associations}
        assert found == {dhcp6.IA_NA: None, dhcp6.IA_TA: dhcp6.NO_ADDRESSES, dhcp6.IA_PD: dhcp6.NO_PREFIX}


@pytest.mark.rfc("8415", "18.3.2 none")
@pytest.mark.rfc("8415", "18.3.9 none")
def test_the_pool_can_be_empty() -> None:
    world = World(Config(net6="fec0::/126"))
    assert world.lease(1) == ip("fec0::1")
    offer = world.reply(SOLICIT, 2, ia())
    assert (offer.kind, offer.addresses, offer.statuses) == (ADVERTISE, [], [dhcp6.NO_ADDRESSES])
    assert world.reply(REQUEST, 2, ia()).statuses == [dhcp6.NO_ADDRESSES]
    assert world.reply(SOLICIT, 2, ia(), RAPID).statuses == [dhcp6.NO_ADDRESSES]
    assert world.stats.drop_dhcp_pool_empty == 3
    world.network.run(DAY)
    assert world.lease(2) == ip("fec0::1")


def test_the_pool_starts_at_dhcpstart6_and_wraps() -> None:
    world = World(Config(net6="2001:db8::/124", dhcpstart6="2001:db8::e"))
    found = [world.lease(client) for client in range(13)]
    assert found == [ip(f"2001:db8::{n:x}") for n in (14, 15, 1, *range(4, 14))]
    assert world.reply(SOLICIT, 99, ia()).statuses == [dhcp6.NO_ADDRESSES]


# -------------------------------------------------------------------------------------------- later on


@pytest.mark.rfc("8415", "18.3.4 extend")
@pytest.mark.rfc("8415", "18.3.5 extend")
def test_renewing(world: World) -> None:
    address = world.lease()
    world.network.run(DAY // 2)
    for kind in (RENEW, REBIND):
        answer = world.reply(kind, 1, ia(address))
        assert (answer.kind, answer.addresses, answer.ended) == (REPLY, [address], [])
    world.network.run(DAY - 1)
    assert [lease.address for lease in world.book.leases()] == [address]
    world.network.run(1)
    assert world.book.leases() == []


@pytest.mark.rfc("8415", "18.3.4 new")
@pytest.mark.rfc("8415", "18.3.5 new")
def test_renewing_a_lease_that_is_not_known(world: World) -> None:
    """After a restart without a lease file: the address is free, so the client keeps it."""
    for client, kind in ((1, RENEW), (2, REBIND)):
        address = ip(f"fec0::10{client}")
        assert world.reply(kind, client, ia(address)).addresses == [address]


@pytest.mark.rfc("8415", "18.3.5 only")
def test_renewing_an_address_that_another_has(world: World) -> None:
    world.lease(1)
    for client, kind in ((2, RENEW), (3, REBIND)):
        answer = world.reply(kind, client, ia(FIRST))
        assert answer.ended == [FIRST]
        assert len(answer.addresses) == 1
        assert answer.addresses != [FIRST]


@pytest.mark.rfc("8415", "18.3.4 none")
def test_renewing_without_an_address_left() -> None:
    world = World(Config(net6="fec0::/126"))
    mine = world.lease(1)
    assert world.reply(RENEW, 2, ia(mine)).statuses == [dhcp6.NO_ADDRESSES]
    again = world.reply(REBIND, 2, ia(mine))
    assert (again.ended, again.addresses, again.statuses) == ([mine], [], [None])
    assert world.reply(REBIND, 2, ia()).statuses == [dhcp6.NO_ADDRESSES]


@pytest.mark.rfc("8415", "18.3.4 link")
@pytest.mark.rfc("8415", "18.3.5 link")
def test_renewing_an_address_of_another_network(world: World) -> None:
    for kind in (RENEW, REBIND):
        answer = world.reply(kind, 1, ia(ip("2001:db8::1")))
        assert (answer.addresses, answer.ended) == ([FIRST], [ip("2001:db8::1")])


@pytest.mark.rfc("8415", "18.3.3 link")
@pytest.mark.rfc("8415", "18.3.3 none")
def test_confirming(world: World) -> None:
    """RFC 8415 section 18.3.3: on-link is all that counts, and a question without addresses gets no answer."""
    for address, status in (
        ("fec0::15", dhcp6.SUCCESS), ("fec0::dead:beef", dhcp6.SUCCESS), ("2001:db8::1", dhcp6.NOT_ON_LINK),
        ("fec0:0:0:1::1", dhcp6.NOT_ON_LINK),
    ):  # fmt: skip
        answer = world.reply(CONFIRM, 1, ia(ip(address)))
        assert (answer.kind, answer.status, answer.message.associations) == (REPLY, status, ())
    assert world.reply(CONFIRM, 1, ia(FIRST), ia(ip("2001:db8::1"))).status == dhcp6.NOT_ON_LINK
    assert world.say(CONFIRM, 1, ia()) is None
    assert world.stats.drop_dhcp6_ignored == 1


@pytest.mark.rfc("8415", "18.3.7 free")
@pytest.mark.rfc("8415", "18.3.7 status")
def test_releasing(world: World) -> None:
    address = world.lease()
    answer = world.reply(RELEASE, 1, ia(address))
    assert (answer.kind, answer.status, answer.message.associations) == (REPLY, dhcp6.SUCCESS, ())
    assert world.book.leases() == []
    again = world.reply(RELEASE, 1, ia(address))
    assert (again.status, again.statuses) == (dhcp6.SUCCESS, [dhcp6.NO_BINDING])
    assert world.stats.dhcp6_release == 1


@pytest.mark.rfc("8415", "18.3.7 free")
def test_a_release_of_another_clients_lease_is_refused(world: World) -> None:
    address = world.lease(1)
    assert world.reply(RELEASE, 2, ia(address)).statuses == [dhcp6.NO_BINDING]
    stolen = world.reply(RELEASE, 2, ia(address), client_id=duid(1))  # from another card
    assert stolen.statuses == [dhcp6.NO_BINDING]
    assert [lease.address for lease in world.book.leases()] == [address]


@pytest.mark.rfc("8415", "18.3.8 mark")
@pytest.mark.rfc("8415", "18.3.8 others")
@pytest.mark.rfc("8415", "18.3.8 status")
def test_declining(world: World) -> None:
    """RFC 8415 section 18.3.8: nobody gets the address for ten minutes."""
    address = world.lease()
    assert world.reply(DECLINE, 1, ia(address)).status == dhcp6.SUCCESS
    assert [lease.state for lease in world.book.leases()] == [LeaseState.DECLINED]
    assert world.lease(1) == ip("fec0::16")
    assert world.reply(SOLICIT, 2, ia(address)).addresses == [ip("fec0::17")]
    assert world.reply(DECLINE, 3, ia(address)).statuses == [dhcp6.NO_BINDING]
    assert world.stats.dhcp6_decline == 1
    world.network.run(600)
    assert world.reply(SOLICIT, 4, ia(address)).addresses == [address]


@pytest.mark.rfc("8415", "21.4 times")
@pytest.mark.parametrize(("seconds", "expected"), [
    (2, (1, 1, 1, 2)), (3, (1, 1, 2, 3)), (100, (37, 60, 75, 100)), (3600, (1350, 2160, 2700, 3600)),
])  # fmt: skip
def test_lifetimes(seconds: int, expected: tuple[int, ...]) -> None:
    """RFC 8415 section 21.4: half and four fifths of the preferred lifetime."""
    assert lifetimes(World(Config(lease_time=seconds)).reply(SOLICIT, 1, ia())) == expected


@pytest.mark.rfc("8415", "7.7")
@pytest.mark.rfc("8415", "21.4 times")
def test_a_lease_forever() -> None:
    world = World(Config(lease_time=0xFFFFFFFF))
    world.lease()
    assert lifetimes(world.reply(RENEW, 1, ia(FIRST))) == (0xFFFFFFFF,) * 4
    world.network.run(DAY * 365 * 200)
    assert len(world.book.leases()) == 1


# ----------------------------------------------------------------------------------------- information


@pytest.mark.rfc("8415", "18.3.6 parameters")
@pytest.mark.rfc("8415", "18.3.6 anonymous")
@pytest.mark.rfc("8415", "16.10 identifier")
@pytest.mark.rfc("8415", "10")
@pytest.mark.rfc("8415", "21.23 requested")
def test_information_only() -> None:
    """RFC 8415 section 18.3.7, RFC 3646, section 21.23."""
    world = World(Config(dnssearch=["example.org", "lan"]))
    answer = world.reply(INFORMATION_REQUEST, 1, oro(23, 24, 32))
    assert (answer.kind, answer.message.dns_servers) == (REPLY, (ip("fec0::3"),))
    assert answer.message.domains == ("example.org", "lan")
    assert number(answer.options[dhcp6.INFORMATION_REFRESH_TIME]) == DAY
    assert (answer.message.client_id, answer.message.server_id) == (duid(1), SERVER_ID)
    assert world.book.leases() == []
    anonymous = world.reply(INFORMATION_REQUEST, 1, client_id=None)
    assert (anonymous.message.client_id, anonymous.message.dns_servers) == (None, (ip("fec0::3"),))
    assert world.say(INFORMATION_REQUEST, 1, server=SERVER_ID) is not None


@pytest.mark.rfc("8415", "18.3 requested")
@pytest.mark.rfc("8415", "18.3 more")
@pytest.mark.rfc("8415", "21.7")
@pytest.mark.rfc("8415", "21.23 only")
def test_a_client_gets_the_options_it_requests() -> None:
    world = World(Config(dnssearch=["lan"], bootfile="boot"))
    assert set(world.reply(SOLICIT, 1, ia()).options) == {1, 2, 3, 7, 23, 24, 59}
    assert set(world.reply(SOLICIT, 1, ia(), oro(24)).options) == {1, 2, 3, 7, 24}
    assert set(world.reply(SOLICIT, 1, ia(), oro()).options) == {1, 2, 3, 7}
    assert set(world.reply(REQUEST, 1, ia(), oro(32, 23, 999)).options) == {1, 2, 3, 23}


@pytest.mark.rfc("8415", "21.23 least")
def test_the_refresh_time_has_a_minimum() -> None:
    answer = World(Config(lease_time=10)).reply(INFORMATION_REQUEST)
    assert number(answer.options[32]) == 600


def test_a_restricted_network_names_no_dns_server() -> None:
    world = World(Config(restrict=True, dnssearch=["lan"]))
    assert set(world.reply(INFORMATION_REQUEST).options) == {1, 2, 24, 32}


def test_the_domain_is_searched_if_there_is_no_list() -> None:
    assert World(Config(domainname="example.org")).reply(INFORMATION_REQUEST).message.domains == (
        "example.org",
    )


# ------------------------------------------------------------------------------------ what is not answered


@pytest.mark.rfc("8415", "16.2")
@pytest.mark.rfc("8415", "16.4")
@pytest.mark.rfc("8415", "16.5")
@pytest.mark.rfc("8415", "16.6")
@pytest.mark.rfc("8415", "16.7")
@pytest.mark.rfc("8415", "16.8")
@pytest.mark.rfc("8415", "16.9")
@pytest.mark.rfc("8415", "16.12 server")
@pytest.mark.rfc("8415", "16.12 association")
def test_messages_without_required_options_are_dropped(world: World) -> None:
    """RFC 8415 section 16."""
    for kind in (SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE):
        assert world.say(kind, 1, ia(FIRST), client_id=None) is None
    for kind in (SOLICIT, CONFIRM, REBIND):
        assert world.say(kind, 1, ia(FIRST), server=SERVER_ID) is None
    for kind in (REQUEST, RENEW, RELEASE, DECLINE):
        assert world.say(kind, 1, ia(FIRST), server=None) is None
        assert world.say(kind, 1, ia(FIRST), server=b"\0\3\0\1other!") is None
    assert world.say(INFORMATION_REQUEST, 1, ia()) is None
    assert world.say(INFORMATION_REQUEST, 1, server=b"\0\3\0\1other!") is None
    assert world.stats.drop_dhcp6_ignored == 7 + 3 + 8 + 2
    assert world.book.leases() == []


@pytest.mark.rfc("8415", "16 types")
@pytest.mark.rfc("8415", "16.3")
@pytest.mark.rfc("8415", "16.10 discard")
@pytest.mark.rfc("8415", "16.11")
@pytest.mark.rfc("8415", "16.14")
@pytest.mark.parametrize("kind", [0, 2, 7, 10, 12, 13, 14, 99])
def test_messages_that_are_not_for_servers(world: World, kind: int) -> None:
    assert world.say(kind, 1, ia()) is None
    assert world.stats.drop_dhcp6_ignored + world.stats.drop_dhcp6_malformed == 1


@pytest.mark.parametrize("payload", [b"", b"\1\0\0", b"\1abc\0\1", b"\1abc\0\1\0\x09short"])
def test_malformed_messages_are_dropped(world: World, payload: bytes) -> None:
    assert world.hear(payload) == []
    assert world.stats.drop_dhcp6_malformed == 1


def test_messages_from_nowhere(world: World) -> None:
    assert world.say(SOLICIT, 1, ia(), source=bytes(16)) is None
    assert world.say(SOLICIT, 1, ia(), mac=bytes(6)) is None
    assert world.say(SOLICIT, 1, ia(), mac=b"\1" + bytes(5)) is None
    assert world.stats.drop_dhcp6_malformed == 3


@pytest.mark.rfc("8415", "16 unicast")
@pytest.mark.rfc("8415", "18.4")
def test_messages_to_one_address(world: World) -> None:
    """RFC 8415 section 18.4: clients use multicast unless the server permits unicast."""
    address = world.lease()
    for destination in (GATEWAY, ROUTER):
        for kind in (REQUEST, RENEW, RELEASE, DECLINE):
            answer = world.reply(kind, 1, ia(address), destination=destination)
            assert (answer.kind, answer.status) == (REPLY, dhcp6.USE_MULTICAST)
            assert answer.message.associations == ()
            assert set(answer.options) == {dhcp6.CLIENT_ID, dhcp6.SERVER_ID, dhcp6.STATUS_CODE}
        for kind in (SOLICIT, CONFIRM, REBIND):
            assert world.say(kind, 1, ia(address), destination=destination) is None
        assert world.say(INFORMATION_REQUEST, 1, destination=destination) is None
    assert [lease.state for lease in world.book.leases()] == [LeaseState.BOUND]


def test_counters(world: World) -> None:
    address = world.lease()
    for kind in (RENEW, REBIND, CONFIRM):
        world.reply(kind, 1, ia(address))
    world.reply(INFORMATION_REQUEST)
    world.reply(DECLINE, 1, ia(address))
    world.reply(RELEASE, 1, ia(world.lease()))
    found = {name: count for name, count in world.stats.nonzero().items() if "dhcp" in name}
    assert found == {
        "dhcp6_solicit": 2, "dhcp6_request": 2, "dhcp6_renew": 2, "dhcp6_confirm": 1, "dhcp6_inform": 1,
        "dhcp6_release": 1, "dhcp6_decline": 1, "dhcp6_advertise": 2, "dhcp6_reply": 8,
    }  # fmt: skip
