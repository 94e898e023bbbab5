"""``datetime`` in programs: ``now()``, ``utcnow()`` and ``today()`` are by the clock of their host.

The two classes stay what they are: with others in their place, ``type(x) is datetime`` and pickles would fail in
programs. They are C's, and nothing can be assigned to them, but the dict of their methods can be reached and changed.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from importlib.util import find_spec
from typing import Any

from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.clocks import time_ns
from slirpy.testing.sim.patch.switches import Replacements
from slirpy.units import SECOND

__all__ = ["replace_dates"]

_PART = "time"


def _now(host: Host, cls: type[datetime], tz: tzinfo | None = None) -> datetime:
    host.clock_reads.asked(host.net.now, host.name, "datetime.now() was called")
    seconds, rest = divmod(time_ns(host), SECOND)
    return cls.fromtimestamp(seconds, tz).replace(microsecond=rest // 1000)


def _utcnow(host: Host, cls: type[datetime]) -> datetime:
    return _now(host, cls, UTC).replace(tzinfo=None)


def _today(host: Host, cls: type[date]) -> date:
    if issubclass(cls, datetime):
        return _now(host, cls)
    host.clock_reads.asked(host.net.now, host.name, "date.today() was called")
    return cls.fromtimestamp(time_ns(host) // SECOND)


def _method(real: Any, simulated: Callable[..., Any]) -> Any:
    """Return a class method that does in programs what ``simulated(host, cls, ...)`` does, and elsewhere ``real``."""

    @functools.wraps(real)
    def either(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        host = current_host()
        if host is None or _PART not in host.net.patch:
            return real.__get__(None, cls)(*args, **kwargs)
        return simulated(host, cls, *args, **kwargs)

    return classmethod(either)


class _Methods:
    """Methods of a class, as C has them and as programs have them."""

    def __init__(self, owner: type, **simulated: Callable[..., Any]) -> None:
        from ctypes import py_object, pythonapi

        (self._names,) = (each for each in gc.get_referents(vars(owner)) if type(each) is dict)
        self._real = {name: self._names[name] for name in simulated}
        self._other = {name: _method(self._real[name], each) for name, each in simulated.items()}
        changed = pythonapi.PyType_Modified  # the interpreter remembers methods of classes
        changed.argtypes, changed.restype = [py_object], None
        self._changed = functools.partial(changed, owner)

    def install(self) -> None:
        self._names.update(self._other)
        self._changed()

    def remove(self) -> None:
        self._names.update(self._real)
        self._changed()


def replace_dates(all_of_it: Replacements) -> None:
    """Replace the methods that read the system's clock."""
    if find_spec("_ctypes") is None:
        return  # a Python without ctypes: dates stay those of the system
    for methods in (_Methods(date, today=_today), _Methods(datetime, now=_now, utcnow=_utcnow)):
        all_of_it.other(methods.install, methods.remove)
