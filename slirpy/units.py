"""Units of time. Inside slirpy every time and every duration is an integer of nanoseconds."""

from __future__ import annotations

from slirpy.mypyc import Final

__all__ = ["MS", "SECOND", "US"]

US: Final = 1_000
MS: Final = 1_000 * US
SECOND: Final = 1_000 * MS
