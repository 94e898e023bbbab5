"""Calls of those who drive a stack: links that come and go, times that are none, frames that are no buffers."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy import ConfigError
from tests.support.harness import Net, NoPoller, Wire, config


@pytest.mark.needs("interpreted", detail="a compiled function checks types itself")
@pytest.mark.parametrize("given", ["soon", 1.5, None, b"1"])
@pytest.mark.parametrize(("method", "name"), [("tick", "now"), ("flush", "now"), ("call_at", "when")])
def test_a_time_is_a_whole_number_of_nanoseconds(method: str, name: str, given: Any) -> None:
    stack = Net(config()).stack
    arguments = (given, print) if method == "call_at" else (given,)
    with pytest.raises(ConfigError, match=rf"^{name} .*{re.escape(repr(given))}"):
        getattr(stack, method)(*arguments)


def test_call_at_requires_a_function() -> None:
    given: Any = "print"
    with pytest.raises(ConfigError, match=r"^callback is a function; given was 'print'$"):
        Net(config()).stack.call_at(0, given)


@pytest.mark.needs("interpreted", detail="a compiled function checks types itself")
@pytest.mark.parametrize("given", ["text", None, 5])
def test_a_frame_is_a_buffer(given: Any) -> None:
    net = Net(config())
    with pytest.raises(ConfigError, match=r"^frame is bytes, or another buffer; given was "):
        net.stack.input(net.port, given)
    assert net.stats.frames_in == 0


def test_links_that_come_and_go_are_reported() -> None:
    stack = Net(config()).stack
    heard: list[tuple[object, ...]] = []
    wire = Wire()
    port = stack.attach(wire, NoPoller())  # nobody listens yet
    stack.detach(port)
    stack.network.events = cast("Any", SimpleNamespace(link_changed=lambda *given: heard.append(given)))
    wire, poller = Wire(), NoPoller()
    stack.on_attach = lambda *given: heard.append(given)
    stack.on_detach = lambda *given: heard.append(given)
    port = stack.attach(wire, poller)
    assert heard == [(port, poller), (wire, port, True)]
    heard.clear()
    stack.detach(port)
    stack.detach(port)
    assert heard == [(wire,), (wire, port, False)]
    assert wire.closed == 1
    assert port not in stack.ports
