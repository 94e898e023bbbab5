"""Failure of a test in virtual time."""

from __future__ import annotations

__all__ = ["UnmetError"]


class UnmetError(AssertionError):
    """A condition was not met, or something else than expected was sent; the text describes the state."""
