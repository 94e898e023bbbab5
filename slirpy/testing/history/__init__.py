"""Histories of concurrent operations, and a check that one order of them explains all results.

A :class:`History` records what the clients of a service did, and :func:`check_linearizable` searches for an order in
which a single copy of the service, its :class:`Model`, would have given the same results::

    history = History(clock=lambda: net.now)
    with history.invoke("client 1", "write", 3) as call:
        call.ok(await client.write(3))
    ...
    result = check_linearizable(history, RegisterModel())
    assert result, result
"""

from slirpy.testing.history.checker import Linearization, check_linearizable
from slirpy.testing.history.events import UNKNOWN, Event, History, Invocation, Operation
from slirpy.testing.history.models import (
    CounterModel,
    KeyValueModel,
    Model,
    QueueModel,
    RegisterModel,
    SetModel,
)

__all__ = [
    "UNKNOWN",
    "CounterModel",
    "Event",
    "History",
    "Invocation",
    "KeyValueModel",
    "Linearization",
    "Model",
    "Operation",
    "QueueModel",
    "RegisterModel",
    "SetModel",
    "check_linearizable",
]
