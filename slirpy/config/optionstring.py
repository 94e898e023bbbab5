"""Option strings as QEMU writes them: ``user,id=n0,restrict=on``, or the same as JSON.

Both forms become pairs of a key and a value. In JSON, members of an object get the object's name and a dot before
theirs (``addr.host``), as in QEMU's text form, and each member of a list gets a separate pair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slirpy.config.values import as_text
from slirpy.errors import ConfigError

__all__ = ["Pairs", "carrier_of", "read_options", "read_switch", "take_carrier"]

Pairs = list[tuple[str, str | None]]
"""Keys and values; None: the key stands alone."""

_ON = ("on", "yes", "true", "y")
_OFF = ("off", "no", "false", "n")
_STRING = r"""'((?:[^'\\]|\\.)*)'|"(?:[^"\\]|\\.)*\""""


def read_options(text: str) -> Pairs:
    """Read the pairs of an option string. The kind of network is the first word, alone, or the value of ``type``.

    Raises:
        ConfigError: JSON that cannot be read, or with values that no option accepts.
    """
    as_text("netdev", text)
    if text.lstrip().startswith("{"):
        return list(_flatten("", _parse(text)))
    pairs: Pairs = []
    for item in filter(None, _split(text)):  # a trailing comma is not an option
        key, equals, value = item.partition("=")
        pairs.append((key, value if equals else None))
    return pairs


def take_carrier(pairs: Pairs) -> str:
    """Take the kind of network out of the pairs of a netdev. Returns an empty text if it is not named."""
    if pairs and pairs[0][1] is None:
        return pairs.pop(0)[0]
    for number, (key, value) in enumerate(pairs):
        if key == "type":
            del pairs[number]
            return value or ""
    return ""


def carrier_of(text: str) -> str:
    """The kind of network that an option string describes, such as ``user``; empty if it cannot be read."""
    try:
        return take_carrier(read_options(text))
    except ConfigError:
        return ""


def read_switch(value: str | None) -> bool | None:
    """Read a QEMU switch: on, yes, true, y, or their opposites; a key alone means on. None: any other word."""
    if value is None or value in _ON:
        return True
    return False if value in _OFF else None


def _split(text: str) -> list[str]:
    """Split at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def _parse(text: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(re.sub(_STRING, _double_quotes, text))  # QEMU accepts single quotes too
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"netdev {text!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"netdev {text!r} is not an object, such as " + '{"type": "user", "id": "n0"}')
    return found


def _double_quotes(match: re.Match[str]) -> str:
    inner = match[1]
    if inner is None:
        return match[0]
    return '"' + re.sub(r'\\(.)|"', lambda m: {None: '\\"', "'": "'"}.get(m[1], m[0]), inner) + '"'


def _flatten(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Flatten a JSON value into pairs."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flatten(f"{key}.{name}" if key else name, member)
    elif isinstance(value, list):
        for member in value:
            # QEMU wraps each text in a list: [{"str": "tcp::2222-:22"}]
            inner = member["str"] if isinstance(member, dict) and list(member) == ["str"] else member
            if not isinstance(inner, str):
                raise ConfigError(f'{key}: {_as_json(member)} is not of the form {{"str": "..."}}')
            yield key, inner
    elif isinstance(value, bool):
        yield key, "on" if value else "off"
    elif isinstance(value, str | int):
        yield key, str(value)
    else:
        raise ConfigError(f"{key}: {_as_json(value)} is no value of an option")


def _as_json(value: object) -> str:
    import json

    return json.dumps(value)
