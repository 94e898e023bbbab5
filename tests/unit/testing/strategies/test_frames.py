"""Frames of each protocol: valid ones are taken, nearly valid ones are refused, garbage raises nothing."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from slirpy import ConfigError
from slirpy.testing import Guest
from slirpy.testing.strategies import FROM_GUEST, PROTOCOLS, TO_GUEST, Ends, Kind, Protocol, frames
from slirpy.testing.strategies.building import Flaw, Made, kinds
from slirpy.testing.strategies.frames import _LOWER, FLAWS
from slirpy.wire.describe import describe
from tests.unit.testing.strategies.reading import read

FEW = settings(max_examples=12, deadline=None)
BOTH = pytest.mark.parametrize("ends", [FROM_GUEST, TO_GUEST], ids=["from guest", "to guest"])
EACH = pytest.mark.parametrize("protocol", PROTOCOLS)
BELOW = {"ndp": "icmpv6", "mld": "icmpv6", "dhcp": "udp", "dhcp6": "udp", "dns": "udp", "tftp": "udp"}
SIMPLEST = {
    "ethernet": "10.0.2.15 > 10.0.2.2: ICMP echo request",
    "arp": "ARP",
    "ipv4": "10.0.2.15 > 10.0.2.2: ICMP echo request",
    "ipv6": "echo request",
    "icmp": "10.0.2.15 > 10.0.2.2: ICMP echo request",
    "icmpv6": "echo request",
    "ndp": "router solicitation",
    "mld": "report",
    "udp": "10.0.2.15.1 > 10.0.2.2.1: UDP",
    "tcp": "10.0.2.15.1 > 10.0.2.2.1: Flags [S], seq 0, win 65535, length 0",
    "dhcp": "Discover",
    "dhcp6": "Solicit",
    "dns": "example.test",
    "tftp": "10.0.2.15.1 > 10.0.2.2.69: UDP",
}


def guest() -> Guest:
    """A guest that takes part in both families, and forgets its answers."""
    made = Guest(lambda frame: None, random=Random(1), mac=TO_GUEST.destination_mac)
    made.configure(TO_GUEST.destination, 24)
    made.configure(TO_GUEST.destination6, 64)
    for port in (68, 546):
        made.udp(port)
    return made


@EACH
@BOTH
def test_valid_frames_are_read_up_to_their_protocol(protocol: Protocol, ends: Ends) -> None:
    @FEW
    @given(frames("valid", protocol, ends=ends))
    def check(frame: bytes) -> None:
        layers = read(frame, ends.packed.destination_mac)
        assert "" not in layers
        # A server's TFTP packets come from any port, so nothing but the conversation tells what they are.
        assert ("udp" if (protocol, ends) == ("tftp", TO_GUEST) else protocol) in layers

    check()


@EACH
def test_the_guest_takes_valid_frames(protocol: Protocol) -> None:
    @FEW
    @given(st.lists(frames("valid", protocol, ends=TO_GUEST), min_size=1, max_size=5))
    def check(several: list[bytes]) -> None:
        taker = guest()
        for number, frame in enumerate(several):
            taker.input(frame, number)
        counters = taker.counters
        assert (counters.malformed, counters.bad_checksum) == (0, 0)
        assert counters.frames_in == len(several)

    check()


@EACH
def test_nearly_valid_frames_have_their_flaw_in_their_protocol(protocol: Protocol) -> None:
    """The layers below the flaw are right; if no layer has to notice the flaw, nothing raises."""
    tolerant = {flaw.name for flaw in FLAWS.get(protocol, ()) if flaw.tolerated}

    @FEW
    @given(frames("near", protocol))
    def check(frame: bytes) -> None:
        layers = read(frame, FROM_GUEST.packed.destination_mac)
        if not tolerant and protocol not in ("dhcp", "dhcp6", "tftp"):
            assert layers[-1] == ""
        if protocol in BELOW:
            assert BELOW[protocol] in layers
        describe(frame)

    check()


@pytest.mark.parametrize(
    ("protocol", "flaw"),
    [(name, flaw) for name, flaws in FLAWS.items() for flaw in flaws],
    ids=lambda value: value if isinstance(value, str) else value.name.replace(" ", "-"),
)
def test_each_flaw_is_refused(protocol: str, flaw: Flaw) -> None:
    make, _ = _LOWER[protocol]
    ends = TO_GUEST.packed

    @settings(max_examples=8, deadline=None)
    @given(kinds("near", make(ends), [flaw]))
    def check(frame: bytes) -> None:
        refused = read(frame, ends.destination_mac)[-1] == ""
        assert refused is not flaw.tolerated
        taker = guest()
        taker.input(frame, 1)

    check()


@EACH
def test_garbage_raises_nothing(protocol: Protocol) -> None:
    lower = BELOW.get(protocol)

    @FEW
    @given(frames("garbage", protocol, ends=TO_GUEST))
    def check(frame: bytes) -> None:
        layers = read(frame, TO_GUEST.packed.destination_mac)
        if lower == "udp":
            assert lower in layers
        elif protocol in ("tcp", "udp", "icmp", "icmpv6"):
            assert layers[:1] == ["ethernet"]
            assert layers[1] in ("ipv4", "ipv6")
        guest().input(frame, 1)
        describe(frame)

    check()


@given(frames("garbage"))
def test_any_bytes(frame: bytes) -> None:
    guest().input(frame, 1)


@pytest.mark.long
@EACH
def test_the_simplest_frame(protocol: Protocol) -> None:
    frame = find(frames("valid", protocol), lambda frame: True, settings=settings(database=None))
    assert SIMPLEST[protocol] in describe(frame)


def test_the_simplest_of_all_is_a_router_solicitation() -> None:
    frame = find(frames(), lambda frame: True, settings=settings(database=None))
    assert "router solicitation" in describe(frame)


def test_a_condition_is_met_by_little() -> None:
    """All that a property does not need shrinks."""
    found = find(frames("valid", "udp"), lambda frame: frame[12] == 0x86, settings=settings(database=None))
    assert "fec0::5054:ff:fe12:3456.1 > fec0::2.1: UDP, length 0" in describe(found)


@pytest.mark.long
def test_a_flaw_shrinks_to_the_first_on_the_simplest_frame() -> None:
    near = find(frames("near", "ipv4"), lambda frame: True, settings=settings(database=None))
    simple = find(frames("valid", "ipv4"), lambda frame: True, settings=settings(database=None))
    assert [at for at, (a, b) in enumerate(zip(near, simple, strict=True)) if a != b] == [24]


def test_ends_are_chosen() -> None:
    ends = Ends(source="192.0.2.1", source_mac="02:00:00:00:00:01")
    frame = find(frames("valid", "icmp", ends=ends), lambda frame: True)
    assert (frame[6:12].hex(":"), frame[26:30]) == ("02:00:00:00:00:01", bytes((192, 0, 2, 1)))
    assert ends.reversed().reversed() == ends


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kind": "odd"}, '"valid", "near" or "garbage"'),
        ({"protocol": "sctp"}, "is not one of ethernet, arp"),
        ({"ends": "10.0.2.15"}, "ends must be an Ends"),
    ],
)
def test_wrong_arguments(arguments: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        frames(**arguments)  # type: ignore[arg-type] # the mistake


@pytest.mark.parametrize(
    "wrong", [{"source": "fec0::1"}, {"source6": "10.0.2.1"}, {"source_mac": "x"}, {"destination": ""}]
)
def test_wrong_ends(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Ends(**wrong)  # type: ignore[arg-type] # each value fits its argument


def test_kinds_are_those_of_the_type() -> None:
    made = st.just(Made(b"\xff" * 14 + b"x", 14))
    every: tuple[Kind, ...] = ("valid", "garbage")
    assert [find(kinds(kind, made, ()), lambda frame: True)[14:] for kind in every] == [b"x", b""]
