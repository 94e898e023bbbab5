"""The engine's parts, each against a model that is too simple to be wrong."""

from __future__ import annotations

import itertools
from random import Random

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.interfaces import Buffer
from slirpy.tcp import options
from slirpy.tcp.congestion import Reno
from slirpy.tcp.delivery import copy_views
from slirpy.tcp.reassembly import MAX_RANGES, SMALL, Reassembly
from slirpy.tcp.rtt import MAX_RTO, MIN_RTO, RtoEstimator
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.tcp.seq import MASK, seq_ge, seq_gt, seq_le, seq_lt
from slirpy.units import MS

u32 = st.integers(0, MASK)


@pytest.mark.rfc("9293", "3.4")
@given(u32, st.integers(1, 0x7FFFFFFF))
def test_sequence_numbers_are_ordered_across_the_wrap(a: int, distance: int) -> None:
    b = (a + distance) & MASK
    assert seq_lt(a, b)
    assert seq_le(a, b)
    assert seq_gt(b, a)
    assert seq_ge(b, a)
    assert not seq_lt(b, a)
    assert not seq_le(b, a)
    assert not seq_gt(a, b)
    assert not seq_ge(a, b)
    assert seq_le(a, a)
    assert seq_ge(a, a)
    assert not seq_lt(a, a)
    assert not seq_gt(a, a)


# ------------------------------------------------------------------------------------------ options


@pytest.mark.rfc("9293", "MUST-68")
@pytest.mark.rfc("9293", "MUST-69")
@given(
    st.none() | st.integers(0, 65535),
    st.none() | st.integers(0, 14),
    st.booleans(),
    st.none() | st.tuples(u32, u32),
)
def test_options_come_back_and_dpkt_agrees(
    mss: int | None, wscale: int | None, permitted: bool, timestamps: tuple[int, int] | None
) -> None:
    data = options.build(mss=mss, wscale=wscale, sack_permitted=permitted, timestamps=timestamps)
    assert len(data) % 4 == 0
    assert options.parse(data) == options.TcpOptions(mss, wscale, permitted, timestamps, bad=mss == 0)
    judged = dict(dpkt.tcp.parse_opts(data))
    assert judged.get(dpkt.tcp.TCP_OPT_MSS) == (None if mss is None else mss.to_bytes(2, "big"))
    assert judged.get(dpkt.tcp.TCP_OPT_WSCALE) == (None if wscale is None else bytes([wscale]))
    assert (dpkt.tcp.TCP_OPT_SACKOK in judged) == permitted
    assert (dpkt.tcp.TCP_OPT_TIMESTAMP in judged) == (timestamps is not None)


@given(st.lists(st.tuples(u32, u32), min_size=1, max_size=3), st.tuples(u32, u32))
def test_sack_blocks_come_back(blocks: list[tuple[int, int]], timestamps: tuple[int, int]) -> None:
    data = options.build(timestamps=timestamps, sack=blocks)
    assert len(data) <= 40
    assert options.parse(data) == options.TcpOptions(timestamps=timestamps, sack=tuple(blocks))


@given(
    st.tuples(*map(st.integers, [0] * 4, [0xFFFF, MASK, MASK, 0xFF])),
    st.none() | st.tuples(st.integers(0, 19), st.integers(0, 255)),
)
def test_the_usual_options_of_a_syn_are_read_as_any_others(
    values: tuple[int, int, int, int], change: tuple[int, int] | None
) -> None:
    mss, value, echo, shift = values
    numbers = value.to_bytes(4, "big") + echo.to_bytes(4, "big")
    data = bytearray(b"\2\4" + mss.to_bytes(2, "big") + b"\4\2\x08\x0a" + numbers + b"\1\3\3" + bytes((shift,)))
    if change is not None:
        data[change[0]] = change[1]
    assert options.parse(data) == options.parse(data + bytes(4))  # of another length, so read one by one


def test_the_usual_options_of_a_syn_are_written_as_any_others() -> None:
    usual = options.build(mss=1460, sack_permitted=True, timestamps=(1, 2), wscale=7)
    assert usual == bytes.fromhex("020405b40402080a000000010000000201030307")
    more = options.build(mss=1460, sack_permitted=True, timestamps=(1, 2), wscale=7, sack=((3, 4),))
    assert more == usual + bytes.fromhex("0101050a0000000300000004")


@pytest.mark.rfc("9293", "MUST-7")
@given(st.binary(max_size=44))
def test_any_bytes_are_options_of_some_kind(data: bytes) -> None:
    parsed = options.parse(data)
    assert parsed.wscale is None or 0 <= parsed.wscale <= 14


@pytest.mark.rfc("9293", "MUST-7")
def test_impossible_lengths_end_the_options() -> None:
    bad = options.NONE._replace(bad=True)
    assert options.parse(b"\x02\x00\x05\xb4") == bad
    assert options.parse(b"\x02\x04\x05") == bad
    assert options.parse(b"\x02") == bad
    assert options.parse(b"\x01\x00\x02\x04\x05\xb4") == options.NONE
    assert options.parse(b"\xfe\x04zz\x02\x04\x05\xb4").mss == 1460  # unknown ones are skipped
    assert options.parse(b"\x03\x03\xff").wscale == 14


