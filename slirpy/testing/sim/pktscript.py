"""A TCP connection of a run as a script in packetdrill's language, seen from one of its hosts.

What arrived at the host is given to the connection, and what the host sent is expected of it. The calls of the
program are guessed from the segments: a ``write`` of all up to the next PSH before its first segment, a ``read``
of all data when the window has moved on, a ``close`` before the FIN. So the script of an orderly connection passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from slirpy.records import NamedTuple
from slirpy.tcp import Settings
from slirpy.tcp.congestion import ALGORITHMS
from slirpy.tcp.seq import MASK
from slirpy.testing.packetdrill.language import flag_text
from slirpy.testing.packetdrill.report import read_options
from slirpy.testing.sim.connections import Passage, TraceConnection
from slirpy.testing.sim.sequence import window_shifts
from slirpy.units import SECOND
from slirpy.wire import ethernet, tcp
from slirpy.wire.ip import packet_family

__all__ = ["SIGNATURE", "packetdrill_script"]

SIGNATURE = "// Written by slirpy"
_ELSEWHERE = {"mss", "peer_mss", "congestion"}
"""Settings that are not written as they are."""


class _Line(NamedTuple):
    time: int
    text: str


def packetdrill_script(connection: TraceConnection, host: str, settings: Settings | None = None) -> str:
    """Return a script.

    Args:
        connection: the connection.
        host: name of the host whose TCP the script is about: one of the two.
        settings: settings of its connections; None: the default ones.
    """
    own, far = connection.places if host == connection.hosts[0] else connection.places[::-1]
    passages = connection.passages
    sent = [each for each in passages if each.packet.source == own]
    came = [each for each in passages if each.packet.source == far]
    base = _first_number(sent), _first_number(came)
    shift = window_shifts(passages)[own != connection.places[0]]
    lines = _lines(sent, came, base, shift)
    start = min((line.time for line in lines), default=0)
    is_active = bool(sent) and sent[0].segment.flags & (tcp.SYN | tcp.ACK) == tcp.SYN
    heading = [
        f"{SIGNATURE}: {connection}, seen from {host}",
        f"--open={'active' if is_active else 'passive'}",
        *_options(sent, settings or Settings(), len(own[0])),
    ]
    return "\n".join([*heading, "", *(f"{_seconds(line.time - start)} {line.text}" for line in lines)]) + "\n"


def _seconds(time: int) -> str:
    return f"{time / SECOND:.6f}"


def _first_number(passages: Sequence[Passage]) -> int:
    """Return the sequence number from which those of the script count."""
    first = next(iter(passages), None)
    return 0 if first is None else (first.segment.seq - first.shown.seq) & MASK


def _options(sent: Sequence[Passage], settings: Settings, address_length: int) -> list[str]:
    """Return the lines ``--name=value`` for whatever differs from the defaults."""
    defaults = Settings()
    found = []
    mss = next(
        (each.segment.options.mss for each in sent if each.segment.options.mss is not None), settings.mss
    )
    if address_length == 16:
        found += ["--ip_version=ipv6", f"--mtu={mss + 60}"]
    elif mss != defaults.mss:
        found.append(f"--mtu={mss + 40}")
    for name in (field.name for field in fields(Settings)):
        value = getattr(settings, name)
        if name not in _ELSEWHERE and value != getattr(defaults, name):
            found.append(f"--{name}={str(value).lower()}")
    algorithm = next((name for name, each in ALGORITHMS.items() if each is settings.congestion), None)
    if algorithm is not None and settings.congestion is not defaults.congestion:
        found.append(f"--congestion={algorithm}")
    return found


def _lines(sent: Sequence[Passage], came: Sequence[Passage], base: tuple[int, int], shift: int) -> list[_Line]:
    """Return all lines in order: of what arrived at the same time as it was sent, first what it acknowledges."""
    arrivals = sorted(
        ((time, each) for each in came for time in each.record.arrivals), key=lambda each: each[0]
    )
    calls = _calls(sent)
    received = _Received()
    lines: list[_Line] = []
    position = unread = edge = 0
    for number, passage in enumerate(sent):
        time, segment = passage.record.time, passage.segment
        acked = passage.shown.ack if segment.flags & tcp.ACK else -1
        while position < len(arrivals) and (
            arrivals[position][0] < time
            or (arrivals[position][0] == time and received.after(arrivals[position][1]) <= acked)
        ):
            when, arrived = arrivals[position]
            lines.append(_Line(when, _segment(arrived, base, outbound=False)))
            unread += received.add(arrived)
            position += 1
        new_edge = acked + (segment.wnd << (0 if segment.flags & tcp.SYN else shift))
        # The window moves on when the program reads, though not for a few bytes; a program that closes has read all.
        if unread and (new_edge > edge or "close()" in calls.get(number, ())):
            lines.append(_Line(time, f"read({unread})"))
            unread = 0
        edge = max(edge, new_edge)
        lines += [_Line(time, call) for call in calls.get(number, ())]
        remark = f"  // {passage.record.fate}" if passage.record.fate else ""
        lines.append(_Line(time, _segment(passage, base, outbound=True) + remark))
    lines += [_Line(time, _segment(arrived, base, outbound=False)) for time, arrived in arrivals[position:]]
    return lines


class _Received:
    """Received part of the peer's numbers."""

    def __init__(self) -> None:
        self._following = 0
        self._ranges: list[tuple[int, int]] = []
        self._ends: set[int] = set()  # numbers of SYN and FIN, which are no data

    def after(self, passage: Passage) -> int:
        """Return the next number that is missing once a segment has arrived."""
        following = self._following
        for low, high in sorted([*self._ranges, self._range(passage)]):
            if low <= following < high:
                following = high
        return following

    def add(self, passage: Passage) -> int:
        """Add a segment; returns the bytes that a program can read now."""
        flags, seq = passage.segment.flags, passage.shown.seq
        self._ends |= {seq} if flags & tcp.SYN else set()
        self._ends |= {self._range(passage)[1] - 1} if flags & tcp.FIN else set()
        before, self._following = self._following, self.after(passage)
        self._ranges = [each for each in (*self._ranges, self._range(passage)) if each[1] > self._following]
        return self._following - before - sum(before <= end < self._following for end in self._ends)

    @staticmethod
    def _range(passage: Passage) -> tuple[int, int]:
        flags, seq = passage.segment.flags, passage.shown.seq
        return seq, seq + passage.segment.length + bool(flags & tcp.SYN) + bool(flags & tcp.FIN)


