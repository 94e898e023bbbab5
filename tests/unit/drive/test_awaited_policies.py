"""Policies that are coroutine functions, under each way to drive a network."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from random import Random

import pytest

from slirpy import Action, Config, ConfigError, FlowRequest, RulePolicy, Slirp, Verdict
from slirpy.testing import Guest


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Asked:
    """A policy that waits a little; it remembers the thread in which it ran."""

    def __init__(self, verdict: object) -> None:
        self.verdict = verdict
        self.threads: list[str] = []

    async def __call__(self, request: FlowRequest) -> Verdict:
        await asyncio.sleep(0.01)
        self.threads.append(threading.current_thread().name)
        assert isinstance(self.verdict, Verdict), "not a verdict"
        return self.verdict


def guest_of(net: Slirp) -> Guest:
    def send(frame: bytes) -> None:
        nic.send(frame)

    guest = Guest(send, random=Random(1))
    nic = net.attach(guest.input)
    guest.configure("10.0.2.15", 24, "10.0.2.2", "10.0.2.3")
    return guest


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REJECT])
def test_polled(port: int, action: Action) -> None:
    policy = Asked(Verdict(action))
    with Slirp(Config(policy=policy)) as net:
        stream = guest_of(net).connect("10.0.2.2", port)
        for _ in range(500):
            net.poll(0.01)
            if stream.closed or stream.state.value == "ESTABLISHED":
                break
        assert (not stream.error) is (action is Action.ALLOW)
    assert policy.threads == ["slirpy-asyncio"]


def test_in_the_loop_that_drives_the_network(port: int) -> None:
    policy = Asked(Verdict(Action.ALLOW))

    async def main() -> str:
        async with Slirp(Config(policy=policy)) as net:
            stream = guest_of(net).connect("10.0.2.2", port)
            for _ in range(500):
                await asyncio.sleep(0.01)
                if stream.state.value == "ESTABLISHED":
                    break
            return stream.state.value

    assert asyncio.run(main()) == "ESTABLISHED"
    assert policy.threads == [threading.current_thread().name]


def test_an_exception_refuses_the_flow(port: int) -> None:
    refused: list[str] = []
    policy = Asked(None)
    with Slirp(
        Config(policy=policy, on_refused=lambda request, verdict: refused.append(verdict.reason))
    ) as net:
        stream = guest_of(net).connect("10.0.2.2", port)
        for _ in range(500):
            net.poll(0.01)
            if stream.closed:
                break
        assert stream.error
    assert refused == ["the policy failed"]


def test_the_policy_is_replaced_from_another_thread(port: int) -> None:
    with Slirp() as net:
        assert net.policy is None
        net.start()
        net.policy = ["deny any"]
        assert net.policy == RulePolicy(["deny any"])
        net.policy = None
        with pytest.raises(ConfigError, match="policy"):
            net.policy = 5  # type: ignore[assignment] # as somebody may
