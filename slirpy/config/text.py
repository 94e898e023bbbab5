"""Parts that many rules share: numbers, ports, addresses with ports, and suggestions for misspelt words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from slirpy.addresses import IPAddress
from slirpy.errors import ConfigError

__all__ = [
    "PORT_MAX",
    "bracketed",
    "decimal",
    "hint",
    "parse_address",
    "parse_port",
    "parse_ports",
    "split_port",
    "with_port",
]

PORT_MAX = 65535
_PLACE = r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([^:\[\]]*))?"


def decimal(text: str, lowest: int, highest: int) -> int | None:
    """Parse a number in decimal digits, without a sign. Returns None if it is malformed or out of bounds."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(highest)):  # int() raises an error of its own for thousands of digits
        return None
    number = int(digits)
    return number if lowest <= number <= highest else None


def parse_port(what: str, text: str, lowest: int = 1) -> int:
    """Parse a port.

    Raises:
        ConfigError: not a number from ``lowest`` to 65535.
    """
    port = decimal(text, lowest, PORT_MAX)
    if port is None:
        raise ConfigError(f'{what} "{text}" is not a number from {lowest} to {PORT_MAX}')
    return port


def parse_ports(what: str, text: str, lowest: int = 1) -> tuple[int, int]:
    """Parse a port, or the first and last port of a range: ``80`` or ``8000-8010``.

    Raises:
        ConfigError: one of them is not a number from ``lowest`` to 65535, or the last is below the first.
    """
    start, dash, end = text.partition("-")
    first = parse_port(what, start, lowest)
    last = parse_port(what, end, lowest) if dash else first
    if last < first:
        raise ConfigError(f"{what}s {text} end before they begin")
    return first, last


def parse_address(what: str, text: str) -> IPAddress:
    """Parse an IPv4 address, or an IPv6 address in brackets, for use before a colon.

    The scope of ``[fe80::1%eth0]`` is kept.

    Raises:
        ConfigError: neither of these.
    """
    try:
        if text.startswith("[") and text.endswith("]"):
            return IPv6Address(text[1:-1])
        return IPv4Address(text)
    except ValueError:
        raise ConfigError(f'{what} "{text}" is not an IPv4 address, or an IPv6 address in brackets') from None


def split_port(text: str) -> tuple[str, str | None] | None:
    """Split ``HOST``, ``HOST:PORT``, ``[HOST6]`` or ``[HOST6]:PORT``. Returns None for any other form.

    Returns:
        The host without brackets, and the text of the port; None if there is none.
    """
    match = re.fullmatch(_PLACE, text)
    return None if match is None else (match[1] if match[1] is not None else match[2], match[3])


def bracketed(host: object) -> str:
    """Format a host for use before a colon: an IPv6 address gets brackets."""
    text = str(host)
    return f"[{text}]" if ":" in text else text


def with_port(host: object, port: int) -> str:
    """Format a host and a port so that :func:`split_port` can read them."""
    return f"{bracketed(host)}:{port}"


def hint(word: str, known: Iterable[str], otherwise: str) -> str:
    """Advice for an unknown word: the most similar known word, or ``otherwise``."""
    from difflib import get_close_matches

    words = list(known)
    near = get_close_matches(word, words, 1) or [other for other in words if other in word]
    return f"did you mean {near[0]}?" if near else otherwise
