"""UDP datagrams and TCP segments, in IPv4 and IPv6."""

from __future__ import annotations

from hypothesis import strategies as st

from slirpy.tcp.options import TcpOptions
from slirpy.tcp.seq import MASK
from slirpy.testing.strategies.building import (
    Addresses,
    Flaw,
    Made,
    families,
    ip_frame,
    ports,
    repair,
    set_length,
)
from slirpy.wire import ipv4, tcp, udp
from slirpy.wire.ip import Family

__all__ = ["TCP_FLAWS", "UDP_FLAWS", "numbers", "tcp_frames", "tcp_options", "udp_frame", "udp_frames"]

numbers = st.sampled_from((0, MASK, MASK - 100, 1 << 31)) | st.integers(0, MASK)
"""Sequence numbers and timestamps; those near a wrap are frequent."""


def tcp_options() -> st.SearchStrategy[TcpOptions]:
    """Make options that fit into a header: none, or some of them."""
    return st.builds(
        TcpOptions,
        mss=st.none() | st.sampled_from((1460, 536, 65535)) | st.integers(1, 65535),
        wscale=st.none() | st.integers(0, 14),
        sack_permitted=st.booleans(),
        timestamps=st.none() | st.tuples(numbers, numbers),
        bad=st.just(False),
        sack=st.just(()) | st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple),
    ).filter(lambda options: len(options.encode()) <= 40)


# ------------------------------------------------------------------------------------------------- UDP


def udp_frame(ends: Addresses, family: Family, source_port: int, destination_port: int, payload: bytes) -> Made:
    """Put a payload into a datagram between two ports."""
    source, destination = ends.of(family)
    return udp_between(ends, source, source_port, destination, destination_port, payload)


def udp_between(
    ends: Addresses, source: bytes, source_port: int, destination: bytes, destination_port: int, payload: bytes
) -> Made:
    """Put a payload into a datagram between two addresses."""
    datagram = udp.build(source, source_port, destination, destination_port, payload) + payload
    return ip_frame(ends, ipv4.UDP, datagram, source=source, destination=destination)


@st.composite
def udp_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make datagrams with any ports and payload; with IPv4 some have no checksum."""
    family = draw(families)
    made = udp_frame(ends, family, draw(ports), draw(ports), draw(st.binary(max_size=200)))
    none = draw(st.booleans())
    if none and family.version == 4:
        frame = bytearray(made.frame)
        frame[made.at + 6 : made.at + 8] = b"\0\0"
        return Made(bytes(frame), made.at)
    return made


def _length_short(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 4 : at + 6] = draw(st.integers(0, udp.HEADER_LENGTH - 1)).to_bytes(2, "big")


def _length_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 4 : at + 6] = draw(st.integers(len(frame) - at + 1, 0xFFFF)).to_bytes(2, "big")


def _udp_cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _cut(draw, frame, at, udp.HEADER_LENGTH)


def _udp_checksum(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    repair(frame)  # it may have none
    frame[at + 6] ^= 1 if frame[at + 6 : at + 8] != b"\1\0" else 2


def _cut(draw: st.DrawFn, frame: bytearray, at: int, least: int) -> None:
    del frame[at + draw(st.integers(0, least - 1)) :]
    set_length(frame, at)


UDP_FLAWS = (
    Flaw("checksum", _udp_checksum, repaired=False),
    Flaw("length below 8", _length_short),
    Flaw("length beyond the packet", _length_beyond),
    Flaw("header cut short", _udp_cut),
)

# ------------------------------------------------------------------------------------------------- TCP

windows = st.integers(0, 65535).map(lambda closed: 65535 - closed)
_FLAGS = (
    tcp.SYN,
    tcp.SYN | tcp.ACK,
    tcp.ACK,
    tcp.ACK | tcp.PSH,
    tcp.ACK | tcp.FIN,
    tcp.RST,
    tcp.RST | tcp.ACK,
    tcp.ACK | tcp.URG,
)


_OPTIONS = tcp_options()


@st.composite
def tcp_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make segments with the flags that occur, and with options; those of a SYN are only in a SYN."""
    source, destination = ends.of(draw(families))
    flags = draw(st.sampled_from(_FLAGS))
    options = draw(_OPTIONS)
    if flags & tcp.SYN:
        options = options._replace(sack=())
    else:
        options = options._replace(mss=None, wscale=None, sack_permitted=False)
    packed = options.encode()
    # All is drawn always, so that no example is simpler than another for want of a field.
    payload, seq, ack, urgent = (
        draw(st.binary(max_size=200)),
        draw(numbers),
        draw(numbers),
        draw(st.integers(0, 300)),
    )
    payload = b"" if flags & (tcp.SYN | tcp.RST) else payload
    header = tcp.HEADER.pack(
        draw(ports), draw(ports), seq, ack if flags & tcp.ACK else 0,
        (tcp.HEADER_LENGTH + len(packed)) << 2, flags, draw(windows), 0, urgent if flags & tcp.URG else 0,
    )  # fmt: skip
    return ip_frame(ends, ipv4.TCP, header + packed + payload, source=source, destination=destination)


def _checksum(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 16] ^= draw(st.integers(1, 254))


def _offset_short(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 12] = draw(st.integers(0, 4)) << 4


def _offset_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    least = tcp.HEADER_LENGTH
    del frame[at + least + draw(st.integers(0, 39)) :]
    set_length(frame)
    frame[at + 12] = draw(st.integers((len(frame) - at) // 4 + 1, 15)) << 4


def _tcp_cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _cut(draw, frame, at, tcp.HEADER_LENGTH)


def _option(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    """Put in an option whose length is impossible, or wrong for its kind."""
    bad = draw(st.sampled_from((b"\2\0\0\0", b"\2\1\1\1", b"\2\5\5\xb4\0\0\0\0", b"\3\2\0\0", b"\x08\xff\0\0")))
    del frame[at + tcp.HEADER_LENGTH :]
    frame += bad
    frame[at + 12] = (tcp.HEADER_LENGTH + len(bad)) << 2
    set_length(frame)


def _flags(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 13] = draw(st.sampled_from((0, tcp.SYN | tcp.FIN, tcp.SYN | tcp.RST, tcp.FIN, 255)))


TCP_FLAWS = (
    Flaw("checksum", _checksum, repaired=False),
    Flaw("header cut short", _tcp_cut),
    Flaw("data offset below 5", _offset_short),
    Flaw("data offset beyond the segment", _offset_beyond),
    Flaw("option of a wrong length", _option, tolerated=True),
    Flaw("flags that do not go together", _flags, tolerated=True),
)
