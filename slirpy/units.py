"""Units of time. Inside slirpy every time and every duration is an integer of nanoseconds."""

from __future__ import annotations

__all__ = ["MS", "SECOND", "US"]

US = 1_000
MS = 1_000 * US
SECOND = 1_000 * MS
