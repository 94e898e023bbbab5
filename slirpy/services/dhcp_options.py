"""DHCP options (RFC 2132): bytes <-> a dict or list of codes and values.

dpkt is the codec of the fixed part of a message. Its reading of options knows neither long options, which come
in several pieces to be joined (RFC 3396), nor options that go on in the ``file`` and ``sname`` fields (option
overload, RFC 2132 section 9.3), and truncated ones make it raise; so that part is here.

Reading is liberal: embedded clients and boot ROMs send messages that are cut short, or that have an option twice.
What can be read counts, and the rest is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterable

import dpkt
from dnslib import DNSLabel
from dnslib.label import DNSBuffer

__all__ = ["read_message", "search_list", "write_message"]

BOOTP = 236
"""Bytes of the BOOTP fields up to ``file``."""
FIXED = 240
"""Bytes before the options: these, and the magic number."""
MESSAGE_MIN = 300
"""A BOOTP message is never shorter (RFC 951, RFC 1542 section 2.1); some clients drop what is."""
PAD = 0
END = 255
OVERLOAD = 52
TFTP_SERVER = 66
_BOOT_TEXTS = frozenset((17, 18, TFTP_SERVER, 67, 209, 210))
_CHADDR = slice(28, 44)
_FILE = 128
_SNAME = 64
_PIECE = 255
"""Most bytes that one option carries; a longer value goes into several (RFC 3396)."""


def read_message(payload: bytes) -> tuple[dpkt.dhcp.DHCP, dict[int, bytes]] | None:
    """The fixed fields of a message and its options by code, or None if it is shorter than these.

    A BOOTP message without the magic number of RFC 1497 has no options. An option that goes beyond the end of its
    field is left out.
    """
    if len(payload) < BOOTP:
        return None
    header = dpkt.dhcp.DHCP(payload[:FIXED].ljust(FIXED, b"\0"))
    header.chaddr = payload[_CHADDR]  # all of it, whatever length the client gives: it has to come back
    options: dict[int, bytes] = {}
    if header.magic != dpkt.dhcp.DHCP_MAGIC:
        return header, options
    _read_area(payload[FIXED:], options)
    overload = options.get(OVERLOAD, b"\0")[:1]
    # RFC 3396 section 5: the pieces of an option are joined in the order options, file, sname.
    if overload in (b"\1", b"\3"):
        _read_area(header.file, options)
    if overload in (b"\2", b"\3"):
        _read_area(header.sname, options)
    return header, options


def _read_area(area: bytes, options: dict[int, bytes]) -> None:
    """Add the options of one field, joining values of equal codes.

    A value that comes again as a whole is an option sent twice, and no piece of a longer one: only pieces of 255
    bytes need another (RFC 3396 section 6).
    """
    at = 0
    while at < len(area):
        code = area[at]
        if code == PAD:
            at += 1
            continue
        if code == END:
            break
        end = at + 2 + area[at + 1] if at + 1 < len(area) else at + 2
        if end > len(area):
            break
        value = area[at + 2 : end]
        if value != options.get(code) or len(value) == _PIECE:
            options[code] = options.get(code, b"") + value
        at = end


def write_message(
    header: dpkt.dhcp.DHCP, options: Iterable[tuple[int, bytes]], limit: int, *, overload: bool = True
) -> bytes:
    """A message of at least 300 and at most ``limit`` bytes (``limit`` itself being at least 300).

    The options that do not fit go on in the ``file`` field, if the header has no boot file, and then in ``sname``, if
    that is empty or option 66 says the same. What does not fit there either is left out: so the important ones come
    first.
    Behind text that boot ROMs read up to a zero byte, whatever its length, stands a pad option.

    Without ``overload`` both fields stay what they are: a client of BOOTP knows nothing of option 52, and would take
    the one for the name of a boot file.
    """
    # Each less its end option, the first less option 52.
    options = list(options)
    needed = header.sname.strip(b"\0") and TFTP_SERVER not in (code for code, _ in options)
    room = [limit - FIXED - 1 - 3, 0 if header.file.strip(b"\0") else _FILE - 1, 0 if needed else _SNAME - 1]
    if not overload:
        room = [limit - FIXED - 1, 0, 0]
    areas = [bytearray(), bytearray(), bytearray()]
    for code, value in options:
        pieces = b"".join(
            bytes((code, len(piece))) + piece
            for piece in (value[i : i + _PIECE] for i in range(0, max(len(value), 1), _PIECE))
        )
        if code in _BOOT_TEXTS:
            pieces += bytes((PAD,))
        # All pieces of an option go to one field: so they are joined in their order whatever the client does.
        for index, area in enumerate(areas):
            if len(area) + len(pieces) <= room[index]:
                area += pieces
                break
    main, in_file, in_sname = areas
    if in_file or in_sname:
        main += bytes((OVERLOAD, 1, (1 if in_file else 0) | (2 if in_sname else 0)))
    if in_file:
        header.file = bytes(in_file) + bytes((END,))
    if in_sname:
        header.sname = bytes(in_sname) + bytes((END,))
    message: bytes = header.pack_hdr() + bytes(main) + bytes((END,))
    return message.ljust(MESSAGE_MIN, b"\0")


def search_list(names: Iterable[str]) -> bytes:
    """The value of option 119: domain names with compression inside the option (RFC 3397 section 2).

    Raises:
        ValueError: a name that DNS cannot carry: not ASCII, a label of 0 or over 63 bytes, over 255 in all.
    """
    buffer = DNSBuffer()
    for name in names:
        labels = [label.encode("ascii") for label in name.removesuffix(".").split(".")]
        if not all(1 <= len(label) <= 63 for label in labels) or sum(map(len, labels)) + len(labels) + 1 > 255:
            raise ValueError(name)
        buffer.encode_name(DNSLabel(labels))
    return bytes(buffer.data)
