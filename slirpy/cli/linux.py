"""System calls of Linux that Python 3.11 has no functions for, through ctypes.

Each raises :class:`OSError` with the system's error. Nothing here is imported unless ``slirpy run`` runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from struct import Struct

from slirpy.records import NamedTuple
from slirpy.sandbox.syscalls import call

# unshare(2)
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
# mount(2), umount2(2)
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_RDONLY, MS_REMOUNT = 1, 0x20
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
# prctl(2)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR = Struct("=QQQQ")
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = 1, 2
_CLOSE_RANGE_CLOEXEC = 4
# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# signalfd(2)
SFD_NONBLOCK, SFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_SIGSET_BYTES = 128
_SIGNALFD_SIGINFO = Struct("=I4xi116x")  # number and code; the other fields are not used
_SI_KERNEL = 0x80


def _call(name: str, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(libc, name)(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def unshare(flags: int) -> None:
    """Move the process into new namespaces (``CLONE_NEW...``)."""
    _call("unshare", flags)


def setns(descriptor: int, flags: int) -> None:
    """Move the process into the namespace behind a descriptor, of the kind ``CLONE_NEW...``."""
    _call("setns", descriptor, flags)


def prctl(option: int, argument: int) -> None:
    """Set an attribute of the process."""
    _call("prctl", option, ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system, bind a file, or change how mounts propagate."""
    texts = [text.encode() or None for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), data.encode() or None)


def set_mount_flags(path: str, *, read_only: bool = False) -> None:
    """Ignore set-user-ID bits and file capabilities in a mount and all below it; with ``read_only``, refuse writing.

    Raises:
        OSError: the system refused. ``ENOSYS`` before Linux 5.12.
    """
    attributes = _MOUNT_ATTR.pack(_MOUNT_ATTR_NOSUID | (_MOUNT_ATTR_RDONLY if read_only else 0), 0, 0, 0)
    call("mount_setattr", _AT_FDCWD, path.encode() + b"\0", _AT_RECURSIVE, attributes, len(attributes))


def close_on_exec(keep: Iterable[int]) -> None:
    """Mark all descriptors from 3 on to be closed when another program starts, except those in ``keep``."""
    try:
        call("close_range", 3, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)
    except OSError:  # before Linux 5.11
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:
                    pass  # the descriptor that listed them
    for number in keep:
        os.set_inheritable(number, True)


def unmount(target: str, flags: int = 0) -> None:
    """Unmount a file system."""
    _call("umount2", target.encode(), flags)


def keep_heap(size: int) -> None:
    """Let the allocator keep up to ``size`` free bytes, if it is glibc's; otherwise do nothing.

    By default it returns memory from 128 KiB on. A buffer of 64 KiB that is read into and freed, thousands
    of times a second, is then mapped and cleared by the kernel each time, which takes as long as the copy.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, size)
        mallopt(_M_MMAP_THRESHOLD, size)  # setting either one stops both from adapting automatically


def signal_descriptor(signals: Iterable[int]) -> int:
    """Create a descriptor that is readable when one of ``signals``, which must be blocked, is pending."""
    buffer = (ctypes.c_char * _SIGSET_BYTES)()
    _call("sigemptyset", buffer)
    for number in signals:
        _call("sigaddset", buffer, number)
    return _call("signalfd", -1, buffer, SFD_NONBLOCK | SFD_CLOEXEC)


class Signal(NamedTuple):
    """A signal that was read from a descriptor."""

    number: int
    from_terminal: bool
    """True if the kernel sent it, which it does to a whole process group, for a key or a change of the terminal."""


def read_signals(descriptor: int) -> list[int]:
    """Read the numbers of the pending signals from a signal descriptor, without blocking."""
    return [number for number, _ in read_origins(descriptor)]


def read_origins(descriptor: int) -> list[Signal]:
    """Read the pending signals from a signal descriptor, without blocking, and their origin."""
    try:
        data = os.read(descriptor, 16 * _SIGNALFD_SIGINFO.size)
    except BlockingIOError:
        return []
    return [Signal(number, code == _SI_KERNEL) for number, code in _SIGNALFD_SIGINFO.iter_unpack(data)]
