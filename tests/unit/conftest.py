"""Fixtures of the tests about the whole package and its documentation."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.support.repository import load


@pytest.fixture(scope="session")
def hooks() -> ModuleType:
    """``docs/hooks.py``, which fills in what the documentation takes from the code."""
    return load("docs/hooks.py")