# -------------------------------------------------------------------------------------- send buffer


@given(st.data())
def test_the_send_buffer_is_a_slice_of_the_written_data(data: st.DataObject) -> None:
    buf = SendBuffer()
    written = b""
    acked = sent = 0
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["append", "take", "ack", "rewind", "peek"]))
        if action == "append":
            size = data.draw(st.sampled_from([0, 1, 7, 1000, 5000]))
            chunk = bytes((len(written) + i) & 0xFF for i in range(size))
            if chunk:
                buf.append(chunk)
                written += chunk
        elif action == "take":
            count = data.draw(st.integers(0, len(written) - sent))
            assert b"".join(buf.take(count)) == written[sent : sent + count]
            sent += count
        elif action == "ack":
            count = data.draw(st.integers(0, len(written) - acked))
            buf.acknowledge(count)
            acked += count
            sent = max(sent, acked)
        elif action == "rewind":
            buf.rewind()
            sent = acked
        else:
            count = data.draw(st.integers(0, len(written) - acked))
            assert b"".join(buf.peek(count)) == written[acked : acked + count]
        assert buf.length == len(written) - acked
        assert buf.sent == sent - acked


def test_send_buffer_slices_without_copies() -> None:
    buf = SendBuffer()
    chunk = bytes(100_000)
    buf.append(chunk)
    (part,) = buf.take(100_000)
    assert part is chunk
    buf.rewind()
    (part,) = buf.take(1000)
    assert isinstance(part, memoryview)
    assert part.obj is chunk


# --------------------------------------------------------------------------------------- reassembly


@given(u32, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), max_size=30))
def test_reassembly_is_a_set_of_bytes(start: int, pieces: list[tuple[int, int]]) -> None:
    content = bytes(i & 0xFF for i in range(400))
    queue = Reassembly()
    have: set[int] = set()
    for offset, length in pieces:
        assert queue.insert(start, (start + offset) & MASK, memoryview(content)[offset : offset + length])
        have.update(range(offset, offset + length))
        assert queue.size == len(have)
    ranges = [((a - start) & MASK, (b - start) & MASK) for a, b in queue.ranges()]
    assert sorted(i for a, b in ranges for i in range(a, b)) == sorted(have)
    assert all(b not in have for _, b in ranges), "ranges are as long as they can be"
    got = b"".join(queue.take(start))
    run = next(i for i in range(401) if i not in have)
    assert got == content[:run]
    assert queue.size == len(have) - run


def test_reassembly_has_a_bound() -> None:
    queue = Reassembly()
    for i in range(MAX_RANGES):
        assert queue.insert(0, 10 + 2 * i, b"x")
    assert not queue.insert(0, 10 + 2 * MAX_RANGES, b"x")
    assert queue.insert(0, 10, b"x"), "what is there already needs no room"
    assert queue.size == MAX_RANGES


@pytest.mark.rfc("9293", "3.10.7.4")
def test_the_first_copy_of_a_byte_wins() -> None:
    queue = Reassembly()
    queue.insert(0, 5, b"first")
    queue.insert(0, 3, b"XXXXXXXXX")
    assert b"".join(queue.take(3)) == b"XXfirstXX"


def test_queued_pieces_delivered_meanwhile_are_discarded() -> None:
    queue = Reassembly()
    queue.insert(0, 5, b"abc")
    queue.insert(0, 10, b"d" * 600)
    queue.insert(0, 610, b"e" * 600)
    queue.insert(0, 2000, b"f")
    assert queue.take(4) == []
    assert queue.take(620) == [b"e" * 590]
    assert (queue.size, len(queue)) == (1, 1)
    assert queue.take(2001) == []
    assert (queue.size, len(queue)) == (0, 0)


def test_contiguous_segments_are_one_range_however_many_they_are() -> None:
    queue = Reassembly()
    for n in range(2000):
        assert queue.insert(0, 1448 * (n + 1), bytes(1448))
    assert queue.ranges() == [(1448, 1448 * 2001)]
    assert sum(map(len, queue.take(1448))) == queue.size + 1448 * 2000


@pytest.mark.parametrize("order", [range(4000), range(3999, -1, -1)])
def test_small_segments_cost_few_objects(order: range) -> None:
    queue = Reassembly()
    for n in order:
        assert queue.insert(0, n + 5, b"x")
    assert len(queue.take(5)) <= 4000 // 256


def test_a_hole_has_a_length() -> None:
    queue = Reassembly()
    queue.insert(12, 15, b"first")
    queue.insert(12, 13, b"XXXXXXXXX")
    assert queue.hole(12) == 1
    assert queue.take(14) == [b"XfirstXX"]
    assert queue.hole(22) == -1


