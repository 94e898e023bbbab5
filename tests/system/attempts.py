"""Python source that programs which attack a sandbox begin with."""

from __future__ import annotations

__all__ = ["LIBC"]

LIBC = r"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def status(name):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))
"""
