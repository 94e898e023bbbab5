"""Pins: for how long, for whom and for which addresses a name counts."""

from __future__ import annotations

import pytest

from slirpy.core import pins as module
from slirpy.core.pins import GUESTS_MAX, TTL_MAX, Pins
from slirpy.units import SECOND
from tests.support.harness import ip

LINK, OTHER_LINK = object(), object()
MAC, OTHER_MAC = b"\x52\x54\0\0\0\1", b"\x52\x54\0\0\0\2"
A, B, C = ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")
A6 = bytes.fromhex("20010db8000000000000000000000001")
OWN = ip("192.0.2.99")
NOW = 1000 * SECOND
GRACE = 5
NAME, OTHER = "a.example", "b.example"


def store() -> Pins:
    """Pins of a network whose host has the address ``OWN``."""
    return Pins(GRACE, lambda address: address == OWN)


def noted(pins: Pins, *addresses: bytes, name: str = NAME, ttl: int = 10, now: int = NOW, trusted: bool = False,
          link: object = LINK, mac: bytes = MAC) -> tuple[bytes, ...]:  # fmt: skip
    """Note an answer of IPv4 addresses."""
    return pins.note(link, mac, name, 4, [(each, ttl) for each in addresses], now, trusted=trusted)


def names(
    pins: Pins, address: bytes = A, now: int = NOW, link: object = LINK, mac: bytes = MAC
) -> tuple[str, ...]:
    return pins.names(link, mac, address, now)


def unpinned(pins: Pins, address: bytes = A, now: int = NOW) -> tuple[str, ...]:
    return pins.unpinned(LINK, MAC, address, now)


def current(pins: Pins, name: str = NAME, now: int = NOW, length: int = 4) -> list[bytes]:
    return pins.current(LINK, MAC, name, length, now)


def test_an_address_counts_while_its_answer_lives_and_for_the_grace_time() -> None:
    pins = store()
    assert noted(pins, A, B) == (A, B)
    last = NOW + 10 * SECOND - 1
    assert current(pins, now=last) == [A, B]
    assert current(pins, now=last + 1) == []
    end = NOW + (10 + GRACE) * SECOND
    assert names(pins, now=end - 1) == (NAME,)
    assert names(pins, now=end) == ()
    assert names(pins) == ()  # it is forgotten
    assert names(pins, B) == (NAME,)


def test_seconds_to_live_are_bounded() -> None:
    for ttl, lives in ((0, 1), (1, 1), (TTL_MAX, TTL_MAX), (TTL_MAX + 1, TTL_MAX)):
        pins = store()
        noted(pins, A, ttl=ttl)
        end = NOW + lives * SECOND
        assert (current(pins, now=end - 1), current(pins, now=end)) == ([A], []), ttl


def test_pins_are_those_of_one_guest_name_and_family() -> None:
    pins = store()
    noted(pins, A)
    assert names(pins, mac=OTHER_MAC) == names(pins, link=OTHER_LINK) == names(pins, B) == ()
    assert pins.current(LINK, OTHER_MAC, NAME, 4, NOW) == pins.current(OTHER_LINK, MAC, NAME, 4, NOW) == []
    assert current(pins, OTHER) == current(pins, length=16) == []
    assert pins.note(LINK, MAC, NAME, 16, [(A6, 10)], NOW, trusted=False) == (A6,)
    assert (current(pins), current(pins, length=16)) == ([A], [A6])  # an answer concerns its own family only
    assert len(pins) == 1


def test_a_later_answer_ends_the_life_of_the_earlier_one() -> None:
    pins = store()
    noted(pins, A, B)
    noted(pins, B, C, now=NOW + SECOND)
    assert current(pins, now=NOW + SECOND) == [B, C]
    assert names(pins, now=NOW + SECOND) == (NAME,)  # it still says which name to resolve
    noted(pins, now=NOW + 2 * SECOND)
    assert current(pins, now=NOW + 2 * SECOND) == []
    # An answer that has ended does not live again.
    noted(pins, A, ttl=1, now=NOW)
    noted(pins, B, now=NOW + 5 * SECOND)
    assert current(pins, now=NOW + SECOND) == [B]


def test_a_shorter_answer_does_not_shorten_the_grace_time() -> None:
    pins = store()
    noted(pins, A, ttl=100)
    noted(pins, A, ttl=1, now=NOW + SECOND)
    assert current(pins, now=NOW + 2 * SECOND) == []
    end = NOW + (100 + GRACE) * SECOND
    assert (names(pins, now=end - 1), names(pins, now=end)) == ((NAME,), ())


def test_the_latest_answer_is_named_first() -> None:
    pins = store()
    noted(pins, A)
    noted(pins, A, name=OTHER, now=NOW + SECOND)
    assert names(pins, now=NOW + SECOND) == (OTHER, NAME)
    noted(pins, A, now=NOW + 2 * SECOND)
    assert names(pins, now=NOW + 2 * SECOND) == (NAME, OTHER)


