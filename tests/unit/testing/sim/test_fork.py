"""Branches of a run: each goes on in a copy of the world."""

from __future__ import annotations

import asyncio
import os

import pytest

from slirpy.errors import ConfigError, StateError
from slirpy.testing import Flow, Lose, Network
from tests.unit.testing.sim.echo import Client, serve


def test_branches_do_not_touch_the_world() -> None:
    """A world in the middle of a connection takes two ways, and then goes on as if nothing had happened."""
    net = Network(1)
    serve(net.host("server"))
    client = Client(bytes(50_000)).connect(net, "client", "server")
    net.run_for(0.0045)
    before = net.trace.digest()

    def finish(*faults: Lose) -> int:
        net.inject(*faults)
        net.until(lambda: client.done)
        return net.now

    plain = net.fork(finish)
    slower = net.fork(lambda: finish(*(Lose(Flow("client", "server"), n) for n in range(33, 36))))
    assert plain < slower
    assert (net.trace.digest(), client.done, net.injected) == (before, False, [])
    assert finish() == plain


def test_coroutines_go_on() -> None:
    """Programs may be in the middle of their work."""
    net = Network(1)
    seen: list[int] = []

    async def program() -> None:
        for number in range(10):
            seen.append(number)
            await asyncio.sleep(1)

    net.host("a").run(program)
    net.run_for(3.5)

    def rest(seconds: float) -> list[int]:
        net.run_for(seconds)
        return seen

    assert net.fork(lambda: rest(3.0)) == [0, 1, 2, 3, 4, 5, 6]
    assert net.fork(lambda: net.fork(lambda: rest(1.0))) == [0, 1, 2, 3, 4]
    assert seen == [0, 1, 2, 3]
    net.close()


class OddError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def test_outcomes() -> None:
    """Exceptions come back; what cannot be pickled is said; a copy that dies is noticed."""
    net = Network()

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(ValueError, match="boom"):
        net.fork(lambda: fail(ValueError("boom")))
    with pytest.raises(StateError, match="OddError"):
        net.fork(lambda: fail(OddError("a", "b")))
    with pytest.raises(StateError, match="cannot be returned"):
        net.fork(lambda: lambda: None)
    with pytest.raises(StateError, match="status 7"):
        net.fork(lambda: os._exit(7))
    with pytest.raises(ConfigError, match="branch"):
        net.fork(3)  # type: ignore[arg-type] # no function


def test_not_within_a_program() -> None:
    """A world is forked from outside."""
    net = Network()

    async def program() -> None:
        net.fork(lambda: None)

    with pytest.raises(StateError, match="running network"):
        net.run(program, on="a")
    net.close()
