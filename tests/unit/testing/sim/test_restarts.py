"""The main program of a run, and crashes of its host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from slirpy import Config
from slirpy.errors import StateError
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.faults import Crash
from slirpy.testing.sim.network import Network


def counting(kind: str, begun: list[int]) -> Callable[[], Any]:
    """Return a function that takes a second, and returns how often it has begun."""

    async def program() -> int:
        begun.append(len(begun) + 1)
        await asyncio.sleep(1)
        return begun[-1]

    def blocking() -> int:
        begun.append(len(begun) + 1)
        time.sleep(1)
        return begun[-1]

    def returned() -> Any:
        return program()

    return {"asyncio": program, "blocking": blocking, "returned": returned}[kind]


@pytest.mark.parametrize("kind", ["asyncio", "blocking", "returned"])
@pytest.mark.parametrize("ms", [0, 1, 5000])
def test_a_function_begins_again(kind: str, ms: int) -> None:
    begun: list[int] = []
    with Network() as net:
        net.inject(Crash(500, ms, "client"), Crash(ms + 900, ms, "client"))
        assert net.run(counting(kind, begun), on="client") == 3
        assert net.now // 1_000_000 == 2 * ms + 1900


def test_behind_a_router_it_waits_for_the_addresses() -> None:
    with Network() as net:
        net.router("home", Config(dns_mode="system"))
        laptop = net.host("laptop", behind="home")
        net.inject(Crash(500, 100, "laptop"))
        assert net.run(counting("asyncio", []), on=laptop) == 2
        assert laptop.addresses


def test_an_exception_after_the_restart_is_that_of_the_program() -> None:
    begun: list[int] = []

    def program() -> None:
        begun.append(1)
        time.sleep(1)
        raise ZeroDivisionError

    with Network() as net:
        net.inject(Crash(500, 100, "client"))
        with pytest.raises(ZeroDivisionError):
            net.run(program, on="client")
    assert len(begun) == 2


def test_a_program_that_cannot_begin_again() -> None:
    """A coroutine, one whose host stays down, and one that was killed without a crash."""
    with Network() as net:
        net.inject(Crash(500, 100, "client"))
        with pytest.raises(StateError, match="killed"):
            net.run(counting("asyncio", [])(), on="client")
        assert net.now == 500_000_000
    with Network() as net:
        host = net.host("client")
        net.scheduler.at(500_000_000, host.crash)
        with pytest.raises(StateError, match="killed"):
            net.run(counting("asyncio", []), on=host)
    with Network() as net:
        host = net.host("client")

        def kill() -> None:
            host.programs[0].kill()

        net.scheduler.at(500_000_000, kill)
        with pytest.raises(StateError, match="killed"):
            net.run(counting("blocking", []), on=host)
        assert net.now == 500_000_000


def test_the_limit_is_that_of_all_attempts() -> None:
    with Network() as net:
        net.inject(*(Crash(number * 600, 100, "client") for number in range(1, 20)))
        with pytest.raises(UnmetError, match="did not end within 5 s"):
            net.run(counting("asyncio", []), on="client", limit=5)
        assert net.now == 5_000_000_000
