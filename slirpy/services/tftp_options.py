"""The options of TFTP: blksize (RFC 2348), tsize and timeout (RFC 2349), windowsize (RFC 7440).

An option that is unknown, malformed or out of its range is left out of the answer, and then does not hold
(RFC 2347). Of an option that is given twice, the first value that can be used counts.

A guest may ask for blocks that do not fit a packet: it then gets them in fragments, since who asks for them can put
them together. A window is bounded by what a socket of the guest has room for: nothing else tells the sender that the
reader is slow, and what is lost at the end of a window is missed only when time is up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from slirpy.units import SECOND

__all__ = ["Terms", "negotiate"]

DEFAULT_BLOCK = 512
BLOCK_MIN, BLOCK_MAX = 8, 65464
WINDOW_MAX = 65535
SOCKET_ROOM = 212_992 * 9 // 10
"""Bytes that a socket of Linux has room for unless it asks for more, less what we may be wrong by."""
FRAME_HEAD, FRAME_TAIL = 256, 426
"""What Linux takes for a frame: the one, and a buffer of a power of two with room for payload and the other."""
TSIZE_MAX = (1 << 63) - 1
DIGITS_MAX = 20
"""Digits of a number, leading zeros among them."""


class Terms(NamedTuple):
    """What a guest and we have agreed upon."""

    block: int
    """Bytes of a full block."""
    window: int
    """Blocks to an acknowledgement."""
    timeout: int | None
    """Nanoseconds until a block is sent again, if the guest has said so."""
    size: int | None
    """Bytes that a guest wants to write, if it has said so."""
    accepted: dict[str, str]
    """The options for our OACK; without any there is none."""


def _number(options: Iterable[tuple[str, str]], wanted: str, low: int, high: int) -> int | None:
    """The first value of an option that is a decimal number within its range."""
    for name, text in options:
        if name == wanted and text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX:
            number = int(text)
            if low <= number <= high:
                return number
    return None


def _room(length: int, largest: int) -> int:
    """Bytes that a datagram takes in a socket of Linux: ``length`` with its UDP header, ``largest`` in a packet."""
    fragment = min(length, largest & ~7) if length > largest else length
    buffer = 1 << (fragment + FRAME_TAIL - 1).bit_length()
    return -(-length // fragment) * (FRAME_HEAD + buffer)


def negotiate(options: Sequence[tuple[str, str]], *, mtu: int, size: int | None, write: bool) -> Terms:
    """Decide upon a request's options.

    Args:
        options: names, in lower case, and values, as the guest asks for them.
        mtu: largest IP packet in bytes on the way to the guest.
        size: of the file that is read, in bytes; None if that is not known.
        write: the guest writes.
    """
    accepted: dict[str, str] = {}
    block = DEFAULT_BLOCK
    asked = _number(options, "blksize", BLOCK_MIN, TSIZE_MAX)
    if asked is not None:
        block = min(asked, BLOCK_MAX)
        accepted["blksize"] = str(block)
    timeout = _number(options, "timeout", 1, 255)
    if timeout is not None:
        accepted["timeout"] = str(timeout)
    announced = _number(options, "tsize", 0, TSIZE_MAX)
    if announced is not None:
        if write:
            accepted["tsize"] = str(announced)
        elif size is not None:
            accepted["tsize"] = str(size)
    window = _number(options, "windowsize", 1, WINDOW_MAX)
    if window is not None:
        # As long as there is any room left, Linux takes one more.
        window = min(window, 1 + SOCKET_ROOM // _room(block + 12, mtu - 20))
        accepted["windowsize"] = str(window)
    return Terms(
        block,
        window or 1,
        None if timeout is None else timeout * SECOND,
        announced if write else None,
        accepted,
    )
