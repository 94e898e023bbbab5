"""TCP options (RFC 9293, section 3.1; RFC 7323 for window scale and timestamps; RFC 2018 for SACK)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from slirpy.checks import instance, switch, whole
from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer
from slirpy.mypyc import Final
from slirpy.records import NamedTuple
from slirpy.tcp.seq import MASK

__all__ = [
    "MAX_SACK_BLOCKS",
    "MAX_WSCALE",
    "NONE",
    "TIMESTAMP",
    "TIMESTAMP_WORD",
    "TcpOptions",
    "build",
    "check_options",
    "parse",
]

END: Final = 0
NOP: Final = 1
MSS: Final = 2
WSCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
_KNOWN: Final = (MSS, WSCALE, SACK_PERMITTED, SACK, TIMESTAMPS)
MAX_WSCALE: Final = 14
"""Largest shift; larger ones are read as this one (RFC 7323, section 2.3)."""
MAX_SACK_BLOCKS: Final = 4
"""Number of blocks that fit into a header; with timestamps it is one less."""

TIMESTAMP_WORD: Final = 0x0101080A
"""NOP, NOP, kind 8, length 10: the usual layout of timestamps (RFC 7323, appendix A)."""
TIMESTAMP: Final = Struct("!III")
"""Layout of the option: the word above, TSval, TSecr; twelve bytes."""
_SYN: Final = Struct("!HHIIIHBB")
_new: Final = tuple.__new__  # half of the time of calling TcpOptions
_SYN_WORDS: Final = 0x0204, 0x0402080A, 0x0103, 3
"""The usual options of a SYN, ours and Linux's: MSS, SACK permitted, timestamps, NOP, window scale. Their kinds and
lengths are between the values."""


class TcpOptions(NamedTuple):
    """Options of a segment; None for those that are absent."""

    mss: int | None = None
    """Bytes, as in the option."""
    wscale: int | None = None
    """Shift count, 0 to 14."""
    sack_permitted: bool = False
    timestamps: tuple[int, int] | None = None
    """TSval and TSecr."""
    sack: tuple[tuple[int, int], ...] = ()
    """Left and right edges of received blocks."""
    bad: bool = False
    """An option has an impossible length or value."""

    def encode(self) -> bytes:
        """Return the options as bytes, in the layout of this engine."""
        return build(
            mss=self.mss,
            wscale=self.wscale,
            sack_permitted=self.sack_permitted,
            timestamps=self.timestamps,
            sack=self.sack,
        )


NONE: Final = TcpOptions()


def check_options(options: TcpOptions) -> None:
    """Check that a header can express options.

    Raises:
        ConfigError: not a TcpOptions, or a field of another type or out of range.
    """
    instance("options", options, TcpOptions, "a TcpOptions")
    if options.mss is not None:
        whole("the option mss", options.mss, 0, 0xFFFF)
    if options.wscale is not None:
        whole("the option wscale", options.wscale, 0, MAX_WSCALE)
    switch("the option sack_permitted", options.sack_permitted)
    for what, pairs in (("timestamps", (options.timestamps or (0, 0),)), ("sack", options.sack)):
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ConfigError(f"the option {what}: {pair!r} is not a pair of numbers")
            for number in pair:
                whole(f"the option {what}: a number", number, 0, MASK)


def parse(data: Buffer) -> TcpOptions:
    """Read options. Unknown ones are skipped; reading stops at an impossible length (MUST-7)."""
    if not data:
        return NONE
    if len(data) == TIMESTAMP.size:  # the usual ones: timestamps alone, after two NOPs
        word, value, echo = TIMESTAMP.unpack(data)
        if word == TIMESTAMP_WORD:
            return _new(TcpOptions, (None, None, False, (value, echo), (), False))
    if len(data) == _SYN.size:
        first, size, second, value, echo, third, fourth, shift = _SYN.unpack(data)
        if (first, second, third, fourth) == _SYN_WORDS and size and shift <= MAX_WSCALE:
            return _new(TcpOptions, (size, shift, True, (value, echo), (), False))
    mss = wscale = timestamps = None
    permitted = bad = False
    blocks: list[tuple[int, int]] = []
    raw = bytes(data)
    at, end = 0, len(raw)
    while at < end:
        kind = raw[at]
        if kind == END:
            break
        if kind == NOP:
            at += 1
            continue
        length = raw[at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end:
            bad = True
            break
        body = raw[at + 2 : at + length]
        at += length
        if kind == MSS and length == 4:
            mss = int.from_bytes(body, "big")
            bad = bad or not mss
        elif kind == WSCALE and length == 3:
            wscale = min(body[0], MAX_WSCALE)
            bad = bad or body[0] > MAX_WSCALE
        elif kind == SACK_PERMITTED and length == 2:
            permitted = True
        elif kind == TIMESTAMPS and length == 10:
            timestamps = (int.from_bytes(body[:4], "big"), int.from_bytes(body[4:], "big"))
        elif kind == SACK and length % 8 == 2:
            words = [int.from_bytes(body[i : i + 4], "big") for i in range(0, length - 2, 4)]
            blocks += zip(words[::2], words[1::2], strict=True)
        elif kind in _KNOWN:
            bad = True
    return TcpOptions(mss, wscale, permitted, timestamps, tuple(blocks), bad)


def build(
    *,
    mss: int | None = None,
    wscale: int | None = None,
    sack_permitted: bool = False,
    timestamps: tuple[int, int] | None = None,
    sack: Sequence[tuple[int, int]] = (),
) -> bytes:
    """Return options as bytes, padded to a multiple of four."""
    if mss is not None and timestamps is not None and sack_permitted and wscale is not None and not sack:
        first, second, third, fourth = _SYN_WORDS
        return _SYN.pack(first, mss, second, *timestamps, third, fourth, wscale)
    out = bytearray()
    if mss is not None:
        out += bytes((MSS, 4)) + mss.to_bytes(2, "big")
    if timestamps is not None:
        if sack_permitted:  # takes the place of the two NOPs
            out += bytes((SACK_PERMITTED, 2, TIMESTAMPS, 10))
        else:
            out += TIMESTAMP_WORD.to_bytes(4, "big")
        out += timestamps[0].to_bytes(4, "big") + timestamps[1].to_bytes(4, "big")
    elif sack_permitted:
        out += bytes((NOP, NOP, SACK_PERMITTED, 2))
    if wscale is not None:
        out += bytes((NOP, WSCALE, 3, wscale))
    if sack:
        out += bytes((NOP, NOP, SACK, 2 + 8 * len(sack)))
        for left, right in sack:
            out += left.to_bytes(4, "big") + right.to_bytes(4, "big")
    return bytes(out)
