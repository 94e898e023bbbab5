"""Extent of the tests: more cases of the same kind in CI, and with SLIRPY_FULL set.

Properties get their full number of examples with SLIRPY_FULL only, as in ``make stress``: the examples are the same
in each run, so most of them would tell CI nothing new.
"""

from __future__ import annotations

import os

__all__ = ["FULL", "THOROUGH"]

THOROUGH = bool(os.environ.get("SLIRPY_FULL"))
FULL = THOROUGH or bool(os.environ.get("CI"))
