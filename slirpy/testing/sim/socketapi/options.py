"""Options of TCP sockets that change the settings of the connection."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from slirpy.tcp import Settings
from slirpy.units import MS, SECOND

__all__ = ["SETTINGS", "TCP_KEEPIDLE", "configured"]

TCP_KEEPIDLE: int = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", -1))
"""On macOS, the option has the name TCP_KEEPALIVE."""
_TCP = socket.IPPROTO_TCP
_SOL = socket.SOL_SOCKET
_TIMES = {
    (_TCP, TCP_KEEPIDLE): ("keepalive_idle", SECOND),
    (_TCP, getattr(socket, "TCP_KEEPINTVL", -2)): ("keepalive_interval", SECOND),
    (_TCP, getattr(socket, "TCP_KEEPCNT", -3)): ("keepalive_count", 1),
    (_TCP, getattr(socket, "TCP_USER_TIMEOUT", -4)): ("user_timeout", MS),
}
SETTINGS = frozenset(
    {*_TIMES, (_TCP, socket.TCP_NODELAY), (_SOL, socket.SO_KEEPALIVE), (_SOL, socket.SO_SNDBUF)}
)
"""The options, by level and name, that :func:`configured` looks at."""


def configured(settings: Settings, options: Mapping[tuple[int, int], int | bytes]) -> Settings:
    """Return the settings of a connection whose socket has these options; the same object if nothing changes.

    Without TCP_NODELAY, Nagle's algorithm is on, as in any kernel.
    """
    return _configured(settings, tuple(options.items()))


@lru_cache(maxsize=256)  # checking new settings takes longer than carrying a connection
def _configured(settings: Settings, items: tuple[tuple[tuple[int, int], int | bytes], ...]) -> Settings:
    options = dict(items)
    changes: dict[str, Any] = {}
    nodelay = bool(options.get((_TCP, socket.TCP_NODELAY)))
    if nodelay != settings.nodelay:
        changes["nodelay"] = nodelay
    for (level, name), value in options.items():
        if not isinstance(value, int):
            continue
        if (level, name) in _TIMES:
            field, unit = _TIMES[level, name]
            changes[field] = value * unit
        elif (level, name) == (_SOL, socket.SO_KEEPALIVE):
            changes["keepalive"] = bool(value)
        elif (level, name) == (_SOL, socket.SO_SNDBUF):
            changes["snd_buffer"] = max(2 * value, 4608)  # twice, and no less, as Linux has it
    if changes.get("keepalive_count") == 1:
        changes["keepalive_count"] = 2  # the engine never relies on one answer (RFC 9293, MUST-29)
    if changes.get("user_timeout") == 0:
        del changes["user_timeout"]  # 0 means the system's
    return replace(settings, **changes) if changes else settings
