"""Host names, which the leases of both IP families share."""

from __future__ import annotations

from slirpy.services.dhcp.lease import Lease, LeaseState
from slirpy.services.dhcp.names import HostNames
from tests.support.effort import cheap

FOUR, FIVE = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 16))
SIX, SEVEN = b"\xfe\xc0" + bytes(13) + b"\5", b"\xfe\xc0" + bytes(13) + b"\6"
MINE, OTHER = b"\x52\x54\0\0\0\1", b"\x52\x54\0\0\0\2"


def lease(address: bytes, mac: bytes = MINE, name: str | None = "web", expires: int = 100) -> Lease:
    return Lease(address, mac, None, name, expires, LeaseState.BOUND)


def test_one_machine_has_its_name_in_both_families() -> None:
    names = HostNames()
    names.link(lease(FOUR), 0)
    names.link(lease(SIX, name="WEB"), 0)
    assert names.current(0) == [("web", FOUR), ("WEB", SIX)]
    assert names.current(100) == []
    assert len(names) == 2


def test_another_machine_does_not_take_it_over_in_the_other_family() -> None:
    names = HostNames()
    names.link(lease(FOUR), 0)
    names.link(lease(SIX, OTHER), 0)
    names.link(lease(FIVE, OTHER), 0)
    assert names.current(0) == [("web", FOUR)]
    names.link(lease(SIX, OTHER), 100)  # the lease of the other one has expired
    assert names.current(0) == [("web", FOUR), ("web", SIX)]
    assert names.current(100) == []


def test_a_static_lease_takes_it_from_both_families() -> None:
    names = HostNames()
    names.link(lease(FOUR, OTHER), 0)
    names.link(lease(SIX, OTHER), 0)
    names.link(lease(SEVEN), 0, static=True)
    assert names.current(0) == [("web", SEVEN)]


def test_nothing_is_left_behind() -> None:
    names = HostNames()
    kept = [lease(FOUR), lease(SIX), lease(FIVE, OTHER), lease(SEVEN, name=None)]
    for item in kept:
        names.link(item, 0)
    for item in kept:
        names.unlink(item)
        names.unlink(item)
    assert len(names) == 0
    assert not names._owners
    assert not names._by_label
    assert not names._by_address


def test_a_label_and_an_address_lead_to_each_other() -> None:
    names = HostNames()
    names.link(lease(FOUR, name="Web.mine"), 0)
    names.link(lease(SIX, OTHER, name="web"), 0)
    assert names.addresses_of("web", 0) == {4: FOUR}, "the other machine has no part in it, in neither family"
    assert (names.label_at(FOUR, 0), names.label_at(SIX, 0), names.label_at(FIVE, 0)) == ("web", None, None)
    names.link(lease(SEVEN, name="web.mine"), 0)
    assert names.addresses_of("web", 0) == {4: FOUR, 16: SEVEN}
    assert (names.addresses_of("web", 100), names.label_at(FOUR, 100)) == ({}, None)


def test_the_indexes_drop_a_replaced_lease() -> None:
    names = HostNames()
    old = lease(FOUR, OTHER)
    names.link(old, 0)
    names.link(lease(FIVE), 0, static=True)
    assert names.addresses_of("web", 0) == {4: FIVE}
    assert names.label_at(FOUR, 0) is None
    names.unlink(old)
    assert names.label_at(FIVE, 0) == "web"


def test_many_leases_cost_no_more_than_one() -> None:
    """Processor time of a look at each of the two indexes, with 31,000 leases, and as many with one label."""
    names = HostNames()
    for number in range(31_000):
        address = b"\x0a" + number.to_bytes(3, "big")
        names.link(lease(address, name=f"guest{number}"), 0)
        names.link(lease(b"\x0b" + address[1:], number.to_bytes(6, "big"), name=f"same.{number}"), 0)

    def look() -> None:
        for number in range(100):
            assert names.label_at(b"\x0a" + number.to_bytes(3, "big"), 0) == f"guest{number}"
            assert len(names.addresses_of("same", 0)) == 1

    assert cheap(look, 0.02), "0.2 ms for each"
