"""Reassembly: any order, no overlaps, bounded in bytes, pieces and time."""

from __future__ import annotations

import itertools
from random import Random

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.core import fragments as module
from slirpy.core import partial as partial_module
from tests.support.harness import (
    BROADCAST,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
    udp_segment,
    unreachable,
)

MF = 0x2000


def pieces(
    whole: bytes,
    cuts: list[int],
    *,
    source: bytes = GUEST,
    destination: bytes = WORLD,
    ident: int = 77,
    proto: int = 17,
) -> list[bytes]:
    """Fragments of an IP payload, cut at multiples of eight."""
    edges = [0, *[cut * 8 for cut in cuts], len(whole)]
    out = []
    for start, end in itertools.pairwise(edges):
        more = MF if end < len(whole) else 0
        fragment = start // 8 | more
        packet = ipv4(
            proto, whole[start:end], source=source, destination=destination, ident=ident, fragment=fragment
        )
        out.append(eth(packet))
    return out


def held(net: Net) -> int:
    return len(net.stack.fragments)


def quiet(net: Net) -> bool:
    fragments = net.stack.fragments
    shares = list(fragments._shares.values())
    empty = not any(
        share.partial or share.cost or any(s.partial for s in share.senders.values()) for share in shares
    )
    return held(net) == 0 and fragments._cost == 0 and not fragments.dirty and empty and len(shares) <= 1


