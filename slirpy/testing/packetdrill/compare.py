"""Comparison of sent segments with the script, including numbers that the two count differently."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from slirpy.tcp.seq import HALF, MASK
from slirpy.testing.packetdrill.host import Host, Sent
from slirpy.testing.packetdrill.language import flag_text
from slirpy.testing.packetdrill.report import read_options
from slirpy.testing.packetdrill.script import ANY, Option, Packet
from slirpy.testing.packetdrill.systems import SYSTEMS, System
from slirpy.units import MS
from slirpy.wire.tcp import FIN, PSH

__all__ = ["Clock", "compare", "encode", "take"]

_KINDS = {"eol": 0, "nop": 1, "mss": 2, "wscale": 3, "sackOK": 4, "sack": 5, "TS": 8}
_SIZES = {"mss": 2, "wscale": 1, "sackOK": 0, "sack": 4, "TS": 4}


class Clock:
    """Conversion between the connection's timestamps and the script's.

    Args:
        checked: whether TSval must match the script, counted from the first one.
        tolerance: permitted difference in nanoseconds.
    """

    def __init__(self, checked: bool, tolerance: int) -> None:
        self._checked = checked
        self._tolerance = tolerance // MS
        self._base: tuple[int, int] | None = None
        self._known: dict[int, int] = {}

    def learn(self, script: int, live: int) -> bool:
        """Record that a TSval named in the script was sent; False if it is a different one than expected."""
        if self._base is None:
            self._base = script, live
        off = (live - self._linear(script)) & MASK
        self._known[script] = live
        return not self._checked or min(off, -off & MASK) <= self._tolerance

    def echoed(self, script: int) -> int:
        """Return the real TSecr for one in the script."""
        return self._known.get(script, self._linear(script))

    def in_script(self, live: int) -> int:
        """Return a TSval that was sent, as the script would count it."""
        if self._base is None:
            return live
        return (live - self._base[1] + self._base[0]) & MASK

    def _linear(self, script: int) -> int:
        if self._base is None:
            return script
        return (script - self._base[0] + self._base[1]) & MASK


def take(sent: deque[Sent], length: int, *, push: bool = True) -> Sent:
    """Take the next segment; if the script has one long segment, those that make it up.

    ``push``: a segment with PSH is the last of those.
    """
    first = sent.popleft()
    while len(first.data) < length and sent:
        following = sent[0]
        same = (first.time, first.ack, first.win, first.options) == (
            following.time,
            following.ack,
            following.win,
            following.options,
        )
        grown = len(first.data) + len(following.data)
        joins = (
            (first.seq + len(first.data)) & MASK == following.seq
            and following.data
            and not (push and first.flags & PSH)
        )
        if not same or not joins or grown > length:
            break
        first = replace(first, data=first.data + following.data, flags=first.flags | following.flags)
        sent.popleft()
    return first


def compare(
    packet: Packet, sent: Sent, clock: Clock, host: Host, system: System = SYSTEMS["slirpy"]
) -> list[str]:
    """Describe the differences between a segment and the script; empty if there are none."""
    found: list[str] = []
    if system.repeats_fin and _repeats_fin(packet, sent, host):
        sent = replace(sent, seq=(sent.seq - 1) & MASK, flags=sent.flags | FIN)
    unseen = 0 if system.push else PSH
    if (packet.flags ^ sent.flags) & ~unseen:
        found.append(f"flags {flag_text(packet.flags)} expected, not {flag_text(sent.flags)}")
    if packet.seq is not None and packet.seq & MASK != sent.seq:
        found.append(f"sequence number {packet.seq} expected, not {_signed(sent.seq)}")
    if packet.length != len(sent.data):
        found.append(f"{packet.length} bytes expected, not {len(sent.data)}")
    if packet.ack is not None and packet.ack & MASK != sent.ack:
        found.append(f"ack {packet.ack} expected, not {_signed(sent.ack)}")
    slack = 2 * host.conn.mss >> host.conn.rcv_wscale if system.window_slack and sent.win else 0
    if packet.win is not None and not packet.win - slack <= sent.win <= packet.win:
        found.append(f"win {packet.win} expected, not {sent.win}")
    if packet.urg is not None and packet.urg != sent.urg:
        found.append(f"urg {packet.urg} expected, not {sent.urg}")
    if packet.options is not None:
        have = read_options(sent.options, host.iss, host.irs, ours=True)
        wanted: Sequence[Option] = packet.options
        if not system.order:
            have, wanted = _sorted(have), _sorted(wanted)
        found += _compare_options(wanted, have, clock)
    return found


def _repeats_fin(packet: Packet, sent: Sent, host: Host) -> bool:
    """Report whether an ACK is compared with one that repeats the FIN."""
    if packet.seq is None or packet.length or sent.data or not packet.flags & ~sent.flags & FIN:
        return False
    again = any(s.flags & FIN and (s.seq + len(s.data)) & MASK == packet.seq for s in host.outbound())
    return again and sent.seq == (packet.seq + 1) & MASK


def _sorted(options: Sequence[Option]) -> list[Option]:
    """Sort options, without padding: their order is ignored."""
    return sorted(option for option in options if option.name not in ("nop", "eol"))


def _compare_options(wanted: Sequence[Option], sent: Sequence[Option], clock: Clock) -> list[str]:
    told: list[Option] = []
    late = ""
    for index, option in enumerate(sent):
        other = wanted[index] if index < len(wanted) else None
        if option.name == "TS" and other is not None and other.name == "TS":
            val, ecr = other.values
            if val != ANY and not clock.learn(val, option.values[0]):
                late = f"TS val {val} expected, not {clock.in_script(option.values[0])}"
            told.append(Option("TS", (val, option.values[1] if ecr != ANY else ANY)))
        else:
            told.append(option)
    if told != list(wanted):
        want, have = (",".join(map(str, options)) or "none" for options in (wanted, told))
        return [f"options {want} expected, not {have}"]
    return [late] if late else []


def _signed(number: int) -> int:
    return number if number < HALF else number - MASK - 1


def encode(options: Sequence[Option], clock: Clock, iss: int, *, acknowledges: bool) -> bytes:
    """Encode the options of a segment for the connection, padded with zeros."""
    out = bytearray()
    for name, values in options:
        if name == "hex":
            out += bytes(values)
        elif name in ("nop", "eol"):
            out.append(_KINDS[name])
        else:
            if name == "sack":
                values = tuple((value + iss) & MASK for value in values)
            elif name == "TS" and acknowledges:
                values = (values[0], clock.echoed(values[1]))
            size = _SIZES[name]
            out += bytes((_KINDS[name], 2 + size * len(values)))
            for value in values:
                out += (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
    return bytes(out) + bytes(-len(out) % 4)
