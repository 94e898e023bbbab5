"""Settings of Hypothesis that suit tests in a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["PROFILE", "register_profile", "without_explanation"]

PROFILE = "sim"
"""Name of the profile, for ``--hypothesis-profile``."""


def register_profile() -> None:
    """Register the profile ``sim``: no deadline, and no search for lines of code that explain a failure.

    That search traces every line, which takes about five times as long, and finds lines of the simulator.
    """
    from hypothesis import settings

    settings.register_profile(PROFILE, parent=settings(), deadline=None, phases=_phases(settings().phases))


def without_explanation(function: Callable[..., Any]) -> None:
    """Apply the profile ``sim`` to a test without settings."""
    from hypothesis import settings

    if not hasattr(function, "_hypothesis_internal_settings_applied"):
        settings(deadline=None, phases=_phases(settings().phases))(function)


def _phases(phases: Any) -> list[Any]:
    from hypothesis import Phase

    return [phase for phase in phases if phase is not Phase.explain]