def carried(net: Net) -> list[bytes]:
    return [call.detail for call in net.calls("send_udp")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_every_order(order: tuple[int, ...]) -> None:
    net = Net()
    payload = bytes(range(256)) * 8
    parts = pieces(udp_segment(payload, 5000, 9), [30, 100, 200])
    for number in order:
        assert carried(net) == []
        net.send(parts[number])
    assert carried(net) == [payload]
    assert quiet(net)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_any_order_with_repeats(data: st.DataObject) -> None:
    net = Net()
    size = data.draw(st.integers(9, 4000))
    payload = bytes(i * 7 & 255 for i in range(size))
    whole = udp_segment(payload, 5000, 9)
    cuts = sorted(data.draw(st.sets(st.integers(1, (len(whole) - 1) // 8), min_size=1, max_size=12)))
    parts = data.draw(st.permutations(pieces(whole, cuts)))
    last = parts[-1]
    for part in parts[:-1]:
        net.send(part, part)
    assert carried(net) == []
    net.send(last)
    assert carried(net) == [payload]
    assert net.stats.dropped() == net.stats.drop_fragment_duplicate == len(parts) - 1
    assert quiet(net)


def test_largest_datagram() -> None:
    net = Net()
    payload = bytes(65507)
    net.send(*pieces(udp_segment(payload, 5000, 9), list(range(185, 8189, 185))))
    assert carried(net) == [payload]


def test_an_echo_in_fragments_is_answered_in_fragments() -> None:
    net = Net()
    message = icmp_echo(bytes(5000))
    net.send(*reversed(pieces(message, [185, 370, 555], destination=GATEWAY, proto=1)))
    frames = net.take()
    offsets = [int.from_bytes(bytes(f.data)[6:8], "big") for f in frames]
    assert offsets == [MF, MF | 185, MF | 370, 555]
    assert len({f.data.id for f in frames}) == 1
    body = b"".join(bytes(f.data)[20 : int.from_bytes(bytes(f.data)[2:4], "big")] for f in frames)
    assert body[4:] == message[4:]


def test_packets_are_kept_apart_by_source_destination_protocol_and_number() -> None:
    net = Net()
    whole = udp_segment(bytes(100), 5000, 9)
    first, _ = pieces(whole, [8])
    for other in (
        pieces(whole, [8], ident=78)[1],
        pieces(whole, [8], destination=ip("198.51.100.8"))[1],
        pieces(whole, [8], proto=6)[1],
        eth(ipv4(17, whole[64:], source=ip("10.0.2.16"), ident=77, fragment=8)),
    ):
        net.send(other)
    net.send(first)
    assert carried(net) == []
    assert held(net) == 5


@pytest.mark.parametrize(
    "bad",
    [
        (56, 64, True),  # the tail of what is there
        (0, 72, True),  # covers it
        (8, 16, True),  # inside
        (0, 64, True),  # the same place, other bytes
        (40, 48, False),  # an end before what is there
    ],
)
def test_overlaps_end_the_packet(bad: tuple[int, int, bool]) -> None:
    net = Net()
    whole = udp_segment(bytes(120), 5000, 9)
    first, second = pieces(whole, [8])
    start, end, more = bad
    net.send(first)
    net.send(eth(ipv4(17, b"\xaa" * (end - start), ident=77, fragment=start // 8 | (MF if more else 0))))
    assert quiet(net)
    assert net.stats.drop_fragment_bad == 2
    net.send(second)
    assert carried(net) == []


def test_beyond_the_end_and_two_ends() -> None:
    for fragment in (20, 20 | MF, 8, 2):
        net = Net()
        whole = udp_segment(bytes(120), 5000, 9)
        net.send(pieces(whole, [8])[1])
        net.send(eth(ipv4(17, bytes(16), ident=77, fragment=fragment)))
        assert quiet(net)
        assert net.stats.drop_fragment_bad == 2


def test_a_second_end_that_agrees_with_nothing() -> None:
    net = Net()
    net.send(eth(ipv4(17, bytes(8), ident=77, fragment=20)))
    net.send(eth(ipv4(17, bytes(8), ident=77, fragment=4)))  # no overlap, yet it says that it is the last
    assert quiet(net)
    assert net.stats.drop_fragment_bad == 2


def test_a_last_fragment_before_known_data_is_bad() -> None:
    net = Net()
    net.send(eth(ipv4(17, bytes(64), ident=77, fragment=8 | MF)))
    net.send(eth(ipv4(17, bytes(16), ident=77, fragment=2)))
    assert quiet(net)
    assert net.stats.drop_fragment_bad == 2


@pytest.mark.parametrize(
    ("size", "fragment"),
    [
        (0, MF),
        (0, 8),
        (7, MF),  # not a multiple of eight
        (65, MF | 5),
        (8, 0x1FFF),  # 65528 + 8 + header
        (24, 8188),
        (16, 8189 | MF),
    ],
)
def test_impossible_fragments(size: int, fragment: int) -> None:
    net = Net()
    net.send(eth(ipv4(17, bytes(size), ident=77, fragment=fragment)))
    assert net.stats.drop_fragment_bad == 1
    assert quiet(net)


def test_thirty_seconds() -> None:
    net = Net()
    first, second, third = pieces(udp_segment(bytes(120), 5000, 9), [4, 8])
    net.send(first)
    net.run(20)
    net.send(second)
    net.run(9.9)
    assert held(net) == 1
    net.run(0.2)
    assert quiet(net)
    assert net.stats.drop_fragment_timeout == 2
    net.send(third)
    assert carried(net) == []


def test_memory_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINK_BYTES", 20_000)
    net = Net()
    for ident in range(100):
        net.send(eth(ipv4(17, bytes(1000), ident=ident, fragment=MF)))
        assert net.stack.fragments._cost <= 20_000
    assert held(net) == 20_000 // (1000 + partial_module.PIECE_COST + partial_module.PACKET_COST) == 9
    assert net.stats.drop_fragment_limit == 91
    whole = udp_segment(bytes(1500), 5000, 9)
    net.send(*pieces(whole, [125], ident=200))
    assert carried(net) == [bytes(1500)]


def test_small_fragments_count_with_their_overhead() -> None:
    net = Net()
    for ident in range(20_000):
        source = bytes((10, 0, 2, 20 + ident % 200))  # of each so few that they are not given up for their age
        net.send(eth(ipv4(17, bytes(8), source=source, ident=ident, fragment=MF)))
    assert held(net) == (1 << 20) // (8 + partial_module.PIECE_COST + partial_module.PACKET_COST)
    assert net.stats.drop_fragment_limit == 20_000 - held(net)


def test_pieces_of_one_packet_are_bounded() -> None:
    net = Net()
    for number in range(1400):
        net.send(eth(ipv4(17, bytes(8), ident=77, fragment=MF | (number * 2))))
    assert net.stats.drop_fragment_limit == 1367
    assert held(net) == 1  # what came after began anew


def test_alarms_of_finished_packets_do_not_pile_up() -> None:
    net = Net()
    for ident in range(5000):
        whole = udp_segment(bytes(20), 5000, 9)
        net.send(*pieces(whole, [2], ident=ident))
    assert quiet(net)
    assert net.timer() <= 1025
    assert len(carried(net)) == 5000


def test_the_checksum_of_the_whole_is_checked_even_when_the_link_vouches_for_each() -> None:
    net = Net(checksummed=True)
    whole = bytearray(udp_segment(bytes(120), 5000, 9))
    whole[100] ^= 1
    net.send(*pieces(bytes(whole), [8]))
    assert carried(net) == []
    assert net.stats.drop_udp_checksum == 1


def test_options_of_the_first_fragment_count() -> None:
    net = Net()
    whole = udp_segment(b"z" * 100, 5000, 9)
    net.send(eth(ipv4(17, whole[64:], ident=5, fragment=8)))
    net.send(eth(ipv4(17, whole[:64], ident=5, fragment=MF, options=b"\1\1\1\0")))
    assert carried(net) == [b"z" * 100]


def test_guest_is_learnt_from_fragments() -> None:
    net = Net()
    net.send(eth(ipv4(17, bytes(8), ident=5, fragment=MF)))
    assert [n.address for n in net.stack.neighbors.known()] == [GUEST]


# ------------------------------------------------------------------------------------ sizes at the edge


def test_the_smallest_mtu_in_any_order() -> None:
    net = Net()
    payload = bytes(i * 7 & 255 for i in range(65507))
    parts = pieces(udp_segment(payload, 5000, 9), list(range(6, 8190, 6)))
    assert len(parts) == 1365
    Random(3).shuffle(parts)
    net.send(*parts)
    assert carried(net) == [payload]
    assert net.stats.dropped() == 0


def test_a_last_fragment_of_one_byte() -> None:
    net = Net()
    whole = udp_segment(bytes(57), 5000, 9)
    assert len(whole) % 8 == 1
    net.send(*reversed(pieces(whole, [4, 8])))
    assert carried(net) == [bytes(57)]


def test_fragments_of_one_byte_are_no_fragments() -> None:
    net = Net()
    for offset in range(100):
        net.send(eth(ipv4(17, b"x", ident=77, fragment=MF | offset)))
    assert net.stats.drop_fragment_bad == 100
    assert quiet(net)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_tiny_first_fragment_hides_nothing(backwards: bool) -> None:
    """RFC 1858: the ports alone come first, the flags later. Nothing is looked at before all of it is here."""
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    segment = peer.frame(SYN, opts=options())[34:]
    parts = pieces(segment, [1, 2, 3], proto=6)
    net.send(*(reversed(parts) if backwards else parts))
    net.run(0.01)
    peer.one(SYN | 16)


@pytest.mark.parametrize(("last", "fits"), [(19, True), (20, False)])
def test_the_first_header_counts_for_the_whole(last: int, fits: bool) -> None:
    """Later fragments may have shorter headers than the first: together they may still be too long."""
    net = Net()
    end = 65456
    assert 60 + end + 19 == 65535
    net.send(eth(ipv4(253, bytes(64), ident=5, fragment=MF, options=b"\1" * 40)))
    for start in range(64, end, 1480):
        piece = bytes(min(1480, end - start))
        net.send(eth(ipv4(253, piece, ident=5, fragment=MF | start >> 3)))
    net.send(eth(ipv4(253, bytes(last), ident=5, fragment=end >> 3)))
    assert quiet(net)
    assert (net.stats.drop_ip_protocol, net.stats.drop_fragment_bad) == ((1, 0) if fits else (0, 47))


# ------------------------------------------------------------------------------------------------ reports


@pytest.mark.parametrize("length", [20, 40])
def test_the_whole_has_a_header_that_is_right(length: int) -> None:
    net = Net()
    body = bytes(3000)
    opts = b"\1" * (length - 20)
    net.send(eth(ipv4(253, body[1480:], ident=5, fragment=185)))
    net.send(eth(ipv4(253, body[:1480], ident=5, fragment=MF, options=opts)))
    quoted = unreachable(net.one(), 2)
    assert len(quoted) == 548
    assert rfc1071(quoted[:length]) == 0
    header = dpkt.ip.IP(quoted)
    assert (header.len, header.mf, header.offset, header.id, header.hl * 4) == (length + 3000, 0, 0, 5, length)


def test_reassembly_timeout_is_reported_if_the_first_fragment_arrived() -> None:
    """RFC 1122, section 3.3.2."""
    net = Net()
    first, second, third = pieces(udp_segment(bytes(120), 5000, 9), [4, 8])
    net.send(third, first)
    net.run(29.9)
    net.silence()
    net.run(0.2)
    assert unreachable(net.one(), 1, kind=11) == first[14:66]
    net.send(second, third)  # without the first
    net.run(31)
    net.silence()
    to_all = ip("255.255.255.255")
    net.send(eth(ipv4(17, bytes(8), destination=to_all, fragment=MF), destination=BROADCAST))
    net.run(31)
    net.silence()
    assert net.stats.drop_fragment_timeout == 5


# ---------------------------------------------------------------------------------- guests among each other


OTHER, OTHER_MAC = ip("10.0.2.16"), bytes.fromhex("525400123457")


def test_fragments_of_two_links_are_not_put_together() -> None:
    net = Net()
    wire = net.attach()
    first, second = pieces(udp_segment(bytes(120), 5000, 9), [8])
    net.send(first)
    net.run(5)  # or it would not be believed at all
    net.send(second[:6] + OTHER_MAC + second[12:], wire=wire)  # another guest, in the name of the first
    assert carried(net) == []
    assert held(net) == 2
    net.send(second)
    assert carried(net) == [bytes(120)]


def test_a_flood_does_not_evict_fragments_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINK_BYTES", 40_000)
    monkeypatch.setattr(module, "MAX_BYTES", 60_000)
    net = Net()
    wire = net.attach()
    net.send(arp(2, sender=OTHER, sender_mac=OTHER_MAC, to=GATEWAY_MAC), wire=wire)
    first, second = pieces(udp_segment(b"other" * 20, 5000, 9, OTHER), [8], source=OTHER)
    as_other = [frame[:6] + OTHER_MAC + frame[12:] for frame in (first, second)]
    net.send(as_other[0], wire=wire)
    for ident in range(200, 400):
        net.send(eth(ipv4(17, bytes(1000), ident=ident, fragment=MF)))
    net.send(as_other[1], wire=wire)
    assert carried(net) == [b"other" * 20]
    # And when both hold much, it goes by who holds more.
    for ident in range(200, 300):
        flood = ipv4(17, bytes(1000), source=OTHER, ident=ident, fragment=MF)
        net.send(eth(flood, source=OTHER_MAC), wire=wire)
        assert net.stack.fragments._cost <= 60_000
    shares = [share.cost for share in net.stack.fragments._shares.values()]
    assert len(shares) == 2
    assert max(shares) - min(shares) <= 2 * 2152


def test_many_links_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them holds much, and the bound is never exceeded, not even while a packet is added."""
    net = Net()
    net.send(eth(ipv4(17, bytes(8), fragment=MF)))
    one = net.stack.fragments._cost
    limit = 9 * one + partial_module.PACKET_COST // 2
    monkeypatch.setattr(module, "MAX_BYTES", limit)
    monkeypatch.setattr(module, "LINK_BYTES", 8 * one)
    most = 0
    begin = module.Fragments._begin

    def watched(self: module.Fragments, partial: partial_module.Partial) -> None:
        nonlocal most
        begin(self, partial)
        most = max(most, self._cost)

    monkeypatch.setattr(module.Fragments, "_begin", watched)
    net = Net()
    for number in range(2, 8):
        wire = net.attach()
        address, mac = bytes((10, 0, 2, 100 + number)), b"\2\0\0\0\0" + bytes((number,))
        net.send(arp(2, sender=address, sender_mac=mac, to=GATEWAY_MAC), wire=wire)
        for ident in range(3):
            frame = eth(ipv4(17, bytes(8), source=address, ident=ident, fragment=MF), source=mac)
            net.send(frame, wire=wire)
    assert net.stack.fragments._cost == 9 * one
    assert most <= limit


def test_a_guest_that_left_leaves_nothing() -> None:
    net = Net()
    net.send(eth(ipv4(17, bytes(8), fragment=MF)))
    net.stack.detach(net.port)
    net.run(31)
    assert quiet(net)
