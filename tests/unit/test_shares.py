"""Eviction at a bound: from the party with most, its entry that was idle for longest."""

from __future__ import annotations

import logging
import time
from random import Random
from typing import Any

import pytest

from slirpy.fair import HEAVY, LOOKS_MAX, Group, Shares
from slirpy.nat.limits import IDLE, WARN_AGAIN, DescriptorLimit
from slirpy.stats import Stats


class Thing:
    def __init__(self, key: bytes, last_activity: int) -> None:
        self.key = key
        self.last_activity = last_activity
        self.share: Group[Any] | None = None


def fill(shares: Shares[Thing], number: int, party: str, who: bytes = b"", start: int = 0) -> list[Thing]:
    things = [Thing(f"{party}{who!r}{start + n}".encode(), start + n) for n in range(number)]
    for thing in things:
        shares.add(thing, party, who)
    return things


@pytest.mark.parametrize("count", [1, 2, 10, 200])
def test_of_one_party_the_longest_idle_goes(count: int) -> None:
    """Against the plain definition, with entries that come, go and are used in between."""
    random = Random(count)
    shares: Shares[Thing] = Shares(count)
    things = fill(shares, count, "a")
    for now in range(1000, 1000 + 5 * count):
        victim = shares.to_evict()
        assert victim is not None
        assert victim.last_activity == min(thing.last_activity for thing in things)
        gone = victim if random.random() < 0.7 else random.choice(things)
        shares.remove(gone)
        things.remove(gone)
        for thing in random.sample(things, min(len(things), random.randrange(3))):
            thing.last_activity = now
        things.append(Thing(random.randbytes(8), now))
        shares.add(things[-1], "a", b"")
        assert len(shares) == len(things) == count


def test_room_is_left_alone() -> None:
    shares: Shares[Thing] = Shares(2)
    assert shares.to_evict() is None
    fill(shares, 1, "a")
    assert shares.to_evict() is None


def test_the_largest_user_gives_way() -> None:
    shares: Shares[Thing] = Shares(100)
    quiet = fill(shares, 10, "quiet")  # idle for longest, all of them
    fill(shares, 90, "greedy", start=1000)
    for now in range(500):
        victim = shares.to_evict()
        assert victim is not None
        assert victim not in quiet
        shares.remove(victim)
        fill(shares, 1, "greedy", start=5000 + now)
    assert shares.numbers() == {"quiet": 10, "greedy": 90}


def test_two_that_want_everything_share_it() -> None:
    shares: Shares[Thing] = Shares(100)
    fill(shares, 100, "first")
    for now in range(400):
        victim = shares.to_evict()
        assert victim is not None
        shares.remove(victim)
        fill(shares, 1, "second", start=1000 + now)
    assert abs(shares.number("first") - 50) <= 1


def test_on_one_link_a_heavy_address_gives_first() -> None:
    limit = 10 * HEAVY
    shares: Shares[Thing] = Shares(limit)
    fill(shares, 10, "link", b"light")
    heavy = fill(shares, limit - 10, "link", b"heavy", start=1000)
    assert shares.to_evict() is heavy[0]


def test_on_one_link_invented_addresses_do_not_make_another_look_greedy() -> None:
    limit = 10 * HEAVY
    shares: Shares[Thing] = Shares(limit)
    honest = fill(shares, 10, "link", b"honest", start=1_000_000)  # in use
    for n in range(limit - 10):
        fill(shares, 1, "link", b"%d" % n, start=n)
    for now in range(limit - 10):
        victim = shares.to_evict()
        assert victim is not None
        assert victim not in honest
        shares.remove(victim)
        fill(shares, 1, "link", b"x%d" % now, start=limit + now)


def test_empty_shares_are_removed() -> None:
    shares: Shares[Thing] = Shares(10)
    things = fill(shares, 5, "a", b"1") + fill(shares, 5, "b", b"2")
    assert shares.to_evict() is not None
    assert shares._tally is not None
    for thing in things:
        shares.remove(thing)
        shares.remove(thing)  # harmless
        assert thing.share is None
    assert len(shares) == 0
    assert shares.numbers() == {}
    assert shares._tally.top == 0
    assert not shares._tally._owners
    assert not shares._tally._number


def test_another_kinds_entry_is_left_alone() -> None:
    first: Shares[Thing] = Shares(10)
    second: Shares[Thing] = Shares(10)
    (thing,) = fill(first, 1, "a")
    fill(second, 1, "a")
    second.remove(thing)
    assert len(first) == len(second) == 1


