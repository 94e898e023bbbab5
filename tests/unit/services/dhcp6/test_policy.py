"""Static leases, the lease policy and host names, as with DHCPv4; and the file in which both keep their leases."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest, StaticLease
from slirpy.errors import ConfigError, StateError
from slirpy.services.dhcp import DhcpService, LeaseFile
from slirpy.services.dhcp.lease import Client
from slirpy.wire import dhcp6
from tests.support.fake_network import SECOND
from tests.unit.services.dhcp6.world import (
    ADVERTISE,
    DECLINE,
    INFORMATION_REQUEST,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SOLICIT,
    World,
    duid,
    ia,
    ip,
    lifetimes,
    mac,
    oro,
)  # fmt: skip

FIRST, FIFTY = ip("fec0::15"), ip("fec0::50")


def fqdn(name: str, flags: int = 1) -> bytes:
    """A client's name that is not complete (RFC 4704)."""
    value = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return dhcp6.pack_option(dhcp6.CLIENT_FQDN, bytes((flags,)) + value)


# ------------------------------------------------------------------------------------------ static leases


@pytest.mark.parametrize("who", [mac(1).hex(":"), "id:" + duid(1).hex(":")])
def test_a_static_lease(who: str) -> None:
    world = World(Config(static_leases=[f"{who}=fec0::50,web"]))
    assert world.lease(2) == FIRST
    assert world.reply(SOLICIT, 2, ia(FIFTY)).addresses == [FIRST]  # nobody else gets it
    assert world.lease(1) == FIFTY
    assert world.address_of("web") == FIFTY


def test_static_leases_of_both_families_do_not_mix() -> None:
    world = World(Config(static_leases=[f"{mac(1).hex(':')}=10.0.2.50", f"{mac(1).hex(':')}=fec0::50"]))
    assert world.lease(1) == FIFTY
    assert world.book.v4.reserve(mac(1)) == bytes((10, 0, 2, 50))
    only4 = World(Config(static_leases=[f"{mac(1).hex(':')}=10.0.2.50"]))
    assert only4.lease(1) == FIRST


def test_the_rule_for_an_identifier_goes_first() -> None:
    world = World(Config(static_leases=[f"{mac(1).hex(':')}=fec0::51", f"id:{duid(1).hex(':')}=fec0::50"]))
    assert world.lease(1) == FIFTY


def test_a_client_changes_to_its_static_address_when_it_renews(tmp_path: Path) -> None:
    store = LeaseFile(tmp_path / "leases", lambda: 0)
    old = World(store=store)
    assert old.lease(1) == FIRST
    old.book.close()
    new = World(Config(static_leases=[f"{mac(1).hex(':')}=fec0::50"]), store)
    answer = new.reply(RENEW, 1, ia(FIRST))
    assert (answer.addresses, answer.ended) == ([FIFTY], [FIRST])
    assert [lease.address for lease in new.book.leases()] == [FIFTY]


def test_only_one_interface_gets_the_static_address() -> None:
    world = World(Config(static_leases=[f"id:{duid(1).hex(':')}=fec0::50"]))
    one, two = b"aaaa", b"bbbb"
    assert world.reply(SOLICIT, 1, ia(iaid=one), ia(iaid=two)).addresses == [FIFTY, FIRST]
    assert world.reply(REQUEST, 1, ia(iaid=one), ia(iaid=two)).addresses == [FIFTY, FIRST]
    for order in ((one, two), (two, one)):
        answer = world.reply(RENEW, 1, *(ia(iaid=each) for each in order))
        found = {each.iaid: each.addresses[0].address for each in answer.message.associations}
        assert found == {one: FIFTY, two: FIRST}


def test_a_declined_static_address_is_replaced() -> None:
    world = World(Config(static_leases=[f"{mac(1).hex(':')}=fec0::50"]))
    assert world.lease(1) == FIFTY
    world.reply(DECLINE, 1, ia(FIFTY))
    assert world.lease(1) == FIRST
    world.network.run(600)
    assert world.reply(RENEW, 1, ia(FIRST)).addresses == [FIFTY]


