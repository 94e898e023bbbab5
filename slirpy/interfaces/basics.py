"""Types that all seams share."""

from __future__ import annotations

from typing import Protocol, TypeAlias

__all__ = ["Buffer", "Timer"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Any contiguous bytes-like object."""


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call. Harmless when repeated or too late."""
        ...
