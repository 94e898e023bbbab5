"""Frames of two hosts, drawn as a ladder: one line a packet, arrows between two poles.

::

        time  10.0.2.15:49152                                   192.0.2.7:80
    0.000 ms  │── SYN seq=0 mss=1460 wscale=5 sackOK TS ──────────────────►│
    2.000 ms  │◄──────── SYN,ACK seq=0 ack=1 mss=1460 wscale=5 sackOK TS ──│

Sequence numbers count from each side's latest SYN, or from the first number that is seen of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

from slirpy.tcp import options as tcp_options
from slirpy.tcp.seq import HALF, MASK
from slirpy.wire import icmp, ipv4, tcp, udp

__all__ = ["Host", "Timed", "ladder"]

Timed: TypeAlias = tuple[int, str, bytes]
"""Nanoseconds, a direction (which is not looked at) and an Ethernet frame, as in
:attr:`VirtualNetwork.transcript <slirpy.testing.network.VirtualNetwork>`."""

Host: TypeAlias = str
"""An address, ``"10.0.2.15"``, an address and a port, ``"10.0.2.15:80"``, or ``"*"`` for everyone."""

_Place: TypeAlias = tuple[bytes, int]
_EVERYONE: _Place = b"", 0
_MS = 1_000_000
_NARROWEST = 60


@dataclass(frozen=True, slots=True)
class _Style:
    pole: str
    line: str
    left: str
    right: str
    gap: str


_UNICODE = _Style(pole="│", line="─", left="◄", right="►", gap="⋮")
_ASCII = _Style("|", "-", "<", ">", ":")


@dataclass(slots=True)
class _Packet:
    """A packet, with what is shown of it."""

    time: int
    source: _Place
    destination: _Place
    protocol: int
    label: str = ""
    tcp: tuple[int, int, int, int, int, tcp_options.TcpOptions] | None = None
    """Sequence number, acknowledgement, flags, window, length and options."""


def ladder(
    frames: Iterable[Timed],
    left: Host | None = None,
    right: Host | None = None,
    *,
    width: int = 80,
    limit: int | None = None,
    omitted: tuple[int, int] | None = None,
    ascii_only: bool = False,
) -> str:
    """Draw frames as text.

    Args:
        frames: in the order of time; what is not IPv4, or not between the two, is left out.
        left: the one pole. Default: of the first SYN's connection the end that opens it; without a SYN the source
            of the first IPv4 packet.
        right: the other pole. Default: the other end of those.
        width: characters in a line, 60 or more.
        limit: most packets to draw, 2 or more; of more the middle is left out.
        omitted: for a caller that has left out the middle itself: after how many packets, and how many.
        ascii_only: draw with ASCII characters only.

    Returns:
        Lines without a newline at the end; a single line if there is nothing to draw.
    """
    packets = [packet for time, _, frame in frames if (packet := _read(time, frame)) is not None]
    ends = _ends(packets, left, right)
    if ends is None:
        return "no IPv4 packets"
    first, second = ends
    chosen = [
        packet
        for packet in packets
        if (_is(packet.source, first) and _is(packet.destination, second))
        or (_is(packet.source, second) and _is(packet.destination, first))
    ]
    if not chosen:
        return f"no packets between {_name(first)} and {_name(second)}"
    if omitted is None and limit is not None and len(chosen) > limit:
        omitted = limit - limit // 2, len(chosen) - limit
        after = len(chosen) - limit // 2
    elif omitted is not None:
        after = omitted[0]
    else:
        omitted, after = (len(chosen), 0), len(chosen)
    drawing = _Drawing(chosen, first, second, max(width, _NARROWEST), _ASCII if ascii_only else _UNICODE)
    return drawing.text(chosen[: omitted[0]], omitted[1], chosen[after:])


class _Drawing:
    def __init__(self, packets: list[_Packet], left: _Place, right: _Place, width: int, style: _Style) -> None:
        self._left = left
        self._style = style
        self._ports = not left[1] or not right[1]
        self._everyone = _EVERYONE in (left, right)
        self._start = packets[0].time
        self._bases: dict[tuple[_Place, _Place], int] = {}
        for packet in packets:
            if packet.tcp is not None:
                packet.label = self._tcp_label(packet, *packet.tcp)
        times = [f"{(packet.time - self._start) / _MS:.3f} ms" for packet in packets]
        self._column = max(len("time"), *map(len, times))
        self._room = width - self._column - 4  # two spaces, two poles
        names = _name(left), _name(right)
        space = max(self._room + 2 - len(names[0]) - len(names[1]), 1)
        self._lines = [f"{'time':>{self._column}}  {names[0]}{' ' * space}{names[1]}"]

    def text(self, head: list[_Packet], hidden: int, tail: list[_Packet]) -> str:
        """All lines: some packets, how many are not shown, some more."""
        for packet in head:
            self._draw(packet)
        if hidden > 0:
            gap = self._style.gap
            self._lines.append(f"{'':{self._column}}  {gap}{f'{hidden} more packets':^{self._room}}{gap}")
        for packet in tail:
            self._draw(packet)
        return "\n".join(self._lines)

    def _draw(self, packet: _Packet) -> None:
        style = self._style
        label = packet.label
        if self._everyone:
            label = f"{IPv4Address(packet.source[0])} > {IPv4Address(packet.destination[0])} {label}"
        most = self._room - 6
        if len(label) > most:
            label = label[: most - 2] + ".."
        rest = style.line * (self._room - len(label) - 5)
        if _is(packet.source, self._left):
            arrow = f"{style.line * 2} {label} {rest}{style.right}"
        else:
            arrow = f"{style.left}{rest} {label} {style.line * 2}"
        time = f"{(packet.time - self._start) / _MS:.3f} ms"
        self._lines.append(f"{time:>{self._column}}  {style.pole}{arrow}{style.pole}")

    def _tcp_label(
        self,
        packet: _Packet,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        length: int,
        options: tcp_options.TcpOptions,
    ) -> str:
        """What a segment says; packets are labelled in their order, because each SYN begins the counting anew."""
        ends = packet.source, packet.destination
        if flags & tcp.SYN:
            self._bases[ends] = seq
        base = self._bases.setdefault(ends, seq)
        words = [f"{packet.source[1]} > {packet.destination[1]}"] if self._ports else []
        words += [tcp.flag_names(flags), f"seq={_relative(seq, base)}"]
        if flags & tcp.ACK:
            words.append(f"ack={_relative(ack, self._bases.get(ends[::-1], ack - 1))}")
        if length:
            words.append(f"len={length}")
        if flags & tcp.SYN:
            words += [f"mss={options.mss}"] if options.mss is not None else []
            words += [f"wscale={options.wscale}"] if options.wscale is not None else []
            words += ["sackOK"] if options.sack_permitted else []
            words += ["TS"] if options.timestamps is not None else []
        for begin, end in options.sack:
            base = self._bases.get(ends[::-1], begin)
            words.append(f"sack={_relative(begin, base)}-{_relative(end, base)}")
        if not wnd and not flags & (tcp.RST | tcp.SYN):
            words.append("win=0")
        return " ".join(words)


def _relative(number: int, base: int) -> int:
    """The distance, negative for what lies before."""
    distance = (number - base) & MASK
    return distance if distance < HALF else distance - MASK - 1


def _is(place: _Place, wanted: _Place) -> bool:
    return wanted == _EVERYONE or (place[0] == wanted[0] and wanted[1] in (0, place[1]))


def _name(place: _Place) -> str:
    if place == _EVERYONE:
        return "everyone"
    address, port = place
    return f"{IPv4Address(address)}:{port}" if port else str(IPv4Address(address))


def _place(host: Host) -> _Place:
    if host == "*":
        return _EVERYONE
    address, _, port = host.partition(":")
    return IPv4Address(address).packed, int(port or 0)


def _ends(packets: list[_Packet], left: Host | None, right: Host | None) -> tuple[_Place, _Place] | None:
    """The two poles; port 0 stands for all."""
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
    chosen = syn or fitting[0]
    source, destination = chosen.source, chosen.destination
    if syn is None:
        source, destination = (source[0], 0), (destination[0], 0)
    if (first is not None and _is(destination, first)) or (second is not None and _is(source, second)):
        source, destination = destination, source
    return first or source, second or destination


def _read(time: int, frame: bytes) -> _Packet | None:
    """What a frame says; None if it is no whole IPv4 packet."""
    if len(frame) < 14 or frame[12:14] != b"\x08\x00":
        return None
    data = memoryview(frame)[14:]
    header = ipv4.parse(data)
    if header is None:
        return None
    start, end = header.header_length, header.total_length
    packet = _Packet(time, (header.source, 0), (header.destination, 0), header.protocol)
    offset = header.fragment & ipv4.OFFSET_MASK
    if offset:
        packet.label = f"fragment of protocol {header.protocol} at {offset * 8} len={end - start}"
    elif header.protocol == ipv4.TCP and end >= start + tcp.HEADER_LENGTH:
        _read_tcp(packet, data[start:end])
    elif header.protocol == ipv4.UDP and end >= start + udp.HEADER_LENGTH:
        source, destination, length, _ = udp.HEADER.unpack_from(data, start)
        packet.source, packet.destination = (header.source, source), (header.destination, destination)
        packet.label = f"UDP {source} > {destination} len={length - udp.HEADER_LENGTH}"
    elif header.protocol == ipv4.ICMP and end >= start + icmp.HEADER_LENGTH:
        kind, code = data[start], data[start + 1]
        name = _ICMP.get(kind, f"type {kind}")
        packet.label = f"ICMP {name}" + (f" code {code}" if code else "") + f" len={end - start - 8}"
    else:
        packet.label = f"protocol {header.protocol} len={end - start}"
    return packet


_ICMP = {
    icmp.ECHO_REQUEST: "echo request",
    icmp.ECHO_REPLY: "echo reply",
    icmp.UNREACHABLE: "unreachable",
    icmp.TIME_EXCEEDED: "time exceeded",
}


def _read_tcp(packet: _Packet, segment: memoryview) -> None:
    source, destination, seq, ack, offset, flags, wnd, _, _ = tcp.HEADER.unpack_from(segment)
    packet.source, packet.destination = (packet.source[0], source), (packet.destination[0], destination)
    data = (offset >> 4) * 4
    options = tcp_options.parse(segment[tcp.HEADER_LENGTH : data])
    packet.tcp = seq, ack, flags, wnd, max(len(segment) - data, 0), options
