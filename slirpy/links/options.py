"""Option strings as QEMU has them: ``stream,id=n0,server=on,addr.type=unix,addr.path=/tmp/net.sock``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from slirpy.errors import ConfigError
from slirpy.links.endpoint import Endpoint, inet, unix

__all__ = ["Options", "split_options"]


def split_options(text: str) -> list[str]:
    """Split at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


class Options:
    """The options of one carrier: :meth:`allow` names them, each is taken once, and :meth:`done` ends it."""

    def __init__(self, text: str) -> None:
        """Read ``CARRIER,KEY=VALUE,...``; ``id``, which may be given with each, is the ``name``.

        Raises:
            ConfigError: an option without a value, or one that is given twice.
        """
        self.text = text
        self.carrier, *items = split_options(text)
        self._values: dict[str, str] = {}
        for item in items:
            key, equals, value = item.partition("=")
            if not equals:
                raise self.error(f'"{item}" has no value; write KEY=VALUE')
            if key in self._values:
                raise self.error(f"{key} is given twice")
            self._values[key] = value
        self.name = self._values.pop("id", "")

    def error(self, what: str) -> ConfigError:
        """A mistake in these options, to be raised."""
        return ConfigError(f'netdev "{self.text}": {what}')

    def allow(self, *keys: str) -> None:
        """Complain of other keys than these; the nearest is named."""
        for key, value in self._values.items():
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(keys)}"
                raise self.error(f'unknown option "{key}={value}"; {hint}')

    def take(self, key: str) -> str | None:
        """The value of an option, or None."""
        return self._values.pop(key, None)

    def need(self, key: str) -> str:
        """The value of an option that cannot be left out.

        Raises:
            ConfigError: it was.
        """
        value = self.take(key)
        if value is None:
            raise self.error(f"{key}=... is missing")
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of some words.

        Raises:
            ConfigError: another word, or none where there is no default.
        """
        value = self.take(key) if default is not None else self.need(key)
        if value is None and default is not None:
            return default
        if value not in allowed:
            raise self.error(f"{key}={value} is not one of {', '.join(allowed)}")
        return str(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """on or off."""
        return self.choice(key, ("on", "off"), "on" if default else "off") == "on"

    def number(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A decimal number.

        Raises:
            ConfigError: it is none, or out of range.
        """
        text = self.take(key) if default is not None else self.need(key)
        if text is None and default is not None:
            return default
        if text is None or not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise self.error(f"{key}={text} is not a number from {lowest} to {highest}")
        return int(text)

    def descriptor(self, key: str) -> int:
        """The number of a descriptor.

        Raises:
            ConfigError: it is none; names of descriptors belong to QEMU's monitor.
        """
        return self.number(key, 0, 2**31 - 1)

    def place(self, prefix: str, kind: int) -> Endpoint | int:
        """A ``SocketAddress`` of QEMU: ``PREFIX.type=`` inet, unix or fd, and what belongs to it; for fd its number.

        Raises:
            ConfigError: a word or number that is not one of them.
            LinkError: an address that cannot be used.
        """
        word = self.choice(f"{prefix}.type", ("inet", "unix", "fd"))
        if word == "fd":
            return self.descriptor(f"{prefix}.str")
        if word == "unix":
            return unix(self.need(f"{prefix}.path"))
        host = self.take(f"{prefix}.host") or ""
        return inet(host, self.number(f"{prefix}.port", 0, 65535), kind)

    def has(self, prefix: str) -> bool:
        """Whether an option begins so."""
        return any(key.startswith(prefix) for key in self._values)

    def done(self) -> None:
        """Nothing more is taken.

        Raises:
            ConfigError: an option is left over: it does not go with another.
        """
        for key, value in self._values.items():
            raise self.error(f"{key}={value} does not go with the other options; leave it out")
