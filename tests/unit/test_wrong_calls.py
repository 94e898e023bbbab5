"""Every public call of Slirp, Stack and the handles of links, with each argument replaced by one that makes no sense.

A call that cannot do what it was asked raises one of slirpy's own exceptions, which say what is allowed.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from slirpy import Attachment, Config, GuestListener, Nic, Slirp, SlirpyError, Stack
from slirpy.links.callback import CallbackLink
from slirpy.testing import SimHost


class Odd:
    """An object of no use, whose class can be called like a function."""

    def __init__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return "<odd>"


WRONG: list[Any] = [
    Odd(), Odd, "", "x", b"", b"x", -1, 10**30, 0.5, float("nan"), float("inf"), None, True, [], [5], {}, (), print,
]  # fmt: skip
LEFT_OUT = {"close", "forked", "start", "stop"}
"""They take no arguments, and end things."""


def open_socket(kind: int, take: Callable[[Any], None]) -> None: ...


GOOD: dict[str, list[Any]] = {
    "Slirp.attach": [print],
    "Slirp.attach_link": [CallbackLink(print)],
    "Slirp.serve": ["tcp:127.0.0.1:0"],
    "Slirp.reserve": ["52:54:00:12:34:56"],
    "Slirp.add_hostfwd": ["tcp::0-:80"],
    "Slirp.remove_hostfwd": ["tcp::0-:80"],
    "Slirp.reach_guest_loopback": ["10.0.2.15", open_socket],
    "Slirp.add_guestfwd": ["tcp:10.0.2.100:80-tcp:127.0.0.1:80"],
    "Slirp.remove_guestfwd": ["tcp:10.0.2.100:80-tcp:127.0.0.1:80"],
    "Slirp.mount": [print, "10.0.2.101", 80],
    "Slirp.watch": [0, print, 1],
    "Slirp.unwatch": [0],
    "Slirp.poll": [0],
    "Nic.send": [b"x" * 60, False, 0],
    "Nic.send_many": [[b"x" * 60], False, 0],
    "Stack.attach": [CallbackLink(print), None],
    "Stack.detach": [None],
    "Stack.input": [None, b"x" * 60],
    "Stack.tick": [0],
    "Stack.flush": [0],
    "Stack.call_at": [0, print],
    "Stack.reserve": ["52:54:00:12:34:56"],
    "Stack.add_hostfwd": ["tcp::0-:80"],
    "Stack.remove_hostfwd": ["tcp::0-:80"],
    "Stack.add_guestfwd": ["tcp:10.0.2.100:80-tcp:127.0.0.1:80", True],
    "Stack.remove_guestfwd": ["tcp:10.0.2.100:80-tcp:127.0.0.1:80"],
}
"""Arguments that make sense, of each call that takes any."""
SEAMS = {
    "Stack.bind", "Stack.open_port", "Stack.close_port", "Stack.send_datagram", "Stack.send_datagrams",
    "Stack.lead_inside",
}  # fmt: skip
"""Calls for services, which are part of a network and give it bytes; see ``slirpy.interfaces``."""
TRUSTED = {("Stack.input", "port"), ("Stack.attach", "poller")}
"""Arguments that are handed on unread, and would cost time for each frame to check."""


def public(kind: type) -> Iterator[tuple[str, inspect.Signature]]:
    for name, member in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and name not in LEFT_OUT:
            yield name, inspect.signature(member)


CALLS = [
    (kind, name, list(signature.parameters.values())[1:])
    for kind in (Slirp, Nic, Attachment, GuestListener, Stack)
    for name, signature in public(kind)
    if len(signature.parameters) > 1 and f"{kind.__name__}.{name}" not in SEAMS
]


def test_each_call_is_listed() -> None:
    names = {f"{kind.__name__}.{name}" for kind, name, _ in CALLS}
    assert names == set(GOOD)


@pytest.fixture
def objects() -> Iterator[dict[type, Any]]:
    """One of each; a poll never waits, since a watched descriptor is readable."""
    read, write = os.pipe()
    os.write(write, b"x")
    with Slirp() as net:
        net.watch(read, lambda events: None)
        stack = Stack(Config(), SimHost(Random(1)))
        yield {Slirp: net, Nic: net.attach(lambda frame: None), Stack: stack}
        stack.close()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(("kind", "name", "parameters"), CALLS, ids=[f"{k.__name__}.{n}" for k, n, _ in CALLS])
def test_an_argument_that_makes_no_sense(
    kind: type, name: str, parameters: list[inspect.Parameter], objects: dict[type, Any]
) -> None:
    call = getattr(objects[kind], name)
    good = GOOD[f"{kind.__name__}.{name}"]
    for parameter in parameters:
        if (f"{kind.__name__}.{name}", parameter.name) in TRUSTED:
            continue
        for wrong in WRONG:
            values = {p.name: value for p, value in zip(parameters, good, strict=False)}
            values[parameter.name] = wrong
            positional = [
                values.pop(p.name)
                for p in parameters
                if p.kind is not inspect.Parameter.KEYWORD_ONLY and p.name in values
            ]
            with contextlib.suppress(SlirpyError):
                call(*positional, **values)


CONSTRUCTORS: dict[type, dict[str, Any]] = {
    Slirp: {"config": None, "random": None, "clock": lambda: 0, "wall_clock": lambda: 0},
    Stack: {
        "config": Config(), "host": SimHost(Random(1)), "random": None, "stats": None, "now": 0, "lease_store": None,
        "target_opener": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONSTRUCTORS)
def test_a_network_made_of_what_makes_no_sense(kind: Any) -> None:
    good = CONSTRUCTORS[kind]
    assert set(good) == set(inspect.signature(kind).parameters)
    for name in good:
        for wrong in WRONG:
            with contextlib.suppress(SlirpyError):
                kind(**{**good, name: wrong}).close()
