"""The line of a program that has made a call."""

from __future__ import annotations

import os
import sys
from types import FrameType

__all__ = ["place"]

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def place() -> str:
    """Return file and line of the innermost call that is not of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
