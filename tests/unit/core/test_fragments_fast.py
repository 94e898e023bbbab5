"""Fragments of a flow that has a fast path: the same as by the slow way, without copies, and given up in time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.core.fragments import LINK_BYTES, MAX_NEWER
from tests.support.harness import GUEST, WORLD, Net, eth, ip, ipv4, udp_segment
from tests.support.twins import Twins

MF, DF = 0x2000, 0x4000
STEP = 1480


def cut(
    payload: bytes, ident: int, *, step: int = STEP, sport: int = 5000, dport: int = 9, ttl: int = 64, flags: int = 0,
    proto: int = 17, source: bytes = GUEST, destination: bytes = WORLD, nosum: bool = False,
) -> list[bytes]:  # fmt: skip
    """A datagram in frames, as a guest's kernel sends it."""
    segment = udp_segment(payload, sport, dport, source, destination, nosum=nosum)
    frames = []
    for start in range(0, len(segment), step):
        piece = segment[start : start + step]
        more = MF if start + step < len(segment) else 0
        packet = ipv4(proto, piece, source=source, destination=destination, ttl=ttl, ident=ident,
                      fragment=flags | start >> 3 | more)  # fmt: skip
        frames.append(eth(packet))
    return frames


def carried(net: Net) -> list[bytes]:
    return [call.detail for call in net.calls("send_udp")]


class FragmentTwins(Twins):
    """Twins whose fragments are compared, too."""

    def compare(self) -> None:
        super().compare()
        fast, slow = self.nets
        assert fast.stack.fragments._cost == slow.stack.fragments._cost
        assert not fast.stack.fragments.dirty


@pytest.mark.parametrize("size", [1473, 2900, 2960, 8000, 8001, 60_000, 65_507])
def test_the_second_datagram_goes_the_fast_way(size: int) -> None:
    twins = FragmentTwins()
    payloads = [Random(number).randbytes(size) for number in range(4)]
    for number, payload in enumerate(payloads):
        twins.send(*cut(payload, number))
    fast = twins.nets[0]
    assert carried(fast) == payloads
    assert fast.stats.udp_fastpath == 3
    assert fast.stats.dropped() == 0


def test_fragments_one_by_one_and_buffers_that_are_used_again() -> None:
    """A frame may change after the flush: then what is kept of it has to be a copy."""
    twins = FragmentTwins()
    payloads = [Random(number).randbytes(5000) for number in range(3)]
    for number, payload in enumerate(payloads):
        for frame in cut(payload, number):
            buffer = bytearray(frame)
            twins.send(buffer)  # type: ignore[arg-type] # any buffer
            buffer[:] = b"\xee" * len(buffer)
    for net in twins.nets:
        assert carried(net) == payloads


@pytest.mark.parametrize("count", [2, 3])
def test_datagrams_whose_fragments_alternate_are_not_mixed(count: int) -> None:
    twins = FragmentTwins()
    twins.send(*cut(bytes(5000), 0))
    payloads = [bytes((number,)) * 5000 for number in range(1, count + 1)]
    frames = [cut(payload, number, nosum=True) for number, payload in enumerate(payloads, 1)]
    twins.send(*(frame for column in zip(*frames, strict=True) for frame in column))
    for net in twins.nets:
        assert carried(net)[1:] == payloads
    assert twins.nets[0].stats.udp_fastpath == count


def test_nothing_is_copied_within_a_batch() -> None:
    net = Net()
    net.send(*cut(bytes(5000), 1))
    buffers = [bytearray(frame) for frame in cut(bytes(5000), 2)]
    net.stack.tick(net.now)
    for buffer in buffers[:-1]:
        net.port.input(buffer)
    partial = net.stack.fragments._run
    assert partial is not None
    assert len(partial.pieces) == 3
    assert all(isinstance(piece, memoryview) for piece in partial.pieces)
    net.stack.flush(net.now)
    assert all(isinstance(piece, bytes) for piece in partial.pieces)
    assert net.stack.fragments._cost == partial.cost > sum(map(len, partial.pieces))


