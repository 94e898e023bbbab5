"""The outcome of a script: one line, and a ladder for debugging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from slirpy.config.text import with_port
from slirpy.ladder.diagram import ladder
from slirpy.tcp import Segment, options
from slirpy.tcp.seq import MASK
from slirpy.testing.packetdrill.host import Host, Sent
from slirpy.testing.packetdrill.language import flag_text
from slirpy.testing.packetdrill.script import Option
from slirpy.units import SECOND
from slirpy.wire import ipv4, tcp
from slirpy.wire.headers import layout_of
from slirpy.wire.ip import V4, V6

__all__ = ["Result", "draw", "notation", "read_options"]

ADDRESSES = {V4: ("192.0.2.1", "192.0.2.2"), V6: ("2001:db8::1", "2001:db8::2")}
"""Addresses of the connection and its peer, in the networks for documentation."""
_OUR_PORT, _PEER_PORT = 8080, 40000
_NAMES = {0: "eol", 1: "nop", 2: "mss", 3: "wscale", 4: "sackOK", 5: "sack", 8: "TS"}


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a script."""

    name: str
    """File name."""
    outcome: Literal["pass", "fail", "unsupported"]
    line: int = 0
    """Line at which it ended, counted from 1; 0 if it passed."""
    reason: str = ""
    ladder: str = ""
    """All segments up to that point, drawn by :func:`slirpy.testing.ladder`; empty if it passed."""

    def __str__(self) -> str:
        if self.outcome == "pass":
            return f"pass         {self.name}"
        return f"{self.outcome:<12} {self.name}:{self.line}: {self.reason}"


def read_options(data: bytes, iss: int, irs: int, *, ours: bool) -> list[Option]:
    """Return every option of a segment, including padding, by packetdrill's names; SACK's numbers count from
    ``irs``.
    """
    base = irs if ours else iss
    found: list[Option] = []
    at = 0
    while at < len(data):
        kind = data[at]
        length = 1 if kind < 2 else data[at + 1] if at + 1 < len(data) else 0
        if kind >= 2 and (length < 2 or at + length > len(data)):
            found.append(Option("hex", tuple(data[at:])))
            break
        body = data[at + 2 : at + length] if kind >= 2 else b""
        name = _NAMES.get(kind, "hex")
        if name == "hex":
            found.append(Option("hex", tuple(data[at : at + length])))
        elif name in ("sack", "TS"):
            words = tuple(int.from_bytes(body[i : i + 4], "big") for i in range(0, len(body), 4))
            found.append(
                Option(name, tuple((word - base) & MASK for word in words) if name == "sack" else words)
            )
        else:
            found.append(Option(name, (int.from_bytes(body, "big"),) if body else ()))
        at += length
    return found


def notation(sent: Sent, iss: int, irs: int) -> str:
    """Format a sent segment as a line of a script."""
    parts = ["> " + flag_text(sent.flags), f"{sent.seq}:{(sent.seq + len(sent.data)) & MASK}({len(sent.data)})"]
    parts += [f"ack {sent.ack}"] if "." in parts[0] else []
    parts.append(f"win {sent.win}")
    parts += [f"urg {sent.urg}"] if sent.urg else []
    if sent.options:
        parts.append(f"<{','.join(map(str, read_options(sent.options, iss, irs, ours=True)))}>")
    return f"{sent.time / SECOND:.6f} " + " ".join(parts)


def draw(host: Host, transcript: Sequence[tuple[int, bool, Segment | Sent]]) -> str:
    """Draw everything that was sent and received as a ladder: the connection at the left, the script at the right."""
    if not transcript:
        return "no segments"
    frames = [(time, "", _frame(host, segment)) for time, _, segment in transcript]
    ours, peers = ADDRESSES[host.family]
    return ladder(frames, with_port(ours, _OUR_PORT), with_port(peers, _PEER_PORT), limit=40)


def _frame(host: Host, segment: Segment | Sent) -> bytes:
    """Make an Ethernet frame for the ladder; checksums are left out."""
    ours, peers = (ip_address(text).packed for text in ADDRESSES[host.family])
    if isinstance(segment, Sent):
        ends = ours + peers + _OUR_PORT.to_bytes(2, "big") + _PEER_PORT.to_bytes(2, "big")
        seq, ack, wnd = (segment.seq + host.iss) & MASK, (segment.ack + host.irs) & MASK, segment.win
        data, raw = segment.data, segment.options
    else:
        ends = peers + ours + _PEER_PORT.to_bytes(2, "big") + _OUR_PORT.to_bytes(2, "big")
        seq, ack, wnd, data = segment.seq, segment.ack, segment.wnd, bytes(segment.payload)
        o = segment.options
        raw = options.build(
            mss=o.mss,
            wscale=o.wscale,
            sack_permitted=o.sack_permitted,
            timestamps=o.timestamps,
            sack=o.sack[: options.MAX_SACK_BLOCKS],
        )
    layout = layout_of(ours)
    length = tcp.HEADER_LENGTH + len(raw) + len(data)
    offset = (tcp.HEADER_LENGTH + len(raw)) // 4 << 4
    head = layout.segment_out.pack(
        bytes(12) + layout.front, min(layout.header_in_total + length, 0xFFFF), layout.middle(ipv4.TCP, 64),
        0 if layout.has_header_sum else b"", ends, seq, ack, offset, segment.flags, wnd, 0, segment.urg,
    )  # fmt: skip
    return head + raw + data
