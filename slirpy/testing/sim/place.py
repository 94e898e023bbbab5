"""The line of a program that has made a call."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import FrameType

__all__ = ["place"]

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = tuple(sysconfig.get_path(each) + os.sep for each in ("purelib", "platlib"))
"""Folders of packages, which may be inside the one of the standard library."""


def place() -> str:
    """Return file and line of the innermost call that is neither of this package nor of the standard library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_inside(name: str) -> bool:
    """Report whether a file is of this package, or of the standard library."""
    if name.startswith((_OWN, "<frozen ")):
        return True
    return name.startswith(_STANDARD) and not name.startswith(_INSTALLED)