@pytest.mark.parametrize(
    "odd",
    [
        lambda frames: frames[::-1],
        lambda frames: [frames[0], frames[2], frames[1], frames[3]],
        lambda frames: [frames[0], frames[0], *frames[1:]],
        lambda frames: [frames[0], frames[1], frames[1], *frames[2:]],
        lambda frames: [*frames, frames[-1]],
        lambda frames: frames[:-1],
        lambda frames: frames[1:],
        lambda frames: [*frames[:2], frames[2][:-1] + b"!", frames[3]],
        lambda frames: [frames[0][:24] + b"\0\0" + frames[0][26:], *frames[1:]],
        lambda frames: [frames[0], frames[1][:24] + b"\0\0" + frames[1][26:], *frames[2:]],
        lambda frames: [frames[0], frames[1][:-100], *frames[2:]],
        lambda frames: [frame[:6] + bytes.fromhex("525400000099") + frame[12:] for frame in frames],
        lambda frames: [frames[0], frames[1][:6] + bytes.fromhex("525400000099") + frames[1][12:], *frames[2:]],
        lambda frames: [frames[0], b"\xff" * 6 + frames[1][6:], *frames[2:]],
        lambda frames: cut(b"other ttl" * 500, 77, ttl=9),
        lambda frames: cut(b"ttl 1" * 1000, 77, ttl=1),
        lambda frames: cut(b"other port" * 500, 77, dport=10),
        lambda frames: cut(b"DF" * 2000, 77, flags=DF),
        lambda frames: cut(b"nosum" * 1000, 77, nosum=True),
        lambda frames: cut(b"ICMP" * 1000, 77, proto=1),
        lambda frames: cut(b"tiny" * 100, 77, step=8),
        lambda frames: [*frames[:2], *cut(b"same number" * 400, 77)],
        lambda frames: [frames[0], eth(ipv4(17, bytes(7), ident=77, fragment=MF | 185)), *frames[1:]],
        lambda frames: [frames[0], eth(ipv4(17, b"", ident=77, fragment=185)), *frames[1:]],
        lambda frames: [*frames[:3], eth(ipv4(17, bytes(8), ident=77, fragment=8189)), frames[3]],
        lambda frames: [frames[0], frames[1], eth(ipv4(17, bytes(64), ident=77, fragment=300))],
    ],
)
def test_odd_fragments_take_the_slow_path(odd: object) -> None:
    twins = FragmentTwins()
    twins.send(*cut(bytes(5000), 1))
    twins.send(*cut(bytes(5000), 2))
    assert twins.nets[0].stats.udp_fastpath == 1
    frames = odd(cut(Random(1).randbytes(5000), 77))  # type: ignore[operator] # one of several functions
    twins.send(*frames)
    twins.send(*cut(bytes(5000), 78))
    for frame in frames:
        twins.send(frame)
    twins.send(*cut(bytes(5000), 79))
    for net in twins.nets:
        net.run(31)
    twins.compare()


def test_a_length_that_is_not_the_whole_s_is_judged_by_the_slow_way() -> None:
    twins = FragmentTwins()
    twins.send(*cut(bytes(3000), 1))
    segment = udp_segment(b"short", 5000, 9) + bytes(2000)  # a datagram of 13 bytes, and something behind it
    for ident in (2, 3):
        twins.send(
            eth(ipv4(17, segment[:STEP], ident=ident, fragment=MF)),
            eth(ipv4(17, segment[STEP:], ident=ident, fragment=STEP >> 3)),
        )
    assert carried(twins.nets[0])[1:] == [b"short"] * 2


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_any_fragments(seed: int) -> None:
    random = Random(seed)
    twins = FragmentTwins()
    ident = 0
    for _ in range(6):
        frames: list[bytes] = []
        for _ in range(random.randrange(6)):
            ident += random.choice((1, 1, 1, 0))
            size = random.choice((1472, 1473, 2900, 2901, 6000))
            more = cut(random.randbytes(size), ident, step=random.choice((STEP, STEP, 800, 1000)),
                       dport=random.choice((9, 9, 9, 10)), ttl=random.choice((64, 64, 64, 2, 1)))  # fmt: skip
            chance = random.random()
            if chance < 0.2:
                random.shuffle(more)
            elif chance < 0.4:
                del more[random.randrange(len(more))]
            elif chance < 0.5:
                more.insert(random.randrange(len(more)), random.choice(more))
            at = random.randrange(len(frames) + 1) if random.random() < 0.2 else len(frames)
            frames[at:at] = more
        twins.send(*frames)
    for net in twins.nets:
        net.run(40)
    twins.compare()


# ------------------------------------------------------------------------------------------------- given up


