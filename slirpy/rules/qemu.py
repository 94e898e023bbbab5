"""The option strings of QEMU's ``-netdev user,...``."""

from __future__ import annotations

import difflib
from typing import Any

from slirpy.errors import ConfigError

__all__ = ["KEYS", "NOT_YET", "REPEATED", "SWITCHES", "read_qemu"]

KEYS = {name: name for name in ("net", "host", "dns", "dhcpstart", "hostname", "domainname", "tftp")}
KEYS |= {"bootfile": "bootfile", "tftp-server-name": "tftp_server_name", "smb": "smb", "smbserver": "smbserver"}
"""QEMU's keys with one value, and which argument of :class:`slirpy.Config` each is."""
REPEATED = {name: name for name in ("hostfwd", "guestfwd", "dnssearch")}
"""Keys that may be given several times."""
SWITCHES = {name: name for name in ("restrict",)}
"""Keys that are on or off."""
NOT_YET = (
    "ipv4", "ipv6", "ipv6-net", "ipv6-host", "ipv6-prefix", "ipv6-prefixlen", "ipv6-dns",
)  # fmt: skip
"""Keys of QEMU's that slirpy does not serve."""

_ON = ("on", "yes", "true", "y")
_OFF = ("off", "no", "false", "n")


def read_qemu(options: str) -> dict[str, Any]:
    """Arguments of :class:`slirpy.Config` from QEMU's options, with or without the leading ``user``.

    Raises:
        ConfigError: an unknown key (the nearest is named), or one that is not built yet.
    """
    given: dict[str, Any] = {}
    for number, item in enumerate(_split(options)):
        key, equals, value = item.partition("=")
        if not equals and number == 0 and key == "user":
            continue
        if key in ("id", "ipv6") and (key == "id" or value == "off"):
            continue  # a name for QEMU's own use; and what we do anyway
        if key == "ipv4" and value == "on":
            continue
        if key in REPEATED:
            given.setdefault(REPEATED[key], []).append(value)
        elif key in KEYS:
            given[KEYS[key]] = value
        elif key in SWITCHES:
            given[SWITCHES[key]] = _switch(item, value if equals else "on")
        elif key in NOT_YET:
            raise ConfigError(f'"{item}": the option {key} is known but not built yet; leave it out')
        else:
            near = difflib.get_close_matches(key, [*KEYS, *SWITCHES, *REPEATED, *NOT_YET], 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(KEYS)}"
            raise ConfigError(f'"{item}": unknown option "{key}"{hint}')
    return given


def _switch(item: str, value: str) -> bool:
    """A value as QEMU writes it."""
    if value not in _ON and value not in _OFF:
        raise ConfigError(f'"{item}": "{value}" is neither on nor off')
    return value in _ON


def _split(options: str) -> list[str]:
    """Split at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in options.replace(",,", "\0").split(",") if part]
