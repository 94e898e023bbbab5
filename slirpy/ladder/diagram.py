"""Frames of two hosts, drawn as a ladder: one line per packet, arrows between two poles.

::

        time  10.0.2.15:49152                                   192.0.2.7:80
    0.000 ms  │── SYN seq=0 mss=1460 wscale=5 sackOK TS ──────────────────►│
    2.000 ms  │◄──────── SYN,ACK seq=0 ack=1 mss=1460 wscale=5 sackOK TS ──│

Sequence numbers count from the SYN of the connection that a segment belongs to, or from its first number seen.
``again`` marks a segment whose data were all sent before, ``earlier`` one of a connection whose ports were reused by
the next. Faults of a :class:`VirtualNetwork <slirpy.testing.network.VirtualNetwork>` are visible too: the arrow of
a lost frame ends on the way; a delayed one has a second, dotted line at its arrival, and so does each further copy of
a duplicated one. ``corrupted`` marks a frame of which a delivery has a wrong bit::

    0.000 ms  │── SYN seq=0 ─────────────────────────────✗ lost                   │
    1.000 ms  │── SYN seq=0 again ─────────────────────────┄ +2.500 ms            │
    2.000 ms  │── SYN seq=0 again ───────────────────────────────────────────────►│
    3.500 ms  │┄┄ SYN seq=0 again, sent at 1.000 ms ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄►│
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TypeAlias

from slirpy.checks import amount, is_whole, switch
from slirpy.config.text import split_port, with_port
from slirpy.config.values import as_text, listed
from slirpy.errors import ConfigError
from slirpy.ladder.labels import segment_label
from slirpy.ladder.numbering import Numbering, Place
from slirpy.ladder.packets import Packet, Timed, read_all
from slirpy.units import MS
from slirpy.wire import tcp

__all__ = ["Host", "Timed", "ladder"]

Host: TypeAlias = str
"""An address, ``"10.0.2.15"`` or ``"fec0::15"``, an address and a port, ``"10.0.2.15:80"`` or ``"[fec0::15]:80"``, or
``"*"`` for all."""

_EVERYONE: Place = b"", 0
_NARROWEST = 60


@dataclass(frozen=True, slots=True)
class _Style:
    pole: str
    line: str
    left: str
    right: str
    gap: str
    lost: str
    late: str


_UNICODE = _Style(pole="│", line="─", left="◄", right="►", gap="⋮", lost="✗", late="┄")
_ASCII = _Style("|", "-", "<", ">", ":", "x", ".")


def ladder(
    frames: Iterable[Timed],
    left: Host | None = None,
    right: Host | None = None,
    *,
    width: int = 80,
    limit: int | None = None,
    omitted: tuple[int, int] | None = None,
    last: int | None = None,
    ascii_only: bool = False,
) -> str:
    """Draw frames as text.

    Args:
        frames: in order of time; frames other than IPv4 and IPv6, or not between the two hosts, are left out.
        left: the left pole. Default: the end that sends the first SYN; without a SYN, the source of the first packet
            that goes to a single host by IPv4 or IPv6, and is not Neighbor Discovery.
        right: the right pole. Default: the other end of that connection or packet.
        width: characters per line, 60 or more.
        limit: maximum number of packets to draw, 2 or more; beyond it the middle is left out.
        omitted: for a caller that has left out the middle itself: the position and the number of omitted packets.
        last: draw only the last lines, at most this many; numbers still count from the beginning.
        ascii_only: draw with ASCII characters only.

    Returns:
        Lines without a newline at the end; a single line if there is nothing to draw.

    Raises:
        ConfigError: an argument of another type, or out of range.
    """
    amount("width", width, _NARROWEST)
    for what, number, least in (("limit", limit, 2), ("last", last, 0)):
        if number is not None:
            amount(what, number, least)
    if omitted is not None and not (
        isinstance(omitted, tuple) and len(omitted) == 2 and all(map(is_whole, omitted))
    ):
        raise ConfigError(f"omitted {omitted!r} is not a position and a number of packets, such as (20, 500)")
    switch("ascii_only", ascii_only)
    packets = read_all(listed("frames", frames))
    ends = _ends(packets, left, right)
    if ends is None:
        return "no IP packets"
    first, second = ends
    chosen = [
        packet
        for packet in packets
        if (_is(packet.source, first) and _is(packet.destination, second))
        or (_is(packet.source, second) and _is(packet.destination, first))
    ]
    if not chosen:
        return f"no packets between {_name(first)} and {_name(second)}"
    drawing = _Drawing(chosen, first, second, width, _ASCII if ascii_only else _UNICODE)
    chosen = drawing.lines_of(chosen)
    if last is not None:
        chosen = chosen[-last:] if last > 0 else []
    if omitted is None and limit is not None and len(chosen) > limit:
        omitted = limit - limit // 2, len(chosen) - limit
        after = len(chosen) - limit // 2
    elif omitted is not None:
        after = omitted[0]
    else:
        omitted, after = (len(chosen), 0), len(chosen)
    return drawing.text(chosen[: omitted[0]], omitted[1], chosen[after:])


class _Drawing:
    def __init__(self, packets: list[Packet], left: Place, right: Place, width: int, style: _Style) -> None:
        self._left = left
        self._style = style
        self._ports = not left[1] or not right[1]
        self._everyone = _EVERYONE in (left, right)
        self._by_direction = left == right == _EVERYONE
        self._start = packets[0].time
        numbering = Numbering()
        for packet in packets:
            if packet.tcp is not None:
                packet.label = segment_label(packet, packet.tcp, numbering, ports=self._ports)
            if packet.corrupted:
                packet.label += " corrupted"
        times = [self._time(packet.time + max(packet.delays, default=0)) for packet in packets]
        self._column = max(len("time"), *map(len, times))
        self._room = width - self._column - 4  # two spaces, two poles
        names = ("guests", "network") if self._by_direction else (_name(left), _name(right))
        space = max(self._room + 2 - len(names[0]) - len(names[1]), 1)
        self._lines = [f"{'time':>{self._column}}  {names[0]}{' ' * space}{names[1]}"]

    def text(self, head: list[Packet], hidden: int, tail: list[Packet]) -> str:
        """Return all lines: packets, the number omitted, more packets."""
        for packet in head:
            self._draw(packet)
        if hidden > 0:
            gap = self._style.gap
            self._lines.append(f"{'':{self._column}}  {gap}{f'{hidden} more packets':^{self._room}}{gap}")
        for packet in tail:
            self._draw(packet)
        return "\n".join(self._lines)

    def _time(self, time: int) -> str:
        return f"{(time - self._start) / MS:.3f} ms"

    def lines_of(self, packets: list[Packet]) -> list[Packet]:
        """Return the packets, and again those that arrive late or as a copy, at their arrival."""
        lines: list[Packet] = []
        later: list[Packet] = []
        for packet in packets:
            while later and later[0].time < packet.time:
                lines.append(later.pop(0))
            lines.append(packet)
            for number, delay in enumerate(packet.delays):
                if number or delay:
                    what = "copy of" if number else "sent at"
                    label = f"{packet.label}, {what} {self._time(packet.time)}"
                    insort(
                        later,
                        replace(packet, time=packet.time + delay, label=label, arrives=True),
                        key=_time_of,
                    )
        return lines + later

    def _draw(self, packet: Packet) -> None:
        style = self._style
        label = packet.label
        if self._everyone:
            label = f"{ip_address(packet.source[0])} > {ip_address(packet.destination[0])} {label}"
        line = style.late if packet.arrives else style.line
        rightward = packet.direction != "out" if self._by_direction else _is(packet.source, self._left)
        end, note = style.right if rightward else style.left, ""
        if not packet.delays:
            end, note = style.lost, " lost"
        elif packet.delays[0] and not packet.arrives:
            end, note = style.late, f" +{packet.delays[0] / MS:.3f} ms"
        most = self._room - 6 - len(note)
        if len(label) > most:
            label = label[: most - 2] + ".."
        rest = self._room - len(label) - 5 - len(note)
        shaft = rest if not note else max(min(rest, (self._room - len(label)) // 2), 1)
        space = " " * (rest - shaft)
        if rightward:
            arrow = f"{line * 2} {label} {line * shaft}{end}{note}{space}"
        else:
            arrow = f"{space}{note[1:]}{' ' * bool(note)}{end}{line * shaft} {label} {line * 2}"
        time = self._time(packet.time)
        self._lines.append(f"{time:>{self._column}}  {style.pole}{arrow}{style.pole}")


def _time_of(packet: Packet) -> int:
    return packet.time


def _is(place: Place, wanted: Place) -> bool:
    return wanted == _EVERYONE or (place[0] == wanted[0] and wanted[1] in (0, place[1]))


def _name(place: Place) -> str:
    if place == _EVERYONE:
        return "everyone"
    address, port = place
    return with_port(ip_address(address), port) if port else str(ip_address(address))


def _place(host: Host) -> Place:
    if host == "*":
        return _EVERYONE
    address, port = split_port(as_text("a host", host)) or (host, None)
    try:
        return ip_address(address).packed, int(port or 0)
    except ValueError:
        raise ConfigError(f'host "{host}" is not an address, an address and a port, or *') from None


def _ends(packets: list[Packet], left: Host | None, right: Host | None) -> tuple[Place, Place] | None:
    """Return the two poles; port 0 stands for all."""
    first = _place(left) if left is not None else None
    second = _place(right) if right is not None else None
    if first is not None and second is not None:
        return first, second
    fitting = [
        packet
        for packet in packets
        if all(
            end is None or _is(packet.source, end) or _is(packet.destination, end) for end in (first, second)
        )
    ]
    if not fitting:
        return None
    syn = next((p for p in fitting if p.tcp is not None and p.tcp[2] & (tcp.SYN | tcp.ACK) == tcp.SYN), None)
    chosen = syn or next((packet for packet in fitting if not packet.is_housekeeping), fitting[0])
    source, destination = chosen.source, chosen.destination
    if syn is None:
        source, destination = (source[0], 0), (destination[0], 0)
    if (first is not None and _is(destination, first)) or (second is not None and _is(source, second)):
        source, destination = destination, source
    return first or source, second or destination
