"""What all seams use."""

from __future__ import annotations

from typing import Protocol, TypeAlias

__all__ = ["Buffer", "Timer"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Anything bytes-like that is contiguous."""


class Timer(Protocol):
    """A call in the future."""

    def cancel(self) -> None:
        """It will not be made. Harmless when repeated or too late."""
        ...
