"""Parts of the one-line descriptions of objects, ``__repr__``."""

from __future__ import annotations

from functools import wraps

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["counted", "never_raises"]


def never_raises(describe: Callable[[_T], str]) -> Callable[[_T], str]:
    """Make a ``__repr__`` that also works for an object whose ``__init__`` has failed, or was never called."""

    @wraps(describe)
    def text(self: _T) -> str:
        try:
            return describe(self)
        # Of any kind, since any attribute may be missing: the report of a failed test still needs a text.
        except Exception as error:
            return f"<{type(self).__name__}, incomplete: {' '.join(str(error).split())}>"

    return text


def counted(number: int, noun: str) -> str:
    """Format a number of things: ``1 frame``, ``2 frames``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
