"""Selection and order of the collected tests."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

import pytest

from tests.support import platforms

SYSTEM = Path(__file__).resolve().parent / "system"


def pytest_configure() -> None:
    """Let signals end the programs that tests start: ``make test &`` in a script has them ignored."""
    gc.disable()  # collecting tests makes hardly any garbage, and looking for it takes a quarter of the time
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what this system lacks; run the system tests, the longest, first."""
    items.sort(key=lambda item: SYSTEM not in item.path.parents)
    for item in items:
        for mark in item.iter_markers("needs"):
            # In CI too: a mark names a part of the operating system, and no tool that could be installed.
            if why := platforms.reason(*mark.args, **mark.kwargs):
                item.add_marker(pytest.mark.skip(reason=why))


def pytest_collection_finish() -> None:
    """Spare later collections of garbage the thousands of tests, which live to the end."""
    gc.collect()
    gc.freeze()
    gc.enable()
