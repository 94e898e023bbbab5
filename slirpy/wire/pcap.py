"""Capture files: the classic pcap format (draft-ietf-opsawg-pcap), with nanoseconds.

Writing only, for :class:`slirpy.links.recorder.Recorder`. Such files can be read by ``dpkt.pcap.Reader``, tcpdump
and Wireshark.

A file is one header of 24 bytes, then for each frame a header of 16 bytes and the frame. All fields are
little-endian here; readers detect the byte order by the magic number. ``slirpy.wire.pcapng`` has the same functions.
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
"""Longest frame that is kept whole: tcpdump's default, and longer than any frame of slirpy."""

_FILE_HEADER = Struct("<IHHiIII")  # magic, major, minor, time zone, accuracy, snaplen, link type
_RECORD_HEADER = Struct("<IIII")  # seconds, nanoseconds, captured length, original length


def header(interfaces: Sequence[str] = ()) -> bytes:
    """Return the beginning of a file; this format cannot store interfaces."""
    return _FILE_HEADER.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET)


def interface(name: str) -> bytes:
    """Return nothing: this format cannot store interfaces."""
    return b""


def record(time: int, parts: Sequence[Buffer], inbound: bool, interface: int = 0) -> bytes:
    """Return the record of one frame.

    Args:
        time: nanoseconds since 1970, UTC; from 0 to the year 2106.
        parts: pieces of the frame, without the frame check sequence.
        inbound: whether it came from the guest; not stored in this format.
        interface: interface that it crossed; not stored either.
    """
    frame = b"".join(parts)
    length = len(frame)
    seconds, nanoseconds = divmod(time, SECOND)
    return _RECORD_HEADER.pack(seconds, nanoseconds, min(length, SNAPLEN), length) + frame[:SNAPLEN]
