"""Targets that others open, and what is counted of each connection."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest

from slirpy.config.guestfwd import Command, GuestForward
from slirpy.errors import ForwardError
from slirpy.interfaces import FlowRequest, IPProtocol
from slirpy.stack import Stack
from slirpy.testing import SimHost
from tests.support.harness import config, ip
from tests.support.owners import StreamNotes

FLOW = FlowRequest(IPProtocol.TCP, "10.0.2.15", 40000, "10.0.2.100", 7)


class Opener:
    """An opener of targets that notes what it is asked for, and the owners of connections."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any, str]] = []
        self.opened: list[tuple[Any, FlowRequest]] = []

    def opener(self, target: Any, network: Any, what: str) -> Any:
        if target.argv == ("missing",):
            raise ForwardError(f"{what}: no such program")
        self.asked.append((target, network, what))
        return lambda owner, flow: self.opened.append((owner, flow))


def stack_of(opener: Opener, *rules: GuestForward | str) -> Stack:
    return Stack(config(guestfwd=list(rules)), SimHost(Random(1)), target_opener=opener)


@pytest.mark.parametrize(
    ("server", "port", "where"),
    [
        ("10.0.2.100", 7, "guestfwd 10.0.2.100:7"),
        ("fec0::100", 7, "guestfwd [fec0::100]:7"),
        (None, 7, "guestfwd *:7"),
        ("10.0.2.100", None, "guestfwd 10.0.2.100:*"),
        (None, None, "guestfwd *:*"),
    ],
)
def test_the_opener_knows_target_network_and_place(server: str | None, port: int | None, where: str) -> None:
    opener = Opener()
    stack = stack_of(opener, GuestForward(server, port, Command(("cat",))))
    assert opener.asked == [(Command(("cat",)), stack, where)]
    with pytest.raises(ForwardError, match="something answers there already") as caught:
        stack.add_guestfwd(GuestForward(server, port, Command(("cat",))))
    assert str(caught.value).startswith(f"{where}: ")
    with pytest.raises(ForwardError, match="no such program") as caught:
        stack_of(opener, GuestForward(server, port, Command(("missing",))))
    assert str(caught.value).startswith(f"{where}: ")


def test_connections_and_their_ends_are_counted() -> None:
    opener = Opener()
    stack = stack_of(opener, GuestForward("10.0.2.100", 7, Command(("cat",))))
    service = stack._parts.tables.stream_services[ip("10.0.2.100"), 7]
    owners = [StreamNotes() for _ in range(4)]
    for owner in owners:
        service(owner, FLOW)
    assert stack.stats.guestfwd_flows == 4
    assert [flow for _, flow in opener.opened] == [FLOW] * 4
    (missing, _), (refused, _), (broken, _), (gone, _) = opener.opened
    missing.failed(errno.ENOENT)  # of a Unix socket, for which no program listens
    refused.failed(errno.EHOSTUNREACH)
    assert (stack.stats.guestfwd_failed, stack.stats.guestfwd_broken) == (2, 0)
    for each in (broken, gone):
        each.connected()
        each.readable()
        each.writable()
    broken.failed(errno.ECONNRESET)
    gone.failed(errno.ENOENT)
    assert (stack.stats.guestfwd_failed, stack.stats.guestfwd_broken) == (2, 2)
    passed_on = ["connected", "readable", "writable"]
    assert [owner.calls for owner in owners] == [["failed"]] * 2 + [[*passed_on, "failed"]] * 2
    assert [owner.errors for owner in owners] == [
        [errno.ECONNREFUSED],
        [errno.EHOSTUNREACH],
        [errno.ECONNRESET],
        [errno.ENOENT],
    ]