@given(u32, st.lists(st.tuples(st.integers(0, 12_000), st.integers(1, 5000)), max_size=25))
def test_reassembly_is_the_first_copy_of_each_byte(start: int, pieces: list[tuple[int, int]]) -> None:
    queue = Reassembly()
    model: dict[int, int] = {}
    for number, (offset, length) in enumerate(pieces):
        overlap = queue.overlap(start, (start + offset) & MASK, length)
        common = [i for i in range(offset, offset + length) if i in model]
        if not common:
            assert overlap is None
        else:
            end = next((i for i in range(common[0], offset + length) if i not in model), offset + length)
            assert overlap == ((start + common[0]) & MASK, (start + end) & MASK)
        assert queue.insert(start, (start + offset) & MASK, memoryview(bytes([number]) * length))
        for i in range(offset, offset + length):
            model.setdefault(i, number)
        assert queue.size == len(model)
        for held in queue._pieces:
            assert all(len(a) + len(b) > SMALL for a, b in itertools.pairwise(held))
    at = 0
    while model:
        assert queue.hole((start + at) & MASK) == min(model) - at
        at = min(model)
        data = b"".join(queue.take((start + at) & MASK))
        assert data == bytes(model.pop(i) for i in range(at, at + len(data)))
        at += len(data)
    assert (queue.size, len(queue), queue.hole((start + at) & MASK)) == (0, 0, -1)


# ------------------------------------------------------------------------------------ rtt, congestion


@pytest.mark.rfc("6298", "2.2")
@pytest.mark.rfc("6298", "2.3")
def test_rto_by_the_rfcs_arithmetic() -> None:
    rtt = RtoEstimator()
    assert rtt.rto == 1000 * MS
    rtt.sample(800 * MS)
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (800 * MS, 400 * MS, 2400 * MS)
    rtt.sample(400 * MS)
    assert (rtt.srtt, rtt.rttvar) == (750 * MS, 400 * MS)
    rtt.back_off()
    assert rtt.rto == 2 * (750 + 1600) * MS
    for _ in range(100):
        rtt.back_off()
    assert rtt.rto == MAX_RTO


@given(st.lists(st.integers(0, 10**12), max_size=50))
def test_rto_stays_within_its_bounds(samples: list[int]) -> None:
    rtt = RtoEstimator()
    for sample in samples:
        rtt.sample(sample)
        assert MIN_RTO <= rtt.rto <= MAX_RTO


def test_reno() -> None:
    cc = Reno(1000)
    assert cc.cwnd == 10_000  # RFC 6928: ten segments of this size
    assert Reno(1460).cwnd == 14_600
    assert Reno(65_000).cwnd == 130_000
    cc.on_ack(3000, 0, 0, 0)
    assert cc.cwnd == 13_000
    cc.on_loss(12_000)
    assert (cc.ssthresh, cc.cwnd) == (6000, 6000)
    for _ in range(6):
        cc.on_ack(1000, 0, 0, 0)
    assert 6900 <= cc.cwnd <= 7100  # a segment a round trip
    cc.on_timeout(7000)
    assert (cc.ssthresh, cc.cwnd) == (3500, 1000)


def test_reassembly_returns_only_data_after_the_delivered_part() -> None:
    """Pieces that are delivered already, by another way, are thrown away whole, and the next one in part."""
    queue = Reassembly()
    data = Random(5).randbytes(12_000)
    for at in range(0, len(data), 4000):
        assert queue.insert(100, 100 + at, data[at : at + 4000])
    assert (len(queue), queue.size) == (1, len(data))
    assert queue.take(100 + 9000) == [data[9000:]]
    assert (len(queue), queue.size) == (0, 0)
    for at in range(0, len(data), 4000):
        assert queue.insert(100, 100 + at, data[at : at + 4000])
    assert b"".join(queue.take(100 + 4000)) == data[4000:]
    assert queue.insert(100, 100, data[:4000])
    assert queue.take(100 + 4000) == []
    assert queue.size == 0


def test_views_of_frames_are_copied() -> None:
    """Views are of frames that will be reused, but those of a user's half-taken bytes; and many pieces become one."""
    frame = bytearray(b"abcdefgh")
    whole = b"0123456789"
    queue: list[Buffer] = [memoryview(frame)[2:5], whole, memoryview(whole)[5:], memoryview(whole)[6:]]
    copy_views(queue)
    frame[:] = bytes(8)
    assert [bytes(piece) for piece in queue] == [b"cde", whole, b"56789", b"6789"]
    assert queue[1] is whole
    assert isinstance(queue[2], memoryview), "half of it is left: no copy"
    assert isinstance(queue[3], bytes), "it would keep more than itself in memory"
    for count, pieces in ((64, 64), (65, 1)):
        many: list[Buffer] = [b"%02d" % n for n in range(count)]
        expected = b"".join(many)
        copy_views(many)
        assert len(many) == pieces
        assert b"".join(many) == expected
