"""trio in blocking programs: several ``trio.run()`` take turns in one thread of the operating system."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

__all__ = ["State", "cancel", "exchange"]

_KEPT = (("trio._core._run", "GLOBAL_RUN_CONTEXT"), ("sniffio._impl", "thread_local"))
"""Objects, by module and name, that have other attributes in each thread of the operating system."""
State: TypeAlias = dict[str, dict[str, Any]]


def exchange(saved: State) -> State:
    """Put the state of one thread's ``trio.run()`` in the place of another's, and return that one's.

    trio keeps it by the thread of the operating system, of which all threads of a network share one.
    """
    current: State = {}
    for name, attribute in _KEPT:
        module = sys.modules.get(name)
        if module is not None:
            attributes = vars(getattr(module, attribute))
            current[name] = dict(attributes)
            attributes.clear()
            attributes.update(saved.get(name, ()))
    return current


def cancel(state: State) -> bool:
    """Cancel the ``trio.run()`` of a thread that waits; False if there is none.

    Its tasks could not be dropped instead: trio complains about each nursery that is not left in order.
    """
    runner = state.get("trio._core._run", {}).get("runner")
    if runner is None or runner.main_task is None or runner.main_task.parent_nursery is None:
        return False
    outside = exchange(state)
    runner.main_task.parent_nursery.cancel_scope.cancel()
    state.update(exchange(outside))
    return True
