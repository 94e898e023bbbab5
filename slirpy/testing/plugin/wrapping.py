"""Tests that are coroutines, or whose arguments Hypothesis chooses, as ordinary functions that run in a network."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.testing.plugin.profile import without_explanation
from slirpy.testing.sim.errors import LeftoverError

__all__ = ["collect"]


class _Fresh:
    """Stands for the network of each example in what Hypothesis prints."""

    def __repr__(self) -> str:
        return "net"


_FRESH = _Fresh()


def collect(
    collector: pytest.Module | pytest.Class, name: str, obj: Any
) -> list[pytest.Item | pytest.Collector] | None:
    """Return the items of a test that needs a wrapper; None: it is none."""
    if not collector.istestfunction(obj, name) or hasattr(obj, "slirpy_wrapped"):
        return None
    function = getattr(obj, "__func__", obj)
    handle = getattr(function, "hypothesis", None)
    inner = function if handle is None else handle.inner_test
    takes_net = "net" in inspect.signature(function).parameters
    if takes_net and not _is_ours(collector):
        return None
    if not takes_net and not any(mark.name == "sim" for mark in _marks(collector, function)):
        return None
    is_coroutine = inspect.iscoroutinefunction(inner)
    if handle is not None:
        wrapped = _of_hypothesis(function, handle, takes_net, is_coroutine)
    elif is_coroutine:
        wrapped = _of_coroutine(function, takes_net)
    else:
        return None
    wrapped.slirpy_wrapped = True  # type: ignore[attr-defined] # functions have attributes
    setattr(collector.obj, name, wrapped)  # classes look it up again for each item
    return list(collector._genfunctions(name, wrapped))


def _is_ours(collector: pytest.Module | pytest.Class) -> bool:
    """Report whether the fixture ``net`` is that of the plugin here, and no other of the same name."""
    found = collector.session._fixturemanager.getfixturedefs("net", collector)
    return found is not None and found[-1].func.__module__ == __package__


def _marks(collector: pytest.Module | pytest.Class, function: object) -> list[pytest.Mark]:
    own = getattr(function, "pytestmark", [])
    return [*own, *(mark for node in collector.listchain() for mark in node.own_markers)]


def _of_coroutine(function: Callable[..., Any], takes_net: bool) -> Callable[..., Any]:
    """Return a function that runs a coroutine function as a program of the network."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())

    @functools.wraps(function)
    def run(*args: Any, **fixtures: Any) -> Any:
        __tracebackhide__ = True
        net = fixtures["net"] if takes_net else fixtures.pop("net")
        _run(net, function(*args, **fixtures))

    if not takes_net:
        parameters.append(inspect.Parameter("net", inspect.Parameter.KEYWORD_ONLY))
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # functions have them
    del run.__wrapped__  # inspect would find the coroutine function behind it
    return run


def _run(net: Any, coroutine: Any) -> None:
    """Run the coroutine of a test on its host.

    Raises:
        LeftoverError: the test has left tasks.
    """
    from slirpy.testing.plugin.session import session_of_network

    __tracebackhide__ = True
    marker = session_of_network(net).marker
    host = net.host(marker.host)
    number = len(host.programs)
    net.run(coroutine, on=host, limit=marker.limit)
    left = [] if marker.leftovers else host.programs[number].leftovers()
    if left:
        raise LeftoverError(
            "the test has left tasks; await them, or cancel them, or mark the test sim(leftovers=True):\n  "
            + "\n  ".join(left)
        )


def _of_hypothesis(
    function: Callable[..., Any], handle: Any, takes_net: bool, is_coroutine: bool
) -> Callable[..., Any]:
    """Return a function whose examples each get a network of their own."""
    from slirpy.testing.plugin.examples import run_example

    inner = handle.inner_test

    @functools.wraps(inner)
    def example(*args: Any, **values: Any) -> None:
        __tracebackhide__ = True

        def run_in(net: Any) -> None:
            __tracebackhide__ = True
            result = inner(*args, **values | ({"net": net} if takes_net else {}))
            if is_coroutine:
                _run(net, result)

        run_example(run_in, (*args, *values.values()))

    if is_coroutine:
        del example.__wrapped__
    handle.inner_test = example
    without_explanation(function)
    signature = inspect.signature(function)
    if not takes_net:
        return function

    @functools.wraps(function)
    def run(*args: Any, **fixtures: Any) -> Any:
        return function(*args, net=_FRESH, **fixtures)

    parameters = [each for name, each in signature.parameters.items() if name != "net"]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # functions have them
    return run
