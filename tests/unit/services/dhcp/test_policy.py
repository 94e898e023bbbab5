"""Decisions about a lease: rules for one client, the lease policy, and the boot files of firmwares."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest
from slirpy.errors import ConfigError
from slirpy.services.dhcp import LeaseState
from tests.unit.services.dhcp.world import (
    ACK,
    DAY,
    DECLINE,
    DISCOVER,
    GATEWAY,
    INFORM,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    Reply,
    World,
    ip,
    mac,
)  # fmt: skip

WEB = f"{mac(1).hex(':')}=10.0.2.50,web"
FOREVER = 0xFFFFFFFF
PXE = (60, b"PXEClient:Arch:00000:UNDI:002001")


def static(*rules: str, **more: Any) -> World:
    return World(Config(static_leases=rules, **more))


# ------------------------------------------------------------------------------------- static leases


def test_a_static_lease_is_for_its_client_only() -> None:
    world = static(WEB, "id:db=10.0.2.15", net="10.0.2.0/26", dhcpstart="10.0.2.48")
    assert world.lease(2) == ip("10.0.2.48")
    assert world.lease(1) == ip("10.0.2.50")
    assert world.lease(3, (61, b"db")) == ip("10.0.2.15")
    assert world.reply(REQUEST, 4, (50, ip("10.0.2.50"))).kind == NAK
    assert world.lease(4, (50, ip("10.0.2.50"))) == ip("10.0.2.49")
    assert world.lease(5) == ip("10.0.2.51")
    names = {lease.address: lease.hostname for lease in world.book.leases()}
    assert names[ip("10.0.2.50")] == "web"


def test_a_static_lease_is_kept_free_until_its_client_comes() -> None:
    world = static(f"{mac(1).hex(':')}=10.0.2.5", net="10.0.2.0/29", dhcpstart="10.0.2.4")
    assert [world.lease(n) for n in (2, 3, 4)] == [ip(f"10.0.2.{n}") for n in (4, 6, 1)]
    assert world.say(DISCOVER, 5) is None
    assert world.lease(1) == ip("10.0.2.5")


def test_an_expired_static_lease_is_kept_for_its_client() -> None:
    world = static(f"{mac(1).hex(':')}=10.0.2.4", net="10.0.2.0/29", dhcpstart="10.0.2.4")
    world.lease(1)
    others = [world.lease(n) for n in (2, 3, 4)]
    assert others == [ip(f"10.0.2.{n}") for n in (5, 6, 1)]
    world.network.run(2 * DAY)
    assert [world.lease(n) for n in (5, 6, 7)] == others
    assert world.say(DISCOVER, 8) is None
    assert world.reply(REQUEST, 8, (50, ip("10.0.2.4"))).kind == NAK
    assert world.lease(1) == ip("10.0.2.4")


def test_a_static_client_gets_its_name_and_no_other_address() -> None:
    world = static(WEB, hostname="guest")
    offer = world.reply(DISCOVER, 1, (50, ip("10.0.2.77")), (12, b"own"))
    assert (offer.yiaddr, offer.options[12]) == (ip("10.0.2.50"), b"web")
    assert world.reply(REQUEST, 1, (50, ip("10.0.2.77"))).kind == NAK
    assert world.reply(DISCOVER, 2).options[12] == b"guest"
    assert world.reply(None, 1).yiaddr == ip("10.0.2.50")  # BOOTP


def test_a_rule_for_the_identifier_goes_before_that_for_the_mac_address() -> None:
    world = static(WEB, "id:ff:01=10.0.2.60")
    assert world.lease(1, (61, b"\xff\1")) == ip("10.0.2.60")
    assert world.lease(1, (61, b"\xff\2")) == ip("10.0.2.50")
    assert world.lease(2, (61, b"\xff\1")) == ip("10.0.2.60")


def test_a_static_lease_is_the_same_for_all_identities_of_a_machine() -> None:
    world = static(WEB)
    for identity in ((), ((61, b"\xffabc"),), ((61, b"\xffdef"),), (PXE,), ((61, b"\1" + mac(1)),)):
        assert world.lease(1, *identity) == ip("10.0.2.50")
    assert len(world.book.leases()) == 1


def test_a_static_lease_that_is_declined_is_replaced_for_a_while() -> None:
    world = static(WEB)
    address = world.lease(1)
    world.say(DECLINE, 1, (50, address), (54, GATEWAY))
    assert world.lease(1) == ip("10.0.2.15")
    world.network.run(601)
    assert world.reply(REQUEST, ciaddr=ip("10.0.2.15")).kind == NAK
    assert world.lease(1) == address
    assert [lease.address for lease in world.book.leases()] == [address]


def test_static_leases_are_reserved_released_and_named_as_others_are() -> None:
    world = static(WEB)
    assert world.book.v4.reserve(mac(1)) == ip("10.0.2.50")
    assert world.address_of("WEB") == ip("10.0.2.50")
    world.say(RELEASE, 1, ciaddr=ip("10.0.2.50"))
    assert world.address_of("web") is None
    assert world.book.v4.first_lease() is None
    assert world.book.leases() == []
    assert world.lease(1) == ip("10.0.2.50")


def test_addresses_of_servers_that_come_later_are_not_leased() -> None:
    world = static(WEB, net="10.0.2.0/26", dhcpstart="10.0.2.60")
    first = world.lease(1), world.lease(2)
    assert first == (ip("10.0.2.50"), ip("10.0.2.60"))
    for taken in (*first, ip("10.0.2.50")):
        assert not world.book.exclude(taken)
    world.say(RELEASE, 2, ciaddr=ip("10.0.2.60"))
    for address in ("10.0.2.60", "10.0.2.61", "10.0.2.2", "192.0.2.1"):
        assert world.book.exclude(ip(address))
    assert world.lease(2) == ip("10.0.2.62")
    assert world.reply(REQUEST, 3, (50, ip("10.0.2.61"))).kind == NAK
    leased = 1
    while world.say(DISCOVER, 100 + leased) is not None:
        leased += 1
    assert leased == 62 - 2 - 2 - 1  # of all: the gateway and the name server, two servers, one static lease


# -------------------------------------------------------------------------------------------- names


def test_names_of_guests_are_the_first_ones() -> None:
    world = World()
    world.reply(DISCOVER, 1, (12, b"box"))
    assert world.address_of("box") is None  # offered only
    first = world.lease(2, (12, b"Box"))
    assert world.address_of("box") == first
    second = world.lease(3, (12, b"box"))
    assert world.address_of("BOX") == first
    assert world.book.names() == [("Box", first)]
    world.say(RELEASE, 2, ciaddr=first)
    assert world.address_of("box") is None
    assert world.book.names() == []
    world.reply(REQUEST, 3, (12, b"box"), ciaddr=second)
    assert world.address_of("box") == second
    world.network.run(DAY)
    assert world.address_of("box") is None
    assert world.lease(4, (12, b"box")) == world.address_of("box")


def test_a_name_assigned_by_a_rule_cannot_be_taken() -> None:
    world = static(WEB)
    thief = world.lease(2, (12, b"web"))
    assert world.address_of("web") == thief
    assert world.address_of("web") != world.lease(1)
    assert world.address_of("web") == ip("10.0.2.50")
    world.reply(REQUEST, 2, (12, b"web"), ciaddr=thief)
    assert world.address_of("web") == ip("10.0.2.50")


# --------------------------------------------------------------------------------------- lease times


@pytest.mark.parametrize("seconds", [2, 3, 60, 7 * DAY])
def test_the_lease_time_is_sent_and_applied(seconds: int) -> None:
    world = World(Config(lease_time=seconds))
    address = world.lease()
    options = world.reply(REQUEST, ciaddr=address).options
    times = [int.from_bytes(options[code], "big") for code in (58, 59, 51)]
    assert times == [seconds // 2, seconds * 7 // 8, seconds]
    assert 0 < times[0] <= times[1] < times[2]
    world.network.run(seconds - 1)
    assert world.book.v4.first_lease() == address
    world.network.run(1)
    assert world.book.v4.first_lease() is None


def test_a_lease_for_ever() -> None:
    world = World(Config(lease_time=FOREVER))
    address = world.lease()
    options = world.reply(REQUEST, ciaddr=address).options
    assert options[51] == b"\xff" * 4
    assert not {58, 59} & set(options)
    world.network.run(1000 * DAY)
    assert world.book.v4.first_lease() == address


# ----------------------------------------------------------------------------------------- the policy


class Policy:
    """Policy that returns what it was given, and records its requests."""

    def __init__(self, answer: DhcpAnswer | None = None) -> None:
        self.answer = answer
        self.asked: list[DhcpRequest] = []

    def __call__(self, request: DhcpRequest) -> DhcpAnswer | None:
        self.asked.append(request)
        return self.answer

    def world(self, **more: Any) -> World:
        return World(Config(lease_policy=self, **more))


def test_the_policy_gets_all_fields_of_a_request() -> None:
    policy = Policy()
    world = policy.world()
    asks = ((12, b"box"), (60, b"HTTPClient:Arch:00016"), (61, b"\0uuid"), (77, b"iPXE"), (93, b"\0\x10\0\7"))
    world.reply(DISCOVER, 1, (50, ip("10.0.2.99")), *asks)
    world.reply(REQUEST, 1, *asks, ciaddr=ip("10.0.2.99"))
    world.reply(INFORM, 2, (93, b"x"), ciaddr=ip("10.0.2.98"))
    world.reply(None, 3)
    discover, request, inform, bootp = policy.asked
    assert discover == DhcpRequest(
        "discover", mac(1).hex(":"), b"\0uuid", "box", b"HTTPClient:Arch:00016", b"iPXE", 16,
        IPv4Address("10.0.2.99"), dict((*asks, (50, ip("10.0.2.99")), (53, b"\1"))),
    )  # fmt: skip
    assert (request.kind, request.requested) == ("request", IPv4Address("10.0.2.99"))
    assert inform[:8] == ("inform", mac(2).hex(":"), None, None, b"", b"", None, IPv4Address("10.0.2.98"))
    assert bootp == ("bootp", mac(3).hex(":"), None, None, b"", b"", None, None, {}, 4)


def test_the_policy_is_not_called_for_messages_without_a_reply() -> None:
    policy = Policy()
    world = policy.world()
    world.say(REQUEST)
    world.say(REQUEST, 1, (50, ip("10.0.2.15")), (54, ip("10.0.2.99")))
    world.say(RELEASE)
    world.say(DECLINE, 1, (50, ip("10.0.2.15")))
    assert policy.asked == []


def test_a_client_refused_by_the_policy_gets_no_lease() -> None:
    policy = Policy(DhcpAnswer(refuse=True))
    world = policy.world()
    assert world.say(DISCOVER) is None
    assert world.say(INFORM, ciaddr=ip("10.0.2.98")) is None
    assert world.say(None) is None
    assert world.stats.drop_dhcp_refused == 3
    nak = world.reply(REQUEST, 1, (50, ip("10.0.2.15")))
    assert nak.kind == NAK
    assert b"policy" in nak.options[56]
    assert world.book.leases() == []


def test_an_answer_of_the_policy_overrides_the_configuration() -> None:
    answer = DhcpAnswer(
        address=IPv4Address("10.0.2.70"),
        hostname="given",
        lease_time=120,
        bootfile="x.efi",
        tftp_server_name="10.0.2.9",
        options={42: ip("10.0.2.2"), 3: None, 6: ip("9.9.9.9")},
    )
    world = Policy(answer).world(hostname="guest", bootfile="y", domainname="example.test")
    wanted = (55, bytes((66, 67)))
    for reply in (world.reply(DISCOVER, 1, wanted), world.reply(REQUEST, 1, (50, ip("10.0.2.70")), wanted)):
        assert reply.yiaddr == ip("10.0.2.70")
        options = reply.options
        assert (options[12], options[15], options[42], options[6]) == (
            b"given", b"example.test", ip("10.0.2.2"), ip("9.9.9.9"),
        )  # fmt: skip
        assert (options[67], options[66], options[51]) == (b"x.efi", b"10.0.2.9", (120).to_bytes(4, "big"))
        assert 3 not in options
        assert reply.header.siaddr == int.from_bytes(ip("10.0.2.9"), "big")
    (lease,) = world.book.leases()
    assert (lease.hostname, lease.seconds) == ("given", 120)
    world.network.run(120)
    assert world.book.leases() == []


def test_an_address_that_the_policy_gives_is_one_guests_only() -> None:
    world = Policy(DhcpAnswer(address=IPv4Address("10.0.2.70"))).world()
    assert world.lease(1) == ip("10.0.2.70")
    assert world.say(DISCOVER, 2) is None
    assert world.reply(REQUEST, 2, (50, ip("10.0.2.70"))).kind == NAK
    assert world.reply(REQUEST, 1, (50, ip("10.0.2.71"))).kind == NAK
    assert world.lease(1) == ip("10.0.2.70")
    world.say(RELEASE, 1, ciaddr=ip("10.0.2.70"))
    assert world.lease(2) == ip("10.0.2.70")


@pytest.mark.parametrize("address", ["10.0.2.2", "10.0.2.50", "10.0.2.255", "192.0.2.1"])
def test_an_address_that_is_not_free_is_not_given(address: str) -> None:
    world = Policy(DhcpAnswer(address=IPv4Address(address))).world(static_leases=[WEB])
    assert world.say(DISCOVER, 2) is None
    assert world.stats.drop_dhcp_pool_empty == 1


def test_a_guest_moved_by_the_policy_gives_up_its_old_lease() -> None:
    policy = Policy()
    world = policy.world()
    old = world.lease()
    policy.answer = DhcpAnswer(address=IPv4Address("10.0.2.70"))
    assert world.reply(REQUEST, ciaddr=old).kind == NAK
    assert world.lease() == ip("10.0.2.70")
    assert [lease.address for lease in world.book.leases()] == [ip("10.0.2.70")]
    assert world.book.v4.first_lease() == ip("10.0.2.70")


def test_the_policy_goes_before_the_rules() -> None:
    world = Policy(DhcpAnswer(hostname="other")).world(static_leases=[WEB])
    offer = world.reply(DISCOVER)
    assert (offer.yiaddr, offer.options[12]) == (ip("10.0.2.50"), b"other")
    world = Policy(DhcpAnswer(address=IPv4Address("10.0.2.70"))).world(static_leases=[WEB])
    assert world.lease(1) == ip("10.0.2.70")
    assert world.address_of("web") == ip("10.0.2.70")


def test_a_policy_returning_another_type_raises_config_error() -> None:
    world = World(Config(lease_policy=lambda request: "10.0.2.15"))  # type: ignore[arg-type, return-value] # the mistake
    with pytest.raises(ConfigError, match="DhcpAnswer or None"):
        world.say(DISCOVER)


# -------------------------------------------------------------------------------------------- booting


def text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


@pytest.mark.parametrize("kind", [DISCOVER, INFORM, None])
def test_boot_information_for_pxe_firmware(kind: int | None) -> None:
    world = World(Config(bootfile="pxelinux.0", tftp_server_name="boot.example.test"))
    reply = world.reply(kind, 1, PXE, (55, bytes((1, 3, 66, 67))), (93, b"\0\0"), (97, b"\0" + bytes(16)))
    assert text(reply.header.file) == "pxelinux.0"
    assert text(reply.header.sname) == "boot.example.test"
    assert reply.header.siaddr == int.from_bytes(GATEWAY, "big")
    assert reply.options.get(66) == (None if kind is None else b"boot.example.test")
    assert reply.options.get(67) == (None if kind is None else b"pxelinux.0")
    assert reply.options.get(97) == (None if kind is None else b"\0" + bytes(16))
    assert 60 not in reply.options


def test_a_nak_tells_nothing_of_booting() -> None:
    reply = World(Config(bootfile="pxelinux.0", tftp_server_name="x")).reply(REQUEST, 1, (50, ip("9.9.9.9")))
    assert (reply.header.file, reply.header.sname, reply.header.siaddr) == (bytes(128), bytes(64), 0)


def test_http_boot() -> None:
    url = "http://10.0.2.2:8000/" + "x" * 120 + ".efi"
    reply = World(Config(bootfile=url)).reply(DISCOVER, 1, (60, b"HTTPClient:Arch:00016"), (93, b"\0\x10"))
    assert reply.options[60] == b"HTTPClient"
    assert reply.options[67] == url.encode()
    assert text(reply.header.file) == ""  # too long for it


def test_a_boot_file_for_each_architecture() -> None:
    files = {0: "bios.0", 7: "x64.efi", 16: "http://10.0.2.2/x64.efi"}
    world = World(Config(bootfile=lambda request: files.get(request.architecture or 0)))
    for number, name in files.items():
        offer = world.reply(DISCOVER, 1, PXE, (93, number.to_bytes(2, "big")))
        assert text(offer.header.file) == name
        assert (60 in offer.options) == name.startswith("http")
    assert text(world.reply(DISCOVER, 1, PXE, (93, b"\0\x0b")).header.file) == ""
    bad = World(Config(bootfile=lambda request: "x" * 300))
    with pytest.raises(ConfigError, match="bootfile"):
        bad.say(DISCOVER)


def test_the_boot_file_stays_where_options_would_go() -> None:
    config = Config(
        bootfile="b" * 127,
        tftp_server_name="t" * 63,
        hostname=".".join(["h" * 49] * 4),
        domainname="d" * 60,
        mtu=576,
    )
    reply = World(config).reply(DISCOVER, 1, (55, bytes((67, 66, 12, 15))))
    assert len(reply.sent.payload) <= 576 - 28
    assert text(reply.header.file) == "b" * 127
    assert reply.options[67] == b"b" * 127
    assert reply.options[66] == b"t" * 63
    assert reply.options[52] == b"\2"  # the name of the server made room
    assert reply.header.sname[0] != ord("t")


# ------------------------------------------------------------------------------------ other options


def test_classless_routes_have_the_default_route_too() -> None:
    routes = ["192.0.2.0/24=10.0.2.9", "198.51.100.128/25", "10.0.0.0/8=0.0.0.0", "203.0.113.7/32"]
    value = World(Config(routes=routes)).reply(DISCOVER).options[121]
    assert value == (
        b"\0" + GATEWAY
        + bytes((24, 192, 0, 2)) + ip("10.0.2.9")
        + bytes((25, 198, 51, 100, 128)) + GATEWAY
        + bytes((8, 10)) + bytes(4)
        + bytes((32, 203, 0, 113, 7)) + GATEWAY
    )  # fmt: skip
    own = World(Config(routes=["0.0.0.0/0=10.0.2.9"])).reply(DISCOVER).options[121]
    assert own == b"\0" + ip("10.0.2.9")


def test_restrict_omits_routers_dns_and_routes() -> None:
    reply = World(Config(restrict=True, routes=["192.0.2.0/24"])).reply(DISCOVER)
    assert not {3, 6, 121} & set(reply.options)
    assert {1, 26, 28, 51, 54} <= set(reply.options)


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, INFORM])
def test_relay_agent_information_is_echoed(kind: int) -> None:
    relayed = b"\1\4port\2\3box"
    reply = World().reply(kind, 1, (82, relayed), (50, ip("10.0.2.15")), ciaddr=ip("10.0.2.15"))
    assert reply.options[82] == relayed
    nak: Reply = World().reply(REQUEST, 1, (82, relayed), (50, ip("9.9.9.9")))
    assert (nak.kind, nak.options[82]) == (NAK, relayed)


# ----------------------------------------------------------------------------------------- starvation


def test_ten_thousand_clients_take_nothing_from_those_that_are_there() -> None:
    world = World(Config(net="10.0.2.0/25", static_leases=[WEB]))
    mine = [world.lease(2), world.lease(3)]
    for client in range(1000, 11_000):
        offer = world.say(DISCOVER, client)
        if offer is not None and client % 2:
            assert world.reply(REQUEST, client, (50, offer.yiaddr)).kind == ACK
    assert world.stats.drop_dhcp_pool_empty > 9_800
    table = world.book.v4.table
    assert len(table) <= 125
    assert len(table._index) <= 2 * 125
    assert len(table._expiry) <= 2 * 125 + 64
    for client, address in zip((2, 3), mine, strict=True):
        assert world.reply(REQUEST, client, ciaddr=address).kind == ACK
    assert world.lease(1) == ip("10.0.2.50")
    assert world.say(DISCOVER, 4) is None
    world.network.run(60)  # what was offered only is free again
    assert world.reply(DISCOVER, 4).kind == OFFER
    assert [lease.state for lease in world.book.leases() if lease.mac == mac(2)] == [LeaseState.BOUND]
