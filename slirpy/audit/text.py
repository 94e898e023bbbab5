"""Text from guests for people's terminals: nothing in it moves the cursor, changes colours or reverses the line."""

from __future__ import annotations

__all__ = ["plain"]


def plain(text: str) -> str:
    """Text in which every character that is not printable is written as ``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``.

    Those are control characters, line ends, separators, marks that reverse the direction of writing, and lone
    surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