def _segment(passage: Passage, base: tuple[int, int], *, outbound: bool) -> str:
    """Format a segment; the window of an expected one is left out, since it depends on when the program reads."""
    segment, shown = passage.segment, passage.shown
    flags = flag_text(segment.flags)
    parts = [">" if outbound else "<", flags, f"{shown.seq}:{shown.seq + segment.length}({segment.length})"]
    if segment.flags & tcp.ACK:
        parts.append(f"ack {shown.ack}")
    if not outbound:
        parts.append(f"win {segment.wnd}")
    options = read_options(_raw_options(passage.record.frame), *base, ours=outbound)
    if options:
        parts.append(f"<{','.join(map(str, options))}>")
    return " ".join(parts)


def _raw_options(frame: bytes) -> bytes:
    """Return the options of the TCP segment in a frame."""
    view = memoryview(frame)[ethernet.payload_offset(frame) :]
    header = packet_family(view).parse(view)
    assert header is not None
    segment = view[header.header_length : header.total_length]
    return bytes(segment[tcp.HEADER_LENGTH : (segment[12] >> 4) * 4])


def _calls(sent: Sequence[Passage]) -> dict[int, list[str]]:
    """Return the calls of the program, by the number of the segment before which each is made."""
    calls: dict[int, list[str]] = {}
    top, first, size = 1, 0, 0
    is_over = False
    for number, passage in enumerate(sent):
        flags, length = passage.segment.flags, passage.segment.length
        begin = passage.shown.seq + bool(flags & tcp.SYN)
        fresh = begin + length - max(top, begin)
        if length and fresh > 0:
            first = number if not size else first
            size += fresh
            top = begin + length
        ends = flags & (tcp.FIN | tcp.RST) and not is_over
        if size and (flags & tcp.PSH or ends or number == len(sent) - 1):
            calls.setdefault(first, []).append(f"write({size})")
            size = 0
        if ends:
            is_over = True
            calls.setdefault(number, []).append("close()" if flags & tcp.FIN else "abort()")
    return calls
