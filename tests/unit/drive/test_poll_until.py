"""Polling until a condition of the caller holds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slirpy import Config, ConfigError, Slirp, StateError


@pytest.fixture
def net() -> Iterator[Slirp]:
    with Slirp(Config()) as made:
        yield made


@contextmanager
def watched(net: Slirp, ready: Callable[[], object]) -> Iterator[socket.socket]:
    """Let the network wait for a socket, whose other end is returned, and call ``ready`` for each byte."""
    near, far = socket.socketpair()

    def read(_: int) -> None:
        near.recv(1)
        ready()

    with near, far:
        net.watch(near.fileno(), read)
        yield far


def test_polls_end_once_the_condition_holds(net: Slirp) -> None:
    seen: list[int] = []
    with watched(net, lambda: seen.append(1)) as far:
        far.send(b"xyz")
        net.poll_until(lambda: len(seen) == 2)
        assert seen == [1, 1]
        net.poll_until(lambda: len(seen) == 3)


def test_the_condition_is_looked_at_before_the_first_wait(net: Slirp) -> None:
    net.poll_until(lambda: True)


def test_the_wait_is_asked_for_before_each_poll(net: Slirp) -> None:
    waits = iter((0.0, 0.0, 0.0, 60.0))
    left = [3]

    def wait() -> float:
        left[0] -= 1
        return next(waits)

    net.poll_until(lambda: not left[0], wait)


def test_a_network_that_is_closed_from_within_is_no_longer_polled(net: Slirp) -> None:
    with watched(net, net.close) as far:
        far.send(b"x")
        net.poll_until(lambda: False)
    with pytest.raises(StateError, match="closed"):
        net.poll_until(lambda: False)


def test_a_thread_that_is_started_meanwhile_takes_over(net: Slirp) -> None:
    def done() -> bool:
        net.start()
        return False

    with pytest.raises(StateError, match="another thread polls"):
        net.poll_until(done)


def test_an_exception_ends_it_and_the_next_one_goes_on(net: Slirp) -> None:
    seen: list[int] = []

    def fail() -> None:
        seen.append(1)
        if len(seen) == 1:
            raise ZeroDivisionError

    with watched(net, fail) as far:
        far.send(b"xy")
        with pytest.raises(ZeroDivisionError):
            net.poll_until(lambda: False)
        assert net.timeout() == 0.0
        net.poll_until(lambda: len(seen) == 2)
        assert net.timeout() is None


@pytest.mark.parametrize("wrong", [None, 1, "done"])
def test_functions_are_checked(net: Slirp, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="done"):
        net.poll_until(wrong)
    if wrong is not None:
        with pytest.raises(ConfigError, match="timeout"):
            net.poll_until(lambda: False, wrong)
    with pytest.raises(ConfigError, match="timeout"):
        net.poll_until(lambda: False, lambda: "soon")  # type: ignore[arg-type,return-value] # a caller's mistake


def test_a_poll_within_a_poll_is_a_mistake(net: Slirp) -> None:
    errors: list[StateError] = []

    def nested() -> None:
        try:
            net.poll_until(lambda: False)
        except StateError as error:
            errors.append(error)

    with watched(net, nested) as far:
        far.send(b"x")
        net.poll_until(lambda: bool(errors))
