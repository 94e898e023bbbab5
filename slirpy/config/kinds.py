"""Kinds of values that options take.

A kind checks a value when a :class:`~slirpy.config.Config` is made, describes the values that are allowed for the
documentation, and gives the command line what it needs to make a flag. Kinds are not compared, and the methods that
a dataclass has for that are left out, since each takes time at every import.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from slirpy.addresses import ipv4, ipv6
from slirpy.checks import switch, whole
from slirpy.config.values import check_starting_point, function, host_name, listed, path, printable
from slirpy.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass
    from pathlib import Path

__all__ = [
    "SLAAC_PREFIX",
    "Address",
    "Address6",
    "Choice",
    "Function",
    "HostName",
    "Kind",
    "Location",
    "Made",
    "Network",
    "Network6",
    "Number",
    "Object",
    "Several",
    "Switch",
    "TranslationPrefix",
    "Word",
]

SLAAC_PREFIX = 64
"""Bits of the only prefix with which hosts make their own addresses (RFC 4862; RFC 2464, section 4)."""
_RESERVED6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/80", "the loopback address and IPv4-mapped ones"),
        ("fe80::/10", "the link-local addresses"),
        ("ff00::/8", "the multicast groups"),
    )
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Kind(abc.ABC):
    """The values that an option takes."""

    metavar: str = ""
    """Placeholder of the value in ``--help``."""
    function: str = ""
    """Purpose of a function in place of a value, such as "make one". Empty: no function is accepted."""
    may_wait: bool = False
    """True if the function may be a coroutine function."""
    several = False
    """True if the value is a list, and a flag may be repeated."""

    def check(self, name: str, value: Any) -> Any:
        """The value as :class:`~slirpy.config.Config` keeps it.

        Args:
            name: the name of the option.
            value: what was given.

        Raises:
            ConfigError: the value is not allowed; the text says what is.
        """
        if self.function and callable(value):
            if not self.may_wait:
                function(name, value)
            return value
        return self._check(name, value)

    def values(self) -> str:
        """The allowed values, for the documentation."""
        return self._values() + (f", or a function to {self.function}" if self.function else "")

    @abc.abstractmethod
    def _check(self, name: str, value: Any) -> Any:
        """See :meth:`check`, for a value that is not a function."""

    @abc.abstractmethod
    def _values(self) -> str:
        """See :meth:`values`, without the function."""


class Switch(Kind):
    """On or off."""

    def _check(self, name: str, value: Any) -> bool:
        return switch(name, value)

    def _values(self) -> str:
        return "True or False"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Number(Kind):
    """A whole number within bounds."""

    lowest: int
    highest: int
    unit: str = ""
    """Unit of the number, such as "seconds"."""
    lowest_means: str = ""
    highest_means: str = ""

    def _check(self, name: str, value: Any) -> int:
        return whole(
            name,
            value,
            self.lowest,
            self.highest,
            f" of {self.unit}" if self.unit else "",
            f" ({self.lowest_means})" if self.lowest_means else "",
            f" ({self.highest_means})" if self.highest_means else "",
        )

    def _values(self) -> str:
        lowest = f"{self.lowest} ({self.lowest_means})" if self.lowest_means else f"{self.lowest}"
        highest = f"{self.highest} ({self.highest_means})" if self.highest_means else f"{self.highest}"
        return f"{lowest} to {highest}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Choice(Kind):
    """One of several words."""

    words: tuple[str, ...]

    def _check(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            also = f", and cannot be called to {self.function}" if self.function else ""
            raise ConfigError(f"{name} {value!r} is none of {', '.join(self.words)}{also}")
        return value

    def _values(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Network(Kind):
    """An IPv4 network that can hold guests and servers. Bits of the host part are ignored."""

    shortest: int
    longest: int
    """Bounds of the prefix."""

    def _check(self, name: str, value: Any) -> IPv4Network:
        try:
            if not isinstance(value, str | IPv4Network):
                raise ValueError
            network = IPv4Network(value, strict=False)
        except ValueError:
            raise ConfigError(
                f'{name} "{value}" is not an IPv4 network; write for example 10.0.2.0/24'
            ) from None
        _check_prefix(name, value, network.prefixlen, self.shortest, self.longest)
        if network.is_loopback or network.is_multicast:
            raise ConfigError(
                f"{name} {value} is a loopback or multicast network; choose one such as 10.0.2.0/24"
            )
        return network

    def _values(self) -> str:
        return f"an IPv4 network, /{self.shortest} to /{self.longest}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Network6(Kind):
    """An IPv6 network that can hold guests and servers. Bits of the host part are ignored."""

    shortest: int
    longest: int
    """Bounds of the prefix."""

    def _check(self, name: str, value: Any) -> IPv6Network:
        try:
            if not isinstance(value, str | IPv6Network):
                raise ValueError
            start, slash, prefix = str(value).partition("/")
            address = IPv6Address(start)
            if address.scope_id is not None or (slash and not re.fullmatch("-?[0-9]+", prefix)):
                raise ValueError
            length = int(prefix) if slash else SLAAC_PREFIX
        except ValueError:
            raise ConfigError(f'{name} "{value}" is not an IPv6 network; write for example fec0::/64') from None
        _check_prefix(name, value, length, self.shortest, self.longest)
        network = IPv6Network((address, length), strict=False)
        for reserved, what in _RESERVED6:
            if network.overlaps(reserved):
                raise ConfigError(
                    f"{name} {value} contains or is part of {reserved}, {what}; choose one such as fec0::/64"
                )
        return network

    def _values(self) -> str:
        return f"an IPv6 network, /{self.shortest} to /{self.longest}"


class TranslationPrefix(Kind):
    """The prefix of a translator between IPv6 and IPv4 (RFC 6052, section 2.2)."""

    _LENGTHS = (32, 40, 48, 56, 64, 96)

    def _check(self, name: str, value: Any) -> IPv6Network:
        example = "write for example 64:ff9b::/96"
        try:
            if not isinstance(value, str | IPv6Network):
                raise ValueError
            network = IPv6Network(value)
        except ValueError:
            raise ConfigError(
                f'{name} "{value}" is not an IPv6 prefix without further bits; {example}'
            ) from None
        if network.prefixlen not in self._LENGTHS:
            lengths = ", ".join(f"/{length}" for length in self._LENGTHS)
            raise ConfigError(f"{name} {value}: the prefix must be one of {lengths}; {example}")
        if network.network_address.packed[8]:
            raise ConfigError(f"{name} {value}: bits 64 to 71 must be zero (RFC 6052); {example}")
        return network

    def _values(self) -> str:
        return f"an IPv6 prefix of {', '.join(map(str, self._LENGTHS[:-1]))} or {self._LENGTHS[-1]} bits"


def _check_prefix(name: str, value: object, length: int, shortest: int, longest: int) -> None:
    if not shortest <= length <= longest:
        raise ConfigError(
            f"{name} {value}: the prefix must be from /{shortest} to /{longest}, so that it holds"
            " guests and servers"
        )


class Address(Kind):
    """An IPv4 address of the virtual network."""

    def _check(self, name: str, value: Any) -> IPv4Address:
        return ipv4(name, value)

    def _values(self) -> str:
        return "an address of the network"


class Address6(Kind):
    """An IPv6 address of the virtual network."""

    def _check(self, name: str, value: Any) -> IPv6Address:
        return ipv6(name, value)

    def _values(self) -> str:
        return "an IPv6 address of the network"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HostName(Kind):
    """The name of a host, or of a domain."""

    domain: bool = False
    """A dot may stand at the end."""

    def _check(self, name: str, value: Any) -> str:
        return host_name(name, value, dot=self.domain)

    def _values(self) -> str:
        return "a domain name" if self.domain else "a host name"


class Word(Kind):
    """Printable text without spaces that fits one DHCP option."""

    def _check(self, name: str, value: Any) -> str:
        text = printable(name, value)
        if " " in text:
            raise ConfigError(f'{name} "{text}" has a space in it; give one name or address')
        return text

    def _values(self) -> str:
        return "a name or address"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Location(Kind):
    """The path of a file or folder."""

    what: str

    def _check(self, name: str, value: Any) -> Path:
        try:
            found = path(name, value)
        except ConfigError:
            if not self.function:
                raise
            raise ConfigError(
                f"{name} {value!r} is neither a {self.what} nor a callable; give for example /srv/slirpy"
            ) from None
        check_starting_point(name, found)
        return found

    def _values(self) -> str:
        return f"the path of a {self.what}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Object(Kind):
    """An object of a class, or its text."""

    made: type
    parse: Callable[[str], Any]
    form: str
    """The grammar of the text."""

    def _check(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, self.made):
            article = "an" if self.made.__name__[0] in "AEIOU" else "a"
            raise ConfigError(
                f"{name} {value!r} is neither text nor {article} {self.made.__name__}; write {self.form}"
            )
        return value

    def _values(self) -> str:
        article = "an" if self.made.__name__[0] in "AEIOU" else "a"
        return f"{self.form}, or {article} {self.made.__name__}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Made(Kind):
    """A value converted by a function of the rules."""

    make: Callable[[Any], Any]
    form: str
    """Accepted forms, for the documentation."""
    several: bool = False

    def _check(self, name: str, value: Any) -> Any:
        return self.make(value)

    def _values(self) -> str:
        return self.form


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Several(Kind):
    """A list of values of another kind."""

    of: Kind
    several = True

    def _check(self, name: str, value: Any) -> tuple[Any, ...]:
        return tuple(self.of.check(name, each) for each in listed(name, value))

    def _values(self) -> str:
        return f"a list; each {self.of.values()}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Function(Kind):
    """A function that is called while the network runs."""

    takes: str
    """Arguments of the function."""

    def _check(self, name: str, value: Any) -> Any:
        function(name, value, f" of {self.takes}")
        return value

    def _values(self) -> str:
        return f"a function of {self.takes}"
