"""What the lines ``--name=value`` of a script say."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from slirpy.errors import ConfigError
from slirpy.tcp import Settings
from slirpy.tcp.congestion import ALGORITHMS
from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.script import Script, ScriptError, UnsupportedError

__all__ = ["Setup", "read_setup"]

DEFAULT_TOLERANCE_USECS = 4_000
_US = 1_000
_UNITS = {"": 1, "ns": 1, "us": _US, "ms": 1_000_000, "s": 1_000_000_000, "k": 1 << 10, "M": 1 << 20}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_IP_HEADERS = {"ipv4": 40, "ipv4_mapped_ipv6": 40, "ipv6": 60}
_SETTINGS = {field.name for field in fields(Settings)}


@dataclass(frozen=True, slots=True)
class Setup:
    """How a script is run."""

    settings: Settings
    open: str | None
    """``passive``, ``active``, or None for a script with socket calls."""
    tolerance: int
    """Nanoseconds."""
    check_timestamps: bool


def read_setup(script: Script, more: dict[str, str], tolerance_usecs: int | None) -> Setup:
    """Read a script's options, and after them those of the caller.

    Raises:
        ScriptError: a value that cannot be used.
        UnsupportedError: an option that has no meaning here.
    """
    opened: str | None = None
    tolerance = DEFAULT_TOLERANCE_USECS if tolerance_usecs is None else tolerance_usecs
    tick, mtu, headers = 0, 1500, 40
    values: dict[str, Any] = {}
    for line, name, text in [*script.options, *((0, name, text) for name, text in more.items())]:
        where = f"{script.name}:{line}: --{name}={text}" if line else f"{name}={text}"
        if name == "congestion":
            if text not in ALGORITHMS:
                raise ScriptError(f"{where}: must be {' or '.join(ALGORITHMS)}")
            values[name] = ALGORITHMS[text]
        elif name in _SETTINGS:
            values[name] = _setting(where, text)
        elif name == "open":
            if text not in ("passive", "active"):
                raise ScriptError(f"{where}: must be passive or active")
            opened = text
        elif name == "tolerance_usecs":
            tolerance = _whole(where, text)
        elif name == "tcp_ts_tick_usecs":
            tick = _whole(where, text)
            if tick not in (0, _US):
                raise UnsupportedError(line, f"--{name}={text}: the clock of timestamps ticks every 1000 us")
        elif name == "mtu":
            mtu = _whole(where, text)
        elif name == "ip_version":
            if text not in _IP_HEADERS:
                raise ScriptError(f"{where}: must be {', '.join(_IP_HEADERS)}")
            headers = _IP_HEADERS[text]
        elif name not in language.SCRIPT_OPTIONS:
            if not line:
                raise ScriptError(
                    f"{where}: there is no such setting; there are {', '.join(sorted(_SETTINGS))}"
                )
            raise UnsupportedError(
                line, f"--{name}: neither an option of packetdrill's that is understood, nor a setting"
            )
    if mtu - headers < 1:
        raise ScriptError(f"{script.name}: mtu {mtu}: must be more than the {headers} bytes of the headers")
    # A socket has Nagle's algorithm until it is told otherwise; the engine's own default is without.
    settings = Settings(mss=mtu - headers, nodelay=opened is not None)
    try:
        settings = replace(settings, **values)
    except ConfigError as error:
        raise ScriptError(f"{script.name}: {error}") from None
    return Setup(settings, opened, tolerance * _US, bool(tick) or opened is not None)


def _whole(where: str, text: str) -> int:
    if not text.isdecimal():
        raise ScriptError(f"{where}: must be a whole number")
    return int(text)


def _setting(where: str, text: str) -> int | bool:
    if text in ("true", "false"):
        return text == "true"
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ScriptError(f"{where}: must be true, false, or a number such as 65535, 64k, 40ms or 1.5s")
    return round(float(match[1]) * _UNITS[match[2]])
