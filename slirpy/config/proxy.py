"""Upstream proxies, and the destinations that go without one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from slirpy.addresses import host_name, port_number
from slirpy.config.special import WORDS
from slirpy.config.text import PORT_MAX, decimal
from slirpy.config.values import as_text
from slirpy.errors import ConfigError
from slirpy.errortext import strerror

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["Proxy", "goes_direct", "parse_no_proxy", "parse_proxy", "read_credentials"]

_SCHEMES = {"http": 8080, "socks5": 1080}
"""Schemes, and the port of each when none is given."""
_URL = r"(?P<scheme>[^:/]*)://(?:(?P<user>[^/]*)@)?(?P<host>\[[^\[\]]*\]|[^:/\[\]]*)(?::(?P<port>[^/]*))?/?"
"""Compiled when it is used, which few programs do."""
_HELP = "write http://HOST[:PORT] or socks5://HOST[:PORT]"
_CREDENTIALS_MAX = 255
"""Bytes of a user name, and of a password (RFC 1929)."""


@dataclass(frozen=True, slots=True, init=False)
class Proxy:
    """A proxy through which TCP connections leave.

    Raises:
        ConfigError: an invalid part; the text says which.
    """

    scheme: str
    """``"http"``: the method CONNECT (RFC 9110, section 9.3.6); ``"socks5"``: RFC 1928."""
    host: str
    """A name, which the host's resolver library looks up, or an address."""
    port: int
    """1 to 65535; None stands for 8080 of HTTP, and 1080 of SOCKS."""

    def __init__(self, scheme: str, host: str, port: int | None = None) -> None:
        if not isinstance(scheme, str) or scheme not in _SCHEMES:
            raise ConfigError(f"proxy: scheme {scheme!r} is none of {', '.join(_SCHEMES)}; {_HELP}")
        as_text("proxy: host", host)
        put = object.__setattr__
        put(self, "scheme", scheme)
        put(self, "host", _host(host))
        put(self, "port", _SCHEMES[scheme] if port is None else port_number("proxy: port", port, 1))

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def _host(text: str) -> str:
    """A host as :class:`Proxy` keeps it."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(bare)
    except ValueError:
        name = host_name(text)
        if name is None:
            raise ConfigError(f'proxy: host "{text}" is neither a name nor an address; {_HELP}') from None
        return name
    if address.is_unspecified or address.is_multicast:
        raise ConfigError(f"proxy: nobody listens at {address}; {_HELP}")
    return str(address)


def parse_proxy(text: str) -> Proxy:
    """Read ``http://HOST[:PORT]`` or ``socks5://HOST[:PORT]``; without PORT it is 8080 or 1080.

    Raises:
        ConfigError: not of this form, or with a password, which everybody would see in the list of processes.
    """
    as_text("proxy", text)
    match = re.fullmatch(_URL, text)
    if match is None:
        raise ConfigError(f'proxy "{text}" is malformed; {_HELP}')
    if match["user"] is not None:
        raise ConfigError(
            "proxy: a user and password here would be seen in the list of processes; write them as USER:PASSWORD into"
            " a file, and name that as proxy_auth_file (--proxy-auth-file)"
        )
    scheme, port = match["scheme"].lower(), match["port"]
    if scheme == "socks5h":  # curl's name for what we do: the proxy resolves
        scheme = "socks5"
    number = None if port is None else decimal(port, 1, PORT_MAX)
    if number is None and port is not None:
        raise ConfigError(f'proxy "{text}": port "{port}" is not a number from 1 to {PORT_MAX}')
    return Proxy(scheme, match["host"], number)


def parse_no_proxy(text: str) -> str:
    """Read a destination that goes without a proxy, and return it as :func:`goes_direct` takes it.

    It is a network or address; a name, which stands for the names below it too, as in ``NO_PROXY`` of many programs;
    a word such as ``private``; or ``*`` for everything.

    Raises:
        ConfigError: none of these.
    """
    as_text("no_proxy", text)
    if text == "*" or text in WORDS:
        return text
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ip_network(bare, strict=False))
    except ValueError:
        name = host_name(text.lower().removeprefix("*").removeprefix("."))
        if name is None:
            words = ", ".join(WORDS)
            shown = f'"{text}"' if text.isprintable() else repr(text)
            raise ConfigError(
                f"no_proxy {shown} is no network, no name such as example.org, and none of the words {words}, *"
            ) from None
        return name


def goes_direct(no_proxy: Iterable[str], names: Iterable[str], address: bytes) -> bool:
    """Report whether a flow goes without a proxy.

    Args:
        no_proxy: destinations as :func:`parse_no_proxy` returns them.
        names: names of the destination, in lower case.
        address: four or sixteen bytes.
    """
    known = tuple(names)
    place = ip_address(address)
    for rule in no_proxy:
        if rule == "*":
            return True
        for text in WORDS.get(rule, (rule,)):
            try:
                network = ip_network(text)
            except ValueError:
                if any(name == rule or name.endswith(f".{rule}") for name in known):
                    return True
                break
            if place.version == network.version and place in network:
                return True
    return False


def read_credentials(path: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """Read a user name and a password from the first line of a file: ``USER:PASSWORD``, in UTF-8.

    Raises:
        ConfigError: the file cannot be read, or has no such line.
    """
    try:
        with open(path, "rb") as file:
            line = file.readline(2 * _CREDENTIALS_MAX + 3)
    except OSError as error:
        raise ConfigError(f'proxy_auth_file "{path}": {strerror(error.errno or 0).lower()}') from None
    user, colon, password = line.rstrip(b"\r\n").partition(b":")
    if not colon or not user or len(user) > _CREDENTIALS_MAX or len(password) > _CREDENTIALS_MAX:
        raise ConfigError(
            f'proxy_auth_file "{path}": its first line is not USER:PASSWORD, at most {_CREDENTIALS_MAX} bytes each'
        )
    return user, password