@pytest.mark.long
def test_a_flood_costs_little() -> None:
    """1e5 entries beyond a bound of 32,768, with thousands of addresses: not the bound for each of them."""
    shares: Shares[Thing] = Shares(32_768)
    begin = time.process_time()
    for n in range(132_768):
        victim = shares.to_evict()
        if victim is not None:
            shares.remove(victim)
        shares.add(Thing(n.to_bytes(4, "big"), n), n & 1, (n % 4096).to_bytes(2, "big"))
    assert time.process_time() - begin < 10  # it takes half a second; the bound for each would be minutes
    assert len(shares) == 32_768


# ------------------------------------------------------------------------------------------- descriptors


class Kind:
    def __init__(self, descriptors: DescriptorLimit) -> None:
        self.shares: Shares[Thing] = Shares(1000)
        self.gone: list[Thing] = []
        descriptors.share(self.shares, self.evict)

    def evict(self, thing: Thing) -> None:
        self.shares.remove(thing)
        self.gone.append(thing)


def test_descriptors_are_taken_from_the_largest_user_of_all_kinds() -> None:
    stats = Stats()
    descriptors = DescriptorLimit(stats)
    tcp, udp = Kind(descriptors), Kind(descriptors)
    fill(tcp.shares, 10, "modest")
    fill(tcp.shares, 6, "greedy", start=100)
    first = fill(udp.shares, 7, "greedy", start=200)[0]
    assert descriptors.make_room("modest", 300)
    assert (udp.gone, tcp.gone) == ([first], [])
    assert stats.flows_evicted_for_descriptors == 1


def test_the_largest_user_loses_only_idle_flows_and_gets_no_more() -> None:
    descriptors = DescriptorLimit(Stats())
    kind = Kind(descriptors)
    things = fill(kind.shares, 5, "greedy")
    fill(kind.shares, 4, "modest")
    assert not descriptors.make_room("greedy", IDLE - 1)
    assert descriptors.make_room("greedy", IDLE)
    assert kind.gone == [things[0]]


def test_a_party_that_has_nothing_gets_a_descriptor() -> None:
    descriptors = DescriptorLimit(Stats())
    kind = Kind(descriptors)
    things = fill(kind.shares, 2, "greedy")
    assert descriptors.make_room("new", 0)
    assert kind.gone == [things[0]]


def test_nothing_to_take() -> None:
    descriptors = DescriptorLimit(Stats())
    assert not descriptors.make_room("a", 0)
    Kind(descriptors)
    assert not descriptors.make_room("a", 0)


def test_the_lack_of_descriptors_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    descriptors = DescriptorLimit(Stats())
    with caplog.at_level(logging.WARNING, "slirpy"):
        for now in (0, 1, WARN_AGAIN - 1, WARN_AGAIN, WARN_AGAIN + 5):
            descriptors.make_room("a", now)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "ulimit -n" in caplog.text


class Counted(Thing):
    """An entry that counts the looks at it."""

    looks = 0

    @property
    def last_activity(self) -> int:
        Counted.looks += 1
        return self._time

    @last_activity.setter
    def last_activity(self, time: int) -> None:
        self._time = time


def test_no_search_looks_at_all_entries() -> None:
    """A guest that uses all of its connections, and opens one more, would delay all others by 40 ms."""
    shares: Shares[Counted] = Shares(20_000)
    things = [Counted(number.to_bytes(4, "big"), number) for number in range(20_000)]
    for thing in things:
        shares.add(thing, "a", b"")
    for thing in things:
        thing.last_activity += 100_000
    Counted.looks = 0
    victim = shares.to_evict()
    assert Counted.looks <= 5 * LOOKS_MAX
    assert victim is things[0], "the longest idle of those that were looked at"
    assert shares.to_evict() is not None


def test_the_order_is_kept_from_the_first_search_on() -> None:
    """Most tables are never full: until then, an entry that comes costs no heap."""
    shares: Shares[Thing] = Shares(100)
    things = fill(shares, 10, "a")
    for number, thing in enumerate(things):
        thing.last_activity = 100 - number
    (party,) = shares._parties.values()
    assert party._times is None
    order = []
    for _ in range(10):
        victim = party.longest_idle()
        assert party.longest_idle() is victim
        order.append(victim)
        shares.remove(victim)
        shares.add(Thing(bytes([len(order)]) * 5, 1000 + len(order)), "a", b"")
    assert order == things[::-1]
    assert party.longest_idle().last_activity == 1001


def test_an_entry_that_comes_and_goes_leaves_nothing_behind() -> None:
    shares: Shares[Thing] = Shares(100)
    things = fill(shares, 50, "a")
    (party,) = shares._parties.values()
    party.longest_idle()
    for now in range(1000, 3000):
        shares.remove(things[0])
        things[0].last_activity = now
        shares.add(things[0], "a", b"")
    assert party._times is not None
    assert len(party._times) <= 2 * 50 + 65
    for thing in things:
        thing.last_activity = 5000
    things[7].last_activity = 4000
    assert shares._from(party) is things[7]
