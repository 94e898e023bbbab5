"""Every duration and every time that a caller gives: what it may be, and what is said of the rest."""

from __future__ import annotations

import io
import math
import socket
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from random import Random
from typing import Any

import pytest

from slirpy import Config, ConfigError, LinkError, Slirp, Stack
from slirpy.config.values import wait_seconds
from slirpy.core.switchnet import SwitchNetwork
from slirpy.host.poller import SelectorPoller
from slirpy.links import CallbackLink, CaptureLink, FaultLink, Faults, StreamLink, TraceLink, inet
from slirpy.tcp.settings import Settings
from slirpy.testing import Guest, SimHost, VirtualNetwork
from tests.support.effort import record_waits

MS = 1_000_000
ARP = b"\xff" * 6 + bytes.fromhex(
    "525400123456 0806 0001 0800 0604 0001 525400123456 0a00020f 000000000000 0a000202"
)

# ------------------------------------------------------------------------------------- seconds, to wait


FRACTIONS = pytest.mark.needs("interpreted", detail="a compiled poll() takes floats and whole numbers only")
TYPED = pytest.mark.needs("interpreted", detail="compiled functions raise TypeError")


def exact(text: str) -> Any:
    """A decimal number or a fraction, as a parameter of a test."""
    return pytest.param(Fraction(text) if "/" in text else Decimal(text), marks=FRACTIONS, id=text)


@pytest.mark.parametrize("timeout", [-0.001, -1, -1e9, -math.inf, -0.0, 0, exact("-0.5"), exact("-1/3")])
def test_time_that_has_passed_is_no_time(timeout: Any) -> None:
    with Slirp() as net:
        waits = record_waits(net)
        net.poll(timeout)
    assert waits == [0.0]  # -1 is "for ever" to epoll


class Index:
    """A whole number of another kind than Python's."""

    def __index__(self) -> int:
        return -1


def test_a_whole_number_of_another_kind_is_one() -> None:
    assert wait_seconds("timeout", Index()) == 0.0


def test_a_loop_with_a_tick_goes_on_when_it_is_late() -> None:
    with Slirp() as net:
        tick = time.monotonic()
        for _ in range(50):
            tick += 0.0001
            net.poll(tick - time.monotonic())


@TYPED
@pytest.mark.parametrize(
    "timeout", [math.nan, "x", "0.05", b"1", True, False, [], (1,), 1j, Decimal("NaN"), object()]
)
def test_invalid_timeouts_are_refused(timeout: Any) -> None:
    with Slirp() as net:
        with pytest.raises(ConfigError, match=r"^timeout .* is not a number of seconds, such as 0\.05"):
            net.poll(timeout)
        net.poll()  # it is not left in the middle of something


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 2**40, 10**400, 3e6])
def test_a_long_wait_ends_when_there_is_something_to_do(timeout: Any) -> None:
    assert wait_seconds("timeout", timeout) is None
    mine, other = socket.socketpair()
    seen: list[int] = []
    with mine, other, Slirp() as net:
        net.watch(mine.fileno(), seen.append)
        timer = threading.Timer(0.02, other.send, (b"x",))
        timer.start()
        net.poll(timeout)
        timer.join()
    assert seen


@pytest.mark.parametrize("timeout", [0.02, exact("0.02"), exact("1/50")])
def test_numbers_of_every_kind_are_seconds(timeout: Any) -> None:
    with Slirp() as net:
        waits = record_waits(net)
        start = time.monotonic()
        net.poll(timeout)
        assert time.monotonic() - start > 0.015
    assert waits == [pytest.approx(0.02)]


def test_the_poller_itself_never_waits_for_ever_because_of_a_sign() -> None:
    poller = SelectorPoller()
    assert poller.poll(-0.001) == 0
    poller.close()


@TYPED
@pytest.mark.parametrize("seconds", [math.nan, math.inf, "1", True, -1, 1e9, None])
def test_seconds_between_attempts_to_connect(seconds: Any) -> None:
    with pytest.raises(LinkError, match=f"^reconnect {seconds} |^reconnect {seconds!r} "):
        StreamLink.connect(inet("127.0.0.1", 1), reconnect=seconds)


# --------------------------------------------------------------------------------- nanoseconds, to pass

WRONG = [0.04, 40.0, math.nan, math.inf, "1", None, True, Decimal(1), -1]
NONE_IS_DEFAULT = ("queue", "rate")


def virtual() -> VirtualNetwork:
    return VirtualNetwork(seed=1)


def setting(name: str, value: Any) -> Settings:
    return Settings(**{name: value})


def returned(value: Any) -> None:
    net = virtual()
    net.fault = lambda direction, frame: value
    net.carry("in", ARP, lambda frame: None)


OTHER_WORDS = (
    "delayed_ack",
    "syn_timeout",
    "user_timeout",
    "keepalive_idle",
    "keepalive_interval",
    "time_wait",
    "rto_margin",
    "peer_ack_delay",
)
PLACES: dict[str, Callable[[Any], object]] = {
    "delay": lambda value: Faults(delay=value),
    "jitter": lambda value: Faults(jitter=value),
    "reorder_delay": lambda value: Faults(reorder_delay=value),
    "latency_ns": lambda value: VirtualNetwork(latency_ns=value),
    "link_latency_ns": lambda value: VirtualNetwork(link_latency_ns=value),
    "duration": lambda value: virtual().run(value),
    "limit": lambda value: virtual().run_until(lambda: True, value),
    "latency_ns of SimHost": lambda value: SimHost(Random(1), latency_ns=value),
    "latency_ns, set": lambda value: setattr(virtual().host, "latency_ns", value),
    "link_latency_ns, set": lambda value: setattr(virtual(), "link_latency_ns", value),
    "the delay that fault returned": returned,
    **{name: partial(setting, name) for name in OTHER_WORDS},
}


