"""Functions of Windows' libraries, by way of :mod:`ctypes`. Nothing is loaded before the first call."""

from __future__ import annotations

from typing import Any

__all__ = ["last_code", "last_error", "library"]


def library(name: str) -> Any:
    """Load a library of Windows; its functions keep their error for :func:`last_error`.

    Raises:
        OSError: there is none of this name.
        KeyError: this is not Windows.
    """
    import ctypes

    return vars(ctypes)["WinDLL"](name, use_last_error=True)


def last_error() -> OSError:
    """Error of the last function of this thread that failed."""
    import ctypes

    names = vars(ctypes)
    error = names["WinError"](names["get_last_error"]())
    assert isinstance(error, OSError)
    return error


def last_code() -> int:
    """Number of that error, as Windows gives it."""
    import ctypes

    return int(vars(ctypes)["get_last_error"]())
