"""Option strings in QEMU's syntax: ``stream,id=n0,server=on,addr.type=unix,addr.path=/tmp/net.sock``."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address

from slirpy.checks import DESCRIPTOR_MAX
from slirpy.config.optionstring import read_options, read_switch, take_carrier
from slirpy.config.text import PORT_MAX, decimal, hint
from slirpy.errors import ConfigError
from slirpy.links.endpoint import Endpoint, abstract, inet, unix

__all__ = ["Options", "endpoint_keys"]

_KEEP_ALIVE = ("keep-alive", "keep-alive-count", "keep-alive-idle", "keep-alive-interval")
_INET = ("host", "port", "to", "numeric", "ipv4", "ipv6", "mptcp", *_KEEP_ALIVE)
_UNIX = ("path", "abstract", "tight")

_ALONE = ("vhost", "vhostforce", "vnet_hdr")
"""Switches of the older carriers, which QEMU accepts without a value, or with "no" before them."""


def endpoint_keys(prefix: str) -> tuple[str, ...]:
    """Return the keys of a QEMU ``SocketAddress``, as :meth:`Options.endpoint` reads them."""
    return tuple(f"{prefix}.{key}" for key in ("type", *_INET, *_UNIX, "str"))


class Options:
    """The options of one carrier: :meth:`allow` declares them, each is taken once, and :meth:`done` checks for
    leftovers.
    """

    def __init__(self, text: str) -> None:
        """Read ``CARRIER,KEY=VALUE,...``, or JSON; ``id``, allowed with every carrier, becomes the ``name``.

        Raises:
            ConfigError: an option without a value, or one that is given twice; malformed JSON.
        """
        self.text = text
        pairs = read_options(text)
        self.carrier = take_carrier(pairs)
        self._values: dict[str, str] = {}
        for key, value in pairs:
            if value is None:
                key, value = self._alone(key)
            if key in self._values:
                raise self.error(f"{key} is given twice")
            self._values[key] = value
        self.name = self._values.pop("id", "")

    def _alone(self, word: str) -> tuple[str, str]:
        """Read a key without a value: an old way to write a switch."""
        name = word.removeprefix("no") if word not in _ALONE else word
        if name not in _ALONE:
            raise self.error(f'"{word}" has no value; write KEY=VALUE')
        return name, "on" if name == word else "off"

    def error(self, what: str) -> ConfigError:
        """Make the exception for a mistake in these options."""
        return ConfigError(f'netdev "{self.text}": {what}')

    def allow(self, *keys: str) -> None:
        """Reject all other keys; the error suggests the nearest allowed one."""
        for key, value in self._values.items():
            if key not in keys:
                advice = hint(key, keys, f"known here are {', '.join(keys)}")
                raise self.error(f'unknown option "{key}={value}"; {advice}')

    def take(self, key: str) -> str | None:
        """Take the value of an option, or None."""
        return self._values.pop(key, None)

    def need(self, key: str) -> str:
        """Take the value of a mandatory option.

        Raises:
            ConfigError: the option is missing.
        """
        value = self.take(key)
        if value is None:
            raise self.error(f"{key}=... is missing")
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Take one of several words.

        Raises:
            ConfigError: another word, or none and there is no default.
        """
        value = self.take(key) if default is not None else self.need(key)
        if value is None and default is not None:
            return default
        if value not in allowed:
            raise self.error(f"{key}={value} is not one of {', '.join(allowed)}")
        return str(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """Take a switch: on, yes, true or y; off, no, false or n.

        Raises:
            ConfigError: another word.
        """
        on = self.flag_if_given(key)
        return default if on is None else on

    def flag_if_given(self, key: str) -> bool | None:
        """Take a switch like :meth:`flag`; None: not given.

        Raises:
            ConfigError: another word.
        """
        value = self.take(key)
        if value is None:
            return None
        on = read_switch(value)
        if on is None:
            raise self.error(f"{key}={value} is not one of on, off")
        return on

    def number(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """Take a decimal number.

        Raises:
            ConfigError: not a number, or out of range.
        """
        text = self.take(key) if default is not None else self.need(key)
        if text is None and default is not None:
            return default
        number = None if text is None else decimal(text, lowest, highest)
        if number is None:
            raise self.error(f"{key}={text} is not a number from {lowest} to {highest}")
        return number

    def descriptor(self, key: str) -> int:
        """Take the number of a descriptor.

        Raises:
            ConfigError: not a number; names of descriptors belong to QEMU's monitor.
        """
        return self.number(key, 0, DESCRIPTOR_MAX)

    def endpoint(self, prefix: str, kind: int) -> Endpoint | int:
        """Take a QEMU ``SocketAddress``: ``PREFIX.type=`` inet, unix or fd, and its other keys; returns the number
        for fd.

        Raises:
            ConfigError: an invalid word or number.
            LinkError: an address that cannot be used.
        """
        word = self.choice(f"{prefix}.type", ("inet", "unix", "fd"))
        if word == "fd":
            return self.descriptor(f"{prefix}.str")
        if word == "unix":
            path = self.need(f"{prefix}.path")
            tight = self.flag(f"{prefix}.tight", True)
            return abstract(path, tight) if self.flag(f"{prefix}.abstract") else unix(path)
        return self._inet(prefix, kind)

    def _inet(self, prefix: str, kind: int) -> Endpoint:
        """Take the rest of a ``SocketAddress`` of type inet."""
        host = self.take(f"{prefix}.host") or ""
        port = self.number(f"{prefix}.port", 0, PORT_MAX)
        last = self.number(f"{prefix}.to", 0, PORT_MAX, port)
        if last < port:
            raise self.error(
                f"{prefix}.to={last} is less than {prefix}.port={port}; it is the last port to try"
            )
        if self.flag(f"{prefix}.numeric") and not _is_numeric(host):
            raise self.error(f"{prefix}.host={host} is not numeric, as {prefix}.numeric=on requires")
        if self.flag(f"{prefix}.mptcp"):
            raise self.error(f"{prefix}.mptcp=on is not supported; leave it out")
        self.flag(f"{prefix}.keep-alive")  # keep-alive is always on
        for key in _KEEP_ALIVE:
            self.take(f"{prefix}.{key}")
        four, six = self.flag_if_given(f"{prefix}.ipv4"), self.flag_if_given(f"{prefix}.ipv6")
        if four is False and six is False:
            raise self.error(f"{prefix}.ipv4 and {prefix}.ipv6 cannot both be off")
        family = socket.AF_UNSPEC
        if four is not six:
            family = socket.AF_INET6 if six or four is False else socket.AF_INET
        return inet(host, port, kind, family, last)

    def has(self, prefix: str) -> bool:
        """Report whether any option begins with this prefix."""
        return any(key.startswith(prefix) for key in self._values)

    def done(self) -> None:
        """Check that no option is left.

        Raises:
            ConfigError: an option is left over: it cannot be combined with another.
        """
        for key, value in self._values.items():
            raise self.error(f"{key}={value} cannot be combined with the other options; leave it out")


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host or "127.0.0.1")
    except ValueError:
        return False
    return True