def said_otherwise(place: str, value: Any) -> bool:
    """Report whether a value has a different meaning at a place, or is refused in other words."""
    return (value is None and place == "the delay that fault returned") or (
        value == -1 and place in OTHER_WORDS
    )


@pytest.mark.parametrize(
    ("place", "value"),
    [(place, value) for place in PLACES for value in WRONG if not said_otherwise(place, value)],
)
def test_nanoseconds_are_whole_numbers(place: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        PLACES[place](value)
    text = str(caught.value)
    assert text.startswith(f"{place.partition(' of ')[0].partition(',')[0]} {value!r}")
    assert "nanoseconds" in text


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0.04, "; for 0.04 seconds write 40_000_000"),
        (1.5, "; for 1.5 seconds write 1_500_000_000"),
        (1e9, "; write 1_000_000_000"),
        (math.nan, ", such as 40_000_000 for 0.04 seconds"),
        ("40ms", ", such as 40_000_000 for 0.04 seconds"),
    ],
)
def test_the_refusal_suggests_a_value(value: Any, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Faults(delay=value)
    assert str(caught.value) == f"delay {value!r} is not a whole number of nanoseconds{hint}"


def test_valid_durations_are_accepted() -> None:
    assert Faults(delay=40 * MS, jitter=0, rate=1).delay == 40 * MS
    net = VirtualNetwork(latency_ns=0, link_latency_ns=3)
    net.run(10**15)
    assert net.now == 10**15
    net.run(0)
    net.host.latency_ns = net.link_latency_ns = 7
    assert (net.host.latency_ns, net.link_latency_ns) == (7, 7)


@pytest.mark.parametrize("name", ["loss", "duplicate", "corrupt", "reorder"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, "0.1", None, True])
def test_chances(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} {value!r}: a chance is from 0.0 to 1.0"):
        Faults(**{name: value})


@pytest.mark.parametrize("name", ["rate", "burst", "queue", "limit"])
@pytest.mark.parametrize("value", [-1, 1.5, math.nan, math.inf, "1", True])
def test_amounts(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} {value!r}"):
        Faults(**{name: value})


@pytest.mark.parametrize("faults", [None, 0.1, {"loss": 0.1}, Faults])
def test_faults_of_a_link(faults: Any) -> None:
    link = FaultLink(CallbackLink(print), Random(1))
    for name in ("to_guest", "from_guest"):
        with pytest.raises(ConfigError, match=f"^{name} must be a Faults"):
            setattr(link, name, faults)
        with pytest.raises(ConfigError, match=f"^{name} must be a Faults"):
            FaultLink(CallbackLink(print), Random(1), **{name: faults})


# ------------------------------------------------------------------------------ nanoseconds, of a clock

CLOCKS: dict[str, Callable[[Any], object]] = {
    "Stack": lambda now: Stack(Config(), SimHost(Random(1)), now=now),
    "tick": virtual().stack.tick,
    "flush": virtual().stack.flush,
    "call_at": lambda now: virtual().stack.call_at(now, print),
    "Guest": lambda now: Guest(print, random=Random(1), now=now),
    "advance": virtual().guest.advance,
    "input": lambda now: virtual().guest.input(ARP, now),
    "SimHost.advance": virtual().host.advance,
    "SimHost.schedule": lambda now: virtual().host.schedule(now, print),
    "SwitchNetwork": lambda now: SwitchNetwork(now=now),
    "SwitchNetwork.tick": lambda now: SwitchNetwork().tick(now),
    "SwitchNetwork.flush": lambda now: SwitchNetwork().flush(now),
    "SwitchNetwork.call_at": lambda now: SwitchNetwork().call_at(now, print),
    "Slirp": lambda now: Slirp(clock=lambda: now),
}


@TYPED
@pytest.mark.parametrize("now", [5858.6, math.nan, "1", True])
@pytest.mark.parametrize("place", CLOCKS)
def test_times_are_nanoseconds(place: str, now: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        CLOCKS[place](now)
    assert str(caught.value).endswith(
        f"{now!r} is not a whole number of nanoseconds; use time.monotonic_ns, not time.monotonic"
    )


def test_clocks_of_the_calendar(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"^wall_clock\(\) = .* use time.time_ns, not time.time"):
        Slirp(Config(lease_file=tmp_path / "leases"), wall_clock=time.time)  # type: ignore[arg-type] # the mistake
    capture = CaptureLink(CallbackLink(print), io.BytesIO(), clock=time.time)  # type: ignore[arg-type] # the mistake
    trace = TraceLink(CallbackLink(print), print, clock=time.time)  # type: ignore[arg-type] # the mistake
    for link in (capture, trace):
        with pytest.raises(ConfigError, match=r"^clock\(\) = .* use time.time_ns, not time.time"):
            link.input(ARP)
    for clock in (5, None, "now"):
        with pytest.raises(ConfigError, match=r"^clock is a function that gives nanoseconds"):
            CaptureLink(CallbackLink(print), io.BytesIO(), clock=clock)  # type: ignore[arg-type] # the mistake


def test_a_predicate_must_be_a_function() -> None:
    with pytest.raises(ConfigError, match=r"^predicate is a function; given was True"):
        virtual().run_until(True)  # type: ignore[arg-type] # the mistake
