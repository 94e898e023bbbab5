"""Extent of the tests: everything in CI or with SLIRPY_FULL set, otherwise what does not take long."""

from __future__ import annotations

import os

__all__ = ["FULL"]

FULL = bool(os.environ.get("CI") or os.environ.get("SLIRPY_FULL"))
