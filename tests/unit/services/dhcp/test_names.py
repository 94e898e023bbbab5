"""Host names, which the leases of both IP families share."""

from __future__ import annotations

from slirpy.services.dhcp.lease import Lease, LeaseState
from slirpy.services.dhcp.names import HostNames

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
    assert names._owners == {}
