"""``time`` in programs: the clock of their host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import Replacements
from slirpy.testing.sim.waiting import after, current_waiter, waiter
from slirpy.units import SECOND

__all__ = ["replace_time"]

T = TypeVar("T")

_REAL_LOCALTIME = time.localtime
_REAL_GMTIME = time.gmtime
_REAL_STRFTIME = time.strftime
_REAL_ASCTIME = time.asctime
_REAL_CLOCK_GETTIME_NS = getattr(time, "clock_gettime_ns", None)


def time_ns(host: Host) -> int:
    """Return the time of day of a host in nanoseconds since 1970."""
    clock = host.clock
    return host.net.epoch_ns + clock.offset + clock.monotonic(host.net.now)


def monotonic_ns(host: Host) -> int:
    """Return the nanoseconds that a host's monotonic clock shows."""
    return host.clock.monotonic(host.net.now)


def _counted(call: str, read: Callable[[Host], T]) -> Callable[[Host], T]:
    """Return ``read`` for programs: one that waits in a loop for the clock to move would wait for ever."""

    def counted(host: Host) -> T:
        host.clock_reads.asked(host.net.now, host.name, f"{call}() was called")
        return read(host)

    return counted


def _time(host: Host) -> float:
    return time_ns(host) / SECOND


def _monotonic(host: Host) -> float:
    return monotonic_ns(host) / SECOND


def _sleep(host: Host, seconds: float, /) -> None:
    seconds = float(seconds)
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if not seconds and current_waiter() is None:
        return
    thread = waiter("time.sleep()", "use asyncio.sleep() in an asyncio program")
    thread.suspend("time.sleep()", after(host, seconds))


def _localtime(host: Host, seconds: float | None = None, /) -> time.struct_time:
    return _REAL_LOCALTIME(_time(host) if seconds is None else seconds)


def _gmtime(host: Host, seconds: float | None = None, /) -> time.struct_time:
    return _REAL_GMTIME(_time(host) if seconds is None else seconds)


def _ctime(host: Host, seconds: float | None = None, /) -> str:
    return _REAL_ASCTIME(_localtime(host, seconds))


def _asctime(host: Host, moment: Any = None, /) -> str:
    return _REAL_ASCTIME(_localtime(host) if moment is None else moment)


def _strftime(host: Host, text: str, moment: Any = None, /) -> str:
    return _REAL_STRFTIME(text, _localtime(host) if moment is None else moment)


def _clock_gettime_ns(host: Host, which: int, /) -> int:
    if which == time.CLOCK_REALTIME:
        return time_ns(host)
    if which in (time.CLOCK_MONOTONIC, getattr(time, "CLOCK_BOOTTIME", -1)):
        return monotonic_ns(host)
    assert _REAL_CLOCK_GETTIME_NS is not None
    return int(_REAL_CLOCK_GETTIME_NS(which))


def _clock_gettime(host: Host, which: int, /) -> float:
    return _clock_gettime_ns(host, which) / SECOND


def replace_time(all_of_it: Replacements) -> None:
    """Replace the functions of the module ``time``; those that count the processor's time stay real."""
    for real, simulated in (
        (time.time, _counted("time.time", _time)),
        (time.time_ns, _counted("time.time_ns", time_ns)),
        (time.monotonic, _counted("time.monotonic", _monotonic)),
        (time.monotonic_ns, _counted("time.monotonic_ns", monotonic_ns)),
        (time.perf_counter, _counted("time.perf_counter", _monotonic)),
        (time.perf_counter_ns, _counted("time.perf_counter_ns", monotonic_ns)),
        (time.sleep, _sleep),
        (time.localtime, _localtime),
        (time.gmtime, _gmtime),
        (time.ctime, _ctime),
        (time.asctime, _asctime),
        (time.strftime, _strftime),
    ):
        all_of_it.value("time", real, simulated)
    if hasattr(time, "clock_gettime"):
        all_of_it.value("time", time.clock_gettime, _clock_gettime)
        all_of_it.value("time", time.clock_gettime_ns, _clock_gettime_ns)
