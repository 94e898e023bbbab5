"""Outcomes of tests that show a bug of other people's programs."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import pytest

__all__ = ["expect_bug"]


def expect_bug(package: str, outcome: Any, *, wrong: Any, right: Any) -> None:
    """Assert that a bug is there; skip the test if the installed version does it right.

    Args:
        package: name of the distribution, or ``python`` for its standard library.
        outcome: the result of the run.
        wrong: the result that shows the bug.
        right: the result without it.
    """
    if outcome == right:
        installed = platform.python_version() if package == "python" else version(package)
        pytest.skip(f"{package} {installed} does it right: say so in docs/bugs.md")
    assert outcome == wrong
