"""Capture files: the classic pcap format (draft-ietf-opsawg-pcap), with nanoseconds.

Only writing: :class:`PcapWriter` is what :class:`slirpy.links.capture.CaptureLink` needs. To read such a file,
``dpkt.pcap.Reader``, tcpdump and Wireshark are at hand.

A file is one header of 24 bytes, then for each frame a header of 16 bytes and the frame. All fields are
little-endian here; readers find out by the magic number.
"""

from __future__ import annotations

from struct import Struct
from typing import BinaryIO

from slirpy.interfaces import Buffer

__all__ = ["LINKTYPE_ETHERNET", "SNAPLEN", "PcapWriter"]

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_ETHERNET = 1
SNAPLEN = 262144
"""Longest frame that is kept whole: tcpdump's default, and more than any frame of ours."""

_FILE_HEADER = Struct("<IHHiIII")  # magic, major, minor, time zone, accuracy, snaplen, link type
_RECORD_HEADER = Struct("<IIII")  # seconds, nanoseconds, captured length, original length
_SECOND = 1_000_000_000


class PcapWriter:
    """Writes Ethernet frames to a binary file, which stays the caller's to close."""

    __slots__ = ("_file",)

    def __init__(self, file: BinaryIO) -> None:
        """Write the file header.

        Raises:
            OSError: the file cannot be written.
        """
        self._file = file
        file.write(_FILE_HEADER.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET))

    def write(self, time: int, *parts: Buffer) -> None:
        """Append one frame, given in pieces.

        Args:
            time: nanoseconds since 1970, UTC; from 0 to the year 2106.
            parts: what makes up the frame, without the frame check sequence.

        Raises:
            OSError: the file cannot be written.
        """
        frame = parts[0] if len(parts) == 1 else b"".join(parts)
        length = len(frame)
        seconds, nanoseconds = divmod(time, _SECOND)
        self._file.write(_RECORD_HEADER.pack(seconds, nanoseconds, min(length, SNAPLEN), length))
        self._file.write(frame if length <= SNAPLEN else frame[:SNAPLEN])

    def flush(self) -> None:
        """Hand what was written to the system, so that readers see whole records.

        Raises:
            OSError: the file cannot be written.
        """
        self._file.flush()
