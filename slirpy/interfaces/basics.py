"""Types that all seams share."""

from __future__ import annotations

from slirpy.records import Protocol

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Buffer", "Timer"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Any contiguous bytes-like object."""


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call. Harmless when repeated or too late."""
