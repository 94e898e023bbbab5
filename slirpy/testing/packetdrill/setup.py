"""The meaning of the lines ``--name=value`` of a script."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from slirpy.errors import ConfigError
from slirpy.tcp import Settings
from slirpy.tcp.congestion import ALGORITHMS
from slirpy.testing.packetdrill import language
from slirpy.testing.packetdrill.script import Script, ScriptError, UnsupportedError
from slirpy.testing.packetdrill.systems import SYSTEMS, System
from slirpy.units import MS, SECOND, US
from slirpy.wire import tcp
from slirpy.wire.ip import V4, V6, Family

__all__ = ["Setup", "read_setup", "system_of"]

DEFAULT_TOLERANCE_USECS = 4_000
_UNITS = {"": 1, "ns": 1, "us": US, "ms": MS, "s": SECOND, "k": 1 << 10, "M": 1 << 20}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_IP_VERSIONS = {"ipv4": V4, "ipv4_mapped_ipv6": V4, "ipv6": V6}
_PEER_MSS = {V4: 536, V6: 1220}
"""The MSS of a peer that names none (RFC 9293, section 3.7.1)."""
_SETTINGS = {field.name for field in fields(Settings)}


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of a run."""

    settings: Settings
    open: str | None
    """``passive``, ``active``, or None for a script with socket calls."""
    system: System
    tolerance: int
    """Nanoseconds."""
    tolerance_percent: float
    """Tolerance in percent of the time since the previous event; the larger of the two counts."""
    check_timestamps: bool
    strict_segments: bool
    segment_size: int
    """Maximum payload bytes of an arriving segment; 0: no limit."""
    family: Family
    """IP version."""


def system_of(script: Script, name: str) -> str:
    """Return the system whose defaults a script requests, or the one that the caller names."""
    return next((option for _, option, _ in script.options if option in SYSTEMS), name)


def read_setup(
    script: Script, more: dict[str, str], tolerance_usecs: int | None, system: str = "slirpy"
) -> Setup:
    """Read a script's options, and after them the caller's.

    Raises:
        ScriptError: a value that cannot be used.
        UnsupportedError: an option that has no meaning here.
    """
    if system not in SYSTEMS:
        raise ScriptError(f"system {system}: must be {', '.join(SYSTEMS)}")
    reader = _Reader(script, SYSTEMS[system_of(script, system)])
    if tolerance_usecs is not None:
        reader.tolerance = tolerance_usecs
    for line, name, text in script.options:
        reader.read(line, name, text)
    for name, text in more.items():
        reader.read(0, name, text)
    return reader.setup()


class _Reader:
    def __init__(self, script: Script, system: System) -> None:
        self._name = script.name
        self._system = system
        self._opened = {name: text for _, name, text in script.options}.get("open")
        self.tolerance = DEFAULT_TOLERANCE_USECS
        self._percent = system.tolerance_percent
        self._tick, self._mtu, self._segment_size = 0, 1500, 0
        self._family = V4
        self._strict = False
        self._values: dict[str, Any] = dict(system.settings)

    def setup(self) -> Setup:
        """Return the complete setup."""
        headers = self._family.header_length + tcp.HEADER_LENGTH
        if self._mtu - headers < 1:
            raise ScriptError(
                f"{self._name}: mtu {self._mtu}: must be more than the {headers} bytes of the headers"
            )
        # A socket uses Nagle's algorithm unless it is turned off; the engine's default is off.
        settings = Settings(
            mss=self._mtu - headers, peer_mss=_PEER_MSS[self._family], nodelay=self._opened is not None
        )
        try:
            settings = replace(settings, **self._values)
        except ConfigError as error:
            raise ScriptError(f"{self._name}: {error}") from None
        return Setup(
            settings,
            self._opened,
            self._system,
            self.tolerance * US,
            self._percent,
            bool(self._tick) or self._opened is not None,
            self._strict,
            self._segment_size,
            self._family,
        )

    def read(self, line: int, name: str, text: str) -> None:
        """Read one option; line 0 is the caller's."""
        where = f"{self._name}:{line}: --{name}={text}" if line else f"{name}={text}"
        if name == "mss" and line and self._opened is None:
            self._segment_size = _whole(where, text)
        elif name == "congestion":
            if text not in ALGORITHMS:
                raise ScriptError(f"{where}: must be {' or '.join(ALGORITHMS)}")
            self._values[name] = ALGORITHMS[text]
        elif name in _SETTINGS:
            self._values[name] = _setting(where, text)
        elif name == "open":
            if text not in ("passive", "active"):
                raise ScriptError(f"{where}: must be passive or active")
        elif name == "tolerance_usecs":
            self.tolerance = _whole(where, text)
        elif name == "tolerance_percent":
            self._percent = _fraction(where, text)
        elif name == "tcp_ts_tick_usecs":
            self._tick = _whole(where, text)
            if self._tick not in (0, US):
                why = "the clock of timestamps ticks every 1000 us"
                raise UnsupportedError(line, f"--{name}={text}: {why}")
        elif name == "mtu":
            self._mtu = _whole(where, text)
        elif name == "ip_version":
            version = text.replace("-", "_")  # packetdrill itself writes ipv4-mapped-ipv6
            if version not in _IP_VERSIONS:
                raise ScriptError(f"{where}: must be {', '.join(_IP_VERSIONS)}")
            self._family = _IP_VERSIONS[version]
        elif name == "strict_segments":
            self._strict = text != "false"
        elif name not in language.SCRIPT_OPTIONS:
            if not line:
                known = ", ".join(sorted(_SETTINGS))
                raise ScriptError(f"{where}: there is no such setting; there are {known}")
            why = "neither an option of packetdrill's that is understood, nor a setting"
            raise UnsupportedError(line, f"--{name}: {why}")


def _whole(where: str, text: str) -> int:
    if not text.isdecimal():
        raise ScriptError(f"{where}: must be a whole number")
    return int(text)


def _fraction(where: str, text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?%?", text):
        raise ScriptError(f"{where}: must be a number")
    return float(text.rstrip("%"))


def _setting(where: str, text: str) -> int | bool:
    if text in ("true", "false"):
        return text == "true"
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ScriptError(f"{where}: must be true, false, or a number such as 65535, 64k, 40ms or 1.5s")
    return round(float(match[1]) * _UNITS[match[2]])
