"""How the tests are spread over processes (``-n``, see the Makefile)."""

from __future__ import annotations

from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent / "system"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the system tests one after the other, in one process, and first, because they take the longest.

    They start real programs and measure how these behave in time; two of them at once would disturb each other. All other
    tests go to whichever process is free.
    """
    for item in items:
        if SYSTEM in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("system"))
    items.sort(key=lambda item: SYSTEM not in item.path.parents)
