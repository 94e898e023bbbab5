"""Capture files: the pcapng format (draft-ietf-opsawg-pcapng), with nanoseconds and directions.

Writing, as in ``slirpy.wire.pcap``, which has the same functions, apart from those for comments, keys and lines of
logs; and reading of single records that were written here. A file is a section header, interface descriptions, and
for each frame an enhanced packet block, whose flags contain the direction. An interface is described before the first
frame that crosses it, at any point in the file; interfaces are numbered in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.units import US
from slirpy.wire.pcap import LINKTYPE_ETHERNET, SNAPLEN

__all__ = ["header", "interface", "journal_entry", "read_record", "record", "tls_keys"]

_SECTION_HEADER, _INTERFACE_DESCRIPTION, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_JOURNAL_EXPORT, _DECRYPTION_SECRETS = 9, 10
_TLS_KEY_LOG = 0x544C534B
_BYTE_ORDER = 0x1A2B3C4D
_NANOSECONDS = 9
# Options, draft sections 3.5, 4.1, 4.2 and 4.3: code, length, value padded to 32 bits.
_END, _COMMENT, _SHB_USERAPPL, _IF_NAME, _IF_TSRESOL, _EPB_FLAGS = 0, 1, 4, 2, 9, 2
_INBOUND, _OUTBOUND = 1, 2
_NAME = b"slirpy"
_LONGEST_NAME = 1024
_LONGEST_COMMENT = 65535

_BLOCK = Struct("<II")  # type, total length
_LENGTH = Struct("<I")
_OPTION = Struct("<HH")
_SECTION = Struct("<IHHq")  # byte order, major, minor, section length: -1 for unknown
_INTERFACE = Struct("<HHI")  # link type, reserved, snaplen
# Type, total length, interface, time (upper half, lower half), captured length, original length.
_PACKET = Struct("<IIIIIII")
_PACKET_END = Struct("<HHIHHI")  # flags option, end of options, total length
_SIZE = Struct("<Q")


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = _LENGTH.pack(_BLOCK.size + len(body) + _LENGTH.size)
    return _LENGTH.pack(kind) + length + body + length


def header(interfaces: Sequence[str] = ()) -> bytes:
    """Return the beginning of a file: the section, and interfaces of these names."""
    section = _SECTION.pack(_BYTE_ORDER, 1, 0, -1) + _option(_SHB_USERAPPL, _NAME) + _option(_END, b"")
    return _block(_SECTION_HEADER, section) + b"".join(map(interface, interfaces))


def interface(name: str) -> bytes:
    """Return the description of one more interface."""
    described = (
        _INTERFACE.pack(LINKTYPE_ETHERNET, 0, SNAPLEN)
        + _option(_IF_NAME, name.encode(errors="replace")[:_LONGEST_NAME])
        + _option(_IF_TSRESOL, bytes((_NANOSECONDS,)))
        + _option(_END, b"")
    )
    return _block(_INTERFACE_DESCRIPTION, described)


def tls_keys(log: str) -> bytes:
    """Return a Decryption Secrets Block with keys of TLS connections, for all frames behind it.

    Args:
        log: lines in the format of NSS, as ``ssl.SSLContext.keylog_filename`` writes them.
    """
    keys = log.encode()
    body = _LENGTH.pack(_TLS_KEY_LOG) + _LENGTH.pack(len(keys)) + keys + bytes(-len(keys) % 4)
    return _block(_DECRYPTION_SECRETS, body)


def journal_entry(time: int, host: str, text: str) -> bytes:
    """Return a line of a log, in the export format of systemd's journal; Wireshark shows it between the frames.

    Args:
        time: nanoseconds since 1970, UTC; only whole microseconds are kept.
        host: name of the host, without a newline.
        text: one or several lines.
    """
    message = text.encode(errors="replace")
    entry = b"".join(
        (
            f"__REALTIME_TIMESTAMP={time // US}\n_HOSTNAME={host}\nPRIORITY=6\nMESSAGE\n".encode(
                errors="replace"
            ),
            _SIZE.pack(len(message)),
            message,
            b"\n",
        )
    )
    return _block(_JOURNAL_EXPORT, entry + bytes(-len(entry) % 4))


def record(time: int, parts: Sequence[Buffer], inbound: bool, interface: int = 0, comment: str = "") -> bytes:
    """Return the record of one frame.

    Args:
        time: nanoseconds since 1970, UTC; from 0 to the year 2554.
        parts: pieces of the frame, without the frame check sequence.
        inbound: whether it came from the guest, as ``frames_in`` counts it in :class:`slirpy.stats.Stats`.
        interface: number of the interface that it crossed.
        comment: text for the reader.
    """
    frame = b"".join(parts)
    length = len(frame)
    captured = min(length, SNAPLEN)
    padding = -captured % 4
    options = _option(_COMMENT, comment.encode(errors="replace")[:_LONGEST_COMMENT]) if comment else b""
    total = _PACKET.size + captured + padding + len(options) + _PACKET_END.size
    return b"".join(
        (
            _PACKET.pack(_ENHANCED_PACKET, total, interface, time >> 32, time & 0xFFFFFFFF, captured, length),
            frame[:SNAPLEN],
            bytes(padding),
            options,
            _PACKET_END.pack(_EPB_FLAGS, 4, _INBOUND if inbound else _OUTBOUND, _END, 0, total),
        )
    )


def read_record(record: bytes) -> tuple[int, bool, bytes]:
    """Read a record that :func:`record` made, without a comment: its time, direction and frame.

    Returns:
        Nanoseconds since 1970; True if the frame came from the guest; the frame, as far as it was kept.
    """
    _, _, _, high, low, captured, _ = _PACKET.unpack_from(record)
    _, _, flags, _, _, _ = _PACKET_END.unpack_from(record, len(record) - _PACKET_END.size)
    return high << 32 | low, flags == _INBOUND, record[_PACKET.size : _PACKET.size + captured]
