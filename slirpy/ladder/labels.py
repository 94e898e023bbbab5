"""The text of a TCP segment in a ladder."""

from __future__ import annotations

from slirpy.ladder.numbering import Numbering, Tcp
from slirpy.ladder.packets import Packet
from slirpy.wire import tcp

__all__ = ["segment_label"]


def segment_label(packet: Packet, segment: Tcp, numbering: Numbering, *, ports: bool) -> str:
    """Describe a segment; segments must be given in the order in which they were sent.

    Args:
        packet: the packet that carries it.
        segment: its fields.
        numbering: counts its numbers from the beginning of the connection.
        ports: whether to begin with its ports.
    """
    shown = numbering.number(packet.source, packet.destination, segment)
    flags, options = segment.flags, segment.options
    words = [f"{packet.source[1]} > {packet.destination[1]}"] if ports else []
    words += [tcp.flag_names(flags), f"seq={shown.seq}"]
    if flags & tcp.ACK:
        words.append(f"ack={shown.ack}")
    if segment.length:
        words.append(f"len={segment.length}")
    if flags & tcp.SYN:
        words += [f"mss={options.mss}"] if options.mss is not None else []
        words += [f"wscale={options.wscale}"] if options.wscale is not None else []
        words += ["sackOK"] if options.sack_permitted else []
        words += ["TS"] if options.timestamps is not None else []
    words += [f"sack={begin}-{end}" for begin, end in shown.sack]
    if not segment.wnd and not flags & (tcp.RST | tcp.SYN):
        words.append("win=0")
    words += ["again"] if shown.again else []
    words += ["earlier"] if shown.earlier else []
    return " ".join(words)