def test_an_unfinished_packet_is_given_up_after_64_newer_ones() -> None:
    net = Net()
    first, second = cut(b"a" * 2000, 1)
    net.send(first)
    for ident in range(2, 1 + MAX_NEWER):
        net.send(*cut(b"b" * 2000, ident))
    assert len(net.stack.fragments) == 1
    assert net.stats.drop_fragment_overtaken == 0
    net.send(*cut(b"b" * 2000, 1 + MAX_NEWER))
    assert len(net.stack.fragments) == 0
    assert net.stats.drop_fragment_overtaken == 1
    net.send(second)
    assert b"a" * 2000 not in carried(net)
    assert len(carried(net)) == MAX_NEWER


def test_numbers_that_come_round_meet_no_remainders() -> None:
    """RFC 4963: one fragment of each lost packet stays; the next packet of its number must not meet it."""
    net = Net()
    for ident in range(3 * 200):
        frames = cut(bytes([ident & 255]) * 2000, ident % 200)
        net.send(*(frames[:1] if ident < 200 else frames))
    assert len(carried(net)) == 400
    assert net.stats.drop_fragment_bad == 0
    assert net.stats.drop_fragment_overtaken == 200
    assert len(net.stack.fragments) == 0


def test_another_sender_does_not_count() -> None:
    other, other_mac = ip("10.0.2.16"), bytes.fromhex("525400123457")
    net = Net()
    first, second = cut(b"a" * 2000, 1)
    net.send(first)
    for ident in range(200):
        net.send(*(frame[:6] + other_mac + frame[12:] for frame in cut(b"b" * 2000, ident, source=other)))
    net.send(second)
    assert carried(net)[-1] == b"a" * 2000
    assert net.stats.drop_fragment_overtaken == 0


@pytest.mark.long
def test_losses_in_a_fast_stream_hold_little_and_spoil_nothing() -> None:
    """40 pieces a packet and one in a hundred lost: what waits stays far from the bound, and the rest arrives."""
    net = Net()
    random = Random(5)
    lost = 0
    for ident in range(400):
        frames = cut(bytes([ident & 255]) * 60_000, ident)
        if random.random() < 0.3:
            del frames[random.randrange(len(frames))]
            lost += 1
        net.send(*frames)
        assert len(net.stack.fragments) <= MAX_NEWER
        assert net.stack.fragments._cost <= LINK_BYTES
    assert lost > 80
    assert len(carried(net)) == 400 - lost


def test_one_alarm_for_all() -> None:
    net = Net()
    for ident in range(60):
        net.send(cut(bytes(2000), ident)[0])
        net.run(0.1)
    before = net.timer()
    assert before <= 2
    net.run(24.1)
    assert net.stats.drop_fragment_timeout == 2  # those of the first and second tenth
    net.run(6.1)
    assert net.stats.drop_fragment_timeout == 60
    assert len(net.stack.fragments) == 0


# ------------------------------------------------------------------------------------------ to guests


def test_fragments_to_guests() -> None:
    """Headers and padding are right (``take`` verifies them), and each guest has identifications of its own."""
    other, other_mac = ip("10.0.2.16"), bytes.fromhex("525400123457")
    net = Net()
    wire = net.attach()
    net.know()
    net.know(address=other, mac=other_mac, wire=wire)
    numbers: dict[bytes, list[int]] = {GUEST: [], other: []}
    for round_number, size in enumerate((1473, 2953, 1480, 65_507, 2900)):
        payload = Random(round_number).randbytes(size)
        for address, link in ((GUEST, net.wire), (other, wire)):
            net.stack.send_datagrams(WORLD, 9, address, 5000, [payload, payload])
            net.stack.flush(net.now)
            frames = [bytes(frame.data) for frame in net.take(link)]
            bodies = [frame[20 : int.from_bytes(frame[2:4], "big")] for frame in frames]
            assert b"".join(bodies) == udp_segment(payload, 9, 5000, WORLD, address) * 2
            assert {frame[6] & 0x40 for frame in frames} == {0}
            numbers[address] += dict.fromkeys(int.from_bytes(frame[4:6], "big") for frame in frames)
    for used in numbers.values():
        assert [(number - used[0]) & 0xFFFF for number in used] == list(range(10))


def test_fragments_wait_for_a_link_without_room() -> None:
    """Payloads are views of the datagram, which is kept."""
    net = Net()
    net.know()
    net.wire.room = 1
    payload = bytes(range(256)) * 20
    net.stack.send_datagrams(WORLD, 9, GUEST, 5000, [payload])
    net.stack.flush(net.now)
    assert len(net.take()) == 1
    net.wire.give(None)
    net.stack.flush(net.now)
    assert len(net.take()) == 3