@pytest.mark.parametrize(("rules", "why"), [
    ([f"{mac(1).hex(':')}=2001:db8::1"], "2001:db8::1 is not an address of a host in fec0::/64"),
    ([f"{mac(1).hex(':')}=fec0::"], "fec0:: is not an address of a host in fec0::/64"),
    ([f"{mac(1).hex(':')}=fec0::2"], "fec0::2 belongs to a virtual server"),
    ([f"{mac(1).hex(':')}=fec0::3"], "fec0::3 belongs to a virtual server"),
    ([f"{mac(1).hex(':')}=fec0::9", f"{mac(1).hex(':')}=fec0::10"], "another rule for the same client"),
    (["id:ab=fec0::9", "id:abc=fec0::9"], "another rule for the same client or address"),
    (["id:ab=fec0:::9"], '"fec0:::9" is not an IP address'),
])  # fmt: skip
def test_static_leases_that_cannot_be(rules: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Config(static_leases=rules)


def test_static_leases_as_objects() -> None:
    lease = StaticLease(IPv6Address("fec0::50"), client_id=duid(1))
    assert str(lease) == f"id:{duid(1).hex(':')}=fec0::50"
    assert World(Config(static_leases=[lease])).lease(1) == FIFTY


@pytest.mark.parametrize("start", ["fec0::2", "fec0::3", "2001:db8::1", "fec0::", "10.0.2.15", 7])
def test_starts_of_the_pool_that_cannot_be(start: str) -> None:
    with pytest.raises(ConfigError, match="dhcpstart6"):
        Config(dhcpstart6=start)


def test_the_default_start_of_the_pool() -> None:
    assert Config().dhcpstart6 == IPv6Address("fec0::15")
    assert Config(net6="fec0::/126").dhcpstart6 == IPv6Address("fec0::1")
    assert Config(net6="fec0::/124").dhcpstart6 == IPv6Address("fec0::1")
    assert Config(host6="fec0::15").dhcpstart6 == IPv6Address("fec0::16")


# ------------------------------------------------------------------------------------------ lease policy


@pytest.mark.rfc("8415", "21.15")
def test_the_policy_gets_all_fields_of_a_request() -> None:
    told: list[DhcpRequest] = []
    world = World(Config(lease_policy=told.append))
    world.reply(
        SOLICIT, 1, ia(ip("fec0::77")), fqdn("web.lan"), dhcp6.pack_option(dhcp6.USER_CLASS, b"\0\4iPXE"),
        dhcp6.pack_option(dhcp6.VENDOR_CLASS, b"\0\0\1\x57\0\x15PXEClient:Arch:00007:"),
        dhcp6.pack_option(dhcp6.CLIENT_ARCHITECTURE, b"\0\7"),
    )  # fmt: skip
    (request,) = told
    assert request[:8] == (
        "discover", mac(1).hex(":"), duid(1), "web", b"PXEClient:Arch:00007:", b"iPXE", 7, IPv6Address("fec0::77"),
    )  # fmt: skip
    assert (request.version, request.options[dhcp6.CLIENT_ARCHITECTURE]) == (6, b"\0\7")
    for kind in (REQUEST, RENEW, REBIND):
        world.reply(kind, 1, ia())
    world.reply(INFORMATION_REQUEST, 1, client_id=None)
    assert [request.kind for request in told] == ["discover", "request", "request", "request", "inform"]
    assert (told[-1].client_id, told[-1].requested) == (None, None)


def test_an_answer_of_the_policy_overrides_the_configuration() -> None:
    answer = DhcpAnswer(
        address=IPv6Address("fec0::50"), hostname="db", lease_time=100, bootfile="http://x/y", options={6: b"abcd"},
        options6={23: None, 31: ip("fec0::7"), 24: b"\3abc\0"},
    )  # fmt: skip
    world = World(Config(lease_policy=lambda _: answer, dnssearch=["lan"]))
    offer = world.reply(SOLICIT, 1, ia())
    assert (offer.kind, offer.addresses, lifetimes(offer)) == (ADVERTISE, [FIFTY], (37, 60, 75, 100))
    assert offer.message.domains == ("abc",)
    assert offer.options[31] == ip("fec0::7")
    assert offer.options[dhcp6.BOOTFILE_URL] == b"http://x/y"
    assert not {6, 23} & set(offer.options)
    world.reply(REQUEST, 1, ia(FIFTY))
    assert world.address_of("db") == FIFTY
    assert world.reply(SOLICIT, 2, ia()).statuses == [dhcp6.NO_ADDRESSES]  # the address is taken
    assert world.reply(REQUEST, 2, ia()).statuses == [dhcp6.NO_ADDRESSES]


def test_an_address_of_the_other_family_decides_nothing() -> None:
    world = World(Config(lease_policy=lambda _: DhcpAnswer(address=IPv4Address("10.0.2.50"))))
    assert world.lease(1) == FIRST


@pytest.mark.rfc("8415", "18.3.1 policy")
@pytest.mark.rfc("8415", "18.3.4 policy")
def test_a_client_that_is_refused() -> None:
    world = World(Config(lease_policy=lambda request: DhcpAnswer(refuse=request.mac == mac(1).hex(":"))))
    assert world.say(SOLICIT, 1, ia()) is None
    assert world.say(INFORMATION_REQUEST, 1) is None
    assert world.reply(REQUEST, 1, ia()).statuses == [dhcp6.NO_ADDRESSES]
    assert world.reply(RENEW, 1, ia(FIRST)).statuses == [dhcp6.NO_BINDING]
    assert world.reply(REBIND, 1, ia(FIRST)).ended == [FIRST]
    assert world.stats.drop_dhcp6_refused == 2
    assert world.lease(2) == FIRST


def test_a_policy_that_is_wrong() -> None:
    world = World(Config(lease_policy=lambda _: "no"))  # type: ignore[arg-type, return-value] # the mistake
    with pytest.raises(ConfigError, match="must give a DhcpAnswer or None"):
        world.say(SOLICIT, 1, ia())


@pytest.mark.parametrize("code", [0, 1, 3, 6, 14, 25, 39, 65536, True, "23"])
def test_options_that_cannot_be_set(code: object) -> None:
    with pytest.raises(
        ConfigError, match="cannot be set: it is not from 1 to 65535, or it carries the protocol"
    ):
        DhcpAnswer(options6={code: b""})  # type: ignore[dict-item] # the mistake
    with pytest.raises(ConfigError, match="option 23: 7 is neither bytes nor None"):
        DhcpAnswer(options6={23: 7})  # type: ignore[dict-item] # the mistake


# -------------------------------------------------------------------------------------------------- names


def test_names_of_guests() -> None:
    world = World(Config(domainname="lan"))
    answer = world.reply(SOLICIT, 1, ia(), fqdn("web"), oro(39), dhcp6.pack_option(dhcp6.RAPID_COMMIT, b""))
    assert world.address_of("WEB") == FIRST
    assert answer.options[39] == b"\1\3web\3lan\0"
    overriding = world.reply(RENEW, 1, ia(), fqdn("web.example", flags=0), oro(39))
    assert overriding.options[39] == b"\3\3web\3lan\0"
    assert 39 not in world.reply(RENEW, 1, ia(), fqdn("web")).options
    assert 39 not in world.reply(INFORMATION_REQUEST, 2, oro(39)).options


@pytest.mark.parametrize("name", ["w b", "a\x1b", "", "é"])
def test_names_that_are_none(name: str) -> None:
    world = World()
    value = bytes((1, len(name.encode()))) + name.encode()
    world.lease(1, dhcp6.pack_option(dhcp6.CLIENT_FQDN, value))
    assert world.book.names() == []


def test_the_name_of_another_guest_is_not_taken_over() -> None:
    """Neither in this family nor from the other one."""
    world = World()
    world.lease(1, fqdn("web"))
    world.lease(2, fqdn("web"))
    four = world.book.v4.table
    four.bind(Client(mac(2), hostname="web"), bytes((10, 0, 2, 15)), world.network.now)
    assert world.book.names() == [("web", FIRST)]
    four.bind(Client(mac(1), hostname="web"), bytes((10, 0, 2, 16)), world.network.now)
    assert world.book.names() == [("web", FIRST), ("web", bytes((10, 0, 2, 16)))]


def test_the_configured_name_is_sent_too_long_or_not() -> None:
    world = World(Config(hostname="guest"))
    assert world.reply(INFORMATION_REQUEST, 1, oro(39)).options[39] == b"\1\5guest\0"
    long = World(Config(hostname="x" * 63, domainname=".".join(["y" * 63] * 3)))
    assert 39 not in long.reply(INFORMATION_REQUEST, 1, oro(39)).options


# --------------------------------------------------------------------------------------------- many guests


def test_a_link_does_not_take_all_addresses() -> None:
    world = World(Config(net6="2001:db8::/124"), links=lambda: 2)
    for client in range(1, 40):
        world.say(REQUEST, client, ia())
    held = len(world.book.leases())
    assert held == 7  # of 13, so that as many are left
    other = type(world.link)()
    assert world.reply(SOLICIT, 99, ia(), link=other).addresses


def test_reserving() -> None:
    world = World(Config(net6="2001:db8::/126"))
    address = world.book.v6.reserve(mac(1))
    assert address == ip("2001:db8::1")
    assert world.book.v6.first_lease() == address
    with pytest.raises(StateError, match=r"no free address in 2001:db8::/126 for 52:54:00:00:00:02"):
        world.book.v6.reserve(mac(2))
    assert world.lease(1) == address  # it is known by its MAC address
    assert world.book.exclude(address) is False


# ------------------------------------------------------------------------------------------- the lease file


def test_leases_of_both_families_outlive_the_program(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    store = LeaseFile(path, lambda: 1_000_000 * SECOND)
    old = World(Config(), store)
    address = old.lease(1, fqdn("web"))
    old.lease(1, ia(iaid=b"\0\0\0\2"), fqdn("web"))
    old.book.v4.reserve(mac(9))
    old.book.close()
    entries = json.loads(path.read_text())["leases"]
    six = [entry for entry in entries if ":" in entry["address"]]
    assert len(entries) == len(six) + 1
    assert six[0] == {
        "address": "fec0::15", "mac": "52:54:00:00:00:01", "client_id": duid(1).hex(":"), "iaid": "00000001",
        "hostname": "web", "state": "bound", "expires": "1970-01-13T13:46:40Z", "seconds": 86400, "firmware": False,
    }  # fmt: skip
    assert "iaid" not in entries[0]
    new = World(Config(), store, start=5)
    assert new.stats.dhcp_leases_lost == 0
    assert new.reply(RENEW, 1, ia(address)).addresses == [address]
    assert new.lease(2) not in (address, ip("fec0::16"))
    assert new.address_of("web") == address


def test_leases_of_another_network_are_lost(tmp_path: Path) -> None:
    store = LeaseFile(tmp_path / "leases", lambda: 0)
    old = World(Config(), store)
    old.lease(1)
    old.book.close()
    assert World(Config(net6="2001:db8::/64"), store).stats.dhcp_leases_lost == 1


@pytest.mark.parametrize("damage", [
    {"address": "fec0:::1"}, {"address": 17}, {"iaid": "xy"}, {"iaid": 5}, {"mac": "52:54"}, {"client_id": 1},
])  # fmt: skip
def test_damaged_entries_are_left_out(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "leases"
    store = LeaseFile(path, lambda: 0)
    old = World(Config(), store)
    old.lease(1)
    old.lease(2)
    old.book.close()
    content = json.loads(path.read_text())
    content["leases"][0] |= damage
    path.write_text(json.dumps(content))
    new = World(Config(), store)
    assert new.stats.dhcp_leases_lost == 1
    assert [lease.mac for lease in new.book.leases()] == [mac(2)]


def test_both_servers_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    world = World(Config(), LeaseFile(path, lambda: 0))
    DhcpService(Config(), world.network, world.book)
    world.reply(SOLICIT, 1, ia(), dhcp6.pack_option(dhcp6.RAPID_COMMIT, b""))
    world.network.run(0)
    assert "fec0::15" in path.read_text()
    assert world.reply(RELEASE, 1, ia(FIRST)).kind == REPLY
    world.network.run(2)
    assert json.loads(path.read_text())["leases"][0]["state"] == "released"
