"""Selection and order of the collected tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.extent import FULL

SYSTEM = Path(__file__).resolve().parent / "system"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long tests to CI, and run the system tests first: together they take the longest."""
    items.sort(key=lambda item: SYSTEM not in item.path.parents)
    for item in items:
        if item.get_closest_marker("long") and not FULL:
            item.add_marker(pytest.mark.skip(reason="one of the long ones; set SLIRPY_FULL=1"))
