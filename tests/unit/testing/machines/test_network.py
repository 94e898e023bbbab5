"""The machine for programs in a network: async rules, faults in the future, and a report of what failed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, run_state_machine_as_test

from slirpy import ConfigError
from slirpy.testing.machines import NetworkMachine, initialize, rule

LOOKING = settings(
    max_examples=300, deadline=None, database=None, derandomize=True, stateful_step_count=8,
    suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.target, Phase.shrink],
    report_multiple_bugs=False,
)  # fmt: skip
PASSING = settings(LOOKING, max_examples=25)
PORT = 7000


class Server:
    """Adds up what clients ask for, one request a connection; with ``once`` each number counts once."""

    def __init__(self, once: bool) -> None:
        self.once = once
        self.value = 0
        self.seen: set[int] = set()

    async def serve(self) -> None:
        server = await asyncio.start_server(self.answer, "0.0.0.0", PORT)
        async with server:
            await server.serve_forever()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            number = int(await reader.readline() or b"-1")
        except ConnectionError:
            number = -1
        if number >= 0 and not (self.once and number in self.seen):
            self.seen.add(number)
            self.value += 1
        writer.write(b"%d\n" % self.value)
        writer.close()


async def ask(number: int) -> None:
    """Ask until there is an answer; each attempt gets 300 ms."""
    while True:
        try:
            async with asyncio.timeout(0.3):
                if await attempt(number):
                    return
        except (OSError, TimeoutError):
            await asyncio.sleep(0.1)


async def attempt(number: int) -> bytes:
    reader, writer = await asyncio.open_connection("server", PORT)
    try:
        writer.write(b"%d\n" % number)
        return await reader.readline()
    finally:
        writer.close()


class Counter(NetworkMachine):
    hosts = ("server", "client")
    faults = ("cut",)
    once = True

    def start(self) -> None:
        self.server = Server(self.once)
        self.net.hosts["server"].run(self.server.serve)
        self.asked = 0

    @rule()
    async def increment(self) -> None:
        self.asked += 1
        await ask(self.asked)

    @invariant()
    def at_most_once(self) -> None:
        assert self.server.value <= self.asked

    async def recovered(self) -> None:
        self.asked += 1
        await ask(self.asked)
        assert self.server.value == self.asked


class Twice(Counter):
    once = False


def test_a_right_server_passes() -> None:
    run_state_machine_as_test(Counter, settings=PASSING)


def steps_of(error: BaseException) -> list[str]:
    notes = "\n".join(getattr(error, "__notes__", ()))
    return [line for line in notes.splitlines() if "state." in line and "at_most_once" not in line]


@pytest.mark.long
def test_a_retry_that_counts_twice_is_found(tmp_path: Path) -> None:
    kept = type("Kept", (Twice,), {"artifacts": tmp_path})
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(kept, settings=LOOKING)
    steps = steps_of(caught.value)
    assert sum("increment" in step for step in steps) <= 2, "\n".join(steps)
    assert sum("cut" in step for step in steps) == 1
    assert len(steps) <= 5
    assert "cut the path" in "\n".join(caught.value.__notes__)
    assert (tmp_path / "Kept.txt").exists()


def test_a_crash_loses_state_in_memory() -> None:
    class Forgetful(Counter):
        faults = ("crash",)

        def start(self) -> None:
            super().start()
            self.net.hosts["server"].programs[0].again = self.again

        async def again(self) -> None:
            self.server.value = 0
            await self.server.serve()

        @invariant()
        def never_less(self) -> None:
            assert self.server.value >= min(self.asked, 1)

        async def recovered(self) -> None: ...

    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(Forgetful, settings=LOOKING)
    assert sum("crash" in step for step in steps_of(caught.value)) == 1


def test_rules_take_values_and_run_on_their_host() -> None:
    places: list[tuple[str, Any]] = []

    class Places(NetworkMachine):
        hosts = ("a", "b", "c")
        runs_on = "b"
        faults = ()

        @initialize()
        async def begin(self) -> None:
            places.append(("begin", asyncio.get_running_loop().time()))

        @rule(on="a", number=st.integers(0, 3))
        async def elsewhere(self, number: int) -> None:
            await asyncio.sleep(1)
            places.append(("elsewhere", number))

        @rule(number=st.integers(0, 3))
        def plain(self, number: int) -> None:
            places.append(("plain", number))

    run_state_machine_as_test(Places, settings=settings(PASSING, max_examples=10))
    assert {name for name, _ in places} == {"begin", "elsewhere", "plain"}
    assert Places().run(asyncio.sleep(0, "done")) == "done"


def test_retransmissions_are_counted() -> None:
    machine = Counter()
    machine.net.path("client", "server")
    assert machine.retransmissions() == 0
    machine.cut(("client", "server"), 0, 100)
    machine.increment()
    assert machine.retransmissions() >= 0
    machine.teardown()


@pytest.mark.parametrize(
    ("hosts", "runs_on", "text"), [(("a",), "", "two hosts or more"), (("a", "b"), "c", 'runs_on "c"')]
)
def test_wrong_hosts(hosts: tuple[str, ...], runs_on: str, text: str) -> None:
    wrong = type("Wrong", (NetworkMachine,), {"hosts": hosts, "runs_on": runs_on})
    with pytest.raises(ConfigError, match=text):
        wrong()


def test_a_rule_that_is_not_async_has_no_host() -> None:
    with pytest.raises(ConfigError, match="is not async"):

        @rule(on="a")
        def plain(self: object) -> None: ...