def test_only_the_operator_may_name_addresses_of_the_host_and_its_network() -> None:
    private = ip("127.0.0.5")
    pins = store()
    assert noted(pins, OWN, private, A) == (A,)
    assert (names(pins, OWN), names(pins, private), current(pins)) == ((), (), [A])
    assert (unpinned(pins, OWN), unpinned(pins, private), unpinned(pins, A)) == ((NAME,), (NAME,), ())
    assert (pins.may_open(OWN), pins.may_open(private), pins.may_open(A)) == (False, False, True)
    assert noted(pins, OWN, private, trusted=True) == (OWN, private)
    assert (names(pins, OWN), names(pins, private)) == ((NAME,), (NAME,))
    assert current(pins) == [OWN, private]
    noted(pins, private, ttl=10)  # of the same name, now from outside
    assert current(pins) == []


def test_names_that_open_nothing_count_no_longer_and_the_latest_first() -> None:
    pins = store()
    noted(pins, OWN)
    noted(pins, OWN, name=OTHER, now=NOW + SECOND)
    assert unpinned(pins, OWN, NOW + SECOND) == (OTHER, NAME)
    assert unpinned(pins, OWN, NOW + (10 + GRACE) * SECOND) == (OTHER,)
    assert unpinned(pins, OWN, NOW + (11 + GRACE) * SECOND) == ()
    assert noted(pins, OWN, now=NOW + 100 * SECOND) == ()
    assert current(pins, now=NOW + 100 * SECOND) == []


def test_an_address_that_became_the_hosts_own_counts_no_more() -> None:
    own: set[bytes] = set()
    pins = Pins(GRACE, own.__contains__)
    noted(pins, A)
    noted(pins, A, name=OTHER, trusted=True)
    own.add(A)
    assert (names(pins), unpinned(pins)) == ((OTHER,), (NAME,))
    assert (current(pins), current(pins, OTHER)) == ([], [A])


def test_answers_without_addresses_make_no_guest() -> None:
    pins = store()
    assert noted(pins) == ()
    assert len(pins) == 0
    assert pins.use(LINK, MAC, NAME, A) is None


def test_a_flow_keeps_its_pin() -> None:
    pins = store()
    noted(pins, A)
    first, second = pins.use(LINK, MAC, NAME, A), pins.use(LINK, MAC, NAME, A)
    assert first is not None
    assert first is second
    assert pins.use(LINK, MAC, OTHER, A) is pins.use(LINK, MAC, NAME, B) is None
    late = NOW + 1000 * SECOND
    assert names(pins, now=late) == (NAME,)
    pins.release(first, late)
    assert names(pins, now=late + 1000 * SECOND) == (NAME,)  # the other flow
    late += 1000 * SECOND
    pins.release(first, late)
    end = late + GRACE * SECOND
    assert (names(pins, now=end - 1), names(pins, now=end)) == ((NAME,), ())


def test_a_short_flow_does_not_shorten_the_life_of_its_pin() -> None:
    pins = store()
    noted(pins, A)
    pin = pins.use(LINK, MAC, NAME, A)
    assert pin is not None
    pins.release(pin, NOW + SECOND)
    assert names(pins, now=NOW + (10 + GRACE) * SECOND - 1) == (NAME,)


def test_pins_wait_for_a_guest_whose_link_was_detached() -> None:
    pins = store()
    noted(pins, A)
    noted(pins, A, mac=OTHER_MAC, link=OTHER_LINK)
    pins.lost(LINK)
    assert names(pins, mac=OTHER_MAC, link=LINK) == ()
    assert names(pins, link=OTHER_LINK) == (NAME,)  # it is behind this one now
    assert names(pins) == ()
    assert names(pins, mac=OTHER_MAC, link=OTHER_LINK) == (NAME,)
    assert len(pins) == 2


def test_the_pins_of_a_guest_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes that no flow uses; an answer that is repeated is new."""
    monkeypatch.setattr(module, "PINS_MAX", 5)
    pins = store()
    addresses = [bytes((203, 0, 1, number)) for number in range(6)]
    noted(pins, *addresses[:5])
    pin = pins.use(LINK, MAC, NAME, addresses[0])
    noted(pins, addresses[1])
    assert names(pins, addresses[2]) == (NAME,)
    noted(pins, addresses[5])
    kept = [bool(names(pins, each)) for each in addresses]
    assert kept == [True, True, False, True, True, True]
    assert pin is not None


def test_without_a_pin_that_is_free_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PINS_MAX", 2)
    pins = store()
    noted(pins, A, B)
    assert pins.use(LINK, MAC, NAME, A) is not None
    assert pins.use(LINK, MAC, NAME, B) is not None
    noted(pins, C)
    assert [names(pins, each) for each in (A, B, C)] == [(), (NAME,), (NAME,)]
    assert (current(pins, now=NOW), current(pins, OTHER)) == ([C], [])


def test_guests_are_bounded() -> None:
    """The guest goes that has asked longest ago."""
    pins = store()
    macs = [number.to_bytes(6, "big") for number in range(GUESTS_MAX + 1)]
    for mac in macs[:-1]:
        noted(pins, A, mac=mac)
    assert len(pins) == GUESTS_MAX
    assert names(pins, mac=macs[0]) == (NAME,)
    noted(pins, B, mac=macs[0])
    noted(pins, A, mac=macs[-1])
    assert len(pins) == GUESTS_MAX
    assert [names(pins, mac=mac) for mac in (macs[0], macs[1], macs[2], macs[-1])] == [
        (NAME,),
        (),
        (NAME,),
        (NAME,),
    ]
