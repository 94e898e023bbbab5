"""Capture files: the classic pcap format (draft-ietf-opsawg-pcap), with nanoseconds.

Only writing: this is what :class:`slirpy.links.recorder.Recorder` needs. To read such a file, ``dpkt.pcap.Reader``,
tcpdump and Wireshark are at hand.

A file is one header of 24 bytes, then for each frame a header of 16 bytes and the frame. All fields are
little-endian here; readers find out by the magic number. ``slirpy.wire.pcapng`` has the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.units import SECOND

__all__ = ["LINKTYPE_ETHERNET", "SNAPLEN", "header", "interface", "record"]

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_ETHERNET = 1
SNAPLEN = 262144
"""Longest frame that is kept whole: tcpdump's default, and more than any frame of ours."""

_FILE_HEADER = Struct("<IHHiIII")  # magic, major, minor, time zone, accuracy, snaplen, link type
_RECORD_HEADER = Struct("<IIII")  # seconds, nanoseconds, captured length, original length


def header(interfaces: Sequence[str] = ()) -> bytes:
    """What a file begins with; this format has no place for interfaces."""
    return _FILE_HEADER.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET)


def interface(name: str) -> bytes:
    """Nothing."""
    return b""


def record(time: int, parts: Sequence[Buffer], inbound: bool, interface: int = 0) -> bytes:
    """One frame.

    Args:
        time: nanoseconds since 1970, UTC; from 0 to the year 2106.
        parts: what makes up the frame, without the frame check sequence.
        inbound: whether it came from the guest; this format has no place for it.
        interface: where it crossed; no place either.
    """
    frame = b"".join(parts)
    length = len(frame)
    seconds, nanoseconds = divmod(time, SECOND)
    return _RECORD_HEADER.pack(seconds, nanoseconds, min(length, SNAPLEN), length) + frame[:SNAPLEN]
