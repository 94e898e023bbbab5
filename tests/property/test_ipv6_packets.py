"""Packets of IPv6 as Hypothesis makes them: fragments of any cut and order, chains of headers, and any bytes."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.wire.extension import HEADERS_MAX
from tests.support.frames6 import GATEWAY6, ROUTER_MAC, WORLD6, datagram, echo6, fragment, ipv6, know6
from tests.support.harness import GUEST_MAC, Net, config

FEW = settings(max_examples=60, deadline=None)
HOP_BY_HOP, OPTIONS, ROUTING, UDP = 0, 60, 43, 17


def network() -> Net:
    net = Net(config())
    net.host.serve_udp(WORLD6, 9)
    know6(net)
    net.silence()
    return net


def arrived(net: Net) -> list[bytes]:
    """Return the datagrams that the host has relayed."""
    return [call.detail for call in net.calls("send_udp")]


def drops(net: Net) -> dict[str, int]:
    return {name: count for name, count in net.stats.nonzero().items() if name.startswith("drop_")}


def works(net: Net) -> None:
    net.take()
    net.send(echo6(b"well?", destination=GATEWAY6))
    assert bytes(net.one().data.data)[8:] == b"well?"


@st.composite
def cuts(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A datagram's payload, and the pieces (begin and end) in the order in which they are sent."""
    payload = draw(st.binary(min_size=1, max_size=400))
    size = 8 + len(payload)
    inner = draw(st.sets(st.integers(1, (size - 1) // 8), min_size=1, max_size=20))
    places = [0, *(8 * place for place in sorted(inner)), size]
    return payload, draw(st.permutations(list(pairwise(places))))


def pieces(payload: bytes, order: list[tuple[int, int]], **more: Any) -> list[bytes]:
    whole = datagram(payload)
    return [fragment(begin, whole[begin:end], more=end < len(whole), **more) for begin, end in order]


@given(cut=cuts(), repeats=st.lists(st.integers(0, 100), max_size=4), batch=st.booleans())
@FEW
def test_fragments_arrive_once(
    cut: tuple[bytes, list[tuple[int, int]]], repeats: list[int], batch: bool
) -> None:
    payload, order = cut
    frames = pieces(payload, order)
    for repeat in repeats:  # each before the last of the others, which completes the packet
        frames.insert(len(frames) - 1, frames[repeat % (len(frames) - 1)])
    net = network()
    if batch:
        net.send(*frames)
    else:
        for frame in frames:
            net.send(frame)
    assert arrived(net) == [payload]
    assert drops(net) == ({"drop_fragment_duplicate": len(repeats)} if repeats else {})
    assert net.stack.fragments6._cost == 0
    works(net)


@given(cut=cuts(), which=st.integers(0, 100), at=st.integers(0, 100), data=st.binary(min_size=8, max_size=8))
@FEW
def test_an_overlap_ends_the_packet(
    cut: tuple[bytes, list[tuple[int, int]]], which: int, at: int, data: bytes
) -> None:
    """A piece that has other bytes for a place that another piece has too, wherever it comes (RFC 5722)."""
    payload, order = cut
    frames, whole = pieces(payload, order), datagram(payload)
    place = order[which % (len(order) - 1)][0]  # of a piece that does not complete the packet
    if whole[place : place + 8] == data:
        data = bytes(each ^ 1 for each in data)
    frames.insert(at % len(frames), fragment(place, data, more=True))
    net = network()
    net.send(*frames)
    assert arrived(net) == []
    assert net.stats.drop_fragment_bad
    net.run(61)
    assert net.stack.fragments6._cost == 0
    counted = sum(count for name, count in drops(net).items() if name.startswith("drop_fragment"))
    assert counted == len(frames)
    works(net)


@given(kinds=st.lists(st.sampled_from((OPTIONS, ROUTING, HOP_BY_HOP)), max_size=12), sizes=st.integers(0, 3))
@FEW
def test_a_chain_of_headers_is_walked_up_to_its_bound(kinds: list[int], sizes: int) -> None:
    packet, following = datagram(b"x"), UDP
    for kind in reversed(kinds):
        body = b"\4\0" + bytes(4) if kind == ROUTING else b"\1\4" + bytes(4)
        more = b"" if kind == ROUTING else (b"\1\6" + bytes(6)) * sizes
        packet = bytes((following, len(more) // 8)) + body + more + packet
        following = kind
    net = network()
    net.send(ipv6(following, packet))
    fits = len(kinds) <= HEADERS_MAX and HOP_BY_HOP not in kinds[1:]
    assert arrived(net) == [b"x"] * fits
    assert sum(drops(net).values()) == (not fits)
    works(net)


@given(
    head=st.sampled_from((b"", b"\x60", b"\x60" + bytes(3))),
    data=st.binary(max_size=200),
    protocol=st.integers(0, 255),
)
@FEW
def test_any_bytes_are_counted_once(head: bytes, data: bytes, protocol: int) -> None:
    net = network()
    valid = ipv6(protocol, data)
    for frame in (ROUTER_MAC + GUEST_MAC + b"\x86\xdd" + head + data, valid):
        before = sum(drops(net).values())
        held = net.stack.fragments6._cost
        calls = len(net.host.calls)
        net.send(frame)
        counted = sum(drops(net).values()) - before
        fate = counted + (len(net.host.calls) > calls) + (net.stack.fragments6._cost != held)
        assert fate == 1 or net.stats.icmp_echo_replies or net.stats.tcp_resets_out, frame.hex()
    works(net)


@pytest.mark.parametrize("size", [65508, 65520, 65527])
def test_the_longest_datagrams(size: int) -> None:
    """IPv6 does not count its header, so they are longer than those of IPv4; there and back."""
    net = Net(config())
    net.host.serve_udp(WORLD6, 9, lambda payload, address, port: payload)
    know6(net)
    payload = Random(size).randbytes(size)
    net.send(*pieces(payload, [(at, min(at + 1232, 8 + size)) for at in range(0, 8 + size, 1232)]))
    assert arrived(net) == [payload]
    net.run(0.01)
    back = [bytes(frame)[54:] for frame in net.take()]
    assert all(piece[0] == UDP for piece in back)
    assert b"".join(piece[8:] for piece in back)[8:] == payload


def test_one_byte_more_is_too_much() -> None:
    net = network()
    first, last = fragment(0, datagram(b"")[:8], more=True), fragment(65528, bytes(8), more=False)
    net.send(first, last)
    assert drops(net) == {"drop_ipv6_header": 1}
