"""Plans of faults for a network of named hosts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import permutations, product
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st

from slirpy.checks import amount, instance
from slirpy.config.values import host_name, listed
from slirpy.errors import ConfigError
from slirpy.testing.sim.durations import in_nanoseconds
from slirpy.testing.sim.faults import (
    KINDS,
    Corrupt,
    Crash,
    Cut,
    Delay,
    Fault,
    Flow,
    Lose,
    Repeat,
    Reset,
    Slow,
    Stall,
)
from slirpy.testing.sim.host import Host
from slirpy.units import MS

__all__ = ["fault_plans"]

_Transport: TypeAlias = Literal["tcp", "udp"]
_TCP: tuple[_Transport, ...] = ("tcp",)
_TRANSPORTS: tuple[_Transport, ...] = ("tcp", "udp")
_LONGEST = 10_000
"""Milliseconds for which a fault lasts at most."""
_CONNECTIONS = 4
"""Connections from a host to another one of which packets are hit."""
_NUMBERS = [*range(4)] * 24 + [*range(4, 41)]
"""Numbers of packets in a flow; the first ones are frequent."""
_RATES = (2_048_000, 512_000, 64_000, 9_600)
"""Bits per second."""


def fault_plans(
    hosts: Sequence[Host | str],
    *,
    horizon: float = 30.0,
    kinds: Collection[type] = KINDS,
    max_faults: int = 8,
    protocols: Collection[_Transport] = _TCP,
) -> st.SearchStrategy[list[Fault]]:
    """Make plans for :meth:`slirpy.testing.Network.inject`: lists of faults.

    No fault at all is the simplest plan. Examples shrink to fewer faults, which begin later and are shorter, and to
    the first segments of the first connections. A retransmission is never lost, so every plan leaves a program that
    retries a chance: a test may demand that it ends. Example::

        @given(plan=fault_plans(["client", "server"]))
        def test_the_sum_is_right(net, plan):
            net.host("server").run(serve)
            net.inject(*plan)
            assert net.run(lambda: add(1, 2), on="client") == 3

    A plan may crash the host of the main program. That is a function here, so it begins again; a coroutine cannot,
    and needs ``kinds`` without ``Crash``.

    Args:
        hosts: two or more hosts, or their names; those that open connections first.
        horizon: seconds of virtual time in which faults begin.
        kinds: classes of faults, such as ``(Lose, Cut)``; default: all.
        max_faults: largest number of faults in a plan.
        protocols: protocols of the flows of which single packets are hit.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    for each in listed("hosts", hosts):
        instance("hosts", each, (Host, str), "a host or its name")
    names = [each if isinstance(each, str) else each.name for each in hosts]
    for name in names:
        host_name("hosts", name, dot=True)
    if len(set(names)) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"hosts {names!r} must be two or more different names")
    amount("max_faults", max_faults, 0)
    chosen = [kind for kind in KINDS if kind in listed("kinds", kinds)]
    if not chosen or any(kind not in KINDS for kind in kinds):
        raise ConfigError(f"kinds must be some of {', '.join(kind.__name__ for kind in KINDS)}")
    if not listed("protocols", protocols) or any(each not in _TRANSPORTS for each in protocols):
        raise ConfigError(f'protocols {protocols!r} must be "tcp", "udp" or both')
    last = in_nanoseconds("horizon", horizon) // MS
    makers = _makers(names, last, [each for each in _TRANSPORTS if each in protocols])
    usable = [makers[kind] for kind in chosen if kind in makers]
    if not usable:
        raise ConfigError("a Reset is one of TCP; put tcp into protocols, or choose other kinds")
    return st.lists(st.one_of(usable), max_size=max_faults, unique=True)


def _makers(names: list[str], last: int, protocols: list[_Transport]) -> dict[type, st.SearchStrategy[Any]]:
    # A fault is drawn in five choices at most: as many as Hypothesis deletes at once, when it shrinks a list.
    pairs = list(permutations(names, 2))
    both = (False, True)

    def flows(chosen: list[_Transport]) -> st.SearchStrategy[Flow]:
        every = product(range(_CONNECTIONS), chosen, pairs, both)
        found = [Flow(a, b, number, back, kind) for number, kind, (a, b), back in every]
        # Flows that any test has are frequent: the first connections that a host opens to one named after it.
        order = {name: place for place, name in enumerate(names)}
        usual = [each for each in found if not each.connection and order[each.client] < order[each.server]]
        return st.sampled_from(usual * max(3 * len(found) // len(usual), 1) + found)

    flow, n = flows(protocols), st.sampled_from(_NUMBERS)
    at, ms = st.integers(0, last).map(lambda earlier: last - earlier), st.integers(1, _LONGEST)
    ways = [(a, b, oneway) for (a, b), oneway in product(pairs, both)]
    rates = [(a, b, rate) for (a, b), rate in product(pairs, _RATES)]
    makers: dict[type, st.SearchStrategy[Any]] = {
        Lose: st.builds(Lose, flow, n),
        Delay: st.builds(Delay, flow, n, ms),
        Repeat: st.builds(Repeat, flow, n),
        Corrupt: st.builds(Corrupt, flow, n, st.integers(0, 8 * 1500)),
        Cut: st.builds(lambda at, ms, way: Cut(at, ms, *way), at, ms, st.sampled_from(ways)),
        Slow: st.builds(lambda at, ms, way: Slow(at, ms, *way), at, ms, st.sampled_from(rates)),
        Stall: st.builds(Stall, at, ms, st.sampled_from(names)),
        Crash: st.builds(
            lambda at, ms, how: Crash(at, ms, *how), at, ms, st.sampled_from(list(product(names, both)))
        ),
    }
    if "tcp" in protocols:
        makers[Reset] = st.builds(Reset, flows(["tcp"]), st.integers(0, 100_000))
    return makers
