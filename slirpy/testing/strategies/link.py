"""Frames of Ethernet itself, and ARP."""

from __future__ import annotations

from hypothesis import strategies as st

from slirpy.testing.strategies.building import Addresses, Flaw, Made, with_ethernet
from slirpy.testing.strategies.ip import echo
from slirpy.wire import arp, ethernet

__all__ = ["ARP_FLAWS", "ETHERNET_FLAWS", "arp_frames", "ethernet_frames"]


def ethernet_frames(ends: Addresses) -> st.SearchStrategy[Made]:
    """Make frames of any length that carry a packet, some with padding."""
    return st.builds(
        lambda made, padding: Made(made.frame + bytes(padding), 0), echo(ends), st.integers(0, 1500)
    )


def _cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    del frame[draw(st.integers(at, at + ethernet.HEADER_LENGTH - 1)) :]


def _type(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[12:14] = draw(st.sampled_from((0x0600, 0x88CC, 0x86DC, 0x0801, 0x9000, 46))).to_bytes(2, "big")


def _to_another(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[5] ^= draw(st.integers(1, 255))


ETHERNET_FLAWS = (
    Flaw("header cut short", _cut),
    Flaw("unknown type", _type),
    Flaw("for another station", _to_another),
)


@st.composite
def arp_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make requests, to all stations, and replies, to one."""
    operation = draw(st.sampled_from((arp.REQUEST, arp.REPLY)))
    source, target = ends.source4, ends.destination4
    known = ends.destination_mac if operation == arp.REPLY else bytes(6)
    packet = arp.build(arp.ArpPacket(operation, ends.source_mac, source, known, target))
    packet += bytes(draw(st.sampled_from((0, 18))))  # padding to the least length of a frame
    to = ends.destination_mac if operation == arp.REPLY else ethernet.BROADCAST
    return Made(with_ethernet(ends, ethernet.TYPE_ARP, packet, to), ethernet.HEADER_LENGTH)


def _arp_cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    del frame[at + draw(st.integers(0, arp.LENGTH - 1)) :]


def _arp_field(place: int, size: int = 1) -> Flaw:
    names = {
        0: "hardware type",
        2: "protocol type",
        4: "length of hardware addresses",
        5: "length of addresses",
    }

    def edit(draw: st.DrawFn, frame: bytearray, at: int) -> None:
        frame[at + place + size - 1] ^= draw(st.integers(1, 255))

    return Flaw(names[place], edit)


ARP_FLAWS = (
    Flaw("packet cut short", _arp_cut),
    _arp_field(0, 2),
    _arp_field(2, 2),
    _arp_field(4),
    _arp_field(5),
)
