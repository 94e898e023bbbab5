"""The exception of the readers of a client's first bytes, and the form of host names in those bytes."""

from __future__ import annotations

import re

__all__ = ["UnreadableError", "host_name"]

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_MAX = 253


class UnreadableError(Exception):
    """The bytes are malformed, ambiguous, or beyond a limit. The text is the reason, for logs."""


def host_name(data: bytes) -> str | None:
    """Return a DNS name in lower case, without a dot at its end; None if the bytes are no such name.

    An IPv4 address is no name, nor is anything else that browsers read as one, such as ``127.1`` or ``0x7f.1``
    (URL standard, section 3.5: the last label is a number).
    """
    if len(data) > _NAME_MAX + 1 or not data.isascii():
        return None
    text = data.decode("ascii").lower().removesuffix(".")
    if len(text) > _NAME_MAX or _HOST_NAME.fullmatch(text) is None:
        return None
    return None if _NUMBER.fullmatch(text, text.rfind(".") + 1) else text
